# SPDX-License-Identifier: BSD-3-Clause
"""Rows of figures as Markdown tables: what scripts/bench prints and docs/performance.md shows."""
import bench_targets

TSC_HZ = 2.1e9  # for orientation where no row tells


def pick(rows, bench, **wanted):
    return [row for row in rows if row["bench"] == bench
            and all(row.get(key) == value for key, value in wanted.items())]


def one(rows, bench, **wanted):
    return next(iter(pick(rows, bench, **wanted)), None)


def values(rows, key):
    return list(dict.fromkeys(row[key] for row in rows))


def table(head, lines):
    if not lines:
        return ""
    out = ["| " + " | ".join(map(str, head)) + " |", "|" + "---|" * len(head)]
    return "\n".join(out + ["| " + " | ".join(map(str, line)) + " |" for line in lines])


def number(value, digits=0):
    return "" if value is None else f"{value:,.{digits}f}"


def size_of(row):
    return "IMIX" if row.get("mix") else row["size"]


def machine(rows):
    row = one(rows, "machine")
    return row and f"{row['cpu']}, {row['cpus']} CPUs, Linux {row['kernel']}, load {row['load']}"


def aead(rows):
    """Full bursts: each backend's cycles by size, and the ratio of the automatic one."""
    rows = pick(rows, "aead", fill=32)
    sizes = list(dict.fromkeys(map(size_of, rows)))
    backends = [b for b in values(rows, "backend") if b not in ("auto", "sodium")]
    lines = []
    for op in values(rows, "op"):
        by = {(row["backend"], size_of(row)): row for row in pick(rows, "aead", op=op)}
        for backend in ["auto"] + backends:
            lines.append([f"{op}, {backend}"] + [
                number(by[backend, size]["cycles"]) if (backend, size) in by else ""
                for size in sizes])
        lines.append([f"{op}, IPsec-MB ÷ auto"] + [
            number(by["auto", size]["ratio_ipsec_mb"], 2) for size in sizes])
    return table(["bytes"] + sizes, lines)


def aead_fills(rows):
    """The automatic backend's ratio by fill: where it is below 0.97 the choice was wrong."""
    rows = pick(rows, "aead", backend="auto", op="seal")
    sizes = list(dict.fromkeys(map(size_of, rows)))
    by = {(row["fill"], size_of(row)): row["ratio_ipsec_mb"] for row in rows}
    return table(["packets a call"] + sizes, [
        [fill] + [number(by.get((fill, size)), 2) for size in sizes]
        for fill in sorted(values(rows, "fill"))])


def plain(rows, bench="pipeline"):
    """The pipeline's rows with one worker and a random peer for each packet."""
    return [row for row in pick(rows, bench, workers=1) if row.get("run", 1) == 1]


def pipeline(rows, bench="pipeline"):
    rows = plain(rows, bench)
    lines = []
    for size in sorted(values(rows, "size")):
        for peers in sorted(values(pick(rows, bench, size=size), "peers")):
            line = [size, f"{peers:,}"]
            for direction in ("outbound", "inbound"):
                row = one(rows, bench, size=size, peers=peers, direction=direction)
                line += [number(row["cycles"]), number(row["aead_cycles"]),
                         number(row["cycles"] - row["aead_cycles"])]
            lines.append(line)
    return table(["bytes", "peers", "outbound", "AEAD", "the rest", "inbound", "AEAD", "the rest"],
                 lines)


def pipeline6(rows):
    """The same with outer IPv6, whose UDP checksums are the program's work."""
    return pipeline(rows, "pipeline6")


def workers(rows):
    """Beside what two threads of bare AEAD gain of that size: the machine's own limit."""
    bare = bench_targets.bare_gains(rows)
    lines = []
    for row in pick(rows, "pipeline", workers=2):
        alone = next((r for r in plain(rows) if all(r[k] == row[k] for k in
                                                    ("direction", "size", "peers"))), None)
        if alone:
            how = "helped" if row.get("helped", True) else "each its own"
            lines.append([row["direction"], row["size"], f"{row['peers']:,}", how,
                          number(row["cycles"]), f"{alone['cycles'] / row['cycles']:.2f}",
                          number(bare.get(row["size"]), 2)])
    return table(["direction", "bytes", "peers", "how", "cycles a packet", "times one worker",
                  "bare AEAD, two threads"], lines)


def stages(rows):
    rows = pick(rows, "stages")
    lines = []
    least = min((row["size"] for row in rows), default=0)
    columns = sorted({(row["size"], row["peers"]) for row in rows
                      if row["size"] == least or row["peers"] == 1})
    for direction in ("outbound", "inbound"):
        for stage in values(pick(rows, "stages", direction=direction), "stage"):
            found = [one(rows, "stages", direction=direction, stage=stage, size=s, peers=p)
                     for s, p in columns]
            lines.append([f"{direction}: {stage}"] + [number(f["cycles"], 1) if f else ""
                                                      for f in found])
    return table(["stage"] + [f"{s} bytes, {p:,} peer{'s' * (p > 1)}" for s, p in columns], lines)


