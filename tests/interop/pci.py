# SPDX-License-Identifier: BSD-3-Clause
"""
The lab of test_pci.py: dpdk-wg in a guest with emulated NICs, bound to vfio-pci (with an IOMMU) or
uio_pci_generic, on huge pages, as on a real machine.

    wan ── br_out ══ outer NICs ─ guest ─ inner NICs ══ br_in ── lan

There are two NICs of each kind; all outer ones hang on one bridge, all inner ones on the other. The
bridges are this machine's, and so are the client in wan (wireguard-go) and the server in lan.

One more pair, KERNEL, stays with the guest's kernel, for hosts that need what only that has (VLANs):
GuestHost.
"""
import glob
import json
import os
import re

import guest as guests
import lab

PMDS = ("bus_pci", "bus_vdev", "mempool_ring", "mempool_stack", "net_e1000", "net_virtio",
        "net_vmxnet3")
MODULES = ("tun", "vhost_net", "virtio_pci", "vfio_pci", "vfio_iommu_type1", "uio_pci_generic", "e1000e",
           "8021q", "vrf", "wireguard")
ALLOWED = "10.1.0.0/24,10.9.0.0/24,fd01::/64,fd09::/64"
OUTSIDE = ("192.0.2.1:51820", "[2001:db8:1::1]:51820")
# A program takes so long to start at most: qemu is not alone on its CPUs.
START_S = 40


class Nic:
    """A kind of NIC: qemu's device, the driver it is bound to, what the port should make of it."""

    def __init__(self, device, slot, driver, queues, spreads, lcores="0@0,(1-2)@1"):
        self.device, self.slot, self.driver = device, slot, driver
        self.queues, self.spreads, self.lcores = queues, spreads, lcores
        self.offload = True  # of UDP checksums
        self.outer, self.inner = (f"0000:00:{at:02x}.0" for at in (slot, slot + 1))
        self.eal = f"-a {self.outer} -a {self.inner}"


NICS = {
    "virtio": Nic("virtio-net-pci,disable-legacy=on,iommu_platform=on,mq=on,vectors=6,"
                  "rx_queue_size=1024", 0x10, "vfio-pci", 2, True),
    "vmxnet3": Nic("vmxnet3", 0x12, "vfio-pci", 2, False, lcores="0@0,(1-3)@1"),
    "e1000": Nic("e1000", 0x14, "uio_pci_generic", 1, False),
    "e1000e": Nic("e1000e", 0x16, "vfio-pci", 1, False),
}
KERNEL = Nic("e1000e", 0x18, "e1000e", 1, False)
ALL_NICS = {**NICS, "kernel": KERNEL}


def qemu_devices():
    devices = ["-device", "intel-iommu,intremap=on"]
    for name, nic in ALL_NICS.items():
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


class GuestHost:
    """A network namespace of the guest's with this link, which the guest's kernel has."""

    def __init__(self, guest, name, link):
        self.guest, self.name, self.nic = guest, name, link
        guest.run(f"ip netns add {name}; ip link set {link} netns {name}; ip -n {name} link set {link} up")

    def run(self, command, **options):
        return self.guest.run(f"ip netns exec {self.name} {command}", **options)

    def ip(self, args):
        return self.guest.run(f"ip -n {self.name} {args}")

    def set_up(self, link, *addresses):
        for address in addresses:
            self.ip(f"addr add {address} dev {link} {'nodad' if ':' in address else ''}")
        self.ip(f"link set {link} up")

    def ping(self, address, size=56):
        text = self.run(f"ping -c 3 -i 0.1 -w 10 -q -s {size} {address}", check=False)
        print(text)
        return int(re.search(r"(\d+) packets received", text).group(1)) >= 3


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
        for nic in ALL_NICS.values():
            self.bind(nic, nic.driver)
        self.guest_wan, self.guest_lan = (
            GuestHost(self.guest, name, self.guest.run(f"ls /sys/bus/pci/devices/{device}/net"))
            for name, device in (("wan", KERNEL.outer), ("lan", KERNEL.inner)))
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
            for netdev in (f"v_{side}", *(f"{side}_{name}" for name in ALL_NICS)):
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
        return (f"dpdk-wg --in-memory --lcores '{nic.lcores}' {nic.eal} -- --outer {nic.outer} "
                f"--inner {nic.inner} {' '.join(options)}")

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
