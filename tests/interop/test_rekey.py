# SPDX-License-Identifier: BSD-3-Clause
"""
A thousand tunnels that renew their keys all the time, under traffic: not one packet may be lost by it.

The gateway's clock runs fast (tests/tools/fastclock.c), and so does that of its peers, a thousand of
them in one process (tests/tools/swarm.c): 120 seconds of theirs are 12 of ours. All begin at the same
moment, as they do when a gateway was restarted, and so come together again at each renewal: the gateway
is under load, and answers with cookies. No packet is sent before the one before it of its flow arrived,
so that no queue of the kernel's can overflow: all that is lost was lost by one of the ends.

The clock also makes a handshake take FACTOR times as long to its ends as it should, and be asked for
again as often. That bounds what can be shown: by a clock of 20 or more, a thousand at once ask for more
handshakes than two cores compute, sessions end before there are new ones, and packets that wait for one
are given up.
"""
import os
import re

import abuse
import fastclock
import lab
import wgpeer

FULL = os.environ.get("DPDK_WG_FULL") == "yes"
PEERS, FACTOR, RATE = 1000, 10, 4000
SECONDS = 300 if FULL else 15
REKEY_S = 120 / FACTOR


def config(private, keys):
    def peer(n):
        return (f"[Peer]\nPublicKey = {wgpeer.base64_text(keys[n].public)}\n"
                f"AllowedIPs = 10.128.{n >> 8}.{n & 255}/32\n"
                f"Endpoint = 198.18.{n >> 8}.{n & 255}:51820\n")
    return (f"[Interface]\nPrivateKey = {private}\nListenPort = {abuse.PORT}\n"
            f"Address = 10.128.255.1/16\nTable = off\n" + "".join(map(peer, range(PEERS))))


def swarm(topology, public, keys):
    """Runs the peers; returns what their last line counts."""
    path = os.path.join(topology.dir, "keys")
    with open(path, "wb") as file:
        file.write(b"".join(key.private for key in keys))
    done = topology.wan.run(abuse.tool("swarm"), abuse.OUTER4, abuse.PORT, public.hex(), path, FACTOR,
                            SECONDS, RATE, check=False, timeout=SECONDS + 90)
    print(done.stdout[-3000:])
    assert done.returncode == 0, (done.stdout[-500:], done.stderr[-1000:])
    return {name: int(count) for name, count in
            re.findall(r"([a-z_-]+) (\d+)", done.stdout.splitlines()[-1])}


def test_thousand_tunnels_rekey_under_traffic(topology):
    """Catches a session that is replaced too early, too late, or at one end only."""
    static, keys = wgpeer.Key(), [wgpeer.Key() for _ in range(PEERS)]
    topology.wan.ip("route", "add", "local", "198.18.0.0/16", "dev", "lo")
    clock = fastclock.Clock(topology, FACTOR)
    ring = "net_af_packet0,iface=v_out,blocksz=65536,framesz=2048,framecnt=8192"
    gateway = lab.Gateway(topology.gw, [ring], config=config(wgpeer.base64_text(static.private), keys),
                          wait=False)
    gateway.environment = clock.environment
    gateway.start()
    topology.address_gateway(inner=False)
    topology.gw.ip("route", "add", "198.18.0.0/16", "via", "192.0.2.2", "dev", "outer0")
    assert topology.gw.ping("192.0.2.2")
    counts = swarm(topology, static.public, keys)
    print(counts, gateway.drops())
    assert counts["sent"] == counts["received"] + counts["lost"]
    assert counts["lost"] == counts["late"] == 0, (counts, gateway.drops())
    assert not {"session_expired", "session_gone", "stage_full", "stage_purged", "control_full",
                "replayed", "forged"} & set(gateway.drops()), gateway.drops()
    # Each tunnel was made, and had its keys renewed as often as there was time for that.
    assert counts["sessions"] >= PEERS * (1 + (SECONDS - 2) // (REKEY_S + 0.5))
    assert gateway.stop() == 0, gateway.tail()
