# SPDX-License-Identifier: BSD-3-Clause
"""Start-up works, or says in one line what is missing and leaves nothing behind."""
import os
import time

import lab
import pytest
from starts import PROGRAM, bench, eal, start  # noqa: F401 (bench is a fixture)

EXAMPLES = os.path.join(lab.ROOT, "tests/vectors/examples")


def links(bench):
    return {link["ifname"] for link in bench.gw.ip_json("link", "show")}


def test_wrong_argument(bench):
    status, lines = start(bench.gw, *eal(bench), "--", "--outre", "net_af_packet0")
    assert status == 2 and len(lines) == 1 and "--outre" in lines[0]


def test_missing_outer(bench):
    status, lines = start(bench.gw, *eal(bench), "--", "--interface", bench.short)
    assert status == 2 and len(lines) == 1 and "--outer" in lines[0]


def test_unknown_port(bench):
    before = links(bench)
    status, lines = start(bench.gw, *eal(bench), "--", "--outer", "net_tap7", "--interface",
                          bench.short)
    assert status == 1 and len(lines) == 1, lines
    assert "net_tap7" in lines[0] and "net_af_packet0 (port 0)" in lines[0]
    assert links(bench) == before


def test_no_hugepages(bench):
    if lab.run("cat", "/proc/sys/vm/nr_hugepages").stdout.strip() != "0":
        pytest.skip("this machine has hugepages")
    argv = [a for a in eal(bench) if a not in ("--no-huge", "-m", "256")]
    status, lines = start(bench.gw, *argv, "--", "--outer", "net_af_packet0", "--interface",
                          bench.short)
    assert status == 1 and len(lines) == 1, lines
    assert "hugepages" in lines[0] and "--no-huge" in lines[0]


def test_one_lcore(bench):
    argv = [a if a != "0@0,1@1" else "0@0" for a in eal(bench)]
    status, lines = start(bench.gw, *argv, "--", "--outer", "net_af_packet0", "--interface",
                          bench.short)
    assert status == 2 and len(lines) == 1 and "--lcores" in lines[0]


@pytest.mark.parametrize("lcores,given,told", [
    ("0@0,1@1", "5", "no lcore 5"),
    ("0@0,1@1,2@1", "0", "lcore 0 is the main one"),
    ("0@0,1@1", "1", "no lcore is left for a worker"),
])
def test_wrong_handshake_lcores(bench, lcores, given, told):
    argv = [a if a != "0@0,1@1" else lcores for a in eal(bench)]
    status, lines = start(bench.gw, *argv, "--", "--outer", "net_af_packet0", "--interface",
                          bench.short, "--handshake-lcores", given)
    assert status == 2 and len(lines) == 1, lines
    assert "--handshake-lcores" in lines[0] and told in lines[0]


def test_too_little_memory(bench):
    argv = [a if a != "256" else "32" for a in eal(bench)]
    status, lines = start(bench.gw, *argv, "--", "--outer", "net_af_packet0", "--interface",
                          bench.short)
    assert status == 1 and len(lines) == 1 and "-m" in lines[0], lines


def test_port_without_a_mac(bench):
    argv = [a if "net_af" not in a else "net_ring0" for a in eal(bench)]
    status, lines = start(bench.gw, *argv, "--", "--outer", "net_ring0", "--interface", bench.short)
    assert status == 1 and len(lines) == 1, lines
    assert "port net_ring0: it has no MAC address" in lines[0]


@pytest.mark.parametrize("name, argument", [("net_af_packet0", "qpairs"), ("net_vhost0", "queues")])
def test_more_queues_than_workers(bench, name, argument):
    """The other end spreads frames over all of them, and nobody would read what comes by the second."""
    device = {"net_af_packet0": "iface=v_out", "net_vhost0": f"iface={bench.dir}/vhost.sock"}[name]
    argv = [a if "net_af" not in a else f"{name},{device},{argument}=2" for a in eal(bench)]
    status, lines = start(bench.gw, *argv, "--", "--outer", name, "--interface", bench.short)
    assert status == 1 and len(lines) == 1, lines
    assert f"port {name}: it receives by 2 queues" in lines[0] and f"1 ({argument})" in lines[0]


