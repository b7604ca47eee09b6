# SPDX-License-Identifier: BSD-3-Clause
"""
What dpdk-wg says on the wire and what it refuses, seen by a peer that is not WireGuard's own
(wgpeer.py): the behaviour of design/protocol.md, line by line. docs/protocol.md maps the lines to the
tests.

One gateway serves all tests of this file; each test gets peers of its own. "No answer" is never waited
for by the clock alone: the drop counter says that the message was seen, and a packet sent after it
(a fence) that nothing else came of it.
"""
import base64
import concurrent.futures
import contextlib
import os
import signal
import socket
import struct
import threading
import time

import lab
import pytest
import wgpeer
from traffic import Traffic
from wgpeer import COOKIE_REPLY, DATA, INITIATION, RESPONSE, ProtocolError, flipped

LAN4, LAN6 = "10.1.0.2", "fd01::2"
OUTER4, OUTER6, PORT = "192.0.2.1", "2001:db8:1::1", 51820
OTHER4, OTHER6 = "192.0.2.10", "2001:db8:1::10"
WAN4, WAN6 = ("192.0.2.2", "192.0.2.3", "192.0.2.4"), ("2001:db8:1::2", "2001:db8:1::3")
MTU = 1420
HANDSHAKE_DSCP = 0x88
PSK = bytes(range(1, 33))
# How late a timer may be seen on a machine that is busy with other things; never early.
LATE = 2.5
# How late a datagram may be read that has come.
SEEN_LATE = 0.01
full_only = pytest.mark.skipif(os.environ.get("DPDK_WG_FULL") != "yes",
                               reason="takes minutes: DPDK_WG_FULL=yes")


def text(key):
    return base64.b64encode(key).decode()


class Drops:
    """Drop counters since this was made."""

    def __init__(self, gateway):
        self.gateway, self.start = gateway, gateway.telemetry("/wg/drops")

    def since(self, *names):
        now = self.gateway.telemetry("/wg/drops")
        return sum(now[name] - self.start[name] for name in names)

    def changed(self):
        now = self.gateway.telemetry("/wg/drops")
        return {name: now[name] - count for name, count in self.start.items() if now[name] != count}

    def reach(self, count, *names, timeout=5.0):
        """Waits until the counters have grown by count together, and sees that it was not more."""
        with contextlib.suppress(lab.LabError):
            lab.wait_for(f"{count} of {names}", lambda: self.since(*names) >= count, timeout)
        assert self.since(*names) == count, (count, names, self.changed())


class Host:
    """A UDP socket in lan."""

    def __init__(self, bench, six=False):
        self.address = LAN6 if six else LAN4
        self.sock = wgpeer.udp_socket(bench.lan, self.address)
        self.port = self.sock.getsockname()[1]

    def send(self, client, payload=b"to the client", tos=None):
        if tos is not None:
            wgpeer.set_tos(self.sock, tos)
        self.sock.sendto(payload, (client.tunnel6 if ":" in self.address else client.tunnel4, 4000))

    def receive(self, timeout=2.0):
        return wgpeer.receive([self.sock], timeout)


class Client(wgpeer.Peer):
    """A peer with tunnel addresses, known to the gateway."""

    def __init__(self, bench, number, source, gateway, psk):
        super().__init__(bench.wan, bench.public, gateway, source, psk or wgpeer.NO_PSK)
        self.bench = bench
        self.tunnel4, self.tunnel6 = f"10.9.{number}.2", f"fd09:0:0:{number:x}::2"
        self.key = text(self.static.public)
        self.fences = 0

    def packet(self, host, payload=b"to the host", **fields):
        six = ":" in host.address
        fields.setdefault("dport", host.port)
        return wgpeer.udp(self.tunnel6 if six else self.tunnel4, host.address, payload, **fields)

    def send_packet(self, host, payload=b"to the host", **fields):
        self.send(self.session.seal(self.packet(host, payload, **fields)))

    def fence(self, host, timeout=3.0):
        """The payloads that host got from us up to now: a marker is sent, and awaited there."""
        self.fences += 1
        marker = b"fence %d of %d" % (self.fences, self.port)
        self.send_packet(host, marker)
        arrived = []
        while (got := host.receive(timeout)) is not None:
            if got.data == marker:
                return arrived
            arrived.append(got.data)
        raise lab.LabError(f"the fence did not arrive; before it came {arrived[:5]}")

    def inner(self, timeout=2.0, session=None):
        """The next UDP packet that the gateway sends us."""
        while (got := self.data(timeout, session)) is not None:
            inner = wgpeer.Inner(got[2]) if got[2] else None
            if inner and inner.protocol == socket.IPPROTO_UDP:
                return inner
        return None

    def check(self, host):
        """Data passes both ways."""
        assert self.fence(host) == []
        payload = os.urandom(20)
        host.send(self, payload)
        got = self.inner()
        assert got is not None, f"nothing came from lan; {self.bench.drops.changed()}"
        assert got.payload == payload


