# SPDX-License-Identifier: BSD-3-Clause
"""A lab of network namespaces: stock WireGuard peers around a running dpdk-wg.

    wan ── gw ── lan        wan: a client (wireguard-go)
                            gw:  dpdk-wg on two AF_PACKET ports
                            lan: a server

Everything that a Lab makes carries its own prefix and is taken down with it, also after a failure,
so that labs run side by side. Nothing is waited for by sleeping: see wait_for().
"""
import atexit
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOCKETS = "/var/run/wireguard"


class LabError(Exception):
    """Something in the lab did not come about; the text says what."""


def build_dir():
    return os.environ.get("DPDK_WG_BUILD", os.path.join(ROOT, "build"))


def wait_for(what, condition, timeout=10.0, every=0.02):
    """Polls until condition() is true and returns its value; LabError naming `what` after timeout."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise LabError(f"waited {timeout:g} s for {what}")
        time.sleep(every)


def run(*argv, check=True, timeout=60, **options):
    """Runs a command; returns its CompletedProcess with text output, LabError when it fails."""
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=timeout, check=False, **options)
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(map(str, argv))}: exit {done.returncode}: "
                       f"{(done.stderr or done.stdout).strip()}")
    return done


def all_answered(text, count):
    """
    Whether the first packets of a ping were answered, by what it wrote. It is to be told a deadline (-w),
    and goes on sending until then, or until so many answers have come. Without, it waits for the last
    answers only twice as long as the slowest before took, or an interval, whatever its -W says: on a
    machine that is busy they are there in time, and not read.
    """
    return set(range(1, count + 1)) <= set(map(int, re.findall(r"icmp_seq=(\d+) ttl=", text)))


def cpu_seconds(process):
    """User and system time that a running process has used."""
    with open(f"/proc/{process.pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def iperf(client, server, address, *options):
    """Moves one TCP stream from namespace to namespace; returns Gbit/s at the receiver."""
    listener = server.start("iperf3", "-s", "-1", "-B", address)
    wait_for("iperf3's socket",
             lambda: "5201" in server.run("ss", "-Hltn", "sport = :5201").stdout)
    done = client.run("iperf3", "-J", "-c", address, *options)
    server.lab.stop(listener)
    return json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] / 1e9


class Namespace:
    """A network namespace and the processes started in it."""

    def __init__(self, lab, name):
        self.lab = lab
        self.name = f"{lab.prefix}-{name}"
        run("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")
        self.sysctl("net.ipv6.conf.default.accept_dad", 0)

    def run(self, *argv, **options):
        return run("ip", "netns", "exec", self.name, *argv, **options)

    def ip(self, *args, **options):
        return run("ip", "-n", self.name, *args, **options)

    def ip_json(self, *args):
        return json.loads(run("ip", "-n", self.name, "-j", *args).stdout or "[]")

    def sysctl(self, key, value):
        self.run("sysctl", "-qw", f"{key}={value}")

    def start(self, *argv, log=None, **options):
        """Starts a process in the namespace; it is ended with the lab. Output goes to a log file."""
        path = os.path.join(self.lab.dir, log or f"{os.path.basename(str(argv[0]))}.log")
        with open(path, "ab") as output:
            process = subprocess.Popen(["ip", "netns", "exec", self.name, *map(str, argv)],
                                       stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                       **options)
        process.log = path
        self.lab.processes.append(process)
        return process

    def ping(self, address, count=3, interval=0.05, deadline=5, **options):
        """True when all packets come back; the last may take until the deadline."""
        done = self.run("ping", "-n", "-c", count, "-i", interval, "-w", deadline,
                        *options.pop("args", ()), address, check=False, **options)
        whole = all_answered(done.stdout, count)
        if not whole:
            print(done.stdout)
        return whole

    def set_up(self, link, *addresses, mtu=None):
        for address in addresses:
            self.ip("addr", "replace", address, "dev", link, *(["nodad"] if ":" in address else []))
        self.ip("link", "set", link, *(["mtu", mtu] if mtu else []), "up")


class WireguardGo:
    """A stock wireguard-go in a namespace."""

    def __init__(self, namespace, name):
        self.namespace = namespace
        self.name = f"{namespace.lab.short}{name}"
        self.private_key = run("wg", "genkey").stdout.strip()
        self.public_key = run("wg", "pubkey", input=self.private_key).stdout.strip()
        self.start()

    def start(self):
        self.process = self.namespace.start("wireguard-go", "-f", self.name, log=f"{self.name}.log")
        wait_for(f"wireguard-go {self.name}", self.listens)

    def listens(self):
        """Not asked by way of `wg`, which removes a socket that is bound and does not listen yet."""
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(f"{SOCKETS}/{self.name}.sock") == 0

    def stop(self):
        self.namespace.lab.stop(self.process)

    def set(self, *args):
        return run("wg", "set", self.name, *args)

    def set_private_key(self, *args):
        return run("wg", "set", self.name, "private-key", "/dev/stdin", *args,
                   input=self.private_key)

    def show(self, what):
        return run("wg", "show", self.name, what).stdout.strip()


class Gateway:
    """
    dpdk-wg in a namespace. Devices are the names of network devices there, which become AF_PACKET
    ports, or whole --vdev arguments.
    """

    lcores = "0@0,1@1"  # control's, and one worker's
    environment = None  # another one than the test's own
    before_exec = None  # done in the process that becomes the program

    def __init__(self, namespace, outer, inner=(), name=None, config=None, options=(), eal=(),
                 wait=True):
        self.namespace = namespace
        self.lab = namespace.lab
        self.name = name or f"{self.lab.short}gw"
        self.outer, self.inner = list(outer), list(inner)
        self.options, self.eal = list(options), list(eal)
        self.config = None
        if config is not None:
            self.config = os.path.join(self.lab.dir, f"{self.name}.conf")
            self.write_config(config)
        self.process = None
        if wait:
            self.start()

    def write_config(self, text):
        with open(self.config, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)

    def argv(self):
        file_prefix = f"{self.lab.prefix}-{self.name}"
        argv = [os.path.join(build_dir(), "app/dpdk-wg"), "--no-pci", "--no-huge", "-m", "256",
                "--file-prefix", file_prefix, "--lcores", self.lcores, *self.eal]
        names = {}
        for device in dict.fromkeys(self.outer + self.inner):
            if "," not in device:
                device_argument = f"net_af_packet{len(names)},iface={device}"
            else:
                device_argument = device
            names[device] = device_argument.split(",")[0]
            argv += ["--vdev", device_argument]
        argv.append("--")
        for kind, devices in (("--outer", self.outer), ("--inner", self.inner)):
            for device in devices:
                argv += [kind, names[device]]
        argv += ["--config", self.config] if self.config else ["--interface", self.name]
        return argv + self.options

    @property
    def socket(self):
        return f"{SOCKETS}/{self.name}.sock"

    def start(self):
        self.process = self.namespace.start(*self.argv(), log=f"{self.name}.log",
                                            env=self.environment, preexec_fn=self.before_exec)

        def ready():
            if self.process.poll() is not None:
                raise LabError(f"dpdk-wg ended with {self.process.returncode}: {self.tail()}")
            return run("wg", "show", self.name, check=False).returncode == 0

        wait_for("dpdk-wg's socket", ready, timeout=20)

    def stop(self, number=signal.SIGTERM, timeout=10):
        """Ends the program and returns its exit status."""
        return self.lab.stop(self.process, number, timeout)

    def tail(self, lines=15):
        with open(self.process.log, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:])

    def show(self, what=None):
        return run("wg", "show", self.name, *([what] if what else [])).stdout.strip()

    def set(self, *args, **options):
        return run("wg", "set", self.name, *args, **options)

    def telemetry(self, command):
        """The answer of one telemetry command, decoded."""
        path = f"/var/run/dpdk/{self.lab.prefix}-{self.name}/dpdk_telemetry.v2"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            # It listens for one at a time: only a socket that blocks waits for its turn.
            sock.connect(path)
            sock.settimeout(10)
            limit = json.loads(sock.recv(1024))["max_output_len"]
            sock.send(command.encode())
            return json.loads(sock.recv(limit))[command.split(",")[0]]

    def drops(self):
        """Drop reasons with a count above zero."""
        return {name: count for name, count in self.telemetry("/wg/drops").items() if count}


class Lab:
    """Holds namespaces, links and processes; use as a context manager."""

    serial = 0

    def __init__(self, keep=False):
        Lab.serial += 1
        self.short = f"w{os.getpid() % 100000}{chr(97 + Lab.serial % 26)}"
        self.prefix = f"dpdk-wg-{os.getpid()}-{Lab.serial}"
        self.dir = tempfile.mkdtemp(prefix=f"{self.prefix}-")
        self.namespaces, self.processes = [], []
        self.keep = keep
        if not keep:
            atexit.register(self.close)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if not self.keep:
            self.close()

    def namespace(self, name):
        namespace = Namespace(self, name)
        self.namespaces.append(namespace)
        return namespace

    def link(self, a, a_name, b, b_name):
        """Joins two namespaces by a veth pair whose frames leave whole and with full checksums."""
        run("ip", "link", "add", a_name, "netns", a.name, "type", "veth",
            "peer", "name", b_name, "netns", b.name)
        for namespace, name in ((a, a_name), (b, b_name)):
            namespace.run("ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off", "gro",
                          "off", "tx-udp-segmentation", "off", check=False)

    def port(self, gateway, netdev):
        """Makes netdev a cable of the gateway: only dpdk-wg, not the kernel, answers on it."""
        gateway.sysctl(f"net.ipv6.conf.{netdev}.disable_ipv6", 1)
        gateway.sysctl(f"net.ipv4.conf.{netdev}.rp_filter", 1)
        gateway.ip("link", "set", netdev, "arp", "off")
        gateway.ip("link", "set", netdev, "up")

    def stop(self, process, number=signal.SIGTERM, timeout=10):
        """Ends a process of this lab and returns its exit status."""
        if process.poll() is None:
            # `ip netns exec` becomes the program: the pid is the program's own.
            process.send_signal(number)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return process.returncode

    def close(self):
        atexit.unregister(self.close)
        for process in reversed(self.processes):
            self.stop(process)
        while self.namespaces:
            run("ip", "netns", "del", self.namespaces.pop().name, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


class Topology(Lab):
    """wan ── gw ── lan with addresses; the gateway and the client are started by the caller."""

    WAN = ("192.0.2.2/24", "2001:db8:1::2/64")
    GW_OUTER = ("192.0.2.1/24", "2001:db8:1::1/64")
    GW_INNER = ("10.1.0.1/24", "fd01::1/64")
    LAN = ("10.1.0.2/24", "fd01::2/64")

    def __init__(self, keep=False):
        super().__init__(keep)
        self.wan, self.gw, self.lan = map(self.namespace, ("wan", "gw", "lan"))
        self.link(self.wan, "e0", self.gw, "v_out")
        self.link(self.lan, "e0", self.gw, "v_in")
        for netdev in ("v_out", "v_in"):
            self.port(self.gw, netdev)
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.gw.sysctl(key, 1)
        self.gw.sysctl("net.ipv4.conf.all.rp_filter", 0)
        self.wan.set_up("e0", *self.WAN)
        self.lan.set_up("e0", *self.LAN)
        self.lan.ip("route", "add", "default", "via", "10.1.0.1")
        self.lan.ip("-6", "route", "add", "default", "via", "fd01::1")

    def address_gateway(self, inner=True):
        """Gives the host sides of the ports their addresses, once the gateway runs."""
        self.gw.set_up("outer0", *self.GW_OUTER)
        if inner:
            self.gw.set_up("inner0", *self.GW_INNER)


def keypair():
    private = run("wg", "genkey").stdout.strip()
    return private, run("wg", "pubkey", input=private).stdout.strip()


class Site:
    """The standard topology with a gateway at its centre and a client in wan that may use it."""

    TUNNEL_GW = ("10.9.0.1/24", "fd09::1/64")
    TUNNEL_CLIENT = ("10.9.0.2", "fd09::2")

    def __init__(self, topology, outside="192.0.2.1:51820", options=(), psk=None, extra="",
                 interface="", outer=("v_out",), inner=("v_in",), gateway=None):
        self.topology = topology
        self.private_key, self.public_key = keypair()
        self.client = WireguardGo(topology.wan, "cl")
        self.psk = psk
        config = f"""[Interface]
PrivateKey = {self.private_key}
ListenPort = 51820
Address = {", ".join(self.TUNNEL_GW)}
{interface}

[Peer]
PublicKey = {self.client.public_key}
{f"PresharedKey = {psk}" if psk else ""}
AllowedIPs = {", ".join(self.TUNNEL_CLIENT)}
{extra}
"""
        make = gateway or Gateway
        self.gateway = make(topology.gw, outer, inner, config=config, options=options)
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


@contextlib.contextmanager
def bench(kind, *args):
    """kind(topology, *args), which has a gateway that must end well."""
    with Topology() as topology:
        made = kind(topology, *args)
        yield made
        assert made.gateway.stop() == 0, made.gateway.tail()


def on_signals_close(lab):
    """Takes the lab down when the script is ended by a signal."""
    def handler(number, _frame):
        lab.close()
        sys.exit(128 + number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)
