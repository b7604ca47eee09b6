# SPDX-License-Identifier: BSD-3-Clause
"""
Handshakes, seen on the wire: who gets an answer, what a wrong message leaves behind, and when a session
is good to send with.
"""
import struct
import time

import lab
import pytest
import wgpeer
from conformance import (  # noqa: F401 (some are fixtures)
    HANDSHAKE_DSCP, OUTER, PSK, bench, drops, host, host6, new)
from wgpeer import DATA, RESPONSE, ProtocolError, flipped

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


@OUTER
def test_responses_have_their_class(new, source):
    """Responses are handshake messages too."""
    client = new(source=source)
    client.send(client.initiator().message())
    assert client.expect(RESPONSE).tos == HANDSHAKE_DSCP
