# SPDX-License-Identifier: BSD-3-Clause
"""
A WireGuard peer for tests that can say anything, right or wrong.

It is written from the whitepaper alone (sections in brackets) and shares no code and no library with
the program under test, so that a mistake cannot hide by being made at both ends. test_wgpeer.py checks
it against recordings and against wireguard-go.

    primitives      hash, mac, kdf, aead, xaead                                          [5.4]
    messages        Initiator, Responder, Session, cookies: bytes in, bytes out          [5.4.2 - 5.4.7]
    inner packets   ipv4(), ipv6(), udp(), read_udp()
    sockets         UDP sockets in another network namespace
    Peer            the messages over the sockets
"""
import base64
import ctypes
import hashlib
import hmac as hmac_module
import ipaddress
import os
import select
import socket
import struct
import sys
import threading
import time

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import (Encoding, NoEncryption, PrivateFormat,
                                                          PublicFormat)

INITIATION, RESPONSE, COOKIE_REPLY, DATA = 1, 2, 3, 4
SIZES = {INITIATION: 148, RESPONSE: 92, COOKIE_REPLY: 64}
DATA_OVERHEAD = 32
CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
NO_PSK = bytes(32)


class ProtocolError(Exception):
    """A message does not authenticate, or is none."""


# --- Primitives [5.4] ---


def blake2s(*parts):
    return hashlib.blake2s(b"".join(parts)).digest()


def mac(key, *parts):
    """Keyed BLAKE2s with 16 bytes of output: not an HMAC."""
    return hashlib.blake2s(b"".join(parts), key=key, digest_size=16).digest()


def hmac(key, data):
    return hmac_module.new(key, data, hashlib.blake2s).digest()


def kdf(count, key, data):
    secret, outputs, last = hmac(key, data), [], b""
    for n in range(1, count + 1):
        last = hmac(secret, last + bytes([n]))
        outputs.append(last)
    return outputs


def nonce_of(counter):
    return bytes(4) + struct.pack("<Q", counter)


def aead_seal(key, counter, plaintext, extra=b""):
    return ChaCha20Poly1305(key).encrypt(nonce_of(counter), plaintext, extra)


def aead_open(key, counter, ciphertext, extra=b""):
    try:
        return ChaCha20Poly1305(key).decrypt(nonce_of(counter), ciphertext, extra)
    except Exception as error:  # InvalidTag, or too short for a tag
        raise ProtocolError("does not authenticate") from error


def hchacha20(key, nonce):
    """The block function of ChaCha20 without its last addition, of which the outer rows remain."""
    x = list(struct.unpack("<4I", b"expand 32-byte k") + struct.unpack("<8I", key)
             + struct.unpack("<4I", nonce))

    def quarter(a, b, c, d):
        for first, second, third, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[first] = (x[first] + x[second]) & 0xffffffff
            x[third] ^= x[first]
            x[third] = (x[third] << turn | x[third] >> (32 - turn)) & 0xffffffff

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for diagonal in range(4):
            quarter(diagonal, 4 + (diagonal + 1) % 4, 8 + (diagonal + 2) % 4, 12 + (diagonal + 3) % 4)
    return struct.pack("<8I", *x[:4], *x[12:])


def xaead_seal(key, nonce, plaintext, extra=b""):
    cipher = ChaCha20Poly1305(hchacha20(key, nonce[:16]))
    return cipher.encrypt(bytes(4) + nonce[16:], plaintext, extra)


def xaead_open(key, nonce, ciphertext, extra=b""):
    cipher = ChaCha20Poly1305(hchacha20(key, nonce[:16]))
    try:
        return cipher.decrypt(bytes(4) + nonce[16:], ciphertext, extra)
    except Exception as error:
        raise ProtocolError("does not authenticate") from error


