# SPDX-License-Identifier: BSD-3-Clause
"""
A Linux kernel in qemu with its own WireGuard, and nothing else of a system: a stock Debian kernel
(unpacked by `scripts/setup --tests`) with an initramfs made here. Commands are given to a shell in it
over a serial line.

Which hardware it has, and what more is in the initramfs, says who makes it: vhost_nic() is a NIC in
shared memory with a DPDK net_vhost port. No KVM is needed; booting takes some seconds.
"""
import glob
import gzip
import json
import os
import re
import shlex
import shutil
import socket
import stat

import lab

KERNEL = os.environ.get("DPDK_WG_KERNEL", os.path.join(lab.ROOT, "build-kernel"))
TOOLS = ("wg", "ip")

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /bin /sbin /run /var/run
/bin/busybox --install -s /bin
chmod 755 /
export PATH=/sbin:/bin WG_COLOR_MODE=never
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
while read -r module; do insmod "/modules/$module" || echo "insmod $module: failed"; done < /modules/order
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
# The shell prefers the applet of busybox, which knows less.
ip() { /sbin/ip "$@"; }
ip link set lo up
stty raw -echo < /dev/ttyS1
exec < /dev/ttyS1 > /dev/ttyS1 2>&1
echo "=up 0"
# A serial line may lose bytes: what is not as long as it should be is asked for again.
while read -r length command; do
	if [ "${#command}" = "$length" ]; then eval "$command" < /dev/null 2>&1; echo "=done $?"
	else echo "=again 0"; fi
