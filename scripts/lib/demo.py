# SPDX-License-Identifier: BSD-3-Clause
"""The demonstration that scripts/demo runs: see there."""
import os
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/interop"))
import lab  # noqa: E402


def row(name, value):
    print(f"  {name:<34}{value}", flush=True)


def rtt(namespace, address):
    """Median round trip of 20 pings, in milliseconds."""
    done = namespace.run("ping", "-n", "-c", 20, "-i", 0.02, address)
    times = sorted(float(line.split("time=")[1].split()[0])
                   for line in done.stdout.splitlines() if "time=" in line)
    if not times:
        raise lab.LabError(f"no answer from {address}")
    return times[len(times) // 2]


def show(site):
    topology, gateway = site.topology, site.gateway
    wan, lan_ = topology.wan, topology.lan
    print("\n  wan: wireguard-go ── [outer0] dpdk-wg [inner0] ── lan: server\n", flush=True)
    if not wan.ping("10.1.0.2"):
        raise lab.LabError(f"no ping through the tunnel; dpdk-wg says: {gateway.tail()}")
    age = time.time() - int(site.client.show("latest-handshakes").split()[-1])
    row("handshake", f"done, {age:.0f} s ago")
    row("RTT through the tunnel, IPv4", f"{rtt(wan, '10.1.0.2'):.2f} ms")
    row("RTT through the tunnel, IPv6", f"{rtt(wan, 'fd01::2'):.2f} ms")
    for name, options in (("TCP client -> server", ()), ("TCP server -> client", ("-R",))):
        before = lab.cpu_seconds(gateway.process)
        speed = lab.iperf(wan, lan_, "10.1.0.2", "-t", 3, *options)
        used = (lab.cpu_seconds(gateway.process) - before) / (speed * 3 / 8)
        row(name, f"{speed:.2f} Gbit/s, {used:.1f} CPU s of dpdk-wg a GB")
    print("\n  wg show:\n")
    for line in gateway.show().splitlines():
        print("    " + line)
    print("\n  packets by drop reason:\n")
    for name, count in gateway.drops().items() or [("none", "")]:
        row("  " + name, count)
    print()


def explain(site):
    topology, gateway = site.topology, site.gateway
    print(f"""
The lab is up. Things to try:

  ip netns exec {topology.wan.name} ping 10.1.0.2          # client to server, through the tunnel
  ip netns exec {topology.wan.name} ping fd01::2
  wg show {gateway.name}
  ip -n {topology.gw.name} addr                            # outer0, inner0 and {gateway.name}
  ip netns exec {topology.lan.name} tcpdump -ni e0         # what leaves the gateway
  dpdk-telemetry.py -f {topology.prefix}-{gateway.name}    # /wg/info, /wg/peers, /wg/drops

The log of dpdk-wg: {gateway.process.log}
Press Enter (or Ctrl-C) here to end it all.""", flush=True)
    try:
        sys.stdin.readline()
    except KeyboardInterrupt:
        pass


def main():
    with lab.Topology() as topology:
        lab.on_signals_close(topology)
        try:
            site = lab.Site(topology)
            show(site)
            if "--shell" in sys.argv[1:]:
                explain(site)
        except (lab.LabError, OSError) as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
    print("demo: done, cleaned up")
    return 0


sys.exit(main())
