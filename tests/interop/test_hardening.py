# SPDX-License-Identifier: BSD-3-Clause
"""
What docs/security.md promises of the running process: keys lie in memory that is locked and not dumped,
and nowhere once they are of no use; no privilege is left but those listed; debuggers of the same user are
kept out. What the system-call filter refuses is tested by tests/unit/app/test_syscall_filter.c.
"""
import os
import re
import resource
import shutil
import socket
import subprocess

import lab
import pytest
import wgpeer
from memory import Memory, session_keys
from wgpeer import base64_text

OUTER = ("192.0.2.1", 51820)
NET_BIND_SERVICE, NET_ADMIN, NET_RAW, IPC_LOCK = (1 << n for n in (10, 12, 13, 14))
KEPT = NET_BIND_SERVICE | NET_ADMIN | NET_RAW | IPC_LOCK


def forms(name, key):
    """A key as it may lie about."""
    return {f"{name}": key, f"{name} in base64": base64_text(key).encode()[:42],
            f"{name} in hexadecimal": key.hex().encode()}


class Client(wgpeer.Peer):
    """A peer that the gateway knows, with a preshared key."""

    def __init__(self, bench):
        self.bench = bench
        super().__init__(bench.topology.wan.name, bench.static.public, OUTER, "192.0.2.2", os.urandom(32))
        self.key = base64_text(self.static.public)
        bench.gateway.set("peer", self.key, "preshared-key", "/dev/stdin", input=base64_text(self.psk))

    def session_made(self):
        """A new session; the first message may have to wait for the kernels to find each other."""
        def connected():
            try:
                return self.connect(timeout=0.5)
            except wgpeer.ProtocolError:
                return None
        return lab.wait_for("a session", connected, timeout=20)

    def static_static(self):
        return {"static-static": self.bench.static.dh(self.static.public)}


class SplitGateway(lab.Gateway):
    """With handshake lcores: keys are copied into the work that they do, too."""

    lcores = "0@0,1@1,4@0,7@0"

    def __init__(self, *args, **options):
        super().__init__(*args, options=["--handshake-lcores", "4,7"], **options)


class Bench:
    def __init__(self, topology, gateway=lab.Gateway):
        self.topology = topology
        self.gateway = gateway(topology.gw, ["v_out"],
                               config=f"[Interface]\nListenPort = {OUTER[1]}\n")
        topology.gw.set_up("outer0", *topology.GW_OUTER)
        self.memory = Memory(self.gateway.process.pid)
        lab.wait_for("the ready line", lambda: "ready:" in self.gateway.tail())
        self.new_key()

    def new_key(self):
        self.static = wgpeer.Key()
        self.gateway.set("private-key", "/dev/stdin", input=base64_text(self.static.private))


@pytest.fixture(scope="module", params=[lab.Gateway, SplitGateway], ids=["control", "lcores"])
def bench(request):
    """Handshakes are computed by control, or on lcores of their own."""
    with lab.bench(Bench, request.param) as made:
        yield made


@pytest.fixture
def client(bench):
    made = Client(bench)
    yield made
    bench.gateway.set("peer", made.key, "remove")
    made.close()


def test_keys_lie_in_locked_memory_and_nowhere_else(bench, client):
    """Would catch a key in an unlocked buffer, and a copy that is left on a stack or the heap."""
    session = client.session_made()
    bench.gateway.show("dump")  # private and preshared key pass through the socket's buffers
    keys = {"private key": bench.static.private, "preshared key": client.psk}
    secrets = {**keys, **client.static_static(), **session_keys(session, "session key")}
    found = bench.memory.find(secrets)
    assert set(found) == set(secrets)
    for name, places in found.items():
        assert all({"lo", "dd", "dc"} <= flags for flags in places), (name, places)
        assert len(places) == 1, (name, places)
    texts = {form: key for name in keys for form, key in forms(name, keys[name]).items()
             if form not in secrets}
    assert not bench.memory.find(texts)


