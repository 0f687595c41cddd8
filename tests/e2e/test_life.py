# SPDX-License-Identifier: BSD-2-Clause
"""A new binary in place of the old one, sockets from outside, what systemd is told, options of listening sockets."""
import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import time

import harness
import pytest
from harness import Conn, Load, children, fetch, free_port, is_alive, until
from test_guard import PORT, get_banned, guarded  # noqa: F401 - fixtures
from guard_net import reach, xdp_on
from test_reload import HELLO, PROXY


class Upgrade:
    """USR2 to S's master; .new is the process of the new binary, which serves."""

    def __init__(self, s):
        self.s, self.new = s, 0
        self.old_pid_path = s.dir / "sluice.pid.oldbin"
        s.send_signal(signal.SIGUSR2)
        until(self.is_ready, 10, "the new binary")

    def is_ready(self):
        try:
            pid = int(self.s.pid_path.read_text())
        except (OSError, ValueError):
            return False
        if pid == self.s.pid or not children(pid):
            return False
        self.new = pid
        return True

    def quit_old(self):
        self.s.send_signal(signal.SIGQUIT)
        assert self.s.proc.wait(10 * harness.SLOW) == 0
        self.s.proc = None
        self.s.stderr.close()

    def end_new(self, sig=signal.SIGQUIT):
        kin = children(self.new)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.new, sig)
        for pid in [self.new, *kin]:
            until(lambda p=pid: not is_alive(p), 10, f"the end of {pid}")


@pytest.fixture
def upgrade(stack):
    def make(s):
        u = Upgrade(s)
        stack.callback(u.end_new, signal.SIGTERM)
        return u
    return make


def test_a_new_binary_takes_over_and_loses_nothing(start, mock, upgrade):
    s = start(PROXY, {"mock": mock.addr}, main="worker_processes 2;")
    with Load(s.port, "/bytes/1000") as load:
        time.sleep(0.3)
        u = upgrade(s)
        assert int(u.old_pid_path.read_text()) == s.pid
        time.sleep(0.3)
        u.quit_old()
        assert not u.old_pid_path.exists()
        assert int(s.pid_path.read_text()) == u.new
        before = load.count
        until(lambda: load.count > before + 50, 10, "requests served by the new one")
    assert not load.bad, load.bad[:5]
    s.wait_log("the old binary has ended")
    # It is a master like any other: it reloads, and ends.
    workers = set(children(u.new))
    os.kill(u.new, signal.SIGHUP)
    until(lambda: set(children(u.new)) - workers, 10, "new workers")
    assert fetch(s.port, "/bytes/10").status == 200
    u.end_new()
    assert not s.pid_path.exists()


def test_a_stream_outlives_the_exchange(start, mock, upgrade):
    s = start(PROXY, {"mock": mock.addr})
    with Conn(s.port) as c:
        c.send(harness.build("POST", "/v1/chat/completions", {"X-Mock-Delay-Ms": "1500"}, b'{"model": "m"}'))
        time.sleep(0.2)
        u = upgrade(s)
        u.quit_old()
        r = c.response()
        assert r.status == 200 and r.json()["choices"]
    u.end_new()


def test_the_old_one_goes_on_when_the_new_one_is_ended(start, upgrade):
    s = start(HELLO, {"word": "old"}, main="worker_processes 2;")
    s.expected = [r"the new binary process \d+ has ended"]
    u = upgrade(s)
    u.end_new()
    s.wait_log(r"the new binary process \d+ has ended")
    until(lambda: s.pid_path.exists() and int(s.pid_path.read_text()) == s.pid, 5, "its pid file")
    assert not u.old_pid_path.exists()
    assert fetch(s.port).body == b"old"
    s.reload()
    assert fetch(s.port).body == b"old"


def test_winch_then_back_to_the_old_one(start, upgrade):
    # WINCH counts for daemons, as in nginx; the new binary is one.
    s = start(HELLO, {"word": "x"})
    u = upgrade(s)
    u.quit_old()
    os.kill(u.new, signal.SIGWINCH)
    until(lambda: not children(u.new), 5, "the end of the workers")
    os.kill(u.new, signal.SIGHUP)
    until(lambda: children(u.new), 5, "workers again")
    assert fetch(s.port).status == 200
    u.end_new()


def test_a_new_binary_that_cannot_start_changes_nothing(start):
    s = start(HELLO, {"word": "good"})
    s.expected = [r"the new binary process \d+ has ended"]
    good = s.conf_path.read_text()
    s.conf_path.write_text(good + "nonsense;\n")
    s.send_signal(signal.SIGUSR2)
    s.wait_log(r"the new binary process \d+ has ended")
    until(lambda: s.pid_path.exists() and int(s.pid_path.read_text()) == s.pid, 5, "its pid file")
    assert fetch(s.port).body == b"good"
    s.conf_path.write_text(good)


