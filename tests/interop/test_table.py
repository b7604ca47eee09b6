# SPDX-License-Identifier: BSD-3-Clause
"""
Routes in other tables than main, and policy rules: `Table` of the config file, and that nothing is
forwarded by the main table where the kernel would ask another one.
"""
import os

import lab
import pytest
from test_host import Pair, Stream, ping, reaches, risen, slow, snmp, start_with
from test_routing import goes_fast, unreachable

TABLE = "1234"
# Prefixes of the client's that no address of the gateway's covers, and an address in each.
BEHIND = {"-4": ("10.44.0.0/24", "10.44.0.1"), "-6": ("fd44::/64", "fd44::1")}
MORE = {"-4": "10.45.0.0/24", "-6": "fd45::/64"}
LAN = {"-4": ("10.1.0.2", "10.1.0.0/24"), "-6": ("fd01::2", "fd01::/64")}
# A neighbour of the outer side that nobody is.
ASTRAY = {"-4": "192.0.2.77", "-6": "2001:db8:1::77"}
DEFAULT = {"-4": "0.0.0.0/0", "-6": "::/0"}
PREFIXES = ", ".join(prefix for prefix, _ in BEHIND.values())


def routes(site, family, table="main"):
    """Destinations that lead into the tunnel, but for those of its addresses."""
    shown = site.topology.gw.run("ip", family, "-o", "route", "show", "table", table, "dev",
                                 site.gateway.name, check=False).stdout
    return {line.split()[0] for line in shown.splitlines() if "proto kernel" not in line}


def rules_of(namespace, family):
    return namespace.ip(family, "rule").stdout


def rules(site, family):
    return rules_of(site.topology.gw, family)


def tables_site(make_site, table, more=""):
    """A gateway with this Table, and a client with a network behind it."""
    site = make_site(interface=f"Table = {table}", extra=f"AllowedIPs = {PREFIXES}{more}")
    for family, (prefix, address) in BEHIND.items():
        site.topology.wan.ip("addr", "add", f"{address}/{prefix.split('/')[1]}", "dev", "lo",
                             *(["nodad"] if family == "-6" else []))
    return site


def test_table_number(make_site):
    """All routes are in the table, a default one too; they count when a rule says so, and only then."""
    site = tables_site(make_site, TABLE, f", {', '.join(DEFAULT.values())}")
    gw, lan = site.topology.gw, site.topology.lan
    assert site.ping_through()
    for family, (prefix, address) in BEHIND.items():
        assert {prefix, "default"} <= routes(site, family, TABLE)
        assert not routes(site, family), "in the main table"
        assert len(rules(site, family).splitlines()) == (3 if family == "-4" else 2)
        assert goes_fast(site, LAN[family][0])
        gw.ip("neigh", "replace", ASTRAY[family], "lladdr", "02:00:00:00:77:77", "dev", "outer0",
              "nud", "permanent")
        gw.ip(family, "route", "add", prefix, "via", ASTRAY[family])
        assert not lan.ping(address, count=1, deadline=1)
        gw.ip(family, "rule", "add", "to", prefix, "lookup", TABLE)
        lab.wait_for("the rule to count", lambda a=address: lan.ping(a, count=1, deadline=1))
        # Whatever else is forwarded is the kernel's to judge now.
        assert site.ping_through()
        assert not goes_fast(site, LAN[family][0])
        gw.ip(family, "rule", "del", "to", prefix, "lookup", TABLE)
        lab.wait_for("the fast path", lambda f=family: goes_fast(site, LAN[f][0]))
        assert not lan.ping(address, count=1, deadline=1)


def test_table_follows_the_allowed_ips(make_site):
    site = tables_site(make_site, TABLE)
    own = f"10.9.0.2/32,fd09::2/128,{PREFIXES.replace(' ', '')}"
    site.gateway.set("peer", site.client.public_key, "allowed-ips",
                     f"{own},{','.join(MORE.values())}")
    for family, prefix in MORE.items():
        lab.wait_for("the new route", lambda f=family, p=prefix: p in routes(site, f, TABLE))
        assert not routes(site, family)
    site.gateway.set("peer", site.client.public_key, "allowed-ips", own)
    for family, prefix in MORE.items():
        lab.wait_for("its end", lambda f=family, p=prefix: p not in routes(site, f, TABLE))
        assert BEHIND[family][0] in routes(site, family, TABLE)


def test_table_off(make_site):
    """No route is made, at the start or later; one made by hand is as good as any."""
    site = tables_site(make_site, "off")
    site.gateway.set("peer", site.client.public_key, "allowed-ips",
                     f"10.9.0.2/32,fd09::2/128,{PREFIXES.replace(' ', '')},"
                     f"{','.join(MORE.values())}")
    assert site.ping_through()
    for family, (prefix, address) in BEHIND.items():
        assert not routes(site, family, "all")
        assert not site.topology.lan.ping(address, count=1, deadline=1)
        site.topology.gw.ip(family, "route", "add", prefix, "dev", site.gateway.name)
        lab.wait_for("the route", lambda a=address: site.topology.lan.ping(a, count=1, deadline=1))
        assert goes_fast(site, LAN[family][0])


