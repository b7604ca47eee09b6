# SPDX-License-Identifier: BSD-3-Clause
"""
Linux as the slow path: what the fast path leaves to the kernel, that the common packet does not go
there, and that both follow what happens to links, addresses, routes and neighbours.
"""
import json
import re

import lab
import pytest

WAN_ROUTED = "198.51.100"

# An AF_PACKET port gets IPv4 fragments put together by the kernel, and cut to its frame's size. One
# of libpcap's gets them as a NIC does.
WHOLE_FRAGMENTS = {"outer": ["net_pcap0,rx_iface_in=v_out,tx_iface=v_out"],
                   "inner": ["net_pcap1,rx_iface_in=v_in,tx_iface=v_in"]}


# --- Tools ---


def ping(namespace, address, *args, count=3, deadline=5):
    """The output of a ping, errors included, numeric."""
    return namespace.run("ping", "-n", "-c", count, "-i", "0.05", "-w", deadline, *args, address,
                         check=False).stdout


def received(output):
    return int(re.search(r"(\d+) received", output).group(1))


def slow(gateway, *names):
    """Packets so far that went between the data path and the kernel, by counter."""
    counts = {}
    for name in names or (gateway.name,):
        for counter, value in gateway.telemetry(f"/wg/host,{name}").items():
            if counter.endswith("_packets"):
                counts[f"{name} {counter}"] = value
    return counts


def risen(before, after):
    return {name: after[name] - before[name] for name in before if after[name] != before[name]}


def tcp(client, server, address, reverse=False):
    """Moves TCP through; returns Mbit/s at the receiver."""
    listener = server.start("iperf3", "-s", "-1", "-B", address)
    lab.wait_for("iperf3's socket",
                 lambda: "5201" in server.run("ss", "-Hltn", "sport = :5201").stdout)
    done = client.run("iperf3", "-J", "-c", address, "-n", "2M",
                      *(["-R"] if reverse else []))
    server.lab.stop(listener)
    return json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] / 1e6


def snmp(namespace, counter):
    """A counter of the kernel's, by nstat's name."""
    shown = namespace.run("nstat", "-asz", counter).stdout
    return sum(int(line.split()[1]) for line in shown.splitlines() if line.startswith(counter))


def reaches(source, *addresses, timeout=20):
    """Waits until pings pass: a lost initiation, say, is repeated after five seconds only."""
    for address in addresses:
        lab.wait_for(f"{address} from {source.name}",
                     lambda to=address: source.ping(to, count=1, deadline=1), timeout=timeout)


def connected(site):
    """Every neighbour and session is known from here on."""
    reaches(site.topology.wan, "10.1.0.2", "fd01::2")
    reaches(site.topology.lan, "10.9.0.2", "fd09::2")


# --- The common packet stays in the fast path ---


@pytest.mark.parametrize("outside", ["192.0.2.1:51820", "[2001:db8:1::1]:51820"],
                         ids=["outer4", "outer6"])
def test_the_fast_path_is_used(make_site, outside):
    """After the first packets neither the kernel's socket nor the TUN nor a TAP sees another."""
    site = make_site(outside=outside)
    wan, lan = site.topology.wan, site.topology.lan
    connected(site)
    assert tcp(wan, lan, "10.1.0.2") > 1
    before = slow(site.gateway)
    assert site.ping_through(count=20)
    for address in ("10.1.0.2", "fd01::2"):
        assert tcp(wan, lan, address) > 1
        assert tcp(wan, lan, address, reverse=True) > 1
    assert not risen(before, slow(site.gateway))


def second_client(site, **options):
    """A client behind a router of the wan's, so that its outer path has a next hop: 198.51.100.2."""
    topology = site.topology
    far = topology.namespace("far")
    topology.link(far, "e0", topology.wan, "e1")
    far.set_up("e0", f"{WAN_ROUTED}.2/24")
    topology.wan.set_up("e1", f"{WAN_ROUTED}.1/24")
    topology.wan.sysctl("net.ipv4.ip_forward", 1)
    far.ip("route", "add", "default", "via", f"{WAN_ROUTED}.1")
    topology.gw.ip("route", "add", f"{WAN_ROUTED}.0/24", "via", "192.0.2.2")
    client = lab.WireguardGo(far, "far")
    site.gateway.set("peer", client.public_key, "allowed-ips", "10.9.0.3,fd09::3")
    client.set_private_key("peer", site.public_key, "endpoint", "192.0.2.1:51820", "allowed-ips",
                           "10.1.0.0/24,10.9.0.0/24,fd01::/64,fd09::/64")
    far.set_up(client.name, "10.9.0.3/32", "fd09::3/128", mtu=1420)
    for prefix in ("10.9.0.0/24", "10.1.0.0/24", "fd09::/64", "fd01::/64"):
        far.ip("route", "replace", prefix, "dev", client.name)
    return far


