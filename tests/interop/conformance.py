# SPDX-License-Identifier: BSD-3-Clause
"""
The bench of test_conformance_*.py: what dpdk-wg says on the wire and what it refuses, seen by a peer
that is not WireGuard's own (wgpeer.py), line by line of design/protocol.md. docs/protocol.md maps the
lines to the tests.

One gateway serves all tests of a file; each test gets peers of its own. "No answer" is never waited
for by the clock alone: the drop counter says that the message was seen, and a packet sent after it
(a fence) that nothing else came of it.
"""
import contextlib
import os
import socket
import threading

import lab
import pytest
import wgpeer
from wgpeer import ProtocolError, base64_text

LAN4, LAN6 = "10.1.0.2", "fd01::2"
OUTER4, OUTER6, PORT = "192.0.2.1", "2001:db8:1::1", 51820
OTHER4, OTHER6 = "192.0.2.10", "2001:db8:1::10"
WAN4, WAN6 = ("192.0.2.2", "192.0.2.3", "192.0.2.4"), ("2001:db8:1::2", "2001:db8:1::3")
MTU = 1420
HANDSHAKE_DSCP = 0x88
PSK = bytes(range(1, 33))
OUTER = pytest.mark.parametrize("source", [WAN4[0], WAN6[0]], ids=["outer4", "outer6"])
INNER = pytest.mark.parametrize("six", [False, True], ids=["inner4", "inner6"])


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

    def expect(self, wanted, drops, timeout=20.0):
        """Waits for these payloads, which come in this order and with no other among them."""
        arrived = []
        while len(arrived) < len(wanted) and (got := self.receive(timeout)) is not None:
            arrived.append(got.data)
        if arrived != wanted:
            missing = [p[:24] for p in wanted if p not in arrived]
            raise AssertionError(f"missing: {missing}, arrived: {[p[:24] for p in arrived]}, "
                                 f"drops: {drops.changed()}")


class Client(wgpeer.Peer):
    """A peer with tunnel addresses, known to the gateway."""

    def __init__(self, bench, number, source, gateway, psk):
        super().__init__(bench.wan, bench.public, gateway, source, psk or wgpeer.NO_PSK)
        self.bench = bench
        self.tunnel4, self.tunnel6 = f"10.9.{number}.2", f"fd09:0:0:{number:x}::2"
        self.key = base64_text(self.static.public)
        self.fences = 0

    def packet(self, host, payload=b"to the host", **fields):
        six = ":" in host.address
        fields.setdefault("dport", host.port)
        return wgpeer.udp(self.tunnel6 if six else self.tunnel4, host.address, payload, **fields)

    def send_packet(self, host, payload=b"to the host", **fields):
        self.send(self.session.seal(self.packet(host, payload, **fields)))

    def endpoint(self):
        """Where the gateway takes us to be."""
        return self.bench.shown(self, "endpoints")

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

    # A ring with room for a burst while this machine's few cores do something else.
    outer = "net_af_packet0,iface=v_out,blocksz=65536,framesz=2048,framecnt=8192"

    def __init__(self, topology):
        self.topology = topology
        self.wan, self.lan = topology.wan.name, topology.lan.name
        self.static = wgpeer.Key()
        self.public = self.static.public
        topology.wan.set_up("e0", *(f"{a}/24" for a in WAN4[1:]), *(f"{a}/64" for a in WAN6[1:]))
        # The kernel's own reports of multicast groups, which go to no peer and are counted, are over at
        # once: the second comes a second after the interface otherwise.
        topology.gw.sysctl("net.ipv6.conf.default.mldv2_unsolicited_report_interval", 1)
        self.gateway = lab.Gateway(topology.gw, [self.outer], ["v_in"], config=f"""[Interface]
PrivateKey = {base64_text(self.static.private)}
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
                lab.wait_for("data both ways", lambda c=client, h=host: self.works(c, h), timeout=60)
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
                 input=base64_text(psk) if psk else None)
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
    with lab.bench(Bench) as made:
        yield made


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