class Bench:
    """The lab's topology with one gateway, and peers as tests ask for them."""

    def __init__(self, topology):
        self.topology = topology
        self.wan, self.lan = topology.wan.name, topology.lan.name
        self.static = wgpeer.Key()
        self.public = self.static.public
        topology.wan.set_up("e0", *(f"{a}/24" for a in WAN4[1:]), *(f"{a}/64" for a in WAN6[1:]))
        # A ring with room for a burst while this machine's few cores do something else.
        ring = "net_af_packet0,iface=v_out,blocksz=65536,framesz=2048,framecnt=8192"
        self.gateway = lab.Gateway(topology.gw, [ring], ["v_in"], config=f"""[Interface]
PrivateKey = {text(self.static.private)}
ListenPort = {PORT}
Address = 10.9.0.1/16, fd09::1/48
""")
        topology.address_gateway()
        topology.gw.set_up("outer0", f"{OTHER4}/24", f"{OTHER6}/64")
        self.lock, self.count, self.clients = threading.Lock(), 0, []
        self.drops = Drops(self.gateway)
        self.warm_up()
        self.probes, self.attacker = (self.client(), self.client()), wgpeer.udp_socket(self.wan, WAN4[0])

    def warm_up(self):
        """Lets the kernels find their neighbours, so that tests begin on the fast path."""
        host4, host6 = Host(self), Host(self, six=True)
        for source in WAN4 + WAN6:
            client = self.client(source=source)
            for host in (host4, host6):
                lab.wait_for("data both ways", lambda c=client, h=host: self.works(c, h))
            self.remove(client)

    @staticmethod
    def works(client, host):
        try:
            if client.session is None:
                client.connect()
            client.check(host)
            return True
        except (AssertionError, lab.LabError, ProtocolError):
            client.drain()
            return False

    def client(self, source=WAN4[0], gateway=None, psk=None, endpoint=False, allowed=()):
        """A new peer; `endpoint` lets the gateway know where it is."""
        with self.lock:
            self.count += 1
            number = self.count
        gateway = gateway or (OUTER6 if ":" in source else OUTER4, PORT)
        client = Client(self, number, source, gateway, psk)
        host = f"[{source}]" if ":" in source else source
        self.set(client, *(["preshared-key", "/dev/stdin"] if psk else []),
                 *(["endpoint", f"{host}:{client.port}"] if endpoint else []),
                 "allowed-ips", ",".join([client.tunnel4, client.tunnel6, *allowed]),
                 input=text(psk) if psk else None)
        self.clients.append(client)
        return client

    def set(self, client, *args, **options):
        self.gateway.set("peer", client.key, *args, **options)

    def remove(self, client):
        self.set(client, "remove")
        client.close()
        self.clients.remove(client)

    def shown(self, client, what):
        """What `wg show` says of one peer."""
        for line in self.gateway.show(what).splitlines():
            key, value = line.split("\t", 1)
            if key == client.key:
                return value
        return None


@pytest.fixture(scope="module")
def bench():
    with lab.Topology() as topology:
        made = Bench(topology)
        yield made
        assert made.gateway.stop() == 0, made.gateway.tail()


@pytest.fixture
def new(bench):
    """Makes peers that are removed after the test; the program must have survived it."""
    before = list(bench.clients)
    yield bench.client
    for client in [c for c in bench.clients if c not in before]:
        bench.remove(client)
    assert bench.gateway.process.poll() is None, bench.gateway.tail()


@pytest.fixture
def drops(bench):
    bench.drops = Drops(bench.gateway)
    return bench.drops


@pytest.fixture
def host(bench):
    made = Host(bench)
    yield made
    made.sock.close()


@pytest.fixture
def host6(bench):
    made = Host(bench, six=True)
    yield made
    made.sock.close()


# --- Handshakes ---

OUTER = pytest.mark.parametrize("source", [WAN4[0], WAN6[0]], ids=["outer4", "outer6"])
KEYED = pytest.mark.parametrize("psk", [None, PSK], ids=["plain", "psk"])


@OUTER
@KEYED
def test_gateway_responds(new, host, host6, source, psk):
    """Would catch any slip in the responder's Noise, the PSK's place in it, or either transport key."""
    client = new(source=source, psk=psk)
    client.connect()
    client.check(host)
    client.check(host6)


@OUTER
@KEYED
def test_gateway_initiates(new, host, source, psk):
    """The same for the initiator, and for packets staged meanwhile: none is lost, order is kept."""
    client = new(source=source, psk=psk, endpoint=True)
    for n in range(5):
        host.send(client, b"staged %d" % n)
    client.respond()
    assert [client.inner().payload for _ in range(5)] == [b"staged %d" % n for n in range(5)]
    client.check(host)


@pytest.mark.parametrize("psk", [None, bytes(32)[:-1] + b"\1"], ids=["absent", "wrong"])
def test_wrong_psk_as_initiator(new, host, psk):
    """A gateway that forgot to mix the PSK would give a response that authenticates without it."""
    client = new(psk=PSK)
    client.psk = psk or wgpeer.NO_PSK
    with pytest.raises(ProtocolError, match="authenticate"):
        client.initiate()
    client.psk = PSK
    time.sleep(0.025)  # two initiations within 20 ms are a flood
    client.connect()
    client.check(host)


def test_wrong_psk_as_responder(new, host, drops):
    """Nor may the gateway take such a response, or let it end the handshake: the right one comes."""
    client = new(psk=PSK, endpoint=True)
    host.send(client, b"staged")
    responder, _ = client.await_initiation()
    wrong = wgpeer.Responder(client.static, _.data).respond(wgpeer.NO_PSK)[0]
    client.send(wrong)
    drops.reach(1, "handshake_bad_response")
    assert client.drain() == []
    message, client.session = responder.respond(PSK)
    client.send(message)
    assert client.inner().payload == b"staged"


@pytest.mark.parametrize("alter", [lambda m: flipped(m, 116), lambda m: flipped(m, 131, 0x80),
                                   lambda m: m[:116] + bytes(32)],
                         ids=["first-bit", "last-bit", "absent"])
def test_wrong_mac1(new, host, drops, alter):
    """A gateway that answers a wrong mac1 can be found by scanning, and made to do curve work."""
    client = new()
    client.send(alter(client.initiator().message()))
    drops.reach(1, "handshake_bad_mac1")
    client.connect()
    assert client.passed == []
    client.check(host)


def test_mac1_of_another_key(new, drops):
    """mac1 made for another responder's key is wrong too, though it is a well-made one."""
    client = new()
    client.send(wgpeer.with_macs(client.initiator().body, client.static.public))
    drops.reach(1, "handshake_bad_mac1")


def test_unknown_peer(new, drops):
    """Whoever is no peer gets no answer, though every part of his initiation is right."""
    client = new()
    client.send(wgpeer.Initiator(wgpeer.Key(), client.remote_public).message())
    drops.reach(1, "handshake_unknown_peer")
    client.connect()
    assert client.passed == []


@pytest.mark.parametrize("position", [10, 45, 100], ids=["ephemeral", "static", "timestamp"])
def test_altered_initiation(new, host, drops, position):
    """A changed field under a right mac1 fails to decrypt, and leaves no trace in the peer."""
    client = new()
    client.connect()
    body = flipped(client.initiator().body, position)
    client.send(wgpeer.with_macs(body, client.remote_public))
    drops.reach(1, "handshake_bad_static")
    client.check(host)
    assert client.passed == []


def test_low_order_ephemeral(new, drops):
    """An all-zero shared secret must be refused: otherwise anybody could compute the keys."""
    client = new()
    client.send(client.initiator(ephemeral=wgpeer.LowOrderKey()).message())
    drops.reach(1, "handshake_bad_static")
    client.connect()
    assert client.passed == []


