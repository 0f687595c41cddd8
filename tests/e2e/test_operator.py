# SPDX-License-Identifier: BSD-2-Clause
"""What goes wrong around sluice at three in the morning: interfaces that go, disks that are full, limits that are low,
files that were left empty. Each is said where it is looked for, and nothing is lost by it."""
import contextlib
import ctypes
import json
import os
import pathlib
import re
import resource
import signal
import struct
import subprocess
import tempfile

import pytest
from guard_net import IN_NET, PORT, Ctl, reach, xdp_on
from harness import LIBC, SLOW, Conn, bpftool, child_setup, fetch, ip, ip_batch, run_sluice, until

XDP = "xdp { interface sl-s1 sl-s2; pin_dir @pins@; @xdp@ }\n"
ADMIN = "admin { listen unix:@dir@/admin.sock; }\n"


@pytest.fixture
def guarded(start, net, pins):
    def make(xdp=""):
        s = start("server { " + IN_NET + " return 200 ok; }", {"pins": pins.path, "xdp": xdp, "http": PORT},
                  main=XDP + ADMIN, netns=net.server)
        s.ctl = Ctl(s)
        return s
    return make


@pytest.fixture
def local(start):
    def make(**kw):
        s = start("server { listen 127.0.0.1:@http@; return 200 ok; }", main=ADMIN, **kw)
        s.ctl = Ctl(s)
        return s
    return make


def mode(s):
    return s.ctl.json("status")["guard"]["mode"]


def ask(s, path, *args):
    return subprocess.run(["curl", "-sN", *map(str, args), "--unix-socket", s.dir / "admin.sock", f"http://localhost{path}"],
                          capture_output=True, text=True).stdout


def is_attached(s):
    return "\nsluice_guard_attached 1\n" in ask(s, "/metrics")


def events_of(s, ifname):
    """The kinds of all events of this interface so far, but drops."""
    lines = ask(s, "/api/v1/events?last=1000", "--max-time", 2 * SLOW).splitlines()
    told = [json.loads(x[6:]) for x in lines if x.startswith("data: ")]
    return [e["event"] for e in told if e.get("interface") == ifname and e["event"] != "drop"]


# --- interfaces ---

@pytest.mark.kernel
@pytest.mark.privileged
def test_an_interface_that_goes_and_comes_back(guarded, net):
    s = guarded()
    bad = net.clients[0]
    s.ctl.ok("ban", "10.77.1.2", "--for", "1h")
    assert reach(PORT, "10.77.1.1", bad, timeout=0.3) == "dropped" and is_attached(s)
    ip("link", "del", "sl-s1", netns=net.server)
    s.wait_log(r"\[warn\] .* the guard is not on sl-s1: the interface is gone")
    until(lambda: mode(s) == "sl-s1 off, sl-s2 native", 5, "the status")
    assert not is_attached(s)
    ip_batch([f"link add sl-s1 netns {net.server} type veth peer name sl-c1 netns {bad}"])
    ip_batch(net.addresses(1, "sl-s1", 1), net.server)
    ip_batch(net.addresses(1, "sl-c1", 2), bad)
    until(lambda: mode(s) == "sl-s1 native, sl-s2 native", 5, "the guard")
    assert reach(PORT, "10.77.1.1", bad, timeout=0.3) == "dropped" and is_attached(s)
    assert events_of(s, "sl-s1") == ["guard_on", "guard_off", "guard_on"]


@pytest.mark.kernel
@pytest.mark.privileged
def test_an_interface_that_was_not_there_at_the_start(start, net, pins):
    ip("link", "set", "sl-s1", "down", netns=net.server)
    ip("link", "set", "sl-s1", "name", "sl-x", netns=net.server)
    s = start(f"server {{ listen 10.77.2.1:{PORT}; return 200 ok; }}", {"pins": pins.path, "xdp": "", "http": PORT},
              main=XDP + ADMIN, netns=net.server)
    s.ctl = Ctl(s)
    assert mode(s) == "sl-s1 off, sl-s2 native"
    assert 'the guard is not on sl-s1: there is no interface "sl-s1"' in s.stderr_text()
    ip("link", "set", "sl-x", "name", "sl-s1", netns=net.server)
    until(lambda: mode(s) == "sl-s1 native, sl-s2 native", 5, "the guard")
    assert set(xdp_on(net.server)) == {"sl-s1", "sl-s2"}