def test_peer_to_peer_stays_in_the_fast_path(site):
    far, wan = second_client(site), site.topology.wan
    connected(site)
    reaches(far, "10.1.0.2")
    reaches(wan, "10.9.0.3", "fd09::3")
    before = slow(site.gateway)
    for address in ("10.9.0.3", "fd09::3"):
        answers = ping(wan, address, count=10)
        assert received(answers) == 10
        # 64 at the far client, one less by the gateway.
        assert answers.count("ttl=63") == 10, answers
    assert tcp(wan, far, "10.9.0.3") > 1
    assert not risen(before, slow(site.gateway))


# --- TTL ---


def test_hop_limit(site):
    """One hop less each way, once; at its end the gateway answers from the address on that side."""
    wan, lan = site.topology.wan, site.topology.lan
    connected(site)
    for source, address in ((wan, "10.1.0.2"), (wan, "fd01::2"), (lan, "10.9.0.2"),
                            (lan, "fd09::2")):
        assert ping(source, address).count("ttl=63") == 3
    for source, address, gateway in ((wan, "10.1.0.2", "10.9.0.1"), (lan, "10.9.0.2", "10.1.0.1"),
                                     (wan, "fd01::2", "fd09::1"), (lan, "fd09::2", "fd01::1")):
        answers = ping(source, address, "-t", "1", count=2, deadline=2)
        assert f"From {gateway} " in answers and "Time" in answers, answers
        assert received(answers) == 0
        assert received(ping(source, address, "-t", "2")) >= 3


# --- Sizes ---


def test_too_big_for_the_tunnel(site):
    """The sender is told, from the gateway's address on its side; the host itself, by its kernel."""
    gw, lan = site.topology.gw, site.topology.lan
    connected(site)
    answers = ping(lan, "10.9.0.2", "-M", "do", "-s", "1393", count=2, deadline=2)
    assert "From 10.1.0.1 " in answers and "mtu = 1420" in answers, answers
    answers = ping(lan, "fd09::2", "-M", "do", "-s", "1373", count=2, deadline=2)
    assert "From fd01::1 " in answers and "mtu=1420" in answers, answers
    for address, size in (("10.9.0.2", 1393), ("fd09::2", 1373)):
        done = gw.run("ping", "-n", "-c", "2", "-i", "0.05", "-w", "2", "-M", "do", "-s", size, address,
                      check=False)
        assert re.search("mtu[=:] ?1420", done.stdout + done.stderr), done
        # What just fits goes.
        for source in (gw, lan):
            assert received(ping(source, address, "-M", "do", "-s", size - 1)) >= 3


def test_without_df_it_is_fragmented(make_site):
    site = make_site(**WHOLE_FRAGMENTS)
    gw, lan, wan = site.topology.gw, site.topology.lan, site.topology.wan
    connected(site)
    created = snmp(gw, "IpFragCreates")
    for source, address in ((lan, "10.9.0.2"), (gw, "10.9.0.2"), (wan, "10.1.0.2")):
        assert received(ping(source, address, "-M", "dont", "-s", "1393")) >= 3
        assert received(ping(source, address, "-M", "dont", "-s", "4000")) >= 3
    for source, address in ((lan, "fd09::2"), (gw, "fd09::2"), (wan, "fd01::2")):
        ping(source, address, "-s", "4000", count=1)  # learns the path's MTU
        assert received(ping(source, address, "-s", "4000")) >= 3
    assert snmp(gw, "IpFragCreates") > created


def test_path_mtu_of_tcp(site):
    """The tunnel is narrower than both ends know: TCP learns it, both ways and families."""
    gw, lan, wan = site.topology.gw, site.topology.lan, site.topology.wan
    connected(site)
    gw.ip("link", "set", site.gateway.name, "mtu", "1300")
    gw.ip("link", "set", "inner0", "mtu", "1350")
    lab.wait_for("the gateway's new MTU", lambda: "mtu = 1300" in ping(
        lan, "10.9.0.2", "-M", "do", "-s", "1300", count=1, deadline=1))
    answers = ping(wan, "10.1.0.2", "-M", "do", "-s", "1360", count=2, deadline=2)
    assert "From 10.9.0.1 " in answers and "mtu = 1350" in answers, answers
    # An end that has learned a path's MTU asks for segments that fit it: the wider one first.
    for address in ("10.1.0.2", "fd01::2"):
        assert tcp(wan, lan, address) > 1
        assert "mtu 1350" in wan.ip("route", "get", address).stdout
    for address in ("10.9.0.2", "fd09::2"):
        assert tcp(lan, wan, address) > 1
        assert "mtu 1300" in lan.ip("route", "get", address).stdout