def tai64n(unix_ns=None):
    """TAI64N: 2^62 and ten seconds beyond Unix time, big endian, then nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns() if unix_ns is None else unix_ns, 10 ** 9)
    return struct.pack(">QI", 2 ** 62 + 10 + seconds, nanoseconds)


class Key:
    """A Curve25519 key pair; random unless its private half is given."""

    def __init__(self, private=None):
        self.pair = X25519PrivateKey.from_private_bytes(private) if private \
            else X25519PrivateKey.generate()
        self.private = self.pair.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        self.public = self.pair.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def dh(self, public):
        return self.pair.exchange(X25519PublicKey.from_public_bytes(public))


class LowOrderKey:
    """A public key of order one: every shared secret is zero, for whoever lets it through."""

    public = bytes(32)

    @staticmethod
    def dh(_public):
        return bytes(32)


def base64_text(key):
    """A key as wg shows it."""
    return base64.b64encode(key).decode()


def base64_key(text):
    return base64.b64decode(text)


def random_index():
    return int.from_bytes(os.urandom(4), "little")


# --- Handshake messages [5.4.2, 5.4.3] ---


class Noise:
    """Chaining key and hash, from their start for one responder."""

    def __init__(self, responder_public):
        self.chain = blake2s(CONSTRUCTION)
        self.hash = blake2s(blake2s(self.chain, IDENTIFIER), responder_public)

    def mix_hash(self, data):
        self.hash = blake2s(self.hash, data)

    def mix_key(self, data, count=1):
        """Steps the chaining key; returns the further outputs."""
        self.chain, *keys = kdf(count, self.chain, data)
        return keys

    def seal(self, key, plaintext):
        ciphertext = aead_seal(key, 0, plaintext, self.hash)
        self.mix_hash(ciphertext)
        return ciphertext

    def open(self, key, ciphertext):
        plaintext = aead_open(key, 0, ciphertext, self.hash)
        self.mix_hash(ciphertext)
        return plaintext

    def transport_keys(self):
        """Initiator to responder, responder to initiator [5.4.5]."""
        return kdf(2, self.chain, b"")


def mac1_of(receiver_public, body):
    return mac(blake2s(b"mac1----", receiver_public), body)


def with_macs(body, receiver_public, cookie=None):
    """Appends mac1, and mac2 when there is a cookie [5.4.4]."""
    message = body + mac1_of(receiver_public, body)
    return message + (mac(cookie, message) if cookie else bytes(16))


class Initiator:
    """One initiation and what its response turns into."""

    def __init__(self, static, remote_public, psk=NO_PSK, ephemeral=None, index=None,
                 timestamp=None):
        self.static, self.remote_public, self.psk = static, remote_public, psk
        self.ephemeral = ephemeral or Key()
        self.index = random_index() if index is None else index
        self.timestamp = timestamp or tai64n()
        self.noise = Noise(remote_public)
        self.body = self._body()

    def _body(self):
        noise = self.noise
        noise.mix_key(self.ephemeral.public)
        noise.mix_hash(self.ephemeral.public)
        key, = noise.mix_key(self.ephemeral.dh(self.remote_public), 2)
        static = noise.seal(key, self.static.public)
        key, = noise.mix_key(self.static.dh(self.remote_public), 2)
        timestamp = noise.seal(key, self.timestamp)
        return struct.pack("<II", INITIATION, self.index) + self.ephemeral.public + static + timestamp

    def message(self, cookie=None):
        return with_macs(self.body, self.remote_public, cookie)

    def consume_response(self, message):
        """Session of an authenticated response, else ProtocolError."""
        if len(message) != SIZES[RESPONSE]:
            raise ProtocolError("no response")
        kind, remote_index, index = struct.unpack_from("<III", message)
        if kind != RESPONSE or index != self.index:
            raise ProtocolError("not our response")
        if mac1_of(self.static.public, message[:60]) != message[60:76]:
            raise ProtocolError("wrong mac1")
        ephemeral = message[12:44]
        noise = Noise(self.remote_public)
        noise.chain, noise.hash = self.noise.chain, self.noise.hash
        noise.mix_key(ephemeral)
        noise.mix_hash(ephemeral)
        noise.mix_key(self.ephemeral.dh(ephemeral))
        noise.mix_key(self.static.dh(ephemeral))
        temporary, key = noise.mix_key(self.psk, 3)
        noise.mix_hash(temporary)
        if noise.open(key, message[44:60]) != b"":
            raise ProtocolError("response is not empty")
        sending, receiving = noise.transport_keys()
        return Session(sending, receiving, self.index, remote_index)


class Responder:
    """One initiation read, and the response to it."""

    def __init__(self, static, message):
        if len(message) != SIZES[INITIATION] or message[:4] != struct.pack("<I", INITIATION):
            raise ProtocolError("no initiation")
        if mac1_of(static.public, message[:116]) != message[116:132]:
            raise ProtocolError("wrong mac1")
        self.static = static
        self.remote_index, = struct.unpack_from("<I", message, 4)
        self.mac1, self.mac2 = message[116:132], message[132:148]
        self.remote_ephemeral = message[8:40]
        noise = self.noise = Noise(static.public)
        noise.mix_key(self.remote_ephemeral)
        noise.mix_hash(self.remote_ephemeral)
        key, = noise.mix_key(static.dh(self.remote_ephemeral), 2)
        self.remote_public = noise.open(key, message[40:88])
        key, = noise.mix_key(static.dh(self.remote_public), 2)
        self.timestamp = noise.open(key, message[88:116])

    def respond(self, psk=NO_PSK, ephemeral=None, index=None, cookie=None):
        """Returns (response, session)."""
        noise, ephemeral = self.noise, ephemeral or Key()
        index = random_index() if index is None else index
        noise.mix_key(ephemeral.public)
        noise.mix_hash(ephemeral.public)
        noise.mix_key(ephemeral.dh(self.remote_ephemeral))
        noise.mix_key(ephemeral.dh(self.remote_public))
        temporary, key = noise.mix_key(psk, 3)
        noise.mix_hash(temporary)
        body = struct.pack("<III", RESPONSE, index, self.remote_index) + ephemeral.public \
            + noise.seal(key, b"")
        receiving, sending = noise.transport_keys()
        return (with_macs(body, self.remote_public, cookie),
                Session(sending, receiving, index, self.remote_index))


# --- Data [5.4.6] ---


class Session:
    """A pair of transport keys with their indices; the caller may choose every field itself."""

    def __init__(self, sending, receiving, index, remote_index):
        self.sending, self.receiving = sending, receiving
        self.index, self.remote_index = index, remote_index
        self.next_counter = 0

    def seal(self, plaintext=b"", counter=None, index=None, padded=True):
        """A data message; without a counter the next one."""
        if counter is None:
            counter = self.next_counter
            self.next_counter += 1
        if padded:
            plaintext += bytes(-len(plaintext) % 16)
        index = self.remote_index if index is None else index
        return struct.pack("<IIQ", DATA, index, counter) + aead_seal(self.sending, counter, plaintext)

    def open(self, message):
        """(counter, plaintext with its padding), else ProtocolError."""
        if len(message) < DATA_OVERHEAD:
            raise ProtocolError("too short for data")
        kind, index, counter = struct.unpack_from("<IIQ", message)
        if kind != DATA or index != self.index:
            raise ProtocolError("not for this session")
        return counter, aead_open(self.receiving, counter, message[16:])


def flipped(message, position, bit=1):
    """The message with one bit wrong."""
    changed = bytearray(message)
    changed[position] ^= bit
    return bytes(changed)


# --- Cookies [5.4.7] ---


def cookie_for(secret, address, port):
    return mac(secret, ipaddress.ip_address(address).packed, struct.pack(">H", port))


def cookie_reply(own_public, message, cookie, nonce=None, mac1=None):
    """The cookie reply of the owner of own_public to a handshake message."""
    nonce = nonce or os.urandom(24)
    sealed = xaead_seal(blake2s(b"cookie--", own_public), nonce, cookie,
                        message[-32:-16] if mac1 is None else mac1)
    return struct.pack("<I", COOKIE_REPLY) + message[4:8] + nonce + sealed


def open_cookie_reply(remote_public, reply, message):
    """The cookie in a reply to our message, else ProtocolError."""
    if len(reply) != SIZES[COOKIE_REPLY] or reply[:8] != struct.pack("<I", COOKIE_REPLY) + message[4:8]:
        raise ProtocolError("no cookie reply to this message")
    return xaead_open(blake2s(b"cookie--", remote_public), reply[8:32], reply[32:], message[-32:-16])


# --- Inner packets ---


def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xffff:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def packed(address):
    return ipaddress.ip_address(address).packed


def ipv4(source, destination, payload, protocol=17, tos=0, ttl=64, first=0x45, length=None):
    """An IPv4 packet; `first` (version and header length) and total `length` may lie."""
    total = 20 + len(payload) if length is None else length
    header = struct.pack(">BBHHHBBH4s4s", first, tos, total, 1, 0x4000, ttl, protocol, 0,
                         packed(source), packed(destination))
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def ipv6(source, destination, payload, protocol=17, tos=0, ttl=64, first=0x60, length=None):
    """An IPv6 packet; the version nibble in `first` and the payload `length` may lie."""
    word = first << 24 | tos << 20
    return struct.pack(">IHBB16s16s", word, len(payload) if length is None else length, protocol, ttl,
                       packed(source), packed(destination)) + payload


def udp(source, destination, payload=b"", sport=4000, dport=5000, **fields):
    """A whole UDP packet of the addresses' family."""
    length = 8 + len(payload)
    pseudo = packed(source) + packed(destination) + struct.pack(">II", length, 17)
    header = struct.pack(">HHHH", sport, dport, length, 0)
    total = checksum(pseudo + header + payload) or 0xffff
    datagram = header[:6] + struct.pack(">H", total) + payload
    return (ipv6 if ":" in source else ipv4)(source, destination, datagram, **fields)