def test_old_sessions_leave_no_keys(bench, client):
    sessions = [client.session_made() for _ in range(4)]
    bench.memory.wait_until_gone("the end of two sessions", {
        **session_keys(sessions[0], "first"), **session_keys(sessions[1], "second")})
    assert bench.memory.find(session_keys(sessions[2], "third"))


def test_a_removed_peer_leaves_no_keys(bench, client):
    session = client.session_made()
    bench.gateway.set("peer", client.key, "remove")
    bench.memory.wait_until_gone("the end of the peer's keys", {
        **session_keys(session, "session key"), **forms("preshared key", client.psk),
        **client.static_static()})


def test_replaced_keys_leave_nothing(bench, client):
    session = client.session_made()
    private, psk, secrets = bench.static.private, client.psk, client.static_static()
    bench.new_key()
    bench.gateway.set("peer", client.key, "preshared-key", "/dev/stdin", input=base64_text(os.urandom(32)))
    bench.memory.wait_until_gone("the end of the old keys", {
        **session_keys(session, "session key"), **forms("private key", private),
        **forms("preshared key", psk), **secrets})


def test_a_deleted_interface_leaves_no_keys(topology):
    """The program goes on for another interface; would catch a device that keeps its key till then."""
    other = f"{topology.short}gx"
    gateway = lab.Gateway(topology.gw, ["v_out"], options=["--interface", other])
    lab.wait_for("the ready line", lambda: "ready:" in gateway.tail())
    memory = Memory(gateway.process.pid)
    key, psk, peer = os.urandom(32), os.urandom(32), base64_text(wgpeer.Key().public)
    private = wgpeer.Key(key).private
    lab.run("wg", "set", other, "private-key", "/dev/stdin", input=base64_text(private))
    lab.run("wg", "set", other, "peer", peer, "preshared-key", "/dev/stdin", input=base64_text(psk))
    keys = {"private key": private[1:31], "preshared key": psk}
    assert set(memory.find(keys)) == set(keys)
    topology.gw.ip("link", "del", other)
    memory.wait_until_gone("the end of the interface's keys", keys)
    assert gateway.stop() == 0, gateway.tail()


