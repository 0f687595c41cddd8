# SPDX-License-Identifier: BSD-2-Clause
"""Upstreams are untrusted: whatever one of them does, with a healthy second one no client sees an error that could be
avoided, and none ever takes a shortened answer for a whole one."""
import contextlib
import socket
import ssl
import threading
import time

import harness
import pytest
from harness import Closed, Conn, Peer, build, fetch, until

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-From: good\r\n\r\ngood"
OK = b"HTTP/1.1 200 OK\r\n"
CL = b"Content-Length: %d\r\n\r\n"
CH = b"Transfer-Encoding: chunked\r\n\r\n"
BIG = harness.mock_bytes(300_000)

CONF = """
upstream u { server @bad@ max_fails=0; server @good@ backup; keepalive 8; }
server { listen 127.0.0.1:@http@; proxy_next_upstream error timeout invalid_header; proxy_read_timeout 600ms;
    proxy_connect_timeout 600ms; proxy_ssl_verify @verify@; proxy_ssl_trusted_certificate @ca@; proxy_ssl_name localhost;
    location / { proxy_pass @scheme@://u; @in@ }
}
"""


def closes(c):
    pass


def resets(c):
    time.sleep(0.05)
    c.reset()


def stalls(c):
    c.end(3)


def endless_interim(c):
    while True:
        c.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 10)


def endless_head(c):
    while True:
        c.send(b"X-Y: " + b"z" * 1000 + b"\r\n")


def drips_for_ever(c):
    while True:
        c.send(b"x")
        time.sleep(0.001)


# What comes before an answer has begun: another one is asked.
BEFORE = {
    "closes": (b"", closes), "resets": (b"", resets), "stalls": (b"", stalls),
    "closes in the status line": (b"HTTP/1.1 2", closes), "resets in the status line": (b"HTTP/1.1 2", resets),
    "closes in the head": (OK + b"Content-", closes), "resets in the head": (OK + b"Content-", resets),
    "stalls in the head": (OK + b"Content-", stalls),
    "garbage": (b"\x16\x03\x01\x00garbage\r\n\r\n", closes), "HTTP/0.9": (b"<html>hello</html>", closes),
    "HTTP/2": (b"HTTP/2 200\r\n\r\n", closes), "HTTP/3.0": (b"HTTP/3.0 200 OK\r\n\r\n", closes),
    "status 99": (b"HTTP/1.1 99 Low\r\n\r\n", closes), "status 600": (b"HTTP/1.1 600 High\r\n\r\n", closes),
    "status 2000": (b"HTTP/1.1 2000 OK\r\n\r\n", closes), "no status": (b"HTTP/1.1 OK\r\n\r\n", closes),
    "bare LF": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", closes), "NUL": (OK + b"X: a\0b\r\n" + CL % 0, closes),
    "space before a colon": (OK + b"Content-Length : 2\r\n\r\nok", closes), "folded": (OK + b"X: a\r\n b\r\n" + CL % 0, closes),
    "two lengths": (OK + b"Content-Length: 2\r\n" + CL % 3 + b"oka", closes),
    "length and chunks": (OK + b"Content-Length: 2\r\n" + CH + b"0\r\n\r\n", closes),
    "length with a sign": (OK + b"Content-Length: +2\r\n\r\nok", closes),
    "huge length": (OK + b"Content-Length: 99999999999999999999999\r\n\r\nok", closes),
    "unknown coding": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", closes),
    "huge field": (OK + b"X: " + b"y" * 100_000 + b"\r\n" + CL % 0, closes),
    "endless head": (OK, endless_head), "endless 1xx": (b"", endless_interim),
    "a 1xx, and closes": (b"HTTP/1.1 100 Continue\r\n\r\n", closes),
    "a 1xx, and stalls": (b"HTTP/1.1 103 Early Hints\r\n\r\n", stalls),
    "101 that nobody asked for": (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", closes),
    "endless line": (b"HTTP/1.1 200 ", drips_for_ever),
}
# What comes when the client has the head already: it must see that something is missing.
WITHIN = {
    "closes behind the head": (OK + CL % 50, closes), "resets behind the head": (OK + CL % 50, resets),
    "stalls behind the head": (OK + CL % 50, stalls),
    "short": (OK + CL % 50 + b"short", closes), "short and reset": (OK + CL % 50 + b"short", resets),
    "stalls within": (OK + CL % 50 + b"short", stalls),
    "much and short": (OK + CL % 400_000 + BIG, closes), "much and reset": (OK + CL % 400_000 + BIG, resets),
    "chunks without an end": (OK + CH + b"5\r\nshort\r\n", closes), "cut chunk": (OK + CH + b"50\r\nshort", closes),
    "bad size": (OK + CH + b"5\r\nshort\r\nxx\r\n", closes), "no size": (OK + CH + b"5\r\nshort\r\n\r\n", closes),
    "negative size": (OK + CH + b"5\r\nshort\r\n-1\r\n", closes), "space size": (OK + CH + b"5\r\nshort\r\n5 5\r\n", closes),
    "0x size": (OK + CH + b"5\r\nshort\r\n0x5\r\nshort\r\n0\r\n\r\n", closes),
    "huge size": (OK + CH + b"5\r\nshort\r\nffffffffffffffffff\r\nshort", closes),
    "no CRLF behind a chunk": (OK + CH + b"5\r\nshort0\r\n\r\n", closes),
    "bare LF in chunks": (OK + CH + b"5\nshort\n0\n\n", closes),
    "endless extension": (OK + CH + b"5;" + b"a" * 5000, stalls), "endless trailers": (OK + CH + b"0\r\n" + b"A: b\r\n" * 5000, stalls),
    "last chunk without its end": (OK + CH + b"5\r\nshort\r\n0\r\n", closes),
    "bad trailer": (OK + CH + b"5\r\nshort\r\n0\r\nno colon\r\n\r\n", closes),
    "until close and reset": (OK + b"\r\nshort", resets),
}


def server_tls(cert):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert.chain, cert.key)
    return context


