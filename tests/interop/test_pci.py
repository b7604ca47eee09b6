# SPDX-License-Identifier: BSD-3-Clause
"""
dpdk-wg on NICs: in a guest with emulated ones, bound to vfio-pci (with an IOMMU) or uio_pci_generic,
on huge pages, as on a real machine.

    wan ── br_out ══ outer NICs ─ guest ─ inner NICs ══ br_in ── lan

There are two NICs of each kind; all outer ones hang on one bridge, all inner ones on the other. The
bridges are this machine's, and so are the client in wan (wireguard-go) and the server in lan.
"""
import glob
import hashlib
import json
import os
import re
import struct

import guest as guests
import lab
import pytest

PMDS = ("bus_pci", "bus_vdev", "mempool_ring", "mempool_stack", "net_e1000", "net_virtio",
        "net_vmxnet3")
MODULES = ("tun", "virtio_pci", "vfio_pci", "vfio_iommu_type1", "uio_pci_generic")
ALLOWED = "10.1.0.0/24,10.9.0.0/24,fd01::/64,fd09::/64"
OUTSIDE = ("192.0.2.1:51820", "[2001:db8:1::1]:51820")
FILE_BYTES = 300007
# A program takes so long to start at most: qemu is not alone on its CPUs.
START_S = 40


class Nic:
    """A kind of NIC: qemu's device, the driver it is bound to, what the port should make of it."""

    def __init__(self, device, slot, driver, queues, spreads, lcores="0@0,(1-2)@1"):
        self.device, self.slot, self.driver = device, slot, driver
        self.queues, self.spreads, self.lcores = queues, spreads, lcores
        self.offload = True  # of UDP checksums
        self.outer, self.inner = (f"0000:00:{at:02x}.0" for at in (slot, slot + 1))


NICS = {
    "virtio": Nic("virtio-net-pci,disable-legacy=on,iommu_platform=on,mq=on,vectors=6,"
                  "rx_queue_size=1024", 0x10, "vfio-pci", 2, True),
    "vmxnet3": Nic("vmxnet3", 0x12, "vfio-pci", 2, False, lcores="0@0,(1-3)@1"),
    "e1000": Nic("e1000", 0x14, "uio_pci_generic", 1, False),
    "e1000e": Nic("e1000e", 0x16, "vfio-pci", 1, False),
}


def qemu_devices():
    devices = ["-device", "intel-iommu,intremap=on"]
    for name, nic in NICS.items():
        for side, at in (("o", nic.slot), ("i", nic.slot + 1)):
            queues = f",queues={nic.queues}" if "mq=on" in nic.device else ""
            devices += ["-netdev", f"tap,id=net{at},ifname={side}_{name},script=no,"
                        f"downscript=no{queues}",
                        "-device", f"{nic.device},id=nic{at},netdev=net{at},addr={at:#x},romfile=,"
                        f"mac=52:54:00:00:00:{at:02x}"]
    return devices


def add_gateway(archive):
    """dpdk-wg, its libraries, and the drivers that EAL loads from its own directory."""
    archive.add_program(os.path.join(lab.build_dir(), "app/dpdk-wg"), "sbin/dpdk-wg")
    archive.add_program("socat", "sbin/socat")
    for path in glob.glob("/lib/*/libgcc_s.so.1"):
        archive.add(path, guests.read(path))  # glibc loads it by name when a thread is to end
    for directory in glob.glob("/usr/lib/*/dpdk/pmds-*"):
        found = [path for pmd in PMDS for path in glob.glob(f"{directory}/librte_{pmd}.so.*.*")]
        for path in found:
            archive.add_program(path)
        for path in found:
            library = f"/lib/{path.split('/')[3]}/{os.path.basename(path).rpartition('.')[0]}"
            # Loaded under two names it would register twice.
            if archive.has(library):
                archive.link(path, library)
            else:
                archive.add(path, guests.read(path))


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


def ping(namespace, address, size=56, deadline=10, count=3):
    """True when so many answers came by the deadline: an emulated CPU makes some of them late."""
    done = namespace.run("ping", "-n", "-q", "-c", count, "-i", 0.1, "-w", deadline, "-s", size,
                         "-M", "do", address, check=False)
    print(done.stdout)
    return int(re.search(r"(\d+) received", done.stdout).group(1)) >= count


