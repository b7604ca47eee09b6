# SPDX-License-Identifier: BSD-3-Clause
"""
The whole program with a generator in another process, over vhost-user ports: packets a second
without loss (NDR) and with 0.5 % (PDR), by binary search as CSIT does. The generator has CPU 0,
with the gateway's control thread; the gateway's one worker has CPU 1.

    python3 scripts/lib/bench_throughput.py [--quick] [--json FILE]
"""
import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/interop"))
import lab  # noqa: E402

# Ethernet frames as CSIT counts them, checksum included, and the IP packets in them.
ETHER = 18
IMIX = [64, 64, 570, 64, 64, 570, 64, 1518, 570, 64, 64, 570]
FRAMES = {"64B": [64], "IMIX": IMIX, "1518B": [1518], "9000B": [9000]}
DIRECTIONS = ("outbound", "inbound")
PDR_LOSS = 0.005

# Of the tunnel; the ports' is 60 more. Frames of 1518 bytes want both, as in CSIT.
MTU, JUMBO_MTU = 1500, 9000 - ETHER
HUGEPAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB/"
HUGEPAGES_WANTED = 1024  # for jumbo frames, or a million peers, and some to spare


@contextlib.contextmanager
def hugepages():
    """Hugepages while it lasts, where the machine grants them; yields whether so many are free."""
    def read(name):
        with open(HUGEPAGES + name, encoding="utf-8") as file:
            return int(file.read())

    def reserve(count):
        with open(HUGEPAGES + "nr_hugepages", "w", encoding="utf-8") as file:
            file.write(str(count))

    before, granted = None, False
    with contextlib.suppress(OSError):
        missing = HUGEPAGES_WANTED - read("free_hugepages")
        if missing > 0:
            before = read("nr_hugepages")
            reserve(before + missing)
        granted = read("free_hugepages") >= HUGEPAGES_WANTED
    try:
        yield granted
    finally:
        if before is not None:
            with contextlib.suppress(OSError):
                reserve(before)


def prefer(process):
    """Puts a process into the front, as bench.in_front() does; where we may not, it stays."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{process.pid}/autogroup", "w", encoding="utf-8") as file:
            file.write("-20")


class Gateway(lab.Gateway):
    """With hugepages where there are some, else with room for jumbo frames."""

    huge = False

    def argv(self):
        argv = super().argv()
        at = argv.index("--no-huge")
        argv[at:at + 3] = ["--in-memory"] if self.huge else ["--no-huge", "-m", "640"]
        return argv


class Bed:
    """A gateway with so many tunnels, and the generator at its ports."""

    def __init__(self, made, tunnels, mtu, huge, options=()):
        self.generator_path = os.path.join(lab.build_dir(), "tests/bench/generator")
        self.space = made.namespace("gw")
        self.sockets = [os.path.join(made.dir, f"{side}.sock") for side in ("outer", "inner")]
        config = lab.run(self.generator_path, "config", tunnels, mtu).stdout
        vhost = [f"net_vhost{n},iface={path}" for n, path in enumerate(self.sockets)]
        self.space.sysctl("net.ipv4.ip_forward", 1)
        self.gateway = Gateway(self.space, vhost[:1], vhost[1:], config=config, wait=False,
                               options=("--mtu", mtu + 100, "--poll", *options))
        self.gateway.huge = huge
        self.gateway.start()
        prefer(self.gateway.process)
        self.start_generator(made, tunnels, mtu, huge)
        self.address_ports()

    def address_ports(self):
        """The generator speaks no ARP; the ports have a link once it is there."""
        for link, address, there, mac in (
                ("outer0", "192.0.2.1/24", "192.0.2.2", "02:00:00:00:00:02"),
                ("inner0", "192.168.0.1/24", "192.168.0.2", "02:00:00:00:00:03")):
            self.space.set_up(link, address)
            lab.wait_for(f"the link of {link}", lambda name=link: "LOWER_UP" in
                         self.space.ip_json("link", "show", "dev", name)[0]["flags"])
            self.space.ip("neigh", "replace", there, "lladdr", mac, "dev", link, "nud",
                          "permanent")

    def start_generator(self, made, tunnels, mtu, huge):
        macs = [self.space.ip_json("link", "show", "dev", link)[0]["address"]
                for link in ("outer0", "inner0")]
        memory = ["--in-memory"] if huge else ["--no-huge", "-m", "512"]
        prefix = f"{made.prefix}-generator"
        argv = [self.generator_path, "--no-pci", *memory, "--single-file-segments",
                "--no-telemetry", "--log-level", "error", "--lcores", "0@0",
                "--file-prefix", prefix]
        for n, path in enumerate(self.sockets):
            argv += ["--vdev", f"net_virtio_user{n},path={path},mac=02:00:00:00:00:0{n + 2},"
                               "queue_size=1024,packed_vq=1"]
        log = os.path.join(made.dir, "generator.log")
        with open(log, "w", encoding="utf-8") as errors:
            self.generator = subprocess.Popen(
                [*argv, "--", str(tunnels), str(mtu), *macs], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, text=True)
        self.generator.log, self.generator.prefix = log, prefix
        made.processes.append(self.generator)
        prefer(self.generator)
        self.tsc_hz = self.answer()["tsc_hz"]

    def answer(self):
        line = self.generator.stdout.readline()
        if not line:
            with open(self.generator.log, encoding="utf-8", errors="replace") as file:
                raise lab.LabError(f"the generator ended: {file.read()[-500:]}")
        return json.loads(line)

    def ask(self, *words):
        self.generator.stdin.write(" ".join(map(str, words)) + "\n")
        self.generator.stdin.flush()
        return self.answer()

    def handshake(self, tunnels):
        if not self.ask("handshake", tunnels)["ok"]:
            raise lab.LabError(f"no session; drops: {self.gateway.drops()}")

    def trial(self, direction, frames, tunnels, pps, seconds):
        sizes = ",".join(str(frame - ETHER) for frame in frames)
        result = self.ask("trial", direction, sizes, tunnels, pps, seconds)
        if result["wrong"]:
            raise lab.LabError(f"{result['wrong']} of {result['checked']} packets were wrong")
        return result

    def close(self):
        """Ends both, the generator first: it ends with its input."""
        self.generator.stdin.close()
        self.generator.wait(10)
        self.generator.stdout.close()
        shutil.rmtree(f"/run/dpdk/{self.generator.prefix}", ignore_errors=True)
        self.gateway.stop()


class Search:
    """Rates that passed, found in few trials; one set of trials serves both criteria."""

    TRIES = 2  # what else the machine does now and then is not the gateway's

    def __init__(self, trial, capacity, steps):
        self.trial = trial
        self.capacity = capacity
        self.steps = steps
        self.losses = {}  # rate -> losses seen

    def passes(self, pps, tolerated):
        losses = self.losses.setdefault(pps, [])
        while min(losses, default=1) > tolerated and len(losses) < self.TRIES:
            result = self.trial(pps)
            lost = max(0, result["offered"] - result["received"]) / max(1, result["offered"])
            # A generator that cannot make the rate has not shown that it passes.
            short = result["offered"] < 0.97 * pps * result["seconds"]
            losses.append(1.0 if short else lost)
        return min(losses) <= tolerated

    def highest(self, tolerated):
        """The highest rate that passes, to a hundredth of the capacity."""
        passed = [pps for pps, losses in self.losses.items() if min(losses) <= tolerated]
        low = max(passed, default=0.0)
        high = min((pps for pps in self.losses if pps > low), default=1.02 * self.capacity)
        for step in range(self.steps):
            if high - low < 0.01 * self.capacity:
                break
            pps = (low + high) / 2 if low else high * (0.96 if step == 0 else 0.8)
            if self.passes(pps, tolerated):
                low = pps
            else:
                high = pps
        return low


class Stages:
    """What the worker's stages cost a packet: receiving and sending, the AEAD, all between."""

    def __init__(self, answer, direction):
        aead = "seal" if direction == "outbound" else "open"
        packets = answer[f"{direction}_{aead}_packets"]

        def cycles(prefix):
            return round(sum(value for key, value in answer.items() if key.startswith(prefix)
                             and key.endswith("_cycles")) / packets, 1)

        self.pipeline = cycles(f"{direction}_")
        self.aead = cycles(f"{direction}_{aead}_")
        self.io = cycles("port_")


