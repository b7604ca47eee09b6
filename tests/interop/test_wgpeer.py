# SPDX-License-Identifier: BSD-3-Clause
"""
The test peer itself, before it judges anybody: against vectors, recordings of two Linux kernels, and
a running wireguard-go.
"""
import json
import os
import time

import lab
import pytest
import wgpeer
from scapy.layers.inet import UDP
from scapy.utils import rdpcap

VECTORS = os.path.join(lab.ROOT, "tests/vectors")


def load(name):
    with open(os.path.join(VECTORS, name), encoding="utf-8") as file:
        return json.load(file)


def messages(capture):
    """The UDP payloads of a recording, in order."""
    return [bytes(frame[UDP].payload) for frame in rdpcap(os.path.join(VECTORS, capture))
            if UDP in frame]


def key(text):
    return wgpeer.Key(wgpeer.base64_key(text))


def test_kdf_and_constants():
    recorded = load("kdf.json")
    for vector in recorded["vectors"]:
        outputs = wgpeer.kdf(3, bytes.fromhex(vector["key"]), bytes.fromhex(vector["input"]))
        assert [o.hex() for o in outputs] == [vector[t] for t in ("t0", "t1", "t2")]
    chain = wgpeer.blake2s(wgpeer.CONSTRUCTION)
    assert chain.hex() == recorded["constants"]["initial_chaining_key"]
    assert wgpeer.blake2s(chain, wgpeer.IDENTIFIER).hex() == recorded["constants"]["initial_hash"]


