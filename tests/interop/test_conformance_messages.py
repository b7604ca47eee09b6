# SPDX-License-Identifier: BSD-3-Clause
"""Every length and type of message, seen on the wire: what is none of them is harmless, and counted."""
import os
import struct

import lab
import pytest
import wgpeer
from conformance import bench, drops, host, new  # noqa: F401 (fixtures)
from test_host import snmp
from wgpeer import DATA, flipped


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


def test_largest_datagrams(new, bench, host, drops):
    """
    Fragments that the kernel puts together before an AF_PACKET port gets them, and cuts to its frame: the
    beginning is not taken for the whole, but left to the host, which sees that the rest is missing; and
    what comes after passes. (test_conformance_oversize.py has those that arrive whole.)
    """
    client, gw = new(), bench.topology.gw
    client.connect()
    cut = snmp(gw, "IpExtInTruncatedPkts")
    for size in (3000, 9000, 65507):
        for make in (data_of, initiation_of):
            client.send((make(client) + os.urandom(size))[:size])
        client.check(host)
    lab.wait_for("the host to see them", lambda: snmp(gw, "IpExtInTruncatedPkts") >= cut + 6)
    assert drops.changed() == {}
    assert client.passed == []
