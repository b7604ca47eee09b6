# SPDX-License-Identifier: BSD-3-Clause
"""The configuration changes while the program runs; sockets, routes and endpoints follow."""
import base64
import os
import time

import lab


def routes(site, prefix):
    return site.topology.gw.ip_json("route", "show", prefix)


def test_listen_port(site):
    """Sealed packets leave from the new port at once, and the client follows."""
    assert site.ping_through()
    site.gateway.set("listen-port", 51999)
    assert site.topology.lan.ping("10.9.0.2")
    assert site.client.show("endpoints").endswith(":51999")
    assert site.ping_through()


def test_listen_port_that_is_taken(site):
    gw = site.topology.gw
    assert site.ping_through()
    holder = gw.start("python3", "-c", "import socket, time\n"
                      "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                      "s.bind(('', 51999))\ntime.sleep(60)", log="holder")
    lab.wait_for("the port", lambda: gw.run("ss", "-Hlun", "sport = :51999").stdout)
    refused = lab.run("wg", "set", site.gateway.name, "listen-port", 51999, check=False)
    assert "in use" in refused.stderr
    assert site.gateway.show("listen-port") == "51820"
    assert site.ping_through()
    site.topology.stop(holder)


def test_routes_follow_the_last_owner(site):
    """Whatever the order within one request: a route for what is owned at its end, no other."""
    first, second = lab.keypair()[1], lab.keypair()[1]
    gateway = site.gateway
    gateway.set("peer", first, "allowed-ips", "10.60.0.0/24")
    assert routes(site, "10.60.0.0/24")
    gateway.set("peer", first, "remove", "peer", second, "allowed-ips", "10.60.0.0/24")
    assert routes(site, "10.60.0.0/24")
    gateway.set("peer", first, "allowed-ips", "10.60.0.0/24", "peer", first, "remove")
    assert not routes(site, "10.60.0.0/24")
    gateway.set("peer", second, "allowed-ips", "10.61.0.0/24", "peer", second, "remove")
    assert not routes(site, "10.61.0.0/24")


def test_one_route_that_is_there_already(site):
    """It is told, and holds up no other."""
    site.topology.gw.ip("route", "add", "10.60.1.0/24", "dev", "inner0")
    site.gateway.set("peer", lab.keypair()[1], "allowed-ips",
                     "10.60.0.0/24,10.60.1.0/24,10.60.2.0/24")
    assert routes(site, "10.60.0.0/24")[0]["dev"] == site.gateway.name
    assert routes(site, "10.60.1.0/24")[0]["dev"] == "inner0"
    assert routes(site, "10.60.2.0/24")[0]["dev"] == site.gateway.name
    assert "10.60.1.0/24" in site.gateway.tail()


def test_addresses_changed_by_hand(site):
    """What they cover needs no route, and what they covered gets one when they go."""
    gw, gateway = site.topology.gw, site.gateway
    gateway.set("peer", lab.keypair()[1], "allowed-ips", "10.9.0.98/32,fd09::98/128")
    assert not routes(site, "10.9.0.98/32")
    gw.ip("addr", "add", "10.9.0.1/28", "dev", gateway.name)
    gw.ip("addr", "del", "10.9.0.1/24", "dev", gateway.name)
    gw.ip("addr", "del", "fd09::1/64", "dev", gateway.name)
    lab.wait_for("the route of what it covered", lambda: routes(site, "10.9.0.98/32"))
    lab.wait_for("that of IPv6", lambda: gw.ip_json("-6", "route", "show", "fd09::98/128"))
    assert not routes(site, "10.9.0.2/32"), "covered by the other address still"
    gateway.set("peer", lab.keypair()[1], "allowed-ips", "10.9.0.99/32,10.9.0.3/32,fd09::99/128")
    assert routes(site, "10.9.0.99/32") and not routes(site, "10.9.0.3/32")
    assert gw.ip_json("-6", "route", "show", "fd09::99/128")
    # A network that came with an address has its route: nothing to complain of.
    gw.ip("addr", "add", "10.60.0.1/24", "dev", gateway.name)
    gw.ip("route", "add", "10.61.0.0/24", "dev", gateway.name)
    gateway.set("peer", lab.keypair()[1], "allowed-ips", "10.60.0.0/24,10.61.0.0/24,10.62.0.0/24")
    assert routes(site, "10.62.0.0/24")
    assert "has one already" not in gateway.tail()


def own_routes(site):
    """What was made for allowed IPs."""
    return {(route["dst"], route.get("table")) for family in ("-4", "-6")
            for route in site.topology.gw.ip_json(family, "route", "show", "dev", site.gateway.name,
                                                  "table", "all", "proto", "boot")}


def test_routes_come_back_with_the_link(site):
    """Those of the file's peers, those that came later, and the default route, once each."""
    gw, gateway = site.topology.gw, site.gateway
    other = lab.keypair()[1]
    assert site.ping_through()
    gateway.set("peer", other, "allowed-ips", "10.60.0.0/24,fd60::/48,0.0.0.0/0,::/0")
    rules = [gw.ip(family, "rule").stdout for family in ("-4", "-6")]
    before = own_routes(site)
    assert {dst for dst, _ in before} == {"10.60.0.0/24", "fd60::/48", "default"}
    gw.ip("link", "set", gateway.name, "down")
    assert not own_routes(site)
    gw.ip("link", "set", gateway.name, "up")
    # The kernel takes IPv6 addresses along, so that nothing covers fd09::2 any more.
    expected = before | {("fd09::2", None)}
    lab.wait_for("the routes", lambda: own_routes(site) == expected)
    assert rules == [gw.ip(family, "rule").stdout for family in ("-4", "-6")]
    lab.wait_for("the tunnel", lambda: site.topology.lan.ping("10.9.0.2", count=1, deadline=1))
    # What goes while it is down does not come back, and neither do its rules.
    gw.ip("link", "set", gateway.name, "down")
    gateway.set("peer", other, "remove")
    gw.ip("link", "set", gateway.name, "up")
    lab.wait_for("the routes", lambda: own_routes(site) == {("fd09::2", None)})
    assert "fwmark" not in gw.ip("rule").stdout


def test_thousand_peers_while_the_link_is_down(site):
    """Not a line for each, and all routes when it is up."""
    gw, gateway = site.topology.gw, site.gateway
    path = os.path.join(site.topology.dir, "many.conf")
    own = lab.run("wg", "showconf", gateway.name).stdout
    expected = {(f"10.64.{n // 256}.{n % 256}", None) for n in range(1000)}
    expected |= {(f"fd64:{n + 1:x}::/64", None) for n in range(1000)} | {("fd09::2", None)}
    with open(path, "w", encoding="utf-8") as file:
        file.write(own)
        for n in range(1000):
            key = base64.b64encode(n.to_bytes(32, "big")).decode()
            file.write(f"[Peer]\nPublicKey = {key}\n"
                       f"AllowedIPs = 10.64.{n // 256}.{n % 256}/32, fd64:{n + 1:x}::/64\n")
    gw.ip("link", "set", gateway.name, "down")
    lab.run("wg", "setconf", gateway.name, path)
    assert "route to" not in gateway.tail(5000)
    gw.ip("link", "set", gateway.name, "up")
    lab.wait_for("all routes", lambda: own_routes(site) == expected)
    assert "route to" not in gateway.tail(5000)


def test_ipv6_that_is_off_is_told_once(site):
    """Not for each prefix, nor when the addresses go that covered some; and IPv4 goes on."""
    gw, gateway = site.topology.gw, site.gateway
    lines = f"{gateway.name}: route to "
    gw.sysctl(f"net.ipv6.conf.{gateway.name}.disable_ipv6", 1)
    lab.wait_for("the line", lambda: f"{lines}fd09::2/128: IPv6 is off on" in gateway.tail())
    gateway.set("peer", lab.keypair()[1], "allowed-ips",
                "fd61::/48,10.60.0.0/24,fd60::/48,fd62::/48,10.61.0.0/24")
    assert routes(site, "10.60.0.0/24") and routes(site, "10.61.0.0/24")
    assert gateway.tail().count(f"{lines}fd6") == 1
    assert gateway.tail().count(lines) == gateway.tail().count("IPv6 is off on")
    # As the manual has it.
    gw.sysctl(f"net.ipv6.conf.{gateway.name}.disable_ipv6", 0)
    gw.ip("link", "set", gateway.name, "down")
    gw.ip("link", "set", gateway.name, "up")
    lab.wait_for("IPv6 routes", lambda: gw.ip_json("-6", "route", "show", "fd62::/48"))


def test_mark_of_the_default_route(site):
    """
    It stays through a syncconf without FwMark, which asks for none, goes with the default route, and
    yields to the operator's, which stays.
    """
    gateway = site.gateway
    other = lab.keypair()[1]
    before = lab.run("wg", "showconf", gateway.name).stdout
    assert gateway.show("fwmark") == "off"
    gateway.set("peer", other, "allowed-ips", "0.0.0.0/0")
    mark = gateway.show("fwmark")
    assert mark != "off"
    path = os.path.join(site.topology.dir, "sync.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}\n[Peer]\nPublicKey = {other}\nAllowedIPs = 0.0.0.0/0\n")
    lab.run("wg", "syncconf", gateway.name, path)
    assert gateway.show("fwmark") == mark
    assert f"its sockets have the mark {mark} while" in gateway.tail()
    with open(path, "w", encoding="utf-8") as file:
        file.write(before)
    lab.run("wg", "syncconf", gateway.name, path)
    assert gateway.show("fwmark") == "off"
    gateway.set("peer", other, "allowed-ips", "0.0.0.0/0")
    assert gateway.show("fwmark") == mark
    gateway.set("fwmark", "0x77")
    gateway.set("peer", other, "allowed-ips", "0.0.0.0/0,10.60.0.0/24")
    assert gateway.show("fwmark") == "0x77"
    gateway.set("peer", other, "allowed-ips", "")
    assert gateway.show("fwmark") == "0x77"
    gateway.set("fwmark", "off")
    assert gateway.show("fwmark") == "off"


def test_default_route_behind_the_operators_mark(site):
    """What the sockets are marked with keeps sealed packets out of the tunnel."""
    gateway = site.gateway
    gateway.set("fwmark", "0x77")
    gateway.set("peer", lab.keypair()[1], "allowed-ips", "0.0.0.0/0")
    assert gateway.show("fwmark") == "0x77"
    assert "not from all fwmark 0x77 lookup 119" in site.topology.gw.ip("rule").stdout
    assert gateway.name in site.topology.gw.ip("route", "get", "8.8.8.8").stdout
    marked = site.topology.gw.ip("route", "get", "8.8.8.8", "mark", "0x77", check=False)
    assert gateway.name not in marked.stdout


def test_interface_without_a_file(topology):
    """Bare and down, as a new one of the kernel's; set up with wg and ip."""
    client = lab.WireguardGo(topology.wan, "cl")
    private, public = lab.keypair()
    gateway = lab.Gateway(topology.gw, ["v_out"], ["v_in"])
    topology.address_gateway()
    link = topology.gw.ip_json("link", "show", gateway.name)[0]
    assert "UP" not in link["flags"] and link["mtu"] == 1420
    path = os.path.join(topology.dir, "set.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"[Interface]\nPrivateKey = {private}\nListenPort = 51820\n"
                   f"[Peer]\nPublicKey = {client.public_key}\nAllowedIPs = 10.9.0.2/32\n")
    lab.run("wg", "setconf", gateway.name, path)
    topology.gw.set_up(gateway.name, "10.9.0.1/24")
    client.set_private_key("peer", public, "endpoint", "192.0.2.1:51820", "allowed-ips",
                           "10.1.0.0/24,10.9.0.0/24")
    topology.wan.set_up(client.name, "10.9.0.2/24", mtu=1420)
    topology.wan.ip("route", "add", "10.1.0.0/24", "dev", client.name)
    assert topology.wan.ping("10.9.0.1")
    assert topology.wan.ping("10.1.0.2")
    assert topology.lan.ping("10.9.0.2")


def test_pages_of_peers(site):
    """/wg/peers names every peer once, page after page, and any page out of turn."""
    gateway = site.gateway
    path = os.path.join(site.topology.dir, "many.conf")
    with open(path, "w", encoding="utf-8") as file:
        for n in range(600):
            key = base64.b64encode(n.to_bytes(32, "big")).decode()
            file.write(f"[Peer]\nPublicKey = {key}\n")
    lab.run("wg", "addconf", gateway.name, path)
    pages = [gateway.telemetry(f"/wg/peers,{gateway.name},{page}") for page in range(4)]
    assert [len(page) for page in pages] == [256, 256, 89, 0]
    assert set(sum(pages, [])) == set(gateway.show("peers").split())
    for page in (2, 0, 1, 1):
        assert gateway.telemetry(f"/wg/peers,{gateway.name},{page}") == pages[page]


# For what takes half a second, or two on busy CPUs: catches a wait of some milliseconds for each peer.
SETCONF_MAX_S = 20


def test_ten_thousand_peers_by_one_setconf(site):
    """Twice, the second time without a change; then half of them go. Traffic goes on."""
    gateway, path = site.gateway, os.path.join(site.topology.dir, "many.conf")
    own = lab.run("wg", "showconf", gateway.name).stdout
    keys = [base64.b64encode(os.urandom(32)).decode() for _ in range(10000)]

    def setconf(keys):
        with open(path, "w", encoding="utf-8") as file:
            file.write(own)
            for n, key in enumerate(keys):
                file.write(f"[Peer]\nPublicKey = {key}\nEndpoint = 192.0.2.99:{n % 60000 + 1}\n"
                           f"AllowedIPs = 10.{64 + n // 65536}.{n // 256 % 256}.{n % 256}/32\n")
        begin = time.monotonic()
        lab.run("wg", "setconf", gateway.name, path)
        took = time.monotonic() - begin
        print(f"{len(keys)} peers: {took:.2f} s")
        assert took < SETCONF_MAX_S
        assert gateway.telemetry("/wg/info")["peers"] == len(keys) + 1
        assert site.ping_through()

    assert site.ping_through()
    for given in (keys, keys, keys[:5000]):
        setconf(given)
    assert set(gateway.show("peers").split()) == {site.client.public_key, *keys[:5000]}


def test_all_allowed_ips_in_one_set(site):
    """130,560 of them for one peer come back out, and so does a route for each."""
    def beneath(prefix):
        return site.topology.gw.ip_json("route", "show", "root", prefix)

    gateway, peer = site.gateway, lab.keypair()[1]
    prefixes = [f"10.{128 + n // 65280}.{n % 65280 // 255}.{n % 255}/32" for n in range(130560)]
    path = os.path.join(site.topology.dir, "wide.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"[Peer]\nPublicKey = {peer}\n")
        for at in range(0, len(prefixes), 100):
            file.write(f"AllowedIPs = {', '.join(prefixes[at:at + 100])}\n")
    begin = time.monotonic()
    lab.run("wg", "addconf", gateway.name, path)
    print(f"{len(prefixes)} allowed IPs: {time.monotonic() - begin:.2f} s")
    shown = {line.split("\t")[0]: line.split("\t")[1].split()
             for line in gateway.show("allowed-ips").splitlines()}
    assert set(shown[peer]) == set(prefixes)
    assert len(beneath("10.128.0.0/9")) == len(prefixes)
    assert site.ping_through()
    gateway.set("peer", peer, "remove")
    lab.wait_for("the routes to go", lambda: not beneath("10.128.0.0/9"), timeout=30)
    assert site.ping_through()