@pytest.mark.kernel
@pytest.mark.privileged
def test_a_renamed_interface(guarded, net):
    """It stays guarded until the configuration is taken anew, and it is said."""
    s = guarded()
    ip("link", "set", "sl-s1", "down", netns=net.server)
    ip("link", "set", "sl-s1", "name", "sl-x1", netns=net.server)
    s.wait_log("the guard is not on sl-s1: the interface is called sl-x1 now")
    assert set(xdp_on(net.server)) == {"sl-x1", "sl-s2"}
    s.reload()
    until(lambda: set(xdp_on(net.server)) == {"sl-s2"}, 5, "the end of the other")
    assert mode(s) == "sl-s1 off, sl-s2 native"


@pytest.mark.kernel
@pytest.mark.privileged
def test_a_guard_that_somebody_took_off(guarded, net, pins):
    """Somebody meant it: it is said, and put on again by a reload alone."""
    s = guarded()
    link = next(x for x in pins.links() if x["prog_id"] == xdp_on(net.server)["sl-s1"])
    assert subprocess.run(["/usr/sbin/bpftool", "link", "detach", "id", str(link["id"])]).returncode == 0
    s.wait_log("the guard is not on sl-s1: somebody took it off")
    until(lambda: mode(s) == "sl-s1 off, sl-s2 native", 5, "the status")
    assert set(xdp_on(net.server)) == {"sl-s2"}
    s.reload()
    until(lambda: set(xdp_on(net.server)) == {"sl-s1", "sl-s2"}, 5, "the guard")
    s.ctl = Ctl(s)
    assert mode(s) == "sl-s1 native, sl-s2 native"


# --- a full map in the kernel ---

def bpf(cmd, attr):
    """bpf(2); ATTR is packed."""
    buf = ctypes.create_string_buffer(attr, 128)
    r = LIBC.syscall(321, cmd, buf, ctypes.c_ulong(128))
    assert r >= 0, os.strerror(ctypes.get_errno())
    return r


class PinnedMap:
    """A pinned map by its descriptor, for batches that would take bpftool minutes."""

    def __init__(self, path):
        text = ctypes.create_string_buffer(str(path).encode())
        self.fd = bpf(7, struct.pack("=QII", ctypes.addressof(text), 0, 0))   # BPF_OBJ_GET

    def batch(self, cmd, keys, values=b"", count=0):
        k, v = ctypes.create_string_buffer(keys), ctypes.create_string_buffer(values)
        bpf(cmd, struct.pack("=QQQQIIQQ", 0, 0, ctypes.addressof(k), ctypes.addressof(v), count, self.fd, 0, 0))

    def put(self, keys, value):
        self.batch(26, b"".join(keys), value * len(keys), len(keys))   # BPF_MAP_UPDATE_BATCH

    def delete(self, keys):
        self.batch(27, b"".join(keys), b"", len(keys))   # BPF_MAP_DELETE_BATCH

    def close(self):
        os.close(self.fd)


@pytest.mark.kernel
@pytest.mark.privileged
def test_a_full_map_of_bans(guarded, net, pins, stack):
    """What the kernel has no room for holds at accept, is counted, and goes to the kernel once there is room."""
    s = guarded()
    first, second = net.clients
    s.ctl.ok("ban", "10.77.2.2", "--for", "1h")
    path = pins.maps() / "deny_v4"
    info = bpftool("map", "show", "pinned", path)
    room = info["max_entries"]
    assert room >= 131072
    others = [struct.pack(">I", 0x0B000000 + i) for i in range(room - 1)]
    m = PinnedMap(path)
    stack.callback(m.close)
    m.put(others, b"\0" * info["bytes_value"])
    s.ctl.ok("ban", "10.77.1.2", "--for", "1h")
    s.wait_log(r"\[crit\] .* the ban of 10.77.1.2 did not reach the kernel \(the map is full\)")
    bans = s.ctl.bans()
    assert not bans["10.77.1.2"]["in_kernel"] and bans["10.77.2.2"]["in_kernel"]
    assert s.ctl.json("status")["bans"]["userspace_only"] == 1
    assert reach(PORT, "10.77.1.1", first) == "closed"
    assert reach(PORT, "10.77.2.1", second, timeout=0.3) == "dropped"
    s.reload()
    s.ctl = Ctl(s)
    assert reach(PORT, "10.77.1.1", first) == "closed"
    m.delete(others[:1])
    until(lambda: s.ctl.bans()["10.77.1.2"]["in_kernel"], 5, "its way into the kernel")
    assert reach(PORT, "10.77.1.1", first, timeout=0.3) == "dropped"
    status = s.ctl.json("status")["bans"]
    assert (status["userspace_only"], status["userspace_only_total"]) == (0, 1)
    # The other way: its place is another's again, and taking it back loses nothing.
    s.ctl.ok("unban", "10.77.1.2")
    assert reach(PORT, "10.77.1.1", first) == 200


