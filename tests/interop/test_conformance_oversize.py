# SPDX-License-Identifier: BSD-3-Clause
"""
The largest datagrams that there are, 65,507 bytes over IPv4 and 65,527 over IPv6, between good ones of the
same way in: by the kernel's socket, which puts their fragments together, and by the port itself, where a
frame is as large. The port gets its frames as a NIC does (test_host.py says why).
"""
import os

import lab
import pytest
import wgpeer
from conformance import OUTER, Bench, drops, host, new  # noqa: F401 (some are fixtures)
from test_conformance_messages import cookie_of, data_of, initiation_of, response_of, unknown_of

KINDS = (data_of, initiation_of, response_of, cookie_of, unknown_of)


class WholeFragments(Bench):
    outer = "net_pcap0,rx_iface_in=v_out,tx_iface=v_out"


@pytest.fixture(scope="module")
def bench():
    with lab.bench(WholeFragments) as made:
        yield made


def set_mtu(topology, mtu):
    for namespace, link in ((topology.gw, "v_out"), (topology.wan, "e0")):
        namespace.ip("link", "set", link, "mtu", mtu)


@pytest.fixture
def jumbo(bench):
    """A cable that takes any frame."""
    set_mtu(bench.topology, 65535)
    yield
    set_mtu(bench.topology, 1500)


def by_socket(bench):
    return bench.gateway.telemetry(f"/wg/host,{bench.gateway.name}")["socket_rx_packets"]


def holds_its_own_among(bench, client, host, drops, sizes):
    """
    Messages of each kind, lengthened to each of the sizes, with good ones after them: those arrive, in order,
    and the others are counted for what they are, one by one.
    """
    largest, sent = max(sizes), 0
    for size in sizes:
        good = []
        for make in KINDS:
            client.send((make(client) + os.urandom(largest))[:size])
            sent += 1
            # By itself too large for a link of 1500, so that it goes the same way.
            good.append(b"%d " % sent + os.urandom(1460))
            client.send_packet(host, good[-1])
        host.expect(good, drops)
        drops.reach(sent, "no_room")
    assert drops.changed() == {"no_room": sent}
    client.check(host)
    assert client.passed == []
    lab.wait_for("all packet buffers",
                 lambda: bench.gateway.telemetry("/wg/info")["packet_buffers_in_use"] == 0)


@OUTER
def test_fragments_of_an_oversize_datagram(bench, new, host, drops, source):
    """
    Would catch a receiver that stops at what its buffer does not take, that takes the beginning for the
    whole (counted as forged, or as of a wrong length), or that loses the datagrams around it.
    """
    client = new(source=source)
    client.connect()
    before = by_socket(bench)
    holds_its_own_among(bench, client, host, drops,
                        (3000, 9000, 32768, 65535 - (8 if ":" in source else 28)))
    assert by_socket(bench) - before >= 20, "the good ones came another way"


@OUTER
def test_oversize_frames(bench, new, host, drops, jumbo, source):
    """The same of frames that fill several packet buffers: none of them may be read beyond its first."""
    client = new(source=source)
    client.connect()
    before = by_socket(bench)
    holds_its_own_among(bench, client, host, drops,
                        (3000, 9000, 16000, 65535 - (48 if ":" in source else 28)))
    assert by_socket(bench) == before