@pytest.mark.parametrize("outside", ["192.0.2.1:51820", "[2001:db8:1::1]:51820"],
                         ids=["outer4", "outer6"])
def test_outer_fragments(make_site, outside):
    """Sealed packets beyond the outer link's MTU leave in fragments; such are put together."""
    site = make_site(outside=outside, **WHOLE_FRAGMENTS)
    gw, lan, wan = site.topology.gw, site.topology.lan, site.topology.wan
    connected(site)
    counter = "Ip6" if "[" in outside else "Ip"
    sent, joined = snmp(gw, f"{counter}FragCreates"), snmp(gw, f"{counter}ReasmOKs")
    gw.ip("link", "set", site.gateway.name, "mtu", "1500")
    wan.ip("link", "set", site.client.name, "mtu", "1500")
    for source, address in ((wan, "10.1.0.2"), (lan, "10.9.0.2")):
        lab.wait_for("the new MTU", lambda s=source, a=address: s.ping(
            a, count=1, deadline=1, args=("-M", "do", "-s", "1472")))
        assert received(ping(source, address, "-M", "do", "-s", "1472")) >= 3
    assert tcp(wan, lan, "10.1.0.2") > 1 and tcp(lan, wan, "10.9.0.2") > 1
    assert snmp(gw, f"{counter}FragCreates") > sent
    assert snmp(gw, f"{counter}ReasmOKs") > joined
    # What fits does not take the way round.
    before = slow(site.gateway)
    assert site.ping_through()
    assert not risen(before, slow(site.gateway))


# --- Nobody to send to ---


def test_unreachable(site):
    """No peer for an address, or none with an endpoint: ICMP, and a count."""
    gw, lan = site.topology.gw, site.topology.lan
    connected(site)
    site.gateway.set("peer", lab.keypair()[1], "allowed-ips", "10.98.0.0/24,fd98::/64")
    for prefix in ("10.99.0.0/24", "fd99::/64"):
        gw.ip("route", "add", prefix, "dev", site.gateway.name)
    lab.wait_for("the peer's route", lambda: gw.ip_json("route", "show", "10.98.0.0/24"))
    for reason, addresses in (("no_peer", ("10.99.0.1", "fd99::1")),
                              ("no_endpoint", ("10.98.0.1", "fd98::1"))):
        for address in addresses:
            six = ":" in address
            for source, gateway in ((lan, "fd01::1" if six else "10.1.0.1"),
                                    (gw, "fd09::1" if six else "10.9.0.1")):
                before = site.gateway.drops().get(reason, 0)
                answers = ping(source, address, count=2, deadline=2)
                assert f"From {gateway} " in answers and "nreachable" in answers, answers
                assert site.gateway.drops().get(reason, 0) > before


# --- Addresses ---


@pytest.mark.parametrize("first,second", [("192.0.2.1", "192.0.2.11"),
                                          ("2001:db8:1::1", "2001:db8:1::11")],
                         ids=["outer4", "outer6"])
def test_replies_leave_from_the_address_spoken_to(make_site, first, second):
    def at(address):
        return f"[{address}]:51820" if ":" in address else f"{address}:51820"

    site = make_site(outside=at(first))
    gw, wan, lan = site.topology.gw, site.topology.wan, site.topology.lan
    gw.set_up("outer0", f"{second}/{64 if ':' in second else 24}")
    for spoken_to in (second, first):
        site.client.set("peer", site.public_key, "remove")
        site.configure_client(at(spoken_to))
        connected(site)
        assert site.ping_through()
        # A stock client follows its peer's source address: it would show another one here.
        assert at(spoken_to) in site.client.show("endpoints")
        # And within a session: the client speaks to the other address.
        other = first if spoken_to == second else second
        site.client.set("peer", site.public_key, "endpoint", at(other))
        assert wan.ping("10.1.0.2") and lan.ping("10.9.0.2")
        assert at(other) in site.client.show("endpoints")
