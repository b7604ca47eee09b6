# SPDX-License-Identifier: BSD-3-Clause
"""dpdk-wg on NICs, in a guest with emulated ones: see pci.py."""
import copy
import hashlib
import os
import struct

import guest as guests
import lab
import pytest
from full import FULL
from pci import NICS, OUTSIDE, START_S, GuestHost, Nic, PciSite, ping

FILE_BYTES = 300007


def checksum(data):
    """The Internet checksum (RFC 1071): 0 over what carries the right one."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def udp_of(frame, port):
    """(IPv4 header or b"", pseudo-header and UDP) of a frame from a UDP port, or None."""
    if frame[12:14] == b"\x08\x00" and frame[23] == 17:
        ip = frame[14:34]
        udp = frame[34:14 + int.from_bytes(frame[16:18], "big")]
        pseudo = ip[12:20] + b"\0\x11" + len(udp).to_bytes(2, "big")
    elif frame[12:14] == b"\x86\xdd" and frame[20] == 17:
        ip = b""
        udp = frame[54:54 + int.from_bytes(frame[18:20], "big")]
        pseudo = frame[22:54] + len(udp).to_bytes(4, "big") + b"\0\0\0\x11"
    else:
        return None
    return (ip, pseudo, udp) if int.from_bytes(udp[:2], "big") == port else None


@pytest.fixture(scope="module")
def lab_with_guest():
    if not FULL:
        pytest.skip("takes some minutes: DPDK_WG_FULL=yes")
    lacking = guests.missing("socat")
    if lacking:
        pytest.skip(f"{lacking} is missing: scripts/setup --tests")
    with PciSite() as site:
        yield site
        if site.running:
            site.end()


@pytest.fixture(scope="module", params=NICS)
def site(lab_with_guest, request):
    """A gateway that runs on this kind of NIC."""
    lab_with_guest.start(NICS[request.param])
    return lab_with_guest


def test_ports(site):
    """A queue for each worker where the device has them; offloads where its driver has them."""
    for name, device in (("outer0", site.running.outer), ("inner0", site.running.inner)):
        port = site.telemetry(f"/wg/port,{name}")
        assert port["device"] == device and port["link"] == "up" and port["mtu"] == 1500
        assert port["rx_queues"] == port["tx_queues"] == site.running.queues, port
        assert port["udp_checksum_offload"] == site.running.offload, port
    assert "dpdk-wg: warning" not in site.log(), site.log()
    # qemu's CPU has no AVX-512: the choice of instructions is made when the program runs.
    assert "avx512" not in site.telemetry("/wg/info")["aead"]


def test_client_initiates(site):
    for outside in OUTSIDE:
        site.configure_client(outside)
        assert site.ping_from_wan() and site.ping_from_lan(), site.report()


def test_gateway_initiates(site):
    for endpoint in ("192.0.2.2:41414", "[2001:db8:1::2]:41414"):
        site.configure_client(None)
        site.guest.run(f"wg set wg0 peer {site.client.public_key} remove; wg set wg0 peer "
                       f"{site.client.public_key} allowed-ips 10.9.0.2/32,fd09::2/128 "
                       f"endpoint '{endpoint}'")
        assert site.ping_from_lan() and site.ping_from_wan(), site.report()


SEND = """import socket, sys
s = socket.create_connection((sys.argv[1], 9000), 40)
s.sendall(open(sys.argv[2], "rb").read())
s.shutdown(socket.SHUT_WR)
s.recv(1)
"""
RECEIVE = """import hashlib, socket, sys
s = socket.create_server((sys.argv[1], 9000), family=socket.AF_INET6 if ":" in sys.argv[1]
                         else socket.AF_INET)
c = s.accept()[0]
h = hashlib.sha256()
while d := c.recv(65536):
    h.update(d)
