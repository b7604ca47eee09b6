# SPDX-License-Identifier: BSD-3-Clause
"""Ways narrower than their ends know: routes with an MTU, and TCP where nobody hears of it by ICMP."""
import lab
import pytest

TUNNEL_MTU = 1280


def lose_icmp_errors(site):
    """The server in lan hears nothing of what the gateway itself has to say, as behind a firewall."""
    lan, gw = site.topology.lan, site.topology.gw
    for option, gateway, own in (("-4", "10.1.0.1", "10.1.0.2"), ("-6", "fd01::1", "fd01::2")):
        # Nor does it hear of neighbours then.
        for namespace, address, dev in ((lan, gateway, "e0"), (gw, own, "inner0")):
            known = next(entry for entry in namespace.ip_json("neigh", "show", address)
                         if "lladdr" in entry)
            namespace.ip("neigh", "replace", address, "lladdr", known["lladdr"], "dev", dev,
                         "nud", "permanent")
        lan.ip(option, "rule", "add", "pref", "10", "lookup", "local")
        lan.ip(option, "rule", "add", "pref", "5", "iif", "e0", "from", gateway, "blackhole")
        lan.ip(option, "rule", "del", "pref", "0")
        lan.ip(option, "route", "flush", "cache")


class Download:
    """A server in lan that sends this many bytes to whoever connects; a client that fetches them."""

    BYTES = 200_000
    SERVER = """
import socket, sys
listener = socket.create_server((sys.argv[1], 5000), family=socket.AF_INET6 if ":" in sys.argv[1]
                                else socket.AF_INET)
print("ready", flush=True)
while True:
    s = listener.accept()[0]
    s.sendall(bytes(int(sys.argv[2])))
    s.close()
"""
    CLIENT = """
import socket, sys
s = socket.create_connection((sys.argv[1], 5000), timeout=10)
s.settimeout(float(sys.argv[2]))
got = 0
try:
    while data := s.recv(65536):
        got += len(data)
except TimeoutError:
    pass
print(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), got)
"""

    def __init__(self, server, address):
        self.address = address
        process = server.start("python3", "-c", self.SERVER, address, self.BYTES,
                               log=f"server-{address}")

        def ready():
            with open(process.log, encoding="utf-8") as file:
                return "ready" in file.read()
        lab.wait_for("the server", ready)

    def fetch(self, client, patience):
        """What the server may send in a segment, and how much came."""
        return map(int, client.run("python3", "-c", self.CLIENT, self.address,
                                   patience).stdout.split())


@pytest.mark.parametrize("clamped", [False, True], ids=["plain", "clamped"])
def test_mss_is_clamped_on_request(make_site, clamped):
    """Connections hang without, and pass with it; both families, the server behind the gateway."""
    site = make_site(options=["--clamp-mss"] if clamped else [])
    gw, wan, lan = site.topology.gw, site.topology.wan, site.topology.lan
    assert site.ping_through()
    gw.ip("link", "set", site.gateway.name, "mtu", TUNNEL_MTU)
    lab.wait_for("the new MTU", lambda: "mtu = 1280" in lan.run(
        "ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", "1300", "10.9.0.2",
        check=False).stdout)
    lose_icmp_errors(site)
    for address, offered in (("10.1.0.2", TUNNEL_MTU - 40), ("fd01::2", TUNNEL_MTU - 60)):
        download = Download(lan, address)
        segment, got = download.fetch(wan, 15 if clamped else 2)
        # With time stamps, 12 bytes of a segment are theirs.
        if clamped:
            assert got == Download.BYTES and segment <= offered, (segment, got)
        else:
            assert got < Download.BYTES and segment > offered, (segment, got)


@pytest.mark.parametrize("family", [4, 6])
def test_route_with_an_mtu(make_site, family):
    """What fits is forwarded by the workers; of what does not the kernel tells the sender."""
    site = make_site()
    gw, wan, lan = site.topology.gw, site.topology.wan, site.topology.lan
    network, behind, router, source, headers = (
        ("10.66.0.0/24", "10.66.0.1", "10.1.0.2", "10.9.0.2", 28) if family == 4 else
        ("fd66::/64", "fd66::1", "fd01::2", "fd09::2", 48))
    lan.set_up("lo", f"{behind}/{32 if family == 4 else 128}")
    wan.ip(f"-{family}", "route", "add", network, "dev", site.client.name)
    site.client.set("peer", site.public_key, "allowed-ips",
                    f"10.1.0.0/24,10.9.0.0/24,fd01::/64,fd09::/64,{network}")
    gw.ip("route", "add", network, "via", router, "mtu", "1350")

    def ping(packet, count=1):
        return wan.run("ping", "-n", "-c", count, "-i", "0.02", "-w", "5", "-M", "do", "-I", source,
                       "-s", packet - headers, behind, check=False).stdout

    def forwarded():
        return sum(count for name, count in site.gateway.telemetry("/wg/lcores").items()
                   if name.endswith("_plain_packets"))
    lab.wait_for("the way", lambda: " 0% packet loss" in ping(100))
    before = forwarded()
    assert "10 received" in ping(1350, count=10)
    assert forwarded() >= before + 10, "what fits took another way than the workers'"
    assert "mtu=1350" in ping(1351).replace(" = ", "=")
    gw.ip("route", "change", network, "via", router)
    wan.ip(f"-{family}", "route", "flush", "cache")
    lab.wait_for("the link's own MTU", lambda: " 0% packet loss" in ping(1400))
