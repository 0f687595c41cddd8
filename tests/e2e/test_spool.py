# SPDX-License-Identifier: BSD-2-Clause
"""Answers that wait for a slow client: in memory, in a temporary file, no more than is allowed."""
import contextlib
import gzip
import os
import pathlib
import subprocess
import threading
import time

import harness
import pytest
from h2raw import H2
from harness import Closed, Conn, Peer, build, fetch, until

SPOOL = """
log_format u '$status $body_bytes_sent $request_time $upstream_response_time'; access_log @dir@/u.log u;
server { listen 127.0.0.1:@http@; proxy_temp_path @dir@/temp; @server@
    location / { proxy_pass http://@up@; @in@ } }
"""


class Sender:
    """Sends SIZE bytes as the query says, and tells when all of them have left."""

    def __init__(self, size, head="Content-Length: {n}", chunked=False):
        self.size, self.head, self.chunked, self.done, self.sent = size, head, chunked, threading.Event(), 0
        self.extra, self.then = "", None

    def __call__(self, c, first, fields):
        head = "Transfer-Encoding: chunked" if self.chunked else self.head.format(n=self.size)
        c.send(f"HTTP/1.1 200 OK\r\n{head}\r\n{self.extra}\r\n")
        for i in range(0, self.size, 60000):
            p = BIG_ANSWER[i:min(i + 60000, self.size)]
            c.send(b"%x\r\n%s\r\n" % (len(p), p) if self.chunked else p)
            self.sent += len(p)
        if self.chunked:
            c.send(b"0\r\n\r\n")
        self.done.set()
        return "close" not in head


SIZE = 16_000_000   # more than the kernel keeps of what is sent to a slow reader
BIG_ANSWER = harness.mock_bytes(SIZE)


@pytest.fixture
def sender(stack):
    """Over a Unix socket: of TCP the kernel would take up to 32 MB (tcp_rmem) for a reader who has stopped."""
    folder = stack.enter_context(harness.temp_dir())

    def make(size=SIZE, **kw):
        s = Sender(size, **kw)
        s.peer = stack.enter_context(Peer(s, unix=folder / "up"))
        (folder / "up").chmod(0o666)
        s.addr = s.peer.addr
        return s
    return make


def stalled(s, path="/", **kw):
    """A client that asked, and reads its answer's head, and no more."""
    c = Conn(s.port, rcvbuf=20000, timeout=20, **kw)
    c.send(build("GET", path))
    return c, c.head()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_slow_client_does_not_hold_the_upstream(start, sender, chunked):
    up = sender(chunked=chunked)
    s = start(SPOOL, {"up": up.addr, "server": "", "in": "proxy_max_temp_file_size 100m;"})
    c, r = stalled(s)
    assert up.done.wait(5 * harness.SLOW), "the upstream is free although the client has read next to nothing"
    time.sleep(0.5 * harness.SLOW)  # it has sent; that is to be read, too
    other = fetch(s.port)
    assert other.body == BIG_ANSWER[:SIZE]
    assert up.peer.n_conns == 1, "its connection serves the next one"
    assert c.body(r).body == BIG_ANSWER[:SIZE]
    c.send(build("GET", "/"))
    assert c.response().body == BIG_ANSWER[:SIZE]
    s.wait_log(r"\[warn\].*an upstream response is buffered to a temporary file while reading upstream")
    assert list((s.dir / "temp").iterdir()) == [], "the file has no name"
    c.close()


@pytest.mark.parametrize("inside,fields", [
    ("gzip on; gzip_types *; gzip_comp_level 1;", [("Accept-Encoding", "gzip")]),
    ("limit_rate 4m; limit_rate_after 8m;", []),
    ("proxy_buffers 3 512; proxy_buffer_size 512; proxy_busy_buffers_size 512; proxy_temp_file_write_size 512;", []),
    ("proxy_buffers 64 64k; proxy_busy_buffers_size 1m; proxy_temp_file_write_size 1m;", [])])
def test_filters_behind_the_file(start, sender, inside, fields):
    """All of it comes, in order, whatever else is in its way."""
    up = sender()
    s = start(SPOOL, {"up": up.addr, "server": "", "in": f"proxy_max_temp_file_size 100m; {inside}"})
    with Conn(s.port, rcvbuf=20000, timeout=30) as c:
        c.send(build("GET", "/", fields))
        r = c.head()
        assert up.done.wait(10 * harness.SLOW), "the upstream is free"
        body = c.body(r).body
    assert (gzip.decompress(body) if fields else body) == BIG_ANSWER


@pytest.mark.parametrize("inside,extra", [
    ("", ""), ("proxy_max_temp_file_size 0;", ""), ("proxy_max_temp_file_size 100m; proxy_buffering off;", ""),
    ("proxy_max_temp_file_size 100m;", "X-Accel-Buffering: no\r\n"),
    ("proxy_max_temp_file_size 100m;", "Content-Type: text/event-stream\r\n"),
    ("proxy_max_temp_file_size 64k;", "")])