print(h.hexdigest(), flush=True)
"""


def transfer(sender, receiver, address):
    """Sends a file by TCP; true when it came whole."""
    data = os.urandom(FILE_BYTES)
    path = os.path.join(sender.lab.dir, "file")
    with open(path, "wb") as file:
        file.write(data)
    server = receiver.start("python3", "-c", RECEIVE, address, log=f"receive-{address}")
    lab.wait_for("the receiver",
                 lambda: "9000" in receiver.run("ss", "-Hltn", "sport = :9000").stdout, START_S)
    sender.run("python3", "-c", SEND, address, path)
    assert server.wait(60) == 0
    with open(server.log, encoding="utf-8") as file:
        return file.read().split()[-1] == hashlib.sha256(data).hexdigest()


def test_tcp(site):
    """Files come whole, in both directions."""
    site.configure_client(OUTSIDE[1])
    assert site.ping_from_wan(), site.report()
    assert transfer(site.wan, site.lan, "10.1.0.2"), site.report()
    assert transfer(site.lan, site.wan, "fd09::2"), site.report()


def test_checksums(site):
    """What leaves the outer port has right checksums, and one over UDP where the NIC makes it."""
    for family, outside in zip(("ipv4", "ipv6"), OUTSIDE):
        site.configure_client(outside)
        with site.capture() as capture:
            assert site.ping_from_wan(), site.report()
            # Data of many lengths, odd ones too.
            for size in range(0, 40, 7):
                assert ping(site.lan, "10.9.0.2", size=size), site.report()
        found = [udp for udp in (udp_of(frame, 51820) for frame in capture.frames()) if udp]
        data = [udp for _, _, udp in found if udp[8] == 4]
        assert len(data) >= 20, family
        for ip, pseudo, udp in found:
            assert checksum(ip) == 0 or not ip, udp.hex()
            if udp[6:8] == b"\0\0":
                # Left out only where the program itself would have to sum.
                assert family == "ipv4" and udp[8] == 4 and not site.running.offload
            else:
                assert checksum(pseudo + udp) == 0, udp.hex()


def test_flows(site):
    """Every flow from the lan arrives; where the device spreads them both workers seal some."""
    site.configure_client()
    assert site.ping_from_wan(), site.report()
    before = site.telemetry("/wg/lcores")
    server = site.wan.start("python3", "-c", "import socket\n"
                            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                            "s.bind(('10.9.0.2', 9000))\ns.settimeout(40)\nseen = set()\n"
                            "while len(seen) < 64:\n seen.add(s.recvfrom(99)[1])\n"
                            "print('all', flush=True)", log="flows")
    lab.wait_for("the listener",
                 lambda: "9000" in site.wan.run("ss", "-Hlun", "sport = :9000").stdout, START_S)
    site.lan.run("python3", "-c", "import socket, time\nsockets = []\nfor i in range(64):\n"
                 " s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                 " sockets.append(s)\n"
                 "for turn in range(3):\n for s in sockets:\n"
                 "  s.sendto(b'x', ('10.9.0.2', 9000))\n  time.sleep(0.005)")
    assert server.wait(60) == 0, site.report()
    after = site.telemetry("/wg/lcores")
    sealed = [after[name] - before[name] for name in sorted(after)
              if name.endswith("_outbound_packets")]
    assert sum(sealed) >= 64
    if site.running.spreads:
        assert min(sealed) >= 8, sealed


@pytest.mark.parametrize("side", ["outer0", "inner0"])
def test_link_down_and_up(site, side):
    """The host interface's carrier follows the cable, and traffic comes back with it."""
    site.configure_client()
    assert site.ping_from_wan(), site.report()
    at = site.running.slot + (side == "inner0")
    site.set_link(at, False)
    lab.wait_for("the carrier to go", lambda: not site.carrier(side), timeout=20, every=0.1)
    assert site.telemetry(f"/wg/port,{side}")["link"] == "down"
    assert not ping(site.wan, "10.1.0.2", deadline=1)
    site.set_link(at, True)
    lab.wait_for("the carrier", lambda: site.carrier(side), timeout=20, every=0.1)
    lab.wait_for("traffic", lambda: ping(site.wan, "10.1.0.2", count=1, deadline=2), timeout=20)
    assert site.ping_from_wan() and site.ping_from_lan(), site.report()
    assert f"{side}: link down" in site.log() and f"{side}: link up" in site.log()