# --- disks ---

@pytest.mark.privileged
def test_bans_are_saved_once_the_disk_has_room(start, stack, small_disk):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sl-op-"))
    stack.callback(folder.rmdir)
    folder.chmod(0o755)
    small_disk(folder)
    s = start("server { listen 127.0.0.1:@http@; return 200 ok; }", main=ADMIN)
    s.ctl = Ctl(s)
    s.conf_path.write_text(s.conf_path.read_text().replace(f"pid {s.dir}/sluice.pid", f"pid {folder}/sluice.pid"))
    s.send_signal(signal.SIGHUP)
    saved = folder / "sluice.pid.bans"
    until(saved.exists, 5, "the file")
    full = folder / "full"
    with full.open("wb", buffering=0) as f, pytest.raises(OSError):
        while True:
            f.write(b"x" * 512)
    before = saved.read_text()
    s.ctl = Ctl(s)
    s.ctl.ok("ban", "192.0.2.1", "--for", "1h")
    s.wait_log(r"bans cannot be saved to .*28: No space left on device")
    assert saved.read_text() == before, "the old file is whole"
    full.unlink()
    until(lambda: "192.0.2.1 " in saved.read_text(), 10, "the ban in the file")
    s.wait_log("bans are saved to .* again")
    assert [p.name for p in folder.iterdir() if p.name != "sluice.pid"] == ["sluice.pid.bans"]
    s.stop()


# --- files ---

def test_another_pid_file(local):
    """As nginx: a reload writes the new one and takes the old one away; so it does with the bans beside it."""
    s = local()
    s.ctl.ok("ban", "192.0.2.1", "--for", "1h")
    until((s.dir / "sluice.pid.bans").exists, 5, "the bans' file")
    s.conf_path.write_text(s.conf_path.read_text().replace("sluice.pid;", "other.pid;"))
    s.reload()
    assert (s.dir / "other.pid").read_text() == f"{s.pid}\n" and not s.pid_path.exists()
    until(lambda: "192.0.2.1" in (s.dir / "other.pid.bans").read_text(), 5, "the ban in it")
    assert not (s.dir / "sluice.pid.bans").exists()
    # one that cannot be written is no configuration to take
    s.expected += [r"open\(\) .*no/such", "is not taken, the old one goes on"]
    s.conf_path.write_text(s.conf_path.read_text().replace("other.pid;", "no/such/x.pid;"))
    s.ctl = Ctl(s)
    code, _, err = s.ctl.run("reload")
    assert code == 1 and (s.dir / "other.pid").exists(), err
    s.conf_path.write_text(s.conf_path.read_text().replace("no/such/x.pid;", "other.pid;"))
    assert subprocess.run(s.command("-s", "stop")).returncode == 0
    assert s.proc.wait(10 * SLOW) == 0 and not (s.dir / "other.pid").exists()


def test_an_empty_configuration(local, tmp_path):
    """What an editor or a full disk left ends no service; nginx refuses it, too."""
    empty = tmp_path / "empty.conf"
    empty.write_text("# nothing\n")
    code, text = run_sluice("-t", "-c", empty)
    assert code == 1 and 'no "events" or "http" section in configuration' in text
    s = local()
    s.expected += ['no "events" or "http" section', "is not taken, the old one goes on"]
    good = s.conf_path.read_text()
    s.conf_path.write_text("")
    s.send_signal(signal.SIGHUP)
    s.wait_log("the new configuration is not taken, the old one goes on")
    assert fetch(s.port, "/").status == 200
    s.conf_path.write_text(good)


