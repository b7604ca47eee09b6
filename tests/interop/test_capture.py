# SPDX-License-Identifier: BSD-3-Clause
"""`--capture`: what ports receive and send, for tcpdump to see on an interface of the host."""
import contextlib
import re
import socket

import lab
import wgpeer

COUNT = 20


class Watcher:
    """What is seen on capture0, as tcpdump sees it."""

    def __init__(self, namespace):
        def make():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            sock.bind(("capture0", 3))
            sock.setblocking(False)
            return sock
        self.sock = wgpeer.in_namespace(namespace.name, make)
        self.frames = []

    def count(self, pattern):
        with contextlib.suppress(BlockingIOError):
            while frame := self.sock.recv(65536):
                self.frames.append(frame)
        return sum(bool(re.match(pattern, frame, re.DOTALL)) for frame in self.frames)


def ping(namespace, address):
    output = namespace.run("ping", "-n", "-c", COUNT, "-i", "0.01", "-W", "10", address).stdout
    assert f"{COUNT} packets transmitted, {COUNT} received" in output and "DUP" not in output, output


def test_frames_of_all_ports_are_seen(make_site):
    """
    While capture0 is up, each frame of the fast path is seen once as it is on either wire, and no
    packet is answered or forwarded a second time for it; while it is down nothing is copied.
    """
    site = make_site(options=["--capture"])
    gw, wan, lan = site.topology.gw, site.topology.wan, site.topology.lan
    lab.wait_for("the tunnel", site.ping_through)

    def copied():
        return site.gateway.telemetry("/wg/host,capture0")["tx_packets"]
    assert copied() == 0
    gw.ip("link", "set", "capture0", "up")
    watcher = Watcher(gw)
    lab.wait_for("the capture", lambda: "capture0: frames of all ports" in site.gateway.tail())
    echos = r"IcmpInEchos\s+(\d+)"
    before = int(re.search(echos, lan.run("nstat", "-asz", "IcmpInEchos").stdout)[1])
    ping(wan, "10.1.0.2")
    assert int(re.search(echos, lan.run("nstat", "-asz", "IcmpInEchos").stdout)[1]) == before + COUNT
    ping(wan, "fd01::2")
    ethernet, ipv4 = rb".{12}\x08\x00", rb"\x45.{8}"
    request4 = ethernet + ipv4 + rb"\x01.{2}\x0a\x09\x00\x02\x0a\x01\x00\x02\x08"
    reply4 = ethernet + ipv4 + rb"\x01.{2}\x0a\x01\x00\x02\x0a\x09\x00\x02\x00"
    request6, reply6 = (rb".{12}\x86\xdd\x60.{5}\x3a.{33}" + kind for kind in (b"\x80", b"\x81"))
    # Of WireGuard's data messages: either way, of both pings.
    sealed = ethernet + ipv4 + rb"\x11.{18}\x04\x00\x00\x00"
    for pattern, expected in ((request4, COUNT), (reply4, COUNT), (request6, COUNT), (reply6, COUNT)):
        lab.wait_for("the copies", lambda: watcher.count(pattern) >= expected)
        assert watcher.count(pattern) == expected, pattern
    lab.wait_for("the sealed ones", lambda: watcher.count(sealed) >= 4 * COUNT)
    drops = site.gateway.telemetry("/wg/drops")
    assert drops.get("capture", 0) == 0, drops

    gw.ip("link", "set", "capture0", "down")
    lab.wait_for("the end", lambda: "capture0: no more frames" in site.gateway.tail())
    assert site.ping_through()
    seen = copied()
    assert site.ping_through()
    assert copied() == seen


def test_no_interface_unless_asked(make_site):
    site = make_site()
    assert not [link for link in site.topology.gw.ip_json("link", "show")
                if link["ifname"].startswith("capture")]