def test_what_waits_is_bounded(start, sender, inside, extra):
    """Nothing goes to the disk unless it may."""
    up = sender()
    up.extra = extra
    s = start(SPOOL, {"up": up.addr, "server": "", "in": inside})
    c, r = stalled(s)
    assert not up.done.wait(0.7)
    assert (s.log().count("buffered to a temporary file") == 1) == ("64k" in inside)
    assert c.body(r).body == BIG_ANSWER[:SIZE]
    assert up.done.wait(5 * harness.SLOW)
    c.close()


def test_x_accel_buffering_yes(start, sender):
    up = sender()
    up.extra = "X-Accel-Buffering: yes\r\n"
    inside = "proxy_max_temp_file_size 100m; proxy_buffering off;"
    s = start(SPOOL, {"up": up.addr, "server": "", "in": inside})
    c, r = stalled(s)
    assert up.done.wait(5 * harness.SLOW) and r.header("X-Accel-Buffering") is None
    c.close()
    up.done.clear()
    s = start(SPOOL, {"up": up.addr, "server": "", "in": inside + "proxy_ignore_headers X-Accel-Buffering;"})
    c, r = stalled(s)
    assert not up.done.wait(0.7)
    c.close()


def test_an_answer_cut_after_it_went_to_the_file(stack, start):
    def serve(c, first, fields):
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 90000000\r\n\r\n" + BIG_ANSWER[:3_000_000])
    peer = stack.enter_context(Peer(serve))
    s = start(SPOOL, {"up": peer.addr, "server": "", "in": "proxy_max_temp_file_size 100m;"})
    c, r = stalled(s)
    time.sleep(0.5)
    with pytest.raises((Closed, ConnectionResetError)):
        c.body(r)
    c.close()


@pytest.mark.privileged
def test_a_full_disk_makes_the_upstream_wait(start, sender, small_disk):
    up = sender()
    s = start(SPOOL, {"up": up.addr, "server": "", "in": "proxy_max_temp_file_size 100m;"})
    small_disk(s.dir / "temp", "1m")
    c, r = stalled(s)
    assert not up.done.wait(0.7)
    s.wait_log(r"\[crit\].*an upstream response cannot be kept in .*No space left")
    assert c.body(r).body == BIG_ANSWER[:SIZE]
    c.close()


def test_stalled_streams_take_no_more_than_their_buffers(start, sender):
    """A hundred answers of 4 MB, none of which is read: 32 MB at most, and nothing on disk."""
    up = sender(4_000_000)
    s = start(SPOOL, {"up": up.addr, "server": "", "in": ""}, main="worker_processes 1;")
    fetch(s.port)
    before = harness.pss_kb(s.workers()[0])
    conns = [stalled(s)[0] for _ in range(100)]
    time.sleep(1)
    used = harness.pss_kb(s.workers()[0]) - before
    for c in conns:
        c.close()
    assert used < 32 << 10, f"{used} kB"
    assert "temporary file" not in s.log()


def n_files(s):
    n = 0
    for p in pathlib.Path(f"/proc/{s.workers()[0]}/fd").iterdir():
        with contextlib.suppress(OSError):
            n += "/temp/" in os.readlink(p)
    return n


def test_spooled_streams_take_no_more_memory(start, sender):
    up = sender(4_000_000)
    s = start(SPOOL, {"up": up.addr, "server": "", "in": "proxy_max_temp_file_size 100m;"}, main="worker_processes 1;")
    fetch(s.port)
    before = harness.pss_kb(s.workers()[0])
    conns = [stalled(s) for _ in range(50)]
    until(lambda: n_files(s) == 50, 20, "fifty files")
    assert harness.pss_kb(s.workers()[0]) - before < 8 << 10
    for i, (c, r) in enumerate(conns):
        if i % 2:
            c.close()
        else:
            assert c.body(r).body == BIG_ANSWER[:4_000_000]
            c.close()
    until(lambda: n_files(s) == 0, what="the end of the files")


@pytest.mark.parametrize("inside", ["proxy_max_temp_file_size 10m; proxy_busy_buffers_size 32k;", "limit_rate 10;",
                                    "limit_rate 10; gzip on; gzip_types *; gzip_min_length 0;", ""])
@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_a_drip_takes_no_buffer_for_each_drop(stack, start, inside, http2):
    """While the client takes nothing, or slowly, an upstream sends a few bytes at a time."""
    done = threading.Event()

    def serve(c, first, fields):
        c.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + BIG_ANSWER[:3_000_000 if "temp_file" in inside else 200_000])
        for _ in range(20000):
            c.send(b"drop")
            end = time.perf_counter() + 0.00005   # each is to be a read of its own
            while time.perf_counter() < end:
                pass
        done.set()
        c.end(20)
    up = stack.enter_context(Peer(serve))
    s = start(SPOOL, {"up": up.addr, "in": inside + "proxy_buffers 64 16k;", "server": "http2 on;" if http2 else ""})
    before = harness.pss_kb(s.workers()[0])
    if http2:
        c = stack.enter_context(H2(s.port, tls=False))
        c.headers([("accept-encoding", "gzip")])
    else:
        c = stack.enter_context(Conn(s.port, rcvbuf=4096))
        c.send(build("GET", "/", {"Accept-Encoding": "gzip"}))
    assert done.wait(20 * harness.SLOW)
    assert harness.pss_kb(s.workers()[0]) - before < 2500 * harness.SLOW


