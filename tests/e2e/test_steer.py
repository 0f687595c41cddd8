# SPDX-License-Identifier: BSD-2-Clause
"""listen ... reuseport [steer=load]: who gets a new connection, and that none is lost when sockets or workers end."""
import contextlib
import os
import pathlib
import re
import signal
import threading
import time

import harness
import pytest
from harness import Conn, Load, bpftool, build, client_tls, fetch, free_port, is_alive, run_sluice, stopped, until

pytestmark = pytest.mark.privileged
CONF = """
gzip on; gzip_comp_level 9; gzip_types text/plain;
server {
    listen 127.0.0.1:@http@ @how@;
    listen 127.0.0.1:@plain@ reuseport;
    root @dir@/html;
    default_type text/plain;
    location /who { return 200 $pid; }
}
"""
STEER = "reuseport steer=load"
BOTH = pytest.mark.parametrize("how", ["reuseport", STEER], ids=["plain", "load"])


@pytest.fixture
def served(start):
    def make(how=STEER, n=2, conf=CONF, ask=None, **kw):
        values = {"how": how, "http": free_port(), "plain": free_port()}
        s = start(conf, values, main=f"worker_processes {n};", **kw)
        s.plain = values["plain"]
        until(lambda: len(s.workers()) == n, 5, f"{n} workers")
        all_serve(s, **(ask or {}))     # one that is seen may not have begun to accept
        return s
    return make


def workers_to(s, n, how=None):
    """A reload to N workers, and perhaps another `listen`; returns before the old ones have ended."""
    if how is not None:
        s.values["how"] = how
    before = set(s.workers())
    s.rewrite(CONF, main=f"worker_processes {n};")
    s.send_signal(signal.SIGHUP)
    until(lambda: len(set(s.workers()) - before) == n, 10, f"{n} new workers")
    return before


def who(c):
    return int(c.request("GET", "/who").body)


def open_at(s, n, pid=None, stack=None, port=None, **kw):
    """N open connections (to the worker PID alone, of as many more as that needs)."""
    kept = []
    for _ in range(200 * n):
        c = Conn(port or s.port, **kw)
        if pid is None or who(c) == pid:
            kept.append(c)
            stack.callback(c.close)
        else:
            c.close()
        if len(kept) == n:
            return kept
    raise AssertionError(f"no {n} connections at worker {pid}")


def at_leisure(do):
    time.sleep(0.03)
    return do()


def share(port, pid, n, **kw):
    """Of N connections that end at once, the part that PID answers."""
    return sum(int(fetch(port, "/who", **kw).body) == pid for _ in range(n)) / n


# --- the less busy one

@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_the_worker_with_fewer_connections_gets_the_new_ones(served, stack, ca, tls):
    conf = CONF
    kw = {}
    if tls:
        conf = re.sub(r"(listen [^;]*);", r"\1 ssl;", conf).replace(
            "root", f"ssl_certificate {ca.server.chain}; ssl_certificate_key {ca.server.key}; root", 1)
        kw = {"tls": client_tls(ca.ca)}
    s = served(conf=conf, ask=kw)
    a, b = s.workers()
    # The other port's connections count, too: what is counted is the worker's.
    open_at(s, 100, a, stack, port=s.plain, **kw)
    until(lambda: share(s.port, b, 5, **kw) == 1, 5, "the end of what was not kept")
    kept = [at_leisure(lambda: open_at(s, 1, None, stack, **kw)[0]) for _ in range(20)]
    got = [who(c) for c in kept]
    # A handshake is work, and a worker that is at work is no free one.
    assert got.count(b) >= (14 if tls else 20), got
    plain = [who(c) for c in open_at(s, 60, None, stack, port=s.plain, **kw)]
    assert 10 <= plain.count(a) <= 50


