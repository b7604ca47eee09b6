# SPDX-License-Identifier: BSD-3-Clause
"""The main job: a stock client reaches a host behind the gateway, and is reached from there."""
import json
import os
import signal

import lab
import pytest
from full import full_only


def tcp(client, server, address, reverse=False):
    """Moves TCP through for a second; returns Mbit/s at the receiver."""
    return 1e3 * lab.iperf(client, server, address, "-t", 1, *(["-R"] if reverse else []))


@pytest.mark.parametrize("outside", ["192.0.2.1:51820", "[2001:db8:1::1]:51820"],
                         ids=["outer4", "outer6"])
def test_ping_and_tcp_both_ways(make_site, outside):
    site = make_site(outside=outside)
    wan, lan = site.topology.wan, site.topology.lan
    assert site.ping_through(), site.gateway.tail()
    for client, server, address in ((wan, lan, "10.1.0.2"), (wan, lan, "fd01::2"),
                                    (lan, wan, "10.9.0.2"), (lan, wan, "fd09::2")):
        assert tcp(client, server, address) > 1
        assert tcp(client, server, address, reverse=True) > 1


@pytest.mark.parametrize("aead, flag", [("sodium", None), ("ipsec-mb", None), ("avx2", "avx2"),
                                        ("avx512", "avx512ifma"), ("auto", None)])
def test_each_aead_backend(make_site, aead, flag):
    with open("/proc/cpuinfo", encoding="ascii") as file:
        if flag and flag not in file.read().split():
            pytest.skip(f"this CPU has no {flag}")
    site = make_site(options=["--aead", aead])
    wan, lan = site.topology.wan, site.topology.lan
    assert site.gateway.telemetry("/wg/info")["aead"].split()[0] == aead
    assert tcp(wan, lan, "10.1.0.2") > 1
    assert tcp(wan, lan, "fd01::2", reverse=True) > 1


def test_preshared_key(make_site):
    site = make_site(psk=lab.run("wg", "genpsk").stdout.strip())
    assert site.ping_through()


def test_gateway_itself_answers(site):
    """Its addresses inside and outside the tunnel are the host's: ping and TCP to a daemon."""
    wan, gw = site.topology.wan, site.topology.gw
    for address in ("192.0.2.1", "2001:db8:1::1", "10.9.0.1", "fd09::1", "10.1.0.1", "fd01::1"):
        assert wan.ping(address), address
    assert tcp(wan, gw, "10.9.0.1") > 1
    assert tcp(gw, wan, "10.9.0.2") > 1


@pytest.mark.parametrize("gateway, host", [("10.1.0.1", "10.1.0.2"), ("fd01::1", "fd01::2")],
                         ids=["ipv4", "ipv6"])
def test_tcp_to_a_port(site, gateway, host):
    """Plain TCP to the gateway itself goes up in large frames, by the port's host interface."""
    lan, gw = site.topology.lan, site.topology.gw
    before = site.gateway.telemetry("/wg/host,inner0")
    assert tcp(lan, gw, gateway) > 1
    after = site.gateway.telemetry("/wg/host,inner0")
    packets, frames = (after[name] - before[name] for name in ("tx_packets", "tx_frames"))
    assert packets > 2 * frames, (packets, frames)
    assert after["tx_refused"] == before["tx_refused"]
    assert tcp(gw, lan, host) > 1


def test_gateway_initiates(site):
    """Traffic from behind the gateway, with an endpoint configured, makes it the initiator."""
    site.client.set("listen-port", 41414)
    site.client.set("peer", site.public_key, "remove")
    site.client.set("peer", site.public_key, "allowed-ips", "10.1.0.0/24,10.9.0.0/24,fd01::/64")
    site.gateway.set("peer", site.client.public_key, "endpoint", "192.0.2.2:41414")
    lan = site.topology.lan
    # The first packet waits for the handshake; none is lost.
    assert lan.ping("10.9.0.2", count=5)
    assert site.client.show("latest-handshakes").split()[-1] != "0"


def test_restart_of_the_client(site):
    assert site.ping_through()
    site.client.stop()
    site.client.start()
    site.configure_client()
    assert site.ping_through()


def test_restart_of_the_gateway(site):
    assert site.ping_through()
    assert site.gateway.stop() == 0
    site.gateway.start()
    site.topology.address_gateway()
    # The client still believes in its session. The gateway knows no endpoint, so that it is the
    # client that must notice: 15 seconds after it first sent without receiving.
    lab.wait_for("a new session", lambda: site.topology.wan.ping("10.1.0.2", count=1, deadline=1),
                 timeout=40)
    assert site.ping_through()


def test_roaming(site):
    """The client's address changes; the gateway follows the authenticated packets."""
    assert site.ping_through()
    wan = site.topology.wan
    wan.ip("addr", "add", "192.0.2.77/24", "dev", "e0")
    wan.ip("route", "replace", "192.0.2.0/24", "dev", "e0", "src", "192.0.2.77")
    wan.ip("addr", "del", "192.0.2.2/24", "dev", "e0")
    wan.ip("addr", "replace", "192.0.2.77/24", "dev", "e0")
    site.client.set("listen-port", 40404)
    assert wan.ping("10.1.0.2", count=1, deadline=1)  # the first answer goes to the new place
    assert site.ping_through()
    assert "192.0.2.77:40404" in site.gateway.show("endpoints")


