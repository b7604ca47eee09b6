# SPDX-License-Identifier: BSD-3-Clause
"""Cookies, and what else is different under a load of handshakes, seen on the wire."""
import os
import signal
import struct
import time

import lab
import pytest
import wgpeer
from conformance import (  # noqa: F401 (some are fixtures)
    OTHER4, OTHER6, OUTER, OUTER4, OUTER6, PORT, WAN4, WAN6, bench, drops, host, new)
from wgpeer import COOKIE_REPLY, INITIATION, RESPONSE, ProtocolError, flipped


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


@pytest.mark.parametrize("address", [OUTER4, OTHER4, OUTER6, OTHER6])
def test_cookies_leave_from_the_address_spoken_to(new, address):
    """Whichever the kernel would choose; and without the class of other handshakes, as Linux's."""
    client = new(source=WAN6[0] if ":" in address else WAN4[0], gateway=(address, PORT))
    reply = answer_to(client, under_load(client, lambda: client.initiator().message()))
    assert (reply.kind, reply.source, reply.tos) == (COOKIE_REPLY, client.gateway, 0)


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


def test_handshakes_in_turn_are_no_load(new, drops):
    """Load is what waits to be answered, not how many there were."""
    first, *clients = (new() for _ in range(41))
    lab.wait_for("the load of another test to pass", lambda: connected(first))
    before = drops.since("handshake_cookie_sent")
    for _ in range(10):
        for client in clients:
            message = client.initiator().message()
            client.send(message)
            assert answer_to(client, message).kind == RESPONSE
    assert drops.since("handshake_cookie_sent") == before


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
