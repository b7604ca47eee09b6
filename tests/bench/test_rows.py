#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""
The rows that bench_aead and bench_pipeline write with --json, which scripts/bench and others read: their
fields, their order, that none is missing. Measures next to nothing, and says nothing of a speed.

    test_rows.py aead|pipeline PROGRAM
"""
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def rows_of(*argv):
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        subprocess.run([*argv, "--json", file.name], check=True, stdout=subprocess.DEVNULL)
        return json.load(file)


def documented(bench):
    """What the table of docs/performance.md says of the fields of such rows."""
    with open(os.path.join(ROOT, "docs/performance.md"), encoding="utf-8") as file:
        line, = re.findall(rf"^\| `{bench}` \|(.*)$", file.read(), re.M)
    return set(re.findall(r"`(\w+)`", line))


def check_fields(rows, fields):
    """fields: {bench: {field: type}}; those whose name ends in ? may be missing."""
    assert {row["bench"] for row in rows} == set(fields), rows
    for row in rows:
        known = {name.rstrip("?"): kind for name, kind in fields[row["bench"]].items()}
        needed = {name for name in fields[row["bench"]] if not name.endswith("?")}
        assert needed <= set(row) - {"bench"} <= set(known), row
        assert set(known) <= documented(row["bench"]), (row["bench"], documented(row["bench"]))
        assert all(isinstance(row[name], known[name]) for name in set(row) - {"bench"}), row
        assert row["cycles"] > 0, row


def check_ratios(group):
    """IPsec-MB's cycles / these, as far as the digits that are printed go."""
    cycles = {row["backend"]: row["cycles"] for row in group}
    for row in group:
        for field, rival in (("ratio_ipsec_mb", "ipsec-mb"), ("ratio_ipsec_mb_avx2", "ipsec-mb-avx2")):
            expected = cycles.get(rival, 0) / row["cycles"]
            assert abs(row[field] - expected) <= 0.002 * expected + 0.002, (row, expected)


def check_aead(program):
    number = (int, float)
    rows = rows_of(program, "--quick", "--size", "64") + rows_of(program, "--quick", "--size", "0")
    check_fields(rows, {"aead": {
        "op": str, "size": number, "fill": int, "backend": str, "cycles": number, "ratio_ipsec_mb": number,
        "ratio_ipsec_mb_avx2": number, "mix?": str}})
    assert rows[0] | {"op": "seal", "fill": 32, "backend": "auto", "size": 64} == rows[0], rows[0]
    assert [row.get("mix") for row in rows] == sorted((row.get("mix") for row in rows), key=bool)
    backends = [row["backend"] for row in rows if row["op"] == "seal" and row["fill"] == 32 and "mix" not in row]
    assert {"auto", "sodium", "ipsec-mb"} <= set(backends) and len(set(backends)) == len(backends)
    groups = [rows[i:i + len(backends)] for i in range(0, len(rows), len(backends))]
    cases = []
    for group in groups:
        case, = {(row["op"], row["fill"], row.get("mix")) for row in group}
        cases.append(case)
        assert [row["backend"] for row in group] == backends, group  # the automatic one first
        check_ratios(group)
    assert cases == [(op, fill, mix) for mix in (None, "imix") for fill in (32, 1) for op in ("seal", "open")]


def check_pipeline(program):
    number, sizes, peers = (int, float), (64, 8960), (1, 100)
    rows = rows_of(program, "--rounds", "1", "--sizes", "64,8960", "--peers", "1,100", "--stages",
                   "--helper", "0")
    check_fields(rows, {
        "pipeline": {"direction": str, "size": int, "peers": int, "run": int, "workers": int, "helped": bool,
                     "cycles": number, "aead_cycles": number},
        "stages": {"direction": str, "stage": str, "size": int, "peers": int, "cycles": number},
        "bare": {"size": int, "threads": int, "cycles": number}})
    directions = ("outbound", "inbound")
    found = [(row["peers"], row["size"], row["direction"], row["workers"], row["helped"])
             for row in rows if row["bench"] == "pipeline"]
    assert found == [(n, size, direction, workers, workers == 2 and n == 1) for n in peers for size in sizes
                     for direction in directions for workers in (1, 2)], found
    assert all(row["aead_cycles"] > 0 and row["run"] == 1 for row in rows if row["bench"] == "pipeline")
    for direction, aead in zip(directions, ("seal", "open")):
        for size in sizes:
            stages = [row["stage"] for row in rows if row["bench"] == "stages" and row["peers"] == 1
                      and (row["direction"], row["size"]) == (direction, size)]
            assert aead in stages and len(stages) == len(set(stages)) > 5, stages
    assert [(row["size"], row["threads"]) for row in rows if row["bench"] == "bare"] == [
        (size, threads) for size in sizes for threads in (1, 2)]


if __name__ == "__main__":
    {"aead": check_aead, "pipeline": check_pipeline}[sys.argv[1]](sys.argv[2])
