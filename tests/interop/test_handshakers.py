# SPDX-License-Identifier: BSD-3-Clause
"""The same with handshake lcores: both roles, changes under way, many at once, a clean end."""
import lab
import pytest
import wgpeer


@pytest.fixture
def split_site(topology, monkeypatch):
    class Gateway(lab.Gateway):
        lcores = "0@0,1@1,4@0,7@0"

    monkeypatch.setattr(lab, "Gateway", Gateway)
    made = lab.Site(topology, options=["--handshake-lcores", "4,7"])
    assert made.gateway.telemetry("/wg/info")["handshake_lcores"] == 2
    assert made.gateway.telemetry("/wg/info")["workers"] == 1
    return made


def test_both_roles(split_site):
    """The client begins; then the gateway does, after the client's end forgot the session."""
    site = split_site
    assert site.ping_through()
    for _ in range(3):
        site.client.set("peer", site.public_key, "remove")
        site.configure_client()
        assert site.ping_through()
    gateway_peer = site.client.public_key
    endpoint = site.gateway.show("endpoints").split()[-1]
    allowed = site.gateway.show("allowed-ips").split(maxsplit=1)[1].replace(" ", ",").strip()
    for _ in range(3):
        site.gateway.set("peer", gateway_peer, "remove")
        site.gateway.set("peer", gateway_peer, "endpoint", endpoint, "allowed-ips", allowed)
        assert site.topology.lan.ping("10.9.0.2")
    assert site.ping_through()
    assert site.gateway.stop() == 0


def test_handshakes_are_their_work(split_site):
    """Answering takes two pieces of work. Would catch handshakes that control computes all the same."""
    site = split_site
    peer = wgpeer.Peer(site.topology.wan.name, wgpeer.base64_key(site.public_key),
                       ("192.0.2.1", 51820), "192.0.2.2")
    site.gateway.set("peer", wgpeer.base64_text(peer.static.public))
    sent = 0

    def computed():
        answer = site.gateway.telemetry("/wg/handshakers")
        assert answer["handshaker0_lcore"] == 4 and answer["handshaker1_lcore"] == 7
        assert answer["control_computed"] == 0
        return answer["handshaker0_computed"] + answer["handshaker1_computed"]

    def responds():
        nonlocal sent
        sent += 1
        try:
            return peer.initiate(timeout=2)
        except wgpeer.ProtocolError:
            return None

    before = computed()
    for _ in range(10):
        lab.wait_for("a response", responds)
    assert 2 * 10 <= computed() - before <= 2 * sent
    peer.close()
    assert site.gateway.stop() == 0


def test_peers_by_the_hundred(split_site):
    """Hundreds of peers that never answer begin handshakes at once, and go again under way."""
    site = split_site
    assert site.ping_through()
    keys = [lab.keypair()[1] for _ in range(200)]
    for _ in range(3):
        site.gateway.set(*[word for key in keys for word in (
            "peer", key, "endpoint", "192.0.2.99:9", "persistent-keepalive", "1")])
        site.gateway.set(*[word for key in keys[::2] for word in ("peer", key, "remove")])
        assert site.ping_through()
        site.gateway.set(*[word for key in keys for word in ("peer", key, "remove")])
    assert site.ping_through()
    assert site.gateway.stop() == 0


def test_own_initiations_are_no_load(split_site):
    """
    Hundreds of tunnels to keep alive begin at once with their link. Would catch a gateway that takes
    that for a flood, and has those who come to it bring cookies.
    """
    site = split_site
    gw, gateway = site.topology.gw, site.gateway
    peer = wgpeer.Peer(site.topology.wan.name, wgpeer.base64_key(site.public_key),
                       ("192.0.2.1", 51820), "192.0.2.2")
    keys = [lab.keypair()[1] for _ in range(400)]
    gateway.set("peer", wgpeer.base64_text(peer.static.public))
    gw.ip("link", "set", gateway.name, "down")
    gateway.set(*[word for key in keys for word in (
        "peer", key, "endpoint", "192.0.2.99:9", "persistent-keepalive", "25")])
    gw.ip("link", "set", gateway.name, "up")

    def responds():
        try:
            return peer.initiate(timeout=0.1)
        except wgpeer.ProtocolError:
            return None
        except ConnectionRefusedError:  # the port is not open yet
            return None

    lab.wait_for("a response", responds)
    assert "handshake_cookie_sent" not in gateway.drops()
    peer.close()
    assert gateway.stop() == 0
