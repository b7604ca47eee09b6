# SPDX-License-Identifier: BSD-3-Clause
"""A namespace with one port, and the program started in it to see how it ends by itself."""
import os

import lab
import pytest

PROGRAM = os.path.join(lab.build_dir(), "app/dpdk-wg")


def run_to_end(namespace, *argv, timeout=20, **options):
    """Runs the program, which is expected to end by itself; (status, its own lines, all it wrote)."""
    done = namespace.run(PROGRAM, *argv, check=False, timeout=timeout, **options)
    lines = [line for line in done.stderr.splitlines() if line.startswith("dpdk-wg: ")]
    return done.returncode, lines, done


def start(namespace, *argv, timeout=20):
    """The same without all it wrote."""
    status, lines, _ = run_to_end(namespace, *argv, timeout=timeout)
    return status, lines


@pytest.fixture
def bench():
    with lab.Lab() as made:
        made.gw = made.namespace("gw")
        made.gw.ip("link", "add", "v_out", "type", "veth", "peer", "name", "v_far")
        made.port(made.gw, "v_out")
        yield made


def eal(bench, *more):
    return ["--no-pci", "--no-huge", "-m", "256", "--file-prefix", bench.prefix, "--lcores",
            "0@0,1@1", "--vdev", "net_af_packet0,iface=v_out", *more]
