# SPDX-License-Identifier: BSD-3-Clause
"""
The same random requests to dpdk-wg and to wireguard-go, through `wg` and as text on their sockets: both
give the same answer, and have the same peers afterwards. A fault would be in what a request means: a
prefix that stays with its old peer, a peer that update_only adds, a key that a wrong order loses.

Where wireguard-go is not what Linux does, or docs/operations.md states a difference, it is made to fit:
for_reference() and settle() are the whole list. A request that ends in a difference is made shorter before it
is shown, and TEST_SEED repeats the run.
"""
import contextlib
import errno
import ipaddress
import os
import random
import re
import socket

import abuse
import lab
import wgpeer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from full import FULL

STEPS = 2500 if FULL else 250
# Below those that a kernel chooses.
PORTS, TAKEN = (20001, 20002, 20003), 20004
RUNTIME = ("last_handshake_time_sec", "last_handshake_time_nsec", "tx_bytes", "rx_bytes",
           "protocol_version")
ZERO_KEY = bytes(32).hex()
PREFIXES = ("0.0.0.0/0", "::/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "10.1.2.77/24",
            "10.255.255.255/9", "192.0.2.1/31", "255.255.255.255/32", "0.0.0.0/32", "2001:db8::/32",
            "2001:DB8:0:1::/64", "2001:db8::1/128", "2001:db8::ffff/33", "fe80::1/10",
            "::ffff:10.1.2.3/128", "::ffff:0:0/96", "::10.1.2.3/128", "128.0.0.0/1", "8000::/1", "10.1.2.3",
            "2001:db8::1", "+10.1.2.4/32")
BAD_PREFIXES = ("", "/", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "2001:db8::/129", "10.0.0.0/-1", "10.0.0.0/ 8",
                "010.0.0.0/8", "1.2.3.4.5/8", "fe80::1%lo/64", ":::/0", "10.0.0.0/8/8", "all", "++10.0.0.0/8",
                "10.0.0.0/0x8")
ENDPOINTS = ("203.0.113.1:51820", "203.0.113.1:1", "203.0.113.2:65535", "[2001:db8:ffff::1]:51820",
             "[2001:DB8:FFFF:0:0:0:0:2]:7", "[fe80::1%lo]:51820", "[fe80::1%1]:51820", "[fe80::2]:9",
             "[::ffff:203.0.113.3]:51820", "127.0.0.1:9", "203.0.113.4:00080")
BAD_ENDPOINTS = ("", "203.0.113.1", "203.0.113.1:", ":51820", "203.0.113.1:65536", "203.0.113.1:-1",
                 "203.0.113:1", "2001:db8::1:51820", "[2001:db8::1]", "[2001:db8::1]:", "[203.0.113.1]:1",
                 "host.invalid:1", "203.0.113.1:1x", "[fe80::1%nosuch0]:1", "203.0.113.1:0", "[::1]:0")
NUMBERS = ("", "-1", "+1", "65536", "4294967296", "18446744073709551616", "0x10", "1x", " 1", "off", "1.0")
KEYWORDS = ("false", "", "1", "TRUE", "true ")
BROKEN_LINES = ("nonsense", "=", "=true", "unknown=1", "x" * 300 + "=1", "Public_Key=" + ZERO_KEY,
                " remove=true", "get=1", "set=1", "protocol_version=2", "errno=0")


