# SPDX-License-Identifier: BSD-3-Clause
"""
A routing daemon beside the gateway, BIRD with BGP to a neighbour across the inner port: what it
learns the fast path follows, and what is withdrawn too.
"""
import os

import lab
import pytest

# What lan announces, and an address of it there.
FAR = {"4": ("10.200.0.0/16", "10.200.0.1"), "6": ("fd20::/32", "fd20::1")}
PINGS = 20


class Bird:
    """A BIRD in a namespace."""

    def __init__(self, namespace, name, config):
        self.namespace = namespace
        self.socket = os.path.join(namespace.lab.dir, f"{name}.ctl")
        path = os.path.join(namespace.lab.dir, f"{name}.bird")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        self.process = namespace.start("bird", "-f", "-c", path, "-s", self.socket,
                                       "-P", f"{path}.pid", log=f"{name}.birdlog")
        lab.wait_for("BIRD's socket", lambda: os.path.exists(self.socket))

    def ask(self, *words):
        return self.namespace.run("birdc", "-s", self.socket, *words, check=False).stdout


def bgp(name, own, own_as, other, other_as, channel):
    return f"""
protocol bgp {name} {{
    local {own} as {own_as};
    neighbor {other} as {other_as};
    connect delay time 1; connect retry time 1; error wait time 1, 2;
    {channel}
}}
"""


@pytest.fixture
def daemons(site):
    """The gateway's BIRD, which sets the kernel's routes, and lan's, which announces."""
    for family, (prefix, address) in FAR.items():
        site.topology.lan.ip("addr", "add", f"{address}/{prefix.split('/')[1]}", "dev", "lo",
                             *(["nodad"] if family == "6" else []))
        site.topology.wan.ip("route", "add", prefix, "dev", site.client.name)
    site.client.set("peer", site.public_key, "allowed-ips",
                    "10.1.0.0/24,10.9.0.0/24,fd01::/64,fd09::/64,10.200.0.0/16,fd20::/32")
    ours = Bird(site.topology.gw, "gw", "router id 10.1.0.1;\nprotocol device {}\n"
                "protocol kernel { ipv4 { import none; export all; }; }\n"
                "protocol kernel { ipv6 { import none; export all; }; }\n"
                + bgp("lan4", "10.1.0.1", 65001, "10.1.0.2", 65002,
                      "ipv4 { import all; export none; };")
                + bgp("lan6", "fd01::1", 65001, "fd01::2", 65002,
                      "ipv6 { import all; export none; };"))
    theirs = Bird(site.topology.lan, "lan", "router id 10.1.0.2;\nprotocol device {}\n"
                  f"protocol static far4 {{ ipv4; route {FAR['4'][0]} blackhole; }}\n"
                  f"protocol static far6 {{ ipv6; route {FAR['6'][0]} blackhole; }}\n"
                  + bgp("gw4", "10.1.0.2", 65002, "10.1.0.1", 65001,
                        "ipv4 { import none; export all; };")
                  + bgp("gw6", "fd01::2", 65002, "fd01::1", 65001,
                        "ipv6 { import none; export all; };"))
    return ours, theirs


def kernel_route(site, prefix):
    found = site.topology.gw.ip_json(*(["-6"] if ":" in prefix else []), "route", "show", prefix)
    return found[0] if found else None


def host_packets(site):
    """Packets that went between the data path and the kernel, by the tunnel's and the port's TAP."""
    return {name: {counter: value
                   for counter, value in site.gateway.telemetry(f"/wg/host,{name}").items()
                   if counter.endswith("_packets")}
            for name in (site.gateway.name, "inner0")}


def goes_fast(site, address):
    """
    True when pings there and back pass without the kernel. A few packets of the daemons' and the
    kernel's own (BGP, ARP) may pass the port meanwhile.
    """
    before = host_packets(site)
    if not site.topology.wan.ping(address, count=PINGS, interval=0.01):
        return False
    after = host_packets(site)
    return all(after[name][counter] - value < PINGS / 2
               for name, counters in before.items() for counter, value in counters.items())


def unreachable(site, address):
    answer = site.topology.wan.run("ping", "-n", "-c", "1", "-W", "1", address, check=False).stdout
    return "nreachable" in answer


def test_routes_of_a_daemon(site, daemons):
    ours, theirs = daemons
    assert site.ping_through()
    for family, (prefix, address) in FAR.items():
        lab.wait_for("the route by BGP", lambda p=prefix: kernel_route(site, p), timeout=30)
        assert kernel_route(site, prefix)["protocol"] == "bird"
        lab.wait_for("the fast path", lambda a=address: goes_fast(site, a))
        # Withdrawn, and announced again.
        theirs.ask("disable", f"far{family}")
        lab.wait_for("its end", lambda p=prefix: not kernel_route(site, p))
        lab.wait_for("the fast path to follow", lambda a=address: unreachable(site, a))
        theirs.ask("enable", f"far{family}")
        lab.wait_for("the route again", lambda p=prefix: kernel_route(site, p))
        lab.wait_for("the fast path", lambda a=address: goes_fast(site, a))
    # With the session goes what it taught.
    ours.ask("disable", "lan4")
    lab.wait_for("the end of lan4's routes", lambda: unreachable(site, FAR["4"][1]))
    assert goes_fast(site, FAR["6"][1])
