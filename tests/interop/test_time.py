# SPDX-License-Identifier: BSD-3-Clause
"""
What the protocol does with time, in seconds instead of minutes: the gateway's clocks are in the test's
hands (fastclock.py). test_conformance_timers.py has the same in real time, with DPDK_WG_FULL=yes.
"""
import fastclock
import lab
import pytest
import wgpeer
from abuse import OUTER4, PORT
from memory import Memory, session_keys

LAN = "10.1.0.2"


class Timed:
    """The standard topology, a gateway whose clock obeys, and one peer."""

    def __init__(self, topology):
        self.clock = clock = fastclock.Clock(topology)

        class Gateway(lab.Gateway):
            environment = clock.environment

        site = lab.Site(topology, gateway=Gateway)
        self.gateway = site.gateway
        self.gateway.set("peer", site.client.public_key, "remove")  # its sessions would count, too
        self.peer = wgpeer.Peer(topology.wan.name, wgpeer.base64_key(site.public_key), (OUTER4, PORT),
                                "192.0.2.2")
        self.gateway.set("peer", wgpeer.base64_text(self.peer.static.public), "allowed-ips",
                         "10.8.0.2/32", "endpoint", f"192.0.2.2:{self.peer.port}")
        self.host = wgpeer.udp_socket(topology.lan.name, LAN, 7)
        self.sent = 0

    def arrives(self, session, timeout=2.0):
        """True when a packet under the session reaches lan."""
        self.sent += 1
        payload = b"number %d" % self.sent
        self.peer.send(session.seal(wgpeer.udp("10.8.0.2", LAN, payload, dport=7)))
        while (got := wgpeer.receive([self.host], timeout)) is not None:
            if got.data == payload:
                return True
        return False

    def keepalive(self):
        """True when the gateway sends one."""
        while (got := self.peer.data(2.0)) is not None:
            if got[2] == b"":
                return True
        return False

    def ask(self):
        """A packet for the peer, which makes the gateway begin a handshake if it has no session."""
        self.host.sendto(b"to the peer", ("10.8.0.2", 4000))

    def drops(self, name):
        return self.gateway.drops().get(name, 0)

    def sessions(self):
        return self.gateway.telemetry("/wg/info")["sessions_and_handshakes"]


@pytest.fixture
def timed(topology):
    return Timed(topology)


def test_session_ends_at_180_seconds_and_is_erased_at_540(timed):
    """A session that is used too long, and keys that stay in memory when nobody uses them."""
    session = lab.wait_for("a session", lambda: timed.peer.connect())
    memory, keys = Memory(timed.gateway.process.pid), session_keys(session, "session key")
    lab.wait_for("the way to lan", lambda: timed.arrives(session, 0.5))
    timed.clock.pass_by(20)
    assert timed.keepalive()
    timed.clock.pass_by(145)
    assert timed.arrives(session), timed.gateway.drops()
    # What the gateway owes us for that it sends under this session, not under a new one.
    timed.clock.pass_by(11)
    assert timed.keepalive()
    timed.clock.pass_by(5)
    assert not timed.arrives(session, 0.1)
    assert timed.drops("session_expired") == 1
    assert timed.sessions() == 1
    timed.clock.pass_by(350)
    assert not timed.arrives(session, 0.1)
    assert timed.drops("session_expired") == 2 and timed.sessions() == 1
    assert set(memory.find(keys)) == set(keys)  # so they can be found at all
    timed.clock.pass_by(10)
    lab.wait_for("the end of the session", lambda: timed.sessions() == 0)
    memory.wait_until_gone("the end of the keys", keys)
    assert not timed.arrives(session, 0.1)
    assert timed.drops("unknown_index") == 1


def test_wall_clock_steps_back(timed):
    """The gateway's initiations would be replays to its peer for an hour; ours is none to it."""
    labels = []
    for step in (0, -3600, 7200, -10 ** 6):
        timed.clock.set_wall_clock(step)
        timed.clock.pass_by(6)  # a second handshake begins 5 s after the one before at the earliest
        timed.ask()
        responder, _datagram = timed.peer.await_initiation(5.0)
        labels.append(responder.timestamp)
    assert labels == sorted(set(labels)), [label.hex() for label in labels]
    session = timed.peer.initiate()
    assert lab.wait_for("data", lambda: timed.arrives(session, 0.5))
