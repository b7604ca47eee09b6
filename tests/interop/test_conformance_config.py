# SPDX-License-Identifier: BSD-3-Clause
"""Configuration under sessions that run: what a change ends, and what it leaves alone."""
import time

import lab
import pytest
import wgpeer
from conformance import (  # noqa: F401 (some are fixtures)
    OUTER4, PORT, PSK, WAN4, Host, bench, drops, host, new)
from traffic import Traffic
from wgpeer import DATA, ProtocolError, base64_text


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
    lab.run("wg", "set", bench.gateway.name, "private-key", "/dev/stdin", input=base64_text(key.private))


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
    bench.set(client, "preshared-key", "/dev/stdin", input=base64_text(other))
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
        bench.set(client, "preshared-key", "/dev/stdin", input=base64_text(PSK[::-1]))
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
                  f"{client.tunnel4},{client.tunnel6}", input=base64_text(PSK))
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