class Vlan:
    """
    VLAN 100 of both cables, made by `ip link` on the host interfaces and at hosts that send nothing
    untagged: a client (the kernel's WireGuard) and a server.
    """

    OUTSIDE = ("198.51.100.1:51820", "[2001:db8:2::1]:51820")
    ALLOWED = "10.3.0.0/24,10.9.0.0/24,fd03::/64,fd09::/64"

    def __init__(self, site):
        self.site, self.wan, self.lan = site, site.guest_wan, site.guest_lan
        self.private_key, self.public_key = lab.keypair()
        for link, addresses in (("outer0", "198.51.100.1/24 2001:db8:2::1/64"),
                                ("inner0", "10.3.0.1/24 fd03::1/64")):
            site.guest.run(f"ip link add link {link} name {link}.100 type vlan id 100;"
                           f"for a in {addresses}; do ip addr add $a dev {link}.100; done;"
                           f"ip link set {link}.100 up")
        for host, *addresses in ((self.wan, "198.51.100.2/24", "2001:db8:2::2/64"),
                                 (self.lan, "10.3.0.2/24", "fd03::2/64")):
            host.ip(f"link add link {host.nic} name vlan100 type vlan id 100")
            host.set_up("vlan100", *addresses)
        self.lan.ip("route add default via 10.3.0.1")
        self.lan.ip("-6 route add default via fd03::1")
        self.wan.ip("link add client type wireguard")
        self.wan.set_up("client", "10.9.0.3/32", "fd09::3/128")
        for prefix in self.ALLOWED.split(","):
            self.wan.ip(f"route add {prefix} dev client")
        site.guest.write("/tmp/key", self.private_key)
        self.wan.run("wg set client listen-port 41414 private-key /tmp/key")

    def close(self):
        self.wan.ip("link del client")
        for host in (self.wan, self.lan):
            host.ip("link del vlan100")
        # The host interfaces go with the program, and their VLANs with them.

    def connect(self, outside=None, client=None):
        """Both ends made anew, of which one knows the other: where the gateway or the client is."""
        self.wan.run(f"wg set client peer {self.site.public_key} remove")
        self.wan.run(f"wg set client peer {self.site.public_key} allowed-ips {self.ALLOWED}"
                     + (f" endpoint {outside}" if outside else ""))
        self.site.guest.run(f"wg set wg0 peer {self.public_key} remove")
        self.site.guest.run(f"wg set wg0 peer {self.public_key} allowed-ips 10.9.0.3/32,fd09::3/128"
                            + (f" endpoint {client}" if client else ""))

    def transfer(self, sender, receiver, address):
        """Sends a file by TCP; true when it came whole."""
        # It ends with the connection, which it keeps open towards the sender.
        receiver.run("sh -c 'tail -f /dev/null | nc -l -p 9000 > /tmp/received &'")
        lab.wait_for("the listener", lambda: ":9000 " in receiver.run("netstat -ltn"), START_S)
        sender.run(f"sh -c 'head -c {FILE_BYTES} /dev/urandom > /tmp/sent;"
                   f"nc {address} 9000 < /tmp/sent'")
        lab.wait_for("the file", lambda: int(self.site.guest.run(
            "wc -c < /tmp/received")) == FILE_BYTES, START_S)
        self.site.guest.run("killall tail")
        return self.site.guest.run("cmp /tmp/sent /tmp/received && echo same") == "same"


@pytest.fixture
def vlan(site):
    made = Vlan(site)
    yield made
    made.close()


def test_vlan(site, vlan):
    """Tagged frames work on both sides through the host, beside untagged ones on the fast path."""
    for address, size in (("198.51.100.1", 1472), ("2001:db8:2::1", 1452)):
        assert vlan.wan.ping(address, size), site.report()
    for address, size in (("10.3.0.1", 1472), ("fd03::1", 1452)):
        assert vlan.lan.ping(address, size), site.report()
    site.configure_client()
    for outside, client in zip(Vlan.OUTSIDE, ("198.51.100.2:41414", "[2001:db8:2::2]:41414")):
        # Whoever begins: no packet is lost, and the longest ones pass.
        vlan.connect(outside=outside)
        assert vlan.wan.ping("10.3.0.2") and vlan.wan.ping("fd03::2"), site.report()
        vlan.connect(client=client)
        assert vlan.lan.ping("10.9.0.3") and vlan.lan.ping("fd09::3"), site.report()
        assert vlan.wan.ping("10.3.0.2", 1392) and vlan.lan.ping("fd09::3", 1372), site.report()
        assert site.ping_from_wan() and site.ping_from_lan(), site.report()
    assert vlan.transfer(vlan.wan, vlan.lan, "10.3.0.2"), site.report()
    assert vlan.transfer(vlan.lan, vlan.wan, "fd09::3"), site.report()
    # What was untagged never left the fast path: the host saw the tagged client's packets only.
    assert site.telemetry("/wg/host,wg0")["socket_rx_packets"] > 0