def test_usr2_is_ignored_beside_a_new_binary(start, upgrade):
    s = start(HELLO, {"word": "x"})
    s.expected = [r"the new binary process \d+ has ended"]
    u = upgrade(s)
    s.send_signal(signal.SIGUSR2)
    s.wait_log("the changing binary signal is ignored")
    os.kill(u.new, signal.SIGUSR2)
    until(lambda: len(re.findall("signal is ignored", s.log())) == 2, 5, "the new one's word")
    u.end_new()


@pytest.mark.kernel
@pytest.mark.privileged
def test_the_guard_stays_on_through_an_exchange(guarded, net, upgrade):  # noqa: F811
    s = guarded()
    bad, good = net.clients
    get_banned(s, "10.77.1.1", "10.77.1.2", netns=bad)
    until(lambda: reach(PORT, "10.77.1.1", netns=bad) == "dropped", 5, "the ban in the kernel")
    u = upgrade(s)
    assert reach(PORT, "10.77.1.1", netns=bad) == "dropped"
    u.quit_old()
    assert xdp_on(net.server)
    assert reach(PORT, "10.77.1.1", netns=bad) == "dropped"
    assert reach(PORT, "10.77.2.1", netns=good) == 200
    u.end_new()


@pytest.mark.privileged
@pytest.mark.kernel
def test_an_interface_comes_back_during_an_exchange(guarded, net, upgrade):  # noqa: F811
    """It is the new master's, so that the old one's end leaves nothing there that is nobody's."""
    s = guarded()
    bad = net.clients[0]
    s.ctl.ok("ban", "10.77.1.2", "--for", "1h")
    old, u = s.pid, upgrade(s)
    harness.ip("link", "del", "sl-s1", netns=net.server)
    s.wait_log(f"{u.new}#0: the guard is not on sl-s1: the interface is gone")
    harness.ip_batch([f"link add sl-s1 netns {net.server} type veth peer name sl-c1 netns {bad}"])
    harness.ip_batch(net.addresses(1, "sl-s1", 1), net.server)
    harness.ip_batch(net.addresses(1, "sl-c1", 2), bad)
    until(lambda: set(xdp_on(net.server)) == {"sl-s1", "sl-s2"}, 5, "the guard")
    u.quit_old()
    os.kill(u.new, signal.SIGHUP)
    until(lambda: s.log().count(f"{u.new}#0: the guard is on sl-s1, native mode") == 3, 10, "the reload: start, return, reload")
    assert f"{old}#0: the guard is not on" not in s.log()
    assert reach(PORT, "10.77.1.1", netns=bad) == "dropped"


# --- sockets from outside


def test_a_socket_that_systemd_opened_is_used(start, stack):
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    stray = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = listening.getsockname()[1]

    class Activated(harness.Sluice):
        def start(self):
            def child():
                harness.child_setup()
                os.dup2(20, 3)
                os.dup2(21, 4)
                os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2")
            self.stderr = open(self.dir / "stderr", "ab")
            os.dup2(listening.fileno(), 20)
            os.dup2(stray.fileno(), 21)
            self.proc = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=self.stderr, close_fds=False,
                                         stderr=self.stderr, preexec_fn=child, start_new_session=True)
            os.close(20)
            os.close(21)
            until(self.is_ready, 10, "start")
            return self

    s = start(HELLO, {"word": "activated", "http": port}, cls=Activated)
    listening.close()
    assert fetch(port).body == b"activated"
    s.wait_log(rf"inherited socket 127.0.0.1:{stray.getsockname()[1]} is in no \"listen\": closed")
    s.reload()
    assert fetch(port).body == b"activated"


def test_systemd_is_told(start, stack, monkeypatch):
    folder = stack.enter_context(harness.temp_dir())
    told = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    told.bind(str(folder / "notify"))
    told.settimeout(5)
    monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
    s = start(HELLO, {"word": "x"})
    first = told.recv(1000).decode()
    assert "READY=1" in first.split("\n") and f"MAINPID={s.pid}" in first.split("\n")
    s.reload()
    reloading = told.recv(1000).decode().split("\n")
    assert reloading[0] == "RELOADING=1" and re.fullmatch(r"MONOTONIC_USEC=\d+", reloading[1])
    assert told.recv(1000).decode().startswith("READY=1\n")
    good = s.conf_path.read_text()
    s.conf_path.write_text(good + "nonsense;\n")
    s.expected = ["nonsense", "the new configuration is not taken"]
    s.send_signal(signal.SIGHUP)
    assert told.recv(1000).startswith(b"RELOADING=1")
    assert "nonsense" in told.recv(1000).decode()
    s.stop(signal.SIGQUIT)
    assert told.recv(1000) == b"STOPPING=1"
    assert "NOTIFY_SOCKET" not in s.stderr_text()


