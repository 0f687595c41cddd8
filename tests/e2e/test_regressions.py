# SPDX-License-Identifier: BSD-2-Clause
"""Faults that a review found: what peers at both ends can do to a connection, and to those after it."""
import os
import signal
import socket
import threading
import time

import h2raw
import harness
import pytest
from h2raw import H2
from harness import SLOW, Conn, build, fetch, free_port, until

PROXY = """
upstream u { server 127.0.0.1:@up@; keepalive 8; }
server {
    listen 127.0.0.1:@http@ @listen@;
    location / { proxy_pass http://u; @in@ }
    location /own { return 200 "own\\n"; }
}
"""


class Peer:
    """An upstream whose connections run HANDLER(socket), each in a thread."""

    def __init__(self, handler):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(64)
        self.port = self.sock.getsockname()[1]
        self.handler = handler
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        with c:
            try:
                self.handler(c)
            except OSError:
                pass

    def stop(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def take_head(c):
    data = b""
    while b"\r\n\r\n" not in data:
        more = c.recv(65536)
        if not more:
            return None
        data += more
    return data


@pytest.fixture
def peer(start, stack):
    def make(handler, inside="", listen="", **kw):
        p = Peer(handler)
        stack.callback(p.stop)
        return start(PROXY, {"up": p.port, "in": inside, "listen": listen}, **kw)
    return make


@pytest.mark.parametrize("total", [16319, 16320, 16321, 32640])
def test_what_follows_an_answer_is_not_the_next_one(peer, total):
    """An answer that fills a read buffer to its last byte leaves no edge for what comes behind it."""
    def handler(c):
        while take_head(c):
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %05d\r\n\r\n"
            n = total - len(head % 0)
            c.sendall(head % n + b"a" * n + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")

    s = peer(handler)
    for _ in range(4):
        r = fetch(s.port, "/")
        assert r.status == 200 and set(r.body) == {ord("a")}


def test_small_pieces_for_a_client_that_does_not_read(peer):
    """Bytes that wait cost about what they are, not a buffer for each piece."""
    sent = []

    def handler(c):
        take_head(c)
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(8000):
            c.sendall(b"1\r\nx\r\n")
            time.sleep(0.0003)
        sent.append(1)

    s = peer(handler, listen="sndbuf=4k")
    fetch(s.port, "/own")
    worker = s.workers()[0]
    before = harness.pss_kb(worker)
    with socket.socket() as c:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        c.connect(("127.0.0.1", s.port))
        c.sendall(build("GET", "/"))
        until(lambda: sent, 30, "the upstream's last piece")
        assert harness.pss_kb(worker) - before < 2000 * SLOW


def test_send_timeout_though_the_upstream_goes_on(peer):
    """Data for the client is no progress of the client."""
    ended = []

    def handler(c):
        take_head(c)
        c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n" + b"y" * 65536 + b"\r\n")
        try:
            while True:
                c.sendall(b"1\r\nx\r\n")
                time.sleep(0.02)
        finally:
            ended.append(1)

    s = peer(handler, inside="send_timeout 1s;", listen="sndbuf=4k")
    with socket.socket() as c:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        c.connect(("127.0.0.1", s.port))
        c.sendall(build("GET", "/"))
        until(lambda: ended, 6, "the end of a stream that nobody reads")


def test_names_of_requests_that_wait_are_kept(start, stack):
    """More names from variables than are remembered, all of them waiting for DNS."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        s = start("""
resolver 127.0.0.1:@dns@; resolver_timeout 2s;
server { listen 127.0.0.1:@http@; location / { proxy_pass http://$arg_h:1/; } }
""", {"dns": silent.getsockname()[1]})
        worker = s.workers()
        conns = [stack.enter_context(Conn(s.port)) for _ in range(150)]
        for i, c in enumerate(conns):
            c.send(build("GET", f"/?h=h{i}.example"))
        for c in conns:
            assert c.response().status == 502
        assert s.workers() == worker


def test_quit_serves_who_has_just_connected(start):
    s = start('server { listen 127.0.0.1:@http@; return 200 "yes"; }')
    with Conn(s.port) as late, Conn(s.port) as idle:
        idle.request("GET", "/")
        time.sleep(0.2)
        s.send_signal(signal.SIGQUIT)
        idle.end()
        late.send(build("GET", "/"))
        r = late.response()
        assert r.body == b"yes" and r.header("Connection") == "close"


def test_stop_does_not_wait_for_a_worker_that_hangs(start):
    s = start('server { listen 127.0.0.1:@http@; return 200 "yes"; }')
    worker = s.workers()[0]
    os.kill(worker, signal.SIGSTOP)
    s.send_signal(signal.SIGTERM)
    until(lambda: not harness.is_alive(worker), 10, "the end of a stopped worker")
    until(lambda: s.proc.poll() is not None, 5, "the master's end")


def test_an_address_given_up_is_free_again(start):
    """A worker that a reload made must not hold a socket that the reload gave up."""
    other = free_port()
    conf = 'server { listen 127.0.0.1:@http@; @more@ return 200 "x"; }'
    s = start(conf, {"more": f"listen 127.0.0.1:{other};"})
    fetch(other, "/")
    s.rewrite(conf.replace("@more@", ""))
    s.reload()

    def refused():
        try:
            with socket.create_connection(("127.0.0.1", other), timeout=1):
                return False
        except ConnectionRefusedError:
            return True

    until(refused, 5, "the refusal of connections")
    s.rewrite(conf)
    s.reload()
    assert fetch(other, "/").status == 200


def test_without_descriptors_idle_connections_make_room(start, stack, mock):
    """Kept connections of clients and upstreams must not keep out who comes when open files are at their limit."""
    s = start("upstream mock { server @mock@; keepalive 8; } server { listen 127.0.0.1:@http@; location / { proxy_pass http://mock; } }",
              {"mock": mock.addr}, main="worker_processes 1; worker_rlimit_nofile 60;")
    for _ in range(100):
        c = stack.enter_context(Conn(s.port))
        c.send(build("GET", "/v1/models"))
        assert c.response().status == 200
    busy = [stack.enter_context(Conn(s.port)) for _ in range(20)]
    for c in busy:
        c.send(build("GET", "/v1/models"))
    assert [c.response().status for c in busy] == [200] * 20


@pytest.mark.parametrize("h2", [False, True])
def test_who_has_been_idle_for_longest_makes_room(start, stack, h2):
    s = start('server { listen 127.0.0.1:@http@ http2; return 200 "yes"; }' if h2 else
              'server { listen 127.0.0.1:@http@; return 200 "yes"; }', main="worker_processes 1;", connections=8)

    def opened():
        c = H2(s.port, tls=False) if h2 else Conn(s.port)
        stack.callback(c.close)
        return c

    def ask(c):
        if h2:
            return c.get().status
        c.send(build("GET", "/"))
        return c.response().status

    conns = [opened() for _ in range(6)]
    for c in [*conns, *conns[:3]]:      # now the fourth has been idle for longest
        assert ask(c) == 200
    for _ in range(4):
        assert ask(opened()) == 200
    for i in 3, 4:
        with pytest.raises((h2raw.Gone, harness.Closed, OSError)):
            ask(conns[i])
    assert ask(conns[2]) == 200