@pytest.mark.parametrize("name", NICS)
def test_jumbo(lab_with_guest, name):
    """--mtu 9000 makes frames of 9,000 bytes, both ways on both ports, whole and unfragmented."""
    site = lab_with_guest
    site.start(NICS[name], "--mtu 9000", mtu=8920)
    try:
        for namespace in (site.wan, site.lan):
            namespace.ip("link", "set", "e0", "mtu", 9000)
        for outside in OUTSIDE:
            site.configure_client(outside, mtu=8920)
            assert ping(site.wan, "10.1.0.2", size=8892), site.report()
            assert ping(site.lan, "10.9.0.2", size=8892), site.report()
            assert ping(site.lan, "fd09::2", size=8872), site.report()
        assert transfer(site.lan, site.wan, "fd09::2"), site.report()
        # What goes to the host and what comes from it is as long.
        assert ping(site.lan, "10.1.0.1", size=8972), site.report()
        assert ping(site.wan, "10.9.0.1", size=8892), site.report()
    finally:
        for namespace in (site.wan, site.lan):
            namespace.ip("link", "set", "e0", "mtu", 1500)


def test_mtu_of_host_interface(lab_with_guest):
    """It can be lowered; beyond the port's it is set back, with a line that says how to get more."""
    site = lab_with_guest
    site.start(NICS["virtio"])
    site.guest.run("ip link set inner0 mtu 9000")
    lab.wait_for("the old MTU", lambda: "mtu 1500" in site.guest.run("ip link show inner0"))
    assert "--mtu 9000" in site.log()
    site.guest.run("ip link set inner0 mtu 1400")
    assert ping(site.wan, "10.1.0.2", size=1300)
    assert not ping(site.wan, "10.1.0.2", size=1380, deadline=1)
    assert "mtu 1400" in site.guest.run("ip link show inner0")


def test_vrf(lab_with_guest):
    """In a VRF its table counts, and the host forwards: main would lead the packets astray."""
    site = lab_with_guest
    site.start(NICS["virtio"])
    assert site.ping_from_wan() and site.ping_from_lan(), site.report()
    guest = site.guest
    try:
        guest.run("ip link add blue type vrf table 100; ip link set blue up")
        for link, addresses in (("inner0", "fd01::1/64"), ("wg0", "fd09::1/64")):
            # The kernel takes away IPv6 addresses of a link that changes its VRF, and routes.
            guest.run(f"ip link set {link} master blue; ip addr add {addresses} dev {link}")
        # To a neighbour that nobody is.
        for prefixes, astray in ((("10.1.0.0/24", "10.9.0.0/24"), "192.0.2.77"),
                                 (("fd01::/64", "fd09::/64"), "2001:db8:1::77")):
            guest.run(f"ip neigh add {astray} lladdr 02:00:00:00:77:77 dev outer0 nud permanent")
            for prefix in prefixes:
                guest.run(f"ip route add {prefix} via {astray}")
        lab.wait_for("the VRF to carry packets", site.ping_from_wan, timeout=30)
        assert site.ping_from_lan(), site.report()
        before = site.telemetry("/wg/host,wg0")["tx_packets"]
        assert ping(site.wan, "10.1.0.2", count=10), site.report()
        assert site.telemetry("/wg/host,wg0")["tx_packets"] >= before + 10
        # Without inner0 in the VRF there is no way from one to the other.
        guest.run("ip link set inner0 nomaster")
        lab.wait_for("the way's end", lambda: not ping(site.wan, "10.1.0.2", count=1, deadline=1))
        assert not ping(site.wan, "10.1.0.2", deadline=1)
    finally:
        site.end()
        # The first VRF has made a rule that stays.
        guest.run("ip link del blue; ip rule del pref 1000; ip -6 rule del pref 1000")


