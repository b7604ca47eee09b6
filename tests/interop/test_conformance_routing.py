# SPDX-License-Identifier: BSD-3-Clause
"""
Cryptokey routing and roaming, seen on the wire: whose packet is it, and to where do those for a peer
leave?
"""
import socket
import time

import abuse
import lab
import pytest
import wgpeer
from conformance import (  # noqa: F401 (some are fixtures)
    INNER, LAN4, LAN6, OTHER4, OTHER6, OUTER4, OUTER6, PORT, WAN4, WAN6, bench, drops, host, new)
from wgpeer import RESPONSE, flipped


# --- Whose packet is it ---


def test_inner_source(new, host, drops):
    """A peer speaks for its own addresses only, of both families."""
    client = new()
    session = client.connect()
    for source in ("10.200.0.1", "10.9.0.1", LAN4, "127.0.0.1", "0.0.0.0"):
        client.send(session.seal(wgpeer.udp(source, LAN4, b"lie", dport=host.port)))
    client.send(session.seal(wgpeer.udp("fd66::1", LAN6, b"lie", dport=host.port)))
    drops.reach(6, "inner_source")
    assert client.fence(host) == []


def test_longest_prefix_owns_the_source(new, bench, host, drops):
    """
    Looking only into the sender's own list, the owner of 10.20.0.0/16 could speak for the owner of
    10.20.5.0/24.
    """
    wide = new(allowed=["10.20.0.0/16"])
    narrow = new(source=WAN4[1], allowed=["10.20.5.0/24"])
    wide.connect()
    narrow.connect()

    def send(client, source):
        client.send(client.session.seal(wgpeer.udp(source, LAN4, source.encode(), dport=host.port)))

    send(wide, "10.20.6.1")
    assert host.receive().data == b"10.20.6.1"
    send(narrow, "10.20.5.1")
    assert host.receive().data == b"10.20.5.1"
    send(wide, "10.20.5.1")
    send(narrow, "10.20.6.1")
    drops.reach(2, "inner_source")
    # The narrow prefix moves to the other peer, and only its packets are good from then on.
    bench.set(wide, "allowed-ips", f"{wide.tunnel4},10.20.0.0/16,10.20.5.0/24")
    send(wide, "10.20.5.1")
    assert host.receive().data == b"10.20.5.1"
    send(narrow, "10.20.5.1")
    drops.reach(3, "inner_source")
    assert wide.fence(host) == []


