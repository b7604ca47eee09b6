# SPDX-License-Identifier: BSD-3-Clause
"""The Linux kernel's own WireGuard as peer: client and server, from a stock kernel in qemu."""
import os

import guest as guests
import lab
import pytest
from full import full_only


OUTSIDE = {"outer4": "192.0.2.1:51820", "outer6": "[2001:db8:1::1]:51820"}
ALLOWED = "10.1.0.0/24,10.9.0.0/24,fd01::/64,fd09::/64"
FILE_BYTES = 1000003


class KernelSite(lab.Lab):
    """guest ── gw ── lan: dpdk-wg between a vhost-user port and an AF_PACKET port."""

    def __init__(self):
        super().__init__()
        self.gw, self.lan = self.namespace("gw"), self.namespace("lan")
        self.link(self.lan, "e0", self.gw, "v_in")
        self.port(self.gw, "v_in")
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.gw.sysctl(key, 1)
        self.lan.set_up("e0", "10.1.0.2/24", "fd01::2/64")
        self.lan.ip("route", "add", "default", "via", "10.1.0.1")
        self.lan.ip("-6", "route", "add", "default", "via", "fd01::1")
        self.private_key, self.public_key = lab.keypair()
        self.guest_private, self.guest_public = lab.keypair()
        self.psk = lab.run("wg", "genpsk").stdout.strip()

    def begin(self):
        vhost = os.path.join(self.dir, "vhost.sock")
        config = (f"[Interface]\nPrivateKey = {self.private_key}\nListenPort = 51820\n"
                  "Address = 10.9.0.1/24, fd09::1/64\n")
        self.gateway = lab.Gateway(self.gw, [f"net_vhost0,iface={vhost},queues=1"], ["v_in"],
                                   config=config)
        self.gw.set_up("outer0", "192.0.2.1/24", "2001:db8:1::1/64")
        self.gw.set_up("inner0", "10.1.0.1/24", "fd01::1/64")
        self.guest = guests.Guest(self, guests.vhost_nic(vhost))
        for line in ("ip addr add 192.0.2.2/24 dev eth0",
                     "ip addr add 2001:db8:1::2/64 dev eth0 nodad", "ip link set eth0 up",
                     "ip link add wg0 type wireguard", "ip addr add 10.9.0.2/32 dev wg0",
                     "ip addr add fd09::2/128 dev wg0 nodad", "ip link set wg0 up",
                     *(f"ip route add {prefix} dev wg0" for prefix in ALLOWED.split(","))):
            self.guest.run(line)
        self.guest.write("/tmp/key", self.guest_private)
        self.guest.write("/tmp/psk", self.psk)
        self.guest.write("/tmp/no-psk", lab.run("wg", "genpsk").stdout.strip())
        self.guest.run("wg set wg0 listen-port 41414 private-key /tmp/key")

    def gateway_peer(self, *args, psk=None):
        """Makes the guest a peer of the gateway anew."""
        self.gateway.set("peer", self.guest_public, "remove")
        shared = ["preshared-key", "/dev/stdin"] if psk else []
        self.gateway.set("peer", self.guest_public, "allowed-ips", "10.9.0.2/32,fd09::2/128",
                         *shared, *args, **({"input": psk} if psk else {}))

    def guest_peer(self, *args):
        self.guest.run(f"wg set wg0 peer {self.public_key} remove", check=False)
        self.guest.run(" ".join(["wg set wg0 peer", self.public_key, "allowed-ips", ALLOWED,
                                 *args]))

    def client(self, outside=OUTSIDE["outer4"]):
        """The guest is the one that initiates."""
        self.gateway_peer()
        self.guest_peer("endpoint", outside)

    def ping_from_guest(self, **options):
        return all(self.guest.ping(to, **options) for to in ("10.1.0.2", "fd01::2", "10.9.0.1"))

    def ping_from_lan(self):
        return all(self.lan.ping(to, deadline=10, interval=0.1) for to in ("10.9.0.2", "fd09::2"))

    def report(self):
        """What both ends know, for a test that failed."""
        return "\n".join((self.gateway.show(), str(self.gateway.drops()), self.gateway.tail(5),
                          self.gw.ip("neigh").stdout, self.guest.run("wg show wg0; ip neigh")))

    def handshake(self):
        """When the guest finished a handshake last, 0: never."""
        return int(self.guest.run("wg show wg0 latest-handshakes").split()[-1])