@pytest.mark.parametrize("inside", ["", "proxy_max_temp_file_size 100m;"])
def test_stalled_streams_over_http2(start, sender, inside):
    """The same where a hundred of them share one connection: those with an open window hold none of the others."""
    up = sender(4_000_000)
    s = start(SPOOL.replace("@http@;", "@http@ http2;", 1), {"up": up.addr, "server": "", "in": inside}, main="worker_processes 1;")
    with H2(s.port, tls=False) as c:
        c.get("/")
        before = harness.pss_kb(s.workers()[0])
        c.auto_window = False
        c.window(0, 1 << 30)
        ids = [c.headers(path="/") for _ in range(100)]
        c.wait(lambda: all(len(c.stream(i).data) == 65535 for i in ids), 60)
        assert harness.pss_kb(s.workers()[0]) - before < 32 << 10
        for i in ids[::25]:
            c.window(i, 4_000_000)
            assert c.answer(i).body == BIG_ANSWER[:4_000_000]
    assert ("temporary file" in s.log()) == bool(inside)


def test_proxy_limit_rate(start, sender):
    up = sender(300_000)
    s = start(SPOOL, {"up": up.addr, "server": "", "in": "proxy_limit_rate 100k; proxy_read_timeout 400ms;"})
    t = time.monotonic()
    assert fetch(s.port).body == BIG_ANSWER[:300_000]
    assert time.monotonic() - t > 1.5
    s = start(SPOOL, {"up": up.addr, "server": "", "in": "proxy_limit_rate 100k; proxy_buffering off;"})
    t = time.monotonic()
    assert fetch(s.port).body == BIG_ANSWER[:300_000]
    assert time.monotonic() - t < 1.5 * harness.SLOW


def test_x_accel_limit_rate(start, sender):
    up = sender(300_000)
    up.extra = "X-Accel-Limit-Rate: 100000\r\n"
    s = start(SPOOL, {"up": up.addr, "server": "", "in": ""})
    t = time.monotonic()
    r = fetch(s.port)
    assert r.body == BIG_ANSWER[:300_000] and r.header("X-Accel-Limit-Rate") is None
    assert time.monotonic() - t > 1.5
    s = start(SPOOL, {"up": up.addr, "server": "", "in": "proxy_ignore_headers X-Accel-Limit-Rate;"})
    t = time.monotonic()
    assert fetch(s.port).body == BIG_ANSWER[:300_000]
    assert time.monotonic() - t < 1.5 * harness.SLOW


@pytest.mark.parametrize("lines,error", [
    ("proxy_busy_buffers_size 4000;", "must be equal to or greater than the maximum"),
    ("proxy_busy_buffers_size 32k;", "must be less than the size of all"),
    ("proxy_temp_file_write_size 1k;", "must be equal to or greater than the maximum"),
    ("proxy_max_temp_file_size 1k;", "must be equal to zero to disable"),
    ("proxy_buffers 3 4k;", None), ("proxy_buffers 2 4k;", "must be less than"), ("proxy_buffers 1 4k;", "at least 2"),
    ("proxy_buffers 2 4k; proxy_buffer_size 8k;", "must be less than the size of all"),
    ("proxy_buffer_size 32k;", "must be less than the size of all"),
    ("proxy_buffer_size 32k; proxy_buffers 16 32k; proxy_busy_buffers_size 64k;", None),
    ("proxy_buffer_size 16k; proxy_buffers 4 32k;", None), ("proxy_max_temp_file_size 0;", None),
    ("proxy_temp_path /tmp/x 1 2 9;", "invalid value")])
def test_sizes_are_checked_as_by_nginx(tmp_path, lines, error):
    for program in (str(harness.SLUICE), "/usr/sbin/nginx"):
        conf = tmp_path / "c"
        conf.write_text(f"events {{ }} error_log stderr; pid {tmp_path}/pid; http {{ access_log off; server {{ "
                        f"location / {{ {lines} }} }} }}")
        p = subprocess.run([program, "-t", "-c", str(conf), "-p", str(tmp_path)], capture_output=True, text=True)
        if error == "at least 2" or error == "invalid value":
            assert p.returncode == 1, (program, p.stderr)
        else:
            assert (p.returncode == 1) == bool(error), (program, p.stderr)
            assert error is None or error in p.stderr, (program, p.stderr)
