# SPDX-License-Identifier: BSD-3-Clause
"""
Abuse and faults, one after the other against one running gateway: floods, damaged datagrams, clients of
its sockets that misbehave, queues and buffers that run out, ports and interfaces that go down, peers by
the thousand. After each of them the program runs, the tunnel works, and no packet buffer, descriptor or
memory is lost: the fixture counts. With DPDK_WG_FULL=yes each lasts LONGER times as long, and those run that take the
most time (full_only).

A session that is established must not lose a packet by any of it. Where the load is above what this
machine's cables carry, the kernel loses frames before the program can see them: those are counted too
(abuse.Losses), and the program's own loss is what is beyond.
"""
import os
import threading
import time

import abuse
import lab
import pytest
import wgpeer
from abuse import OUTER4, OUTER6, PORT
from wgpeer import Key

FULL = os.environ.get("DPDK_WG_FULL") == "yes"
LONGER = 10 if FULL else 1
full_only = pytest.mark.skipif(not FULL, reason="takes many seconds: DPDK_WG_FULL=yes")
CROWD = 2000
UAPI_CLIENTS, UAPI_TIMEOUT_S = 32, 30
WAN4, WAN6 = "192.0.2.2", "2001:db8:1::2"
# A ring with room for what arrives while this machine's few cores do something else.
RING = "net_af_packet{},iface={},blocksz=65536,framesz=2048,framecnt=8192"