@pytest.mark.parametrize("text,error", [
    (b"\xef\xbb\xbf192.0.2.0/24\r\n\r\n# x\r\n2001:db8::/32\r\n", None),
    (b"192.0.2.7", None),
    (b"", None),
    (b"192.0.2.0/24 until=2020-01-01\n", None),
    (b"192.0.2.0/24\n192.0.2.0/33\n", 'invalid address or network "192.0.2.0/33" in @deny@:2'),
    (b"192.0.2.0/24 until=soon\n", 'invalid parameter "until=soon" in @deny@:1'),
    (b"deny 192.0.2.0/24;\n", "in @deny@:1"),
    (b"192.0.2.1-192.0.2.9\n", "in @deny@:1"),
    (b"\0\0\n", "in @deny@:1"),
    (b"x" * 100000, "in @deny@:1"),
    (None, 'cannot read "@deny@" (21: Is a directory)'),
], ids=["mark-crlf", "no-end", "empty", "over", "bits", "until", "directive", "range", "nul", "long", "folder"])
def test_a_deny_file(tmp_path, text, error):
    deny, conf = tmp_path / "deny", tmp_path / "c.conf"
    if text is None:
        deny.mkdir()
    else:
        deny.write_bytes(text)
    conf.write_text(f"xdp {{ interface lo; deny_file {deny}; }}\nevents {{}}\n")
    code, out = run_sluice("-t", "-c", conf)
    assert (code, error is None or error.replace("@deny@", str(deny)) in out) == (1 if error else 0, True), out


# --- limits ---

def with_files(limit, hard=None, uid=None):
    def setup():
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard or limit))
        child_setup(None, uid)
    return setup


def launch(s, setup):
    p = subprocess.run(s.command(), capture_output=True, text=True, timeout=20 * SLOW, preexec_fn=setup,
                       stdin=subprocess.DEVNULL)
    return p.returncode, p.stderr


def test_hardly_any_descriptors(local):
    s = local()
    s.stop()
    s.expected.append("cannot be started")
    code, err = launch(s, with_files(9))
    assert code == 1 and "[alert] the worker process cannot be started (24: Too many open files): " in err, err
    assert "ulimit -n" in err


def test_descriptors_that_run_out(start):
    """Whoever is idle for longest makes room, and the log says why connections go."""
    s = start("server { listen 127.0.0.1:@http@; return 200 ok; }", main="worker_rlimit_nofile 40;")
    s.wait_log(r"\[warn\] .* 1024 worker_connections exceed open file resource limit: 40")
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            assert stack.enter_context(Conn(s.port)).request("GET", "/").status == 200
    s.wait_log(r"\[warn\] .* no file descriptor is free, reusing connections: raise worker_rlimit_nofile")
    assert len(re.findall("reusing connections", s.log())) < 10 * SLOW


def test_fewer_descriptors_than_connections(start):
    """The soft limit is raised as far as it goes; what is then missing is said, as nginx does."""
    s = start("server { listen 127.0.0.1:@http@; return 200 ok; }", connections=900)
    assert "exceed open file resource limit" not in s.log()
    s.stop()
    s.proc = subprocess.Popen(s.command(), stdin=subprocess.DEVNULL, stdout=s_err(s), stderr=subprocess.STDOUT,
                              start_new_session=True, preexec_fn=with_files(256, 1024))
    until(s.is_ready, 10, "the start")
    assert soft_limit(s.workers()[0]) == 1024 and "exceed open file resource limit" not in s.log()
    s.conf_path.write_text(s.conf_path.read_text().replace("worker_connections 900", "worker_connections 2000"))
    s.send_signal(signal.SIGHUP)
    s.wait_log(r"\[warn\] .* 2000 worker_connections exceed open file resource limit: 1024")
    assert fetch(s.port, "/").status == 200


def s_err(s):
    s.stderr = open(s.dir / "stderr", "ab")
    return s.stderr


def soft_limit(pid):
    line = next(x for x in pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines() if "open files" in x)
    return int(line.split()[3])
