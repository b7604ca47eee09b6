# SPDX-License-Identifier: BSD-3-Clause
"""The targets that rows of scripts/bench can show: each with its limit and what was measured."""
COMMAND = "scripts/bench --only {}"


def pick(rows, bench, **wanted):
    return [row for row in rows if row["bench"] == bench
            and all(row.get(key) == value for key, value in wanted.items())]


class Lines:
    """Lines of the table; a target without rows is left out."""

    def __init__(self, rows):
        self.rows = rows
        self.made = []

    def add(self, part, what, target, measured, met):
        self.made.append([what, target, measured, "met" if met else "**missed**",
                          f"`{COMMAND.format(part)}`"])

    def least(self, part, what, target, found, text="{:.2f}"):
        """All of what was found must reach the target."""
        if found:
            worst = min(found)
            self.add(part, what, f"at least {target:g}", text.format(worst), worst >= target)

    def most(self, part, what, target, found, text="{:.0f}", unit=""):
        if found:
            worst = max(found)
            self.add(part, what, f"at most {target:g}{unit}", text.format(worst) + unit,
                     worst <= target)


# What the prototype of this project reached, and IPsec-MB beside it: IPsec-MB's cycles ÷ its own.
PROTOTYPE = {64: 4.60, 128: 3.37, 256: 2.80, 512: 2.08, 1024: 1.60, 1424: 1.35, 8960: 1.10}


def aead(lines):
    rows = pick(lines.rows, "aead", backend="auto")
    full = pick(rows, "aead", fill=32)
    if pick(lines.rows, "aead", backend="avx512"):
        for size, target in PROTOTYPE.items():
            lines.least("aead", f"batch AEAD, 32 packets of {size} bytes: IPsec-MB ÷ ours", target,
                        [r["ratio_ipsec_mb"] for r in full
                         if r["size"] == size and "mix" not in r])
        lines.most("aead", "batch AEAD, IMIX as it comes: cycles a packet", 300,
                   [r["cycles"] for r in full if "mix" in r])
    lines.least("aead", "batch AEAD, any fill and size: IPsec-MB ÷ ours", 0.97,
                [r["ratio_ipsec_mb"] for r in rows])
    # On a CPU without AVX-512 IPsec-MB's own choice is its AVX2 path.
    lines.least("aead", "AVX2 kernel: IPsec-MB's AVX2 path ÷ ours, every size", 1,
                [r.get("ratio_ipsec_mb_avx2", r["ratio_ipsec_mb"])
                 for r in pick(lines.rows, "aead", backend="avx2", fill=32)])


def bare_gains(rows):
    """By size: what two threads of nothing but AEAD, each with texts of its own, gain over one."""
    one, two = ({r["size"]: r["cycles"] for r in pick(rows, "bare", threads=n)} for n in (1, 2))
    return {size: one[size] / cycles for size, cycles in two.items() if size in one}


def two_workers(lines, rows, single):
    bare = bare_gains(lines.rows)
    for helped, text, least in ((False, "two workers, peers of their own", 1.95),
                                (True, "two workers, one peer spread over them", 1.8)):
        found, of_bare = [], []
        for row in pick(rows, "pipeline", workers=2):
            alone = pick(single, "pipeline", **{k: row[k] for k in ("direction", "size", "peers")})
            if alone and row.get("helped", True) == helped:
                found.append(alone[0]["cycles"] / row["cycles"])
                if row["size"] in bare:
                    of_bare.append(found[-1] / bare[row["size"]])
        if found:
            lines.least("pipeline", f"{text}: times one, least of all sizes", least, found)
            lines.least("pipeline", f"{text}: times one, most of all sizes", least, [max(found)])
        # Half of them: two threads of bare AEAD gain 2 at most.
        lines.least("pipeline", f"{text}: of what bare AEAD gains, least of all sizes",
                    least / 2, of_bare)