class Gateway(lab.Gateway):
    """With `wg COMMAND FILE`."""

    before_exec = staticmethod(abuse.small_pages)

    def add_file(self, command, text):
        path = os.path.join(self.lab.dir, "peers.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return lab.run("wg", command, self.name, path)


class Client(wgpeer.Peer):
    """A peer that knows what to do about cookies."""

    cookie = initiation = None

    def attempt(self, timeout=0.5):
        """One initiation; its session, or None, and then perhaps a cookie for the next."""
        initiator = self.initiator()
        self.initiation = message = initiator.message(self.cookie)
        self.send(message)
        while (got := self.receive(timeout)) is not None:
            if got.kind == wgpeer.COOKIE_REPLY and got.data[4:8] == message[4:8]:
                self.cookie = wgpeer.open_cookie_reply(self.remote_public, got.data, message)
                return None
            if got.kind == wgpeer.RESPONSE and got.data[8:12] == message[4:8]:
                self.session = initiator.consume_response(got.data)
                self.send(self.session.seal())
                return self.session
        return None

    def connect(self):
        return lab.wait_for("a handshake", self.attempt, every=0.05)


class Abused:
    """The standard topology, a stock client whose packets are counted, and a peer that sends the rest."""

    def __init__(self, topology):
        self.topology = topology
        self.wan, self.gw, self.lan = topology.wan, topology.gw, topology.lan
        self.seed = abuse.seed()
        self.site = lab.Site(topology, outer=(RING.format(0, "v_out"),), inner=(RING.format(1, "v_in"),),
                             gateway=Gateway)
        self.gateway = self.site.gateway
        for family, prefix, via in (("-4", abuse.SPOOFED4, WAN4), ("-6", abuse.SPOOFED6, WAN6)):
            self.gw.ip(family, "route", "add", prefix, "via", via, "dev", "outer0")
        assert self.site.ping_through(), self.gateway.tail()
        self.mac = abuse.mac(self.gw, "outer0")
        self.remote = wgpeer.base64_key(self.site.public_key)
        self.count, self.peers = 0, []
        # What is made at its first use does not count as growth.
        abuse.Flood(self.wan, "e0", self.recorded(WAN4), "mutate", "spoof", seconds=1).run()
        abuse.touch_sessions(topology, self.gateway)
        self.remove_peers()
        for _ in range(3):
            self.crowd()

    def crowd(self):
        """Thousands of peers come and go."""
        gateway, alone = self.gateway, lab.run("wg", "showconf", self.gateway.name).stdout
        gateway.add_file("addconf", "".join(
            f"[Peer]\nPublicKey = {wgpeer.base64_text(os.urandom(31) + b'1')}\nEndpoint = 192.0.2.2:9\n"
            f"AllowedIPs = 10.64.{n // 250}.{n % 250}/32,fd64::{n:x}/128\n" for n in range(CROWD)))
        assert len(gateway.show("peers").split()) == CROWD + 1
        gateway.add_file("syncconf", alone)
        assert gateway.show("peers") == self.site.client.public_key

    def peer(self, source=WAN4):
        """A new peer of the gateway's, in Python."""
        self.count += 1
        peer = Client(self.wan.name, self.remote, (OUTER6 if ":" in source else OUTER4, PORT), source)
        peer.key = wgpeer.base64_text(peer.static.public)
        peer.tunnel = f"10.8.{self.count}.2"
        self.gateway.set("peer", peer.key, "allowed-ips", f"{peer.tunnel}/32")
        self.peers.append(peer)
        return peer

    def remove_peers(self):
        """But for the stock client."""
        while self.peers:
            peer = self.peers.pop()
            self.gateway.set("peer", peer.key, "remove")
            peer.close()

    def frame(self, peer, payload):
        return abuse.frame(self.mac, peer.sock.getsockname()[0], peer.gateway[0], peer.port, PORT, payload)

    def recorded(self, source):
        """Frames: one message of each type that is valid, or was once, and junk."""
        peer = self.peer(source)
        peer.connect()
        initiation = peer.initiator().message()
        response = wgpeer.Responder(peer.static, wgpeer.Initiator(
            Key(), peer.static.public).message()).respond()[0]
        inner = wgpeer.udp(peer.tunnel, "10.1.0.2", bytes(100))
        data = [peer.session.seal(inner), peer.session.seal(), peer.session.seal(bytes(1400))]
        cookie = wgpeer.cookie_reply(self.remote, initiation, bytes(16))
        messages = [initiation, response, cookie, *data, os.urandom(148), os.urandom(1200)]
        return [self.frame(peer, message) for message in messages]

    def pings(self, seconds, interval=0.01):
        return abuse.Pings(self.wan, "10.1.0.2", int(seconds / interval), interval)

    def losses(self):
        return abuse.Losses(self.site)

    def assert_none_lost(self, pings, losses):
        """Or as many at most as were lost outside the program."""
        outside = losses.since()
        print(pings, "| lost elsewhere:", outside, "| drops:", self.gateway.drops())
        assert pings.lost <= sum(outside.values()), (str(pings), outside)


@pytest.fixture(scope="module")
def abused():
    with lab.Topology() as topology:
        made = Abused(topology)
        yield made
        assert made.gateway.stop() == 0, made.gateway.tail()


@pytest.fixture
def rest(abused):
    """After the test all is as before: alive, tunnel, buffers, descriptors, memory."""
    before = abuse.Rest(abused.gateway)
    yield before
    abused.remove_peers()
    assert abused.gateway.process.poll() is None, abused.gateway.tail()
    lab.wait_for("the tunnel", lambda: abused.site.ping_through(count=1, deadline=1))
    assert abused.gateway.show("peers") == abused.site.client.public_key
    before.check()
    assert "out of memory" not in abused.gateway.tail(1000)


# --- From the network ---


@pytest.mark.parametrize("source", [WAN4, WAN6], ids=["outer4", "outer6"])
def test_mutated_datagrams(abused, rest, source):
    """A parser that trusts a length, type or index of what it has not authenticated."""
    frames = abused.recorded(source)
    drops = abused.gateway.drops()
    sent = abuse.Flood(abused.wan, "e0", frames, "mutate", "spoof", f"seed={abused.seed}",
                       seconds=LONGER).run()
    after = abused.gateway.drops()
    print(f"{sent} frames;", {name: after[name] - drops.get(name, 0) for name in after})
    for name in ("forged", "unknown_index", "message_length", "message_type", "handshake_bad_mac1"):
        assert after.get(name, 0) > drops.get(name, 0), name


@pytest.mark.parametrize("source", [WAN4, WAN6], ids=["outer4", "outer6"])
def test_truncated_datagrams(abused, rest, source):
    """
    Every length of every type, at full rate, so that they share bursts. Those of a type that are too
    short, and no others, are dropped for it: the last byte of a handshake message counts.
    """
    def counts():
        stats = abused.gateway.telemetry("/ethdev/stats,0")
        return stats["ipackets"], abused.gateway.drops().get("message_length", 0)

    frames = abused.recorded(source)
    before = counts()
    sent = abuse.Flood(abused.wan, "e0", frames, "truncate", seconds=LONGER).run()
    assert sent > 1450 * len(frames)
    received, short = (now - then for now, then in zip(counts(), before))
    # Of each round: lengths below 148, 92, 64 and three times 32 bytes; below the type's four twice.
    expected = received * (148 + 92 + 64 + 3 * 32 + 2 * 4) // (len(frames) * 1473)
    assert 0.8 * expected < short < 1.2 * expected, (sent, received, short, expected)


def replayed(abused):
    """One that was answered, again and again, from where it came."""
    peer = abused.peer()
    peer.connect()
    return [abused.frame(peer, peer.initiation)], ()


def unknown(abused):
    """From everywhere, with a right mac1: each would cost the gateway two multiplications."""
    peer = abused.peer()
    made = [wgpeer.Initiator(Key(), abused.remote).message() for _ in range(50)]
    return [abused.frame(peer, message) for message in made], ("spoof",)


def with_cookie(abused):
    """
    From where he says he is: a peer with a cookie, which it got under load, and new initiations
    without end.
    """
    peer = abused.peer()
    message = peer.initiator().message()
    junk = wgpeer.Initiator(Key(), abused.remote).message()

    def cookie():
        peer.drain()
        peer.send(message)
        reply = peer.expect(wgpeer.COOKIE_REPLY, 0.2)
        return reply and wgpeer.open_cookie_reply(abused.remote, reply.data, message)

    with abuse.Flood(abused.wan, "e0", [abused.frame(peer, junk)], "spoof", "rate=20000"):
        found = lab.wait_for("a cookie", cookie)
    return [abused.frame(peer, peer.initiator().message(found)) for _ in range(2000)], ()


@pytest.mark.parametrize("make, counters", [
    (unknown, ["handshake_cookie_sent"]),
    pytest.param(replayed, ["handshake_cookie_sent", "handshake_rate_limited", "handshake_replayed"],
                 marks=full_only),
    pytest.param(with_cookie, ["handshake_rate_limited"], marks=full_only)], ids=["spoofed", "replayed", "with-cookie"])
def test_handshake_flood(abused, rest, make, counters):
    """
    Established sessions lose nothing to a flood of handshakes several times beyond what control can
    answer; what they wait longer is printed.
    """
    frames, options = make(abused)
    quiet = abused.pings(LONGER).finish()
    drops, losses = abused.gateway.drops(), abused.losses()
    with abuse.Flood(abused.wan, "e0", frames, *options, "rate=20000") as flood:
        loaded = abused.pings(1.5 * LONGER).finish()
    print(f"{flood.sent} initiations; without: {quiet}; with: {loaded}")
    after = abused.gateway.drops()
    assert sum(after.get(name, 0) - drops.get(name, 0) for name in counters) > 1000 * LONGER, after
    abused.assert_none_lost(loaded, losses)


def test_handshakes_get_through_a_flood(abused, rest):
    """Cookies under real load: who answers them has a session while spoofed sources flood."""
    frames, options = unknown(abused)
    peer = abused.peer(WAN6)

    with abuse.Flood(abused.wan, "e0", frames, *options, "rate=20000"):
        lab.wait_for("load", lambda: abused.gateway.drops().get("handshake_cookie_sent"))
        begun = time.monotonic()
        lab.wait_for("a handshake with a cookie", lambda: peer.attempt() and peer.cookie, every=0.05)
        print(f"a handshake amid the flood took {time.monotonic() - begun:.2f} s")


# --- Queues and buffers ---


def test_full_rings(abused, rest):
    """The program stands still while handshakes arrive at full rate, and finds its rings full."""
    frames, options = unknown(abused)
    drops = abused.gateway.drops().get("handshake_full", 0)
    with abuse.Flood(abused.wan, "e0", frames, *options):
        lab.wait_for("a full ring", lambda: abused.gateway.drops().get("handshake_full", 0) > drops)
        for _ in range(3):
            with stopped(abused.gateway.process):
                time.sleep(0.3)


class stopped:  # pylint: disable=invalid-name
    """A process that stands still for a while."""

    def __init__(self, process):
        self.process = process

    def __enter__(self):
        self.process.send_signal(lab.signal.SIGSTOP)

    def __exit__(self, *error):
        self.process.send_signal(lab.signal.SIGCONT)


@full_only
def test_silent_peers_do_not_take_the_buffers(abused, rest):
    """
    Packets for peers that do not answer wait for them: for enough peers they would be all buffers
    that there are, and those that do answer had none.
    """
    alone = lab.run("wg", "showconf", abused.gateway.name).stdout
    count = 400  # times 128 packets: more than twice the buffers
    keys = [wgpeer.base64_text(os.urandom(31) + b"\1") for _ in range(count)]
    abused.gateway.add_file("addconf", "".join(
        f"[Peer]\nPublicKey = {key}\nEndpoint = 192.0.2.2:9\nAllowedIPs = 10.7.{n // 200}.{n % 200}/32\n"
        for n, key in enumerate(keys)))
    total = abused.gateway.telemetry("/wg/info")["packet_buffers"]
    losses = abused.losses()
    frames = [abuse.frame(abuse.mac(abused.gw, "inner0"), "10.1.0.2", f"10.7.{n // 200}.{n % 200}", 9, 9,
                          bytes(20)) for n in range(count)]
    with abuse.Flood(abused.lan, "e0", frames, "rate=50000"):
        lab.wait_for("packets that wait", lambda: abused.gateway.drops().get("stage_full", 0) > 5000)
        used = abused.gateway.telemetry("/wg/info")["packet_buffers_in_use"]
        pings = abused.pings(1).finish()
    print(f"{used} of {total} buffers in use")
    assert used < total // 2
    assert abused.gateway.drops().get("no_mbuf", 0) == 0
    abused.assert_none_lost(pings, losses)
    abused.gateway.add_file("syncconf", alone)


class SmallPool(Gateway):
    """With fewer packet buffers than one of its rings has room for."""

    BUFFERS = 1536
    environment = {**os.environ, "SMALLPOOL": str(BUFFERS),
                   "LD_PRELOAD": os.path.join(lab.build_dir(), "tests/tools/libsmallpool.so")}


def test_packet_buffers_run_out(topology):
    """
    Their pool is empty, for all threads that take from it, as no load can make it that the program's own
    limits let through: it goes on with what comes back, and in the end has all of them.
    """
    site = lab.Site(topology, outer=(RING.format(0, "v_out"),), inner=(RING.format(1, "v_in"),),
                    gateway=SmallPool)
    gateway = site.gateway
    assert gateway.telemetry("/wg/info")["packet_buffers"] == SmallPool.BUFFERS
    assert site.ping_through()
    rest = abuse.Rest(gateway)
    junk = wgpeer.Initiator(Key(), wgpeer.base64_key(site.public_key)).message()
    frames = [abuse.frame(abuse.mac(topology.gw, "outer0"), WAN4, OUTER4, 9, PORT, junk)]
    writer = wgpeer.udp_socket(topology.gw.name, "10.9.0.1")

    def starved():
        for _ in range(100):
            writer.sendto(bytes(1300), ("10.9.0.2", 7))
        return gateway.drops().get("no_mbuf", 0)

    with abuse.Flood(topology.wan, "e0", frames, "spoof"):
        lab.wait_for("a thread that finds no packet buffer", starved)
    writer.close()
    print(gateway.drops(), gateway.telemetry("/ethdev/stats,0"))
    lab.wait_for("the tunnel", lambda: site.ping_through(count=1, deadline=1))
    rest.check()
    assert gateway.stop() == 0, gateway.tail()


def test_stalled_reader_of_the_host(abused, rest):
    """
    Datagrams for a socket of the host's own that nobody reads, through the tunnel at full rate; and
    the other way, a host that goes on writing while the program stands still.
    """
    idle = wgpeer.udp_socket(abused.gw.name, "10.9.0.1", 7)
    sender = wgpeer.udp_socket(abused.wan.name, "10.9.0.2")
    writer = wgpeer.udp_socket(abused.gw.name, "10.9.0.1")
    for _ in range(20000):
        try:
            sender.sendto(bytes(1300), ("10.9.0.1", 7))
        except BlockingIOError:
            pass
    with stopped(abused.gateway.process):
        for _ in range(5000):
            try:
                writer.sendto(bytes(1300), ("10.9.0.2", 7))
            except OSError:
                pass
    for sock in (idle, sender, writer):
        sock.close()


@pytest.mark.parametrize("namespace, link", [("gw", "v_out"), ("gw", "v_in"), ("gw", "outer0"),
                                             ("gw", "inner0"), ("wan", "e0"), ("gw", None)],
                         ids=["outer-port", "inner-port", "outer-host", "inner-host", "cable", "tunnel"])
def test_link_down_and_up(abused, rest, namespace, link):
    """A port or a host interface goes down under traffic, and comes up again."""
    owner = getattr(abused, namespace)
    link = link or abused.gateway.name
    saved = [f"{a['local']}/{a['prefixlen']}" for a in
             owner.ip_json("addr", "show", link)[0]["addr_info"] if a["scope"] == "global"]
    traffic = abused.wan.start("ping", "-q", "-f", "-w", 30, "10.1.0.2", log=f"ping-{link}")
    back = abused.lan.start("ping", "-q", "-f", "-w", 30, "10.9.0.2", log=f"ping-back-{link}")
    owner.ip("link", "set", link, "down")
    assert not abused.wan.ping("10.1.0.2", count=2, deadline=1) or link == abused.gateway.name
    owner.ip("link", "set", link, "up")
    # As an administrator would: the kernel takes IPv6 addresses and routes away with the link.
    for address in saved:
        if ":" in address:
            owner.ip("addr", "replace", address, "dev", link, "nodad")
    for process in (traffic, back):
        abused.topology.stop(process)
    lab.wait_for("the tunnel", lambda: abused.wan.ping("10.1.0.2", count=1, deadline=1))


# --- The program's sockets ---


def test_uapi_clients(abused, rest):
    """Clients that hang, that send megabytes without an end of line, half requests, hundreds at once."""
    gateway = abused.gateway
    losses, pings = abused.losses(), abused.pings(2)
    hanging = [abuse.uapi_socket(gateway) for _ in range(28)]
    for n, sock in enumerate(hanging):
        sock.sendall((b"", b"get=1", b"set=1\nprivate_key=", b"set=1\nlisten_port=51820\n")[n % 4])
    assert abused.site.client.public_key in gateway.show()
    for sock in hanging:
        sock.close()
    for _ in range(3):
        endless = abuse.uapi_socket(gateway)
        try:
            for _ in range(64):
                endless.sendall(b"set=1" + b"x" * 65536)
            assert endless.recv(100) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass  # closed on us, as it should
        endless.close()
    crowd = []
    for n in range(300):
        try:
            crowd.append(abuse.uapi_socket(gateway))
            crowd[-1].sendall(b"get=1\n\n" if n % 2 else b"get=1\n")
        except (BrokenPipeError, ConnectionResetError, ConnectionRefusedError):
            pass
    for sock in crowd:
        sock.close()
    lab.wait_for("wg", lambda: abused.site.client.public_key in lab.run(
        "wg", "show", gateway.name, check=False).stdout)
    # What each would leave behind adds up.
    for n in range(500):
        with abuse.uapi_socket(gateway) as sock:
            sock.sendall(b"get=1\n\n" if n % 2 else b"get=2\n\n")
            assert sock.recv(10)
    abused.assert_none_lost(pings.finish(), losses)


@full_only
def test_uapi_clients_that_hang(abused, rest):
    """As many as there may be, for ever: after a while they are closed, and others have their places."""
    gateway = abused.gateway
    descriptors = rest.before["descriptors"]
    hanging = [abuse.uapi_socket(gateway) for _ in range(UAPI_CLIENTS)]
    for n, sock in enumerate(hanging):
        sock.sendall((b"", b"get=1", b"set=1\nprivate_key=")[n % 3])
    assert lab.run("wg", "show", gateway.name, check=False).returncode != 0
    lab.wait_for("their end", lambda: abuse.resources(gateway)["descriptors"] == descriptors,
                 timeout=UAPI_TIMEOUT_S + 10, every=0.2)
    assert abused.site.client.public_key in gateway.show()
    for sock in hanging:
        assert sock.recv(1) == b""
        sock.close()


@full_only
def test_telemetry_at_full_speed(abused, rest):
    """Each answer is control's work: it must not cost a packet, nor may a client hold it up."""
    commands = ["/wg/info", "/wg/peers", "/wg/drops", "/wg/lcores", "/wg/host,outer0", "/wg/peer,x",
                f"/wg/peer,{abused.site.client.public_key}", "/wg/host,", "/wg/peers,nobody,9"]
    ended, answers = threading.Event(), [0] * 4

    def poll(n):
        sock = abuse.telemetry_socket(abused.gateway)
        while not ended.is_set():
            sock.send(commands[answers[n] % len(commands)].encode())
            assert sock.recv(1 << 16)
            answers[n] += 1
        sock.close()

    idle = abuse.telemetry_socket(abused.gateway)
    clients = [threading.Thread(target=poll, args=(n,)) for n in range(len(answers))]
    losses = abused.losses()
    for client in clients:
        client.start()
    pings = abused.pings(2 * LONGER).finish()
    ended.set()
    for client in clients:
        client.join()
    idle.close()
    print(f"{sum(answers)} answers")
    assert min(answers) > 0
    abused.assert_none_lost(pings, losses)


@full_only
def test_peers_by_the_thousand_under_traffic(abused, rest):
    """Peers come and go in thousands, by addconf, syncconf and set: sessions of others lose nothing."""
    losses, pings = abused.losses(), abused.pings(4 * LONGER)
    rounds = 0
    while pings.process.poll() is None:
        abused.crowd()
        rounds += 1
    print(f"{rounds} rounds of {CROWD} peers")
    abused.assert_none_lost(pings.finish(), losses)