def test_hchacha20():
    """The example of draft-irtf-cfrg-xchacha, section 2.2.1."""
    out = wgpeer.hchacha20(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927"))
    assert out.hex() == "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"


def test_xaead():
    """The example of draft-irtf-cfrg-xchacha, appendix A.3.1."""
    plaintext = (b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for "
                 b"the future, sunscreen would be it.")
    secret, nonce = bytes(range(0x80, 0xa0)), bytes(range(0x40, 0x58))
    extra = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    sealed = wgpeer.xaead_seal(secret, nonce, plaintext, extra)
    assert sealed[-16:].hex() == "c0875924c1c7987947deafd8780acf49"
    assert wgpeer.xaead_open(secret, nonce, sealed, extra) == plaintext


def test_cookie_roundtrip():
    message = wgpeer.with_macs(bytes(116), bytes(32))
    cookie = wgpeer.cookie_for(bytes(32), "192.0.2.2", 51820)
    reply = wgpeer.cookie_reply(bytes(32), message, cookie)
    assert wgpeer.open_cookie_reply(bytes(32), reply, message) == cookie
    with pytest.raises(wgpeer.ProtocolError):
        wgpeer.open_cookie_reply(bytes(32), reply, wgpeer.flipped(message, -20))


def rebuild(n):
    """Rebuilds recorded handshake n bit for bit in both roles; returns both sides' sessions."""
    recorded = load("keys.json")
    keys = recorded["handshakes"][n]
    sides = [key(recorded["static"]["initiator_private"]), key(recorded["static"]["responder_private"])]
    packets = messages(keys["capture"])
    first = [i for i, p in enumerate(packets) if p[0] == wgpeer.INITIATION][keys["n"]]
    initiation, response = packets[first:first + 2]
    psk = wgpeer.base64_key(keys["preshared_key"]) if keys["preshared_key"] else wgpeer.NO_PSK
    ephemerals = [key(keys["initiator_ephemeral_private"]), key(keys["responder_ephemeral_private"])]
    # Either side may have started it: the responder is the one whose mac1 fits.
    static, remote = next((a, b) for a, b in (sides, sides[::-1])
                          if wgpeer.mac1_of(b.public, initiation[:116]) == initiation[116:132])

    responder = wgpeer.Responder(remote, initiation)
    assert responder.remote_public == static.public
    made, far = responder.respond(psk, ephemerals[1], int.from_bytes(response[4:8], "little"))
    assert made[:76] == response[:76]

    initiator = wgpeer.Initiator(static, remote.public, psk, ephemerals[0],
                                 int.from_bytes(initiation[4:8], "little"), responder.timestamp)
    assert initiator.message()[:132] == initiation[:132]
    near = initiator.consume_response(response)
    assert (near.sending, near.receiving) == (far.receiving, far.sending)
    return near, far


@pytest.mark.parametrize("n", range(4))
def test_recorded_handshakes(n):
    rebuild(n)


def test_recorded_data():
    """Each data packet of the recording opens in the session that its index names."""
    sessions = {session.index: session for n in (0, 1) for session in rebuild(n)}
    data = [p for p in messages("wireguard-ping-tcp.pcap") if p[0] == wgpeer.DATA]
    assert len(data) > 10
    for packet in data:
        _, plaintext = sessions[int.from_bytes(packet[4:8], "little")].open(packet)
        assert len(plaintext) % 16 == 0 or len(plaintext) == 1420  # never beyond the MTU


# --- Against wireguard-go ---


class Stock:
    """wireguard-go in one namespace, and the peer in another."""

    def __init__(self, made):
        self.far, self.near = made.namespace("far"), made.namespace("near")
        made.link(self.far, "e0", self.near, "e0")
        self.far.set_up("e0", "192.0.2.1/24", "2001:db8:1::1/64")
        self.near.set_up("e0", "192.0.2.2/24", "2001:db8:1::2/64")
        self.program = lab.WireguardGo(self.far, "st")
        self.program.set_private_key("listen-port", 51820)
        self.far.set_up(self.program.name, "10.9.0.1/24", mtu=1420)
        self.public = wgpeer.base64_key(self.program.public_key)

    def peer(self, psk=None, endpoint=False, six=False):
        gateway = ("2001:db8:1::1", 51820) if six else ("192.0.2.1", 51820)
        peer = wgpeer.Peer(self.near.name, self.public, gateway,
                           "2001:db8:1::2" if six else "192.0.2.2", psk or wgpeer.NO_PSK)
        options = ["allowed-ips", "10.9.0.2/32"]
        if psk:
            options += ["preshared-key", "/dev/stdin"]
        if endpoint:
            options += ["endpoint", f"192.0.2.2:{peer.port}"]
        lab.run("wg", "set", self.program.name, "peer", wgpeer.base64_text(peer.static.public),
                *options, input=wgpeer.base64_text(psk) if psk else None)
        return peer


@pytest.fixture(scope="module")
def stock():
    with lab.Lab() as made:
        yield Stock(made)


def ping(peer):
    """An echo request to the stock side; true when its reply comes back decrypted."""
    body = b"\x00\x00\x00\x07" + b"wgpeer"
    request = b"\x08\x00" + (wgpeer.checksum(b"\x08\x00\x00\x00" + body)).to_bytes(2, "big") + body
    peer.send(peer.session.seal(wgpeer.ipv4("10.9.0.2", "10.9.0.1", request, protocol=1)))
    while (got := peer.data(2.0)) is not None:
        if got[2][24:34] == body:
            return True
    return False


@pytest.mark.parametrize("psk", [None, bytes(range(32))], ids=["plain", "psk"])
@pytest.mark.parametrize("six", [False, True], ids=["outer4", "outer6"])
def test_stock_responds(stock, psk, six):
    peer = stock.peer(psk, six=six)
    peer.connect()
    assert ping(peer)
    peer.close()


@pytest.mark.parametrize("psk", [None, bytes(range(32))], ids=["plain", "psk"])
def test_stock_initiates(stock, psk):
    peer = stock.peer(psk, endpoint=True)
    stock.far.start("ping", "-n", "-c", "1", "-W", "2", "10.9.0.2", log="ping")
    peer.respond()
    assert peer.data() is not None
    assert ping(peer)
    peer.close()


def test_stock_sends_cookies(stock):
    """Under load the stock side answers with a cookie, and takes our mac2 made from it."""
    peer = stock.peer()
    # Any wrong initiation with a right mac1 takes the handshake queue's time.
    junk = wgpeer.with_macs(b"\x01\0\0\0" + os.urandom(112), stock.public)
    made = stock.near.start("/usr/bin/python3", wgpeer.__file__, "flood", junk.hex(), "192.0.2.1",
                            51820, 16, 200, 0.002)
    try:
        end, cookie = time.monotonic() + 10, None
        while cookie is None and time.monotonic() < end:
            message = peer.initiator().message()
            peer.send(message)
            reply = peer.expect(wgpeer.COOKIE_REPLY, 0.3)
            cookie = reply and wgpeer.open_cookie_reply(stock.public, reply.data, message)
        assert cookie
        assert lab.wait_for("a response to mac2", lambda: attempt(peer, cookie))
    finally:
        stock.far.lab.stop(made)
    peer.close()


def attempt(peer, cookie):
    try:
        return peer.initiate(cookie=cookie, timeout=0.3)
    except wgpeer.ProtocolError:
        return None


def test_stock_takes_our_cookie(stock):
    """The stock side reads our cookie reply: its next initiation carries our mac2."""
    peer = stock.peer(endpoint=True)
    stock.far.start("ping", "-n", "-c", "1", "-W", "2", "10.9.0.2", log="ping")
    _, datagram = peer.await_initiation()
    cookie = os.urandom(16)
    peer.send(wgpeer.cookie_reply(peer.static.public, datagram.data, cookie))
    responder, datagram = peer.await_initiation(7.0)
    assert responder.mac2 == wgpeer.mac(cookie, datagram.data[:132])
    peer.close()
