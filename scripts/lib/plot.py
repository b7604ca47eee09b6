# SPDX-License-Identifier: BSD-3-Clause
"""The plots of docs/performance.md, as SVG, drawn by hand: a few lines need no library."""
import os

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 36, 44
COLOURS = ["#1b6ca8", "#d1495b", "#2e933c", "#8d6a9f", "#edae49", "#5f7470", "#e07a5f", "#3d405b",
           "#81b29a", "#b56576", "#577590", "#c9ada7"]
BAR, GAP = 22, 12


def nice_step(highest):
    """A step of 1, 2 or 5 times a power of ten that makes about five of them."""
    step = 1
    while highest / step > 6:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step


def head(title, height):
    return [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            f'<text x="16" y="20" font-size="14">{title}</text>']


def chart(title, x_name, y_name, x_labels, series):
    """An SVG line chart; series: name -> values by x (None where there is none)."""
    highest = max(value for values in series.values() for value in values if value is not None)
    step = nice_step(highest)
    top = (int(highest / step) + 1) * step
    x = [LEFT + (WIDTH - LEFT - RIGHT) * i / max(1, len(x_labels) - 1)
         for i in range(len(x_labels))]

    def y(value):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top

    out = head(title, HEIGHT)
    for value in range(0, top + 1, step):
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" '
                   f'y2="{y(value):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" '
                   f'text-anchor="end">{value:,}</text>')
    for position, label in zip(x, x_labels):
        out.append(f'<text x="{position:.1f}" y="{HEIGHT - BOTTOM + 18}" '
                   f'text-anchor="middle">{label}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" '
               f'text-anchor="middle">{x_name}</text>')
    out.append(f'<text x="14" y="{HEIGHT / 2}" text-anchor="middle" '
               f'transform="rotate(-90 14 {HEIGHT / 2})">{y_name}</text>')
    for n, (name, values) in enumerate(series.items()):
        colour = COLOURS[n % len(COLOURS)]
        points = [(px, y(v)) for px, v in zip(x, values) if v is not None]
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>'
                for px, py in points]
        out.append(f'<text x="{WIDTH - RIGHT + 12}" y="{TOP + 14 + 18 * n}" '
                   f'fill="{colour}">{name}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def bars(title, x_name, names, series):
    """Horizontal bars in pieces, one under the other; series: piece -> a value for each bar."""
    in_row = 3 if max(map(len, series)) > 18 else 4
    left, below = 170, 20 * ((len(series) + in_row - 1) // in_row) + 56
    height = TOP + len(names) * (BAR + GAP) + below
    totals = [sum(values[i] or 0 for values in series.values()) for i in range(len(names))]
    step = nice_step(max(totals))
    scale = (WIDTH - left - 60) / max(totals)
    out = head(title, height)
    bottom = height - below
    for value in range(0, int(max(totals)) + 1, step):
        x = left + value * scale
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" stroke="#ddd"/>')
        out.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{value:,}</text>')
    out.append(f'<text x="{(left + WIDTH - 60) / 2:.0f}" y="{bottom + 32}" '
               f'text-anchor="middle">{x_name}</text>')
    for i, name in enumerate(names):
        x, y = left, TOP + i * (BAR + GAP) + GAP / 2
        out.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{name}</text>')
        for n, values in enumerate(series.values()):
            width = (values[i] or 0) * scale
            out.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" '
                       f'fill="{COLOURS[n % len(COLOURS)]}"/>')
            x += width
        out.append(f'<text x="{x + 6:.1f}" y="{y + 15}">{totals[i]:,.0f}</text>')
    for n, name in enumerate(series):
        x, y = 20 + n % in_row * 620 // in_row, bottom + 44 + n // in_row * 20
        out.append(f'<rect x="{x}" y="{y}" width="12" height="12" '
                   f'fill="{COLOURS[n % len(COLOURS)]}"/>')
        out.append(f'<text x="{x + 18}" y="{y + 10}">{name}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


# --- The plots: each from all rows, None when there are none for it ---

def pick(rows, bench, **wanted):
    return [row for row in rows if row["bench"] == bench
            and all(row.get(key) == value for key, value in wanted.items())]


def lines_of(rows, x_key, series_key, y):
    """x values, and for each value of series_key the y values along them."""
    x = sorted({row[x_key] for row in rows})
    series = {}
    for name in dict.fromkeys(row[series_key] for row in rows):
        by = {row[x_key]: y(row) for row in rows if row[series_key] == name}
        series[name] = [by.get(value) for value in x]
    return x, series


def alone(rows):
    return [row for row in pick(rows, "pipeline", workers=1) if row.get("run", 1) == 1]


def aead_by_size(rows):
    rows = [row for row in pick(rows, "aead", op="seal", fill=32)
            if "mix" not in row and row["size"] < 2000 and row["backend"] != "sodium"]
    if not rows:
        return None
    x, series = lines_of(rows, "size", "backend", lambda row: row["cycles"])
    return chart("Batch AEAD, seal, 32 packets a call", "bytes", "cycles a packet", x, series)


def pipeline_by_size(rows):
    rows = [row for row in alone(rows) if row["peers"] == 1]
    if not rows:
        return None
    x, series = lines_of(rows, "size", "direction", lambda row: row["cycles"])
    _, aead = lines_of(rows, "size", "direction", lambda row: row["aead_cycles"])
    series.update({f"{name}: AEAD": values for name, values in aead.items()})
    return chart("Pipeline, one peer, one worker", "bytes", "cycles a packet", x, series)


def pipeline_by_peers(rows):
    rows = [row for row in alone(rows) if row["size"] == 64]
    if not rows:
        return None
    x, series = lines_of(rows, "peers", "direction", lambda row: row["cycles"])
    return chart("Pipeline, 64 bytes, each packet of a random peer", "peers", "cycles a packet",
                 [f"{n:,}" for n in x], series)


def pipeline_by_workers(rows):
    """Millions of packets a second of one worker, of one that another helps, of two."""
    hz = next((row["tsc_hz"] for row in rows if "tsc_hz" in row), 2.1e9)
    two = pick(rows, "pipeline", workers=2, peers=1)
    cases = sorted({(row["direction"], row["size"]) for row in two if row["size"] in (64, 1420)})
    if not cases:
        return None
    kinds = {"1": lambda row: row["workers"] == 1,
             "1, helped by another": lambda row: row["workers"] == 2 and row.get("helped", True),
             "2": lambda row: row["workers"] == 2 and not row.get("helped", True)}
    series = {}
    for direction, size in cases:
        of_case = pick(rows, "pipeline", direction=direction, size=size, peers=1)
        found = [next(filter(wanted, of_case), None) for wanted in kinds.values()]
        series[f"{direction}, {size}"] = [row and hz / row["cycles"] / 1e6 for row in found]
    used = [n for n in range(len(kinds)) if any(values[n] for values in series.values())]
    return chart("Pipeline, by workers", "workers", "million packets a second",
                 [list(kinds)[n] for n in used],
                 {name: [values[n] for n in used] for name, values in series.items()})


def stages(rows, direction):
    rows = pick(rows, "stages", direction=direction)
    rows = pick(rows, "stages", size=min((row["size"] for row in rows), default=0))
    if not rows:
        return None
    peers = sorted({row["peers"] for row in rows})
    series = {stage: [sum(row["cycles"] for row in pick(rows, "stages", stage=stage, peers=n))
                      for n in peers] for stage in dict.fromkeys(row["stage"] for row in rows)}
    return bars(f"Stages {direction}, {rows[0]['size']} bytes, each packet of a random peer",
                "cycles a packet", [f"{n:,} peer{'s' * (n > 1)}" for n in peers], series)


def throughput_by_size(rows):
    rows = pick(rows, "throughput", tunnels=1)
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    if not rows:
        return None
    series = {f"{direction}, {what.upper()}": [
        next((row[f"{what}_pps"] / 1e6 for row in
              pick(rows, "throughput", size=size, direction=direction)), None) for size in sizes]
        for direction in ("outbound", "inbound") for what in ("ndr", "pdr")}
    return chart("The whole program over vhost-user, one worker", "frames",
                 "million packets a second", sizes, series)


def throughput_by_tunnels(rows):
    rows = pick(rows, "throughput", size="64B")
    if not rows:
        return None
    x, series = lines_of(rows, "tunnels", "direction", lambda row: row["pdr_pps"] / 1e6)
    return chart("The whole program, 64B, one worker", "tunnels", "PDR, million packets a second",
                 x, series)


def throughput_cycles(rows):
    rows = pick(rows, "throughput", tunnels=1)
    if not rows:
        return None
    rows = [row for row in rows if row["size"] != "9000B"]
    return bars("What a worker's cycles go to, whole program, one tunnel", "cycles a packet",
                [f"{row['size']} {row['direction']}" for row in rows],
                {"AEAD": [row["aead_cycles"] for row in rows],
                 "the rest of the pipeline": [row["pipeline_cycles"] - row["aead_cycles"]
                                              for row in rows],
                 "I/O (vhost-user)": [row["io_cycles"] for row in rows]})


PLOTS = {
    "aead-by-size": aead_by_size, "pipeline-by-size": pipeline_by_size,
    "pipeline-by-peers": pipeline_by_peers, "pipeline-by-workers": pipeline_by_workers,
    "stages-outbound": lambda rows: stages(rows, "outbound"),
    "stages-inbound": lambda rows: stages(rows, "inbound"),
    "throughput-by-size": throughput_by_size,
    "throughput-by-tunnels": throughput_by_tunnels, "throughput-cycles": throughput_cycles,
}


def write_all(directory, rows):
    """A plot for which there are no rows is not drawn: one of before stays."""
    os.makedirs(directory, exist_ok=True)
    for name, draw in PLOTS.items():
        drawn = draw(rows)
        if drawn:
            with open(os.path.join(directory, f"{name}.svg"), "w", encoding="utf-8") as file:
                file.write(drawn)
