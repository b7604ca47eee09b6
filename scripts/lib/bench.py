# SPDX-License-Identifier: BSD-3-Clause
"""Runs the benchmarks and shows their figures: see scripts/bench."""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile

import plot

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCH = os.path.join(ROOT, "build/tests/bench")


def machine():
    """What the figures were measured on."""
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/loadavg", encoding="utf-8") as file:
        load = file.read().split()[0]
    return {"bench": "machine", "cpu": model, "cpus": os.cpu_count(), "kernel": platform.release(),
            "load": float(load)}


def in_front(*argv):
    """
    A command in a scheduling group of its own and in front of others, where we may: `nice` alone
    counts only within a group.
    """
    if os.geteuid() != 0:
        return list(argv)
    script = "echo -20 > /proc/self/autogroup 2>/dev/null; exec nice -n -20 \"$@\""
    return ["setsid", "-w", "bash", "-c", script, "bench", *argv]


def run(*argv):
    """Runs a benchmark that writes JSON; returns its rows."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        subprocess.run(in_front(*argv, "--json", file.name), check=True, stdout=subprocess.DEVNULL)
        return json.load(file)


def size_name(row):
    return row.get("mix") or row["size"]


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


def show_aead(rows):
    for fill in sorted({row["fill"] for row in rows}, reverse=True):
        print(f"Batch AEAD, {fill} packets a call: cycles a packet (IPsec-MB ÷ these)\n")
        chosen = [row for row in rows if row["fill"] == fill]
        backends = list(dict.fromkeys(row["backend"] for row in chosen))
        keys = list(dict.fromkeys((row["op"], size_name(row)) for row in chosen))
        cells = {(row["op"], size_name(row), row["backend"]): row for row in chosen}
        table(["op", "bytes"] + backends, [
            [op, size] + [
                f"{cell['cycles']:.0f} ({cell['ratio_ipsec_mb']:.2f})" if cell else ""
                for cell in (cells.get((op, size, backend)) for backend in backends)]
            for op, size in keys])


def show_pipeline(rows):
    print("Pipeline, receive burst to send burst: cycles a packet\n")
    table(["direction", "bytes", "peers", "workers", "cycles", "of these AEAD", "the rest"],
          [[row["direction"], size_name(row), f"{row['peers']:,}", row["workers"],
            f"{row['cycles']:.0f}", f"{row['aead_cycles']:.0f}",
            f"{row['cycles'] - row['aead_cycles']:.0f}"] for row in rows])


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--plots", metavar="DIR")
    options = parser.parse_args()

    rows = [machine()]
    print(f"{rows[0]['cpu']}, {rows[0]['cpus']} CPUs, Linux {rows[0]['kernel']}, "
          f"load {rows[0]['load']}\n")
    aead = run(f"{BENCH}/bench_aead", *(["--quick"] if options.quick else []))
    show_aead(aead)
    peers = "1,1000,100000" if options.quick else "1,10,1000,100000,1000000"
    sizes = "64,1420" if options.quick else "64,128,256,512,1024,1420"
    pipeline = run(f"{BENCH}/bench_pipeline", "--rounds", "11" if options.quick else "41",
                   "--peers", peers, "--sizes", sizes)
    show_pipeline(pipeline)
    print("Prefix tables: cycles a lookup\n", flush=True)
    subprocess.run(in_front(f"{BENCH}/bench_lpm", "--no-huge", "--no-pci", "-m", "2048",
                            "--file-prefix", f"bench-{os.getpid()}", "--log-level", "error",
                            "--", "3" if options.quick else "7"), check=True)
    rows += aead + pipeline
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            file.write("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    if options.plots:
        plot.write_all(options.plots, aead, pipeline)
    return 0


sys.exit(main())