def test_initiation_replayed(new, host, drops):
    """A recorded initiation, or one with an older timestamp, would let anybody reset the session."""
    client = new()
    early = client.initiator()
    first = client.initiator()
    client.send(first.message())
    client.session = first.consume_response(client.expect(RESPONSE).data)
    client.send(client.session.seal())
    client.check(host)
    for message in (first.message(), early.message()):
        time.sleep(0.03)  # not a flood
        before = drops.since("handshake_replayed")
        client.send(message)
        drops.reach(before + 1, "handshake_replayed")
    client.check(host)
    assert client.passed == []
    time.sleep(0.03)
    client.connect()
    client.check(host)


def test_initiation_flood_of_one_peer(new, host, drops):
    """At most one initiation each 20 ms is worth a response, however right the others are."""
    for _ in range(5):
        client = new()
        initiators = [client.initiator() for _ in range(3)]
        began = time.monotonic()
        for initiator in initiators:
            client.send(initiator.message())
        if time.monotonic() - began < 0.01:
            break
    drops.reach(2, "handshake_flooded")
    client.session = initiators[0].consume_response(client.expect(RESPONSE).data)
    client.send(client.session.seal())
    client.check(host)
    assert client.passed == []


def test_response_once(new, host, drops):
    """A response answers one initiation once: replayed, unasked or misdirected, it changes nothing."""
    client = new(endpoint=True)
    host.send(client, b"staged")
    responder, datagram = client.await_initiation()
    message, client.session = responder.respond()
    client.send(flipped(message, 8))  # to another receiver index
    drops.reach(1, "handshake_bad_mac1")
    body = flipped(message, 8)[:60]
    client.send(wgpeer.with_macs(body, client.remote_public))
    drops.reach(1, "handshake_unknown_index")
    body = flipped(message, 50)[:60]
    client.send(wgpeer.with_macs(body, client.remote_public))
    drops.reach(1, "handshake_bad_response")
    client.send(message)
    assert client.inner().payload == b"staged"
    client.send(message)
    drops.reach(3, "handshake_unknown_index", "handshake_bad_response")
    second = wgpeer.Responder(client.static, datagram.data).respond()[0]
    client.send(second)
    drops.reach(4, "handshake_unknown_index", "handshake_bad_response")
    client.check(host)


def test_responder_waits_for_confirmation(new, host):
    """
    A responder that sends first proves nothing received: the initiation may be a replay. What lan sent
    waits, and comes in order after the initiator's first packet.
    """
    client = new()
    client.initiate()
    for n in range(20):
        host.send(client, b"waiting %d" % n)
    arrived = client.drain(0.3)
    assert [d for d in arrived if d.kind == DATA] == []
    client.send(client.session.seal())
    payloads = [client.inner().payload for _ in range(20)]
    assert payloads == [b"waiting %d" % n for n in range(20)]


def test_next_session_waits_for_its_first_packet(new, host, drops):
    """
    The next keypair made current before its first packet authenticates would cut off a peer whose
    initiation was answered but whose path for the response is broken. The former one still opens.
    """
    client = new()
    old = client.connect()
    client.check(host)
    time.sleep(0.025)
    fresh = client.initiate()
    client.sessions = [old]
    client.check(host)
    client.send(flipped(fresh.seal(counter=0), -1))
    drops.reach(1, "forged")
    client.check(host)
    client.session = fresh
    client.fence(host)

    def moved():
        host.send(client, b"under the new keys")
        return client.inner(0.1, session=fresh)

    lab.wait_for("data under the next session's keys", moved)
    assert [d for d in client.drain(0.1) if d.data[4:8] == struct.pack("<I", old.index)] == []
    # Packets still on their way under the former keys are good.
    client.send(old.seal(client.packet(host, b"late")))
    assert host.receive().data == b"late"
    client.check(host)


def test_staged_packets_oldest_lost(new, host, drops):
    """128 packets wait for a session; of more, the oldest are lost and the newest arrive."""
    client = new(endpoint=True)
    for n in range(140):
        host.send(client, b"%d" % n)
    drops.reach(12, "stage_full")
    client.respond()
    assert [client.inner().payload for _ in range(128)] == [b"%d" % n for n in range(12, 140)]
    client.check(host)


def test_initiations_cross(new, host):
    """Both sides initiate at once: whichever handshake is completed, data passes."""
    client = new(endpoint=True)
    host.send(client, b"staged")
    responder, _ = client.await_initiation()
    client.connect()
    assert client.inner().payload == b"staged"
    client.check(host)
    client.send(responder.respond()[0])
    client.check(host)


def test_receiver_indices_are_not_guessable(new):
    """Indices that count, or that share bits, let an attacker aim at sessions he has not seen."""
    client, indices = new(), []
    for _ in range(16):
        indices.append(client.initiate().remote_index)
        time.sleep(0.021)
    assert len(set(indices)) == len(indices)
    gaps = [abs(a - b) for a, b in zip(indices, indices[1:])]
    assert sum(gap < 1 << 16 for gap in gaps) <= 1, [hex(i) for i in indices]
    fixed = [bit for bit in range(32) if len({index >> bit & 1 for index in indices}) == 1]
    assert len(fixed) <= 1, (fixed, [hex(i) for i in indices])  # by chance: once in two million runs


# --- Lengths and types ---


def initiation_of(client):
    return client.initiator().message()


def response_of(client):
    initiator = wgpeer.Initiator(client.static, client.static.public)
    return wgpeer.with_macs(wgpeer.Responder(client.static, initiator.message()).respond()[0][:60],
                            client.remote_public)


def cookie_of(client):
    return wgpeer.cookie_reply(client.static.public, client.initiator().message(), bytes(16))


def data_of(client):
    return client.session.seal(bytes(200), counter=1 << 40)


def unknown_of(_client):
    return struct.pack("<I", 5) + bytes(60)


def zero_of(_client):
    return bytes(64)


@pytest.mark.parametrize("make", [initiation_of, response_of, cookie_of, data_of, unknown_of, zero_of],
                         ids=["initiation", "response", "cookie", "data", "type5", "type0"])
