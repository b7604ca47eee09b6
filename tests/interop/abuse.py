# SPDX-License-Identifier: BSD-3-Clause
"""
What the tests of abuse share: floods, pings whose every loss and delay is known, and the program's
resources at rest.
"""
import contextlib
import ctypes
import json
import math
import os
import re
import socket
import struct

import lab
import wgpeer

OUTER4, OUTER6, PORT = "192.0.2.1", "2001:db8:1::1", 51820
HOST_THREAD, WORKER_THREAD = "dpdk-wg-host", "rte-worker-1"
SPOOFED4, SPOOFED6 = "198.18.0.0/15", "2001:db8:5f00::/40"
# Resident memory may differ by what the C library and the kernel keep in hand.
RSS_SLACK_KIB = 1024


def tool(name):
    return os.path.join(lab.build_dir(), "tests/tools", name)


def seed():
    """The seed in TEST_SEED, else a new one; printed."""
    value = int(os.environ.get("TEST_SEED", "0"), 0) or int.from_bytes(os.urandom(4), "big")
    print(f"TEST_SEED={value}")
    return value


# --- Resources ---


def small_pages():
    """Before exec: no huge pages, of which a single one would hide what leaks."""
    ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE


def resources(gateway):
    """
    Resident memory in KiB, without pages of files, which come as code is first run; open descriptors;
    packet buffers in use.
    """
    pid = gateway.process.pid
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        rss = int(re.search(r"RssAnon:\s+(\d+)", file.read()).group(1))
    return {"rss": rss, "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "mbufs": gateway.telemetry("/wg/info")["packet_buffers_in_use"]}


class Rest:
    """What the program holds when nothing happens, and that it comes back to that."""

    def __init__(self, gateway):
        self.gateway, self.now = gateway, None
        self.before = lab.wait_for("rest", self.settled)

    def settled(self):
        several = [resources(self.gateway) for _ in range(5)]
        if any(one["mbufs"] for one in several):
            return None
        # A client's descriptor, as those of this very question, is closed a little later.
        return {what: min(one[what] for one in several) for what in several[0]}

    def reached(self):
        self.now = resources(self.gateway)
        # A descriptor less than before: a client's had not been closed yet, on busy CPUs.
        return (self.now["mbufs"] == self.before["mbufs"]
                and self.now["descriptors"] <= self.before["descriptors"]
                and self.now["rss"] <= self.before["rss"] + RSS_SLACK_KIB)

    def check(self):
        """Waits until descriptors and buffers are as before, to the last one; memory nearly so."""
        assert self.gateway.process.poll() is None, self.gateway.tail()
        try:
            lab.wait_for("rest", self.reached, timeout=20)
        except lab.LabError as error:
            raise AssertionError(f"before {self.before}, now {self.now}") from error
        print(f"at rest: {self.before} and {self.now}")


def threads(process, name):
    """Of a program, those of that name."""
    def called(thread):
        with open(f"/proc/{process.pid}/task/{thread}/comm", encoding="ascii") as file:
            return file.read().strip()

    found = []
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        with contextlib.suppress(FileNotFoundError):  # it has ended
            if called(thread) == name:
                found.append(int(thread))
    return found


class CpuShare:
    """Of the time in which a thread would have run, that in which it had a CPU, since this was made."""

    def __init__(self, process, name):
        thread, = threads(process, name)
        self.path = f"/proc/{process.pid}/task/{thread}/schedstat"
        self.before = self.times()

    def times(self):
        with open(self.path, encoding="ascii") as file:
            return [int(word) for word in file.read().split()[:2]]

    def now(self):
        ran, waited = (now - before for now, before in zip(self.times(), self.before))
        return ran / max(1, ran + waited)


class StandingThread:
    """
    One thread of a program stands still, the others run: it is traced, and interrupted. A context
    manager, for one thread of ours.
    """

    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, process, name):
        self.thread, = threads(process, name)
        self.libc = ctypes.CDLL(None, use_errno=True)

    def ptrace(self, request):
        if self.libc.ptrace(request, self.thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")

    def __enter__(self):
        self.ptrace(self.SEIZE)
        self.ptrace(self.INTERRUPT)
        os.waitpid(self.thread, self.WALL)
        return self

    def __exit__(self, *error):
        self.ptrace(self.DETACH)


# --- Frames and floods ---


def mac(namespace, link):
    found, = namespace.ip_json("link", "show", link)
    return bytes.fromhex(found["address"].replace(":", ""))


def frame(to, source, destination, sport, dport, payload):
    """An Ethernet frame with a UDP datagram."""
    packet = wgpeer.udp(source, destination, payload, sport, dport)
    kind = 0x86dd if ":" in source else 0x0800
    return to + bytes.fromhex("020000000001") + struct.pack(">H", kind) + packet


class Flood:
    """tests/tools/flood in a namespace, as a context manager; `sent` once it has ended."""

    def __init__(self, namespace, netdev, frames, *options, seconds=600):
        self.namespace, self.sent = namespace, None
        path = os.path.join(namespace.lab.dir, f"frames-{id(self)}")
        with open(path, "wb") as file:
            for one in frames:
                file.write(struct.pack(">H", len(one)) + one)
        self.argv = [tool("flood"), netdev, path, f"seconds={seconds}", *options]
        self.log = f"flood-{id(self)}.log"

    def __enter__(self):
        self.process = self.namespace.start(*self.argv, log=self.log)
        lab.wait_for("the flood", lambda: self.process.poll() is not None or self.text())
        return self

    def __exit__(self, *error):
        self.namespace.lab.stop(self.process)
        self.read()

    def text(self):
        with open(self.process.log, encoding="ascii") as file:
            return file.read()

    def read(self):
        text = self.text()
        found = re.search(r"sent (\d+)", text)
        assert found, text
        self.sent = int(found[1])

    def run(self):
        """To its own end; returns what was sent."""
        with self:
            assert self.process.wait(600) == 0
        return self.sent


SESSION_SLOTS = 1 << 22  # LIMIT_INDEX_BITS


def touch_sessions(topology, gateway):
    """
    The table of sessions is address space; a page of it comes when a receiver index is looked up
    there for the first time.
    """
    to = mac(topology.gw, "outer0")
    frames = [frame(to, "192.0.2.2", OUTER4, 9, PORT,
                    struct.pack("<IIQ", wgpeer.DATA, slot, 0) + bytes(16))
              for slot in range(0, SESSION_SLOTS, 4096 // 8)]
    before = gateway.drops().get("unknown_index", 0)
    with Flood(topology.wan, "e0", frames, "rate=50000"):
        lab.wait_for("two rounds", lambda: gateway.drops().get("unknown_index", 0) > before
                     + 2 * len(frames))


# --- Pings ---


class Pings:
    """
    A steady ping; at the end what came back, and how long each took. Only with a deadline does ping wait
    for the last answers; else it ends after twice the longest time so far, whatever its -W says, and what
    a short stall holds up at the end would seem lost. With one it sends more until `count` came back:
    those beyond are not counted.
    """

    LAST_ONES_S = 5
    SLOWER = 4  # than its interval says, as it gets on busy CPUs: 18 ms instead of 10 were seen

    def __init__(self, namespace, address, count, interval=0.01):
        self.count, self.namespace = count, namespace
        self.seconds = math.ceil(self.SLOWER * count * interval) + self.LAST_ONES_S
        self.process = namespace.start("ping", "-n", "-c", count, "-i", interval, "-w", self.seconds, address,
                                       log=f"ping-{address}-{id(self)}")
        self.rtts_ms = {}

    def finish(self):
        """May be called again."""
        self.process.wait(self.seconds + 10)
        with open(self.process.log, encoding="utf-8") as file:
            for line in file:
                found = re.search(r"icmp_seq=(\d+) .*time=([\d.]+)", line)
                if found and int(found[1]) <= self.count:
                    self.rtts_ms[int(found[1])] = float(found[2])
        return self

    @property
    def lost(self):
        return self.count - len(self.rtts_ms)

    def percentile(self, percent):
        ordered = sorted(self.rtts_ms.values())
        return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]

    @property
    def missing(self):
        """Runs of sequence numbers that did not come back, as "3-9"."""
        runs = []
        for n in range(1, self.count + 1):
            if n in self.rtts_ms:
                continue
            if runs and runs[-1][1] == n - 1:
                runs[-1][1] = n
            else:
                runs.append([n, n])
        return ", ".join(f"{first}-{last}" if first < last else f"{first}" for first, last in runs)

    def __str__(self):
        if not self.rtts_ms:
            return f"none of {self.count} pings"
        return (f"{len(self.rtts_ms)} of {self.count} pings, p50 {self.percentile(50):.2f} ms, "
                f"p99 {self.percentile(99):.2f} ms, most {max(self.rtts_ms.values()):.2f} ms"
                + (f", missing: {self.missing}" if self.lost else ""))


# --- Where a packet can be lost but in the gateway ---


def counted(namespace, link, direction, what="packets"):
    found, = namespace.ip_json("-s", "link", "show", link)
    return found["stats64"][direction][what]


def cable_losses(topology, gateway):
    """Frames that were lost between the gateway and its neighbours, or are under way just now."""
    losses = {}
    for port, (namespace, name) in enumerate(((topology.wan, "outer"), (topology.lan, "inner"))):
        sent = counted(namespace, "e0", "tx")
        stats = gateway.telemetry(f"/ethdev/stats,{port}")
        losses[f"{name}_cable_in"] = sent - stats["ipackets"]
        losses[f"{name}_cable_out"] = stats["opackets"] - counted(namespace, "e0", "rx")
        losses[f"{name}_port"] = stats["oerrors"] + stats["imissed"] + stats["rx_nombuf"]
    return losses


class Tap:
    """
    Counts frames at one end of a cable, in one direction. The kernel does, in the socket's filter and
    its statistics, and nobody has to read: none is missed for want of time or room.
    """

    OUT, IN = True, False

    def __init__(self, namespace, netdev, direction, *fields):
        """fields: (loads, value) of IPv4 that all must match; PROTOCOL, SOURCE, ...."""
        outgoing = 4  # PACKET_OUTGOING, of the loaded packet type
        tests = [([(0x20, 0xfffff004)], outgoing, direction), ([(0x28, 12)], 0x0800, True),
                 *((loads, value, True) for loads, value in fields)]
        code = []
        for loads, value, equal in tests:
            code += [(op, 0, 0, operand) for op, operand in loads]
            code.append((0x15, 0, None, value) if equal else (0x15, None, 0, value))
        code += [(0x06, 0, 0, 64), (0x06, 0, 0, 0)]
        last = len(code) - 1
        code = [(op, *(last - at - 1 if jump is None else jump for jump in jumps), value)
                for at, (op, *jumps, value) in enumerate(code)]
        self.sock = wgpeer.in_namespace(namespace.name, lambda: self.open(netdev, code))
        self.total = 0

    # Loads of the filter's machine: the first of two makes X the length of the IPv4 header.
    PROTOCOL = [(0x30, 23)]
    SOURCE, DESTINATION = [(0xb1, 14), (0x48, 14)], [(0xb1, 14), (0x48, 16)]
    UDP_LEN = [(0xb1, 14), (0x48, 18)]

    @staticmethod
    def open(netdev, code):
        program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in code))
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.setsockopt(socket.SOL_SOCKET, 26,  # SO_ATTACH_FILTER
                        struct.pack("@HP", len(code), ctypes.addressof(program)))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        sock.bind((netdev, 3))  # ETH_P_ALL
        return sock

    def count(self):
        """How many there were."""
        more, _unread = struct.unpack("=II", self.sock.getsockopt(263, 6, 8))  # PACKET_STATISTICS
        self.total += more  # the kernel's count begins anew
        return self.total