def changes(rows):
    """Turns of a worker in thousands of cycles; the ratio is the median of the rounds' ratios."""
    return table(["direction", "bytes", "changes a second", "p50, none", "with", "p99, none", "with",
                  "p99.9, none", "with", "p99, times"], [
        [row["direction"], row["size"], f"{row['rate']:,}"]
        + [number(row[key] / 1e3, 1) for key in ("p50_still", "p50", "p99_still", "p99",
                                                 "p999_still", "p999")]
        + [number(row["ratio_p99"], 2)] for row in pick(rows, "changes")])


def index(rows):
    rows = pick(rows, "index")
    counts = sorted(values(rows, "sessions"))
    return table(["what"] + [f"{count:,} session{'s' * (count > 1)}" for count in counts], [
        [{"slot": "the slot's session", "session": "and the whole index compared"}.get(way, way)]
        + [number(one(rows, "index", way=way, sessions=count)["cycles"], 1) for count in counts]
        for way in values(rows, "way")])


def peers(rows):
    return table(["peers", "loaded in s", "MB", "bytes a peer", "ended in s"], [
        [f"{row['peers']:,}", number(row["loaded_s"], 2), number(row["mb"]),
         number(row["bytes_a_peer"]), number(row["stopped_s"], 2)]
        for row in pick(rows, "peers")])


def bytes_name(count):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count // unit} {name}"
    return ""


def touch(rows):
    return table(["what", "working set", "small pages", "huge pages"], [
        [{"random": "a line at random, prefetched in bulk", "add": "a dependent addition",
          "other core": "a line another CPU has just written, in order"}[kind],
         bytes_name(size)] + [
             number(row["cycles"], 2) if row else "" for row in
             (one(rows, "touch", kind=kind, bytes=size, huge=huge) for huge in (False, True))]
        for kind, size in dict.fromkeys((row["kind"], row["bytes"])
                                        for row in pick(rows, "touch"))])


def prefixes(rows):
    rows = pick(rows, "prefixes")
    lines = []
    for content in values(rows, "content"):
        tables = pick(rows, "prefixes", content=content)
        for name in values(tables, "table"):
            by = {row["keys"]: row for row in pick(tables, "prefixes", table=name)}
            any_row = next(iter(by.values()))
            lines.append([content if name == "dp_lpm" else "", name]
                         + [number(by[keys]["cycles"], 1) for keys in sorted(by)]
                         + [number(any_row["inserted_s"], 2), number(any_row["mb"]),
                            number(any_row.get("change_us"), 2)])
    return table(["content", "table", "1,024 keys", "4,096 keys", "262,144 keys", "inserted in s",
                  "MB", "µs a change"], lines)


def handshake(rows):
    return table(["who", "µs a handshake", "a second", "times its cryptography"], [
        [row["who"], number(row["us"], 1), number(1e6 / row["us"]),
         number(row["us"] / row["primitives_us"], 2)] for row in pick(rows, "handshake")])


def throughput(rows):
    return table(["test", "direction", "NDR Mpps", "PDR Mpps", "Gbit/s at PDR", "cycles", "AEAD",
                  "rest of the pipeline", "I/O", "limit"], [
        [row["test"], row["direction"], number(row["ndr_pps"] / 1e6, 2),
         number(row["pdr_pps"] / 1e6, 2), number(row["gbps"], 1), number(row["cycles"]),
         number(row["aead_cycles"]), number(row["pipeline_cycles"] - row["aead_cycles"]),
         number(row["io_cycles"]), row["limit"]] for row in pick(rows, "throughput")])


def tcp(rows):
    return table(["ends", "TCP Gbit/s", "range", "CPU s a GB, each end", "times wireguard-go",
                  "small UDP kpps"], [
        [row["ends"], row["gbps"], f"{row['least']} to {row['most']}", row["cpu_s_per_gb"],
         row["ratio"], number(row["udp_pps"] / 1e3)] for row in pick(rows, "tcp")])


# --- The model: AEAD + every packet's work + every run's + lines; see docs/performance.md ---

# Lines of memory that are a peer's own and that a packet for it touches.
PEER_LINES = {"outbound": 5, "inbound": 5}


def touch_cost(rows, working_set):
    """Cycles that a line from so large a working set costs more than one from the nearest cache."""
    sets = sorted((row["bytes"], row["cycles"]) for row in
                  pick(rows, "touch", kind="random", huge=False))
    if not sets:
        return None
    base = sets[0][1]
    low = max([s for s in sets if s[0] <= working_set], default=sets[0])
    high = min([s for s in sets if s[0] >= working_set], default=sets[-1])
    part = (working_set - low[0]) / (high[0] - low[0]) if high[0] > low[0] else 0
    return low[1] + part * (high[1] - low[1]) - base


