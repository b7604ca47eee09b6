# SPDX-License-Identifier: BSD-3-Clause
"""The benchmarks' generator at a gateway with jumbo frames: at a leisurely rate nothing is lost."""
import os
import sys

import lab
import pytest

sys.path.insert(0, os.path.join(lab.ROOT, "scripts/lib"))
import bench_throughput  # noqa: E402

TUNNELS = 40  # more than one round of handshakes


@pytest.fixture(name="bed")
def make_bed():
    with lab.Lab() as made:
        yield bench_throughput.Bed(made, TUNNELS, bench_throughput.JUMBO_MTU, huge=False)


@pytest.mark.parametrize("direction", bench_throughput.DIRECTIONS)
def test_every_size_arrives(bed, direction):
    """Chained buffers, and padding that ends at the MTU, as much as the smallest packets."""
    bed.handshake(TUNNELS)
    bed.trial(direction, [64], TUNNELS, 2000, 0.1)  # what waited for a session was staged
    for frames in ([64], bench_throughput.IMIX, [9000]):
        result = bed.trial(direction, frames, TUNNELS, 2000, 0.3)
        assert result["received"] == result["offered"] > 500, bed.gateway.drops()
        assert direction == "inbound" or result["checked"] > 0
    bed.close()