class Busy:
    """Keeps the worker at the other end of C at work, with little work for us."""

    def __init__(self, c):
        self.c, self.n, self.ending = c, 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.ending:
            r = self.c.request("GET", "/big", {"Accept-Encoding": "gzip"})
            assert r.header("Content-Encoding") == "gzip"
            self.n += 1

    def __enter__(self):
        self.thread.start()
        until(lambda: self.n > 2, 20, "some answers")
        time.sleep(0.5)
        return self

    def __exit__(self, *exc):
        self.ending = True
        self.thread.join()


def test_a_busy_worker_gets_few(served, stack):
    s = served()
    (s.dir / "html").mkdir()
    (s.dir / "html" / "big").write_bytes(os.urandom(1 << 20).hex().encode())
    a, b = s.workers()
    c, = open_at(s, 1, a, stack)
    with Busy(c):
        to_plain = share(s.plain, a, 60)
        to_busy = share(s.port, a, 60)
    assert to_busy <= 0.2 < 0.25 <= to_plain, (to_busy, to_plain)
    c.close()
    # It is busy no more, and says so although nothing wakes it up.
    until(lambda: share(s.port, a, 10) > 0, 5, "a connection for the worker that was busy")


def test_connections_that_wait_for_a_stopped_worker_count(served, stack):
    """It says nothing of itself; that it was given connections and took none is seen all the same."""
    s = served()
    a, b = s.workers()
    with stopped([a]):
        conns = open_at(s, 60, None, stack)
        for c in conns:
            c.send(build("GET", "/who"))
        # B takes what it is given, and its open connections count as much as A's queue: A alone would not have them.
        until(lambda: len([c for c in conns if has_answer(c)]) >= 24, 5, "answers by the other one")
    assert {int(c.response().body) for c in conns} == {a, b}


def who_once(port, address):
    with Conn(port, address) as c:
        return who(c)


def has_answer(c):
    c.sock.setblocking(False)
    try:
        with contextlib.suppress(BlockingIOError):
            c.fill()
    finally:
        c.sock.settimeout(20)
    return bool(c.buf)


def test_ipv6_and_two_listeners(served):
    s = served(conf=CONF.replace("root", "listen [::1]:@http@ @how@; root", 1))
    assert len({who_once(s.port, "::1") for _ in range(40)} |
               {int(fetch(s.port, "/who").body) for _ in range(40)}) == 2


def test_one_worker(served):
    s = served(n=1)
    assert share(s.port, s.workers()[0], 5) == 1


def test_no_master():
    s = harness.Sluice("server { listen 127.0.0.1:@http@ reuseport steer=load; return 200 x; }", {"http": free_port()},
                       main="master_process off; worker_processes 3;")
    s.children_ready = lambda: True
    with s:
        for _ in range(10):
            assert fetch(s.values["http"]).body == b"x"


def descriptors(pid):
    out = []
    for f in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            out.append(os.readlink(f))
    assert out
    return out


def test_no_child_has_a_descriptor_of_bpf(served):
    s = served(conf=CONF, n=2)
    s.rewrite(CONF, main="worker_processes 2; admin { listen unix:@dir@/admin.sock; }")
    s.reload()
    until(lambda: (s.dir / "admin.sock").exists(), 5, "the admin process")
    until(lambda: len(harness.children(s.pid)) == 3, 10, "the end of the old workers")
    for pid in harness.children(s.pid):
        # A child closes them when it begins.
        until(lambda p=pid: "bpf" not in " ".join(descriptors(p)), 5, f"the end of BPF in {pid}")


# --- nothing is lost

def ask_in_queue(s, stack, n=80):
    conns = open_at(s, n, None, stack)
    for c in conns:
        c.send(build("GET", "/who"))
    return conns


def all_serve(s, **kw):
    """One that was busy a moment ago gets nothing at first."""
    until(lambda: {int(fetch(s.port, "/who", **kw).body) for _ in range(60)} == set(s.workers()), 10, "answers of all workers")


def all_answered(conns):
    pids = [int(c.response().body) for c in conns]
    assert len(pids) == len(conns)
    return set(pids)