class Losses:
    """
    The client's pings that got lost since this was made, but not by the gateway: between the two ends
    of a cable, and before a full socket of the client's. Only these count, whatever else is on the
    cables. What came to the gateway's end of a cable is the gateway's, the ring of its port too.
    """

    DATAGRAM = 8 + 32 + 96  # what `ping` sends, of 84 bytes, sealed

    def __init__(self, site):
        self.client, topology = site.client, site.topology
        self.wan, port = topology.wan, int(self.client.show("listen-port"))
        outer, inner = (topology.wan, topology.gw, "v_out"), (topology.lan, topology.gw, "v_in")
        sealed = ((Tap.PROTOCOL, 17), (Tap.UDP_LEN, self.DATAGRAM))
        self.taps = {"outer_in": self.inward(*outer, *sealed, (Tap.SOURCE, port)),
                     "inner_out": self.outward(*inner, (Tap.PROTOCOL, 1)),
                     "inner_in": self.inward(*inner, (Tap.PROTOCOL, 1)),
                     "outer_out": self.outward(*outer, *sealed, (Tap.DESTINATION, port))}
        self.sockets, self.passed = self.udp_drops(), {}

    @staticmethod
    def inward(neighbour, gw, netdev, *fields):
        return Tap(neighbour, "e0", Tap.OUT, *fields), Tap(gw, netdev, Tap.IN, *fields)

    @staticmethod
    def outward(neighbour, gw, netdev, *fields):
        return Tap(gw, netdev, Tap.OUT, *fields), Tap(neighbour, "e0", Tap.IN, *fields)

    def udp_drops(self):
        """Datagrams that found the client's sockets full."""
        port = f":{int(self.client.show('listen-port')):04X}"
        text = self.wan.run("cat", "/proc/net/udp", "/proc/net/udp6").stdout
        return sum(int(line.split()[-1]) for line in text.splitlines() if line.split()[1].endswith(port))

    def lost(self):
        """What has not come to a cable's other end."""
        self.passed = {where: tuple(tap.count() for tap in taps) for where, taps in self.taps.items()}
        return {where: sent - received for where, (sent, received) in self.passed.items()
                if sent != received}

    def finish(self):
        """What was lost where, now that nothing is under way; `passed` has what passed both ends."""
        with contextlib.suppress(lab.LabError):
            lab.wait_for("the last ones", lambda: not self.lost(), timeout=1)
        losses = self.lost()
        for taps in self.taps.values():
            for tap in taps:
                tap.sock.close()
        sockets = self.udp_drops() - self.sockets
        return losses | ({"client_sockets": sockets} if sockets else {})


# --- Sockets of the program ---


def uapi_socket(gateway):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(gateway.socket)
    sock.settimeout(5)
    return sock


def telemetry_socket(gateway):
    """A client of the telemetry socket that has read its greeting."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # It listens for one at a time: only a socket that blocks waits for its turn.
    sock.connect(f"/var/run/dpdk/{gateway.lab.prefix}-{gateway.name}/dpdk_telemetry.v2")
    sock.settimeout(20)
    json.loads(sock.recv(1024))
    return sock
