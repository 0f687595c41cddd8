# SPDX-License-Identifier: BSD-2-Clause
"""Upgrade: what becomes a tunnel, how its two directions flow and end. On sluice and on nginx where both do the same."""
import re
import signal
import ssl
import threading
import time

import harness
import pytest
from harness import Conn, Peer, build, fetch, until

UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Own: 1\r\n\r\n"
BIG = harness.mock_bytes(2_000_000)

CONF = """
log_format t '$status $body_bytes_sent $upstream_status'; access_log @dir@/t.log t;
server { listen 127.0.0.1:@http@; @server@
    location / { proxy_pass http://@up@; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
                 proxy_set_header Connection "upgrade"; @in@ }
    location /plain/ { proxy_pass http://@up@; proxy_http_version 1.1; }
    location /old/ { proxy_pass http://@up@; proxy_http_version 1.0; proxy_set_header Upgrade $http_upgrade; }
}
"""


def field(fields, name):
    return next((v for k, v in fields if k.lower() == name.lower()), None)


class Server:
    """Answers 101 and does as the path says."""

    def __init__(self):
        self.ends, self.heads = [], []

    def __call__(self, c, first, fields):
        self.heads.append((first, fields))
        how = first.split()[1].lstrip("/").split("/")[-1]
        getattr(self, how)(c)

    def rest(self, c):
        how, data = c.end(10)
        self.ends.append((how, data))
        return data

    def echo(self, c):
        c.send(SWITCH)
        while True:
            if c.buf:
                data, c.buf = c.buf, b""
                c.send(data)
            data = c.sock.recv(65536)
            if not data:
                self.ends.append(("fin", b""))
                return
            c.buf = data

    def at_once(self, c):
        c.send(SWITCH + b"hello")
        c.send(b" you")
        self.rest(c)

    def speaks_and_ends(self, c):
        c.send(SWITCH + b"bye")

    def ends_its_side(self, c):
        c.send(SWITCH + b"last")
        c.sock.shutdown(1)
        self.rest(c)

    def waits_for_the_end(self, c):
        c.send(SWITCH)
        data = self.rest(c)
        c.send(b"got %d" % len(data))

    def much(self, c):
        c.send(SWITCH + BIG)

    def resets(self, c):
        c.send(SWITCH + b"abc")
        c.sock.recv(1)
        c.reset()

    def silent(self, c):
        c.send(SWITCH)
        self.rest(c)

    def refuses(self, c):
        c.send(b"HTTP/1.1 426 No\r\nContent-Length: 2\r\n\r\nno")

    def h2c(self, c):
        c.send(SWITCH.replace(b"websocket", b"h2c"))
        self.rest(c)

    def without_upgrade(self, c):
        c.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        self.rest(c)


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def peer(stack, server):
    return stack.enter_context(Peer(server))


@pytest.fixture(params=["sluice", "nginx"])
def either(request, start, peer):
    """sluice or nginx with that upstream: the test says what both do."""
    def make(inside="", server="", conf=CONF, **kw):
        cls = harness.Nginx if request.param == "nginx" else harness.Sluice
        return start(conf, {"up": peer.addr, "in": inside, "server": server}, cls=cls, **kw)
    return make


@pytest.fixture
def gateway(start, peer):
    def make(inside="", server="", conf=CONF, **kw):
        return start(conf, {"up": peer.addr, "in": inside, "server": server}, **kw)
    return make


def opened(s, path, **kw):
    c = Conn(s.port, **kw)
    c.send(build("GET", path, UPGRADE))
    r = c.head()
    assert r.status == 101, r
    return c, r


def test_a_tunnel(either, server):
    s = either()
    c, r = opened(s, "/echo")
    assert (r.header("Upgrade"), r.header("Connection"), r.header("X-Own")) == ("websocket", "upgrade", "1")
    assert r.header("Content-Length") is None and r.header("Transfer-Encoding") is None
    first, fields = server.heads[0]
    assert field(fields, "Upgrade") == "websocket" and field(fields, "Connection") == "upgrade"
    for data in (b"a", b"\x81\x05hello", bytes(range(256)) * 100, b"GET / HTTP/1.1\r\n\r\n"):
        c.send(data)
        assert c.take(len(data)) == data
    c.close()
    until(lambda: server.ends, what="the upstream's end")
    total = 1 + 7 + 25600 + 18
    until(lambda: f"101 {total} 101\n" in (s.dir / "t.log").read_text(), what="the line in the log")


def test_much_both_ways(either):
    s = either()
    c, _ = opened(s, "/echo")
    t = threading.Thread(target=c.send, args=(BIG,))
    t.start()
    assert c.take(len(BIG)) == BIG
    t.join()
    c.close()


def test_what_comes_with_the_head(either):
    c, _ = opened(either(), "/at_once")
    assert c.take(9) == b"hello you"
    c.close()


