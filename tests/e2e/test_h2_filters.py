# SPDX-License-Identifier: BSD-2-Clause
"""Filters and files over HTTP/2: what changes an answer's body or pace meets flow control of each stream."""
import contextlib
import gzip
import os
import threading
import time
import zlib

import harness
import pytest
from h2raw import H2
from harness import Sluice, free_port
from origin import Origin, answer

BIG = bytes(range(256)) * 20000   # 5 MB
BOMB_BYTES = 8 << 20
go_on = threading.Semaphore(0)


def stream(conn, head):
    """An event each time the client has seen the last one."""
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for i in range(10):
        event = b"data: event %d\n\n" % i
        conn.sendall(b"%x\r\n%s\r\n" % (len(event), event))
        assert go_on.acquire(timeout=20)
    conn.sendall(b"0\r\n\r\n")


PLAIN, ZIPPED = ("Content-Type", "text/plain"), ("Content-Encoding", "gzip")
ANSWERS = {
    "/text": answer([PLAIN, ("ETag", '"x"')], b"text " * 1000), "/big": answer([PLAIN], BIG), "/stream": stream,
    "/gz": answer([PLAIN, ZIPPED], gzip.compress(BIG)), "/bomb": answer([PLAIN, ZIPPED], gzip.compress(b"\0" * BOMB_BYTES, 9)),
    "/broken": answer([PLAIN, ZIPPED], b"\x1f\x8b\x08 this goes wrong"), "/cut": answer([PLAIN, ZIPPED], gzip.compress(BIG)[:-100]),
}
CONF = """
    gzip on;
    gzip_types text/plain text/event-stream;
    gunzip on;
    server {
        listen 127.0.0.1:@http@ http2;
        root @dir@/site;
        location / { gzip off; sendfile on; }
        location /up/ { proxy_pass http://@up@/; }
        location /plain/ { gzip off; proxy_pass http://@up@/; }
        location /small/ { proxy_buffering on; proxy_buffers 4 8k; proxy_max_temp_file_size 0; proxy_pass http://@up@/; }
        location /trailer/ { gzip off; add_trailer X-Sum "$upstream_status"; proxy_pass http://@up@/; }
        location /rate/ { gzip off; limit_rate 1m; limit_rate_after 1m; proxy_pass http://@up@/; }
        location /slow/ { limit_rate 1k; gzip off; }
        location /set/ { gzip off; set $limit_rate 1m; proxy_pass http://@up@/; }
        location /expires { expires 1h; return 200 text; }
    }
"""


@pytest.fixture(scope="module")
def sluice():
    with contextlib.ExitStack() as stack:
        up = Origin(ANSWERS)
        stack.callback(up.stop)
        s = Sluice(CONF, {"http": free_port(), "up": up.addr}, main="worker_processes 1;")
        site = s.dir / "site"
        (site / "slow").mkdir(parents=True)
        (site / "big.bin").write_bytes(BIG)
        (site / "slow" / "big.bin").write_bytes(BIG)
        (site / "small.txt").write_text("0123456789")
        s.port = s.values["http"]
        yield stack.enter_context(s)


@pytest.fixture
def c(sluice):
    with H2(sluice.port, tls=False) as conn:
        yield conn


GZ = [("accept-encoding", "gzip")]


def test_gzip(c):
    s = c.get("/up/text", GZ)
    assert s.header("content-encoding") == "gzip" and s.header("content-length") is None and s.header("etag") == 'W/"x"'
    assert gzip.decompress(s.body) == b"text " * 1000
    s = c.get("/up/text")
    assert s.header("content-encoding") is None and s.header("content-length") == "5000" and s.body == b"text " * 1000
    assert gzip.decompress(c.get("/up/big", GZ).body) == BIG


def test_stream_is_flushed_event_by_event(c):
    d, id, text, at = zlib.decompressobj(31), None, b"", 0
    id = c.headers(GZ, "/up/stream")
    for i in range(10):
        def has_event():
            nonlocal text, at
            body = c.stream(id).body
            text += d.decompress(body[at:])
            at = len(body)
            return text.endswith(b"event %d\n\n" % i)
        c.wait(has_event)
        go_on.release()
    d.decompress(c.answer(id).body[at:])
    assert d.eof and c.stream(id).reset is None


