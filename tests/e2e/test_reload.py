# SPDX-License-Identifier: BSD-2-Clause
"""Reload, replacement, ends, logs and privileges of the processes."""
import os
import pathlib
import re
import signal
import socket
import threading
import time

import harness
import pytest
from harness import SLOW, Conn, Load, build, children, fetch, free_port, is_alive, mock_bytes, status_of, until

HELLO = "server { listen 127.0.0.1:@http@; location / { return 200 '@word@'; } }"
PROXY = "server { listen 127.0.0.1:@http@; location / { proxy_pass http://@mock@; } }"


@pytest.mark.parametrize("keep", [True, False], ids=["keep-alive", "close"])
def test_reload_under_load_loses_nothing(start, mock, keep):
    s = start(PROXY, {"mock": mock.addr}, main="worker_processes 2;")
    with Load(s.port, "/bytes/1000", keep=keep) as load:
        for _ in range(5):
            time.sleep(0.3)
            s.reload()
        time.sleep(0.3)
    assert not load.bad, load.bad[:5]
    assert load.count > 50 / SLOW
    until(lambda: len(s.workers()) == 2, 10, "the end of the old workers")


def test_reload_takes_the_new_file(start):
    s = start(HELLO, {"word": "one"})
    assert fetch(s.port).body == b"one"
    old = s.workers()
    s.rewrite(HELLO.replace("@word@", "two"))
    s.reload()
    until(lambda: fetch(s.port).body == b"two", what="the new text")
    until(lambda: not set(old) & set(s.workers()), 10, "the end of the old worker")
    assert re.search(r"\[notice\].*reconfiguring", s.log())


def test_reload_opens_and_closes_ports(start):
    s = start(HELLO, {"word": "x", "other": free_port()})
    other = s.values["other"]
    s.rewrite(HELLO + HELLO.replace("@http@", "@other@"))
    s.reload()
    until(lambda: fetch(other).status == 200, what="the new port")
    s.rewrite(HELLO)
    s.reload()

    def is_closed():
        try:
            Conn(other, timeout=1).close()
            return False
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # it was let in just before the end
            return False
    until(is_closed, 10, "the end of the port")
    assert fetch(s.port).status == 200


def test_open_streams_survive_a_reload(start, mock):
    s = start(PROXY, {"mock": mock.addr})
    old = s.workers()[0]
    with Conn(s.port) as c:
        c.send(build("GET", "/chunked/200000", {"X-Mock-Chunk-Delay-Ms": "20"}))
        r = c.head()
        c.chunk()
        s.reload()
        s.reload()
        time.sleep(0.5)
        assert is_alive(old)
        body = c.body(r).body
    assert r.is_whole and mock_bytes(200000).endswith(body)
    until(lambda: not is_alive(old), 10, "the end of the old worker")


def test_an_idle_connection_goes_on_after_a_reload(start):
    """docs/nginx.md: the next request is answered by the old worker, and then the connection ends."""
    s = start(HELLO, {"word": "x"})
    with Conn(s.port) as c:
        assert c.request("GET", "/").status == 200
        s.reload()
        time.sleep(0.3)
        r = c.request("GET", "/")
        assert r.status == 200 and r.header("Connection") == "close"


def test_a_bad_file_is_refused_and_the_old_one_goes_on(start):
    s = start(HELLO, {"word": "one"})
    s.expected += ["nonsense", "not taken", "the old one goes on"]
    old = s.workers()
    s.rewrite("nonsense on;\n" + HELLO)
    s.send_signal(signal.SIGHUP)
    s.wait_log(r'\[emerg\].*unknown directive "nonsense" in \S+sluice\.conf:\d+')
    time.sleep(0.3)
    assert s.workers() == old and fetch(s.port).body == b"one"
    # A port that is taken is a bad configuration too.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        s.expected.append("Address already in use")
        s.rewrite(HELLO + HELLO.replace("@http@", str(taken.getsockname()[1])))
        s.send_signal(signal.SIGHUP)
        s.wait_log(r"\[emerg\].*Address already in use")
        time.sleep(0.3)
        assert s.workers() == old and fetch(s.port).body == b"one"
    s.rewrite(HELLO.replace("@word@", "two"))
    s.reload()
    until(lambda: fetch(s.port).body == b"two", what="the new text")


def test_worker_shutdown_timeout(start, mock):
    s = start(PROXY, {"mock": mock.addr}, main="worker_shutdown_timeout 1s;")
    old = s.workers()[0]
    with Conn(s.port) as c:
        c.send(build("GET", "/bytes/100000", {"X-Mock-Fault": "stall-in-body"}))
        c.head()
        s.reload()
        until(lambda: not is_alive(old), 5, "the end of the old worker")