class Capture:
    """The frames that a namespace receives, while it is entered."""

    PROGRAM = ("import socket, sys\n"
               "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))\n"
               "s.bind(('e0', 0))\nprint('open', flush=True)\n"
               "while True:\n d, a = s.recvfrom(65536)\n"
               " if a[2] == 0: print(d.hex(), flush=True)\n")

    def __init__(self, namespace):
        self.namespace = namespace

    def __enter__(self):
        self.process = self.namespace.start("python3", "-c", self.PROGRAM, log=f"capture-{self.namespace.name}")
        self.begin = os.path.getsize(self.process.log)
        lab.wait_for("the capture", lambda: "open" in self.text(), START_S)
        return self

    def __exit__(self, *error):
        self.namespace.lab.stop(self.process)

    def text(self):
        with open(self.process.log, encoding="utf-8") as file:
            file.seek(self.begin)
            return file.read()

    def frames(self):
        return [bytes.fromhex(line) for line in self.text().split()[1:]]


class PciSite(lab.Lab):
    """The lab with its running guest. One gateway at a time runs in it: start()."""

    def __init__(self):
        super().__init__()
        self.wan, self.lan = self.namespace("wan"), self.namespace("lan")
        self.guest = guests.Guest(
            self, qemu_devices(), modules=MODULES, add_more=add_gateway, cpus=2, memory=1024,
            append="intel_iommu=on iommu=pt hugepages=256")
        self.join()
        self.wan.set_up("e0", "192.0.2.2/24", "2001:db8:1::2/64")
        self.lan.set_up("e0", "10.1.0.2/24", "fd01::2/64")
        self.lan.ip("route", "add", "default", "via", "10.1.0.1")
        self.lan.ip("-6", "route", "add", "default", "via", "fd01::1")
        self.running = None
        for nic in NICS.values():
            self.bind(nic, nic.driver)
        self.guest.run("echo 1 > /proc/sys/net/ipv4/ip_forward;"
                       "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
        self.private_key, self.public_key = lab.keypair()
        self.client = lab.WireguardGo(self.wan, "cl")

    def join(self):
        """Bridges between qemu's ends of the NICs and the namespaces."""
        qemu = self.guest.namespace
        for bridge, side, namespace in (("br_out", "o", self.wan), ("br_in", "i", self.lan)):
            qemu.ip("link", "add", bridge, "type", "bridge", "mcast_snooping", "0")
            qemu.sysctl(f"net.ipv6.conf.{bridge}.disable_ipv6", 1)
            # Checksums are complete behind the veth pair, and verified by who receives.
            self.link(namespace, "e0", qemu, f"v_{side}")
            for netdev in (f"v_{side}", *(f"{side}_{name}" for name in NICS)):
                qemu.sysctl(f"net.ipv6.conf.{netdev}.disable_ipv6", 1)
                qemu.ip("link", "set", netdev, "mtu", 9000, "master", bridge, "up")
            qemu.ip("link", "set", bridge, "up")

    def bind(self, nic, driver):
        """As dpdk-devbind.py does, while nothing runs on it. None: no driver has it then."""
        if self.running:
            self.end()
        for device in (nic.outer, nic.inner):
            path = f"/sys/bus/pci/devices/{device}"
            self.guest.run(f"if [ -e {path}/driver ]; then echo {device} > {path}/driver/unbind; fi;"
                           f"echo {driver or 'none'} > {path}/driver_override;"
                           f"echo {device} > /sys/bus/pci/drivers_probe")
        bound = self.guest.run(f"readlink /sys/bus/pci/devices/{nic.outer}/driver", check=False)
        assert os.path.basename(bound) == (driver or ""), bound

    def command_line(self, nic, *options):
        return (f"dpdk-wg --in-memory --lcores '{nic.lcores}' -a {nic.outer} -a {nic.inner} -- "
                f"--outer {nic.outer} --inner {nic.inner} {' '.join(options)}")

    def start(self, nic, *options, mtu=1420):
        if self.running:
            self.end()
        self.guest.write("/tmp/wg0.conf", f"""[Interface]
PrivateKey = {self.private_key}
ListenPort = 51820
Address = 10.9.0.1/24, fd09::1/64
MTU = {mtu}
[Peer]
PublicKey = {self.client.public_key}
AllowedIPs = 10.9.0.2/32, fd09::2/128
""".replace("\n", "\\n"))
        self.guest.run("printf \"$(cat /tmp/wg0.conf)\" > /tmp/wg0.conf; chmod 600 /tmp/wg0.conf")
        line = self.command_line(nic, "--config /tmp/wg0.conf", *options)
        self.guest.run(f"({line} > /tmp/log 2>&1; echo ended $? >> /tmp/log) &")
        self.running = nic

        def ready():
            log = self.log()
            if "ended" in log:
                raise lab.LabError(log)
            return "ready:" in log

        lab.wait_for("dpdk-wg in the guest", ready, timeout=60, every=0.2)
        self.guest.run(
            "for n in outer0:192.0.2.1/24 outer0:2001:db8:1::1/64 inner0:10.1.0.1/24 "
            "inner0:fd01::1/64; do ip addr add ${n#*:} dev ${n%%:*}; done;"
            "ip link set outer0 up; ip link set inner0 up")
        for name in ("outer0", "inner0"):
            lab.wait_for(f"the link of {name}", lambda: self.carrier(name), timeout=30, every=0.2)
        self.configure_client(mtu=mtu)

    def end(self):
        """Ends the gateway, which has to end well."""
        self.running = None
        self.guest.run("killall -TERM dpdk-wg")
        lab.wait_for("dpdk-wg's end", lambda: "ended" in self.log(), timeout=60, every=0.2)
        assert "ended 0" in self.log(), self.log()

    def configure_client(self, endpoint=OUTSIDE[0], mtu=1420):
        """Made anew: no session is left, nor what a gateway on other NICs had for addresses."""
        for namespace in (self.wan, self.lan):
            namespace.ip("neigh", "flush", "dev", "e0")
        known = ["endpoint", endpoint] if endpoint else []
        self.client.set("peer", self.public_key, "remove")
        self.client.set_private_key("listen-port", 41414, "peer", self.public_key,
                                    "allowed-ips", ALLOWED, *known)
        self.wan.set_up(self.client.name, "10.9.0.2/32", "fd09::2/128", mtu=mtu)
        for prefix in ALLOWED.split(","):
            self.wan.ip("route", "replace", prefix, "dev", self.client.name)

    def log(self):
        return self.guest.run("cat /tmp/log")

    def telemetry(self, command):
        text = self.guest.run(f"(printf {command}; sleep 0.3) | socat -t 5 - "
                              "UNIX-CONNECT:/var/run/dpdk/rte/dpdk_telemetry.v2,type=5; echo")
        return json.loads(text[text.index(f'{{"{command.split(",")[0]}"'):])[command.split(",")[0]]

    def report(self):
        """What is known of a failure."""
        drops = {name: n for name, n in self.telemetry("/wg/drops").items() if n}
        return "\n".join((self.log()[-3000:], self.guest.run("wg show; ip addr; ip neigh"),
                          str(drops), self.guest.log()))

    def capture(self):
        return Capture(self.wan)

    def carrier(self, name):
        return "LOWER_UP" in self.guest.run(f"ip link show {name}")

    def set_link(self, at, up):
        self.guest.command("set_link", name=f"nic{at}", up=up)

    def ping_from_wan(self):
        return ping(self.wan, "10.1.0.2") and ping(self.wan, "fd01::2")

    def ping_from_lan(self):
        return ping(self.lan, "10.9.0.2") and ping(self.lan, "fd09::2")


@pytest.fixture(scope="module")
def lab_with_guest():
    if os.environ.get("DPDK_WG_FULL") != "yes":
        pytest.skip("takes some minutes: DPDK_WG_FULL=yes")
    lacking = guests.missing("socat")
    if lacking:
        pytest.skip(f"{lacking} is missing: scripts/setup --full")
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
