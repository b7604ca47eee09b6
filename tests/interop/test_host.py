# SPDX-License-Identifier: BSD-3-Clause
"""
Linux as the slow path: what the fast path leaves to the kernel, that the common packet does not go
there, and that both follow what happens to links, addresses, routes and neighbours.
"""
import os
import re
import socket
import struct

import lab
import pytest
import wgpeer

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
    """
    What rose, but for two packets: the kernel has an occasional multicast report of its own to send.
    """
    return {name: after[name] - before[name] for name in before if after[name] > before[name] + 2}


def tcp(client, server, address, reverse=False):
    """Moves 2 MB of TCP through; returns Mbit/s at the receiver."""
    return 1e3 * lab.iperf(client, server, address, "-n", "2M", *(["-R"] if reverse else []))


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


def speaks_to(site, outside):
    """
    Has the client speak to that address of the gateway within its session. The gateway's first
    answer comes from there: anything else would have the client turn back.
    """
    site.client.set("peer", site.public_key, "endpoint", outside)
    assert site.topology.wan.ping("10.1.0.2")
    assert outside in site.client.show("endpoints")


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
    """A client behind a router of the wan's, so that its outer path has a next hop."""
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
    """The sender is told, by the gateway's address on its side; the host itself, by its kernel."""
    gw, lan = site.topology.gw, site.topology.lan
    connected(site)
    answers = ping(lan, "10.9.0.2", "-M", "do", "-s", "1393", count=2, deadline=2)
    assert "From 10.1.0.1 " in answers and "mtu = 1420" in answers, answers
    answers = ping(lan, "fd09::2", "-M", "do", "-s", "1373", count=2, deadline=2)
    assert "From fd01::1 " in answers and "mtu=1420" in answers, answers
    for address, size in (("10.9.0.2", 1393), ("fd09::2", 1373)):
        done = gw.run("ping", "-n", "-c", "2", "-i", "0.05", "-w", "2", "-M", "do", "-s", size,
                      address, check=False)
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


def first_fragment(source, gateway, number):
    """The first fragment of a datagram to the gateway that goes on."""
    part = struct.pack(">HHHH", 51820, 51820, 3000, 0) + bytes(1200)
    if ":" in gateway:
        return wgpeer.ipv6(source, gateway, struct.pack(">BBHI", 17, 0, 1, number) + part, protocol=44)
    packet = bytearray(wgpeer.ipv4(source, gateway, part))
    packet[4:8] = struct.pack(">HH", number, 0x2000)
    return bytes(packet)  # the kernel sums the header of what a raw socket sends


@pytest.mark.parametrize("source,gateway", [("192.0.2.2", "192.0.2.1"),
                                            ("2001:db8:1::2", "2001:db8:1::1")],
                         ids=["outer4", "outer6"])