class Side:
    """One of the two: an interface with a socket."""

    def __init__(self, namespace, name):
        self.namespace, self.name = namespace, name
        self.last = None  # its state after the last step

    def connect(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect(f"{lab.SOCKETS}/{self.name}.sock")
        return sock

    @staticmethod
    def answer(sock):
        """The lines of one answer; None when the connection was closed instead."""
        data = b""
        while not re.search(rb"(^|\n)errno=-?\d+\n\n$", data):
            got = sock.recv(1 << 16)
            if not got:
                return None
            data += got
        return data.decode().splitlines()[:-1]

    def request(self, *texts):
        """Sends texts on one connection, the next when the last was answered; returns the errnos."""
        with self.connect() as sock:
            return [self.ask(sock, text) for text in texts]

    def ask(self, sock, text):
        sock.sendall(text.encode())
        lines = self.answer(sock)
        return None if lines is None else int(lines[-1].split("=")[1])

    def wg(self, command, *args):
        """The error of a `wg` command, without the interface's name."""
        done = lab.run("wg", command, self.name, *args, check=False)
        return done.returncode and done.stderr.replace(self.name, "IF")

    def state(self):
        with self.connect() as sock:
            sock.sendall(b"get=1\n\n")
            return State(self.answer(sock))

    def reset(self, state):
        """Makes it what a state says, from nothing."""
        assert self.request("set=1\nreplace_peers=true\n\n",
                            request(state.lines())) == [0, 0], self.name


class State:
    """What get=1 says, without what is the traffic's."""

    def __init__(self, lines):
        self.interface, self.peers = {}, {}
        at = self.interface
        for line in lines[:-1]:
            key, value = line.split("=")
            if key == "public_key":
                assert value not in self.peers, "a peer is told twice"
                at = self.peers[value] = {"allowed_ip": []}
            elif key == "allowed_ip":
                # Go writes ::10.1.2.3 as ::a01:203.
                at[key].append(str(ipaddress.ip_network(value)))
            elif key == "endpoint":
                at[key] = unscoped(value)
            elif key == "preshared_key" and value == ZERO_KEY:
                pass  # none
            elif key not in RUNTIME:
                assert key not in at, f"{key} is told twice"
                at[key] = value
        for peer in self.peers.values():
            assert len(set(peer["allowed_ip"])) == len(peer["allowed_ip"])
            peer["allowed_ip"].sort()

    @property
    def port(self):
        return int(self.interface.get("listen_port", 0))

    def shown(self, any_port=False):
        """As sorted lines, to be compared; with any_port, one port is as good as another."""
        port = "any" if any_port and self.port else self.port
        lines = [f"{key}={value}" for key, value in {**self.interface, "listen_port": port}.items()]
        for name, peer in self.peers.items():
            ips = " ".join(peer["allowed_ip"])
            rest = " ".join(f"{k}={v}" for k, v in sorted(peer.items()) if k != "allowed_ip")
            lines.append(f"peer={name} {rest} allowed_ips={ips}")
        return sorted(lines)

    def lines(self):
        """Those of a request that makes it."""
        defaults = {"private_key": ZERO_KEY, "fwmark": "0", "listen_port": "0"}
        yield from (f"{key}={value}" for key, value in {**defaults, **self.interface}.items())
        for name, peer in self.peers.items():
            yield f"public_key={name}"
            yield from (f"{key}={value}" for key, value in peer.items() if key != "allowed_ip")
            yield from (f"allowed_ip={prefix}" for prefix in peer["allowed_ip"])


def unscoped(endpoint):
    """Without the interface of a link-local address, which this wireguard-go takes and does not tell."""
    return re.sub(r"%[^\]]*\]", "]", endpoint)


def dump(side, any_port):
    """`wg show IF dump`, sorted, without handshake times and counters."""
    lines = [line.split("\t") for line in lab.run("wg", "show", side.name, "dump").stdout.splitlines()]
    if any_port and lines[0][2] != "0":
        lines[0][2] = "any"
    peers = [peer[:2] + [unscoped(peer[2])] + [sorted(peer[3].split(",")), peer[7]] for peer in lines[1:]]
    return [lines[0]] + sorted(peers)


# --- What makes the reference fit ---


def sections(parts):
    """The lines of a request: the interface's, then each peer's."""
    found = [[]]
    for part in parts:
        if part.startswith("public_key="):
            found.append([])
        found[-1].append(part)
    return found


def for_reference(parts, understood):
    """A request in the words of wireguard-go; `understood` when dpdk-wg found no mistake in it."""
    words = []
    for section in sections(parts):
        if understood:
            # Linux knows these as flags of a peer, which have no order; wireguard-go does one after another,
            # so that a peer that is removed has taken prefixes before.
            section.sort(key=lambda line: not line.startswith(("public_key=", "replace_allowed_ips=",
                                                               "update_only=", "remove=")))
            section.sort(key=lambda line: not line.startswith("public_key="))
        words += section
    return [in_its_words(line) for line in words]


def in_its_words(line):
    key, _, value = line.partition("=")
    # Cleared by an empty value, too, as earlier versions of the protocol's text had it.
    if line == "private_key=":
        return f"private_key={ZERO_KEY}"
    if line == "fwmark=":
        return "fwmark=0"
    # Linux gets numbers, so the text is ours to say: taken without a length, and with a "+".
    if key == "allowed_ip":
        value = value.removeprefix("+")
        with contextlib.suppress(ValueError):
            value = f"{value}/{ipaddress.ip_address(value).max_prefixlen}"
        return f"allowed_ip={value}"
    # No one can be reached at port 0 (operations.md); Linux and wireguard-go keep such an endpoint.
    if key == "endpoint" and re.search(r":0+$", value):
        return "endpoint="
    return line


def request(parts):
    """A "set" of these lines."""
    return "\n".join(["set=1", *parts, "", ""])


class Step:
    """A request: lines of text, or groups of arguments of `wg`."""

    def __init__(self, how, parts):
        self.how, self.parts = how, parts

    def __str__(self):
        return "\n".join([self.how, *(f"    {part}" for part in self.parts)])

    def text(self):
        return request(self.parts)

    def is_text(self):
        return self.how in ("raw", "link_down")

    def replaces_peers(self):
        return self.how == "setconf" or (self.is_text() and "replace_peers=true" in sections(self.parts)[0])

    def removed(self):
        """Peers that it removes by name."""
        return {section[0].partition("=")[2].lower() for section in sections(self.parts)[1:]
                if "remove=true" in section} if self.is_text() else set()


class Pair:
    """dpdk-wg and wireguard-go, side by side."""

    def __init__(self, ours, reference, directory):
        self.ours, self.reference = ours, reference
        self.conf = os.path.join(directory, "step.conf")
        for side in (ours, reference):
            self.link(side, "up")
        # wireguard-go holds the key of zeros, which is none, for its own public key until it was given one.
        self.reference.request(request([f"private_key={'01' * 32}"]), request([f"private_key={ZERO_KEY}"]))
        self.remember()

    def remember(self):
        for side in (self.ours, self.reference):
            side.last = side.state()

    def difference(self, step):
        """Does a step on both sides; returns what then differs, or None. They agree before."""
        before = self.ours.last, self.reference.last
        answers = getattr(self, step.how)(step) if hasattr(self, step.how) else self.wg(step)
        refused = answers[0] not in (0, [0])
        if answers[0] != answers[1]:
            return f"answers: {answers[0]!r}, and of wireguard-go {answers[1]!r}"
        self.settle(step, before[1])
        self.remember()
        ours, reference = self.ours.last, self.reference.last
        if refused and ours.shown() != before[0].shown():
            return f"a refused request changed something:\n{compared(before[0].shown(), ours.shown())}"
        if before[0].port and not ours.port:
            return "the port was closed"
        # Asked for any port, it keeps the one that it has (operations.md), and wireguard-go takes another.
        any_port = reference.port not in PORTS
        if any_port and before[0].port and ours.port != before[0].port:
            return f"port {before[0].port} was not kept: now {ours.port}"
        if ours.shown(any_port) != reference.shown(any_port):
            return compared(reference.shown(any_port), ours.shown(any_port))
        tables = dump(self.ours, any_port), dump(self.reference, any_port)
        if tables[0] != tables[1]:
            return f"wg show dump: {tables[0]}\nand of wireguard-go: {tables[1]}"
        return None

    def settle(self, step, before):
        """A peer that replace_peers keeps keeps its endpoint (operations.md); elsewhere it is a new one."""
        if not step.replaces_peers():
            return
        after = self.reference.state()
        for name, peer in after.peers.items():
            endpoint = before.peers.get(name, {}).get("endpoint")
            if endpoint and "endpoint" not in peer and name not in step.removed():
                assert self.reference.request(f"set=1\npublic_key={name}\nupdate_only=true\n"
                                              f"endpoint={endpoint}\n\n") == [0]

    # How a step is done; the answers of both.

    def raw(self, step):
        ours = self.ours.request(step.text())
        return ours, [self.ask_reference(step.parts, ours[0])]

    def ask_reference(self, parts, ours):
        """The reference's answer to what dpdk-wg answered with the errno `ours`."""
        understood = ours in (0, -errno.EADDRINUSE)
        before = self.reference.state()
        parts = for_reference(parts, understood)
        error, = self.reference.request(request(parts))
        if error == -errno.EADDRINUSE and not understood:
            # dpdk-wg reads a request to its end before it tries the port (operations.md), and finds a mistake.
            self.reference.reset(before)
            again, = self.reference.request(request([p for p in parts if not p.startswith("listen_port=")]))
            error = again or error
        if error != 0:
            # It has done what comes before the mistake, and dpdk-wg does nothing (operations.md).
            self.reference.reset(before)
        return error

    def link_down(self, step):
        """While the link is down, and so the port closed. wireguard-go does not close it."""
        self.link(self.ours, "down")
        answers = self.raw(step)
        self.link(self.ours, "up")
        return answers

    @staticmethod
    def link(side, to):
        side.namespace.ip("link", "set", side.name, to)
        lab.wait_for(f"{side.name} {to}", lambda: (to == "up") == bool(
            side.namespace.run("ss", "-Hlun", f"sport != :{TAKEN}").stdout))

    def cut_off(self, step):
        """Without the empty line at its end nothing is done; wireguard-go does the half that it got."""
        with self.ours.connect() as sock:
            sock.sendall(step.text().rstrip("\n").encode() + b"\n")
            sock.shutdown(socket.SHUT_WR)
            assert self.ours.answer(sock) is None
        return 0, 0

    def several(self, step):
        """A request for each section, all at once; wireguard-go would lose what comes with the first."""
        texts = [request(section) for section in sections(step.parts) if section]
        with self.ours.connect() as sock:
            sock.sendall("".join(texts).encode())
            data = b""
            while data.count(b"errno=") < len(texts) or not data.endswith(b"\n\n"):
                got = sock.recv(1 << 16)
                if not got:
                    break
                data += got
        ours = [int(n) for n in re.findall(rb"errno=(-?\d+)\n\n", data)]
        reference = [self.ask_reference(section, error)
                     for section, error in zip(sections(step.parts)[-len(texts):], ours)]
        return (0, 0) if ours == reference else (ours, reference)

    def minus(self, step):
        """
        "-PREFIX" takes an allowed IP from the peer that has it, from no other, as in Linux. This wireguard-go
        does not know it: it is told what is left.
        """
        name = step.parts[0].partition("=")[2].lower()
        taken = [part.partition("=-")[2] for part in step.parts[1:]]
        left = [ip for ip in self.reference.last.peers.get(name, {}).get("allowed_ip", ()) if ip not in taken]
        told = [step.parts[0], "update_only=true", "replace_allowed_ips=true"]
        told += [f"allowed_ip={ip}" for ip in left]
        ours = request(step.parts[:1] + ["update_only=true"] + step.parts[1:])
        return self.ours.request(ours), self.reference.request(request(told))

    def wg(self, step):
        if step.how == "set":
            args = [arg for part in step.parts for arg in part.split(" ")]
        else:
            args = [self.conf]
            with open(self.conf, "w", encoding="utf-8") as file:
                file.write("\n".join(step.parts) + "\n")
        before = self.reference.last
        answers = self.ours.wg(step.how, *args), self.reference.wg(step.how, *args)
        if answers[1]:
            self.reference.reset(before)  # as in ask_reference()
        return answers

    def shortened(self, step, before):
        """A step that ends in a difference, without the parts that it does so without; and the difference."""
        what, at, kept = None, 0, 0
        while kept < len(step.parts) > 1:
            at %= len(step.parts)
            shorter = Step(step.how, step.parts[:at] + step.parts[at + 1:])
            differs = self.difference_from(before, shorter)
            if differs:
                step, what, kept = shorter, differs, 0
            else:
                at, kept = at + 1, kept + 1
        return step, what or self.difference_from(before, step) or "(not again)"

    def difference_from(self, before, step):
        self.ours.reset(before)
        self.reference.reset(before)
        self.remember()
        if self.ours.last.shown(True) != self.reference.last.shown(True):
            return None  # the fault keeps the state before from being made so
        return self.difference(step)


def compared(reference, ours):
    return "\n".join([*(f"- {line}" for line in reference if line not in ours),
                      *(f"+ {line}" for line in ours if line not in reference)])


# --- Requests ---


class Requests:
    """Random requests about a few peers and prefixes, so that they meet."""

    def __init__(self, rng, directory):
        self.rng, self.directory = rng, directory
        self.private = [rng.randbytes(32) for _ in range(7)]
        self.public = [X25519PrivateKey.from_private_bytes(key).public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw) for key in self.private] + [bytes(32)]
        self.secrets = [rng.randbytes(32) for _ in range(3)] + [bytes(32)]

    def chance(self, percent):
        return self.rng.random() * 100 < percent

    def next(self):
        how = self.rng.choices(("raw", "set", "setconf", "addconf", "syncconf", "several", "minus", "cut_off",
                                "link_down"), (50, 16, 8, 6, 8, 6, 6, 2, 2))[0]
        make = {"set": self.arguments, "minus": self.minus}.get(
            how, self.conf if how.endswith("conf") else self.lines)
        parts = make()
        if how == "link_down":
            # Whether a port is to be had is found out when the link goes up.
            parts = [part for part in parts if part != f"listen_port={TAKEN}"] or parts[1:]
        return Step(how, parts)

    def hex(self, key):
        text = key.hex()
        if self.chance(15):
            text = text.upper()
        if self.chance(2):
            text = self.rng.choice((text[:-1], text + "0", "g" + text[1:], "", "0x" + text[2:],
                                    text[:-2] + "  "))
        return text

    def one_of(self, good, bad, percent=3):
        return self.rng.choice(bad if self.chance(percent) else good)

    def lines(self):
        parts = []
        if self.chance(40):
            parts += [self.interface_line() for _ in range(self.rng.randint(1, 3))]
            # A key twice is none of Linux's requests, and tries each port in wireguard-go.
            parts = list({part.partition("=")[0]: part for part in parts}.values())
        for _ in range(self.rng.choice((0, 1, 1, 2, 2, 3, 5))):
            parts.append(f"public_key={self.hex(self.rng.choice(self.public))}")
            parts += [self.peer_line() for _ in range(self.rng.choice((0, 1, 2, 3, 3, 4, 5, 7)))]
        if self.chance(6):
            parts.insert(self.rng.randint(0, len(parts)), self.rng.choice(BROKEN_LINES))
        if self.chance(3):
            self.rng.shuffle(parts)
            parts = sections(parts)[0][:1] + sum(sections(parts)[1:], [])
        return parts or ["public_key=" + self.public[0].hex()]

    def interface_line(self):
        kind = self.rng.choice(("private_key", "private_key", "listen_port", "fwmark", "replace_peers"))
        if kind == "private_key":
            value = self.hex(self.rng.choice(self.private + [bytes(32)])) if self.chance(95) else ""
        elif kind == "listen_port":
            value = self.one_of((*map(str, PORTS), "0", "020001", str(TAKEN)), NUMBERS, 6)
        elif kind == "fwmark":
            value = self.one_of(("0", "1", "51820", "4294967295", "007"), NUMBERS, 8)
        else:
            value = self.one_of(("true",), KEYWORDS)
        return f"{kind}={value}"

    def peer_line(self):
        kind = self.rng.choices(("allowed_ip", "preshared_key", "endpoint", "persistent_keepalive_interval",
                                 "replace_allowed_ips", "update_only", "remove", "protocol_version"),
                                (50, 10, 12, 10, 10, 8, 6, 4))[0]
        if kind == "allowed_ip":
            value = self.one_of(PREFIXES, BAD_PREFIXES, 1)
        elif kind == "preshared_key":
            value = self.hex(self.rng.choice(self.secrets))
        elif kind == "endpoint":
            value = self.one_of(ENDPOINTS, BAD_ENDPOINTS)
        elif kind == "persistent_keepalive_interval":
            value = self.one_of(("0", "25", "65535", "00025"), NUMBERS)
        elif kind == "protocol_version":
            value = "1"
        else:
            value = self.one_of(("true",), KEYWORDS, 2)
        return f"{kind}={value}"

    def minus(self):
        """Networks and hosts only: what is left is compared as text."""
        prefixes = "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "::/0", "0.0.0.0/0"
        return [f"public_key={self.rng.choice(self.public).hex()}",
                *(f"allowed_ip=-{prefix}" for prefix in self.rng.choices(prefixes, k=self.rng.randint(1, 3)))]

    # For wg.

    def file(self, key):
        path = os.path.join(self.directory, f"{key[:8].hex()}.key")
        with open(path, "w", encoding="ascii") as file:
            file.write(wgpeer.base64_text(key))
        return path

    def prefixes(self):
        return ",".join(prefix for prefix in self.rng.choices(PREFIXES, k=self.rng.randint(0, 5))
                        if prefix[0] != "+")

    def marks(self):
        return self.rng.choice(("0", "off", "0x10", "0xCA6C", "51820", "0xffffffff", "4294967296"))

    def keepalive(self):
        return self.rng.choice(("0", "off", "25", "65535", "65535", "65536"))

    def endpoint(self):
        """As wg may resolve it."""
        return self.rng.choice([end for end in ENDPOINTS if "%" not in end])

    def arguments(self):
        parts = []
        if self.chance(40):
            parts += self.rng.sample(
                [f"private-key {self.file(self.rng.choice(self.private))}", f"fwmark {self.marks()}",
                 f"listen-port {self.rng.choice((*PORTS, 0, TAKEN))}"], self.rng.randint(1, 2))
        for _ in range(self.rng.choice((0, 1, 1, 2, 3))):
            parts.append(f"peer {wgpeer.base64_text(self.rng.choice(self.public))}")
            parts += self.rng.sample(
                ["remove", f"preshared-key {self.file(self.rng.choice(self.secrets))}",
                 f"endpoint {self.endpoint()}", f"persistent-keepalive {self.keepalive()}",
                 f"allowed-ips {self.prefixes()}", f"allowed-ips {self.prefixes()}"], self.rng.randint(0, 4))
        return parts or ["fwmark 0"]

    def conf(self):
        parts = ["[Interface]"]
        if self.chance(80):
            parts.append(f"PrivateKey = {wgpeer.base64_text(self.rng.choice(self.private))}")
        if self.chance(60):
            parts.append(f"ListenPort = {self.rng.choice((*PORTS, *PORTS, 0, TAKEN))}")
        if self.chance(40):
            parts.append(f"FwMark = {self.marks()}")
        for key in self.rng.choices(self.public, k=self.rng.randint(0, 6)):
            parts += ["[Peer]", f"PublicKey = {wgpeer.base64_text(key)}"]
            if self.chance(30):
                parts.append(f"PresharedKey = {wgpeer.base64_text(self.rng.choice(self.secrets))}")
            if self.chance(40):
                parts.append(f"Endpoint = {self.endpoint()}")
            if self.chance(30):
                parts.append(f"PersistentKeepalive = {self.keepalive()}")
            if self.chance(80):
                parts.append(f"AllowedIPs = {self.prefixes()}")
        return parts