def test_every_length(new, host, drops, make):
    """A length that wraps when the tag is subtracted, or a field read past the datagram's end."""
    client = new()
    client.connect()
    client.check(host)
    message, sent = make(client), 0
    right = wgpeer.SIZES.get(message[0])
    names = ("message_length", "message_type", "handshake_bad_message", "forged")
    for length in range(201):
        if length == right:
            continue
        client.send((message + os.urandom(200))[:length])
        sent += 1
        if sent % 50 == 0:
            drops.reach(sent, *names)
    drops.reach(sent, *names)
    changed = drops.changed()
    if message[0] == DATA:
        assert changed == {"message_length": 32, "forged": sent - 32}, changed
    else:
        assert "forged" not in changed
        # Less than a type is nobody's: the data path drops it.
        assert changed.get("message_length", 0) >= 4, changed
    client.check(host)
    assert client.passed == []


@pytest.mark.parametrize("make", [initiation_of, data_of], ids=["initiation", "data"])
@pytest.mark.parametrize("byte", [1, 2, 3])
def test_reserved_bytes(new, host, drops, make, byte):
    """Reserved bytes are zero, so that they can mean something one day."""
    client = new()
    client.connect()
    message = flipped(make(client), byte, 0x80)
    if make is initiation_of:
        message = wgpeer.with_macs(message[:116], client.remote_public)
    client.send(message)
    drops.reach(1, "message_type", "handshake_bad_message")
    client.check(host)
    assert client.passed == []


def test_largest_datagrams(new, host, drops):
    """A datagram of 64 KiB, in fragments, must not stop the receiver or run past a buffer."""
    client = new()
    client.connect()
    huge = client.session.seal(os.urandom(1400), counter=1 << 40) + os.urandom(63000)
    client.send(huge)
    client.send(initiation_of(client) + os.urandom(60000))
    client.send(huge[:9000])
    client.check(host)
    assert set(drops.changed()) <= {"forged", "handshake_bad_message", "message_length", "no_room"}


# --- Data ---


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


def test_bad_among_good(new, host, drops):
    """One burst with every kind of bad packet in it loses no good one, and keeps their order."""
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
    wanted, counts, burst = [], {}, []
    for n in range(260):
        wanted.append(b"good %d" % n)
        burst.append(session.seal(client.packet(host, wanted[-1])))
        name, make = kinds[n % len(kinds)]
        burst.append(make(burst[-1]))
        counts[name] = counts.get(name, 0) + 1
    for message in burst:
        client.send(message)
    assert client.fence(host) == wanted
    lab.wait_for("the counters", lambda: drops.changed() == counts or
                 sum(drops.changed().values()) >= sum(counts.values()))
    # Whichever stage sees a wrong type first, it is counted once.
    changed = drops.changed()
    vague = ("message_length", "message_type", "handshake_bad_message")
    assert {n: c for n, c in changed.items() if n not in vague} \
        == {n: c for n, c in counts.items() if n not in vague}
    assert sum(changed.get(n, 0) for n in vague) == sum(counts[n] for n in vague)
    other.check(host)
    client.check(host)
    assert bench_endpoint(client) == f"{WAN4[0]}:{client.port}"


def bench_endpoint(client):
    return client.bench.shown(client, "endpoints")


@pytest.mark.parametrize("six", [False, True], ids=["inner4", "inner6"])
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


def test_outer_fragments(new, host, bench):
    """A data message that the path cut into fragments is put together again."""
    client = new()
    client.connect()
    payload = os.urandom(1465)
    client.send_packet(host, payload)  # 1493 inside, 1557 outside, over a link of 1500
    got = host.receive()
    assert got is not None and got.data == payload
    client.check(host)


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


@pytest.mark.parametrize("six", [False, True], ids=["inner4", "inner6"])
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


@pytest.mark.parametrize("six", [False, True], ids=["inner4", "inner6"])
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


@pytest.mark.parametrize("six", [False, True], ids=["inner4", "inner6"])
def test_unreachable(new, bench, six):
    """Where no peer owns the address, or the owner is nowhere to be found, the sender hears of it."""
    client = new()  # has no endpoint
    for address in ("fd09:0:0:fff0::1" if six else "10.9.240.1", client.tunnel6 if six
                    else client.tunnel4):
        done = bench.topology.lan.run("ping", "-n", "-c", 1, "-W", 2, address, check=False)
        assert "nreachable" in done.stdout, done.stdout


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
        lab.wait_for("the endpoint", lambda: bench_endpoint(client).endswith(f":{client.port}"))
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
    lab.wait_for("the endpoint", lambda: bench_endpoint(client) == f"{WAN4[1]}:{client.port}")
    client.sock = client.open(WAN4[2])
    time.sleep(0.025)
    client.initiate()
    lab.wait_for("the endpoint", lambda: bench_endpoint(client) == f"{WAN4[2]}:{client.port}")


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
    client.send(cookie_of(client), attacker)
    drops.reach(1, "handshake_unknown_index")
    host.send(client, b"still here")
    datagram, _, _ = client.data()
    assert datagram.socket is not attacker
    assert bench_endpoint(client) == f"{WAN4[0]}:{client.port}"


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
    time.sleep(0.025)
    initiator = client.initiator()
    client.gateway = (second, PORT)
    client.send(initiator.message())
    assert client.expect(RESPONSE).source == (second, PORT)


# --- Configuration under a session ---


def test_removed_peer(new, bench, host, drops):
    """Keys of a removed peer end with it, at once, and both ways."""
    client = new()
    client.connect()
    client.check(host)
    bench.set(client, "remove")
    client.send_packet(host, b"too late")
    drops.reach(1, "unknown_index")
    host.send(client, b"too late")
    bench.set(client, "allowed-ips", client.tunnel4)
    client.send_packet(host, b"too late")
    drops.reach(2, "unknown_index")
    assert host.receive(0) is None
    assert [d for d in client.drain(0.1) if d.kind == DATA] == []
    client.connect()
    client.check(host)


def set_private_key(bench, key):
    lab.run("wg", "set", bench.gateway.name, "private-key", "/dev/stdin", input=text(key.private))