def test_fragments_that_never_end(make_site, source, gateway):
    """
    A flood of fragments whose other parts never come: the kernel holds as much as its bound says and
    forgets it in its time, the program holds nothing, and what is whole passes all the while.
    """
    six = ":" in gateway
    site = make_site(outside=f"[{gateway}]:51820" if six else f"{gateway}:51820", **WHOLE_FRAGMENTS)
    gw, wan = site.topology.gw, site.topology.wan
    bounds = "net.ipv6.ip6frag" if six else "net.ipv4.ipfrag"
    gw.sysctl(f"{bounds}_time", 2)
    gw.sysctl(f"{bounds}_low_thresh", 100_000)
    gw.sysctl(f"{bounds}_high_thresh", 200_000)
    connected(site)

    def held():
        shown = gw.run("cat", f"/proc/net/sockstat{'6' if six else ''}").stdout
        return int(re.search(r"FRAG6?: inuse \d+ memory (\d+)", shown).group(1))

    def in_use():
        return site.gateway.telemetry("/wg/info")["packet_buffers_in_use"]

    def joined(counter):
        return snmp(gw, f"{'Ip6' if six else 'Ip'}Reasm{counter}")
    buffers = in_use()
    asked, failed = joined("Reqds"), joined("Fails")
    stream = Stream(wan, "10.1.0.2")
    raw = wgpeer.in_namespace(wan.name, lambda: socket.socket(
        socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
    for sent in range(0, 4000, 400):  # no more at once than the port's ring has room for
        for number in range(sent, sent + 400):
            raw.sendto(first_fragment(source, gateway, number), (gateway, 0))
        lab.wait_for("the kernel to have them", lambda n=sent: joined("Reqds") >= asked + n + 400)
        assert held() <= 300_000
    raw.close()
    lab.wait_for("fragments to be forgotten", lambda: held() == 0)
    assert joined("Fails") >= failed + 4000
    assert stream.lost() == 0
    lab.wait_for("all packet buffers", lambda: in_use() <= buffers + 64)  # some are on their way
    # And whole ones are put together as before.
    for link, namespace in ((site.gateway.name, gw), (site.client.name, wan)):
        namespace.ip("link", "set", link, "mtu", "1500")
    done = joined("OKs")
    lab.wait_for("fragments to pass", lambda: wan.ping(
        "10.1.0.2", count=1, deadline=1, args=("-M", "do", "-s", "1472")))
    assert joined("OKs") > done


def narrow_client(site, mtu):
    """A client over IPv6 whose link, two hops from the gateway, is narrower than the gateway knows."""
    topology = site.topology
    far = topology.namespace("far")
    topology.link(far, "e0", topology.wan, "e1")
    far.set_up("e0", "2001:db8:2::2/64", mtu=mtu)
    topology.wan.set_up("e1", "2001:db8:2::1/64", mtu=mtu)
    topology.wan.sysctl("net.ipv6.conf.all.forwarding", 1)
    far.ip("-6", "route", "add", "default", "via", "2001:db8:2::1")
    topology.gw.ip("route", "add", "2001:db8:2::/64", "via", "2001:db8:1::2")
    client = lab.WireguardGo(far, "far")
    site.gateway.set("peer", client.public_key, "allowed-ips", "10.9.0.3")
    client.set_private_key(*speaks_to_over_ipv6(site))
    far.set_up(client.name, "10.9.0.3/32", mtu=1420)
    for prefix in ("10.9.0.0/24", "10.1.0.0/24"):
        far.ip("route", "replace", prefix, "dev", client.name)
    return far, client


def speaks_to_over_ipv6(site):
    return ("peer", site.public_key, "endpoint", "[2001:db8:1::1]:51820", "allowed-ips",
            "10.1.0.0/24,10.9.0.0/24")


def widen(site, far):
    """That link takes 1,500 bytes again, and the gateway's kernel has forgotten that it did not."""
    far.ip("link", "set", "e0", "mtu", 1500)
    site.topology.wan.ip("link", "set", "e1", "mtu", 1500)
    site.topology.gw.ip("-6", "route", "flush", "cache")


class Datagrams:
    """Sends datagrams from lan to 10.9.0.3."""

    def __init__(self, lan, far):
        self.at = wgpeer.udp_socket(far.name, "10.9.0.3")
        self.source = wgpeer.udp_socket(lan.name, "10.1.0.2")

    def arrives(self, size):
        payload = os.urandom(size)
        self.source.sendto(payload, self.at.getsockname())
        while got := wgpeer.receive([self.at], 0.2):
            if got.data == payload:
                return True
        return False

    def close(self):
        self.at.close()
        self.source.close()


def test_router_on_the_way_says_too_big(make_site):
    """
    Nobody else tells of it, and small packets get through, so that no handshake begins for it: what
    is too large goes in fragments soon after the router's word, long before the next handshake.
    """
    site = make_site(outside="[2001:db8:1::1]:51820")
    lan, gateway = site.topology.lan, site.gateway
    far, client = narrow_client(site, 1400)
    reaches(far, "10.1.0.2")
    reaches(lan, "10.9.0.3")
    datagrams = Datagrams(lan, far)
    name = f"{gateway.name} socket_tx_packets"
    before = slow(gateway)[name]
    assert datagrams.arrives(1000)
    assert not datagrams.arrives(1392)
    assert "mtu 1400" in site.topology.gw.ip("route", "get", "2001:db8:2::2").stdout
    lab.wait_for("a full-size datagram", lambda: datagrams.arrives(1392), timeout=5)
    assert all(datagrams.arrives(1392) for _ in range(5))
    # What fits still goes by the port.
    sent = slow(gateway)[name]
    assert sent > before
    assert all(datagrams.arrives(1000) for _ in range(5)) and slow(gateway)[name] == sent
    # So does all when it fits again, from the next handshake on at the latest.
    widen(site, far)
    client.set("peer", site.public_key, "remove")
    client.set(*speaks_to_over_ipv6(site))
    reaches(far, "10.1.0.2")
    sent = slow(gateway)[name]
    assert all(datagrams.arrives(1392) for _ in range(5)) and slow(gateway)[name] == sent
    datagrams.close()


# --- Nobody to send to ---


def test_unreachable(site):
    """No peer for an address, or none with an endpoint: ICMP, and a count."""
    gw, lan, wan = site.topology.gw, site.topology.lan, site.topology.wan
    connected(site)
    site.gateway.set("peer", lab.keypair()[1], "allowed-ips", "10.98.0.0/24,fd98::/64")
    for prefix in ("10.99.0.0/24", "fd99::/64"):
        gw.ip("route", "add", prefix, "dev", site.gateway.name)
    lab.wait_for("the peer's route", lambda: gw.ip_json("route", "show", "10.98.0.0/24"))
    # A peer asks through its tunnel.
    site.client.set("peer", site.public_key, "allowed-ips", "0.0.0.0/0,::/0")
    for prefix in ("10.98.0.0/15", "fd98::/15"):
        wan.ip("route", "add", prefix, "dev", site.client.name)
    for reason, addresses in (("no_peer", ("10.99.0.1", "fd99::1")),
                              ("no_endpoint", ("10.98.0.1", "fd98::1"))):
        for address in addresses:
            six = ":" in address
            tunnel = "fd09::1" if six else "10.9.0.1"
            for source, gateway in ((lan, "fd01::1" if six else "10.1.0.1"), (gw, tunnel),
                                    (wan, tunnel)):
                before = site.gateway.drops().get(reason, 0)
                answers = ping(source, address, count=2, deadline=2)
                assert f"From {gateway} " in answers and "nreachable" in answers, answers
                assert site.gateway.drops().get(reason, 0) > before


def test_endpoint_behind_its_own_tunnel(site):
    """
    A route that covers the endpoint would have each packet sealed again and again: nothing is sent
    there, whatever comes from there; the sender is told, and it ends with the route.
    """
    lan, gateway = site.topology.lan, site.gateway
    assert site.ping_through()
    stream = site.topology.wan.start("ping", "-n", "-i", "0.002", "10.1.0.2", log="stream")
    before = gateway.telemetry(f"/wg/host,{gateway.name}")["socket_tx_packets"]
    endpoint = gateway.show("endpoints").split()[1]
    allowed = ",".join(site.TUNNEL_CLIENT)
    gateway.set("peer", site.client.public_key, "allowed-ips", f"{allowed},192.0.2.2/32")
    lab.wait_for("the route", lambda: site.topology.gw.ip_json("route", "show", "192.0.2.2"))
    lab.wait_for("the warning", lambda: f"endpoint {endpoint} is routed into "
                 f"{gateway.name} itself" in gateway.tail())
    assert "nreachable" in ping(lan, "10.9.0.2", count=2, deadline=2)
    lab.wait_for("answers that nobody gets", lambda: gateway.drops()["no_endpoint"] > 200)
    assert gateway.telemetry(f"/wg/host,{gateway.name}")["socket_tx_packets"] - before < 100
    gateway.set("peer", site.client.public_key, "allowed-ips", allowed)
    lab.wait_for("the way", lambda: lan.ping("10.9.0.2", count=1, deadline=1))
    site.topology.stop(stream)
    assert site.ping_through()


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
        speaks_to(site, at(other))
        assert wan.ping("10.1.0.2") and lan.ping("10.9.0.2")
        assert at(other) in site.client.show("endpoints")


# --- Changes under way ---


class Stream:
    """Pings every 10 ms while something changes; afterwards says how many were lost."""

    EVERY = 0.01

    def __init__(self, source, address):
        self.process = source.start("ping", "-n", "-i", self.EVERY, "-W", "2", address,
                                    log=f"stream-{address}")
        self.wait(20)

    def answers(self):
        with open(self.process.log, encoding="utf-8") as file:
            return [int(n) for n in re.findall(r"icmp_seq=(\d+) ttl", file.read())]

    def wait(self, count, timeout=20):
        """Until so many more answers have come."""
        seen = len(self.answers())
        lab.wait_for(f"{count} answers", lambda: len(self.answers()) >= seen + count, timeout)

    def lost(self):
        """Ends it; packets that were never answered before the last one that was."""
        self.wait(20)
        self.process.send_signal(2)
        self.process.wait(10)
        answers = set(self.answers())
        return max(answers) - len(answers)


def recovers(site, change, *streams, bound):
    """
    Applies a change under traffic, waits until the fast path has it back, and holds the loss below
    a bound (packets of 10 ms).
    """
    running = [Stream(source, address) for source, address in streams]
    change()
    for stream in running:
        stream.wait(20)
    lab.wait_for("the fast path", lambda: stays_fast(site, running[0]), timeout=20)
    lost = [stream.lost() for stream in running]
    print("lost:", lost)
    assert all(n <= bound for n in lost), lost


def stays_fast(site, stream):
    before = slow(site.gateway)
    stream.wait(10)
    return not risen(before, slow(site.gateway))


BOTH_WAYS = (("wan", "10.1.0.2"), ("lan", "fd09::2"))


def both_ways(site):
    return [(getattr(site.topology, name), address) for name, address in BOTH_WAYS]


@pytest.mark.parametrize("link", ["outer0", "inner0"])
def test_neighbours_flushed(site, link):
    connected(site)

    def change():
        site.topology.gw.ip("neigh", "flush", "dev", link)
    recovers(site, change, *both_ways(site), bound=20)


def passed_by_workers(site, way):
    counters = site.gateway.telemetry("/wg/lcores")
    return sum(value for name, value in counters.items() if name.endswith(f"_{way}_packets"))


def test_link_of_a_port_down_and_up(site):
    """The host takes a port's link down: nothing passes; up again: all of it does."""
    gw, lan, wan = site.topology.gw, site.topology.lan, site.topology.wan
    connected(site)
    for link, addresses, sender, gateway, far, counter in (
            ("inner0", site.topology.GW_INNER, lan, "10.1.0.1", "10.9.0.2", "outbound"),
            ("outer0", site.topology.GW_OUTER, wan, "192.0.2.1", "10.1.0.2", "inbound")):
        # Who sends does not ask for the gateway's MAC address, which would end the matter.
        mac = gw.ip_json("link", "show", link)[0]["address"]
        sender.ip("neigh", "replace", gateway, "lladdr", mac, "dev", "e0", "nud", "permanent")
        gw.ip("link", "set", link, "down")
        lab.wait_for("silence", lambda: not lan.ping("10.9.0.2", count=1, deadline=1))
        dropped, passed = site.gateway.drops()["port_down"], passed_by_workers(site, counter)
        assert not sender.ping(far, count=50, interval=0.02, deadline=1)
        assert site.gateway.drops()["port_down"] >= dropped + 20
        assert passed_by_workers(site, counter) == passed
        gw.ip("link", "set", link, "up")
        gw.set_up(link, *addresses)  # the kernel forgets IPv6 addresses
        sender.ip("neigh", "del", gateway, "dev", "e0")
        connected(site)
        before = slow(site.gateway)
        assert site.ping_through()
        assert not risen(before, slow(site.gateway))


def test_interface_down_and_up(site):
    """
    The tunnel's own link goes down: its port is closed as the kernel's would be, nothing passes and
    nothing is sent; up again on the same port, with a new session.
    """
    gw, wan, lan = site.topology.gw, site.topology.wan, site.topology.lan
    name = site.gateway.name
    connected(site)
    handshake = site.gateway.show("latest-handshakes")
    routes = [(family, route["dst"]) for family in ("-4", "-6")
              for route in gw.ip_json(family, "route", "show", "dev", name)]

    def listens():
        return gw.run("ss", "-Hlun", "sport = :51820").stdout
    assert listens()
    gw.ip("link", "set", name, "down")
    lab.wait_for("the closed port", lambda: not listens())
    seen = snmp(lan, "IcmpInEchos")
    sealed = site.gateway.show("transfer")
    assert not wan.ping("10.1.0.2", count=3, deadline=1)
    assert not lan.ping("10.9.0.2", count=3, deadline=1)
    assert snmp(lan, "IcmpInEchos") == seen, "packets of a closed tunnel reached lan"
    assert site.gateway.show("transfer") == sealed
    # What is set meanwhile counts from the next time on.
    assert site.gateway.show("listen-port") == "51820"
    gw.ip("link", "set", name, "up")
    lab.wait_for("the open port", listens)
    for address in site.TUNNEL_GW:
        gw.ip("addr", "replace", address, "dev", name, *(["nodad"] if ":" in address else []))
    for family, prefix in routes:
        gw.ip(family, "route", "replace", prefix, "dev", name)
    # The client does not know that its session is gone: the first packet is to be ours.
    reaches(lan, "10.9.0.2")
    connected(site)
    assert site.gateway.show("latest-handshakes") != handshake
    before = slow(site.gateway)
    assert site.ping_through()
    assert not risen(before, slow(site.gateway))


def test_addresses_change(site):
    """An address goes: its sessions move on; and comes back. Another one is spoken to at once."""
    gw, wan = site.topology.gw, site.topology.wan
    connected(site)

    def change():
        gw.ip("addr", "add", "192.0.2.33/24", "dev", "outer0")
    recovers(site, change, (wan, "10.1.0.2"), bound=50)
    speaks_to(site, "192.0.2.33:51820")
    gw.ip("addr", "del", "192.0.2.33/24", "dev", "outer0")
    # The gateway's own packets leave from an address that it still has; the client follows.
    # (One packet may still leave as before: the kernel's news has to reach the workers.)
    lab.wait_for("an answer", lambda: site.topology.lan.ping("10.9.0.2", count=1, deadline=1),
                 timeout=30)
    lab.wait_for("the client to follow", lambda: "192.0.2.1:" in site.client.show("endpoints"))
    assert wan.ping("10.1.0.2")


def test_route_through_a_router_behind_lan(site):
    """A network behind one router, then another: the fast path follows the host's routes."""
    topology = site.topology
    gw, lan, wan = topology.gw, topology.lan, topology.wan
    lan.ip("addr", "add", "10.1.0.3/24", "dev", "e0")
    for family, prefix in (("-4", "10.66.0.0/24"), ("-6", "fd66::/64")):
        wan.ip(family, "route", "add", prefix, "dev", site.client.name)
    for address in ("10.66.0.1/32", "fd66::1/128"):
        lan.set_up("lo", address)
    site.client.set("peer", site.public_key, "allowed-ips",
                    "10.1.0.0/24,10.9.0.0/24,fd01::/64,fd09::/64,10.66.0.0/24,fd66::/64")
    gw.ip("route", "add", "10.66.0.0/24", "via", "10.1.0.2")
    gw.ip("route", "add", "fd66::/64", "via", "fd01::2")
    connected(site)
    reaches(wan, "10.66.0.1", "fd66::1")
    before = slow(site.gateway)
    assert wan.ping("10.66.0.1", count=10) and wan.ping("fd66::1", count=10)
    assert not risen(before, slow(site.gateway))

    def change():
        gw.ip("route", "replace", "10.66.0.0/24", "via", "10.1.0.3")
    recovers(site, change, (wan, "10.66.0.1"), bound=20)
    # More specific routes and their end.
    gw.ip("route", "add", "unreachable", "10.66.0.1/32")
    lab.wait_for("unreachable", lambda: "From 10.9.0.1 " in ping(wan, "10.66.0.1", count=1,
                                                                 deadline=1))
    gw.ip("route", "del", "unreachable", "10.66.0.1/32")
    reaches(wan, "10.66.0.1")


@pytest.mark.parametrize("link", ["outer0", "inner0"])
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "silent"])
def test_neighbour_changes_its_address(site, link, announced):
    """Another MAC for the same IP address: announced by it, or found out by the gateway's host."""
    gw, wan, lan = site.topology.gw, site.topology.wan, site.topology.lan
    namespace, address = (wan, "192.0.2.2") if link == "outer0" else (lan, "10.1.0.2")
    # Doubts come soon, as after half a minute by default; probes follow each other quickly.
    for key, value in (("base_reachable_time_ms", 1000), ("delay_first_probe_time", 1),
                       ("retrans_time_ms", 100)):
        gw.sysctl(f"net.ipv4.neigh.{link}.{key}", value)
    gw.ip("neigh", "flush", "dev", link)  # what is known already keeps its time
    connected(site)
    namespace.sysctl("net.ipv4.conf.e0.arp_notify", 1 if announced else 0)

    def change():
        namespace.ip("link", "set", "e0", "down")
        namespace.ip("link", "set", "e0", "address", "02:00:00:00:77:77")
        namespace.ip("link", "set", "e0", "up")
        if namespace is lan:
            lan.ip("route", "replace", "default", "via", "10.1.0.1")
    source = lan if link == "outer0" else wan
    destination = "10.9.0.2" if link == "outer0" else "10.1.0.2"
    # Only from the gateway's side, so that the neighbour's own questions give nothing away: it
    # knows the gateway for good.
    macs = {entry["ifname"]: entry.get("address") for entry in gw.ip_json("link", "show")}
    gateway = "192.0.2.1" if link == "outer0" else "10.1.0.1"

    def change_quietly():
        change()
        namespace.ip("neigh", "replace", gateway, "lladdr", macs[link], "dev", "e0", "nud",
                     "permanent")
    # Nobody but the fast path uses it from here on: without its word the kernel would never ask.
    known = namespace.ip_json("link", "show", "dev", "e0")[0]["address"]
    gw.ip("neigh", "replace", address, "lladdr", known, "dev", link, "nud", "stale")
    change_quietly()
    reaches(source, destination, timeout=15)
    assert "02:00:00:00:77:77" in gw.ip("neigh", "show", address).stdout
    before = slow(site.gateway)
    assert source.ping(destination, count=10)
    assert not risen(before, slow(site.gateway))