def pipeline(lines):
    rows = [r for r in pick(lines.rows, "pipeline") if r.get("run", 1) == 1]
    single = pick(rows, "pipeline", workers=1)
    for direction, most in (("outbound", 130), ("inbound", 150)):
        lines.most("pipeline", f"pipeline {direction}, 64 bytes, one peer: beside the AEAD", most,
                   [r["cycles"] - r["aead_cycles"] for r in
                    pick(single, "pipeline", direction=direction, size=64, peers=1)])
    lines.most("pipeline", "pipeline, 1,420 bytes, one peer: times AEAD", 1.15,
               [r["cycles"] / r["aead_cycles"] for r in
                pick(single, "pipeline", size=1420, peers=1)], "{:.2f}")
    for direction in ("outbound", "inbound"):
        base = pick(single, "pipeline", direction=direction, size=64, peers=1)
        for peers, most in ((1000, 1.1), (100000, 1.4), (1000000, 1.7)):
            found = pick(single, "pipeline", direction=direction, size=64, peers=peers)
            if base and found:
                lines.most("pipeline", f"{direction}, 64 bytes, {peers:,} peers: times one peer",
                           most, [found[0]["cycles"] / base[0]["cycles"]], "{:.2f}")
    two_workers(lines, rows, single)


def changes(lines):
    rows = pick(lines.rows, "changes")
    for direction in ("outbound", "inbound"):
        found = pick(rows, "changes", direction=direction)
        if found:
            lines.most("changes", f"{direction}, {round(found[0]['rate'], -3):,} changes a second: p99 of a "
                       "worker's turn, times that without", 1.1,
                       [row["ratio_p99"] for row in found], "{:.2f}")


def index(lines):
    rows = pick(lines.rows, "index", sessions=1000000)
    for way, what in (("slot", "the session of a receiver index"),
                      ("session", "the same and its whole index compared")):
        lines.most("index", f"1,000,000 sessions: {what}", 20,
                   [row["cycles"] for row in pick(rows, "index", way=way)], "{:.1f}", " cycles")


def peers(lines):
    for row in pick(lines.rows, "peers", peers=1000000):
        lines.most("peers", "1,000,000 peers with an allowed IP each: loaded in", 10,
                   [row["loaded_s"]], "{:.1f}", " s")
        session = [r["session_bytes"] for r in pick(lines.rows, "index")][:1]
        lines.most("peers", "1,000,000 peers: memory a peer, none with a session", 4096,
                   [row["bytes_a_peer"]], "{:,.0f}", " bytes")
        lines.most("peers,index", "1,000,000 peers: memory a peer, each with a session", 4096,
                   [row["bytes_a_peer"] + size for size in session], "{:,.0f}", " bytes")


def prefixes(lines):
    rows = pick(lines.rows, "prefixes", table="dp_lpm")
    for content, hot, cold in (("IPv4 100k /32", 17, 40),
                               ("IPv6 100k /128 in a /64", 50, 150)):
        found = pick(rows, "prefixes", content=content)
        for keys, most in ((4096, hot), (262144, cold)):
            lines.most("prefixes", f"{content}: a lookup, {keys:,} keys", most,
                       [r["cycles"] for r in found if r["keys"] == keys], "{:.1f}", " cycles")
        lines.most("prefixes", f"{content}: memory", 32, [r["mb"] for r in found], "{:.0f}", " MB")
    for content in ("IPv4 1M /32", "IPv6 1M /128 in a /64"):
        found = pick(rows, "prefixes", content=content)
        lines.most("prefixes", f"{content}: inserted in", 2, [r["inserted_s"] for r in found],
                   "{:.2f}", " s")
        lines.most("prefixes", f"{content}: memory", 200, [r["mb"] for r in found], "{:.0f}", " MB")


def handshake(lines):
    for who in ("control alone", "1 handshake lcore"):
        lines.most("handshake", f"a handshake answered by {who}: times its cryptography", 1.1,
                   [row["us"] / row["primitives_us"] for row in
                    pick(lines.rows, "handshake", who=who)], "{:.2f}")


def whole(lines):
    for direction in ("outbound", "inbound"):
        for row in pick(lines.rows, "throughput", tunnels=1000, direction=direction, size="64B"):
            share = row["ndr_pps"] / row["capacity_pps"]
            lines.add("throughput", f"loss at 1,000 tunnels, {direction}, 64B",
                      "none below capacity", f"none up to {100 * share:.0f} % of it",
                      share >= 0.9)
    for row in pick(lines.rows, "tcp", ends="dpdk-wg over vhost-user"):
        lines.add("tcp", "TCP between the hosts at both ends, over vhost-user: times wireguard-go",
                  "at least 8", f"{row['ratio']:.1f}", row["ratio"] >= 8)


def lines(rows):
    made = Lines(rows)
    aead(made)
    pipeline(made)
    changes(made)
    index(made)
    prefixes(made)
    handshake(made)
    peers(made)
    whole(made)
    return made.made
