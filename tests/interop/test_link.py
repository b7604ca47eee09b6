# SPDX-License-Identifier: BSD-3-Clause
"""
An interface that wg(8) and ip(8) configure, in the order of wg-quick(8): keys and peers first, while its
link is down, then the link.
"""
import lab

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