def stacked(namespace, kind, link, *addresses):
    """An interface on another one, with addresses."""
    name = f"{link}.5"
    if kind == "bridge":
        made = namespace.ip("link", "add", "name", name, "type", "bridge", check=False)
        namespace.ip("addr", "flush", "dev", link)
        namespace.ip("link", "set", link, "master", name, check=False)
    else:
        made = namespace.ip("link", "add", "link", link, "name", name, "type", kind,
                            *(["id", "5"] if kind == "vlan" else []), check=False)
    if made.returncode != 0:
        pytest.skip(f"this kernel has no {kind}: {made.stderr.strip()}")
    namespace.run("ethtool", "-K", name, "tx", "off", check=False)
    namespace.set_up(name, *addresses)


@pytest.mark.parametrize("kind", ["vlan", "bridge", "macvlan"])
def test_interface_on_a_port(site, kind):
    """A client behind a VLAN of the outer link, or the like, connects: through the host."""
    topology = site.topology
    gw, wan = topology.gw, topology.wan
    stacked(gw, kind, "outer0", "203.0.113.1/24", "2001:db8:5::1/64")
    stacked(wan, kind, "e0", "203.0.113.2/24", "2001:db8:5::2/64")
    for outside in ("203.0.113.1:51820", "[2001:db8:5::1]:51820"):
        before = slow(site.gateway)
        site.client.set("peer", site.public_key, "endpoint", outside)
        reaches(wan, "10.1.0.2")
        assert site.ping_through()
        assert tcp(wan, topology.lan, "10.1.0.2") > 0.5
        assert "203.0.113.2" in site.gateway.show("endpoints") or "[" in outside
        # Messages to an address of the host's come in directly if their frames name the port.
        through = risen(before, slow(site.gateway))
        assert through[f"{site.gateway.name} socket_tx_packets"] > 10