class Inner:
    """A decrypted packet: addresses, protocol, traffic class, TTL, length, UDP payload, padding."""

    def __init__(self, packet):
        if packet[0] >> 4 == 4:
            header, self.tos = (packet[0] & 15) * 4, packet[1]
            self.ttl, self.protocol = packet[8], packet[9]
            self.length, = struct.unpack_from(">H", packet, 2)
            self.source, self.destination = (str(ipaddress.ip_address(packet[at:at + 4]))
                                             for at in (12, 16))
        else:
            header, self.protocol, self.ttl = 40, packet[6], packet[7]
            self.tos = struct.unpack_from(">I", packet)[0] >> 20 & 255
            self.length = 40 + struct.unpack_from(">H", packet, 4)[0]
            self.source, self.destination = (str(ipaddress.ip_address(packet[at:at + 16]))
                                             for at in (8, 24))
        self.payload = packet[header + 8:self.length]
        self.padding = packet[self.length:]


# --- Sockets in another namespace ---

CLONE_NEWNET = 0x40000000
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
IP_RECVTTL, IP_RECVTOS, IPV6_RECVTCLASS, IPV6_TCLASS, IPV6_RECVHOPLIMIT = 12, 13, 66, 67, 51
IP_MTU_DISCOVER, PMTUDISC_DONT, PMTUDISC_DO = 10, 0, 2


