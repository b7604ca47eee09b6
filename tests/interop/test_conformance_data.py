# SPDX-License-Identifier: BSD-3-Clause
"""
Data, seen on the wire: the replay window, inner packets that lie, and how the gateway's own are padded,
marked and cut.
"""
import contextlib
import os
import socket
import struct
import time

import abuse
import lab
import wgpeer
from conformance import (  # noqa: F401 (some are fixtures)
    INNER, LAN4, LAN6, MTU, OUTER, OUTER4, PORT, WAN4, Host, bench, drops, host, host6, new)
from wgpeer import INITIATION, flipped


# --- What comes in ---


def test_replayed_data(new, host, drops):
    """Each counter is good once."""
    client = new()
    client.connect()
    message = client.session.seal(client.packet(host, b"once"))
    for _ in range(3):
        client.send(message)
    drops.reach(2, "replayed")
    assert client.fence(host) == [b"once"]


def test_replay_window(new, host, drops):
    """The window is 8192 wide and slides with authenticated packets only."""
    client = new()
    session = client.connect()

    def send(counter, forge=False):
        message = session.seal(client.packet(host, b"%d" % counter), counter=counter)
        client.send(flipped(message, -1) if forge else message)

    top = 100000
    send(1 << 50, forge=True)  # does not move the window
    for counter in (50, 49, 51, top, top - 1, top - 8191, top - 64, top + 1):
        send(counter)
    for counter in (50, top, top - 1, top - 8191, top - 64):  # replayed, in or below the window
        send(counter)
    for counter in (52, 0, top - 9000, top - 30000):  # too old to tell
        send(counter)
    for counter in range(top - 8000, top - 7900):  # never seen, within
        send(counter)
    session.next_counter = top + 2
    wanted = [b"%d" % c for c in (50, 49, 51, top, top - 1, top - 8191, top - 64, top + 1,
                                  *range(top - 8000, top - 7900))]
    assert client.fence(host) == wanted
    drops.reach(9, "replayed")
    drops.reach(1, "forged")


def test_window_slides_over_a_gap(new, host, drops):
    """After a jump, bits of the former lap must be gone: neither taken for replays nor for fresh."""
    client = new()
    session = client.connect()
    wanted = []

    def send(counter):
        client.send(session.seal(client.packet(host, b"%d" % counter), counter=counter))
        wanted.append(b"%d" % counter)

    for base in (0, 8192, 3 * 8192, 3 * 8192 + 64, 10 * 8192 + 7, 1 << 32, 1 << 63):
        for counter in (base + 40, base + 10, base + 33, base + 20):
            send(counter)
    session.next_counter = (1 << 63) + 100
    assert client.fence(host) == wanted
    assert drops.changed() == {}


def test_counter_at_its_end(new, host):
    """At 2^64 - 2^13 - 1 messages a session ends; beyond it a counter would wrap."""
    client = new()
    session = client.connect()
    limit = (1 << 64) - (1 << 13) - 1
    for counter in (limit, limit + 1, (1 << 64) - 1):
        client.send(session.seal(client.packet(host, b"beyond"), counter=counter))
    assert client.fence(host) == []
    client.send(session.seal(client.packet(host, b"last"), counter=limit - 1))
    assert host.receive().data == b"last"