def test_private_key_change(new, bench, host):
    """A session belongs to the keys that made it: none survives the interface's private key."""
    client = new()
    old = client.connect()
    client.check(host)
    key = wgpeer.Key()
    set_private_key(bench, bench.static)  # the same key changes nothing
    client.check(host)
    set_private_key(bench, key)
    try:
        client.drain()
        client.sessions.clear()
        host.send(client, b"under new keys")
        client.remote_public = key.public
        responder, _ = client.await_initiation()
        assert responder.remote_public == key.public
        assert client.passed == []
        client.send(old.seal(client.packet(host, b"under old keys")))
        message, client.session = responder.respond()
        client.send(message)
        assert client.inner().payload == b"under new keys"
        client.check(host)
        time.sleep(0.025)
        client.connect()
        client.check(host)
    finally:
        set_private_key(bench, bench.static)


def test_preshared_key_change(new, bench, host):
    """A changed preshared key keeps the session, and counts from the next handshake on."""
    client = new(psk=PSK)
    client.connect()
    client.check(host)
    other = PSK[::-1]
    bench.set(client, "preshared-key", "/dev/stdin", input=text(other))
    client.check(host)
    time.sleep(0.025)
    with pytest.raises(ProtocolError, match="authenticate"):
        client.initiate()
    client.psk = other
    time.sleep(0.025)
    client.connect()
    client.check(host)


def numbers(way):
    return [number for _, number in way]


def test_private_key_change_under_traffic(new, bench, drops):
    """
    From the moment of the change, and for every peer: no packet is sent or taken under a session of the
    old key, also while the peers do not know the new one. What is for them waits until they do.
    """
    hosts, clients, key = [Host(bench), Host(bench)], [new(), new()], wgpeer.Key()
    for client in clients:
        client.connect()
        client.check(hosts[0])
    try:
        with Traffic(clients[0], hosts[0]) as first, Traffic(clients[1], hosts[1]) as second:
            set_private_key(bench, key)
            for traffic in (first, second):
                traffic.old, traffic.changed = traffic.sessions[-1], traffic.mark()
            for traffic in (first, second):
                # It is asked for by who its peer is now, whom it does not know; then it is told.
                traffic.wait("an initiation under the new key", lambda t=traffic: t.strangers > 0)
                traffic.configure(remote_public=key.public)
                traffic.initiate()
            for traffic in (first, second):
                traffic.wait("a session", lambda t=traffic: len(t.sessions) > 1)
                traffic.flows(traffic.sessions[-1])
            for traffic in (first, second):
                traffic.stop_and_settle()
    finally:
        set_private_key(bench, bench.static)
        for host in hosts:
            host.sock.close()
    for traffic in (first, second):
        for way in (traffic.inbound, traffic.outbound):
            assert [n for session, n in way if session is traffic.old and n >= traffic.changed] == []
    lost = sum(traffic.sent - len(set(numbers(traffic.outbound))) for traffic in (first, second))
    assert lost == drops.since("stage_full"), drops.changed()


def test_preshared_key_change_under_traffic(new, bench, drops):
    """
    The session goes on, and no packet is lost by the change: neither when it was made at one end, where
    handshakes then fail, nor when at both and the next handshake uses it. No other peer notices.
    """
    hosts = [Host(bench), Host(bench)]
    client, other = new(psk=PSK), new(psk=PSK)
    for each in (client, other):
        each.connect()
        each.check(hosts[0])
    with Traffic(client, hosts[0]) as traffic, Traffic(other, hosts[1]) as bystander:
        first = traffic.sessions[0]
        bench.set(client, "preshared-key", "/dev/stdin", input=text(PSK[::-1]))
        traffic.flows(first)
        traffic.initiate()
        traffic.wait("a response that does not authenticate", lambda: traffic.refused == 1)
        traffic.flows(first)
        traffic.configure(psk=PSK[::-1])
        assert traffic.sessions == [first]
        traffic.initiate()
        traffic.wait("a session", lambda: len(traffic.sessions) == 2)
        traffic.flows(traffic.sessions[-1])
        traffic.stop_and_settle()
        bystander.stop_and_settle()
    for host in hosts:
        host.sock.close()
    for each in (traffic, bystander):
        assert numbers(each.outbound) == list(range(each.sent)), drops.changed()
        assert numbers(each.inbound) == list(range(each.sent)), drops.changed()
    assert len(bystander.sessions) == 1 and traffic.strangers == 0


def test_set_of_the_same_changes_nothing(new, bench, host):
    """Tools set everything again at each run: no session, counter or timer may notice."""
    client = new(psk=PSK)
    session = client.connect()
    client.check(host)
    host.send(client, b"before")
    _, counter, _ = client.data()
    for _ in range(3):
        bench.set(client, "endpoint", f"{WAN4[0]}:{client.port}", "persistent-keepalive", "off",
                  "preshared-key", "/dev/stdin", "allowed-ips",
                  f"{client.tunnel4},{client.tunnel6}", input=text(PSK))
        bench.gateway.set("listen-port", PORT)
    host.send(client, b"after")
    datagram, after, _ = client.data(session=session)
    assert after == counter + 1 and datagram.source == (OUTER4, PORT)
    assert client.passed == []
    client.check(host)


def test_endpoint_set_by_hand(new, bench, host):
    """An endpoint given by the operator counts at once, for a session that runs."""
    client = new()
    client.connect()
    client.check(host)
    there = client.open(WAN4[2])
    bench.set(client, "endpoint", f"{WAN4[2]}:{there.getsockname()[1]}")
    host.send(client, b"to the new one")
    assert client.data()[0].socket is there


# --- Timers: everything that takes seconds runs at the same time ---


def scenario_retries(bench):
    """Nobody answers, until the fifth initiation."""
    client, host = bench.client(endpoint=True), Host(bench)
    began = time.monotonic()
    for n in range(3):
        host.send(client, b"staged %d" % n)
    seen = [client.await_initiation(8.0) for _ in range(5)]
    message, client.session = seen[-1][0].respond()
    client.send(message)
    return {"began": began, "seen": seen, "passed": client.passed,
            "staged": [client.inner().payload for _ in range(3)]}


