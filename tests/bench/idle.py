#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What resting workers cost and save: round trips through the gateway at low rates, and the CPU time
of an idle program, with and without --poll, in turn. Not a test.

    DPDK_WG_BUILD=build tests/bench/idle.py [ROUNDS]

A round trip goes from a stock wireguard-go through the gateway to a host behind it and back.
"""
import os
import re
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))
import lab  # noqa: E402

# Seconds between packets, and how many: the first leaves workers in short sleeps, the last in long.
RATES = ((0.002, 1000), (0.05, 60), (1.5, 4))
IDLE_S = 3


def round_trips(site, every, count):
    done = site.topology.wan.run("ping", "-n", "-i", every, "-c", count, "-W", 2, "10.1.0.2",
                                 check=False)
    return [1e3 * float(ms) for ms in re.findall(r"time=([\d.]+) ms", done.stdout)]


def measure(options):
    """Round trips in us by rate, and the share of a CPU that the program takes when idle."""
    with lab.Topology() as topology:
        site = lab.Site(topology, options=options)
        assert site.ping_through()
        trips = {every: round_trips(site, every, count) for every, count in RATES}
        time.sleep(1.5)  # workers know that they are idle
        before = lab.cpu_seconds(site.gateway.process)
        time.sleep(IDLE_S)
        return trips, (lab.cpu_seconds(site.gateway.process) - before) / IDLE_S


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    trips = {mode: {every: [] for every, _ in RATES} for mode in ("poll", "default")}
    cpu = {mode: [] for mode in trips}
    for _ in range(rounds):
        for mode, options in (("poll", ["--poll"]), ("default", [])):
            got, share = measure(options)
            cpu[mode].append(share)
            for every, values in got.items():
                trips[mode][every] += values
    print(f"{'':10}" + "".join(f"{f'every {every * 1e3:g} ms':>26}" for every, _ in RATES)
          + "   CPUs when idle")
    for mode, by_rate in trips.items():
        cells = []
        for values in by_rate.values():
            values.sort()
            p99 = values[min(len(values) - 1, int(len(values) * 0.99))]
            cells.append(f"p50 {statistics.median(values):6.0f}  p99 {p99:6.0f} us")
        print(f"{mode:10}" + "".join(f"{cell:>26}" for cell in cells)
              + f"   {statistics.median(cpu[mode]):.3f}")


if __name__ == "__main__":
    main()