# --- wg-quick ---


@pytest.fixture
def quick(topology):
    """wg-quick in the gateway's namespace, with a client outside; ends what it started."""
    made = Quick(topology)
    yield made
    made.close()


class Quick:
    WRAPPER = os.path.join(lab.ROOT, "scripts/wg-quick-dpdk")

    def __init__(self, topology):
        self.topology = topology
        self.name = f"{topology.short}q"
        self.private_key, self.public_key = lab.keypair()
        self.client = lab.WireguardGo(topology.wan, "cl")
        self.config = os.path.join(topology.dir, f"{self.name}.conf")
        self.write(self.config, f"""[Interface]
PrivateKey = {self.private_key}
ListenPort = 51820
Address = 10.9.0.1/24, fd09::1/64
PostUp = ip addr add 192.0.2.1/24 dev outer0
PostUp = ip link set outer0 up
PostUp = ip addr add 10.1.0.1/24 dev inner0
PostUp = ip link set inner0 up

[Peer]
PublicKey = {self.client.public_key}
AllowedIPs = 10.9.0.2/32, fd09::2/128, 10.77.0.0/16
""")
        self.write(os.path.join(topology.dir, "wg-quick.env"), f"""# for all interfaces
EAL_OPTIONS=--no-pci --no-huge -m 256 --file-prefix {topology.prefix}-quick --lcores 0@0,1@1 \
--vdev net_af_packet0,iface=v_out --vdev net_af_packet1,iface=v_in
OPTIONS=--outer net_af_packet0 --inner net_af_packet1
""")

    @staticmethod
    def write(path, text):
        with open(path, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)

    def run(self, verb, check=True):
        return self.topology.gw.run("env", f"WG_QUICK_USERSPACE_IMPLEMENTATION={self.WRAPPER}",
                                    f"DPDK_WG={os.path.join(lab.build_dir(), 'app/dpdk-wg')}",
                                    f"DPDK_WG_ETC={self.topology.dir}",
                                    "wg-quick", verb, self.config, check=check)

    def pid(self):
        with open(f"/run/dpdk-wg/{self.name}.pid", encoding="utf-8") as file:
            return int(file.read())

    def runs(self):
        return os.path.exists(f"/proc/{self.pid()}")

    def log(self):
        with open(f"/run/dpdk-wg/{self.name}.log", encoding="utf-8") as file:
            return file.read()

    def links(self):
        return {link["ifname"] for link in self.topology.gw.ip_json("link", "show")}

    def close(self):
        if os.path.exists(f"/run/dpdk-wg/{self.name}.pid"):
            if self.runs():
                os.kill(self.pid(), 15)
            for kind in ("pid", "log"):
                os.remove(f"/run/dpdk-wg/{self.name}.{kind}")


