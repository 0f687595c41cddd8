# SPDX-License-Identifier: BSD-2-Clause
"""$tcp_... and $upstream_tcp_...: what the log says of a connection is what the kernel knows of it."""
import re
import signal
import socket
import subprocess
import time

import harness
import pytest
from guard_net import GuardNet
from h2raw import H2
from harness import Conn, Peer, fetch, free_port, until

pytestmark = pytest.mark.kernel

NAMES = ["rtt", "min_rtt", "retransmits", "delivery_rate"]
FORMAT = "log_format tcp '$request_uri|" + "|".join(f"$tcp_{n}" for n in NAMES) + "|" + \
    "|".join(f"$upstream_tcp_{n}" for n in NAMES) + "';\naccess_log @dir@/tcp.log tcp;\n"
CONF = FORMAT + """
upstream kept { server @up@; keepalive 4; }
upstream dead_first { server 127.0.0.1:@dead@ max_fails=0; server @up@ backup; }
server {
    listen @addr@;
    listen unix:@dir@/http.sock;
    http2 on;
    location / { proxy_pass http://kept; }
    location /own { return 200 x; }
    location /tries { proxy_pass http://dead_first; }
    location /silent { proxy_pass http://127.0.0.1:@dead@; }
    location /seen { add_header X-Rtt $tcp_rtt; add_header X-Up ${upstream_TCP_rtt}.; proxy_pass http://kept; }
}
"""


@pytest.fixture
def served(start, stack):
    """served(serve): sluice before a Peer, with a port in .port and the peer in .peer."""
    def make(serve, conf=CONF, netns=None, addr="127.0.0.1", **kw):
        port = free_port()
        with (harness.in_netns(netns) if netns else harness.contextlib.nullcontext()):
            peer = stack.enter_context(Peer(serve))
        s = start(conf, {"up": peer.addr, "dead": free_port(), "http": port, "addr": f"{addr}:{port}"}, netns=netns, **kw)
        s.peer = peer
        return s
    return make


def answer(c, first, fields, body=b"x" * 100_000):
    c.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    return True


def slow_ack(c, first, fields):
    """The request is acknowledged when the kernel's timer for that is over, 40 ms and more."""
    c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    time.sleep(0.3)
    answer(c, first, fields, b"x")
    c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    return True


def lines(s, uri):
    """What was logged of URI: ([client's values], [upstream's values]) a line."""
    path = s.dir / "tcp.log"
    rows = [x.split("|") for x in path.read_text().splitlines()] if path.exists() else []
    return [(r[1:5], r[5:]) for r in rows if r[0] == uri]


def line(s, uri):
    return until(lambda: lines(s, uri), 5, f"a line of {uri}")[-1]


def are_numbers(values):
    return all(v.isdigit() for v in values)


def ss(local_port, peer_port):
    """The kernel's own report of the socket with these ports."""
    out = subprocess.run(["ss", "-Htin", f"sport = :{local_port} and dport = :{peer_port}"], capture_output=True, text=True,
                         check=True).stdout
    return {"rtt": float(re.search(r" rtt:([\d.]+)/", out)[1]) * 1000,
            "min_rtt": float(re.search(r" minrtt:([\d.]+)", out)[1]) * 1000,
            "delivery_rate": float(re.search(r" delivery_rate (\d+)bps", out)[1]) / 8}


def test_both_sides_and_the_kernels_own_report(served):
    s = served(answer)
    with Conn(s.port) as c:
        for _ in range(3):
            assert c.request("GET", "/a").status == 200
        client, up = until(lambda: lines(s, "/a")[2:], 5, "three lines")[0]
        assert are_numbers(client + up), (client, up)
        now = ss(s.port, c.sock.getsockname()[1])
        # A least can only become less; what is smoothed lies above it.
        assert now["min_rtt"] <= int(client[1]) + 1
        assert int(client[0]) >= int(client[1]) > 0 and int(up[0]) >= int(up[1]) > 0
        assert 1000 < int(client[3]) and 1000 < now["delivery_rate"]
    assert s.peer.n_conns == 1


def test_a_slow_upstream_is_not_a_slow_client(served):
    s = served(slow_ack)
    for _ in range(3):
        assert fetch(s.port, "/slow").status == 200
    client, up = line(s, "/slow")
    assert int(up[0]) > 4000 and int(client[1]) < int(up[0]), (client, up)


def test_a_slow_client_is_not_a_slow_upstream(served):
    s = served(lambda *a: answer(*a, body=b"x"))
    with Conn(s.port) as c:
        for _ in range(4):
            c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            assert c.request("GET", "/lazy").status == 200
            time.sleep(0.2)
    client, up = until(lambda: lines(s, "/lazy")[3:], 5, "four lines")[0]
    assert int(client[0]) > 4000 and int(up[1]) < int(client[0]), (client, up)