done
poweroff -f
"""


def missing(*programs):
    """What is not on this machine, or None."""
    for program in ("qemu-system-x86_64", "busybox", *TOOLS, *programs):
        if not shutil.which(program):
            return program
    if not os.path.exists(os.path.join(KERNEL, "complete")):
        return KERNEL
    if re.search(r"=> /", lab.run("ldd", shutil.which("busybox"), check=False).stdout):
        return "a static busybox"
    return None


class Initramfs:
    """An archive of the kind that the kernel unpacks (newc cpio), made file by file."""

    def __init__(self):
        self.parts, self.names = [], set()

    def _entry(self, name, mode, data=b""):
        header = "070701" + "".join(f"{field:08x}" for field in (
            len(self.names), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
        head = header.encode() + name.encode() + b"\0"
        self.parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]
        self.names.add(name)

    def add(self, name, data, mode=0o755, kind=stat.S_IFREG):
        """A file, and the directories that lead to it."""
        name = name.lstrip("/")
        if name in self.names:
            return
        parents = name.split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            directory = "/".join(parents[:depth])
            if directory not in self.names:
                self._entry(directory, stat.S_IFDIR | 0o755)
        self._entry(name, kind | mode, data)

    def has(self, name):
        return name.lstrip("/") in self.names

    def link(self, name, target):
        self.add(name, target.encode(), kind=stat.S_IFLNK)

    def add_program(self, program, path=None):
        """A program of this machine with its libraries; without a path, only these."""
        real = os.path.realpath(shutil.which(program) or program)
        if path:
            self.add(path, read(real))
        for library in re.findall(r"(/\S+) \(0x", lab.run("ldd", real, check=False).stdout):
            self.add(library, read(library))

    def bytes(self):
        self._entry("TRAILER!!!", 0)
        return gzip.compress(b"".join(self.parts), compresslevel=1)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def module_order(names):
    """The files of these kernel modules and of what they need, needed ones first."""
    files = {os.path.basename(path)[:-3].replace("-", "_"): path for path in
             glob.glob(os.path.join(KERNEL, "lib/modules/*/kernel/**/*.ko"), recursive=True)}
    order = []

    def visit(name):
        path = files.get(name.replace("-", "_"))
        if path is None or path in order:
            return  # built in
        needs = re.search(rb"\0depends=([^\0]*)\0", read(path))
        for need in (needs.group(1).decode().split(",") if needs else []):
            if need:
                visit(need)
        order.append(path)

    for name in names:
        visit(name)
    return order


def initramfs(modules, add_more):
    archive = Initramfs()
    archive.add("init", INIT.encode())
    archive.add("bin/busybox", read(os.path.realpath(shutil.which("busybox"))))
    for tool in TOOLS:
        archive.add_program(tool, f"sbin/{tool}")
    order = module_order(modules)
    for path in order:
        archive.add(f"modules/{os.path.basename(path)}", read(path), 0o644)
    archive.add("modules/order", "".join(f"{os.path.basename(p)}\n" for p in order).encode())
    add_more(archive)
    return archive.bytes()


def vhost_nic(path):
    """A virtio NIC joined to the net_vhost port at this socket, which is there already."""
    # vectors=0: qemu's interrupt descriptors for vhost do not work without KVM.
    return ("-chardev", f"socket,id=nic,path={path}", "-netdev", "vhost-user,id=net,chardev=nic",
            "-device", "virtio-net-pci,netdev=net,romfile=,vectors=0")


class Guest:
    """A running guest; it is ended with the lab."""

    def __init__(self, in_lab, devices, modules=("virtio_pci", "virtio_net", "wireguard"),
                 add_more=lambda archive: None, cpus=1, memory=256, append=""):
        self.lab = in_lab
        image = os.path.join(in_lab.dir, "initramfs")
        console = os.path.join(in_lab.dir, "console.sock")
        monitor = os.path.join(in_lab.dir, "monitor.sock")
        self.namespace = in_lab.namespace("qemu")
        with open(image, "wb") as file:
            file.write(initramfs(modules, add_more))
        kernel = glob.glob(os.path.join(KERNEL, "boot/vmlinuz-*"))[0]
        self.process = self.namespace.start(
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot", "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", cpus, "-m", memory,
            "-object", f"memory-backend-memfd,id=ram,size={memory}M,share=on",
            "-numa", "node,memdev=ram", "-kernel", kernel, "-initrd", image,
            "-append", f"console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=1 {append}",
            "-serial", "stdio", "-serial", f"unix:{console},server=on,wait=off",
            "-qmp", f"unix:{monitor},server=on,wait=off", *devices, log="guest.log")
        lab.wait_for("qemu's console", lambda: self.alive() and os.path.exists(console))
        self.console = socket.socket(socket.AF_UNIX)
        self.console.connect(console)
        self.pending = b""
        self.monitor = socket.socket(socket.AF_UNIX)
        self.monitor.settimeout(10)
        self.monitor.connect(monitor)
        self.command("qmp_capabilities")
        self.answer("up", timeout=120)

    def alive(self):
        if self.process.poll() is not None:
            raise lab.LabError(f"qemu ended with {self.process.returncode}: {self.log()}")
        return True

    def log(self):
        with open(self.process.log, encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:]

    def answer(self, mark, timeout):
        """Reads up to a line of =mark and a number: (mark, the text before it, number)."""
        self.console.settimeout(timeout)
        pattern = re.compile(rf"(?:^|\n)=({mark}) (\d+)\r?\n".encode())
        while not (found := pattern.search(self.pending)):
            try:
                got = self.console.recv(65536)
            except socket.timeout:
                got = b""
            if not got:
                raise lab.LabError(f"the guest does not answer: {self.pending!r} {self.log()}")
            self.pending += got
        text = self.pending[:found.start()].decode(errors="replace").replace("\r", "")
        self.pending = self.pending[found.end():]
        return found.group(1).decode(), text.strip(), int(found.group(2))

    def run(self, command, check=True, timeout=60):
        """Runs a line of shell in the guest and returns what it prints."""
        command = command.strip()
        assert "\n" not in command and command.isascii()
        line = f"{len(command)} {command}\n".encode()
        self.console.sendall(line)
        while (answer := self.answer("done|again", timeout))[0] == "again":
            self.console.sendall(line)
        _, text, status = answer
        if check and status != 0:
            raise lab.LabError(f"guest: {command}: exit {status}: {text}")
        return text

    def command(self, execute, **arguments):
        """A command to qemu itself, which is carried out when this returns."""
        self.monitor.sendall(json.dumps({"execute": execute, "arguments": arguments}).encode())
        got = b""
        while b'{"return"' not in got:
            part = self.monitor.recv(65536)
            got += part
            if not part or b'{"error"' in got:
                raise lab.LabError(f"qemu: {execute}: {got!r}")

    def write(self, path, text):
        self.run(f"printf %s {shlex.quote(text)} > {path}")

    def ping(self, address, count=3, interval=0.1, deadline=10):
        text = self.run(f"ping -c {count} -i {interval} -w {deadline} -q {address}", check=False)
        return f" {count} packets received" in text