def test_wg_quick(quick):
    """Up, down, and up again: addresses, routes and traffic as with the kernel's WireGuard."""
    topology = quick.topology
    for _ in range(2):
        quick.run("up")
        assert quick.name in quick.links()
        assert topology.gw.ip_json("route", "show", "10.77.0.0/16")[0]["dev"] == quick.name
        quick.client.set_private_key("peer", quick.public_key, "endpoint", "192.0.2.1:51820",
                                     "allowed-ips", "10.1.0.0/24,10.9.0.0/24,fd09::/64")
        topology.wan.set_up(quick.client.name, "10.9.0.2/32", "fd09::2/128", mtu=1420)
        for prefix in ("10.1.0.0/24", "10.9.0.0/24", "fd09::/64"):
            topology.wan.ip("route", "replace", prefix, "dev", quick.client.name)
        reaches(topology.wan, "10.1.0.2", "10.9.0.1", "fd09::1")
        reaches(topology.lan, "10.9.0.2")
        quick.run("down")
        lab.wait_for("the program's end", lambda: not quick.runs())
        assert not quick.links() & {"outer0", "inner0", quick.name}, quick.log()
        assert not os.path.exists(f"{lab.SOCKETS}/{quick.name}.sock")
        ours = [line for line in quick.log().splitlines() if line.startswith("dpdk-wg: ")]
        assert "removed from the host" in ours[-2] and "ending" in ours[-1], ours