def test_what_the_client_sends_early(either):
    s = either()
    with Conn(s.port) as c:
        c.send(build("GET", "/echo", UPGRADE) + b"early")
        assert c.head().status == 101
        assert c.take(5) == b"early"


def test_the_upstream_ends(either):
    c, _ = opened(either(), "/speaks_and_ends")
    assert c.end() == ("fin", b"bye")
    c.close()


def test_much_before_the_upstreams_end(either):
    c, _ = opened(either(), "/much")
    assert c.take(len(BIG)) == BIG
    assert c.end() == ("fin", b"")
    c.close()


def test_the_client_ends(either, server):
    c, _ = opened(either(), "/silent")
    c.send(b"last words")
    time.sleep(0.2)
    c.close()
    until(lambda: server.ends, what="the upstream's end")
    assert server.ends[0][1] == b"last words"


def test_a_read_timeout(either, server):
    s = either("proxy_read_timeout 500ms;")
    c, _ = opened(s, "/silent")
    t = time.monotonic()
    assert c.end() == ("fin", b"")
    assert 0.4 < time.monotonic() - t < 3 * harness.SLOW
    c.close()
    s.wait_log(r"upstream timed out \(110: Connection timed out\) while proxying upgraded connection")


def test_traffic_either_way_keeps_it_open(either):
    s = either("proxy_read_timeout 2s; client_body_timeout 300ms; send_timeout 400ms;")
    c, _ = opened(s, "/silent")
    for _ in range(12):
        c.send(b"x")
        time.sleep(0.25)
    assert c.end(0.2)[0] == "open"
    c.close()


def test_no_upgrade_after_all(either):
    s = either()
    with Conn(s.port) as c:
        c.send(build("GET", "/refuses", UPGRADE))
        r = c.response()
        assert (r.status, r.body) == (426, b"no")
        c.send(build("GET", "/echo", UPGRADE))
        assert c.head().status == 101, "the connection is still good"


