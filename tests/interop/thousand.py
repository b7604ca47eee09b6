# SPDX-License-Identifier: BSD-3-Clause
"""
A gateway with a thousand tunnels to one process that is all their peers (tests/tools/swarm.c), both
with a clock that runs fast (tests/tools/fastclock.c): 120 seconds of theirs are 120 / factor of ours.
All begin at the same moment, as they do when a gateway was restarted, and so come together again at each
renewal: the gateway is under load, and answers with cookies. No packet is sent before the one before it
of its flow arrived, so that no queue of the kernel's can overflow.
"""
import os
import re

import abuse
import fastclock
import lab
import wgpeer

PEERS = 1000
# A ring with room for what arrives while this machine's few cores do something else: with the driver's
# default of 512 frames a gateway that waits 100 ms for its CPU finds that the kernel threw frames away.
RING = "net_af_packet{},iface={},blocksz=65536,framesz=2048,framecnt=8192"
# A packet of the peers' that counts among these was lost by the gateway. What the host's own kernel says to
# its neighbours as an interface comes up (no_peer, host_write) is none of theirs.
OWN_LOSSES = {"session_expired", "session_gone", "replayed", "forged", "no_room", "no_mbuf", "tx_full",
              "control_full", "host_full", "worker_full", "stage_full", "stage_purged", "host_send",
              "peer_gone", "no_endpoint", "inner_malformed", "inner_source", "interface_gone",
              "unknown_index"}


def assert_accounted(counts, tunnels):
    """Each packet of each flow once, and it came out of the tunnel that it was meant for."""
    assert counts["twice"] == counts["refused"] == 0, counts
    for what in ("sent", "received", "late", "lost"):
        assert counts[what] == sum(tunnel[what] for tunnel in tunnels)
    for n, tunnel in enumerate(tunnels):
        came_from = tunnels[n] if n % 2 else tunnels[n - 2]  # its own pings, or its neighbour's
        assert tunnel["sent"] == sum(tunnel[what] for what in ("received", "late", "lost")), (n, tunnel)
        assert tunnel["delivered"] == came_from["received"] + came_from["late"], (n, tunnel)


def config(private, keys):
    def peer(n):
        return (f"[Peer]\nPublicKey = {wgpeer.base64_text(keys[n].public)}\n"
                f"AllowedIPs = 10.128.{n >> 8}.{n & 255}/32\n"
                f"Endpoint = 198.18.{n >> 8}.{n & 255}:51820\n")
    return (f"[Interface]\nPrivateKey = {private}\nListenPort = {abuse.PORT}\n"
            f"Address = 10.128.255.1/16\nTable = off\n" + "".join(map(peer, range(len(keys)))))


def numbers(line):
    """Of "name 1 other 2"."""
    return {name: int(count) for name, count in re.findall(r"([a-z_-]+) (\d+)", line)}


class Thousand:
    """The gateway and the keys of its peers, and where packets are lost around it."""

    def __init__(self, topology, factor):
        self.topology, self.factor = topology, factor
        self.static, self.keys = wgpeer.Key(), [wgpeer.Key() for _ in range(PEERS)]
        topology.wan.ip("route", "add", "local", "198.18.0.0/16", "dev", "lo")
        self.gateway = lab.Gateway(topology.gw, [RING.format(0, "v_out")], [RING.format(1, "v_in")],
                                   config=config(wgpeer.base64_text(self.static.private), self.keys),
                                   wait=False)
        self.gateway.environment = fastclock.Clock(topology, factor).environment
        self.gateway.start()
        topology.address_gateway()
        topology.gw.ip("route", "add", "198.18.0.0/16", "via", "192.0.2.2", "dev", "outer0")
        assert topology.gw.ping("192.0.2.2") and topology.gw.ping("10.1.0.2")

    def start_swarm(self, seconds, rate):
        path = os.path.join(self.topology.dir, "keys")
        with open(path, "wb") as file:
            file.write(b"".join(key.private for key in self.keys))
        self.tunnels_path = os.path.join(self.topology.dir, "tunnels")
        return self.topology.wan.start(
            abuse.tool("swarm"), abuse.OUTER4, abuse.PORT, self.static.public.hex(), path, self.factor,
            seconds, rate, "echo=10.1.0.2", f"tunnels={self.tunnels_path}", log="swarm.log")

    def finish_swarm(self, process, timeout):
        """What the last line counts, of all, and a list of what each tunnel counts."""
        status = process.wait(timeout)
        with open(process.log, encoding="utf-8") as file:
            text = file.read()
        print(text[-3000:])
        assert status == 0, text[-1500:]
        with open(self.tunnels_path, encoding="ascii") as file:
            tunnels = [numbers(line.split(" ", 1)[1]) for line in file]
        return numbers(text.splitlines()[-1]), tunnels

    def data_messages(self):
        """That the gateway has opened and sealed."""
        lcores = self.gateway.telemetry("/wg/lcores")
        return tuple(sum(count for name, count in lcores.items() if name.endswith(suffix))
                     for suffix in ("_inbound_packets", "_outbound_packets"))

    def around(self):
        """Packets lost around the gateway: by its ports and cables, and by the peers' sockets."""
        lost = abuse.cable_losses(self.topology, self.gateway)
        snmp = self.topology.wan.run("cat", "/proc/net/snmp").stdout
        names, counts = (line.split()[1:] for line in snmp.splitlines() if line.startswith("Udp:"))
        udp = dict(zip(names, map(int, counts)))
        lost["peers_sockets_in"] = udp["InErrors"]
        lost["peers_sockets_out"] = udp["SndbufErrors"]
        return lost