def test_limits_outlive_a_reload(start):
    s = start("limit_req_zone $remote_addr zone=z:1m rate=1r/m;\nlimit_req_status 429;\n"
              "server { listen 127.0.0.1:@http@; location / { limit_req zone=z; proxy_pass http://127.0.0.1:1; } }")
    assert fetch(s.port).status == 502
    assert fetch(s.port).status == 429
    s.reload()
    assert fetch(s.port).status == 429


@pytest.mark.parametrize("n", [1, 2])
def test_a_killed_worker_is_replaced(start, n):
    s = start(HELLO, {"word": "x"}, main=f"worker_processes {n};")
    s.expected.append(r"exited on signal 9")
    until(lambda: len(s.workers()) == n, what="workers")
    for _ in range(3):
        victim = s.workers()[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda v=victim: v not in s.workers() and len(s.workers()) == n, 5, "another worker")
        assert fetch(s.port).status == 200
        s.wait_log(rf"\[alert\].*worker process {victim} exited on signal 9")


def test_a_crashing_worker_takes_only_its_own_connections(start, mock):
    s = start(PROXY, {"mock": mock.addr}, main="worker_processes 2;")
    s.expected.append(r"exited on signal 9")
    until(lambda: len(s.workers()) == 2, what="workers")
    streams = []
    for _ in range(12):
        c = Conn(s.port)
        c.send(build("GET", "/chunked/100000", {"X-Mock-Chunk-Delay-Ms": "30"}))
        c.head()
        streams.append(c)
    os.kill(s.workers()[0], signal.SIGKILL)
    whole = 0
    for c in streams:
        try:
            while c.chunk():
                pass
            whole += 1
        except (harness.Closed, ConnectionResetError):
            pass
        c.close()
    assert fetch(s.port, "/bytes/10").status == 200
    print(f"{whole} of 12 streams outlived the worker")


def test_a_killed_master(start):
    """Its workers end, and a new start finds everything free."""
    s = start(HELLO, {"word": "x"})
    workers = s.workers()
    with Conn(s.port) as c:
        c.request("GET", "/")
        s.proc.kill()
        s.proc.wait()
    until(lambda: not any(is_alive(w) for w in workers), 10, "the end of the workers")
    s.stderr.close()
    s.expected.append("the master process is gone")
    s.start()
    assert fetch(s.port).status == 200


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_fast_end(start, mock, sig):
    s = start(PROXY, {"mock": mock.addr})
    with Conn(s.port) as c:
        c.send(build("GET", "/bytes/100000", {"X-Mock-Fault": "stall-in-body"}))
        c.head()
        t = time.monotonic()
        s.stop(sig)
        assert time.monotonic() - t < 3 * SLOW
        assert c.end()[0] != "open"
    assert not s.pid_path.exists()


def test_graceful_end(start, mock):
    s = start(PROXY, {"mock": mock.addr})
    with Conn(s.port) as c, Conn(s.port) as idle:
        assert idle.request("GET", "/bytes/1").status == 200
        c.send(build("GET", "/chunked/100000", {"X-Mock-Chunk-Delay-Ms": "30"}))
        r = c.head()
        s.send_signal(signal.SIGQUIT)
        assert idle.end()[0] == "fin"
        body = c.body(r)
        assert body.is_whole and body.body == mock_bytes(100000)
    s.stop(signal.SIGQUIT)


def test_reopen(start):
    s = start(HELLO, {"word": "x"}, main="worker_processes 2;")
    fetch(s.port, "/before")
    until(lambda: "/before" in s.access(), what="the line")
    (s.dir / "access.log").rename(s.dir / "access.old")
    (s.dir / "error.log").rename(s.dir / "error.old")
    s.send_signal(signal.SIGUSR1)
    until(lambda: (s.dir / "access.log").exists() and (s.dir / "error.log").exists(), what="new files")
    time.sleep(0.2)
    for i in range(10):
        fetch(s.port, f"/after{i}")
    until(lambda: s.access().count("/after") == 10, what="the new lines")
    assert "/after" not in (s.dir / "access.old").read_text()


def test_log_lines_are_whole(start):
    """Two workers and long lines in one file: nothing is mixed."""
    s = start("log_format long '$request_uri|$http_x_long|end';\naccess_log @dir@/long.log long;\n"
              "access_log @dir@/buffered.log long buffer=32k flush=1s;\n" + HELLO, {"word": "x"},
              main="worker_processes 2;")
    long = "y" * 3000

    def work(k):
        with Conn(s.port) as c:
            for i in range(100):
                c.request("GET", f"/{k}/{i}", {"X-Long": long})

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for name in ("long.log", "buffered.log"):
        until(lambda n=name: (s.dir / n).read_text().count("\n") == 800, 5, f"800 lines in {name}")
        lines = (s.dir / name).read_text().splitlines()
        assert {line.split("|")[0] for line in lines} == {f"/{k}/{i}" for k in range(8) for i in range(100)}
        assert all(line.endswith(f"|{long}|end") for line in lines)