# --- The test ---


def test_requests_mean_the_same(topology):
    seed = abuse.seed()
    requests = Requests(random.Random(seed), topology.dir)
    holders = [wgpeer.udp_socket(space.name, "0.0.0.0", TAKEN) for space in (topology.gw, topology.wan)]
    gateway = lab.Gateway(topology.gw, ["v_out"])
    reference = lab.WireguardGo(topology.wan, "ref")
    pair = Pair(Side(topology.gw, gateway.name), Side(topology.wan, reference.name), topology.dir)
    counts = {}
    for number in range(STEPS):
        before, step = pair.reference.last, requests.next()
        counts[step.how] = counts.get(step.how, 0) + 1
        differs = pair.difference(step)
        if differs:
            shorter, shorter_differs = pair.shortened(step, before)
            shown = "\n    ".join(before.shown())
            raise AssertionError(f"TEST_SEED={seed}, step {number}: {differs}\n\n"
                                 f"as short as it gets: {shorter}\n{shorter_differs}\n\n"
                                 f"before:\n    {shown}\n\nthe whole step: {step}\n"
                                 f"{gateway.tail(3)}")
    print(f"{STEPS} steps: {counts}")
    assert gateway.stop() == 0, gateway.tail()
    for holder in holders:
        holder.close()
