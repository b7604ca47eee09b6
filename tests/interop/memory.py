# SPDX-License-Identifier: BSD-3-Clause
"""Looks for secrets in the memory of a running process."""
import os
import re
import struct

import lab

PAGE = os.sysconf("SC_PAGESIZE")


class Memory:
    """The writable memory of a process, page by page as far as it is there."""

    def __init__(self, pid):
        self.pid = pid

    def mappings(self):
        """(from, to, VmFlags) of what it may write to."""
        found, flags = None, None
        with open(f"/proc/{self.pid}/smaps", encoding="ascii") as smaps:
            for line in smaps:
                if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line):
                    found = (int(match[1], 16), int(match[2], 16)) if "w" in match[3] else None
                elif line.startswith("VmFlags:") and found:
                    flags = set(line.split()[1:])
                    if not flags & {"io", "pf"}:  # devices
                        yield (*found, flags)

    def runs(self, start, end):
        """Where pages are present, or swapped out."""
        with open(f"/proc/{self.pid}/pagemap", "rb") as pagemap:
            at = start // PAGE
            while at < end // PAGE:
                count = min(end // PAGE - at, 1 << 16)
                pagemap.seek(at * 8)
                entries = struct.unpack(f"{count}Q", pagemap.read(count * 8))
                run = None
                for i, entry in enumerate((*entries, 0)):
                    if entry >> 62 and run is None:
                        run = i
                    elif not entry >> 62 and run is not None:
                        yield (at + run) * PAGE, (i - run) * PAGE
                        run = None
                at += count

    def find(self, secrets):
        """{name: [VmFlags of each place]} of the secrets that stand somewhere."""
        found = {}
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            for start, end, flags in self.mappings():
                for at, size in self.runs(start, end):
                    memory.seek(at)
                    content = memory.read(size) or b""
                    for name, secret in secrets.items():
                        found.setdefault(name, []).extend([flags] * content.count(secret))
        return {name: places for name, places in found.items() if places}

    def wait_until_gone(self, what, secrets):
        try:
            lab.wait_for(what, lambda: not self.find(secrets), timeout=5, every=0.2)
        except lab.LabError:
            left = self.find(secrets)
            assert not left, left


def session_keys(session, name):
    return {f"{name} to the gateway": session.sending, f"{name} from the gateway": session.receiving}