def scenario_cookie_consumed(bench):
    """A cookie reply of ours, from another address, between two initiations; a wrong one before it."""
    client, host = bench.client(endpoint=True), Host(bench)
    elsewhere = client.open(WAN4[1])
    host.send(client, b"staged")
    _, first = client.await_initiation()
    drops = Drops(bench.gateway)
    client.send(wgpeer.cookie_reply(client.static.public, first.data, bytes(16), mac1=bytes(16)))
    drops.reach(1, "handshake_bad_cookie")
    cookie = os.urandom(16)
    client.send(wgpeer.cookie_reply(client.static.public, first.data, cookie), elsewhere)
    early = client.drain(1.0)
    responder, second = client.await_initiation(8.0)
    message, client.session = responder.respond()
    client.send(message)
    return {"first": first, "early": early, "responder": responder, "second": second,
            "cookie": cookie, "staged": client.inner().payload, "elsewhere": elsewhere}


def scenario_passive_keepalive(bench):
    """Data comes in and nothing goes out."""
    client, host = bench.client(), Host(bench)
    client.connect()
    client.send_packet(host, b"unanswered")
    began = time.monotonic()
    return {"began": began, "arrived": client.drain(13.0), "client": client}


def scenario_keepalives_only(bench):
    """Empty packets come in and nothing goes out."""
    client = bench.client()
    client.connect()
    arrived = []
    for _ in range(13):
        client.send(client.session.seal())
        arrived += client.drain(1.0)
    return {"arrived": arrived}


def scenario_persistent_keepalive(bench):
    """Every second, beginning with a handshake that only the keepalive asks for."""
    client = bench.client(endpoint=True)
    bench.set(client, "persistent-keepalive", "1")
    client.respond()
    arrived = [client.data(4.0) for _ in range(5)]
    bench.set(client, "persistent-keepalive", "off")
    client.drain(0.2)
    return {"arrived": arrived, "after": client.drain(2.0)}


def scenario_silent_peer(bench):
    """The gateway sends and hears nothing."""
    client, host = bench.client(), Host(bench)
    client.connect()
    client.check(host)
    client.send(client.session.seal())
    client.drain(0.5)
    host.send(client, b"into the void")
    began = time.monotonic()
    client.data()
    _, datagram = client.await_initiation(20.0)
    return {"after": datagram.at - began, "passed": client.passed}


SCENARIOS = [scenario_retries, scenario_cookie_consumed, scenario_passive_keepalive,
             scenario_keepalives_only, scenario_persistent_keepalive, scenario_silent_peer]


class Played:
    """Scenarios that run side by side; each one's evidence is had by calling this with it."""

    def __init__(self, bench, scenarios):
        self.pool = concurrent.futures.ThreadPoolExecutor(len(scenarios))
        self.futures = {scenario: self.pool.submit(scenario, bench) for scenario in scenarios}

    def __call__(self, scenario):
        return self.futures[scenario].result()


@pytest.fixture(scope="module")
def played(bench):
    before = list(bench.clients)
    made = Played(bench, SCENARIOS)
    yield made
    made.pool.shutdown()
    for client in [c for c in bench.clients if c not in before]:
        bench.remove(client)


