# SPDX-License-Identifier: BSD-3-Clause
"""Runs the benchmarks and shows their figures: see scripts/bench."""
import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import bench_doc
import bench_peers
import bench_tables
import bench_tcp
import bench_throughput
import plot

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCH = os.path.join(os.environ.get("DPDK_WG_BUILD", os.path.join(ROOT, "build")), "tests/bench")
DOC = os.path.join(ROOT, "docs/performance.md")


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


def rows_of(*argv):
    """Runs a benchmark that writes JSON; returns its rows."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        subprocess.run(in_front(*argv, "--json", file.name), check=True, stdout=subprocess.DEVNULL)
        return json.load(file)


# --- One function each; quick or not. They return rows. ---

def measure_aead(quick):
    return rows_of(f"{BENCH}/bench_aead", *(["--quick"] if quick else []))


def measure_pipeline(quick):
    # All numbers of peers for the smallest and the largest; all sizes with one.
    ends, between = "64,1420", "128,256,512,1024"
    peers = "1,10,1000,100000" if quick else "1,10,1000,100000,1000000"
    two = ["--helper", "1"] if os.cpu_count() > 1 else []
    with bench_throughput.hugepages() as huge:
        common = ["--rounds", "5" if quick else "21", *(["--huge"] if huge else [])]
        rows = rows_of(f"{BENCH}/bench_pipeline", *common, *two, "--stages", "--peers",
                       peers, "--sizes", ends)
        if not quick:
            rows += rows_of(f"{BENCH}/bench_pipeline", *common, *two, "--peers", "1",
                            "--sizes", between)
        rows += rows_of(f"{BENCH}/bench_pipeline", *common, "--outer6", "--sizes", ends)
    return rows


def measure_changes(quick):
    if os.cpu_count() < 2:
        return []  # control and the worker would take turns
    return rows_of(f"{BENCH}/bench_changes", "--rounds", "11" if quick else "31")


def measure_index(quick):
    counts = "1,1000,100000" if quick else "1,1000,100000,1000000"
    return rows_of(f"{BENCH}/bench_index", "--sessions", counts)


def measure_touch(_quick):
    return rows_of(f"{BENCH}/bench_touch")


def measure_prefixes(quick):
    """bench_lpm writes text: a line for each content, indented ones for each table."""
    prefix = f"bench-{os.getpid()}"
    done = subprocess.run(in_front(f"{BENCH}/bench_lpm", "--no-huge", "--no-pci", "-m", "2048",
                                   "--file-prefix", prefix, "--log-level", "error",
                                   "--", "1" if quick else "7"),
                          check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    shutil.rmtree(f"/run/dpdk/{prefix}", ignore_errors=True)
    rows, content, made = [], None, {}
    for line in done.stdout.splitlines():
        words = line.split()
        inserted = re.match(r"  (\S+) +inserted in ([\d.]+) s, (\d+) MB, ([\d.]+) us a change",
                            line)
        looked_up = re.match(r"  (\S+) +(\d+) keys: .* ([\d.]+) median", line)
        if inserted:
            made[inserted[1]] = {"inserted_s": float(inserted[2]), "mb": int(inserted[3]),
                                 "change_us": float(inserted[4])}
        elif looked_up:
            rows.append({"bench": "prefixes", "content": content, "table": looked_up[1],
                         "keys": int(looked_up[2]), "cycles": float(looked_up[3]),
                         **made[looked_up[1]]})
        elif words and not line.startswith(" "):
            content = line
    return rows


def measure_handshake(quick):
    return rows_of(f"{BENCH}/bench_handshake", "--count", "1024" if quick else "8192")


def measure_peers(quick):
    return bench_peers.run([100000] if quick else [100000, 1000000])


def measure_throughput(quick):
    return bench_throughput.run(quick, lambda row: print(
        f"  {row['test']} {row['direction']}: NDR {row['ndr_pps'] / 1e6:.2f} Mpps, PDR "
        f"{row['pdr_pps'] / 1e6:.2f}", file=sys.stderr, flush=True))


def measure_tcp(quick):
    return bench_tcp.run(1 if quick else 2)


# In the order of --json: the first rows are the AEAD's at full bursts, the automatic backend first.
PARTS = {
    "aead": measure_aead,
    "pipeline": measure_pipeline,
    "changes": measure_changes,
    "touch": measure_touch,
    "index": measure_index,
    "prefixes": measure_prefixes,
    "handshake": measure_handshake,
    "peers": measure_peers,
    "throughput": measure_throughput,
    "tcp": measure_tcp,
}
# What a part's rows are called, where that is not its name.
ROWS_OF = {"pipeline": ("pipeline", "pipeline6", "bare", "stages")}


def parse_options():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--quick", action="store_true", help="a minute or two instead of ten")
    parser.add_argument("--only", metavar="PART,...", default=",".join(PARTS),
                        help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--rows", metavar="FILE",
                        help="rows of an earlier run, for the parts that are not measured now")
    parser.add_argument("--json", metavar="FILE", help="writes the figures as data")
    parser.add_argument("--plots", metavar="DIR", help="draws them, as SVG")
    parser.add_argument("--doc", metavar="FILE", nargs="?", const=DOC,
                        help="renews tables and plots of docs/performance.md, or of FILE")
    options = parser.parse_args()
    options.only = [part for part in options.only.split(",") if part]
    unknown = [part for part in options.only if part not in PARTS]
    if unknown:
        parser.error(f"--only {unknown[0]}: the parts are {', '.join(PARTS)}")
    return options


def gather(options):
    """All rows, part by part: measured now, or taken from --rows."""
    earlier = []
    if options.rows:
        with open(options.rows, encoding="utf-8") as file:
            earlier = json.load(file)
    about = [row for row in earlier if row["bench"] == "machine"] or [machine()]
    rows = []
    print(bench_tables.machine(about) + "\n")
    for part, measure in PARTS.items():
        names = ROWS_OF.get(part, (part,))
        if part in options.only:
            print(f"bench: {part} ...", file=sys.stderr, flush=True)
            found = measure(options.quick)
        else:
            found = [row for row in earlier if row["bench"] in names]
        rows += found
        for name in bench_tables.OF_PART[part]:
            text = bench_tables.TABLES[name](found)
            if text:
                print(text + "\n", flush=True)
    return rows + about


def main():
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # labs are taken down
    rows = gather(options)
    print(bench_tables.targets(rows))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            file.write("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    if options.plots:
        plot.write_all(options.plots, rows)
    if options.doc:
        plot.write_all(bench_doc.plots_of(options.doc), rows)
        bench_doc.renew(options.doc, rows)
    return 0


sys.exit(main())
