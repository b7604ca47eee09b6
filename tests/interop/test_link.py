# SPDX-License-Identifier: BSD-3-Clause
"""
An interface that wg(8) and ip(8) configure, in the order of wg-quick(8): keys and peers first, while its
link is down, then the link; and where it sends from when the way changes.
"""
import lab
import pytest
import wgpeer
from wgpeer import base64_text

PORT = 51820


def connected(gateway):
    return not gateway.show("latest-handshakes").endswith("\t0")


def test_tunnel_comes_up_with_the_link(topology):
    """Would catch an initiation that is spent while the link is down: the next is 5 s later."""
    gateway = lab.Gateway(topology.gw, ["v_out"])
    topology.address_gateway(inner=False)
    client = lab.WireguardGo(topology.wan, "cl")
    private, public = lab.keypair()
    client.set_private_key("listen-port", str(PORT), "peer", public, "allowed-ips", "10.9.0.1/32")
    topology.wan.set_up(client.name, "10.9.0.2/32")
    assert topology.gw.ping(topology.WAN[0].split("/")[0])
    gateway.set("private-key", "/dev/stdin", input=private)

    gateway.set("listen-port", "51821", "peer", client.public_key, "endpoint", f"192.0.2.2:{PORT}",
                "persistent-keepalive", "25", "allowed-ips", "10.9.0.2/32")
    topology.gw.ip("link", "set", gateway.name, "up")
    lab.wait_for("the handshake", lambda: connected(gateway), timeout=4)
    assert gateway.show("transfer").split()[2] == "180", "more than one initiation and a keepalive"
    assert gateway.stop() == 0, gateway.tail()


class Spoken:
    """A gateway with an address more, a peer that has spoken to that, and hears from it every second."""

    SECOND = "192.0.2.33"

    def __init__(self, topology):
        self.topology, self.static = topology, wgpeer.Key()
        self.gateway = lab.Gateway(topology.gw, ["v_out"],
                                   config=f"[Interface]\nPrivateKey = {base64_text(self.static.private)}\n"
                                          f"ListenPort = {PORT}\n")
        topology.address_gateway(inner=False)
        topology.gw.ip("addr", "add", f"{self.SECOND}/24", "dev", "outer0")
        assert topology.wan.ping(self.SECOND)
        self.peer = wgpeer.Peer(topology.wan.name, self.static.public, (self.SECOND, PORT), "192.0.2.2")
        self.gateway.set("peer", base64_text(self.peer.static.public), "persistent-keepalive", "1")
        self.peer.connect()

    def source(self):
        """Where the gateway's next packet comes from."""
        return self.peer.data(4.0)[0].source


@pytest.fixture
def spoken(topology):
    made = Spoken(topology)
    yield made
    made.peer.close()
    assert made.gateway.stop() == 0, made.gateway.tail()


def test_source_stays_when_a_port_is_refused(spoken):
    """Somebody has it: nothing is changed."""
    holder = spoken.topology.gw.start("python3", "-c", "import socket, time\n"
                                      "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                                      "s.bind(('', 51999))\nprint('bound', flush=True)\ntime.sleep(60)",
                                      log="holder")
    lab.wait_for("the holder", lambda: "bound" in open(holder.log, encoding="utf-8").read())
    assert spoken.source() == (spoken.SECOND, PORT)
    with pytest.raises(lab.LabError):
        spoken.gateway.set("listen-port", "51999")
    for _ in range(3):
        assert spoken.source() == (spoken.SECOND, PORT)


@pytest.mark.parametrize("change,port", [(["fwmark", "7"], PORT), (["listen-port", "51999"], 51999)],
                         ids=["fwmark", "listen-port"])
def test_source_is_chosen_anew_after_a_change(spoken, change, port):
    """As in Linux: another mark or port may lead another way."""
    assert spoken.source() == (spoken.SECOND, PORT)
    spoken.gateway.set(*change)
    lab.wait_for("another source", lambda: spoken.source() == ("192.0.2.1", port))
