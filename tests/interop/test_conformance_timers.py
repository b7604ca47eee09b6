# SPDX-License-Identifier: BSD-3-Clause
"""
The protocol's timers in real time, seen on the wire: retries, keepalives, rekeying, the end of sessions.
"""
import concurrent.futures
import os
import time

import pytest
import wgpeer
from conformance import (  # noqa: F401 (some are fixtures)
    HANDSHAKE_DSCP, OUTER4, PORT, WAN4, Drops, Host, bench)
from full import full_only
from wgpeer import DATA, INITIATION

# How late a timer may be seen on a machine that is busy with other things; never early.
LATE = 2.5
# How late a datagram may be read that has come.
SEEN_LATE = 0.01


# --- Timers of seconds: they run at the same time ---


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