def test_bad_config_line(bench):
    path = os.path.join(bench.dir, f"{bench.short}.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write("[Interface]\nListenPort = 51820\n\n[Peer]\nPublicKey = abc\n")
    os.chmod(path, 0o600)
    before = links(bench)
    status, lines = start(bench.gw, *eal(bench), "--", "--outer", "net_af_packet0", "--config",
                          path)
    assert status == 1 and len(lines) == 1, lines
    assert f"{bench.short}.conf:5:" in lines[0] and "PublicKey" in lines[0]
    assert links(bench) == before and not os.path.exists(f"{lab.SOCKETS}/{bench.short}.sock")


def test_listen_port_taken(bench):
    holder = bench.gw.start("python3", "-c", "import socket,sys\n"
                            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                            "s.bind(('', 40000))\nsys.stdout.write('bound')\n"
                            "sys.stdout.flush()\nsys.stdin.read()\nimport time\ntime.sleep(60)",
                            log="holder")
    lab.wait_for("the port", lambda: "bound" in open(holder.log, encoding="utf-8").read())
    path = os.path.join(bench.dir, f"{bench.short}.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write("[Interface]\nListenPort = 40000\n")
    os.chmod(path, 0o600)
    status, lines = start(bench.gw, *eal(bench), "--", "--outer", "net_af_packet0", "--config",
                          path)
    lines = [line for line in lines if "warning" not in line]  # it has no key either
    assert status == 1 and len(lines) == 1 and "40000" in lines[0], lines


@pytest.mark.parametrize("name", ["server.conf", "client.conf"])
def test_examples_pass_the_check(bench, name):
    done = bench.gw.run(PROGRAM, "--check", "--config", os.path.join(EXAMPLES, name), check=False)
    assert done.returncode == 0, done.stderr


def test_check_names_the_line(bench):
    path = os.path.join(bench.dir, "wgx.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write("[Interface]\nListenPort = 70000\n")
    done = bench.gw.run(PROGRAM, "--check", "--config", path, check=False)
    assert done.returncode == 1 and "wgx.conf:2:" in done.stderr


@pytest.mark.parametrize("name", ["server.conf", "client.conf"])
def test_examples_load(bench, name):
    """The two examples of WireGuard's own site run as they stand (under a name of our own)."""
    with open(os.path.join(EXAMPLES, name), encoding="utf-8") as file:
        gateway = lab.Gateway(bench.gw, ["v_out"], config=file.read())
    with open(os.path.join(EXAMPLES, name), encoding="utf-8") as file:
        wanted = file.read().count("[Peer]")
    assert len(gateway.show("peers").split()) == wanted
    assert gateway.stop() == 0, gateway.tail()


def test_starts_within_a_second_and_leaves_nothing(bench):
    before, began = links(bench), time.monotonic()
    gateway = lab.Gateway(bench.gw, ["v_out"], config="[Interface]\n")
    took = time.monotonic() - began
    print(f"start-up took {took:.2f} s")
    assert gateway.stop() == 0, gateway.tail()
    assert links(bench) == before
    assert not os.path.exists(f"/var/run/dpdk/{bench.prefix}-{gateway.name}")
    assert not os.path.exists(gateway.socket)


def test_a_second_program_is_refused(bench):
    gateway = lab.Gateway(bench.gw, ["v_out"], config="[Interface]\n")
    bench.gw.ip("link", "add", "v_two", "type", "veth", "peer", "name", "v_far2")
    bench.port(bench.gw, "v_two")
    argv = [a.replace("v_out", "v_two") for a in eal(bench)]
    status, lines = start(bench.gw, *argv, "--", "--outer", "net_af_packet0", "--interface",
                          gateway.name)
    assert status == 1 and len(lines) == 1 and "outer0" in lines[0], lines
    assert gateway.show("public-key") is not None and gateway.process.poll() is None
