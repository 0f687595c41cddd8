# SPDX-License-Identifier: BSD-2-Clause
"""Bodies on their way: requests that stream, where they are kept, what is bounded."""
import os
import pathlib
import re
import socket
import ssl
import threading
import time
import time

import harness
import pytest
from h2raw import H2
from harness import Closed, Conn, Peer, build, fetch, until

BIG = harness.mock_bytes(3_000_000)


def field(fields, name):
    return next((v for k, v in fields if k.lower() == name.lower()), None)


class Seen:
    """What an upstream saw of the last request."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.first, self.fields, self.body, self.whole, self.begun = None, None, b"", False, threading.Event()
        self.n, self.end = 0, None

    def take(self, c, first, fields):
        self.first, self.fields = first, fields
        self.n += 1
        self.begun.set()
        try:
            self.read(c, fields)
            self.whole = True
        except (Closed, ConnectionError) as e:
            self.end = type(e).__name__
            raise

    def read(self, c, fields):
        if "chunked" in (field(fields, "Transfer-Encoding") or ""):
            while True:
                size = int(c.line(), 16)
                if size == 0:
                    c.fields()
                    return
                self.more(c, size)
                assert c.take(2) == b"\r\n"
        self.more(c, int(field(fields, "Content-Length") or 0))

    def more(self, c, n):
        while n:
            if not c.buf:
                c.fill()
            k = min(n, len(c.buf))
            self.body += c.buf[:k]
            c.buf = c.buf[k:]
            n -= k


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture
def upstream(stack, seen):
    def serve(c, first, fields):
        seen.take(c, first, fields)
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True
    return stack.enter_context(Peer(serve))


CONF = """
server { listen 127.0.0.1:@http@; client_max_body_size 0; @server@
    location / { proxy_pass http://@up@; proxy_request_buffering off; @in@ }
    location /kept/ { proxy_pass http://@up@; }
}
"""


@pytest.fixture
def gateway(start, upstream):
    def make(inside="", server="", up=None, conf=CONF, **kw):
        return start(conf, {"up": up or upstream.addr, "in": inside, "server": server}, **kw)
    return make


# --- requests that stream ---------------------------------------------------------------------------

@pytest.mark.parametrize("size", [0, 1, 16320, 16321, 3_000_000])
def test_streamed_with_length(gateway, seen, size):
    s = gateway()
    assert fetch(s.port, "/", "POST", body=BIG[:size]).body == b"ok"
    assert seen.body == BIG[:size] and field(seen.fields, "Content-Length") == str(size)
    assert field(seen.fields, "Transfer-Encoding") is None


@pytest.mark.parametrize("size", [0, 1, 16320, 100_000])
def test_streamed_in_chunks(gateway, seen, size):
    s = gateway()
    body = b"".join(b"%x;e=1\r\n%s\r\n" % (len(p), p) for p in (BIG[i:min(i + 999, size)] for i in range(0, size, 999)))
    r = fetch(s.port, "/", "POST", [("Transfer-Encoding", "chunked")], body + b"0\r\nX-Trailer: no\r\n\r\n")
    assert r.body == b"ok" and seen.body == BIG[:size]
    # A body that was whole before the head went on has a length.
    framing = field(seen.fields, "Transfer-Encoding"), field(seen.fields, "Content-Length")
    assert framing in (("chunked", None), (None, str(size)))
    assert field(seen.fields, "X-Trailer") is None


def test_chunks_to_http10_are_collected(gateway, seen):
    s = gateway("proxy_http_version 1.0;")
    assert fetch(s.port, "/", "POST", [("Transfer-Encoding", "chunked")], b"3\r\nabc\r\n0\r\n\r\n").body == b"ok"
    assert field(seen.fields, "Content-Length") == "3" and seen.body == b"abc"


@pytest.mark.parametrize("headers,pieces", [
    ([("Content-Length", "6")], [b"abc", b"def"]),
    ([("Transfer-Encoding", "chunked")], [b"3\r\nabc\r\n", b"3\r\ndef\r\n0\r\n\r\n"])])
def test_a_streamed_body_goes_on_as_it_comes(gateway, seen, headers, pieces):
    s = gateway()
    with Conn(s.port) as c:
        c.send(build("POST", "/", headers))
        assert seen.begun.wait(5), "the head goes on before the body"
        c.send(pieces[0])
        until(lambda: seen.body == b"abc", what="the first piece")
        c.send(pieces[1])
        assert c.response().body == b"ok" and seen.body == b"abcdef"
        assert c.request("GET", "/").body == b"ok", "the connections stay in use"


def test_without_it_nothing_goes_before_the_end(gateway, seen):
    s = gateway()
    with Conn(s.port) as c:
        c.send(build("POST", "/kept/", [("Content-Length", "6")]) + b"abc")
        assert not seen.begun.wait(0.3)
        c.send(b"def")
        assert c.response().body == b"ok" and seen.body == b"abcdef"


def test_expect_100_of_a_streamed_body(gateway, seen):
    s = gateway()
    with Conn(s.port) as c:
        c.send(build("PUT", "/", [("Content-Length", "3"), ("Expect", "100-continue")]))
        assert c.head().status == 100
        c.send(b"abc")
        assert c.response().body == b"ok" and seen.body == b"abc" and field(seen.fields, "Expect") is None


def test_a_slow_upstream_holds_the_client(stack, gateway):
    """No more than the buffers hold leaves the client: 64 MB do not go into the gateway."""
    gate, got = threading.Event(), []

    def serve(c, first, fields):
        gate.wait(20)
        n = int(field(fields, "Content-Length")) - len(c.buf)
        while n > 0:
            n -= len(c.sock.recv(1 << 16))
        got.append(first)
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    peer = stack.enter_context(Peer(serve))
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    s = gateway(up=peer.addr)
    before = harness.pss_kb(s.workers()[0])
    size = 64 << 20
    with Conn(s.port, timeout=30) as c:
        c.send(build("POST", "/", [("Content-Length", str(size))]))
        c.sock.settimeout(0.5)
        sent, piece = 0, bytes(1 << 16)
        with pytest.raises(TimeoutError):
            while sent < size:
                sent += c.sock.send(piece[:size - sent])
        assert sent < size // 2
        assert harness.pss_kb(s.workers()[0]) - before < 2048 * harness.SLOW
        gate.set()
        c.sock.settimeout(30)
        while sent < size:
            sent += c.sock.send(piece[:size - sent])
        assert c.response().body == b"ok"


@pytest.mark.parametrize("headers,body", [
    ([("Content-Length", "100")], b"abc"),
    ([("Transfer-Encoding", "chunked")], b"3\r\nabc\r\n"),
    ([("Transfer-Encoding", "chunked")], b"3\r\nabc\r\n5\r\nde")])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_sent_no_whole_body(gateway, seen, headers, body, how):
    s = gateway()
    with Conn(s.port) as c:
        c.send(build("POST", "/", headers) + body)
        until(lambda: seen.body[:3] == b"abc", what="a piece")
        getattr(c, how)()
    until(lambda: seen.end, what="the end of the upstream's connection")
    assert not seen.whole and seen.n == 1
    until(lambda: " 499 " in s.access() or " 400 " in s.access(), what="a line in the log")


@pytest.mark.parametrize("tail", [b"zz\r\n", b"3\r\nabcXY", b"3;\r\nabc\r\n", b"3\nabc\r\n"])
def test_a_broken_chunk_ends_the_upstreams_request(gateway, seen, tail):
    s = gateway()
    with Conn(s.port) as c:
        c.send(build("POST", "/", [("Transfer-Encoding", "chunked")]) + b"3\r\nabc\r\n")
        until(lambda: seen.body == b"abc", what="a piece")
        c.send(tail)
        assert c.response().status == 400
        assert c.end()[0] == "fin"
    until(lambda: seen.end, what="the end of the upstream's connection")
    assert not seen.whole


def test_too_much_of_a_streamed_body(gateway, seen):
    s = gateway("client_max_body_size 1000;")
    with Conn(s.port) as c:
        c.send(build("POST", "/", [("Transfer-Encoding", "chunked")]) + b"3e8\r\n" + bytes(1000) + b"\r\n")
        until(lambda: len(seen.body) == 1000, what="what is allowed")
        c.send(b"1\r\nx\r\n0\r\n\r\n")
        assert c.response().status == 413
    until(lambda: seen.end, what="the end of the upstream's connection")
    assert not seen.whole
    assert fetch(s.port, "/", "POST", [("Content-Length", "1001")]).status == 413
    assert seen.n == 1


def test_a_client_that_stops_midway(gateway, seen):
    s = gateway("client_body_timeout 300ms;")
    with Conn(s.port) as c:
        c.send(build("POST", "/", [("Content-Length", "10")]) + b"abc")
        assert c.end()[0] in ("fin", "reset")
    until(lambda: seen.end, what="the end of the upstream's connection")
    assert not seen.whole
    until(lambda: " 408 " in s.access(), what="408 in the log")


def early(answer, then_close):
    def serve(c, first, fields):
        c.take(3)
        c.send(answer)
        if not then_close:
            Seen().read(c, [(k, str(int(v) - 3)) if k.lower() == "content-length" else (k, v) for k, v in fields])
        return not then_close
    return serve


@pytest.mark.parametrize("then_close", [True, False])
def test_an_upstream_that_answers_early(stack, gateway, then_close):
    peer = stack.enter_context(Peer(early(b"HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope", then_close)))
    s = gateway(up=peer.addr)
    with Conn(s.port) as c:
        c.send(build("POST", "/", [("Content-Length", "300000")]) + b"abc")
        r = c.response()
        assert (r.status, r.body) == (403, b"nope"), "the answer does not wait for the rest of the request"
        c.send(bytes(300000 - 3))
        assert c.request("POST", "/", body=b"abc").status == 403, "the rest was no request"


def test_an_answer_while_the_body_still_comes(stack, gateway):
    """Both ways at once: each piece is answered before the next is sent."""
    def serve(c, first, fields):
        c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            size = int(c.line(), 16)
            if size == 0:
                break
            piece = c.take(size + 2)[:-2]
            c.send(b"%x\r\n%s\r\n" % (size, piece.upper()))
        c.send(b"0\r\n\r\n")
    peer = stack.enter_context(Peer(serve))
    s = gateway("proxy_buffering off;", up=peer.addr)
    with Conn(s.port) as c:
        c.send(build("POST", "/", [("Transfer-Encoding", "chunked")]))
        assert c.head().status == 200
        for piece in (b"one", b"two", b"x" * 5000):
            c.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            got = b""
            while len(got) < len(piece):
                got += c.chunk()
            assert got == piece.upper()
        c.send(b"0\r\n\r\n")
        assert c.chunk() == b""


GROUP = """
upstream u { server @bad@; server @good@ backup; keepalive 4; }
server { listen 127.0.0.1:@http@; proxy_next_upstream error timeout http_503 non_idempotent;
    location / { proxy_pass http://u; proxy_request_buffering off; } }
"""


def test_a_refused_connection_costs_a_streamed_body_nothing(start, upstream, seen):
    s = start(GROUP, {"bad": f"127.0.0.1:{harness.free_port()}", "good": upstream.addr})
    assert fetch(s.port, "/", "POST", body=BIG[:50000]).body == b"ok" and seen.body == BIG[:50000]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"])
def test_no_second_try_once_the_body_has_left(stack, start, upstream, seen, answer):
    def serve(c, first, fields):
        c.take(3)
        c.send(answer)
    bad = stack.enter_context(Peer(serve))
    s = start(GROUP, {"bad": bad.addr, "good": upstream.addr})
    with Conn(s.port) as c:
        c.send(build("PUT", "/", [("Content-Length", "6")]) + b"abc")
        assert c.response().status == (503 if answer else 502)
    assert seen.n == 0


def test_a_streamed_body_without_an_upstream(start, upstream):
    s = start(GROUP, {"bad": f"127.0.0.1:{harness.free_port()}", "good": f"127.0.0.1:{harness.free_port()}"})
    with Conn(s.port) as c:
        c.send(build("PUT", "/", [("Content-Length", "60000")]) + bytes(30000))
        assert c.response().status == 502
        c.send(bytes(30000))
        assert c.request("GET", "/").status == 502


def test_a_streamed_body_over_tls(stack, start, seen, ca):
    def serve(c, first, fields):
        seen.take(c, first, fields)
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca.server.chain, ca.server.key)
    peer = stack.enter_context(Peer(serve, tls=context))
    s = start(CONF.replace("http://@up@", "https://@up@"), {"up": peer.addr, "in": "", "server": ""})
    for _ in range(2):
        seen.clear()
        assert fetch(s.port, "/", "POST", body=BIG).body == b"ok" and seen.body == BIG
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (BIG[i:i + 7000] for i in range(0, 700000, 7000)))
        seen.clear()
        assert fetch(s.port, "/", "POST", [("Transfer-Encoding", "chunked")], chunks + b"0\r\n\r\n").body == b"ok"
        assert seen.body == BIG[:700000]


# --- where bodies are kept ----------------------------------------------------------------------------

FILES = """
log_format b '[$request_body_file] [$request_body]'; access_log @dir@/b.log b;
server { listen 127.0.0.1:@http@; client_body_temp_path @dir@/bodies 1 2; client_max_body_size 0;
    location / { proxy_pass http://@up@; proxy_set_header X-File $request_body_file; @in@ } }
"""


def kept(s):
    return [p for p in (s.dir / "bodies").rglob("*") if p.is_file()]


@pytest.mark.parametrize("mode", ["on", "clean", "off"])
@pytest.mark.parametrize("size", [3, 50000])
def test_in_file_only(gateway, seen, mode, size):
    s = gateway(f"client_body_in_file_only {mode};", conf=FILES)
    assert fetch(s.port, "/", "POST", body=BIG[:size]).body == b"ok"
    assert seen.body == BIG[:size]
    name = field(seen.fields, "X-File")
    if mode == "off":
        assert name is None and kept(s) == []
        return
    assert re.fullmatch(rf"{s.dir}/bodies/\d/\d\d/\d{{10}}", name)
    assert name[-1] == name.split("/")[-3] and name[-3:-1] == name.split("/")[-2], "as nginx names them"
    until(lambda: name in (s.dir / "b.log").read_text(), what="its name in the log")
    if mode == "clean":
        assert kept(s) == []
    else:
        assert pathlib.Path(name).read_bytes() == BIG[:size]


def test_request_body_in_the_log(gateway):
    """Also of a body that went to a file: that is what the line is for."""
    s = gateway("client_body_buffer_size 1k;", conf=FILES)
    for size in (10, 2000, 30000):
        body = BIG[:size].replace(b'"', b"'").replace(b"\\", b"/")
        assert fetch(s.port, "/", "POST", body=body).body == b"ok"
        until(lambda b=body: f"[-] [{b.decode()}]" in (s.dir / "b.log").read_text(), what=f"a body of {size}")


@pytest.mark.privileged
def test_a_full_disk_is_a_500(gateway, seen, small_disk):
    s = gateway("client_body_buffer_size 1k;", conf=FILES)
    small_disk(s.dir / "bodies")
    assert fetch(s.port, "/", "POST", body=BIG[:300_000]).status == 500
    s.wait_log(r"\[crit\].*request body of \d+ bytes cannot be kept in .*: No space left on device")
    assert seen.n == 0
    assert fetch(s.port, "/", "POST", body=BIG[:30_000]).body == b"ok", "what was kept is gone"


def test_temp_path_that_cannot_be_written(gateway):
    s = gateway("client_body_buffer_size 1k;", conf=FILES)
    (s.dir / "bodies").rename(s.dir / "elsewhere")
    assert fetch(s.port, "/", "POST", body=BIG[:3000]).status == 500
    s.wait_log(r"\[crit\].*cannot be kept in .*/bodies\": No such file")


@pytest.mark.parametrize("line,error", [
    ("client_body_temp_path /tmp/x 0;", "invalid value"), ("client_body_temp_path /tmp/x 1 2 3 4;", "number of arguments"),
    ("client_body_temp_path /tmp/x 4;", "invalid value"), ("client_body_in_file_only maybe;", "invalid value"),
    ("proxy_request_buffering 1;", "invalid value"), ("proxy_buffers 1 4k;", "at least 2")])
def test_wrong_settings(tmp_path, line, error):
    conf = tmp_path / "c"
    conf.write_text(f"http {{ {line} }}")
    code, out = harness.run_sluice("-t", "-c", conf, "-p", tmp_path)
    assert code == 1 and error in out




# --- trailers of answers ----------------------------------------------------------------------------------

TRAILERS = ["X-Sum: abc", "ETag: \"x\"", "Content-Length: 5", "Transfer-Encoding: chunked", "Host: evil", "Set-Cookie: a=b",
            "Connection: close", "Content-Encoding: gzip", "X-Hide: 1", "X-Accel-Redirect: /x", "Authorization: x",
            "X-Forwarded-For: 1.2.3.4", "Location: /", "Status: 500", "X-Sum: def"]


def trailers(c, fields):
    c.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\n" +
           "\r\n".join(TRAILERS) + "\r\n\r\n")
    return True


@pytest.mark.parametrize("inside,passed", [
    ("", []), ("proxy_pass_trailers off;", []),
    ("proxy_pass_trailers on; proxy_hide_header X-Hide;",
     [("X-Sum", "abc"), ("ETag", '"x"'), ("Status", "500"), ("X-Sum", "def")]),
    ("proxy_pass_trailers on; proxy_hide_header X-Hide; proxy_hide_header X-Sum; add_trailer X-Own o;",
     [("ETag", '"x"'), ("Status", "500"), ("X-Own", "o")])])
def test_trailers_of_an_answer(stack, gateway, inside, passed):
    peer = stack.enter_context(Peer(lambda c, first, fields: trailers(c, fields)))
    s = gateway(inside, up=peer.addr)
    with Conn(s.port) as c:
        for _ in range(2):
            c.send(build("GET", "/"))
            r = c.head()
            assert (r.header("Trailer") == "X-Sum") == ("on" in inside)
            assert c.line() == "3" and c.take(5) == b"abc\r\n" and c.line() == "0"
            assert c.fields() == passed
    old = fetch(s.port, version="1.0")
    assert old.body == b"abc"
    assert peer.n_conns == 1, "the upstream's connection stays in use"


def test_too_many_trailers(stack, gateway):
    def serve(c, first, fields):
        c.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n" + "A: b\r\n" * 2000 + "\r\n")
        return True
    peer = stack.enter_context(Peer(serve))
    for inside in ("", "proxy_pass_trailers on;"):
        s = gateway(inside, up=peer.addr)
        with Conn(s.port) as c, pytest.raises((Closed, ConnectionResetError)):
            c.request("GET", "/")
        s.wait_log("upstream sent invalid chunked response")


# --- 1xx ------------------------------------------------------------------------------------------------------

HINTS = """
map $http_sec_fetch_mode $hints { navigate 1; }
server { listen 127.0.0.1:@http@ http2; location / { proxy_pass http://@up@; early_hints $hints; @in@ }
    location /none { proxy_pass http://@up@; } }
"""


@pytest.fixture
def hinted(stack, start):
    def serve(c, first, fields):
        c.send("HTTP/1.1 100 Continue\r\n\r\n" + "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\nX-Hop: 1\r\n"
               "Connection: X-Hop\r\nX-Hide: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n")
        time.sleep(0.05)
        c.send("HTTP/1.1 200 OK\r\nLink: </c>\r\nContent-Length: 2\r\n\r\nok")
        return True
    peer = stack.enter_context(Peer(serve))
    return start(HINTS, {"up": peer.addr, "in": "proxy_hide_header X-Hide;"})


@pytest.mark.parametrize("path,headers,version,n", [
    ("/", {"Sec-Fetch-Mode": "navigate"}, "1.1", 2), ("/", {}, "1.1", 0), ("/none", {"Sec-Fetch-Mode": "navigate"}, "1.1", 0),
    ("/", {"Sec-Fetch-Mode": "navigate"}, "1.0", 0)])
def test_early_hints(hinted, path, headers, version, n):
    with Conn(hinted.port) as c:
        c.send(build("GET", path, headers, version=version))
        heads = [c.head()]
        while heads[-1].status < 200:
            heads.append(c.head())
        assert [h.status for h in heads] == [103] * n + [200]
        assert [h.all("Link") for h in heads[:n]] == [["</a>"], ["</b>"]][:n]
        assert all(h.header(f) is None for h in heads[:n] for f in ("Content-Length", "X-Hop", "Connection", "X-Hide"))
        assert c.body(heads[-1]).body == b"ok"


def test_early_hints_over_http2(hinted):
    with H2(hinted.port, tls=False) as c:
        id = c.headers([("sec-fetch-mode", "navigate")], path="/")
        s = c.answer(id)
        assert [h[":status"] for h in s.heads] == ["103", "103", "200"] and s.body == b"ok"
        assert [h["link"] for h in s.heads] == ["</a>", "</b>", "</c>"]
        assert [h[":status"] for h in c.get("/").heads] == ["200"]


# --- clients that do not wait -----------------------------------------------------------------------------

@pytest.mark.parametrize("cls", [harness.Sluice, harness.Nginx])
@pytest.mark.parametrize("ignore", ["on", "off"])
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("body", [b"", BIG[:100_000]])
def test_ignore_client_abort(stack, start, cls, ignore, how, body):
    """The upstream's work goes on to the head of its answer, which the log then has."""
    begun, ends = threading.Event(), []

    def serve(c, first, fields):
        c.take(len(body))
        begun.set()
        ends.append(c.end(0.6)[0])
        c.send(b"HTTP/1.1 201 Made\r\nContent-Length: 2\r\n\r\nok")
    peer = stack.enter_context(Peer(serve))
    conf = "client_max_body_size 1m; server { listen 127.0.0.1:@http@; location / { proxy_pass http://@up@; @in@ } }"
    s = start(conf, {"up": peer.addr, "in": f"proxy_ignore_client_abort {ignore};"}, cls=cls)
    with Conn(s.port) as c:
        c.send(build("POST", "/", [("Content-Length", str(len(body)))], body))
        assert begun.wait(5 * harness.SLOW)
        getattr(c, how)()
    until(lambda: ends, what="the upstream's end")
    assert (ends[0] == "open") == (ignore == "on")
    until(lambda: f'" {"201" if ignore == "on" else "499"} ' in s.access(), what="the line in the log")


def test_an_incomplete_request_is_given_up_in_any_case(gateway, seen):
    s = gateway("proxy_ignore_client_abort on;")
    with Conn(s.port) as c:
        c.send(build("POST", "/", [("Content-Length", "100")]) + b"abc")
        until(lambda: seen.body == b"abc", what="a piece")
    until(lambda: seen.end, what="the end of the upstream's connection")
    assert not seen.whole