def test_wg_quick_says_what_failed(quick):
    quick.topology.gw.ip("link", "set", "v_in", "down")
    quick.topology.gw.ip("link", "del", "v_in")
    done = quick.run("up", check=False)
    assert done.returncode != 0 and "dpdk-wg did not start" in done.stderr, done
    assert quick.name not in quick.links()


# --- Several interfaces, several ports ---


class Pair:
    """
    A WireGuard interface of a gateway for one client: keys, file, and the client's set-up. The
    client has tunnel address 10.N.0.2 and fdN::2, the gateway .1 and ::1. Further allowed IPs, and a Table.
    """

    def __init__(self, topology, number, namespace, outside, reached, allowed=(), table="auto"):
        self.topology, self.number, self.namespace = topology, number, namespace
        self.outside, self.reached = outside, [f"10.{number}.0.0/24", f"fd{number}::/64", *reached]
        self.name = f"{topology.short}g{number}"
        self.private_key, self.public_key = lab.keypair()
        self.client = lab.WireguardGo(namespace, f"c{number}")
        self.config = os.path.join(topology.dir, f"{self.name}.conf")
        Quick.write(self.config, f"""[Interface]
PrivateKey = {self.private_key}
ListenPort = {outside.rsplit(":", 1)[1]}
Address = 10.{number}.0.1/24, fd{number}::1/64
Table = {table}

[Peer]
PublicKey = {self.client.public_key}
AllowedIPs = {", ".join([f"10.{number}.0.2/32", f"fd{number}::2/128", *allowed])}
""")

    def connect(self):
        self.client.set_private_key("peer", self.public_key, "endpoint", self.outside,
                                    "allowed-ips", ",".join(self.reached))
        self.namespace.set_up(self.client.name, f"10.{self.number}.0.2/32",
                              f"fd{self.number}::2/128", mtu=1420)
        for prefix in self.reached:
            self.namespace.ip("route", "replace", prefix, "dev", self.client.name)


