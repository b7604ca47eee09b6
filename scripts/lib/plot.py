# SPDX-License-Identifier: BSD-3-Clause
"""The plots of docs/performance.md, as SVG, drawn by hand: a few lines need no library."""
import os

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 36, 44
COLOURS = ["#1b6ca8", "#d1495b", "#2e933c", "#8d6a9f", "#edae49"]


def nice_step(highest):
    """A step of 1, 2 or 5 times a power of ten that makes about five of them."""
    step = 1
    while highest / step > 6:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step


def chart(title, x_name, y_name, x_labels, series):
    """An SVG line chart; series: name -> values by x (None where there is none)."""
    highest = max(value for values in series.values() for value in values if value is not None)
    step = nice_step(highest)
    top = (int(highest / step) + 1) * step
    x = [LEFT + (WIDTH - LEFT - RIGHT) * i / max(1, len(x_labels) - 1)
         for i in range(len(x_labels))]

    def y(value):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="20" font-size="14">{title}</text>']
    for value in range(0, top + 1, step):
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" '
                   f'y2="{y(value):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,}</text>')
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


def by_key(rows, **wanted):
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def aead_by_size(rows):
    rows = by_key([row for row in rows if "mix" not in row and row["size"] < 2000],
                  op="seal", fill=32)
    sizes = sorted({row["size"] for row in rows})
    names = {"auto": "dpdk-wg", "ipsec-mb": "IPsec-MB"}
    series = {text: [next((row["cycles"] for row in by_key(rows, size=size, backend=name)), None)
                     for size in sizes] for name, text in names.items()}
    return chart("Batch AEAD, 32 packets, seal", "bytes", "cycles a packet", sizes, series)


def pipeline_by_size(rows):
    rows = by_key(rows, peers=1, workers=1)
    sizes = sorted({row["size"] for row in rows})
    series = {}
    for direction in ("outbound", "inbound"):
        found = [next(iter(by_key(rows, direction=direction, size=size)), None) for size in sizes]
        series[direction] = [row and row["cycles"] for row in found]
        series[f"{direction}: AEAD"] = [row and row["aead_cycles"] for row in found]
    return chart("Pipeline, one peer, one worker", "bytes", "cycles a packet", sizes, series)


def pipeline_by_peers(rows):
    rows = by_key(rows, size=64, workers=1)
    peers = sorted({row["peers"] for row in rows})
    series = {direction: [next((row["cycles"] for row in by_key(rows, direction=direction,
                                                                peers=n)), None) for n in peers]
              for direction in ("outbound", "inbound")}
    return chart("Pipeline, 64 bytes, packets of random peers", "peers", "cycles a packet",
                 [f"{n:,}" for n in peers], series)


def write_all(directory, aead, pipeline):
    os.makedirs(directory, exist_ok=True)
    for name, text in (("aead-by-size.svg", aead_by_size(aead)),
                       ("pipeline-by-size.svg", pipeline_by_size(pipeline)),
                       ("pipeline-by-peers.svg", pipeline_by_peers(pipeline))):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)
