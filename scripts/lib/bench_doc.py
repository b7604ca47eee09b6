# SPDX-License-Identifier: BSD-3-Clause
"""Renews the tables of a document in place: what stands between two of its markers."""
import os
import re

import bench_tables

MARKERS = re.compile(r"(<!-- table: ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def plots_of(path):
    """Where its plots are: those of performance-avx2.md in plots-avx2."""
    name = os.path.splitext(os.path.basename(path))[0]
    return os.path.join(os.path.dirname(path) or ".", "plots" + name.removeprefix("performance"))


def renew(path, rows):
    """A table for which there are no rows stays as it is."""
    with open(path, encoding="utf-8") as file:
        text = file.read()

    def table(found):
        made = bench_tables.TABLES[found[2]](rows)
        return f"{found[1]}\n{made}\n\n{found[3]}" if made else found[0]

    renewed = MARKERS.sub(table, text)
    with open(path, "w", encoding="utf-8") as file:
        file.write(renewed)
