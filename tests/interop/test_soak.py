# SPDX-License-Identifier: BSD-3-Clause
"""
Hours in short: a thousand tunnels under load, each with new keys every twelve seconds, while other peers
come and go and telemetry is polled. Each packet is numbered and sent once (thousand.py): not one may be
lost, and nothing may grow. Only with DPDK_WG_FULL=yes; DPDK_WG_SOAK_S seconds (30 minutes),
DPDK_WG_SOAK_RATE packets a second.
"""
import os
import statistics
import time

import abuse
import lab
import thousand
from full import full_only

SECONDS = int(os.environ.get("DPDK_WG_SOAK_S", "1800"))
# Of what this machine's two cores carry, with the peers and their kernel on them too, a half or less.
RATE = int(os.environ.get("DPDK_WG_SOAK_RATE", "4000"))
FACTOR = 10
REKEY_S = 120 / FACTOR
PACE_S = 4
CHURN = 20  # peers that come and go in each round
# What start-up and the first load take does not count as growth: all tunnels have had as many sessions
# as they keep, the current one, one before it and one that is not confirmed.
WARM_UP_S = 3 * REKEY_S + PACE_S
# With the huge pages that the tables ask for, as one may come or go: with small ones the table of sessions
# would grow for a quarter of an hour, a page at each new random index.
RSS_SLACK_KIB = 2048 + abuse.RSS_SLACK_KIB

pytestmark = full_only


def churn(gateway, keys, round_number):
    for n, key in enumerate(keys):
        gateway.set("peer", key, "allowed-ips", f"10.50.{n}.0/24", "endpoint",
                    f"192.0.2.99:{2000 + round_number % 1000}")
    for key in keys:
        gateway.set("peer", key, "remove")


def poll_telemetry(gateway):
    key = gateway.show("peers").split()[0]
    for command in ("/wg/info", "/wg/peers", "/wg/drops", "/wg/lcores", f"/wg/peer,{key}"):
        assert gateway.telemetry(command) is not None


def assert_flat(samples, what, slack, of=statistics.median):
    """The last part of the samples is not above the first."""
    values = [sample[what] for sample in samples]
    third = max(1, len(values) // 3)
    first, last = of(values[:third]), of(values[-third:])
    print(f"{what}: {first:g}, {last:g} at the end, {min(values)} to {max(values)}")
    assert last <= first + slack, f"{what}: {first} to {last}: {values}"


def test_soak(topology):
    assert SECONDS > 1.5 * WARM_UP_S, "too short to tell a warm-up from growth"
    bench = thousand.Thousand(topology, FACTOR)
    gateway = bench.gateway
    keys = [lab.keypair()[1] for _ in range(CHURN)]
    churn(gateway, keys, 0)
    rest, around = abuse.Rest(gateway), bench.around()
    drops, opened = gateway.drops(), bench.data_messages()[0]
    begun, cpu = time.monotonic(), lab.cpu_seconds(gateway.process)
    swarm = bench.start_swarm(SECONDS, RATE)
    samples, rounds = [], 0
    while swarm.poll() is None and time.monotonic() - begun < SECONDS:
        round_begun = time.monotonic()
        churn(gateway, keys, rounds)
        poll_telemetry(gateway)
        if round_begun - begun > WARM_UP_S:
            samples.append(abuse.resources(gateway))
        rounds += 1
        # A pace, not a wait for something: the load runs meanwhile.
        time.sleep(max(0.0, PACE_S - (time.monotonic() - round_begun)))
    counts, tunnels = bench.finish_swarm(swarm, SECONDS + 90)
    seconds = time.monotonic() - begun
    cpu = lab.cpu_seconds(gateway.process) - cpu
    new_drops = {name: count - drops.get(name, 0) for name, count in gateway.drops().items()
                 if count > drops.get(name, 0)}
    outside = {place: count - around[place] for place, count in bench.around().items()}
    print(f"{seconds:.0f} s, {rounds} rounds, {cpu:.0f} s of CPU; {counts}; dropped: {new_drops}; "
          f"lost around the gateway: {outside}")
    thousand.assert_accounted(counts, tunnels)
    assert counts["lost"] == 0, (counts, new_drops, outside)
    assert not thousand.OWN_LOSSES & set(new_drops), new_drops
    # No more and no less than what the peers sealed, keepalives too.
    assert bench.data_messages()[0] - opened == counts["sealed"]
    # The load was there all the time, and so were the new keys.
    assert counts["sent"] > 0.8 * RATE * SECONDS, counts
    least = 1 + (SECONDS - 2) // (REKEY_S + 0.5)
    assert all(tunnel["sessions"] >= least for tunnel in tunnels), min(t["sessions"] for t in tunnels)
    assert_flat(samples, "rss", RSS_SLACK_KIB)
    assert_flat(samples, "descriptors", 0, min)  # a client's may be closed a little later
    assert_flat(samples, "mbufs", 0, min)  # what is under way comes and goes
    assert len(gateway.show("peers").split()) == thousand.PEERS
    rest.before["rss"] = samples[0]["rss"] + RSS_SLACK_KIB  # with its sessions
    rest.check()
    assert gateway.stop() == 0, gateway.tail()