@pytest.fixture
def faulty(stack, start, ca):
    """faulty(data, then, tls): sluice whose first upstream does that, and whose second is well."""
    def make(data=b"", then=closes, tls=False, serve=None, inside="", bad=None, verify="off"):
        context = server_tls(ca.server) if tls else None
        n = {"bad": 0, "good": 0}

        def bad_one(c, first, fields):
            n["bad"] += 1
            c.send(data)
            return then(c)

        def good_one(c, first, fields):
            n["good"] += 1
            c.take(int(dict((k.lower(), v) for k, v in fields).get("content-length", 0)))
            c.send(GOOD)
            return True
        one = None if bad else stack.enter_context(Peer(serve or bad_one, tls=context))
        two = stack.enter_context(Peer(good_one, tls=context))
        s = start(CONF, {"bad": bad or one.addr, "good": two.addr, "scheme": "https" if tls else "http", "in": inside,
                         "ca": ca.ca, "verify": verify})
        s.n, s.bad = n, one
        return s
    return make


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", BEFORE)
def test_a_failure_before_the_answer_is_not_seen(faulty, name, tls):
    s = faulty(*BEFORE[name], tls=tls)
    for method, path, body in (("GET", "/", None), ("POST", "/v1/chat/completions", BIG[:20000])):
        r = fetch(s.port, path, method, body=body)
        assert (r.status, r.body) == (200, b"good"), name
    assert s.n == {"bad": 2, "good": 2}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", WITHIN)
def test_a_shortened_answer_never_looks_whole(faulty, name, tls):
    s = faulty(*WITHIN[name], tls=tls)
    for version in ("1.1", "1.0"):
        with Conn(s.port) as c, pytest.raises((Closed, ConnectionResetError)):
            c.request("GET", "/", version=version)
    # And the next one is not hurt by it.
    with Conn(s.port) as c:
        c.send(build("GET", "/"))
        assert c.head().status == 200


@pytest.mark.parametrize("inside", ["", "proxy_max_temp_file_size 10m;", "proxy_buffering off;", "gzip on; gzip_types *; gzip_min_length 1;"])
@pytest.mark.parametrize("name", ["short", "much and short", "much and reset", "bad size", "chunks without an end"])
def test_nor_where_it_is_kept_or_changed_on_its_way(faulty, name, inside):
    s = faulty(*WITHIN[name], inside=inside)
    for version in ("1.1", "1.0"):
        with Conn(s.port) as c, pytest.raises((Closed, ConnectionResetError)):
            c.request("GET", "/", [("Accept-Encoding", "gzip")], version=version)


def test_refused(faulty):
    s = faulty(bad=f"127.0.0.1:{harness.free_port()}")
    assert fetch(s.port).body == b"good"
    assert fetch(s.port, "/", "POST", body="x").body == b"good", "nothing had been sent"


def test_nobody_accepts(faulty):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        others = []
        for _ in range(3):
            other = socket.socket()
            other.setblocking(False)
            other.connect_ex(full.getsockname())
            others.append(other)
        s = faulty(bad=f"127.0.0.1:{full.getsockname()[1]}")
        assert fetch(s.port).body == b"good"
        for other in others:
            other.close()


@pytest.mark.parametrize("data", [
    OK + CH + b"4  \r\ngood\r\n0 \r\n\r\n", OK + CH + b"4 ; a = b\r\ngood\r\n0\r\n\r\n",
    OK + CH + b"".join(b"1;sig=0123456789\r\n%c\r\n" % x for x in b"good" * 500) + b"0\r\n\r\n",
    b"HTTP/1.2 200 OK\r\nContent-Length: 4\r\n\r\ngood"])
