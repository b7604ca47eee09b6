# SPDX-License-Identifier: BSD-3-Clause
"""TCP between the hosts at both ends of a tunnel: see scripts/bench-tcp."""
import os
import statistics
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/interop"))
import lab  # noqa: E402

SECONDS = 4
UDP_SECONDS = 2
UDP_BYTES = 64


def measure(a, b, processes):
    """Waits for the tunnel; (Gbit/s, CPU seconds a GB of one end, small UDP packets a second)."""
    lab.wait_for("the tunnel", lambda: a.ping("10.8.0.2", count=1, deadline=1), timeout=20)
    before = sum(map(lab.cpu_seconds, processes))
    speed = lab.iperf(a, b, "10.8.0.2", "-t", SECONDS)
    cost = (sum(map(lab.cpu_seconds, processes)) - before) / 2 / (speed * SECONDS / 8)
    small = lab.iperf(a, b, "10.8.0.2", "-u", "-b", 0, "-l", UDP_BYTES, "-t", UDP_SECONDS)
    return speed, cost, small * 1e9 / 8 / UDP_BYTES


def with_wireguard_go():
    with lab.Lab() as made:
        a, b = made.namespace("a"), made.namespace("b")
        run = lab.run
        run("ip", "link", "add", "e0", "netns", a.name, "type", "veth", "peer", "name", "e0",
            "netns", b.name)
        ends = [lab.WireguardGo(a, "ga"), lab.WireguardGo(b, "gb")]
        for n, (namespace, end, other) in enumerate(((a, ends[0], ends[1]), (b, ends[1], ends[0]))):
            namespace.set_up("e0", f"192.0.2.{n + 1}/24")
            end.set_private_key("listen-port", 51820, "peer", other.public_key, "endpoint",
                                f"192.0.2.{2 - n}:51820", "allowed-ips", "10.8.0.0/24")
            namespace.set_up(end.name, f"10.8.0.{n + 1}/24", mtu=1420)
        return measure(a, b, [end.process for end in ends])


def gateway(made, namespace, name, keys, other_key, device, n, eal):
    config = f"""[Interface]
PrivateKey = {keys[0]}
ListenPort = 51820
Address = 10.8.0.{n}/24

[Peer]
PublicKey = {other_key}
AllowedIPs = 10.8.0.0/24
Endpoint = 192.0.2.{3 - n}:51820
"""
    end = lab.Gateway(namespace, [device], config=config, name=f"{made.short}{name}", eal=eal,
                      wait=False)
    end.lcores = f"0@{2 - n},1@{n - 1}"  # the two workers do not share a CPU
    end.start()
    namespace.set_up("outer0", f"192.0.2.{n}/24")
    return end


def with_dpdk_wg(link):
    """link: "veth" (AF_PACKET ports, as wireguard-go has it) or "vhost" (shared memory)."""
    with lab.Lab() as made:
        a, b = made.namespace("a"), made.namespace("b")
        keys_a, keys_b = lab.keypair(), lab.keypair()
        if link == "veth":
            made.link(a, "v_out", b, "v_out")
            for namespace in (a, b):
                made.port(namespace, "v_out")
                namespace.sysctl("net.ipv4.conf.all.rp_filter", 0)
            devices, eals = ("v_out", "v_out"), ((), ())
        else:
            socket = os.path.join(made.dir, "vhost.sock")
            devices = (f"net_vhost0,iface={socket}", f"net_virtio_user0,path={socket},packed_vq=1,"
                       f"queue_size=1024,mac=02:00:00:00:00:02")
            eals = ((), ("--single-file-segments",))
        ends = [gateway(made, a, "a", keys_a, keys_b[1], devices[0], 1, eals[0]),
                gateway(made, b, "b", keys_b, keys_a[1], devices[1], 2, eals[1])]
        return measure(a, b, [end.process for end in ends])


KINDS = {"wireguard-go over veth": with_wireguard_go,
         "dpdk-wg over veth": lambda: with_dpdk_wg("veth"),
         "dpdk-wg over vhost-user": lambda: with_dpdk_wg("vhost")}


def run(rounds, tell=lambda text: None):
    """Rows, one for each kind of end: medians of rounds in turns."""
    results = {name: [] for name in KINDS}
    for number in range(rounds):
        for name, kind in KINDS.items():
            results[name].append(kind())
            tell(f"round {number + 1}: {name}: {results[name][-1][0]:.2f} Gbit/s, "
                 f"{results[name][-1][2] / 1e3:.0f} kpps of small UDP")
    rows = []
    for name, found in results.items():
        speeds, costs, small = zip(*found)
        rows.append({"bench": "tcp", "ends": name, "gbps": round(statistics.median(speeds), 2),
                     "least": round(min(speeds), 2), "most": round(max(speeds), 2),
                     "cpu_s_per_gb": round(statistics.median(costs), 2),
                     "udp_pps": round(statistics.median(small)),
                     "ratio": round(statistics.median(speeds) / statistics.median(
                         speed for speed, _, _ in results["wireguard-go over veth"]), 2)})
    return rows


def main():
    if len(sys.argv) > 2 or (len(sys.argv) == 2 and not sys.argv[1].isdecimal()):
        sys.exit("usage: scripts/bench-tcp [ROUNDS]")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    rows = run(rounds, lambda text: print(text, flush=True))
    print("\n| ends | Gbit/s (median, range) | CPU s a GB, each end | small UDP, kpps | ratio |\n"
          "|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['ends']} | {row['gbps']} ({row['least']} to {row['most']}) "
              f"| {row['cpu_s_per_gb']} | {row['udp_pps'] / 1e3:.0f} | {row['ratio']} |")


if __name__ == "__main__":
    main()
