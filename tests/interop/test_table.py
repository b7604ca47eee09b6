# SPDX-License-Identifier: BSD-3-Clause
"""
Routes in other tables than main, and policy rules: `Table` of the config file, and that nothing is
forwarded by the main table where the kernel would ask another one.
"""
import lab
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


def rules(site, family):
    return site.topology.gw.ip(family, "rule").stdout


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