def test_odd_but_an_answer(faulty, data):
    """What RFC 9112 asks recipients to take, and many small extensions in a long answer."""
    s = faulty(data)
    assert fetch(s.port).body in (b"good", b"good" * 500)
    assert s.n == {"bad": 1, "good": 0}


def test_of_two_content_types_the_last_one_counts(faulty):
    s = faulty(OK + b"Content-Type: text/html\r\nContent-Type: text/plain\r\n" + CL % 2 + b"ok")
    assert fetch(s.port).all("Content-Type") == ["text/plain"]


def test_a_drip_is_an_answer(faulty):
    """Slow is no fault: each byte comes within the read timeout."""
    def serve(c, first, fields):
        for byte in OK + CL % 10 + b"0123456789":
            c.send(bytes([byte]))
            time.sleep(0.01)
    assert fetch(faulty(serve=serve).port).body == b"0123456789"


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_kept_connection_dies_just_as_the_request_arrives(faulty, how, tls):
    """Neither an error, nor a failure that counts: the same upstream is asked again on a new connection."""
    n = []

    def serve(c, first, fields):
        n.append(c)
        if n.count(c) > 1:
            return c.reset() if how == "reset" else None
        c.send(OK + CL % 5 + b"first")
        return True
    s = faulty(serve=serve, tls=tls)
    for i in range(6):
        method, path, body = ("GET", "/", None) if i % 2 else ("POST", "/v1/messages", b"x" * 1000)
        assert fetch(s.port, path, method, body=body).body == b"first", i
    assert s.n["good"] == 0


def test_a_kept_connection_that_was_closed_is_not_used(faulty):
    """A POST that may not be repeated gets through, too: the connection is looked at first."""
    def serve(c, first, fields):
        c.send(OK + CL % 5 + b"first")
        time.sleep(0.02)
        return False
    s = faulty(serve=serve)
    for _ in range(20):
        assert fetch(s.port, "/any", "POST", body="x").body == b"first"
        time.sleep(0.03)