@BOTH
@pytest.mark.parametrize("to", [1, 2, 6], ids=str)
def test_queues_outlive_a_reload_to_another_number_of_workers(served, stack, how, to):
    s = served(how, 4)
    with stopped(s.workers()):
        conns = ask_in_queue(s, stack)
        old = workers_to(s, to)
    all_answered(conns)
    for c in conns:
        c.close()
    until(lambda: set(s.workers()).isdisjoint(old), 10, "the end of the old workers")
    all_serve(s)


@BOTH
def test_queues_outlive_reuseport_that_goes_and_comes(served, stack, how):
    s = served(how, 3)
    for new in ("", how, "backlog=100", STEER):
        with stopped(s.workers()):
            conns = ask_in_queue(s, stack, 40)
            workers_to(s, 3, new)
        all_answered(conns)
        for c in conns:
            c.close()
        until(lambda: len(s.workers()) == 3, 10, "the end of the old workers")
    all_serve(s)


@BOTH
def test_handshakes_under_way_move_too(served, stack, how):
    """With `deferred` a client is connected, for the kernel it is not before its first bytes."""
    s = served(how + " deferred", 4)
    conns = open_at(s, 60, None, stack)
    old = workers_to(s, 1)
    until(lambda: set(s.workers()).isdisjoint(old), 10, "the end of the old workers")
    for c in conns:
        c.send(build("GET", "/who"))
    assert all_answered(conns) == set(s.workers())


def brief(port, n=6):
    """Clients whose connections lie for a moment before they ask."""
    return Load(port, "/who", n, keep=False, pause_s=0.02)


@BOTH
def test_thirty_reloads_under_connection_load(served, how):
    s = served(how, 2)
    with brief(s.port) as load:
        for i in range(30):
            workers_to(s, (1, 3, 2, 4)[i % 4])
            time.sleep(0.05)
    assert not load.bad, (len(load.bad), load.count, load.bad[:5])
    assert load.count > 100


def kill_one(s):
    s.expected.append("exited on signal 9")
    victim = s.workers()[-1]
    os.kill(victim, signal.SIGKILL)
    return victim


@BOTH
def test_a_worker_that_dies_leaves_its_queue_to_the_others(served, stack, how):
    s = served(how, 2)
    time.sleep(1.1)     # else its successor is kept waiting
    with stopped(s.workers()):
        conns = ask_in_queue(s, stack)
        victim = kill_one(s)
        until(lambda: not is_alive(victim) and len(s.workers()) == 2, 10, "its successor")
        survivor, successor = s.workers()
    # Those of its queue moved at once: they did not wait for who came after it.
    assert all_answered(conns) == {survivor}
    until(lambda: successor in {int(fetch(s.port, "/who").body) for _ in range(20)}, 5, "answers of the successor")


@BOTH
def test_nobody_waits_for_a_successor(served, how):
    """A worker that dies at its start is replaced after a second; meanwhile the others have all connections."""
    s = served(how, 3)
    s.reload()
    until(lambda: len(s.workers()) == 3, 10, "the end of the old workers")
    victim = kill_one(s)
    until(lambda: not is_alive(victim), 5, "its end")
    begun = time.monotonic()
    got = {int(fetch(s.port, "/who").body) for _ in range(60)}
    if time.monotonic() - begun < 0.7:
        assert got == set(s.workers()) and len(got) == 2
    until(lambda: len(s.workers()) == 3, 10, "its successor")
    all_serve(s)


def test_the_last_worker_leaves_its_queue_to_its_successor(served, stack):
    s = served(n=1)
    time.sleep(1.1)
    with stopped(s.workers()):
        conns = ask_in_queue(s, stack, 20)
        kill_one(s)
    assert all_answered(conns) == set(s.workers())


# --- a new binary

