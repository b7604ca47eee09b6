# SPDX-License-Identifier: BSD-3-Clause
"""An operator's first hours: the examples start, mistakes are told in one line, crashes are mended."""
import ctypes
import os
import re
import shutil
import signal
import socket

import lab
import pytest
from starts import PROGRAM, bench, eal, run_to_end  # noqa: F401 (bench is a fixture)

KEY = "gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfWGE="


def write(bench, name, text):
    path = os.path.join(bench.dir, name)
    with open(path, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
    return path


# --- The examples ---

def env_examples():
    """Pairs of EAL_OPTIONS and OPTIONS in config/dpdk-wg.env, those in comments too."""
    with open(os.path.join(lab.ROOT, "config/dpdk-wg.env"), encoding="utf-8") as file:
        found = re.findall(r"^#?EAL_OPTIONS=(.*)\n#?OPTIONS=(.*)$", file.read(), re.M)
    assert len(found) >= 3
    return found


@pytest.mark.parametrize("eal_options,options", env_examples())
def test_examples_of_the_environment_file(bench, eal_options, options):
    """Each passes the check; what needs no NIC and no hugepages is started, too."""
    config = write(bench, f"{bench.short}.conf", f"[Interface]\nPrivateKey = {KEY}\n")
    options = options.replace("/etc/wireguard/wg0.conf", config).split()
    eal_options = eal_options.split()
    status, _, done = run_to_end(bench.gw, "--check", *eal_options, "--", *options)
    assert status == 0, done.stderr
    if "--no-huge" not in eal_options:
        return
    for name in re.findall(r"iface=(\w+)", " ".join(eal_options)):
        bench.gw.ip("link", "add", name, "type", "veth", "peer", "name", f"{name}_far")
        bench.port(bench.gw, name)
    program = bench.gw.start(PROGRAM, *eal_options, "--file-prefix", bench.prefix, "--", *options,
                             log="example")
    text = lab.wait_for("the ready line", lambda: "ready: " in read(program) and read(program)
                        or program.poll() is not None and read(program))
    assert "ready: " in text, text
    assert bench.stop(program) == 0


def read(program):
    with open(program.log, encoding="utf-8") as file:
        return file.read()


def test_systemd_unit(tmp_path):
    """systemd understands every line of it."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is missing")
    unit = tmp_path / "dpdk-wg.service"
    with open(os.path.join(lab.ROOT, "config/dpdk-wg.service"), encoding="utf-8") as file:
        unit.write_text(file.read().replace("/usr/local/bin/dpdk-wg", "/bin/true"))
    done = lab.run("systemd-analyze", "verify", "--man=no", unit, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr


# --- EAL's part of the command line ---

def test_a_wrong_eal_option(bench):
    status, lines, done = run_to_end(bench.gw, "--no-such", *eal(bench), "--", "--outer",
                                     "net_af_packet0", "--interface", bench.short)
    assert status == 2 and len(lines) == 1, lines
    assert 'before the "--"' in lines[0] and "dpdk-wg -h" in lines[0]
    # EAL's usage is a hundred lines: nobody asked for it, and ours is the last line.
    assert done.stdout == "" and done.stderr.splitlines()[-1] == lines[0]
    assert len(done.stderr.splitlines()) < 8, done.stderr


def test_help_of_eal_and_ours(bench):
    _, _, done = run_to_end(bench.gw, "-h")
    assert done.returncode == 0
    assert "--file-prefix" in done.stdout and "--handshake-lcores" in done.stdout
    _, _, done = run_to_end(bench.gw, "--no-pci", "--", "-h")
    assert done.returncode == 0
    assert "--file-prefix" not in done.stdout and "--handshake-lcores" in done.stdout


def test_a_second_program_of_the_same_prefix(bench):
    """Another namespace is not enough: EAL's runtime directory is the machine's."""
    first = bench.gw.start(PROGRAM, *eal(bench), "--", "--outer", "net_af_packet0", "--interface",
                           bench.short, log="first")
    lab.wait_for("the ready line", lambda: "ready: " in read(first))
    other = bench.namespace("two")
    other.ip("link", "add", "v_out", "type", "veth", "peer", "name", "v_far")
    bench.port(other, "v_out")
    status, lines, _ = run_to_end(other, *eal(bench), "--", "--outer", "net_af_packet0", "--interface",
                                  f"{bench.short}x")
    assert status == 1 and len(lines) == 1 and "--file-prefix" in lines[0], lines
    assert first.poll() is None


@pytest.mark.parametrize("option,told", [
    # Some of EAL's files fit, or none of a size; then it would be killed by a SIGBUS.
    ("size=4k", "no space for EAL's files in /var/run/dpdk/"),
    ("size=1m", "no space for EAL's files in /var/run/dpdk/"),
    ("ro", "EAL's runtime directory cannot be made: /var/run/dpdk: Read-only file system"),
])
def test_runtime_directory_of_no_use(bench, option, told):
    """That is nothing wrong with the command line."""
    done = bench.gw.run("unshare", "-m", "sh", "-c", f"""set -e
mount -t tmpfs -o {option} tmpfs /run
status=0
"$@" || status=$?
ls -A /run/dpdk >&2 || true
exit $status
""", "sh", PROGRAM, *eal(bench), "--", "--outer", "net_af_packet0", "--interface", bench.short,
                        check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("dpdk-wg: ")]
    assert done.returncode == 1 and len(lines) == 1 and told in lines[0], done.stderr
    if option != "ro":
        assert done.stderr.endswith(lines[0] + "\n"), "nothing left"


def test_quiet_unless_asked(bench):
    for more, chatter in (([], False), (["--log-level", "lib.eal:info"], True)):
        program = bench.gw.start(PROGRAM, *eal(bench, *more), "--", "--outer", "net_af_packet0",
                                 "--interface", bench.short, log=f"quiet{chatter}")
        text = lab.wait_for("the ready line", lambda p=program: "ready: " in read(p) and read(p))
        assert ("EAL: " in text) == chatter, text
        assert bench.stop(program) == 0


@pytest.mark.parametrize("more", [[], ["--syslog", "daemon"]], ids=["alone", "asked"])
def test_system_log(bench, more):
    """Lines stand in the system's log only where that is asked for: the journal has standard error."""
    path, dev = os.path.join(bench.dir, "log"), os.path.join(bench.dir, "dev")
    os.mkdir(dev)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as log:
        log.bind(path)
        program = bench.gw.start("unshare", "-m", "sh", "-c", f"""set -e
mount -t tmpfs tmpfs {dev}
mkdir {dev}/net
for file in null zero random urandom net/tun; do
	touch {dev}/$file
	mount --bind /dev/$file {dev}/$file
done
touch {dev}/log
mount --bind {path} {dev}/log
mount --rbind {dev} /dev
exec "$@"
""", "sh", PROGRAM, *eal(bench, *more), "--", "--outer", "net_af_packet0", "--interface", bench.short,
                                 log="program")
        lab.wait_for("the ready line", lambda: "ready: " in read(program))
        assert bench.stop(program) == 0
        got = b""
        try:
            while True:
                got += log.recv(65536)
        except BlockingIOError:
            pass
    assert (b"ready: " in got) == bool(more) and (got != b"") == bool(more), got


def test_wg_quick_dpdk_tells_why(bench):
    """The reason is our own last line, whatever EAL wrote behind it."""
    fake = write(bench, "fake", "#!/bin/sh\necho 'dpdk-wg: the reason' >&2\necho usage\nexit 2\n")
    os.chmod(fake, 0o700)
    write(bench, "wg-quick.env", "EAL_OPTIONS=\nOPTIONS=\n")
    done = bench.gw.run(os.path.join(lab.ROOT, "scripts/wg-quick-dpdk"), bench.short, check=False,
                        env=dict(os.environ, DPDK_WG=fake, DPDK_WG_ETC=bench.dir))
    assert done.returncode != 0 and "did not start: the reason" in done.stderr, done.stderr


# --- Config files, before anything is touched ---

@pytest.mark.parametrize("aa,bb,told", [
    ("ListenPort = 51820", "ListenPort = 51820", "bb.conf:3: ListenPort 51820 is that of"),
    ("MTU = 576\nAddress = fd00::1/64", "", "aa.conf:3: MTU 576"),
    (f"MTU = 1200\n[Peer]\nPublicKey = {KEY}\nAllowedIPs = ::/0", "", "aa.conf:3: MTU 1200"),
    ("Address = ::/0", "", "aa.conf:3: Address"),
])
def test_check_refuses_what_the_start_refuses(bench, aa, bb, told):
    configs = []
    for name, text in ((f"{bench.short}aa", aa), (f"{bench.short}bb", bb)):
        configs += ["--config",
                    write(bench, f"{name}.conf", f"[Interface]\nPrivateKey = {KEY}\n{text}\n")]
    for argv in (["--check", *configs], [*eal(bench), "--", "--outer", "none", *configs]):
        status, lines, done = run_to_end(bench.gw, *argv)
        assert status == 1 and len(lines) == 1 and told in lines[0], done.stderr
        # Nothing of EAL has begun: it would not have found the port.
        assert done.stderr.splitlines() == lines


def test_check_warns_of_keys(bench):
    public = lab.run("wg", "pubkey", input=KEY).stdout.strip()
    path = write(bench, "own.conf",
                 f"[Interface]\nPrivateKey = {KEY}\n\n[Peer]\nPublicKey = {public}\n")
    status, lines, _ = run_to_end(bench.gw, "--check", "--config", path)
    assert status == 0 and len(lines) == 1 and "own.conf:4: this [Peer] has the interface's" in lines[0]
    path = write(bench, "bare.conf", "[Interface]\nListenPort = 1\n")
    status, lines, _ = run_to_end(bench.gw, "--check", "--config", path)
    assert status == 0 and len(lines) == 1 and "bare.conf: no PrivateKey" in lines[0], lines


def test_endpoint_behind_a_port_of_ours(bench):
    """outer0 is made after the file was read, and by this start."""
    public = lab.keypair()[1]
    text = (f"[Interface]\nPrivateKey = {KEY}\n[Peer]\nPublicKey = {public}\n"
            "Endpoint = [fe80::7%outer0]:51820\n")
    path = write(bench, "scoped.conf", text)
    status, lines, _ = run_to_end(bench.gw, "--check", "--config", path)
    assert status == 0 and not lines, lines
    gateway = lab.Gateway(bench.gw, ["v_out"], config=text)
    index = bench.gw.ip_json("link", "show", "outer0")[0]["ifindex"]
    assert gateway.telemetry(f"/wg/peer,{public}")["endpoint"] == f"[fe80::7%{index}]:51820"
    assert "cannot be resolved" not in read(gateway.process)
    assert gateway.stop() == 0


def test_own_key_is_told_once_and_left_out(bench):
    public = lab.run("wg", "pubkey", input=KEY).stdout.strip()
    other = lab.keypair()[1]
    gateway = lab.Gateway(bench.gw, ["v_out"], config=f"[Interface]\nPrivateKey = {KEY}\n[Peer]\n"
                          f"PublicKey = {public}\nAllowedIPs = 10.0.0.1\n[Peer]\nPublicKey = {other}\n"
                          "AllowedIPs = 10.0.0.2\n")
    assert gateway.show("allowed-ips").split() == [other, "10.0.0.2/32"]
    assert read(gateway.process).count("own key") == 1
    assert gateway.stop() == 0


# --- Who forwards ---

def test_who_forwards_is_told(bench):
    bench.gw.sysctl("net.ipv4.ip_forward", 0)
    bench.gw.sysctl("net.ipv6.conf.all.forwarding", 1)
    gateway = lab.Gateway(bench.gw, ["v_out"], config=f"[Interface]\nPrivateKey = {KEY}\n",
                          name=bench.short.ljust(15, "x"))

    def told(text, v4):
        lab.wait_for(text, lambda: text in read(gateway.process).splitlines()[-1])
        assert v4 in gateway.telemetry("/wg/info")["forwarding_v4"]

    lab.wait_for("both lines", lambda: "IPv6 is forwarded by the workers" in read(gateway.process))
    assert "IPv4 is not forwarded: the kernel does not (sysctl -w net.ipv4.ip_forward=1" \
        in read(gateway.process)
    bench.gw.sysctl("net.ipv4.ip_forward", 1)
    told("IPv4 is forwarded by the workers", "by the workers")
    bench.gw.ip("rule", "add", "from", "192.0.2.9", "table", "77", "priority", "1234")
    told("IPv4 is forwarded by the kernel, slowly: policy rules", "priority 1234")
    bench.gw.ip("rule", "del", "priority", "1234")
    told("IPv4 is forwarded by the workers", "by the workers")
    # The longest name there is: telemetry's strings end somewhere.
    setting = f"net.ipv4.conf.{gateway.name}.forwarding"
    bench.gw.sysctl(setting, 0)
    told("IPv4 is forwarded by the kernel, slowly: but not from", f"from {gateway.name} (sysctl -w {setting}=1)")
    bench.gw.sysctl(setting, 1)
    told("IPv4 is forwarded by the workers", "by the workers")
    assert gateway.telemetry("/wg/info")["forwarding_v6"] == "IPv6 is forwarded by the workers"
    assert gateway.stop() == 0


# --- After a crash ---

def test_rules_of_a_crash_go_at_the_next_start(bench):
    def rules():
        return [(rule["priority"], rule["table"]) for family in ("-4", "-6")
                for rule in bench.gw.ip_json(family, "rule")]

    def mark():
        return bench.gw.run("sysctl", "-n", "net.ipv4.conf.all.src_valid_mark").stdout.strip()

    before, mark_before = rules(), mark()
    config = (f"[Interface]\nPrivateKey = {KEY}\nAddress = 10.0.0.1/24, fd00::1/64\n[Peer]\n"
              f"PublicKey = {lab.keypair()[1]}\nAllowedIPs = 0.0.0.0/0, ::/0\n")
    gateway = lab.Gateway(bench.gw, ["v_out"], config=config)
    running = rules()
    assert len(running) == len(before) + 4 and mark() == "1"
    # The default route was another peer's for a while.
    owner = gateway.show("peers")
    for peer in lab.keypair()[1], owner:
        gateway.set("peer", owner, "remove")
        owner = peer
        assert len(rules()) == len(before) and mark() == mark_before
        gateway.set("peer", peer, "allowed-ips", "0.0.0.0/0,::/0")
        assert len(rules()) == len(running) and mark() == "1"
    gateway.stop(9)
    gateway.start()
    assert rules() == running, "the same again, not on top of the others"
    assert "4 policy rules of a run that did not come to its end removed" in read(gateway.process)
    assert gateway.stop() == 0
    assert rules() == before and mark() == mark_before


def test_a_crash_leaves_no_setting_of_an_interface_that_ended(bench):
    """src_valid_mark is the first one's, then the second's, and gone after the next start."""
    files = [write(bench, f"{bench.short}{name}.conf", f"[Interface]\nPrivateKey = {KEY}\nAddress = "
                   f"10.0.{n}.1/24\n[Peer]\nPublicKey = {lab.keypair()[1]}\n"
                   "AllowedIPs = 0.0.0.0/0\n") for n, name in enumerate("ab")]

    def mark():
        return bench.gw.run("sysctl", "-n", "net.ipv4.conf.all.src_valid_mark").stdout.strip()

    def start(config, log):
        options = [word for path in config for word in ("--config", path)]
        program = bench.gw.start(PROGRAM, *eal(bench), "--", "--outer", "net_af_packet0", *options,
                                 log=log)
        lab.wait_for("the ready line", lambda: "ready: " in read(program))
        return program

    assert mark() == "0"
    program = start(files, "first")
    bench.gw.ip("link", "del", f"{bench.short}a")
    lab.wait_for("its end", lambda: "it ends" in read(program))
    lab.wait_for("its rules to go", lambda: bench.gw.ip("rule").stdout.count("fwmark") == 1)
    assert mark() == "1"
    bench.stop(program, 9)
    bare = write(bench, f"{bench.short}c.conf", f"[Interface]\nPrivateKey = {KEY}\n")
    program = start([bare], "second")
    assert mark() == "0" and "fwmark" not in bench.gw.ip("rule").stdout
    assert bench.stop(program) == 0


def test_default_route_with_proc_read_only(bench):
    """As in a container: it works but for strict reverse path filters, which is told."""
    config = write(bench, f"{bench.short}.conf", f"[Interface]\nPrivateKey = {KEY}\nAddress = "
                   f"10.0.0.1/24\n[Peer]\nPublicKey = {lab.keypair()[1]}\nAllowedIPs = 0.0.0.0/0\n")
    program = bench.gw.start("unshare", "-m", "sh", "-c", """set -e
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
exec "$@"
""", "sh", PROGRAM, *eal(bench), "--", "--outer", "net_af_packet0", "--config", config, log="proc")
    text = lab.wait_for("the ready line", lambda: "ready: " in read(program) and read(program))
    assert text.count("src_valid_mark cannot be set to 1") == 1, text
    assert bench.gw.run("sysctl", "-n", "net.ipv4.conf.all.src_valid_mark").stdout.strip() == "0"
    assert bench.stop(program) == 0


# --- Signals, and the service manager ---

def test_signals(bench):
    gateway = lab.Gateway(bench.gw, ["v_out"], config=f"[Interface]\nPrivateKey = {KEY}\n")
    for count in (1, 2):
        gateway.process.send_signal(signal.SIGHUP)
        lab.wait_for("its line", lambda n=count: read(gateway.process).count("wg syncconf") == n)
    assert gateway.process.poll() is None and gateway.show("public-key")
    assert gateway.stop(signal.SIGQUIT) == 0
    assert read(gateway.process).splitlines()[-1] == "dpdk-wg: ending"
    assert "outer0" not in {link["ifname"] for link in bench.gw.ip_json("link", "show")}


@pytest.mark.parametrize("kind", ["file", "abstract"])
def test_service_manager_is_told(bench, kind):
    name = os.path.join(bench.dir, "notify") if kind == "file" else "@" + bench.prefix
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        # Abstract names belong to the network namespace.
        if kind == "abstract":
            own = os.open("/proc/self/ns/net", os.O_RDONLY)
            libc = ctypes.CDLL(None, use_errno=True)
            inside = os.open(f"/var/run/netns/{bench.gw.name}", os.O_RDONLY)
            assert libc.setns(inside, 0x40000000) == 0
            manager.close()
            manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            assert libc.setns(own, 0x40000000) == 0
            os.close(own)
            os.close(inside)
        manager.bind("\0" + name[1:] if kind == "abstract" else name)
        manager.settimeout(20)
        program = bench.gw.start(PROGRAM, *eal(bench), "--", "--outer", "net_af_packet0",
                                 "--interface", bench.short, log="notified",
                                 env=dict(os.environ, NOTIFY_SOCKET=name))
        assert manager.recv(100) == b"READY=1"
        assert lab.run("wg", "show", bench.short, "listen-port").stdout.strip() != "0"
        manager.close()
    assert bench.stop(program) == 0
    assert "NOTIFY_SOCKET" not in read(program)


def test_service_manager_is_gone(bench):
    program = bench.gw.start(PROGRAM, *eal(bench), "--", "--outer", "net_af_packet0", "--interface",
                             bench.short, log="notified",
                             env=dict(os.environ, NOTIFY_SOCKET=f"{bench.dir}/none"))
    lab.wait_for("the ready line", lambda: "ready: " in read(program))
    assert f"warning: NOTIFY_SOCKET {bench.dir}/none: " in read(program)
    assert bench.stop(program) == 0


def test_without_standard_files(bench):
    """As a careless daemon starts it: what else it opens must not take their place."""
    program = bench.gw.start("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", PROGRAM, *eal(bench), "--",
                             "--outer", "net_af_packet0", "--interface", bench.short, log="bare")
    lab.wait_for("its socket", lambda: bench.gw.run("wg", "show", bench.short, check=False)
                 .returncode == 0)
    for number in 0, 1, 2:
        assert os.readlink(f"/proc/{program.pid}/fd/{number}") == "/dev/null"
    assert bench.stop(program) == 0


def test_ready_names_what_is_what(bench):
    gateway = lab.Gateway(bench.gw, ["v_out"], config=f"[Interface]\nPrivateKey = {KEY}\nListenPort = 4444\n")
    ready = lab.wait_for("the ready line", lambda: [line for line in read(gateway.process).splitlines()
                                                    if "ready: " in line])
    assert ready == [f"dpdk-wg: ready: 1 worker; outer0 = net_af_packet0; {gateway.name} on UDP 4444"]


# --- Ports and MTUs ---

def test_one_device_under_two_names(bench):
    status, lines, _ = run_to_end(bench.gw, *eal(bench), "--", "--outer", "0", "--outer",
                                  "net_af_packet0", "--interface", bench.short)
    assert status == 2 and len(lines) == 1, lines
    assert "--outer net_af_packet0: this port is given already, as 0" in lines[0]


def test_kernel_on_the_device_is_warned_of(bench):
    """
    A device of the kernel's answers a second time; each command that is missing is named, as it
    serves a device with a dot in its name, as those of VLANs have.
    """
    bench.gw.ip("link", "set", "v_out", "down")
    bench.gw.ip("link", "set", "v_out", "name", "v.out")
    bench.gw.ip("link", "set", "v.out", "up")
    config = f"[Interface]\nPrivateKey = {KEY}\n"
    gateway = lab.Gateway(bench.gw, ["v.out"], config=config)
    assert "warning" not in read(gateway.process)
    assert gateway.stop() == 0
    bench.gw.ip("link", "set", "v.out", "arp", "on")
    bench.gw.sysctl("net/ipv6/conf/v.out/disable_ipv6", 0)
    # The larger one of two counts; 2, which lets all through, is the default of some systems.
    for everywhere in 0, 2:
        bench.gw.sysctl("net/ipv4/conf/v.out/rp_filter", 0)
        bench.gw.sysctl("net.ipv4.conf.all.rp_filter", everywhere)
        gateway.start()
        warning = read(gateway.process).splitlines()
        warning = [line for line in warning if "warning" in line][-1]
        assert warning.startswith("dpdk-wg: warning: port net_af_packet0: the kernel has v.out too")
        assert gateway.stop() == 0
        for command in warning.split(": ", 4)[-1].split("; "):
            bench.gw.run(*command.split())
        told = read(gateway.process).count("warning")
        gateway.start()
        assert read(gateway.process).count("warning") == told
        assert gateway.stop() == 0


def test_mac_of_a_port_is_the_ports(bench):
    gateway = lab.Gateway(bench.gw, ["v_out"], config=f"[Interface]\nPrivateKey = {KEY}\n")

    def mac():
        return bench.gw.ip_json("link", "show", "outer0")[0]["address"]

    own = mac()
    bench.gw.ip("link", "set", "outer0", "address", "02:00:00:00:00:77")
    lab.wait_for("the port's own", lambda: mac() == own)
    lab.wait_for("the warning", lambda: f"outer0: its MAC address is set back to {own}".lower()
                 in read(gateway.process).lower())
    assert gateway.stop() == 0


def test_a_renamed_interface_is_ours_still(bench):
    """And what has its old name then is not."""
    gateway = lab.Gateway(bench.gw, ["v_out"], config=f"[Interface]\nPrivateKey = {KEY}\n")
    other = "02:00:00:00:00:88"

    def link(name):
        return bench.gw.ip_json("link", "show", name)[0]

    own = link("outer0")["address"]
    bench.gw.ip("link", "set", "outer0", "down")
    bench.gw.ip("link", "set", "outer0", "name", "wan0")
    bench.gw.ip("link", "add", "name", "outer0", "address", other, "type", "bridge")
    bench.gw.ip("link", "set", "wan0", "address", "02:00:00:00:00:77", "up")
    lab.wait_for("the port's own", lambda: link("wan0")["address"] == own)
    bench.gw.ip("link", "set", "wan0", "mtu", 3000)
    lab.wait_for("the port's MTU", lambda: link("wan0")["mtu"] == 1500)
    assert link("outer0")["address"] == other
    assert gateway.stop() == 0


def test_buffers_hold_what_a_tunnel_may_send(bench):
    """MTU = 8920 in a file is enough, whatever the ports' MTU."""
    config = (f"[Interface]\nPrivateKey = {KEY}\nMTU = 8920\nAddress = 10.9.0.1/24\n[Peer]\n"
              f"PublicKey = {lab.keypair()[1]}\nAllowedIPs = 10.9.0.2\n")
    gateway = lab.Gateway(bench.gw, ["v_out"], config=config)
    bench.gw.run("ping", "-c", 1, "-W", 1, "-M", "do", "-s", 8880, "10.9.0.2", check=False)
    assert set(lab.wait_for("a drop", gateway.drops)) == {"no_endpoint"}
    assert gateway.stop() == 0


def test_mtu_beyond_the_buffers_is_set_back(bench):
    gateway = lab.Gateway(bench.gw, ["v_out"], config=f"[Interface]\nPrivateKey = {KEY}\n")

    def mtu():
        return bench.gw.ip_json("link", "show", gateway.name)[0]["mtu"]

    bench.gw.ip("link", "set", gateway.name, "mtu", 2016)
    bench.gw.ip("link", "set", gateway.name, "mtu", 9000)
    lab.wait_for("the most", lambda: mtu() == 2016)
    lab.wait_for("the warning",
                 lambda: f"{gateway.name}: its MTU is set back to 2016" in read(gateway.process))
    assert gateway.stop() == 0


def test_scatter_only_where_a_frame_needs_it(bench):
    gateway = lab.Gateway(bench.gw, ["net_tap0,iface=t0"],
                          config=f"[Interface]\nPrivateKey = {KEY}\n")
    scatter = 1 << 13  # RTE_ETH_RX_OFFLOAD_SCATTER, which this driver offers
    assert not gateway.telemetry("/ethdev/info,0")["rx_offloads"] & scatter
    assert gateway.stop() == 0


# --- Telemetry ---

def test_telemetry_of_the_mirror(bench):
    """It follows the host: one route more is one prefix more, by an event, not by reading all anew."""
    gateway = lab.Gateway(bench.gw, ["v_out"], config=f"[Interface]\nPrivateKey = {KEY}\n")
    bench.gw.set_up("outer0", "192.0.2.1/24")

    def known():
        return gateway.telemetry("/wg/mirror")

    lab.wait_for("the address to be known", lambda: (now := known()) == known() and now["routes"] > 0)
    before = known()
    bench.gw.ip("route", "add", "198.51.100.0/24", "dev", "outer0")
    after = lab.wait_for("the route", lambda: (now := known())["routes"] == before["routes"] + 1 and now)
    assert after["prefixes"] == before["prefixes"] + 1 and after["events"] > before["events"]
    assert after["dumps"] == before["dumps"] and after["overruns"] == 0


def test_telemetry_says_what_is_wrong(bench):
    gateway = lab.Gateway(bench.gw, ["v_out"], config=f"[Interface]\nPrivateKey = {KEY}\n")
    for command, told in (
            ("/wg/info,x", "no parameters"), ("/wg/drops,1", "no parameters"),
            ("/wg/peers,nowhere", 'no interface "nowhere"'),
            (f"/wg/peers,{gateway.name},1x", '"1x" is no number'),
            (f"/wg/peers,{gateway.name},-1", '"-1" is no number'),
            ("/wg/peers," + "x" * 40, "no interface"), ("/wg/peer,abc", "base64"),
            (f"/wg/peer,{lab.keypair()[1]}", "no interface has a peer"),
            ("/wg/mirror,1", "no parameters"),
            ("/wg/handshakers", "no handshake lcores"), ("/wg/handshakers,1", "no parameters"),
            ("/wg/lcores,one", "no number"), ("/wg/lcores,1", "workers 0 to 0"),
            ("/wg/stages,maybe", "on, off or none"), ("/wg/host,eth9", '"eth9"'),
            (f"/wg/port,{gateway.name}", "outer0")):
        answer = gateway.telemetry(command)
        assert list(answer) == ["error"] and told in answer["error"], (command, answer)
    assert gateway.telemetry("/wg/lcores,0")["worker0_lcore"] == 1
    assert gateway.telemetry(f"/wg/peers,{gateway.name},7") == []
    assert gateway.stop() == 0


def test_telemetry_of_an_interface_that_ended(bench):
    other = f"{bench.short}b"
    gateway = lab.Gateway(bench.gw, ["v_out"], config=f"[Interface]\nPrivateKey = {KEY}\n",
                          options=["--interface", other])
    assert gateway.telemetry("/wg/info")["interfaces"] == [gateway.name, other]
    bench.gw.ip("link", "del", gateway.name)
    lab.wait_for("its end", lambda: gateway.telemetry("/wg/info")["interfaces"] == [other])
    assert "no interface" in gateway.telemetry(f"/wg/peers,{gateway.name}")["error"]
    assert gateway.telemetry("/wg/peers") == []
    assert gateway.stop() == 0


# --- What is not permitted ---

NOBODY = 65534


def as_nobody(bench, text, sockets_owner):
    """A start without more than the two capabilities; its own lines."""
    if os.stat("/dev/net/tun").st_mode & 0o006 != 0o006:
        pytest.skip("/dev/net/tun is root's alone")
    os.chmod(bench.dir, 0o755)
    program = os.path.join(bench.dir, "program")
    shutil.copy(PROGRAM, program)
    path = write(bench, f"{bench.short}.conf", f"[Interface]\nPrivateKey = {KEY}\n{text}\n")
    os.chown(path, NOBODY, NOBODY)
    done = bench.gw.run(
        "unshare", "-m", "sh", "-c", f"""set -e
mount -t tmpfs -o mode=755,uid={NOBODY} tmpfs /run
mkdir /run/wireguard
chown {sockets_owner} /run/wireguard
export XDG_RUNTIME_DIR=/run
exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups \
    --inh-caps=+net_admin,+net_raw --ambient-caps=+net_admin,+net_raw "$@"
""", "sh", program, *eal(bench), "--", "--outer", "net_af_packet0", "--config", path, check=False)
    assert done.returncode == 1, done.stderr
    return [line for line in done.stderr.splitlines()
            if line.startswith("dpdk-wg: ") and "memory is not locked" not in line]


def test_low_port_without_the_capability(bench):
    lines = as_nobody(bench, "ListenPort = 80", NOBODY)
    assert len(lines) == 1 and "CAP_NET_BIND_SERVICE" in lines[0], lines


def test_directory_of_another_user(bench):
    lines = as_nobody(bench, "", 0)
    assert len(lines) == 1 and "make the directory this user's" in lines[0], lines


def test_one_fault_one_line(bench):
    gateway = lab.Gateway(bench.gw, ["v_out"], config=f"[Interface]\nPrivateKey = {KEY}\n")
    code = ("import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "s.bind(('', 0))\nprint(s.getsockname()[1], flush=True)\nimport time\ntime.sleep(60)")
    holder = bench.gw.start("python3", "-c", code, log="holder")
    port = lab.wait_for("the port", lambda: read(holder).strip())
    before = read(gateway.process)
    done = lab.run("wg", "set", gateway.name, "listen-port", port, check=False)
    assert done.returncode != 0
    assert gateway.stop() == 0
    told = [line for line in read(gateway.process)[len(before):].splitlines() if "ending" not in line
            and "forward" not in line]
    assert told == [f"dpdk-wg: {gateway.name}: UDP port {port}: Address already in use"]