def in_namespace(name, function):
    """
    Runs function in the network namespace and returns its value: a thread of its own enters it and
    ends there, and the sockets that it opened stay. The caller's namespace is not touched.
    """
    answer = {}

    def enter():
        try:
            with open(f"/run/netns/{name}", "rb") as file:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns to {name}")
            answer["value"] = function()
        except BaseException as error:  # pylint: disable=broad-except
            answer["error"] = error

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if "error" in answer:
        raise answer["error"]
    return answer["value"]


def udp_socket(namespace, address, port=0):
    """A UDP socket bound in the namespace that tells the traffic class of what it receives."""
    def make():
        six = ":" in address
        sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20)
        if six:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVTCLASS, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVTOS, 1)
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DONT)
        sock.bind((address, port))
        sock.setblocking(False)
        return sock
    return in_namespace(namespace, make)


def set_tos(sock, tos):
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TCLASS, tos)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)


class Datagram:
    """A datagram received: bytes, (address, port) of its sender, socket, traffic class, when."""

    def __init__(self, sock):
        self.data, controls, _flags, source = sock.recvmsg(65536, 256)
        self.at = time.monotonic()
        self.socket, self.source = sock, source[:2]
        self.tos = self.ttl = None
        for _level, kind, value in controls:
            number = int.from_bytes(value[:4], sys.byteorder)
            if kind in (socket.IP_TOS, IPV6_TCLASS):
                self.tos = number
            elif kind in (socket.IP_TTL, 52):
                self.ttl = number

    @property
    def kind(self):
        """Message type, with the reserved bytes, which must be zero."""
        return int.from_bytes(self.data[:4], "little")


def receive(sockets, timeout):
    """The next datagram on any of the sockets, or None."""
    ready = select.select(sockets, [], [], max(0, timeout))[0]
    return Datagram(ready[0]) if ready else None


# --- Peer ---