def test_bad_among_good(bench, new, host, drops):
    """
    Bursts with every kind of bad packet in them lose no good one, and keep their order. The worker stands
    still while one is sent, so that it gets it whole; and no more is on its way than that.
    """
    client, other = new(), new(source=WAN4[1])
    session = client.connect()
    other.connect()
    unknown = next(i for i in iter(wgpeer.random_index, None)
                   if i not in (session.remote_index, other.session.remote_index))
    # Drop name -> a bad packet made after the good one before it.
    kinds = [
        ("forged", lambda good: flipped(good, -1)),
        ("forged", lambda good: flipped(good, 20)),
        ("forged", lambda good: flipped(session.seal(b"", counter=1 << 41), 9)),
        ("forged", lambda good: good[:40]),
        ("replayed", lambda good: good),
        ("message_length", lambda good: good[:31]),
        ("message_length", lambda good: good[:3]),
        ("message_type", lambda good: flipped(good, 2)),
        ("unknown_index", lambda good: good[:4] + struct.pack("<I", unknown) + good[8:]),
        ("forged", lambda good: good[:4] + struct.pack("<I", other.session.remote_index) + good[8:]),
        ("inner_source", lambda good: session.seal(wgpeer.udp(other.tunnel4, LAN4, b"lie",
                                                              dport=host.port))),
        ("inner_malformed", lambda good: session.seal(b"\x50" + bytes(40))),
        ("handshake_bad_message", lambda good: struct.pack("<I", INITIATION) + bytes(60)),
    ]
    # Whichever stage sees a wrong type first, it is counted once.
    vague = ("message_length", "message_type", "handshake_bad_message")

    def tally(counts):
        told = {name: count for name, count in counts.items() if name not in vague}
        return {**told, "vague": sum(counts.get(name, 0) for name in vague)}

    counts = {}
    for window in range(10):
        wanted, burst = [], []
        for n in range(2 * len(kinds)):
            wanted.append(b"good %d of %d" % (n, window))
            burst.append(session.seal(client.packet(host, wanted[-1])))
            name, make = kinds[n % len(kinds)]
            burst.append(make(burst[-1]))
            counts[name] = counts.get(name, 0) + 1
        with abuse.StandingThread(bench.gateway.process, abuse.WORKER_THREAD):
            for message in burst:
                client.send(message)
        host.expect(wanted, drops)
        with contextlib.suppress(lab.LabError):
            lab.wait_for("the counters", lambda: tally(drops.changed()) == tally(counts))
        assert tally(drops.changed()) == tally(counts)
    assert client.fence(host) == []
    other.check(host)
    client.check(host)
    assert client.endpoint() == f"{WAN4[0]}:{client.port}"


@INNER
def test_unpadded_and_overpadded(new, bench, drops, six):
    """The inner header tells the length, not the datagram: padding of any size is taken off."""
    host = Host(bench, six)
    client = new()
    session = client.connect()
    wanted = []
    for size in range(34):
        wanted.append(os.urandom(size))
        client.send(session.seal(client.packet(host, wanted[-1]), padded=False))
    for extra in (1, 16, 100, 160):
        wanted.append(b"padded with %d" % extra)
        client.send(session.seal(client.packet(host, wanted[-1]) + os.urandom(extra), padded=False))
    assert client.fence(host) == wanted
    assert drops.changed() == {}
    host.sock.close()


def test_malformed_inner(new, host, host6, drops):
    """Every inner packet that is none: from a peer with the keys, yet nothing may leave the gateway."""
    client = new()
    session = client.connect()
    t4, t6 = client.tunnel4, client.tunnel6
    body = bytes.fromhex("0fa01388000c0000") + b"evil"
    good4 = client.packet(host, b"evil")
    bad = [b"\x45", b"\x60", good4[:19], b"\x00" + good4[1:], b"\x50" + good4[1:], b"\xf5" + good4[1:],
           wgpeer.ipv4(t4, LAN4, body, length=0), wgpeer.ipv4(t4, LAN4, body, length=19),
           wgpeer.ipv4(t4, LAN4, body, length=20 + len(body) + 1),
           wgpeer.ipv4(t4, LAN4, body, length=65535),
           wgpeer.ipv6(t6, LAN6, body)[:39], wgpeer.ipv6(t6, LAN6, body, first=0x50),
           wgpeer.ipv6(t6, LAN6, body, length=len(body) + 1),
           wgpeer.ipv6(t6, LAN6, body, length=65535)]
    for packet in bad:
        client.send(session.seal(packet, padded=False))
    drops.reach(len(bad), "inner_malformed")
    # Header lengths that are wrong go no further either, whoever drops them.
    for first in (0x40, 0x44, 0x4f):
        client.send(session.seal(wgpeer.ipv4(t4, LAN4, body, first=first), padded=False))
    assert client.fence(host) == []
    assert client.fence(host6) == []
    client.check(host)