def test_log_buffers_are_written_at_the_end(start):
    s = start("access_log @dir@/buffered.log combined buffer=64k flush=1h;\n" + HELLO, {"word": "x"})
    for i in range(5):
        fetch(s.port, f"/{i}")
    s.stop(signal.SIGQUIT)
    assert (s.dir / "buffered.log").read_text().count("\n") == 5


def test_error_log_levels(start):
    conf = "limit_req_zone $uri zone=z:1m rate=1r/m;\n" + HELLO
    s = start(conf, {"word": "x"}, log="error")
    with Conn(s.port) as c:
        c.send("nonsense\r\n\r\n")
        c.end()
    s.stop()
    assert "[info]" not in s.log() and "[notice]" not in s.log() and "[warn]" not in s.log()


def test_secrets_are_not_in_the_logs(start, mock):
    s = start(PROXY.replace("proxy_pass", "proxy_set_header X-Key conf-secret-1; proxy_pass"), {"mock": mock.addr},
              log="debug")
    for fault in ("none", "close-before-head", "close-in-body", "garbage-status"):
        with Conn(s.port) as c:
            c.send(build("POST", "/echo?key=query-secret-2", {
                "Authorization": "Bearer header-secret-3", "Cookie": "s=cookie-secret-4", "X-Mock-Fault": fault,
                "X-Api-Key": "key-secret-5"}, "body-secret-6"))
            c.end(1)
    text = s.log() + s.stderr_text()
    for secret in ("conf-secret-1", "query-secret-2", "header-secret-3", "cookie-secret-4", "key-secret-5",
                   "body-secret-6"):
        assert secret not in text, secret


@pytest.mark.privileged
@pytest.mark.parametrize("main,uid", [("", 65534), ("user daemon;", 1), ("user www-data adm;", 33)])
def test_no_privileges(start, main, uid):
    sock = free_port()
    s = harness.Sluice(HELLO, {"http": free_port(), "word": "x", "admin": sock},
                       main=main + "\nworker_processes 2;\nadmin { listen unix:@dir@/admin.sock; }")
    with s:
        until(lambda: len(children(s.pid)) == 3, what="two workers and admin")
        until(lambda: all(status_of(pid)["NoNewPrivs"] == "1" for pid in children(s.pid)), what="what they give up last")
        for pid in children(s.pid):
            status = status_of(pid)
            for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                if name != "CapBnd":
                    assert int(status[name], 16) == 0, (pid, name, status[name])
            assert status["Uid"].split() == [str(uid)] * 4
            assert len(set(status["Gid"].split())) == 1 and status["Gid"].split()[0] != "0"
            assert "0" not in status["Groups"].split()
            assert status["NoNewPrivs"] == "1"
            fds = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            assert not [f for f in fds if "bpf-prog" in f or "bpf-link" in f], fds
        # The master itself keeps a few capabilities, by name.
        master = int(status_of(s.pid)["CapEff"], 16)
        assert not master & (1 << 19 | 1 << 16), "no CAP_SYS_PTRACE, no CAP_SYS_MODULE"


@pytest.mark.privileged
def test_no_descriptor_leaks_by_reloads(start):
    s = start(HELLO, {"word": "x"})
    s.reload()
    until(lambda: len(s.workers()) == 1, 10, "one worker")
    time.sleep(0.2)
    before = len(os.listdir(f"/proc/{s.pid}/fd"))
    memory = harness.pss_kb(s.pid)
    for _ in range(15):
        s.reload()
        until(lambda: len(s.workers()) == 1, 10, "one worker")
    time.sleep(0.2)
    assert len(os.listdir(f"/proc/{s.pid}/fd")) <= before
    # ASan keeps what is freed; its own report says what leaks.
    assert harness.pss_kb(s.pid) - memory < 1500 or os.environ.get("SLUICE_ASAN")
    assert len([p for p in children(s.pid) if is_alive(p)]) == 1


def test_process_titles(start):
    s = start(HELLO, {"word": "x"})
    titles = [pathlib.Path(f"/proc/{pid}/cmdline").read_text() for pid in (s.pid, s.workers()[0])]
    assert titles[0].startswith("sluice: master process") and titles[1].startswith("sluice: worker process")
    worker = s.workers()[0]
    with Conn(s.port) as c:
        c.send("GET / HTTP/1.1\r\n")
        assert fetch(s.port).status == 200  # by when the other has been read
        s.reload()
        assert pathlib.Path(f"/proc/{worker}/cmdline").read_text().startswith("sluice: worker process is shutting down")
        c.send("Host: x\r\n\r\n")
        assert c.response().status == 200