# --- options of listening sockets


def listening(port):
    out = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    return [line.split() for line in out.splitlines()]


def test_reuseport_gives_each_worker_its_socket(start):
    s = start("server { listen 127.0.0.1:@http@ reuseport; return 200 $pid; }", main="worker_processes 3;")
    assert len(listening(s.port)) == 3

    def all_answer():
        return {int(fetch(s.port).body) for _ in range(100)} == set(s.workers())
    # A worker that has just begun gets nothing before it can accept, which is after it is seen.
    until(all_answer, 10, "answers of all workers")
    with Load(s.port, keep=False) as load:
        for _ in range(3):
            time.sleep(0.2)
            s.reload()
    assert not load.bad, load.bad[:5]
    assert len(listening(s.port)) == 3
    # A worker that dies is replaced on the same socket: none is left that nobody accepts from.
    s.expected = ["exited on signal 9"]
    victim = s.workers()[-1]
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in s.workers() and len(s.workers()) == 3, 10, "another worker")
    until(all_answer, 10, "answers of the other worker, too")


def test_backlog_and_its_change(start):
    s = start("server { listen 127.0.0.1:@http@ backlog=77; return 200 x; }")
    assert listening(s.port)[0][2] == "77"
    s.rewrite("server { listen 127.0.0.1:@http@ backlog=99; return 200 x; }")
    s.reload()
    assert listening(s.port)[0][2] == "99"


@pytest.mark.parametrize("value, timer", [("on", r"keepalive,1\d\dmin|keepalive,\d+h"), ("30m::3", r"keepalive,(29|30)min"),
                                          ("off", None)])
def test_so_keepalive(start, value, timer):
    s = start(f"server {{ listen 127.0.0.1:@http@ so_keepalive={value}; return 200 x; }}")
    with Conn(s.port) as c:
        assert c.request("GET", "/").status == 200
        out = subprocess.run(["ss", "-Htno", f"sport = :{s.port}"], capture_output=True, text=True, check=True).stdout
        assert "keepalive" not in out if timer is None else re.search(timer, out), out


@pytest.mark.parametrize("bad", ["so_keepalive=", "so_keepalive=maybe", "so_keepalive=1:2", "so_keepalive=::", "fastopen=x",
                                 "backlog=0", "so_keepalive=0:1:1"])
def test_bad_options(bad, stack):
    folder = stack.enter_context(harness.temp_dir())
    path = folder / "c.conf"
    path.write_text(f"events {{}} http {{ server {{ listen 127.0.0.1:{free_port()} {bad}; return 200 x; }} }}\n")
    code, text = harness.run_sluice("-t", "-c", path)
    name, value = bad.split("=", 1)
    words = f'invalid so_keepalive value: "{value}"' if name == "so_keepalive" else f'invalid {name} "{bad}"'
    assert code == 1 and words in text and f"{path}:1" in text


def options(s):
    """What the kernel says of the socket that S listens on: (length of fastopen's queue, seconds of deferred)."""
    pidfd = os.pidfd_open(s.pid)
    try:
        for fd in os.listdir(f"/proc/{s.pid}/fd"):
            ours = harness.LIBC.syscall(438, pidfd, int(fd), 0)     # pidfd_getfd
            if ours < 0:
                continue
            if not stat.S_ISSOCK(os.fstat(ours).st_mode):
                os.close(ours)
                continue
            with socket.socket(fileno=ours) as sock:
                if sock.family == socket.AF_INET and sock.getsockname()[1] == s.port:
                    return tuple(sock.getsockopt(socket.IPPROTO_TCP, o) for o in (socket.TCP_FASTOPEN, socket.TCP_DEFER_ACCEPT))
    finally:
        os.close(pidfd)
    raise AssertionError(f"nobody listens on {s.port}")


@pytest.mark.parametrize("text, fastopen, deferred", [("", 0, False), ("fastopen=16", 16, False), ("deferred", 0, True),
                                                      ("fastopen=5 deferred", 5, True)])
def test_fastopen_and_deferred(start, text, fastopen, deferred):
    conf = f"server {{ listen 127.0.0.1:@http@ {text}; return 200 x; }}"
    s, nginx = start(conf), start(conf, cls=harness.Nginx)
    assert options(s) == options(nginx)
    assert options(s)[0] == fastopen and (options(s)[1] > 0) == deferred
    assert fetch(s.port).status == 200