def test_new_handshake(site):
    """A client that forgot its session is taken back at once, with a newer session."""
    assert site.ping_through()
    before = site.gateway.telemetry(f"/wg/peer,{site.client.public_key}")["session_sent_packets"]
    site.client.set("peer", site.public_key, "remove")
    site.configure_client()
    assert site.ping_through()
    after = site.gateway.telemetry(f"/wg/peer,{site.client.public_key}")["session_sent_packets"]
    assert after <= before + 4  # it counts anew


@full_only
def test_rekey_under_traffic_loses_nothing(site):
    """Two minutes and a bit: the stock client rekeys by itself, and no packet is lost."""
    assert site.ping_through()
    before = site.gateway.show("latest-handshakes").split()[-1]
    pings = site.topology.wan.start("ping", "-n", "-i", "0.05", "-c", "2600", "-w", "170", "10.1.0.2",
                                    log="pings")
    assert pings.wait(180) == 0
    with open(pings.log, encoding="utf-8") as file:
        assert lab.all_answered(file.read(), 2600)
    assert int(site.gateway.show("latest-handshakes").split()[-1]) >= int(before) + 100


def test_allowed_ips_are_enforced(site):
    """A packet from an address that is not the peer's goes no further."""
    wan = site.topology.wan
    assert site.ping_through()
    wan.ip("addr", "add", "10.66.0.1/32", "dev", site.client.name)
    assert not wan.ping("10.1.0.2", count=2, deadline=1, args=("-I", "10.66.0.1"))
    assert site.gateway.drops().get("inner_source", 0) >= 2, site.gateway.drops()


def test_peers_change_under_traffic(site):
    wan = site.topology.wan
    assert site.ping_through()
    pings = wan.start("ping", "-n", "-i", "0.01", "-c", "200", "-w", "25", "10.1.0.2", log="pings")
    keys = [lab.keypair()[1] for _ in range(20)]
    for n, key in enumerate(keys):
        site.gateway.set("peer", key, "allowed-ips", f"10.50.{n}.0/24")
    for key in keys:
        site.gateway.set("peer", key, "remove")
    assert pings.wait(30) == 0
    with open(pings.log, encoding="utf-8") as file:
        assert lab.all_answered(file.read(), 200)
    assert len(site.gateway.show("peers").split()) == 1


def test_removed_peer_stops_at_once(site):
    assert site.ping_through()
    site.gateway.set("peer", site.client.public_key, "remove")
    assert not site.topology.wan.ping("10.1.0.2", count=2, deadline=1)
    site.gateway.set("peer", site.client.public_key, "allowed-ips",
                     ",".join(site.TUNNEL_CLIENT))
    lab.wait_for("a new session", lambda: site.topology.wan.ping("10.1.0.2", count=1, deadline=1),
                 timeout=40)


def test_wg_tool(site):
    """showconf, setconf, addconf and syncconf with the stock tool."""
    gateway = site.gateway
    path = os.path.join(site.topology.dir, "shown.conf")

    def showconf():
        return lab.run("wg", "showconf", gateway.name).stdout

    shown = showconf()
    assert site.private_key in shown and site.client.public_key in shown
    with open(path, "w", encoding="utf-8") as file:
        file.write(shown)
    lab.run("wg", "setconf", gateway.name, path)
    assert showconf() == shown
    extra = os.path.join(site.topology.dir, "extra.conf")
    other = lab.keypair()[1]
    with open(extra, "w", encoding="utf-8") as file:
        file.write(f"[Peer]\nPublicKey = {other}\nAllowedIPs = 10.77.0.0/16\n"
                   "PersistentKeepalive = 25\n")
    lab.run("wg", "addconf", gateway.name, extra)
    assert other in gateway.show("peers")
    assert "25" in gateway.show("persistent-keepalive")
    lab.run("wg", "syncconf", gateway.name, path)
    assert other not in gateway.show("peers")
    assert site.ping_through()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_ends_cleanly_under_traffic(site, number):
    gw = site.topology.gw
    assert site.ping_through()
    site.topology.wan.start("ping", "-n", "-q", "-f", "-w", "5", "10.1.0.2", log="flood")
    links = {link["ifname"] for link in gw.ip_json("link", "show")}
    assert {"outer0", "inner0", site.gateway.name} <= links
    assert site.gateway.stop(number) == 0, site.gateway.tail()
    links = {link["ifname"] for link in gw.ip_json("link", "show")}
    assert not {"outer0", "inner0", site.gateway.name} & links
    assert not os.path.exists(site.gateway.socket)
    assert not gw.ip_json("route", "show", "10.9.0.0/24")


def test_telemetry(site):
    assert site.ping_through()
    gateway = site.gateway
    assert gateway.telemetry("/wg/info")["interfaces"]
    peers = gateway.telemetry("/wg/peers")
    assert site.client.public_key in json.dumps(peers)
    assert gateway.telemetry(f"/wg/peer,{site.client.public_key}")["rx_bytes"] > 0
    assert "inner_source" in gateway.telemetry("/wg/drops")
    assert gateway.telemetry("/wg/lcores")


def test_cost_of_stages(site):
    gateway = site.gateway
    assert gateway.telemetry("/wg/stages,on")["on"] == 1
    assert site.ping_through()
    stages = gateway.telemetry("/wg/stages,off")
    assert stages["inbound_open_packets"] > 0 and stages["outbound_seal_cycles_per_packet"] > 0
    assert site.ping_through()
    after = gateway.telemetry("/wg/stages")
    assert after["on"] == 0 and after["inbound_open_packets"] == stages["inbound_open_packets"]
    assert gateway.telemetry("/wg/stages,on")["inbound_open_packets"] == 0
    assert gateway.telemetry("/wg/stages,off")["on"] == 0