@pytest.mark.parametrize("where", ["up", "small"])
def test_gunzip(c, where):
    s = c.get(f"/{where}/gz")
    assert s.header("content-encoding") is None and s.body == BIG and s.ended


@pytest.mark.parametrize("path", ["/up/broken", "/up/cut"])
def test_broken_gzip_resets_the_stream_alone(c, path):
    s = c.get(path)
    assert s.reset and not s.ended
    assert c.get("/small.txt").body == b"0123456789" and not c.goaway


def test_gunzip_waits_for_windows(sluice):
    """8 times 8 MB for a client whose windows are closed: the gateway holds its buffers, no more."""
    worker = harness.children(sluice.proc.pid)[0]
    before = harness.pss_kb(worker)
    with H2(sluice.port, tls=False) as c:
        c.auto_window = False
        ids = [c.headers(path="/up/bomb") for _ in range(8)]
        c.wait(lambda: all(c.stream(i).heads for i in ids))
        time.sleep(0.5)
        assert harness.pss_kb(worker) - before < 8 * 1024
        c.auto_window = True
        for i in ids:
            c.reset(i)
        c.window(0, 1 << 24)
        assert len(c.answer(c.headers(path="/up/bomb"), 30).body) == BOMB_BYTES


def test_files(c):
    s = c.get("/big.bin")
    assert s.body == BIG and s.header("content-length") == str(len(BIG)) and s.header("accept-ranges") == "bytes"
    etag = s.header("etag")
    s = c.get("/big.bin", [("if-none-match", etag)])
    assert s.status == 304 and not s.body and s.ended
    assert c.get("/big.bin", [("if-match", '"x"')]).status == 412
    s = c.get("/big.bin", [("range", "bytes=100-199")])
    assert s.status == 206 and s.body == BIG[100:200] and s.header("content-range") == f"bytes 100-199/{len(BIG)}"
    s = c.get("/big.bin", [("range", "bytes=0-9,1000000-2000000")])
    assert s.status == 206 and BIG[1000000:2000001] in s.body and len(s.body) == int(s.header("content-length"))
    s = c.get("/big.bin", [("range", "bytes=99999999-")])
    assert s.status == 416 and s.header("content-range") == f"bytes */{len(BIG)}"
    s = c.get("/big.bin", method="HEAD")
    assert s.status == 200 and not s.body and s.header("content-length") == str(len(BIG))
    assert c.get("/none").status == 404 and c.get("/").status == 403 and c.post("/small.txt", b"x").status == 405


def test_files_together(sluice):
    """Many streams at once: each gets all of its file."""
    with H2(sluice.port, tls=False) as c:
        ids = [c.headers(path="/big.bin" if i % 2 else "/small.txt") for i in range(8)]     # the client here is slow
        for n, i in enumerate(ids):
            assert c.answer(i, 90).body == (BIG if n % 2 else b"0123456789")


def test_a_stream_that_is_reset_lets_its_file_go(sluice):
    worker = harness.children(sluice.proc.pid)[0]
    fds = len(os.listdir(f"/proc/{worker}/fd"))
    with H2(sluice.port, tls=False) as c:
        c.auto_window = False
        ids = [c.headers(path="/big.bin") for _ in range(10)]
        c.wait(lambda: all(c.stream(i).heads for i in ids))
        for i in ids:
            c.reset(i)
        c.ping()
        c.wait(lambda: c.pings)
        harness.until(lambda: len(os.listdir(f"/proc/{worker}/fd")) <= fds + 1, 5, "files closed")


def test_trailers(c):
    s = c.get("/trailer/text")
    assert s.body == b"text " * 1000 and s.trailers == {"x-sum": "200"} and s.ended


def test_limit_rate(c):
    for path in ("/rate/big", "/set/big"):
        begun = time.monotonic()
        assert c.get(path).body == BIG
        assert 2.4 < time.monotonic() - begun < 10 * harness.SLOW


def test_a_slow_stream_holds_only_itself(c):
    slow = c.headers(path="/slow/big.bin")
    for _ in range(5):
        assert c.get("/big.bin").body == BIG
    assert 0 < len(c.stream(slow).body) < 20000 and not c.stream(slow).is_over


def test_expires(c):
    assert c.get("/expires").header("cache-control") == "max-age=3600"