def test_rule_by_source(site):
    """A rule for what the client sends: its table's answer counts, not main's."""
    gw = site.topology.gw
    assert site.ping_through()
    for family, source in (("-4", "10.9.0.2"), ("-6", "fd09::2")):
        address, network = LAN[family]
        assert goes_fast(site, address)
        gw.ip(family, "route", "add", "unreachable", network, "table", TABLE)
        gw.ip(family, "rule", "add", "from", source, "lookup", TABLE)
        lab.wait_for("the rule to count", lambda a=address: unreachable(site, a))
        assert not site.topology.wan.ping(address, count=3, deadline=1)
        gw.ip(family, "rule", "del", "from", source, "lookup", TABLE)
        lab.wait_for("the fast path", lambda a=address: goes_fast(site, a))


# --- Several interfaces ---

TABLES = ("1234", "1235")
SRC_VALID_MARK = "net.ipv4.conf.all.src_valid_mark"


class Two:
    """
    Two interfaces in one gateway, on a port each, with a client each: wan's and far's. Both own the same
    prefixes, in which both clients have the same address, so that it is the table that tells them apart.
    """

    def __init__(self, topology, allowed, tables):
        self.topology, self.gw, self.lan = topology, topology.gw, topology.lan
        self.far = topology.namespace("far")
        topology.link(self.far, "e0", self.gw, "v_out2")
        topology.port(self.gw, "v_out2")
        self.far.set_up("e0", "198.51.100.2/24")
        nets = ["10.1.0.0/24", "fd01::/64"]
        self.pairs = [
            Pair(topology, 11, topology.wan, "192.0.2.1:51820",
                 [*nets, "10.12.0.0/24", "fd12::/64"], allowed, tables[0]),
            Pair(topology, 12, self.far, "198.51.100.1:51821",
                 [*nets, "10.11.0.0/24", "fd11::/64"], allowed, tables[1])]
        self.gateway = start_with(topology, self.pairs, ["v_out", "v_out2"], ["v_in"])
        topology.address_gateway()
        self.gw.set_up("outer1", "198.51.100.1/24")
        for pair in self.pairs:
            pair.connect()
            for prefix, address in BEHIND.values():
                pair.namespace.set_up("lo", f"{address}/{128 if ':' in address else 32}")
            # From either side of the tunnel: the client, and lan behind the gateway.
            reaches(pair.namespace, "10.1.0.2", "fd01::2")
            reaches(self.lan, f"10.{pair.number}.0.2", f"fd{pair.number}::2")

    def routes(self, pair, family, table="all"):
        """Where to, of a table's routes into the tunnel, without those that the kernel makes."""
        return {route["dst"] for route in self.gw.ip_json(family, "route", "show", "table", table)
                if route.get("dev") == pair.name and route.get("protocol") != "kernel"}

    def own_rules(self, family):
        return [rule["priority"] for rule in self.gw.ip_json(family, "rule", "show")
                if rule.get("protocol") in ("87", "88", 87, 88)]

    def answered_by(self, source, family):
        """Whose client pings of the address that both have come to; None: not there and back, or to both."""
        counter = "IcmpInEchos" if family == "-4" else "Icmp6InEchos"
        before = [snmp(pair.namespace, counter) for pair in self.pairs]
        whole = source.ping(BEHIND[family][1])
        heard = [pair for pair, count in zip(self.pairs, before)
                 if snmp(pair.namespace, counter) > count]
        return heard[0] if whole and len(heard) == 1 else None

    def leads_to(self, pair, source, family):
        lab.wait_for(f"{source.name} to reach {pair.name}",
                     lambda: self.answered_by(source, family) is pair, timeout=20)

    def fast_to(self, pair, family):
        """From lan to the client, and by the workers alone there and back."""
        self.leads_to(pair, self.lan, family)

        def without_the_host():
            names = (*(p.name for p in self.pairs if p.name in self.links()), "inner0")
            before = slow(self.gateway, *names)
            for _ in range(4):
                assert self.answered_by(self.lan, family) is pair
            return not risen(before, slow(self.gateway, *names))
        lab.wait_for("the fast path", without_the_host, timeout=20)

    def links(self):
        return {link["ifname"] for link in self.gw.ip_json("link", "show")}

    def state(self, pair):
        """What must not change with another interface's end."""
        return [lab.run("wg", "show", pair.name, what).stdout
                for what in ("public-key", "listen-port", "fwmark", "peers", "allowed-ips", "endpoints",
                             "latest-handshakes")] + \
            [sorted(self.routes(pair, family)) for family in BEHIND]

    def end(self, pair, stays):
        """Deletes an interface: its peers, port and routes go, and the other's client notices nothing."""
        before, stream = self.state(stays), Stream(stays.namespace, "10.1.0.2")
        self.gw.ip("link", "del", pair.name)
        lab.wait_for("its end", lambda: not os.path.exists(f"{lab.SOCKETS}/{pair.name}.sock"))
        lab.wait_for("its peer's end", lambda: self.gateway.telemetry("/wg/info")["peers"] == 1)
        assert not self.gw.run("ss", "-Hlun", f"sport = :{pair.outside.rsplit(':', 1)[1]}").stdout
        assert stream.lost() == 0
        assert self.state(stays) == before
        assert not pair.namespace.ping("10.1.0.2", count=1, deadline=1)


