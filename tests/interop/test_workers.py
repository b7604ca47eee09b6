# SPDX-License-Identifier: BSD-3-Clause
"""
Two workers: ports with one queue, which one of them reads, and ports with a queue for each; and bonds,
whose driver lives on its callers' turns.
"""
import contextlib
import functools
import signal
import socket
import subprocess

import lab
import pytest
import wgpeer
from test_gateway import tcp

PORTS = {
    "one-queue": (["v_out"], ["v_in"]),
    "two-queues": (["net_af_packet0,iface=v_out,qpairs=2"], ["net_af_packet1,iface=v_in,qpairs=2"]),
    "mixed": (["net_af_packet0,iface=v_out,qpairs=2"], ["v_in"]),
}


@pytest.fixture(params=PORTS)
def two_workers(topology, request):
    class Gateway(lab.Gateway):
        lcores = "0@0,1@1,2@0"

    outer, inner = PORTS[request.param]
    return lab.Site(topology, outer=outer, inner=inner, gateway=Gateway)


def workers(site):
    """Received and helped packets of each worker."""
    answer = site.gateway.telemetry("/wg/lcores")
    return [{what: answer[f"worker{n}_{what}"] for what in ("received", "helped_packets")}
            for n in range(2)]


def udp_flows(client, server, address, flows=64, packets=20):
    """Echoes numbered packets on many flows; returns (answers, answers out of order)."""
    echo = ("import socket,sys\n"
            f"s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('{address}', 7007))\n"
            "print('bound', flush=True)\n"
            "while True:\n d, a = s.recvfrom(2048); s.sendto(d, a)\n")
    ask = f"""
import select, socket, time
socks = []
for _ in range({flows}):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(('{address}', 7007)); s.setblocking(False); socks.append(s)
last, answers, disorder = dict.fromkeys(socks, -1), 0, 0
for n in range({packets}):
    for s in socks:
        s.send(n.to_bytes(4, 'big') * (1 + n * 10))
    end = time.monotonic() + 2
    waiting = set(socks)
    while waiting and time.monotonic() < end:
        for s in select.select(list(waiting), [], [], 0.1)[0]:
            got = int.from_bytes(s.recv(2048)[:4], 'big')
            answers += 1
            disorder += got <= last[s]
            last[s] = got
            if got == n:
                waiting.discard(s)
print(answers, disorder)
"""
    process = server.start("python3", "-c", echo, log=f"echo-{address}")
    lab.wait_for("the echo", lambda: "bound" in open(process.log, encoding="utf-8").read())
    done = client.run("python3", "-c", ask, timeout=100)
    server.lab.stop(process)
    return tuple(map(int, done.stdout.split()))


def test_two_workers(two_workers, request):
    site = two_workers
    wan, lan = site.topology.wan, site.topology.lan
    assert site.ping_through(), site.gateway.tail()
    for client, server, address in ((wan, lan, "10.1.0.2"), (lan, wan, "10.9.0.2"),
                                    (lan, wan, "fd09::2")):
        assert tcp(client, server, address) > 1
        assert tcp(client, server, address, reverse=True) > 1
    for client, server, address in ((wan, lan, "10.1.0.2"), (lan, wan, "10.9.0.2")):
        answers, disorder = udp_flows(client, server, address)
        assert (answers, disorder) == (64 * 20, 0), site.gateway.drops()
    print("workers:", workers(site), "drops:", site.gateway.drops())
    # Where each has a queue of its own, each has flows.
    if request.node.callspec.params["two_workers"] != "one-queue":
        assert all(worker["received"] > 64 for worker in workers(site))
    assert "forged" not in site.gateway.drops() and "replayed" not in site.gateway.drops()
    assert site.gateway.stop() == 0, site.gateway.tail()


def test_ends_cleanly_while_saturated(two_workers):
    """Whatever jobs one worker has with the other."""
    site = two_workers
    assert site.ping_through()
    # Nobody listens: the client's answers are of no matter.
    flood = ("import socket\n"
             "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
             "s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)\n"
             "while True:\n s.sendto(bytes(1300), ('10.9.0.2', 9))\n")
    floods = [site.topology.lan.start("python3", "-c", flood, log=f"flood{n}") for n in range(2)]
    before = sum(w["received"] for w in workers(site))
    lab.wait_for("traffic", lambda: sum(w["received"] for w in workers(site)) > before + 50000)
    print("workers:", workers(site), "drops:", site.gateway.drops())
    site.gateway.process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        site.gateway.process.wait(30)
    # On saturated CPUs the kernel's rcu_barrier(), behind which a TUN device goes, waits for what
    # the namespaces of a whole run have left to be freed. Workers that wait for each other stay.
    for process in floods:
        site.topology.stop(process)
    assert site.gateway.process.wait(120) == 0, site.gateway.tail()


BONDED = functools.partial(lab.Gateway, eal=["--vdev", "net_af_packet9,iface=v_out"])


def bond(mode):
    """outer0 of a BONDED gateway: a bond of one device."""
    return [f"net_bonding0,mode={mode},slave=net_af_packet9"]


def test_an_idle_bond_speaks_lacp(topology):
    """Would catch a bond that no switch sends to, since it says nothing until it has to answer."""
    def listen():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x8809))
        sock.bind(("e0", 0x8809))
        sock.setblocking(False)
        return sock

    sock, heard = wgpeer.in_namespace(topology.wan.name, listen), []
    gateway = BONDED(topology.gw, bond(4))

    def spoke(times):
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(sock.recv(2048))
        return len(heard) >= times

    lab.wait_for("LACP, one a second", lambda: spoke(4))
    assert all(frame[:6] == bytes.fromhex("0180c2000002") for frame in heard)
    assert gateway.stop() == 0, gateway.tail()


def test_traffic_by_a_bond(topology):
    site = lab.Site(topology, outer=bond(1), gateway=BONDED)
    assert site.ping_through(), site.gateway.tail()
    assert tcp(topology.wan, topology.lan, "10.1.0.2") > 1
    assert site.gateway.stop() == 0, site.gateway.tail()