def test_unusual_inner(new, host, bench):
    """Options and fragments are legal: they take the host's way, and arrive."""
    client = new()
    session = client.connect()
    plain = client.packet(host, b"with options")
    header = bytearray(plain[:20]) + b"\x01\x01\x01\x00"
    header[0], header[10:12] = 0x46, b"\0\0"
    header[2:4] = (len(plain) + 4).to_bytes(2, "big")
    header[10:12] = wgpeer.checksum(bytes(header)).to_bytes(2, "big")
    client.send(session.seal(bytes(header) + plain[20:]))
    assert host.receive().data == b"with options"
    whole = client.packet(host, b"in two fragments")[20:]
    for at, more in ((0, 0x2000), (16, 0)):
        part = whole[at:at + 16] if more else whole[at:]
        packet = bytearray(wgpeer.ipv4(client.tunnel4, LAN4, part))
        packet[6:8], packet[10:12] = (more | at // 8).to_bytes(2, "big"), b"\0\0"
        packet[10:12] = wgpeer.checksum(bytes(packet[:20])).to_bytes(2, "big")
        client.send(session.seal(bytes(packet)))
    assert host.receive().data == b"in two fragments"


def test_outer_checksum_absent(new, host):
    """Over IPv4 a UDP checksum of zero means none, and is legal."""
    client = new()
    client.connect()
    client.sock.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK
    client.check(host)


# --- What the gateway sends ---


def test_padding_outbound(new, host, host6):
    """Padded with zeros to a multiple of 16, but never beyond the interface's MTU; counters in step."""
    client = new()
    client.connect()
    host.send(client, b"first")
    _, counter, _ = client.data()
    for size in [*range(0, 36), 1300, *range(MTU - 28 - 20, MTU - 28 + 1)]:
        host.send(client, bytes([size & 255]) * size)
        _, got, plaintext = client.data()
        counter += 1
        assert got == counter
        inner = wgpeer.Inner(plaintext)
        assert inner.length == size + 28 and inner.payload == bytes([size & 255]) * size
        assert len(plaintext) == min(MTU, (size + 28 + 15) // 16 * 16), size
        assert not any(inner.padding)
    for size in (0, 7, MTU - 48):
        host6.send(client, bytes(size))
        _, _, plaintext = client.data()
        assert len(plaintext) == min(MTU, (size + 48 + 15) // 16 * 16), size


def test_too_big_for_the_tunnel(new, host):
    """A packet over the MTU that may not be cut: the sender is told the MTU, and the next one fits."""
    client = new()
    client.connect()
    host.sock.setsockopt(socket.IPPROTO_IP, wgpeer.IP_MTU_DISCOVER, wgpeer.PMTUDISC_DO)
    host.sock.connect((client.tunnel4, 4000))
    host.sock.send(bytes(MTU - 28 + 1))
    lab.wait_for("the path's MTU", lambda: host.sock.getsockopt(socket.IPPROTO_IP, 14) == MTU)
    with contextlib.suppress(OSError):
        host.sock.send(b"error pending")
    host.sock.send(bytes(MTU - 28))
    assert lab.wait_for("the full packet", lambda: client.inner().length == MTU)


def ip_sniffer(namespace, link):
    """Every IPv4 packet that arrives on the link, whole or in fragments, as sent."""
    def make():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        sock.bind((link, 0x0800))
        sock.setblocking(False)
        return sock
    return wgpeer.in_namespace(namespace, make)


def test_forged_path_mtu(new, bench, host):
    """
    The kernel believes whoever says that a datagram of ours was too big. Over IPv4 ours may be fragmented
    on the way: what anybody says does not keep them off the port.
    """
    client = new(source=WAN4[2])
    client.connect()
    client.check(host)
    gw = bench.topology.gw
    quoted = wgpeer.udp(OUTER4, WAN4[2], bytes(1400), sport=PORT, dport=client.port)[:28]
    message = bytes([3, 4, 0, 0, 0, 0]) + (600).to_bytes(2, "big") + quoted
    message = message[:2] + wgpeer.checksum(message).to_bytes(2, "big") + message[4:]
    forger = wgpeer.in_namespace(bench.wan, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW,
                                                                  socket.IPPROTO_ICMP))
    forger.sendto(message, (OUTER4, 0))
    forger.close()
    lab.wait_for("the kernel to believe it",
                 lambda: "mtu 600" in gw.ip("route", "get", WAN4[2]).stdout)

    def by_kernel():
        return bench.gateway.telemetry(f"/wg/host,{bench.gateway.name}")["socket_tx_packets"]

    time.sleep(0.025)  # initiations that are closer are dropped
    client.connect()
    client.check(host)
    before = by_kernel()
    for _ in range(10):
        payload = os.urandom(MTU - 28)
        host.send(client, payload)
        assert client.inner().payload == payload
    assert by_kernel() == before
    gw.ip("route", "flush", "cache")


def test_path_smaller_than_the_tunnel(new, bench, host):
    """
    Where the outer path takes less than the interface's MTU needs, the outer packet goes in fragments,
    none of them too large for the path, rather than not at all.
    """
    client = new(source=WAN4[2])
    client.connect()
    client.check(host)
    gw = bench.topology.gw
    gw.ip("route", "add", f"{WAN4[2]}/32", "dev", "outer0", "mtu", 1300)
    try:
        payload = os.urandom(MTU - 28)
        sniffer = ip_sniffer(bench.wan, "e0")

        def fragmented():
            host.send(client, payload)
            _, _, plaintext = client.data()
            assert wgpeer.Inner(plaintext).payload == payload
            lengths = []
            with contextlib.suppress(BlockingIOError):
                while packet := sniffer.recv(2048):
                    if packet[12:20] == wgpeer.packed(OUTER4) + wgpeer.packed(WAN4[2]):
                        lengths.append(int.from_bytes(packet[2:4], "big"))
            return lengths and max(lengths) <= 1300 and len(lengths) == 2

        lab.wait_for("fragments", fragmented)
        sniffer.close()
        client.check(host)
    finally:
        gw.ip("route", "del", f"{WAN4[2]}/32", "dev", "outer0")
    host.send(client, payload)
    assert client.inner().payload == payload


@INNER
@OUTER
def test_ecn_and_dscp(new, bench, six, source):
    """
    RFC 6040: the ECN bits are copied out; an outer CE marks an ECN-capable packet and leaves the other
    alone. The inner DSCP is nobody's business outside, and comes out unchanged.
    """
    host = Host(bench, six)
    client = new(source=source)
    client.connect()
    client.check(host)
    for tos in (0x00, 0x01, 0x02, 0x03, 0xb8, 0xba):
        host.send(client, b"marked", tos=tos)
        datagram, _, plaintext = client.data()
        assert datagram.tos == tos & 3, hex(tos)
        assert wgpeer.Inner(plaintext).tos == tos
    for outer, inner, wanted in ((3, 0x00, 0x00), (3, 0x01, 0x03), (3, 0x02, 0x03), (3, 0x03, 0x03),
                                 (3, 0xba, 0xbb), (3, 0xb8, 0xb8), (2, 0x00, 0x00), (2, 0x02, 0x02),
                                 (0, 0x02, 0x02), (0, 0x03, 0x03), (0xb8, 0x00, 0x00)):
        client.send(client.session.seal(client.packet(host, b"marked", tos=inner)), tos=outer)
        got = host.receive()
        assert got is not None and got.tos == wanted, (outer, inner, got and got.tos)
    host.sock.close()


@INNER
def test_hop_limit(new, bench, six):
    """The gateway is a router: it takes one from the TTL, and answers when nothing is left."""
    host = Host(bench, six)
    client = new()
    client.connect()
    client.check(host)
    client.send_packet(host, b"ttl", ttl=17)
    assert host.receive().ttl == 16
    host.send(client, b"ttl")
    assert client.inner().ttl == 63
    client.send_packet(host, b"ttl", ttl=1)
    _, _, plaintext = client.data()
    kind = plaintext[40] if six else plaintext[20]
    assert kind == (3 if six else 11), plaintext.hex()  # time exceeded
    assert client.fence(host) == []
    host.sock.close()