def start_with(topology, pairs, outer, inner):
    """A gateway with these interfaces and ports."""
    options = [word for pair in pairs[1:] for word in ("--config", pair.config)]
    with open(pairs[0].config, encoding="utf-8") as file:
        return lab.Gateway(topology.gw, outer, inner, name=pairs[0].name, config=file.read(),
                           options=options)


def test_several_interfaces_and_ports(topology):
    """Two of everything: each interface has its port, key and table, and routes join them."""
    gw, wan, lan = topology.gw, topology.wan, topology.lan
    far, back = topology.namespace("far"), topology.namespace("back")
    for other, port, address in ((far, "v_out2", "198.51.100.2/24"), (back, "v_in2", "10.2.0.2/24")):
        topology.link(other, "e0", gw, port)
        topology.port(gw, port)
        other.set_up("e0", address)
    back.ip("route", "add", "default", "via", "10.2.0.1")
    nets = ["10.1.0.0/24", "10.2.0.0/24", "fd01::/64"]
    one = Pair(topology, 11, wan, "192.0.2.1:51820", [*nets, "10.12.0.0/24", "fd12::/64"])
    two = Pair(topology, 12, far, "198.51.100.1:51821", [*nets, "10.11.0.0/24", "fd11::/64"])
    gateway = start_with(topology, [one, two], ["v_out", "v_out2"], ["v_in", "v_in2"])
    topology.address_gateway()
    gw.set_up("outer1", "198.51.100.1/24")
    gw.set_up("inner1", "10.2.0.1/24")
    one.connect()
    two.connect()
    ways = ((wan, "10.1.0.2"), (wan, "10.2.0.2"), (far, "10.1.0.2"), (far, "10.2.0.2"),
            (lan, "10.11.0.2"), (back, "10.12.0.2"), (wan, "10.12.0.2"), (far, "10.11.0.2"),
            (wan, "fd12::2"), (far, "fd01::2"))
    for source, address in ways:
        reaches(source, address)
    before = slow(gateway, one.name, two.name)
    for source, address in ways:
        assert source.ping(address), (source.name, address)
    assert tcp(wan, far, "10.12.0.2") > 1
    assert not risen(before, slow(gateway, one.name, two.name))
    # Each listens for itself: the other's key and port are nobody's.
    assert lab.run("wg", "show", one.name, "listen-port").stdout.strip() == "51820"
    assert lab.run("wg", "show", two.name, "listen-port").stdout.strip() == "51821"
    assert two.client.public_key not in gateway.show("peers")
    # One is deleted: the other does not notice.
    stream = Stream(far, "10.1.0.2")
    gw.ip("link", "del", one.name)
    lab.wait_for("its end", lambda: not os.path.exists(f"{lab.SOCKETS}/{one.name}.sock"))
    assert stream.lost() == 0
    assert not wan.ping("10.1.0.2", count=1, deadline=1)
    assert gateway.process.poll() is None
    gw.ip("link", "del", two.name)
    assert gateway.process.wait(10) == 0


