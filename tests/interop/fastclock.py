# SPDX-License-Identifier: BSD-3-Clause
"""The program's clocks in the test's hands: see tests/tools/fastclock.c."""
import mmap
import os
import struct

import lab

NS = 10 ** 9


class Clock:
    """What a program that is started with `environment` takes for the time."""

    def __init__(self, made_for, factor=1):
        path = os.path.join(made_for.dir, "clock")
        with open(path, "wb") as file:
            file.write(struct.pack("<qqq", factor, 0, 0))
        with open(path, "r+b") as file:
            self.lies = mmap.mmap(file.fileno(), 24)
        library = os.path.join(lab.build_dir(), "tests/tools/libfastclock.so")
        self.environment = {**os.environ, "LD_PRELOAD": library, "FASTCLOCK": path}

    def _add(self, at, seconds):
        before, = struct.unpack_from("<q", self.lies, at)
        struct.pack_into("<q", self.lies, at, before + int(seconds * NS))

    def pass_by(self, seconds):
        """So much later, at once, as for a machine that slept."""
        self._add(8, seconds)

    def set_wall_clock(self, seconds):
        """The wall clock steps, forth or back; no time passes."""
        self._add(16, seconds)
