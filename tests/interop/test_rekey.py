# SPDX-License-Identifier: BSD-3-Clause
"""
A thousand tunnels that renew their keys all the time, under traffic: not one packet may be lost by it.

The clock of thousand.py also makes a handshake take FACTOR times as long to its ends as it should, and
be asked for again as often. That bounds what can be shown: where a thousand at once ask for more
handshakes than two busy cores compute, sessions end before there are new ones, packets that wait for one
are given up, and those under way for seconds find that theirs has ended.
"""
import thousand
from full import FULL

FACTOR, RATE = 10, 4000
SECONDS = 300 if FULL else 15
REKEY_S = 120 / FACTOR
# For a packet whose tunnels had their sessions, from peer to peer or to the host and back. The gateway, the
# peers and the kernel between them share two CPUs, and at a renewal the peers compute a thousand handshakes
# on one of them: that is up to 0.1 seconds, and was 0.3 with twelve compilers beside them. A worker that
# stands still for half a second takes longer than this with a packet, as there is one under way at any time.
LONGEST_MS = 480


def test_thousand_tunnels_rekey_under_traffic(topology):
    """
    Catches a session that is replaced too early, too late, or at one end only, and a worker that stands
    still for it.
    """
    bench = thousand.Thousand(topology, FACTOR)
    swarm = bench.start_swarm(SECONDS, RATE)
    counts, tunnels = bench.finish_swarm(swarm, SECONDS + 90)
    drops = bench.gateway.drops()
    longest_ms = counts["longest_us"] / 1000
    print(counts, drops, f"longest time of a packet: {longest_ms:.0f} ms")
    thousand.assert_accounted(counts, tunnels)
    assert counts["lost"] == counts["late"] == 0, (counts, drops)
    assert not thousand.OWN_LOSSES & set(drops), drops
    assert longest_ms < LONGEST_MS
    # Each tunnel was made, and had its keys renewed as often as there was time for that.
    least = 1 + (SECONDS - 2) // (REKEY_S + 0.5)
    assert all(tunnel["sessions"] >= least for tunnel in tunnels), counts
    assert bench.gateway.stop() == 0, bench.gateway.tail()