@pytest.fixture(scope="module")
def kernel():
    lacking = guests.missing()
    if lacking:
        pytest.skip(f"{lacking} is missing: scripts/setup --tests")
    with KernelSite() as site:
        site.begin()
        yield site
        assert site.gateway.stop() == 0, site.gateway.tail()


@pytest.mark.parametrize("outside", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_kernel_as_client(kernel, outside):
    kernel.client(outside)
    # The first packets wait for the handshake; none is lost, either way.
    assert kernel.ping_from_guest(), kernel.report()
    assert kernel.ping_from_lan(), kernel.report()
    assert kernel.handshake() > 0
    assert kernel.gateway.show("latest-handshakes").split()[-1] != "0"


@pytest.mark.parametrize("outside", ["192.0.2.2:41414", "[2001:db8:1::2]:41414"],
                         ids=OUTSIDE.keys())
def test_kernel_as_server(kernel, outside):
    kernel.guest_peer()  # without an endpoint it cannot begin
    kernel.gateway_peer("endpoint", outside)
    assert not kernel.guest.ping("10.1.0.2", count=1, deadline=1)
    assert kernel.ping_from_lan(), kernel.report()
    assert kernel.ping_from_guest(), kernel.report()
    assert kernel.handshake() > 0


@pytest.mark.parametrize("initiator", ["kernel", "gateway"])
def test_preshared_key(kernel, initiator):
    if initiator == "kernel":
        kernel.gateway_peer(psk=kernel.psk)
        kernel.guest_peer("preshared-key /tmp/no-psk", "endpoint", OUTSIDE["outer4"])
        assert not kernel.guest.ping("10.1.0.2", count=1, deadline=2)
        kernel.guest_peer("preshared-key /tmp/psk", "endpoint", OUTSIDE["outer4"])
        assert kernel.ping_from_guest(), kernel.report()
    else:
        kernel.guest_peer("preshared-key /tmp/psk")
        kernel.gateway_peer("endpoint", "192.0.2.2:41414", psk=kernel.psk)
        assert kernel.ping_from_lan(), kernel.report()
    assert kernel.handshake() > 0


@pytest.mark.parametrize("address", ["10.1.0.2", "fd01::2"], ids=["inner4", "inner6"])
def test_tcp_from_kernel(kernel, address):
    """A file comes whole out of lan into the guest."""
    kernel.client()
    folder = os.path.join(kernel.dir, f"www{len(address)}")
    os.mkdir(folder)
    with open(os.path.join(folder, "file"), "wb") as file:
        file.write(os.urandom(FILE_BYTES))
    server = kernel.lan.start("python3", "-m", "http.server", "--bind", address, "--directory",
                              folder, "8000", log="http")
    lab.wait_for("the web server",
                 lambda: "8000" in kernel.lan.run("ss", "-Hltn", "sport = :8000").stdout)
    host = f"[{address}]" if ":" in address else address
    got = kernel.guest.run(f"wget -q -O - http://{host}:8000/file | md5sum").split()[0]
    kernel.stop(server)
    assert got == lab.run("md5sum", os.path.join(folder, "file")).stdout.split()[0]


@pytest.mark.parametrize("address", ["10.9.0.2", "fd09::2"], ids=["inner4", "inner6"])
def test_tcp_to_kernel(kernel, address):
    """A file comes whole out of the guest into lan."""
    kernel.client()
    assert kernel.guest.ping("10.1.0.2")
    sum_there = kernel.guest.run(
        f"head -c {FILE_BYTES} /dev/urandom > /tmp/file; md5sum /tmp/file").split()[0]
    kernel.guest.run("(nc -l -p 9000 < /tmp/file > /dev/null 2>&1 &)")
    receive = ("import hashlib,socket\n"
               f"s=socket.create_connection(('{address}',9000),20)\n"
               "h=hashlib.md5()\n"
               f"left={FILE_BYTES}\n"
               "while left>0:\n d=s.recv(65536)\n assert d\n h.update(d)\n left-=len(d)\n"
               "print(h.hexdigest())")
    lab.wait_for("the guest's listener", lambda: "9000" in kernel.guest.run("netstat -ltn"))
    assert kernel.lan.run("python3", "-c", receive).stdout.strip() == sum_there


def test_kernel_roams(kernel):
    """The guest changes its address and port, and its family: the gateway follows."""
    kernel.client()
    assert kernel.ping_from_guest(), kernel.report()
    guest = kernel.guest
    guest.run("ip addr add 192.0.2.77/24 dev eth0; ip addr del 192.0.2.2/24 dev eth0;"
              "ip addr add 192.0.2.77/24 dev eth0 2>&1; wg set wg0 listen-port 40404")
    guest.run("ping -c 1 -W 1 10.1.0.2")  # the first answer goes to the new place
    assert kernel.ping_from_guest(), kernel.report()
    assert "192.0.2.77:40404" in kernel.gateway.show("endpoints")
    assert kernel.ping_from_lan(), kernel.report()
    guest.run(f"wg set wg0 peer {kernel.public_key} endpoint {OUTSIDE['outer6']}")
    guest.run("ping -c 1 -W 1 10.1.0.2")
    lab.wait_for("the guest's IPv6 address",
                 lambda: "[2001:db8:1::2]:40404" in kernel.gateway.show("endpoints"))
    assert kernel.ping_from_guest(), kernel.report()
    assert kernel.ping_from_lan(), kernel.report()
    guest.run("ip addr add 192.0.2.2/24 dev eth0; ip addr del 192.0.2.77/24 dev eth0;"
              "wg set wg0 listen-port 41414")
    guest.run("ip addr replace 192.0.2.2/24 dev eth0")


def test_gateway_address_changes(kernel):
    """The kernel follows the gateway, too, when packets come from another address of it."""
    kernel.client()
    assert kernel.ping_from_guest(), kernel.report()
    kernel.gw.ip("addr", "add", "192.0.2.9/24", "dev", "outer0")

    def stays():
        kernel.guest.run(f"wg set wg0 peer {kernel.public_key} endpoint 192.0.2.9:51820")
        assert kernel.guest.ping("10.1.0.2")
        return "192.0.2.9:51820" in kernel.guest.run("wg show wg0 endpoints")

    # It answers from where it was spoken to, so that the kernel stays with that. An answer on the
    # heels of the first packet may still leave from the old address, and lead the kernel back.
    lab.wait_for("answers from the new address", stays, timeout=20)
    kernel.gw.ip("addr", "del", "192.0.2.9/24", "dev", "outer0")


def test_new_session(kernel):
    """A kernel that forgot its session is taken back at once."""
    kernel.client()
    assert kernel.ping_from_guest(), kernel.report()
    for _ in range(3):
        kernel.guest_peer("endpoint", OUTSIDE["outer4"])
        assert kernel.guest.ping("10.1.0.2", count=4)
        assert kernel.lan.ping("10.9.0.2")


def test_full_size_packets(kernel):
    """Packets as long as the tunnel's MTU, not to be fragmented."""
    kernel.client()
    assert kernel.guest.run("ping -c 2 -w 5 -q -s 1392 10.1.0.2")
    assert kernel.lan.ping("10.9.0.2", args=("-M", "do", "-s", 1392))
    assert kernel.lan.ping("fd09::2", args=("-M", "do", "-s", 1372))


@full_only
@pytest.mark.parametrize("initiator", ["kernel", "gateway"])
def test_rekey_under_traffic(kernel, initiator):
    """REKEY_AFTER_TIME passes for real: the session is renewed and no packet is lost."""
    if initiator == "kernel":
        kernel.client()
        assert kernel.guest.ping("10.1.0.2")
    else:
        kernel.guest_peer()
        kernel.gateway_peer("endpoint", "192.0.2.2:41414")
        assert kernel.lan.ping("10.9.0.2", deadline=10)
    before = kernel.handshake()
    pings = kernel.lan.start("ping", "-n", "-i", "0.1", "-c", "1300", "-w", "200", "10.9.0.2",
                             log=f"pings-{initiator}")
    assert pings.wait(240) == 0
    with open(pings.log, encoding="utf-8") as file:
        text = file.read()
    assert lab.all_answered(text, 1300), text
    assert kernel.handshake() >= before + 100