def test_one_armed(topology):
    """One port for both sides: sealed and plain packets of one link."""
    gw, wan = topology.gw, topology.wan
    pair = Pair(topology, 11, wan, "192.0.2.1:51820", ["10.1.0.0/24"])
    gateway = start_with(topology, [pair], ["v_out"], ["v_out"])
    gw.set_up("outer0", *topology.GW_OUTER, "10.1.0.1/24")
    # A server on the same link as the client: another host behind a bridge of the wan's.
    server = topology.namespace("server")
    topology.link(server, "e0", wan, "e2")
    server.set_up("e0", "10.1.0.2/24")
    server.ip("route", "add", "default", "via", "10.1.0.1")
    wan.ip("addr", "flush", "dev", "e0")
    wan.ip("link", "add", "name", "br0", "type", "bridge")
    for link in ("e0", "e2"):
        wan.ip("link", "set", link, "master", "br0", "up")
    wan.set_up("br0", *topology.WAN)
    wan.run("ethtool", "-K", "br0", "tx", "off", check=False)
    pair.connect()
    reaches(wan, "10.1.0.2", "10.11.0.1")
    reaches(server, "10.11.0.2")
    before = slow(gateway)
    assert wan.ping("10.1.0.2", count=10) and server.ping("10.11.0.2", count=10)
    assert tcp(wan, server, "10.1.0.2") > 1
    assert not risen(before, slow(gateway))
    assert gateway.stop() == 0


def test_without_inner_ports(topology):
    """Plain traffic is the host's own, both ways, also to networks that the host reaches itself."""
    gw, wan, lan = topology.gw, topology.wan, topology.lan
    pair = Pair(topology, 11, wan, "192.0.2.1:51820", ["10.1.0.0/24"])
    gateway = start_with(topology, [pair], ["v_out"], [])
    gw.set_up("outer0", *topology.GW_OUTER)
    gw.ip("link", "set", "v_in", "arp", "on")
    gw.set_up("v_in", "10.1.0.1/24")
    pair.connect()
    reaches(wan, "10.11.0.1", "fd11::1", "10.1.0.2")
    reaches(gw, "10.11.0.2", "fd11::2")
    assert tcp(wan, gw, "10.11.0.1") > 1 and tcp(gw, wan, "10.11.0.2") > 1
    assert tcp(lan, wan, "10.11.0.2") > 1 and tcp(wan, lan, "10.1.0.2") > 1
    assert gateway.stop() == 0