def test_a_kept_connection_that_speaks_unasked_is_not_used(faulty):
    def serve(c, first, fields):
        c.send(OK + CL % 5 + b"first" + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        return True
    s = faulty(serve=serve)
    for _ in range(5):
        assert fetch(s.port).body == b"first"
    assert s.bad.n_conns == 5


def test_late_poison(faulty):
    """What comes while the connection is idle closes it."""
    def serve(c, first, fields):
        c.send(OK + CL % 5 + b"first")
        time.sleep(0.1)
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        return True
    s = faulty(serve=serve)
    for _ in range(3):
        assert fetch(s.port).body == b"first"
        time.sleep(0.3)
    assert s.bad.n_conns == 3


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_poison_that_nobody_has_seen_yet(faulty, method):
    """The worker hears of the request first, and of the bytes on the idle connection after it."""
    poison = threading.Event()

    def serve(c, first, fields):
        c.send(OK + CL % 5 + b"first")
        if " /poison " in first:
            poison.wait(10)
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        return True
    s = faulty(serve=serve)
    with Conn(s.port) as c:
        assert c.request("GET", "/poison").body == b"first"
        with harness.stopped(s.workers()):
            c.send(build(method, "/any", body="x" if method == "POST" else None))
            time.sleep(0.1)
            poison.set()
            time.sleep(0.1)
        assert c.response().body == b"first"


@pytest.mark.parametrize("notify", [True, False])
def test_tls_upstream_that_has_left_is_seen_before_a_request_goes(faulty, notify):
    """Also when its close_notify, which may be anything under TLS, lies in the socket still."""
    leave = threading.Event()

    def serve(c, first, fields):
        c.send(OK + CL % 5 + b"first")
        if " /leave " not in first:
            return True
        leave.wait(10)
        if notify:
            c.sock.settimeout(0.1)
            c.sock.unwrap()
    s = faulty(serve=serve, tls=True)
    with Conn(s.port) as c:
        assert c.request("GET", "/leave").body == b"first"
        with harness.stopped(s.workers()):
            c.send(build("POST", "/any", body="x"))
            time.sleep(0.1)
            leave.set()
            time.sleep(0.3)
        assert c.response().body == b"first"
    assert s.n["good"] == 0


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("inside", ["", "client_body_buffer_size 1k;", "proxy_request_buffering off;"], ids=["memory", "disk", "stream"])
def test_an_answer_before_the_body_was_read(faulty, inside, how, tls):
    """A 413 with the connection's end behind it, while the gateway is still sending: the client gets the answer."""
    def serve(c, first, fields):
        c.take(30000)
        c.send(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 5\r\n\r\nlarge")
        return c.reset() if how == "reset" else None
    s = faulty(serve=serve, tls=tls, inside="client_max_body_size 10m; client_body_buffer_size 4m;" if not inside else
               "client_max_body_size 10m;" + inside)
    body = b"x" * 3_000_000
    for _ in range(3):
        with Conn(s.port) as c:
            sender = threading.Thread(target=try_to_send, args=(c, build("POST", "/any", body=body)))
            sender.start()
            r = c.response()
            assert (r.status, r.body) == (413, b"large")
        sender.join()


def try_to_send(c, data):
    with contextlib.suppress(OSError):
        c.send(data)


@pytest.mark.parametrize("notify", [True, False])
@pytest.mark.parametrize("head,whole", [(b"\r\n", None), (CL % 5, True), (CL % 9, False), (CH, False)])
def test_the_end_of_a_tls_answer(stack, start, ca, notify, head, whole):
    """Without a length only close_notify says that all of it came."""
    def serve(c, first, fields):
        c.send(OK + head + (b"hello" if head != CH else b"5\r\nhello\r\n"))
        if notify:
            raw = c.sock.unwrap()
            raw.close()
        else:
            # Python says close_notify in no other way: the descriptor is closed under it.
            fd = c.sock.detach()
            socket.socket(fileno=fd).close()
    peer = stack.enter_context(Peer(serve, tls=server_tls(ca.server)))
    s = start("server { listen 127.0.0.1:@http@; location / { proxy_pass https://@up@; } }", {"up": peer.addr})
    expected = notify if whole is None else whole
    for version in ("1.1", "1.0"):
        with Conn(s.port) as c:
            if expected:
                assert c.request("GET", "/", version=version).body == b"hello"
            else:
                with pytest.raises((Closed, ConnectionResetError)):
                    c.request("GET", "/", version=version)


@pytest.mark.parametrize("kind", ["no tls", "closes", "stalls", "wrong name", "wrong authority", "old version"])
def test_a_failed_handshake_is_not_seen(faulty, stack, ca, wrong_ca, kind):
    def raw(sock):
        sock.settimeout(5)
        if kind == "no tls":
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        elif kind == "stalls":
            time.sleep(2)
        sock.close()
    if kind in ("wrong name", "wrong authority", "old version"):
        cert = (wrong_ca if kind == "wrong authority" else ca).make(
            "x", ["other.test" if kind == "wrong name" else "localhost"])
        context = server_tls(cert)
        if kind == "old version":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        peer = stack.enter_context(Peer(lambda c, first, fields: c.send(OK + CL % 3 + b"bad"), tls=context))
        addr = peer.addr
    else:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", harness.free_port()))
        listener.listen(16)
        addr = f"127.0.0.1:{listener.getsockname()[1]}"

        def run():
            while True:
                try:
                    raw(listener.accept()[0])
                except OSError:
                    return
        threading.Thread(target=run, daemon=True).start()
    s = faulty(bad=addr, tls=True, verify="on", inside="proxy_ssl_protocols TLSv1.3;")
    assert fetch(s.port, timeout=15).body == b"good"
    assert fetch(s.port, "/x", "POST", body="x", timeout=15).body == b"good", "nothing of the request had left"
    s.wait_log(r"SSL|certificate")


def test_nothing_stays_of_all_that(faulty):
    """Every fault many times at once: no growth of descriptors, the worker serves on."""
    datas = list(BEFORE.values()) + list(WITHIN.values())
    i = iter(range(10**9))

    def serve(c, first, fields):
        data, then = datas[next(i) % len(datas)]
        c.send(data)
        return then(c)
    s = faulty(serve=serve)
    fds = lambda: len(list(harness.pathlib.Path(f"/proc/{s.workers()[0]}/fd").iterdir()))  # noqa: E731
    before = fds()

    def work():
        for _ in range(20):
            try:
                with Conn(s.port) as c:
                    r = c.request("GET", "/")
                    assert (r.status, r.body) == (200, b"good")
            except (Closed, ConnectionError):
                pass
    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    until(lambda: fds() <= before + 10, 10, "the end of the connections")


def test_unix_upstreams_that_fail(stack, start):
    folder = stack.enter_context(harness.temp_dir())
    folder.chmod(0o777)

    def good(c, first, fields):
        c.send(GOOD)
        return True
    two = stack.enter_context(Peer(good, unix=folder / "good"))
    one = stack.enter_context(Peer(lambda c, first, fields: None, unix=folder / "bad"))
    for name in ("good", "bad"):
        (folder / name).chmod(0o777)
    s = start("upstream u { server unix:@f@/none max_fails=0; server unix:@f@/bad max_fails=0; server unix:@f@/good backup; }"
              "server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } "
              "location /one { proxy_pass http://unix:@f@/good:/uri; } }", {"f": folder})
    for _ in range(4):
        assert fetch(s.port).body == b"good"
    assert fetch(s.port, "/one").body == b"good"
    assert two.n_conns and one.n_conns