def status_of(pid, task=None):
    path = f"/proc/{pid}/task/{task}/status" if task else f"/proc/{pid}/status"
    with open(path, encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def assert_restricted(pid, kept, seccomp="2", as_root=True):
    """All threads alike: EAL's, its drivers', the workers. Returns their names."""
    names = []
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            status = status_of(pid, task)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended
        names.append(status["Name"])
        # Only root may narrow the last; without new privileges it means nothing.
        for name in ("CapPrm", "CapEff", "CapBnd") if as_root else ("CapPrm", "CapEff"):
            assert int(status[name], 16) == kept, (status["Name"], name, status[name])
        assert int(status["CapInh"], 16) & ~kept == int(status["CapAmb"], 16) == 0
        assert status["NoNewPrivs"] == "1", status["Name"]
        assert status["Seccomp"] == seccomp, status["Name"]
    assert len(names) > 2
    return names


def test_privileges_are_dropped_by_all_threads(bench):
    """Also by those that a telemetry client makes later."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(f"/var/run/dpdk/{bench.topology.prefix}-{bench.gateway.name}/dpdk_telemetry.v2")
        client.recv(1024)  # its greeting: the thread that serves us runs
        names = assert_restricted(bench.gateway.process.pid, KEPT)
    assert any("telemetry" in name for name in names) and any("worker" in name for name in names), names
    # What needs the privileges that are left still works.
    bench.gateway.set("listen-port", "443", "fwmark", "7")
    assert bench.gateway.show("listen-port") == "443" and bench.gateway.show("fwmark") == "0x7"


def test_without_the_filter(topology):
    gateway = lab.Gateway(topology.gw, ["v_out"], config="[Interface]\n", options=["--no-seccomp"])
    lab.wait_for("the ready line", lambda: "ready:" in gateway.tail())
    assert_restricted(gateway.process.pid, KEPT, seccomp="0")
    assert gateway.stop() == 0, gateway.tail()


class Nobody:
    """The program as a user without privileges, but for the ambient capabilities given."""

    UID = 65534

    def __init__(self, topology, capabilities, options=()):
        self.program = os.path.join(topology.dir, "dpdk-wg")
        shutil.copy(os.path.join(lab.build_dir(), "app/dpdk-wg"), self.program)
        os.chmod(topology.dir, 0o755)
        caps = ",".join(f"+{name}" for name in capabilities)
        gateway = lab.Gateway(topology.gw, ["v_out"], options=options, wait=False)
        argv = [self.program, *gateway.argv()[1:]]
        # A /run of its own: that of this machine is root's.
        self.process = topology.gw.start(
            "unshare", "-m", "sh", "-c", f"""set -e
mount -t tmpfs -o mode=755,uid={self.UID} tmpfs /run
export XDG_RUNTIME_DIR=/run
exec setpriv --reuid={self.UID} --regid={self.UID} --clear-groups \
    {f"--inh-caps={caps} --ambient-caps={caps}" if caps else ""} "$@"
""", "sh", *argv, log="nobody.log")

    def lines(self):
        with open(self.process.log, encoding="utf-8", errors="replace") as file:
            return [line.strip() for line in file if line.startswith("dpdk-wg: ")]


def test_as_another_user(topology):
    if os.stat("/dev/net/tun").st_mode & 0o006 != 0o006:
        pytest.skip("/dev/net/tun is root's alone")
    nobody = Nobody(topology, ["net_admin", "net_raw"])
    lab.wait_for("the ready line", lambda: nobody.process.poll() is not None
                 or any("ready:" in line for line in nobody.lines()), timeout=20)
    assert nobody.process.poll() is None, nobody.lines()
    pid = nobody.process.pid
    assert status_of(pid)["Uid"].split() == [str(nobody.UID)] * 4
    assert_restricted(pid, NET_ADMIN | NET_RAW, as_root=False)
    # Its memory and descriptors are not the user's to look at.
    assert os.stat(f"/proc/{pid}/mem").st_uid == 0
    limited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] != resource.RLIM_INFINITY
    assert sum("memory is not locked" in line for line in nobody.lines()) == limited
    assert topology.stop(nobody.process) == 0, nobody.lines()


@pytest.mark.parametrize("given,missing", [
    ([], "CAP_NET_ADMIN and CAP_NET_RAW are missing"), (["net_admin"], "CAP_NET_RAW is missing"),
    (["net_raw"], "CAP_NET_ADMIN is missing")], ids=["neither", "no-raw", "no-admin"])
def test_what_is_missing_is_said(topology, given, missing):
    nobody = Nobody(topology, given)
    assert nobody.process.wait(20) == 1
    assert len(nobody.lines()) == 1 and nobody.lines()[0].startswith(f"dpdk-wg: {missing}: ")


def test_dumpable(topology):
    """The option brings back what the default takes from the user's own debugger."""
    if os.stat("/dev/net/tun").st_mode & 0o006 != 0o006:
        pytest.skip("/dev/net/tun is root's alone")
    nobody = Nobody(topology, ["net_admin", "net_raw"], options=["--dumpable"])
    lab.wait_for("the ready line", lambda: any("ready:" in line for line in nobody.lines()), timeout=20)
    assert os.stat(f"/proc/{nobody.process.pid}/mem").st_uid == nobody.UID


def test_the_program_is_built_hardened():
    """Would catch a linker or compiler option that was lost."""
    program = os.path.join(lab.build_dir(), "app/dpdk-wg")

    def readelf(*options):
        return subprocess.run(["readelf", "-W", *options, program], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
    assert re.search(r"Type:\s+DYN", readelf("-h")), "not position independent"
    segments = readelf("-l")
    assert "GNU_RELRO" in segments
    assert re.search(r"GNU_STACK.* RW ", segments), "the stack is executable"
    assert not re.search(r"LOAD.* RWE ", segments), "code that may be written to"
    assert re.search(r"\(FLAGS(_1)?\).*NOW", readelf("-d")), "symbols are bound late"
    symbols = readelf("--dyn-syms")
    assert "__stack_chk_fail" in symbols, "no stack protector"
    assert re.search(r"__(memcpy|snprintf|vsnprintf)_chk", symbols), "no fortified libc calls"
