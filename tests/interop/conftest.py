# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: a gateway with one stock client, in the lab's standard topology."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402


@pytest.fixture
def topology():
    with lab.Topology() as made:
        yield made


def keypair():
    private = lab.run("wg", "genkey").stdout.strip()
    return private, lab.run("wg", "pubkey", input=private).stdout.strip()


class Site:
    """The standard topology with a gateway at its centre and a client in wan that may use it."""

    TUNNEL_GW = ("10.9.0.1/24", "fd09::1/64")
    TUNNEL_CLIENT = ("10.9.0.2", "fd09::2")

    def __init__(self, topology, outside="192.0.2.1:51820", options=(), psk=None, extra=""):
        self.topology = topology
        self.private_key, self.public_key = keypair()
        self.client = lab.WireguardGo(topology.wan, "cl")
        self.psk = psk
        config = f"""[Interface]
PrivateKey = {self.private_key}
ListenPort = 51820
Address = {", ".join(self.TUNNEL_GW)}

[Peer]
PublicKey = {self.client.public_key}
{f"PresharedKey = {psk}" if psk else ""}
AllowedIPs = {", ".join(self.TUNNEL_CLIENT)}
{extra}
"""
        self.gateway = lab.Gateway(topology.gw, ["v_out"], ["v_in"], config=config, options=options)
        topology.address_gateway()
        self.configure_client(outside)

    def configure_client(self, outside="192.0.2.1:51820"):
        allowed = "10.1.0.0/24,10.9.0.0/24,fd01::/64,fd09::/64"
        psk = ["preshared-key", self.psk_file()] if self.psk else []
        self.client.set_private_key("peer", self.public_key, *psk, "endpoint", outside,
                                    "allowed-ips", allowed)
        self.topology.wan.set_up(self.client.name, "10.9.0.2/32", "fd09::2/128", mtu=1420)
        for prefix in allowed.split(","):
            self.topology.wan.ip("route", "replace", prefix, "dev", self.client.name)

    def psk_file(self):
        path = os.path.join(self.topology.dir, "psk")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.psk)
        return path

    def ping_through(self, **options):
        """Client to the server in lan, both families, and back."""
        return (self.topology.wan.ping("10.1.0.2", **options)
                and self.topology.wan.ping("fd01::2", **options)
                and self.topology.lan.ping("10.9.0.2", **options)
                and self.topology.lan.ping("fd09::2", **options))


@pytest.fixture
def site(topology):
    return Site(topology)


@pytest.fixture
def make_site(topology):
    return lambda **options: Site(topology, **options)