def aead_cost(rows, direction, size):
    """Of a full burst, between the sizes measured."""
    op = {"outbound": "seal", "inbound": "open"}[direction]
    found = sorted((row["size"], row["cycles"]) for row in
                   pick(rows, "aead", op=op, fill=32, backend="auto") if "mix" not in row)
    padded = min((size + 15) // 16 * 16, max(size, 1420))
    low = max([f for f in found if f[0] <= padded], default=None)
    high = min([f for f in found if f[0] >= padded], default=None)
    if not low or not high:
        return None
    part = (padded - low[0]) / (high[0] - low[0]) if high[0] > low[0] else 0
    return low[1] + part * (high[1] - low[1])


def rest_at_64(rows, direction, peers):
    """What a packet of 64 bytes costs beside the AEAD."""
    row = next((r for r in plain(rows) if r["size"] == 64 and r["peers"] == peers
                and r["direction"] == direction), None)
    return row and row["cycles"] - row["aead_cycles"]


def predicted(rows, direction, size, peers):
    lines = PEER_LINES[direction]
    alone, few = (rest_at_64(rows, direction, n) for n in (1, 10))
    parts = (aead_cost(rows, direction, size), alone, few, touch_cost(rows, peers * lines * 64))
    if None in parts:
        return None
    return (parts[0], alone, few - alone if peers > 1 else 0, lines * parts[3])


def model(rows):
    lines = []
    for row in plain(rows):
        parts = predicted(rows, row["direction"], row["size"], row["peers"])
        if parts:
            total = sum(parts)
            lines.append([row["direction"], row["size"], f"{row['peers']:,}",
                          *(number(part) for part in parts), number(total),
                          number(row["cycles"]), f"{100 * (total / row['cycles'] - 1):+.0f} %"])
    return table(["direction", "bytes", "peers", "AEAD", "every packet", "runs", "lines", "model",
                  "measured", "off by"], lines)


# --- Sizing: both directions at the rate, IP packets, this machine's clock ---

IO_CYCLES = 100  # assumed of a NIC's driver, receiving and sending; not measured here
LOAD = 0.7       # of a worker's capacity that is planned with
SIZING_PEERS = 1000
RATES = (10, 25, 40, 100)


def sized_cost(rows, direction, name):
    """Of the pipeline as measured; for IMIX its AEAD and what 64 bytes take beside theirs."""
    found = {row["size"]: row for row in plain(rows) if row["direction"] == direction
             and row["peers"] == SIZING_PEERS}
    if name != "IMIX":
        return found[name]["cycles"] if name in found else None
    op = {"outbound": "seal", "inbound": "open"}[direction]
    mix = next((r for r in pick(rows, "aead", op=op, fill=32, backend="auto") if "mix" in r), None)
    return mix and 64 in found and mix["cycles"] + found[64]["cycles"] - found[64]["aead_cycles"]


def sizing(rows):
    hz = next((row["tsc_hz"] for row in rows if "tsc_hz" in row), TSC_HZ)
    lines = []
    for name, size in (("IMIX", 293), (1420, 1420)):
        costs = [sized_cost(rows, direction, name) for direction in ("outbound", "inbound")]
        if not all(costs):
            return ""
        costs = [cost + IO_CYCLES for cost in costs]
        line = [name, " + ".join(number(cost) for cost in costs)]
        for rate in RATES:
            pps = rate * 1e9 / 8 / size
            line.append(f"{pps * sum(costs) / hz / LOAD:.1f}")
        lines.append(line)
    return table(["bytes", "cycles, outbound + inbound"]
                 + [f"{rate} Gbit/s each way" for rate in RATES], lines)


def targets(rows):
    return table(["what", "target", "measured", "", "command"], bench_targets.lines(rows))


TABLES = {
    "machine": machine, "aead": aead, "aead-fills": aead_fills, "pipeline": pipeline,
    "pipeline6": pipeline6,
    "workers": workers, "stages": stages, "changes": changes, "touch": touch, "index": index,
    "prefixes": prefixes, "handshake": handshake, "peers": peers, "throughput": throughput,
    "tcp": tcp, "model": model, "sizing": sizing, "targets": targets,
}
# What is printed after each part.
OF_PART = {
    "aead": ["aead", "aead-fills"], "pipeline": ["pipeline", "pipeline6", "workers", "stages"],
    "changes": ["changes"], "touch": ["touch"], "index": ["index"], "prefixes": ["prefixes"],
    "handshake": ["handshake"], "peers": ["peers"], "throughput": ["throughput"], "tcp": ["tcp"],
}