def measure(bed, direction, name, tunnels, quick):
    """One row; a second attempt where the machine became another meanwhile."""
    row = attempt(bed, direction, name, tunnels, quick)
    if row["pdr_pps"] < 0.85 * row["capacity_pps"]:
        other = attempt(bed, direction, name, tunnels, quick)
        row = max(row, other, key=lambda made: made["pdr_pps"])
    return row


def attempt(bed, direction, name, tunnels, quick):
    """One row: capacity with the way to the gateway always full, then the search."""
    frames, seconds = FRAMES[name], 0.1 if quick else 0.2
    bed.trial(direction, frames, tunnels, 0, 0.1)  # caches, clocks
    bed.gateway.telemetry("/wg/stages,on")
    full = bed.trial(direction, frames, tunnels, 0, seconds)
    stages = Stages(bed.gateway.telemetry("/wg/stages,off"), direction)
    capacity = full["received"] / full["seconds"]
    search = Search(lambda pps: bed.trial(direction, frames, tunnels, int(pps), seconds), capacity,
                    6 if quick else 7)
    ndr = search.highest(0)
    pdr = max(ndr, search.highest(PDR_LOSS))
    inner = sum(frame - ETHER for frame in frames) / len(frames)
    return {
        "bench": "throughput", "test": f"{name}-1c-ethip4udpwireguard{tunnels}tnl",
        "direction": direction, "size": name, "ip_bytes": round(inner), "tunnels": tunnels,
        "workers": 1, "tsc_hz": bed.tsc_hz, "ndr_pps": round(ndr), "pdr_pps": round(pdr),
        "capacity_pps": round(capacity), "gbps": round(pdr * inner * 8 / 1e9, 2),
        "cycles": round(bed.tsc_hz / pdr, 1) if pdr else None,
        "pipeline_cycles": stages.pipeline, "aead_cycles": stages.aead, "io_cycles": stages.io,
        # The worker could not keep up, or the generator could not feed it.
        "limit": "worker" if full["refused"] > full["offered"] / 64 else "generator",
    }


def plan(quick):
    """(MTU, tunnels, names of sizes), one gateway each."""
    if quick:
        return [(MTU, 1, ["64B", "IMIX", "1518B"]), (MTU, 1000, ["64B"])]
    usual = ["64B", "IMIX", "1518B"]
    return [(MTU, n, usual if n in (1, 1000) else ["64B"])
            for n in (1, 2, 4, 8, 100, 1000)] + [(JUMBO_MTU, 1, ["9000B"])]


def run(quick, tell=lambda row: None):
    rows = []
    with hugepages() as huge:
        for mtu, tunnels, names in plan(quick):
            with lab.Lab() as made:
                bed = Bed(made, tunnels, mtu, huge)
                for name in names:
                    bed.handshake(tunnels)  # a session lasts for three minutes only
                    for direction in DIRECTIONS:
                        rows.append(measure(bed, direction, name, tunnels, quick))
                        tell(rows[-1])
                bed.close()
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # labs are taken down
    rows = run(options.quick, lambda row: print(json.dumps(row), flush=True))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
