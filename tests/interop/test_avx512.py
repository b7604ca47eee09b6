# SPDX-License-Identifier: BSD-3-Clause
"""
The AEAD's AVX-512 code on a CPU that bochs emulates: a stock kernel (guest.py) runs programs of the
build from an initramfs, one after the other; what they print comes over a serial line.

Where this machine's CPU has AVX-512 IFMA, its own tests run all of this, and nothing here does.
"""
import glob
import os
import re
import select
import shutil
import time
import tty

import guest as guests
import lab
import pytest
from full import FULL


SEEDS = os.path.join(lab.ROOT, "tests/fuzz/seeds/aead")
AEAD = "tests/unit/crypto/test_crypto_aead_batch"
PROGRAMS = {
    # All backends, the automatic one too.
    "seeds": (os.path.join(lab.build_dir(), "tests/fuzz/fuzz_seeds_aead"), SEEDS),
    "avx512": (os.path.join(lab.build_dir(), AEAD), "avx512"),
    # What another compiler spills is spilled elsewhere; it is wiped there, too.
    "avx512-clang": (os.path.join(lab.ROOT, "build-clang", AEAD), "avx512"),
}

# Two minutes of CPU time until the kernel is up, and two for each run of the unit tests; but others may
# have the CPUs.
TIMEOUT_S = 3600

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t devtmpfs none /dev
while read -r name command; do
	echo "=begin $name"
	$command 2>&1
	echo "=end $name $?"
done < /programs
exec /bin/busybox sleep inf
"""  # Its reader ends it: switched off, it would lose the last line that it has not sent.

LOADER = ("/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32")
# clearcpuid: Linux would believe what this bochs says of its CPU, and it is not so. Where registers are
# saved compactly, and where protection keys are (the kernel would do without all registers of AVX);
# that short copies are fast (fsrm) where long ones are not (its memmove() would run over the end).
LOADER_CONFIG = """default linux
label linux
kernel vmlinuz
initrd initrd
append console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=1 nokaslr \
clearcpuid=pku,xsavec,xsaves,fsrm
"""

BOCHS_CONFIG = """cpu: model=corei7_icelake_u, ips=50000000, reset_on_triple_fault=0
memory: guest=256, host=256
romimage: file=/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0-master: type=cdrom, path={disc}, status=inserted
boot: cdrom
com1: enabled=1, mode=term, dev={console}
log: {log}
panic: action=fatal
# Debian's has no display library for no display. This one waits for nobody, in a namespace.
display_library: rfb, options="timeout=0"
"""


def missing():
    """Why this does not run here, or None."""
    with open("/proc/cpuinfo", encoding="ascii") as file:
        if "avx512ifma" in file.read().split():
            return "this CPU has AVX-512 IFMA: the unit tests run natively"
    if not FULL:
        return "takes some minutes: DPDK_WG_FULL=yes"
    lacking = guests.missing("bochs-bin", "xorriso") or next(
        (path for path in LOADER if not os.path.exists(path)), None)
    return f"{lacking} is missing: scripts/setup --full" if lacking else None


class Emulator(lab.Lab):
    """A running bochs, and what has come over its serial line."""

    def __init__(self):
        super().__init__()
        self.output = ""
        self.files = os.path.join(self.dir, "files")
        os.mkdir(self.files)

    def begin(self):
        self.console, console = os.openpty()
        tty.setraw(console)
        rc, commands = os.path.join(self.dir, "bochsrc"), os.path.join(self.dir, "commands")
        self.write(rc, BOCHS_CONFIG.format(disc=self.disc(), console=os.ttyname(console),
                                           log=os.path.join(self.dir, "bochs.log")))
        self.write(commands, "continue\n")  # Debian's bochs begins with a debugger's prompt
        self.process = self.namespace("bochs").start("bochs-bin", "-q", "-f", rc, "-rc", commands)

    @staticmethod
    def write(path, text):
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    def disc(self):
        """A CD that boots into the kernel."""
        path = os.path.join(self.dir, "disc.iso")
        for file in LOADER:
            shutil.copy(file, self.files)
        shutil.copy(glob.glob(os.path.join(guests.KERNEL, "boot/vmlinuz-*"))[0],
                    os.path.join(self.files, "vmlinuz"))
        self.write(os.path.join(self.files, "initrd"), self.initramfs())
        self.write(os.path.join(self.files, "isolinux.cfg"), LOADER_CONFIG)
        lab.run("xorriso", "-as", "mkisofs", "-o", path, "-b", "isolinux.bin", "-c", "boot.cat",
                "-no-emul-boot", "-boot-load-size", 4, "-boot-info-table", self.files)
        return path

    @staticmethod
    def initramfs():
        archive = guests.Initramfs()
        archive.add("init", INIT.encode())
        archive.add("bin/busybox", guests.read(os.path.realpath(shutil.which("busybox"))))
        for program, _ in PROGRAMS.values():
            if os.path.exists(program):
                archive.add_program(program, program)
        for seed in glob.glob(f"{SEEDS}/*"):
            archive.add(seed, guests.read(seed))
        archive.add("programs", "".join(f"{name} {program} {argument}\n" for
                                        name, (program, argument) in PROGRAMS.items()).encode())
        return archive.bytes()

    def result(self, name):
        """Waits until a program has ended; returns what it printed and its status."""
        pattern = re.compile(rf"=begin {name}\n(.*)=end {name} (\d+)\n", re.DOTALL)
        end = time.monotonic() + TIMEOUT_S
        while not (found := pattern.search(self.output)):
            if self.process.poll() is not None or time.monotonic() > end:
                raise lab.LabError(f"no end of {name}: {self.output[-2000:]}")
            if select.select([self.console], [], [], 1)[0]:
                got = os.read(self.console, 65536)
                self.output += got.decode(errors="replace").replace("\r", "")
        return found.group(1), int(found.group(2))


@pytest.fixture(scope="module")
def emulator():
    why = missing()
    if why:
        pytest.skip(why)
    with Emulator() as running:
        running.begin()
        yield running


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(emulator, name):
    if not os.path.exists(PROGRAMS[name][0]):
        pytest.skip(f"{PROGRAMS[name][0]} is not built")
    text, status = emulator.result(name)
    print(text)
    assert status == 0, text
    # A CPU without AVX-512 would pass, too.
    assert "not on this CPU" not in text, text