def test_nobody_speaks_for_the_gateway(new, bench, host):
    """
    A source of the gateway's own is its word to those who get it, whose allowed IPs have it: not from a
    peer, though its allowed IPs cover the address, nor from a client in the plain. Linux drops martians.
    """
    liar, peer = new(allowed=["10.9.0.1/32"]), new(source=WAN4[1])
    liar.connect()
    peer.connect()
    peer.check(host)
    liar.send(liar.session.seal(wgpeer.udp("10.9.0.1", LAN4, b"lie", dport=host.port)))
    assert liar.fence(host) == []
    liar.send(liar.session.seal(wgpeer.udp("10.9.0.1", peer.tunnel4, b"lie")))
    liar.send(liar.session.seal(wgpeer.udp(liar.tunnel4, peer.tunnel4, b"no lie")))
    assert peer.inner().payload == b"no lie"
    sock = wgpeer.in_namespace(bench.lan, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    for source in "10.9.0.1", "10.1.0.1", OUTER4:
        lie = abuse.frame(abuse.mac(bench.topology.gw, "inner0"), source, peer.tunnel4, 9, 9, b"lie")
        sock.sendto(lie, ("e0", 0))
        host.send(peer, b"no lie")
        assert peer.inner().payload == b"no lie"
    sock.close()


def test_peer_to_peer(new, bench, host):
    """From one peer to another the gateway opens and seals again."""
    one, two = new(), new(source=WAN6[0])
    one.connect()
    two.connect()
    two.check(host)
    one.send(one.session.seal(wgpeer.udp(one.tunnel4, two.tunnel4, b"to a peer")))
    got = two.inner()
    assert (got.source, got.payload, got.ttl) == (one.tunnel4, b"to a peer", 63)
    two.send(two.session.seal(wgpeer.udp(two.tunnel6, one.tunnel6, b"and back")))
    assert one.inner().payload == b"and back"


@INNER
def test_unreachable(new, bench, six):
    """Where no peer owns the address, or the owner is nowhere to be found, the sender hears of it."""
    client = new()  # has no endpoint
    for address in ("fd09:0:0:fff0::1" if six else "10.9.240.1", client.tunnel6 if six
                    else client.tunnel4):
        done = bench.topology.lan.run("ping", "-n", "-c", 1, "-W", 2, address, check=False)
        assert "nreachable" in done.stdout, done.stdout


# --- Roaming ---


def test_roaming_by_data(new, bench, host):
    """Replies go where the last authenticated data packet came from: port, address, then family."""
    client = new()
    client.connect()
    client.check(host)
    for source in (WAN4[0], WAN4[1], WAN6[0], WAN6[1], WAN4[2]):
        client.sock = client.open(source)
        client.gateway = (OUTER6 if ":" in source else OUTER4, PORT)
        client.send_packet(host, b"from here")
        assert host.receive().data == b"from here"
        lab.wait_for("the endpoint", lambda: client.endpoint().endswith(f":{client.port}"))
        host.send(client, b"to there")
        datagram, _, plaintext = client.data()
        assert datagram.socket is client.sock
        assert wgpeer.Inner(plaintext).payload == b"to there"


def test_roaming_by_keepalive_and_handshake(new, host):
    """An empty packet moves the endpoint as well, and so does an initiation that is answered."""
    client = new()
    client.connect()
    client.sock = client.open(WAN4[1])
    client.send(client.session.seal())
    lab.wait_for("the endpoint", lambda: client.endpoint() == f"{WAN4[1]}:{client.port}")
    client.sock = client.open(WAN4[2])
    time.sleep(0.025)
    client.initiate()
    lab.wait_for("the endpoint", lambda: client.endpoint() == f"{WAN4[2]}:{client.port}")


def test_forgery_does_not_roam(new, host, drops):
    """Nothing unauthenticated moves the endpoint: not forged, replayed, nor wrong handshakes."""
    client = new()
    client.connect()
    client.check(host)
    attacker = client.open(WAN4[1])
    good = client.session.seal(client.packet(host, b"good"))
    client.send(good)
    assert host.receive().data == b"good"
    client.send(flipped(client.session.seal(counter=1000), -1), attacker)
    client.send(good, attacker)
    client.send(client.session.seal(counter=1000)[:31], attacker)
    drops.reach(1, "forged")
    drops.reach(1, "replayed")
    client.send(flipped(client.initiator().message(), 120), attacker)
    client.send(wgpeer.with_macs(flipped(client.initiator().body, 50), client.remote_public), attacker)
    drops.reach(2, "handshake_bad_mac1", "handshake_bad_static")
    client.send(wgpeer.cookie_reply(client.static.public, client.initiator().message(), bytes(16)),
                attacker)
    drops.reach(1, "handshake_unknown_index")
    host.send(client, b"still here")
    datagram, _, _ = client.data()
    assert datagram.socket is not attacker
    assert client.endpoint() == f"{WAN4[0]}:{client.port}"


@pytest.mark.parametrize("source, first, second", [(WAN4[0], OTHER4, OUTER4), (WAN6[0], OTHER6, OUTER6)],
                         ids=["outer4", "outer6"])
def test_replies_leave_from_the_address_spoken_to(new, host, source, first, second):
    """A reply from another of the gateway's addresses would not pass the client's NAT."""
    client = new(source=source, gateway=(first, PORT))
    client.initiate()
    client.send(client.session.seal())
    for address in (first, second, first):
        client.gateway = (address, PORT)
        client.send_packet(host, b"to this one")
        assert host.receive().data == b"to this one"

        def answered(address=address):
            host.send(client, b"from this one")
            return client.data()[0].source == (address, PORT)

        lab.wait_for(f"replies from {address}", answered)
    for client.gateway in ((first, PORT), (second, PORT)):  # one of them the kernel's own choice
        time.sleep(0.025)
        client.send(client.initiator().message())
        assert client.expect(RESPONSE).source == client.gateway


def test_initiations_leave_from_the_address_spoken_to(new, host):
    """
    An initiation, too, must pass the client's NAT. The session here is never confirmed, so that the
    gateway has to begin one of its own: five seconds after its response.
    """
    clients = [new(source=WAN6[0] if ":" in address else WAN4[0], gateway=(address, PORT))
               for address in (OUTER4, OTHER4, OUTER6, OTHER6)]
    for client in clients:
        client.initiate()
        host.send(client, b"waits for a session")
    for client in clients:
        _, initiation = client.await_initiation(10.0)
        assert initiation.source == client.gateway


def test_places_inside_its_own_tunnel(new, bench, host):
    """
    A peer speaks by turns from places that its tunnel leads to: what is sealed for it is not sent
    there for a moment either, or it would be sealed again and again.
    """
    places = ["198.51.100.1", "198.51.100.2"]
    client = new(allowed=["198.51.100.0/24"])
    client.connect()
    client.check(host)
    lab.wait_for("the route", lambda: bench.topology.gw.ip_json("route", "show", "198.51.100.0/24"))
    bench.topology.wan.set_up("e0", *(f"{place}/32" for place in places))
    sockets = [wgpeer.udp_socket(bench.wan, place) for place in places]

    def by_kernel():
        return bench.gateway.telemetry(f"/wg/host,{bench.gateway.name}")["socket_tx_packets"]

    before = by_kernel()
    for i in range(1000):
        client.send(client.session.seal(client.packet(host)), sock=sockets[i % 2])
        host.send(client)
    # It comes home.
    lab.wait_for("data both ways", lambda: bench.works(client, host))
    assert by_kernel() - before < 100
    for sock in sockets:
        sock.close()