def test_tables_of_several_interfaces(topology):
    """
    Each interface's routes are in its own table, also those of the same prefixes. Which tunnel a packet of
    lan's takes is main's to say while there are no rules, on the fast path, and a rule's after that; so is
    where a client gets. With an interface its own routes go, and nothing of the other's.
    """
    two = Two(topology, [prefix for prefix, _ in BEHIND.values()], TABLES)
    one, other = two.pairs
    gw, lan = two.gw, two.lan
    for family, (prefix, _) in BEHIND.items():
        address, network = LAN[family]
        for pair, table in zip(two.pairs, TABLES):
            single = f"10.{pair.number}.0.2" if family == "-4" else f"fd{pair.number}::2"
            assert two.routes(pair, family, table) == two.routes(pair, family) == {prefix, single}
        assert not two.own_rules(family)
        for pair in two.pairs:  # by hand
            gw.ip(family, "route", "replace", prefix, "dev", pair.name)
            two.fast_to(pair, family)
        # Main says the second, the first one's table says the first.
        for rule in (["to", prefix], ["from", address], ["iif", "inner0"]):
            gw.ip(family, "rule", "add", *rule, "lookup", TABLES[0])
            two.leads_to(one, lan, family)
            two.leads_to(one if rule[0] == "to" else other, gw, family)
            gw.ip(family, "rule", "del", *rule, "lookup", TABLES[0])
            two.leads_to(other, lan, family)
        # What one of the clients sends.
        gw.ip(family, "route", "add", "unreachable", network, "table", TABLES[0])
        gw.ip(family, "rule", "add", "iif", one.name, "lookup", TABLES[0])
        lab.wait_for("the rule to count", lambda a=address: "nreachable" in ping(
            one.namespace, a, count=1, deadline=1))
        assert two.far.ping(address)
        gw.ip(family, "rule", "del", "iif", one.name, "lookup", TABLES[0])
        gw.ip(family, "route", "del", "unreachable", network, "table", TABLES[0])
        reaches(one.namespace, address)
        gw.ip(family, "rule", "add", "to", prefix, "lookup", TABLES[0])
        two.leads_to(one, lan, family)
    two.end(one, other)
    for family, (prefix, _) in BEHIND.items():
        assert not gw.ip_json(family, "route", "show", "table", TABLES[0])
        assert f"to {prefix} lookup {TABLES[0]}" in rules_of(gw, family), "the operator's own rule"
        two.leads_to(other, lan, family)
        gw.ip(family, "rule", "del", "to", prefix, "lookup", TABLES[0])
        two.fast_to(other, family)
    assert two.gateway.stop() == 0


@pytest.mark.parametrize("first", [0, 1], ids=["earlier", "later"])
def test_default_routes_of_several_interfaces(topology, first):
    """
    Two default routes: that of the later interface counts, on the fast path. Whichever ends first, the
    other's rules, table and setting stay, and its default route counts then.
    """
    two = Two(topology, DEFAULT.values(), ("auto", "auto"))
    gw, ended, stays = two.gw, two.pairs[first], two.pairs[1 - first]

    def valid_mark():
        return gw.run("sysctl", "-n", SRC_VALID_MARK).stdout.strip()
    marks = [lab.run("wg", "show", pair.name, "fwmark").stdout.strip() for pair in two.pairs]
    tables = [str(int(mark, 16)) for mark in marks]
    assert len(set(tables)) == 2 and valid_mark() == "1"
    for family in DEFAULT:
        assert len(two.own_rules(family)) == 4
        for pair, table in zip(two.pairs, tables):
            assert two.routes(pair, family, table) == {"default"}
        two.fast_to(two.pairs[1], family)
    two.end(ended, stays)
    assert valid_mark() == "1"
    for family in DEFAULT:
        left = rules_of(gw, family)
        assert len(two.own_rules(family)) == 2
        assert marks[1 - first] in left and marks[first] not in left
        two.fast_to(stays, family)
    gw.ip("link", "del", stays.name)
    assert two.gateway.process.wait(10) == 0
    assert valid_mark() == "0"
    assert not any(two.own_rules(family) for family in DEFAULT)