def upgrade(s):
    old = s.pid
    s.send_signal(signal.SIGUSR2)
    until(lambda: s.pid_path.exists() and int(s.pid_path.read_text() or 0) not in (0, old), 10, "the new binary")
    new = int(s.pid_path.read_text())
    until(lambda: len(workers_of(new)) == 2, 10, "its workers")
    return new


def workers_of(master):
    return [p for p in harness.children(master) if "worker" in pathlib.Path(f"/proc/{p}/cmdline").read_text()]


def test_a_new_binary_steers_and_the_old_one_if_it_fails(served, stack):
    s = served()
    old_workers = s.workers()
    with brief(s.port, 3) as load:
        new = upgrade(s)
        # New connections go to the new binary's workers alone only when the old one quits; both sit at a socket.
        # TERM would cut what it serves.
        os.kill(new, signal.SIGQUIT)
        until(lambda: not is_alive(new), 10, "its end")
        until(lambda: "this one goes on" in s.log(), 5, "the old one's word")
    s.expected.append("new binary process")
    assert not load.bad, load.bad[:5]
    a, b = old_workers
    open_at(s, 50, a, stack, port=s.plain)
    until(lambda: share(s.port, b, 5) == 1, 5, "steering by the old binary")


def test_a_new_binary_takes_over(served, stack):
    s = served()
    with brief(s.port, 3) as load:
        new = upgrade(s)
        os.kill(s.pid, signal.SIGQUIT)
        s.proc.wait(20)
        time.sleep(0.2)
    try:
        assert not load.bad, load.bad[:5]
        a, b = workers_of(new)
        open_at(s, 50, a, stack, port=s.plain)
        until(lambda: share(s.port, b, 5) == 1, 5, "steering by the new binary")
        assert "steer=load is not possible" not in s.log()
    finally:
        os.kill(new, signal.SIGTERM)
        until(lambda: not is_alive(new), 10, "its end")
        s.proc = None


def test_nothing_is_left_behind(served):
    before = {p["id"] for p in bpftool("prog", "show") if p.get("name") == "steer"}
    s = served()
    for n in (3, 2):
        workers_to(s, n)
    until(lambda: len(s.workers()) == 2, 10, "the end of the old workers")
    mine = {p["id"] for p in bpftool("prog", "show") if p.get("name") == "steer"} - before
    assert len(mine) >= 2       # one a listener; other tests may run
    s.stop()
    until(lambda: not mine & {p["id"] for p in bpftool("prog", "show")}, 10, "the end of the programs")


# --- where it is not possible

@BOTH
def test_without_permission_the_kernels_hash_does_it_and_queues_are_served(served, stack, how):
    s = served(how, 4, uid=65534)
    if how == STEER:
        s.wait_log(r"\[warn\] .*127\.0\.0\.1:\d+: steer=load is not possible, the kernel's hash chooses .*CAP_BPF")
    else:
        assert "steer=load" not in s.log()
        s.wait_log(r"\[notice\] .*tcp_migrate_req=1")
    with stopped(s.workers()):
        conns = ask_in_queue(s, stack)
        workers_to(s, 2)
    all_answered(conns)
    for c in conns:
        c.close()
    until(lambda: len(s.workers()) == 2, 10, "the end of the old workers")
    all_serve(s)


@pytest.mark.parametrize("listen, what", [
    ("80 steer=load", r'"steer=load" without "reuseport"'),
    ("80 reuseport steer=least", 'invalid parameter "steer=least"'),
    ("80 reuseport steer", 'invalid parameter "steer"'),
    ("unix:/tmp/x.sock reuseport", '"reuseport" is not possible for a unix socket'),
    ("unix:/tmp/x.sock reuseport steer=load", '"reuseport" is not possible for a unix socket'),
])
def test_what_is_refused(tmp_path, listen, what):
    (tmp_path / "c").write_text(f"events {{}} http {{ server {{ listen {listen}; return 200 x; }} }}\n")
    code, said = run_sluice("-t", "-c", tmp_path / "c")
    assert code == 1 and re.search(what, said), said