def test_lists_have_a_dash_for_a_try_that_was_not_connected(served):
    s = served(answer)
    assert fetch(s.port, "/tries").status == 200
    client, up = line(s, "/tries")
    assert are_numbers(client) and all(re.fullmatch(r"-, \d+", v) for v in up), up
    assert fetch(s.port, "/silent").status == 502
    assert line(s, "/silent")[1] == ["-"] * 4


def test_an_answer_of_ours_has_no_upstream(served):
    s = served(answer)
    assert fetch(s.port, "/own").status == 200
    client, up = line(s, "/own")
    # Nothing was delivered yet that a rate could be made of.
    assert are_numbers(client[:3]) and up == ["-"] * 4


def test_a_unix_socket_has_no_tcp(served, start):
    s = served(answer)
    assert fetch(None, "/own", unix=s.dir / "http.sock").status == 200
    assert line(s, "/own") == (["-"] * 4, ["-"] * 4)


def test_a_unix_upstream_has_no_tcp(start, stack):
    with harness.temp_dir() as folder:
        folder.chmod(0o777)
        peer = stack.enter_context(Peer(answer, unix=folder / "up.sock"))
        (folder / "up.sock").chmod(0o777)
        port = free_port()
        s = start(CONF, {"up": peer.addr, "dead": free_port(), "http": port, "addr": f"127.0.0.1:{port}"})
        assert fetch(port, "/u").status == 200
        client, up = line(s, "/u")
        assert are_numbers(client) and up == ["-"] * 4


def test_streams_of_http2_tell_of_their_connection(served):
    s = served(answer)
    with H2(s.port, tls=False) as c:
        for i in [c.headers(path=f"/{i}") for i in range(3)]:
            assert c.answer(i).status == 200
    for i in range(3):
        client, up = line(s, f"/{i}")
        assert are_numbers(client) and are_numbers(up)


def test_before_the_end_the_client_is_known_and_the_upstream_is_not(served):
    s = served(answer)
    r = fetch(s.port, "/seen")
    assert r.header("X-Rtt").isdigit() and r.header("X-Up") == "-."
    assert are_numbers(line(s, "/seen")[1])


@pytest.mark.privileged
def test_retransmits_are_counted(served, stack):
    net = stack.enter_context(GuardNet(1))
    go = harness.threading.Event()

    def serve(c, first, fields):
        go.wait(10)
        return answer(c, first, fields, b"late")

    s = served(serve, netns=net.server, addr="10.77.1.1")
    with Conn(s.port, "10.77.1.1", netns=net.clients[0], timeout=20) as c:
        c.send(harness.build("GET", "/lost"))
        time.sleep(0.2)
        harness.ip("addr", "del", "10.77.1.2/24", "dev", "sl-c1", netns=net.clients[0])
        go.set()
        time.sleep(1)
        harness.ip("addr", "add", "10.77.1.2/24", "dev", "sl-c1", netns=net.clients[0])
        assert c.response().body == b"late"
        assert c.request("GET", "/again").status == 200
    client, up = line(s, "/again")
    assert int(client[2]) >= 1 and up[2] == "0", (client, up)


def asked(s, port, conf_line, n):
    """How often a worker asks for TCP_INFO while N requests are served."""
    s.rewrite(re.sub(r" +location /seen.*\n", "", CONF).replace(FORMAT, conf_line))
    (s.dir / "access.log").write_text("")
    s.reload()
    until(lambda: len(s.workers()) == 1, 5, "the end of the old worker")
    trace = s.dir / f"strace-{n}"
    p = subprocess.Popen(["strace", "-f", "-e", "trace=getsockopt", "-o", str(trace), "-p", str(s.workers()[0])],
                         stderr=subprocess.PIPE, text=True)
    try:
        assert "attached" in p.stderr.readline()
        for _ in range(n):
            assert fetch(port, "/a").status == 200
        until(lambda: (s.dir / "access.log").read_text().count("/a HTTP") >= n, 5, "all lines of the log")
    finally:
        p.send_signal(signal.SIGINT)
        p.wait(10)
        p.stderr.close()
    return trace.read_text().count("TCP_INFO")


@pytest.mark.privileged
def test_what_nobody_logs_is_not_asked_for(served):
    s = served(answer)
    assert asked(s, s.port, "", 5) == 0
    assert asked(s, s.port, FORMAT, 6) == 12   # once for each side, whatever is logged of it
    assert asked(s, s.port, "log_format t '$upstream_tcp_rtt $tcpinfo'; map $uri $tcpinfo { default x; } "
                 "access_log @dir@/t.log t;", 7) == 7
