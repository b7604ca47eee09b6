# SPDX-License-Identifier: BSD-3-Clause
"""
Very many peers: how long the program takes to start with a config file of them, each with an
allowed IP, and what memory they take, less what it takes with one.

    python3 scripts/lib/bench_peers.py [PEERS ...]
"""
import base64
import json
import os
import re
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/interop"))
import lab  # noqa: E402

START_S, STOP_S = 120, 120


def key():
    return base64.b64encode(os.urandom(32)).decode()


def config(peers):
    """Any 32 bytes are a public key. One route covers all: a million are the kernel's work."""
    parts = [f"[Interface]\nPrivateKey = {key()}\nListenPort = 51820\n"
             "Address = 172.16.0.1/32\nTable = off\n"]
    parts += [f"[Peer]\nPublicKey = {key()}\n"
              f"AllowedIPs = 10.{n >> 16}.{n >> 8 & 255}.{n & 255}/32\n" for n in range(peers)]
    return "\n".join(parts)


def memory_kb(process):
    """Of a process, huge pages too."""
    with open(f"/proc/{process.pid}/status", encoding="utf-8") as file:
        return sum(int(kb) for kb in re.findall(r"^(?:VmRSS|HugetlbPages):\s+(\d+)", file.read(),
                                                re.MULTILINE))


class Gateway(lab.Gateway):
    """Ready when it says so: asking it for a million peers would take longer than its start."""

    def start(self):
        begin = time.monotonic()
        self.process = self.namespace.start(*self.argv(), log=f"{self.name}.log")

        def ready():
            if self.process.poll() is not None:
                raise lab.LabError(f"dpdk-wg ended: {self.tail()}")
            with open(self.process.log, encoding="utf-8", errors="replace") as file:
                return "ready:" in file.read()

        lab.wait_for("dpdk-wg to be ready", ready, timeout=START_S, every=0.01)
        self.started_s = time.monotonic() - begin


def start(peers):
    """(seconds until it is ready, KB then, seconds until it has ended)"""
    with lab.Lab() as made:
        space = made.namespace("gw")
        space.ip("link", "add", "v_out", "type", "veth", "peer", "name", "v_far")
        made.port(space, "v_out")
        gateway = Gateway(space, ["v_out"], config=config(peers))
        taken = memory_kb(gateway.process)
        begin = time.monotonic()
        made.stop(gateway.process, timeout=STOP_S)
        return gateway.started_s, taken, time.monotonic() - begin


def run(counts):
    base_s, base_kb, _ = start(1)
    rows = []
    for peers in counts:
        seconds, kb, stop_s = start(peers)
        rows.append({"bench": "peers", "peers": peers, "loaded_s": round(seconds - base_s, 2),
                     "mb": round((kb - base_kb) * 1024 / 1e6),
                     "bytes_a_peer": round((kb - base_kb) * 1024 / peers),
                     "stopped_s": round(stop_s, 2)})
    return rows


if __name__ == "__main__":
    for made_row in run([int(text) for text in sys.argv[1:]] or [1000000]):
        print(json.dumps(made_row))