@pytest.mark.parametrize("path,headers,version", [
    ("/plain/echo", UPGRADE, "1.1"),       # not passed on
    ("/echo", [], "1.1"),                  # not asked for
    ("/old/echo", UPGRADE, "1.1"),         # HTTP/1.0 has no 101
    ("/echo", UPGRADE, "1.0"),
    ("/h2c", UPGRADE, "1.1"),
    ("/h2c", [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")], "1.1"),
    ("/without_upgrade", UPGRADE, "1.1")])
def test_a_101_that_nobody_asked_for(gateway, path, headers, version):
    s = gateway()
    with Conn(s.port) as c:
        c.send(build("GET", path, headers, version=version))
        r = c.response()
        assert r.status == 502
    s.wait_log("upstream sent 101 that nobody asked for")


@pytest.mark.parametrize("value", ["h2c", "websocket, h2c", "H2C", "h2c\r\nUpgrade: websocket"])
def test_nobody_is_asked_for_h2c(gateway, server, value):
    with Conn(gateway().port) as c:
        c.send(build("GET", "/refuses", [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", value)]))
        assert c.response().status == 426
    assert field(server.heads[0][1], "Upgrade") is None


def test_a_client_that_ends_its_side_hears_the_answer(gateway, server):
    """Other than in nginx, where the end of one side ends both."""
    c, _ = opened(gateway(), "/waits_for_the_end")
    c.send(b"x" * 100000)
    c.sock.shutdown(1)
    assert c.end() == ("fin", b"got 100000")
    c.close()


def test_an_upstream_that_ends_its_side_hears_the_client(gateway, server):
    c, _ = opened(gateway(), "/ends_its_side")
    assert c.end() == ("fin", b"last")
    c.send(BIG)
    c.close()
    until(lambda: server.ends, what="the upstream's end")
    assert server.ends[0] == ("fin", BIG)


def test_a_reset_is_passed_on(gateway):
    c, _ = opened(gateway(), "/resets")
    assert c.take(3) == b"abc"
    c.send(b"x")
    assert c.end()[0] == "reset"
    c.close()


def test_a_client_that_resets(gateway, server):
    c, _ = opened(gateway(), "/silent")
    c.reset()
    until(lambda: server.ends, what="the upstream's end")


def test_a_body_before_the_upgrade(gateway, server):
    for headers, body in (([], b"12345"), ([("Transfer-Encoding", "chunked")], b"5\r\n12345\r\n0\r\n\r\n")):
        with Conn(gateway("proxy_request_buffering off;").port) as c:
            c.send(build("POST", "/waits_for_the_end", UPGRADE + headers, body))
            assert c.head().status == 101
            c.send(b"raw")
            c.sock.shutdown(1)
            c.end()
    # What the upstream got behind its head: the body in its framing, and the bytes as they are.
    # (A chunked body that is whole before the head goes on has a length.)
    assert server.ends[0] == ("fin", b"12345raw")
    assert server.ends[1][1] in (b"12345raw", b"5\r\n12345\r\n0\r\n\r\nraw")


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_a_side_that_does_not_read_holds_the_other(stack, start, side):
    gate, got = threading.Event(), []

    def serve(c, first, fields):
        c.send(SWITCH)
        if side == "client":
            gate.wait(20)
            n = len(c.buf)
            while n < 30_000_000:
                n += len(c.sock.recv(1 << 16))
            got.append(n)
        else:
            try:
                c.sock.settimeout(0.5)
                for i in range(480):
                    got.append(c.sock.send(bytes(1 << 16)))
            except TimeoutError:
                gate.set()
    peer = stack.enter_context(Peer(serve))
    s = start(CONF, {"up": peer.addr, "in": "", "server": ""})
    before = harness.pss_kb(s.workers()[0])
    c, _ = opened(s, "/", rcvbuf=65536)
    if side == "client":
        c.sock.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 30_000_000:
                sent += c.sock.send(bytes(min(1 << 16, 30_000_000 - sent)))
        assert harness.pss_kb(s.workers()[0]) - before < 2048 * harness.SLOW
        gate.set()
        c.sock.settimeout(20)
        while sent < 30_000_000:
            sent += c.sock.send(bytes(min(1 << 16, 30_000_000 - sent)))
        until(lambda: got == [30_000_000], what="all bytes")
    else:
        assert gate.wait(10 * harness.SLOW), "the upstream is held"
        assert harness.pss_kb(s.workers()[0]) - before < 2048 * harness.SLOW
        c.take(sum(got))
    c.close()


def test_tunnels_over_tls(stack, start, server, ca):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca.server.chain, ca.server.key)
    peer = stack.enter_context(Peer(server, tls=context))
    conf = CONF.replace("@http@;", f"@http@ ssl; ssl_certificate {ca.server.chain}; ssl_certificate_key {ca.server.key};",
                        1).replace("http://@up@", "https://@up@")
    s = start(conf, {"up": peer.addr, "in": "", "server": ""})
    c, _ = opened(s, "/echo", tls=harness.client_tls(ca.ca))
    for _ in range(3):
        c.send(BIG[:300000])
        assert c.take(300000) == BIG[:300000]
    c.close()
    until(lambda: server.ends, what="the upstream's end")


def test_a_half_closed_tunnel_to_a_tls_upstream(stack, start, server, ca):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca.server.chain, ca.server.key)
    peer = stack.enter_context(Peer(server, tls=context))
    s = start(CONF.replace("http://@up@", "https://@up@"), {"up": peer.addr, "in": "", "server": ""})
    c, _ = opened(s, "/waits_for_the_end")
    c.send(BIG)
    c.sock.shutdown(1)
    until(lambda: server.ends == [("fin", BIG)], what="close_notify at the upstream")
    assert c.end()[1] == b"got %d" % len(BIG)
    c.close()


def test_a_tls_upstream_that_ends_a_tunnel_without_close_notify(stack, start, ca):
    """As many do: what it has sent arrives, however slowly the client takes it."""
    def serve(c, first, fields):
        c.send(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + BIG)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca.server.chain, ca.server.key)
    peer = stack.enter_context(Peer(serve, tls=context))
    s = start(CONF.replace("http://@up@", "https://@up@"), {"up": peer.addr, "in": "", "server": ""})
    for _ in range(3):
        c, _ = opened(s, "/", rcvbuf=8192)
        time.sleep(0.3)
        assert c.take(len(BIG)) == BIG
        assert c.end() == ("fin", b"")
        c.close()


def test_tunnels_live_through_reload_and_quit(gateway, server):
    s = gateway(main="worker_shutdown_timeout 2s;")
    c, _ = opened(s, "/echo")
    s.reload()
    for sent in (b"still", b"here"):
        c.send(sent)
        assert c.take(len(sent)) == sent
    other, _ = opened(s, "/echo")
    t = time.monotonic()
    s.send_signal(signal.SIGQUIT)
    other.send(b"x")
    assert other.take(1) == b"x"
    assert other.end(6)[0] in ("fin", "reset") and time.monotonic() - t > 1
    c.close()
    other.close()


def test_many_tunnels_and_nothing_stays(gateway):
    s = gateway(connections=2048)
    fds = lambda: len(list(harness.pathlib.Path(f"/proc/{s.workers()[0]}/fd").iterdir()))  # noqa: E731
    fetch(s.port, "/refuses")
    before = fds()
    conns = [opened(s, "/echo")[0] for _ in range(100)]
    for i, c in enumerate(conns):
        c.send(b"%d" % i)
    for i, c in enumerate(conns):
        assert c.take(len(b"%d" % i)) == b"%d" % i
        (c.reset if i % 2 else c.close)()
    until(lambda: fds() <= before, what="the end of all descriptors")
    until(lambda: len(re.findall(r"^101 \d+ 101$", (s.dir / "t.log").read_text(), re.M)) == 100, what="100 lines")