class Peer:
    """
    A peer of one gateway: a static key and sockets. `sock` is the one it speaks from unless told
    otherwise; all are listened to.
    """

    def __init__(self, namespace, remote_public, gateway, address, psk=NO_PSK, static=None, port=0):
        self.namespace, self.remote_public, self.gateway = namespace, remote_public, gateway
        self.static, self.psk = static or Key(), psk
        self.sockets, self.passed = [], []
        self.sock = self.open(address, port)
        self.sessions = []
        self.last_stamp = 0

    def open(self, address, port=0):
        """A further socket; returned, and listened to from now on."""
        self.sockets.append(udp_socket(self.namespace, address, port))
        return self.sockets[-1]

    def close(self):
        for sock in self.sockets:
            sock.close()

    @property
    def port(self):
        return self.sock.getsockname()[1]

    @property
    def session(self):
        """The newest session. The one before it is kept: data may still arrive under its keys."""
        return self.sessions[-1] if self.sessions else None

    @session.setter
    def session(self, session):
        if session in self.sessions:
            self.sessions.remove(session)
        self.sessions = [*self.sessions[-1:], session]

    def send(self, message, sock=None, to=None, tos=None):
        sock = sock or self.sock
        if tos is not None:
            set_tos(sock, tos)
        sock.sendto(message, to or self.gateway)
        if tos is not None:
            set_tos(sock, 0)

    def receive(self, timeout=2.0):
        return receive(self.sockets, timeout)

    def expect(self, kind, timeout=2.0, accept=lambda datagram: True):
        """The next message of a type, which `accept` likes; others go to `passed`. None if none."""
        end = time.monotonic() + timeout
        while True:
            datagram = self.receive(end - time.monotonic())
            if datagram is None:
                return None
            if datagram.kind == kind and accept(datagram):
                return datagram
            self.passed.append(datagram)

    def drain(self, seconds=0.0):
        """All that has arrived, and arrives within the time."""
        end, arrived = time.monotonic() + seconds, []
        while True:
            datagram = self.receive(end - time.monotonic())
            if datagram is None:
                return arrived
            arrived.append(datagram)

    def stamp(self):
        """A timestamp later than each one before it."""
        self.last_stamp = max(self.last_stamp + 1, time.time_ns())
        return tai64n(self.last_stamp)

    def initiator(self, **options):
        options.setdefault("timestamp", self.stamp())
        options.setdefault("psk", self.psk)
        return Initiator(self.static, self.remote_public, **options)

    def initiate(self, sock=None, to=None, cookie=None, timeout=2.0, **options):
        """A handshake with us as initiator; returns its session, not yet confirmed by data."""
        initiator = self.initiator(**options)
        self.send(initiator.message(cookie), sock, to)
        response = self.expect(RESPONSE, timeout)
        if response is None:
            raise ProtocolError("no response")
        self.session = initiator.consume_response(response.data)
        return self.session

    def connect(self, **options):
        """As initiate(), and confirmed by a keepalive, so that both sides may send."""
        self.initiate(**options)
        self.send(self.session.seal(), options.get("sock"), options.get("to"))
        return self.session

    def await_initiation(self, timeout=2.0):
        """(Responder, datagram) of the gateway's next initiation."""
        datagram = self.expect(INITIATION, timeout)
        if datagram is None:
            raise ProtocolError("no initiation")
        return Responder(self.static, datagram.data), datagram

    def respond(self, timeout=2.0):
        """A handshake with us as responder; returns its session."""
        responder, datagram = self.await_initiation(timeout)
        message, self.session = responder.respond(self.psk)
        self.send(message, datagram.socket, datagram.source)
        return self.session

    def data(self, timeout=2.0, session=None):
        """
        The next data message of our sessions, or of the one given: (datagram, counter, plaintext), or
        None.
        """
        sessions = {struct.pack("<I", s.index): s for s in ([session] if session else self.sessions)}
        datagram = self.expect(DATA, timeout, lambda d: d.data[4:8] in sessions)
        return datagram and (datagram, *sessions[datagram.data[4:8]].open(datagram.data))


# --- A flood, as a program of its own: wgpeer.py flood HEX-MESSAGE ADDRESS PORT SOURCES BURST PAUSE ---


def flood(message, address, port, sources, burst, pause):
    """Sends bursts of the message from many ports until it is ended; answers are not read."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(sources)]
    for sock in sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sock.setblocking(False)
    turn = 0
    while True:
        for _ in range(burst):
            turn += 1
            try:
                sockets[turn % sources].sendto(message, (address, port))
            except OSError:
                pass
        time.sleep(pause)


if __name__ == "__main__":
    flood(bytes.fromhex(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]),
          int(sys.argv[6]), float(sys.argv[7]))