def test_retries_with_jitter(played):
    """Every 5 s plus up to 333 ms, for as long as packets wait; the wait loses none of them."""
    seen = played(scenario_retries)["seen"]
    times = [datagram.at for _, datagram in seen]
    gaps = [b - a for a, b in zip(times, times[1:])]
    # The first of two may be seen late, and be near its successor by as much.
    assert all(5 - SEEN_LATE <= gap <= 5.334 + LATE for gap in gaps), gaps
    assert sorted(gaps)[len(gaps) // 2] >= 5, "most of them come before their time"
    assert max(gaps) - min(gaps) > 0.005, f"no jitter: {gaps}"
    assert times[0] - played(scenario_retries)["began"] < 1
    assert played(scenario_retries)["staged"] == [b"staged %d" % n for n in range(3)]
    assert played(scenario_retries)["passed"] == []


def test_timestamps_increase(played):
    """TAI64N of each initiation is later than the one before, or the peer would refuse it."""
    stamps = [responder.timestamp for responder, _ in played(scenario_retries)["seen"]]
    assert stamps == sorted(set(stamps))
    seconds = [int.from_bytes(stamp[:8], "big") for stamp in stamps]
    now = 2 ** 62 + 10 + int(time.time())
    assert all(now - 300 < second <= now for second in seconds), seconds


def test_retries_are_new_handshakes(played):
    """A retry has an ephemeral key and an index of its own: repeated, they would tie sessions."""
    seen = played(scenario_retries)["seen"]
    assert len({responder.remote_ephemeral for responder, _ in seen}) == len(seen)
    assert len({responder.remote_index for responder, _ in seen}) == len(seen)
    assert all(responder.mac2 == bytes(16) for responder, _ in seen)


def test_handshakes_leave_from_the_listen_port_with_their_class(played):
    """From the ListenPort, so that answers come back; DSCP AF41 (0x88), as the kernel marks them."""
    for _, datagram in played(scenario_retries)["seen"]:
        assert datagram.source == (OUTER4, PORT)
        assert datagram.tos == HANDSHAKE_DSCP


@OUTER
def test_responses_have_their_class(new, source):
    """Responses are handshake messages too."""
    client = new(source=source)
    client.send(client.initiator().message())
    assert client.expect(RESPONSE).tos == HANDSHAKE_DSCP


def test_cookie_is_used(played):
    """
    The gateway reads our cookie reply and proves it by mac2 in its next try: not before its time, and
    to the same endpoint though the reply came from elsewhere.
    """
    evidence = played(scenario_cookie_consumed)
    assert evidence["early"] == []
    second = evidence["second"]
    assert evidence["responder"].mac2 == wgpeer.mac(evidence["cookie"], second.data[:132])
    assert 4.98 <= second.at - evidence["first"].at <= 5.334 + LATE
    assert second.socket is evidence["first"].socket
    assert second.socket is not evidence["elsewhere"]
    assert evidence["staged"] == b"staged"


def test_passive_keepalive(played):
    """After 10 s of receiving without sending the other side must hear something: once, and empty."""
    evidence = played(scenario_passive_keepalive)
    assert len(evidence["arrived"]) == 1
    datagram = evidence["arrived"][0]
    assert datagram.kind == DATA and len(datagram.data) == 32
    assert evidence["client"].session.open(datagram.data)[1] == b""
    assert 9.9 <= datagram.at - evidence["began"] <= 10.0 + LATE


def test_keepalives_are_not_answered(played):
    """Two peers that answer each other's keepalives never fall silent."""
    assert played(scenario_keepalives_only)["arrived"] == []


def test_persistent_keepalive(played):
    """Every second when so configured, without any data, and no longer when it is switched off."""
    evidence = played(scenario_persistent_keepalive)
    assert all(got is not None and got[2] == b"" for got in evidence["arrived"])
    times = [got[0].at for got in evidence["arrived"]]
    gaps = [b - a for a, b in zip(times, times[1:])]
    # The first is the handshake's confirmation, at a time of its own.
    assert all(0.9 <= gap <= 1.0 + LATE for gap in gaps[1:]), gaps
    assert gaps[0] <= 1.0 + LATE
    assert evidence["after"] == []


def test_silent_peer_is_asked_again(played):
    """After 15 s of sending without hearing anything, a new handshake."""
    evidence = played(scenario_silent_peer)
    assert 14.9 <= evidence["after"] <= 15.334 + LATE, evidence["after"]


# --- Timers of minutes ---


def scenario_rekey_as_initiator(bench):
    """The gateway made the session and sends all the time: 120 s."""
    client, host = bench.client(endpoint=True), Host(bench)
    host.send(client, b"first")
    old = client.respond()
    began = time.monotonic()
    client.data()
    rekeyed, received = None, 0
    while time.monotonic() < began + 140:
        client.send_packet(host, b"keeps it alive")
        host.send(client, b"tick")
        datagram = client.receive(1.0)
        while datagram is not None:
            if datagram.kind == INITIATION:
                rekeyed = rekeyed or datagram.at - began
                message, client.session = wgpeer.Responder(client.static, datagram.data).respond()
                client.send(message)
            else:
                received += 1
            datagram = client.receive(0.3)
        while host.receive(0):
            pass
    return {"rekeyed": rekeyed, "old": old, "client": client, "host": host, "received": received}


def scenario_expiry_as_responder(bench):
    """The gateway answered the handshake: it does not rekey, and refuses the session after 180 s."""
    client, host = bench.client(), Host(bench)
    client.connect()
    began = time.monotonic()
    initiated = []
    while time.monotonic() < began + 175:
        client.send_packet(host, b"tick")
        host.send(client, b"tick")
        initiated += [d for d in client.drain(1.0) if d.kind == INITIATION]
    at_175 = client.fence(host) is not None
    client.drain(began + 181 - time.monotonic())
    while host.receive(0):
        pass
    drops = Drops(bench.gateway)
    client.send_packet(host, b"too old")
    drops.reach(1, "session_expired")
    host.send(client, b"under new keys")
    _, datagram = client.await_initiation(3.0)
    client.drain(began + 545 - time.monotonic())
    drops = Drops(bench.gateway)
    client.send_packet(host, b"far too old")
    drops.reach(1, "unknown_index")
    return {"initiated": initiated, "at_175": at_175, "late": host.receive(0), "again": datagram,
            "passed": client.passed}


def scenario_early_rekey_on_receive(bench):
    """The gateway made the session and is silent; it hears something after 165 s."""
    client, host = bench.client(endpoint=True), Host(bench)
    host.send(client, b"first")
    client.respond()
    began = time.monotonic()
    client.data()
    client.send(client.session.seal())  # it has been heard: no reason for a new handshake
    before = client.drain(began + 163 - time.monotonic())
    client.send(client.session.seal())
    before += client.drain(began + 166.5 - time.monotonic())
    client.send(client.session.seal())
    sent = time.monotonic()
    _, datagram = client.await_initiation(3.0)
    return {"before": before, "after": datagram.at - sent}


def scenario_given_up(bench):
    """Nobody answers for 90 s; later there is a reason to try again."""
    client, host = bench.client(endpoint=True), Host(bench)
    host.send(client, b"staged")
    began = time.monotonic()
    tries = client.drain(105.0)
    host.send(client, b"staged again")
    responder, datagram = client.await_initiation(3.0)
    message, client.session = responder.respond()
    client.send(message)
    return {"times": [d.at - began for d in tries], "last": client.inner().payload}


LONG = [scenario_rekey_as_initiator, scenario_expiry_as_responder, scenario_early_rekey_on_receive,
        scenario_given_up]


@pytest.fixture(scope="module")
def played_long(bench):
    made = Played(bench, LONG)
    yield made
    made.pool.shutdown()


@full_only
def test_rekey_after_120_seconds(played_long):
    """Only the initiator rekeys, and data passes all the while."""
    evidence = played_long(scenario_rekey_as_initiator)
    assert 119.5 <= evidence["rekeyed"] <= 123
    assert evidence["client"].session is not evidence["old"]
    assert evidence["received"] >= 90
    evidence["client"].check(evidence["host"])


@full_only
def test_early_rekey_on_receive(played_long):
    """A packet received after 165 s makes the initiator rekey, so that replies find a session."""
    evidence = played_long(scenario_early_rekey_on_receive)
    assert evidence["before"] == []
    assert evidence["after"] < 1


@full_only
def test_given_up_after_90_seconds(played_long):
    """Some 18 tries, then silence; new traffic starts anew, with none of the old."""
    evidence = played_long(scenario_given_up)
    assert 16 <= len(evidence["times"]) <= 19
    assert 85 <= evidence["times"][-1] <= 96
    assert evidence["last"] == b"staged again"


@full_only
def test_session_ends_after_180_seconds_and_is_erased_after_540(played_long):
    """The responder leaves rekeying to the initiator, but uses no key beyond its time."""
    evidence = played_long(scenario_expiry_as_responder)
    assert evidence["initiated"] == []
    assert evidence["at_175"] and evidence["late"] is None
    assert [d for d in evidence["passed"] if d.kind == DATA] == []


# --- Under load ---


def junk_for(bench):
    """An initiation with a right mac1 and nothing else right."""
    return wgpeer.with_macs(struct.pack("<I", INITIATION) + os.urandom(112), bench.public)


def answer_to(peer, initiation, timeout=2.0):
    """The response or cookie reply to this initiation; answers to earlier ones are left out."""
    end = time.monotonic() + timeout
    while (got := peer.receive(end - time.monotonic())) is not None:
        at = {RESPONSE: 8, COOKIE_REPLY: 4}.get(got.kind)
        if at and got.data[at:at + 4] == initiation[4:8]:
            return got
    return None


def under_load(client, make, sock=None, times=1):
    """
    Sends make()'s message amid so many others that it is read under load: while the program stands
    still, so that it finds them all at once. That it was so is shown by two neighbours whose
    initiations lack a cookie and are answered by one; else it is tried again. Returns the message.
    """
    bench = client.bench
    process, junk, attacker = bench.gateway.process, junk_for(bench), bench.attacker
    for _ in range(10):
        time.sleep(0.025)  # two initiations within 20 ms are a flood
        client.drain()
        message = make()
        before, after = ([junk] * 100, [junk] * 400)
        probes = [(probe, probe.initiator().message()) for probe in bench.probes]
        process.send_signal(signal.SIGSTOP)
        for filler in before:
            bench.probes[0].send(filler, attacker)
        probes[0][0].send(probes[0][1])
        for _ in range(times):
            client.send(message, sock)
        probes[1][0].send(probes[1][1])
        for filler in after:
            bench.probes[0].send(filler, attacker)
        process.send_signal(signal.SIGCONT)
        answers = [answer_to(probe, sent) for probe, sent in probes]
        if all(answer and answer.kind == COOKIE_REPLY for answer in answers):
            return message
    raise lab.LabError("the program does not come under load")


def cookie_under_load(client, sock=None, cookie=None):
    """An initiation sent under load with this cookie, if any, is answered by a cookie; returns that."""
    message = under_load(client, lambda: client.initiator().message(cookie), sock)
    reply = answer_to(client, message)
    assert reply is not None and reply.kind == COOKIE_REPLY and reply.socket is (sock or client.sock)
    return wgpeer.open_cookie_reply(client.remote_public, reply.data, message)


def connect_under_load(client, cookie, sock=None):
    """A handshake under load, with a cookie that is good."""
    made = []

    def make():
        made.append(client.initiator())
        return made[-1].message(cookie)

    answer = answer_to(client, under_load(client, make, sock))
    client.session = made[-1].consume_response(answer.data)
    client.send(client.session.seal(), sock)


@OUTER
def test_cookies_under_load(new, bench, host, drops, source):
    """Under load a right mac1 is worth a cookie only; with it, from the same port, a handshake."""
    client = new(source=source)
    cookie = cookie_under_load(client)
    assert drops.since("handshake_cookie_sent") > 0
    connect_under_load(client, cookie)
    client.check(host)


def test_cookie_is_bound_to_address_and_port(new):
    """A cookie that works from elsewhere can be handed to a thousand others."""
    client = new(source=WAN4[1])
    cookie = cookie_under_load(client)
    for source in (WAN4[1], WAN4[2]):
        elsewhere = client.open(source)
        other = cookie_under_load(client, elsewhere, cookie)
        assert other != cookie
        connect_under_load(client, other, elsewhere)


def test_wrong_mac2_under_load(new):
    """A mac2 that was made up, or made for another message, is none."""
    client = new(source=WAN4[1])
    cookie = cookie_under_load(client)
    cookie_under_load(client, cookie=os.urandom(16))
    other = client.initiator().message(cookie)
    message = under_load(client, lambda: client.initiator().message()[:132] + other[132:])
    assert answer_to(client, message).kind == COOKIE_REPLY
    connect_under_load(client, cookie)


def test_wrong_mac1_gets_no_cookie(new, drops):
    """Not even a cookie for who does not know the public key: scans would be answered under load."""
    client = new(source=WAN4[1])
    message = under_load(client, lambda: flipped(client.initiator().message(), 120))
    assert drops.since("handshake_bad_mac1") >= 1
    assert answer_to(client, message, 0.1) is None
    connect_under_load(client, cookie_under_load(client))


def test_one_source_has_its_share(new, drops):
    """Whoever shows under load that he is there gets 5 handshakes at once only, and 20 a second."""
    client = new(source=WAN4[2])
    cookie = cookie_under_load(client)
    stranger = wgpeer.Initiator(wgpeer.Key(), client.remote_public).message(cookie)
    judged = ("handshake_rate_limited", "handshake_unknown_peer")
    before = drops.since(*judged), drops.since("handshake_unknown_peer")
    under_load(client, lambda: stranger, times=40)
    seen, passed = drops.since(*judged) - before[0], drops.since("handshake_unknown_peer") - before[1]
    assert seen % 40 == 0 and 5 <= passed % 40 <= 15, drops.changed()


class Flood:
    """The same from many ports of the first address, for as long as it lasts."""

    def __init__(self, bench):
        self.bench = bench

    def __enter__(self):
        self.process = self.bench.topology.wan.start(
            "/usr/bin/python3", wgpeer.__file__, "flood", junk_for(self.bench).hex(), OUTER4, PORT,
            64, 50, 0.001)
        return self

    def __exit__(self, *error):
        self.bench.topology.stop(self.process)


def connected(client):
    """A session, or None: without a cookie there is none for a second after load."""
    try:
        return client.connect(timeout=0.3)
    except ProtocolError:
        return None


def lost_on_the_wire(bench):
    """Frames sent to the outer port that it has not received, since the lab was made."""
    link, = bench.topology.wan.ip_json("-s", "link", "show", "e0")
    return link["stats64"]["tx"]["packets"] - bench.gateway.telemetry("/ethdev/stats,0")["ipackets"]


def test_sessions_do_not_feel_the_load(new, bench, host, drops):
    """Handshakes wait in a queue of their own: not one data packet of a session is lost meanwhile."""
    client = new(source=WAN4[1])
    lab.wait_for("the load of another test to pass", lambda: connected(client))
    client.check(host)
    lost = lost_on_the_wire(bench)
    with Flood(bench):
        lab.wait_for("load", lambda: drops.since("handshake_cookie_sent") > 0)
        inbound, outbound = set(), set()
        for n in range(400):
            client.send_packet(host, b"in %d" % n)
            host.send(client, b"out %d" % n)
            while (got := host.receive(0)) is not None:
                inbound.add(got.data)
            while (got := client.inner(0.002)) is not None:
                outbound.add(got.payload)
        while len(inbound) < 400 and (got := host.receive(1)) is not None:
            inbound.add(got.data)
        while len(outbound) < 400 and (got := client.inner(1)) is not None:
            outbound.add(got.payload)
    # A machine that is short of time loses frames before the program could see them.
    lost = lost_on_the_wire(bench) - lost
    assert len(inbound) >= 400 - lost, (lost, drops.changed())
    assert len(outbound) == 400, drops.changed()