def test_vhost_net(lab_with_guest):
    """virtio-user on the kernel's vhost-net as inner port: a TAP, here a namespace's only link."""
    site, guest = lab_with_guest, lab_with_guest.guest
    nic = copy.copy(NICS["virtio"])
    nic.inner, nic.lcores = "net_virtio_user0", "0@0,1@1"
    nic.eal = (f"-a {nic.outer} --vdev net_virtio_user0,path=/dev/vhost-net,iface=host0,queue_size=1024,"
               "mac=02:00:00:00:00:01")
    site.start(nic)
    behind = GuestHost(guest, "behind", "host0")
    try:
        behind.set_up("host0", "10.1.0.3/24", "fd01::3/64")
        for gateway in ("10.1.0.1", "fd01::1"):
            behind.ip(f"route add default via {gateway}")
        for size in (56, 1360):
            for address in ("10.1.0.3", "fd01::3"):
                assert ping(site.wan, address, size), site.report()
            for address in ("10.9.0.2", "fd09::2"):
                assert behind.ping(address, size), site.report()
        port = site.telemetry("/wg/port,inner0")
        assert port["device"] == nic.inner, port
        assert "dpdk-wg: warning" not in site.log(), site.log()
    finally:
        site.end()
        guest.run("ip netns del behind")


def refused(site, command):
    """The program's own lines about why it did not start."""
    if site.running:
        site.end()
    text = site.guest.run(f"timeout 30 {command}", check=False)
    lines = [line for line in text.splitlines() if line.startswith("dpdk-wg: ")]
    assert site.guest.run("ls /sys/class/net") == "lo", "something is left"
    return lines


def test_nic_that_is_not_bound(lab_with_guest):
    site, nic = lab_with_guest, NICS["e1000"]
    site.bind(nic, None)
    try:
        lines = refused(site, site.command_line(nic, "--interface wg0"))
    finally:
        site.bind(nic, nic.driver)
    assert len(lines) == 1 and nic.outer in lines[0] and "dpdk-devbind.py" in lines[0], lines


def test_nic_that_is_not_there(lab_with_guest):
    nic = Nic("none", 0x1a, "vfio-pci", 1, False)
    lines = refused(lab_with_guest, lab_with_guest.command_line(nic, "--interface wg0"))
    assert len(lines) == 1 and nic.outer in lines[0], lines


def test_vfio_that_is_not_loaded(lab_with_guest):
    site, nic = lab_with_guest, NICS["virtio"]
    site.bind(nic, None)
    site.guest.run("mv /dev/vfio /dev/vfio-away")
    try:
        lines = refused(site, site.command_line(nic, "--interface wg0"))
    finally:
        site.guest.run("mv /dev/vfio-away /dev/vfio")
        site.bind(nic, nic.driver)
    assert len(lines) == 1 and nic.outer in lines[0] and "vfio-pci" in lines[0], lines


def test_nic_of_the_kernel(lab_with_guest):
    """A NIC that the kernel's own driver has is not taken from it."""
    site, nic = lab_with_guest, NICS["virtio"]
    site.bind(nic, "virtio-pci")
    try:
        lines = refused(site, site.command_line(nic, "--interface wg0"))
    finally:
        site.bind(nic, nic.driver)
    assert len(lines) == 1 and "virtio-pci" in lines[0] and nic.outer in lines[0], lines


def test_physical_addresses_without_hugepages(lab_with_guest):
    """--no-huge and a NIC without an IOMMU cannot go together."""
    nic = NICS["e1000"]
    command = lab_with_guest.command_line(nic, "--interface wg0").replace(
        "--in-memory", "--no-huge -m 256")
    lines = refused(lab_with_guest, command)
    assert len(lines) == 1 and "hugepages" in lines[0], lines


def test_mtu_beyond_the_device(lab_with_guest):
    nic = NICS["vmxnet3"]
    lines = refused(lab_with_guest, lab_with_guest.command_line(nic, "--interface wg0",
                                                                "--mtu 9216"))
    assert len(lines) == 1 and "9000" in lines[0] and "--mtu" in lines[0], lines


def test_no_hugepages(lab_with_guest):
    """The last test: what was given back to the guest's kernel may not come together again."""
    site, nic = lab_with_guest, NICS["virtio"]
    for pages in (0, 4):
        if site.running:
            site.end()
        site.guest.run(f"echo {pages} > /proc/sys/vm/nr_hugepages")
        lines = refused(site, site.command_line(nic, "--interface wg0"))
        assert len(lines) == 1 and "hugepages" in lines[0], lines
