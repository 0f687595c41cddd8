# SPDX-License-Identifier: BSD-2-Clause
"""`sockmap on`: what goes around TCP, what does not, that nothing is lost or overtaken by it with slow, fast, half-closing
and dying peers, that it is bounded, and how it lives through reloads and crashes. What the program does with two sockets
alone is tests/bpf/test_relay.c's. SLUICE_SOCKMAP_MB: how much each client of the last test moves (24)."""
import hashlib
import os
import random
import re
import signal
import socket
import struct
import threading
import time

import harness
import pytest
from harness import Closed, Conn, Peer, children, fetch, mock_bytes, run_sluice, until

pytestmark = pytest.mark.privileged

ADMIN = "admin { listen unix:@dir@/admin.sock; }\nworker_processes 2;\n"
CONF = """
proxy_http_version 1.1; proxy_set_header Connection ""; client_max_body_size 0; proxy_temp_path @dir@/temp;
upstream up { server @up@; sockmap @sockmap@; keepalive 16; }
upstream tcp { server @up@; keepalive 16; }
map $http_upgrade $hop { default upgrade; "" ""; }
server { listen 127.0.0.1:@http@ @options@;
    location / { proxy_pass http://up; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $hop; }
    location /direct/ { proxy_pass http://up/; proxy_buffering off; }
    location /streamed/ { proxy_pass http://up/; proxy_request_buffering off; }
    location /tcp/ { proxy_pass http://tcp/; }
}
"""


SMALL = "sndbuf=16k"    # what the kernel takes for a client that does not read would be up to some MB
TAKEN = 128 * 1024      # at most, by then, by a worker and such a socket for one answer: read, and so within no limit any more


def put(start, up, sockmap="on", options="", **kw):
    return start(CONF, {"up": up.addr, "sockmap": sockmap, "options": options}, main=ADMIN, **kw)


def upstreams(s):
    with Conn(None, unix=s.dir / "admin.sock") as c:
        return {u["name"]: u for u in c.request("GET", "/api/v1/upstreams").json()["upstreams"]}


def counts(s):
    return upstreams(s)["up"]["sockmap"]


def programs(pid):
    """The ids of the relay's programs that a process holds."""
    ids = set()
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        with harness.contextlib.suppress(OSError):
            ids.update(map(int, re.findall(r"^prog_id:\s+(\d+)", open(f"/proc/{pid}/fdinfo/{fd}").read(), re.M)))
    return {p["id"] for p in harness.bpftool("prog") if p["id"] in ids and p.get("name", "").startswith("relay_")}


def are_gone(ids):
    return not ids & {p["id"] for p in harness.bpftool("prog")}


# --- what is refused ------------------------------------------------------------------------------------

REFUSED = [
    ("upstream u { server unix:/tmp/x; sockmap on; }", "", "is a unix socket"),
    ("upstream u { server 192.0.2.1:80; sockmap on; }", "", 'servers on this host: "192.0.2.1" is no address of it'),
    ("upstream u { server 127.0.0.1:80; server [2001:db8::1]:80; sockmap on; }", "", "is no address of it"),
    ("upstream u { server 127.0.0.1:80; sockmap on; }", "proxy_pass https://u;", "cannot be used with https"),
    ("upstream u { server 127.0.0.1:80; sockmap on; }", "proxy_pass https://u$uri;", "cannot be used with https"),
    ("upstream u { server 127.0.0.1:80; sockmap maybe; }", "", 'must be "on" or "off"'),
    ("upstream u { server 127.0.0.1:80; sockmap on limit=8k; }", "", 'invalid limit "8k"'),
    ("upstream u { server 127.0.0.1:80; sockmap on limit=1g; }", "", 'invalid limit "1g"'),
    ("upstream u { server 127.0.0.1:80; sockmap on size=1m; }", "", 'invalid parameter "size=1m"'),
    ("upstream u { server 127.0.0.1:80; sockmap off limit=1m; }", "", 'invalid parameter "limit=1m"'),
    ("upstream u { server 127.0.0.1:80; sockmap on; sockmap off; }", "", "is duplicate"),
    ("sockmap on;", "", "not allowed here"),
]


@pytest.mark.parametrize("upstream,use,text", REFUSED)
def test_refused(tmp_path, upstream, use, text):
    conf = tmp_path / "c.conf"
    conf.write_text(f"events {{}}\nhttp {{\n{upstream}\nserver {{ listen 127.0.0.1:1;\nlocation / {{ {use} }} }} }}\n")
    code, out = run_sluice("-t", "-c", conf)
    assert code == 1 and re.search(rf"\[emerg\] .*{re.escape(text)}.* in {conf}:[35]", out), out


@pytest.mark.parametrize("lines", ["server localhost:80; sockmap on;", "server [::1]:80; sockmap on limit=64m;",
                                   "server 127.7.7.7:80; sockmap on limit=16k;", "server unix:/x; sockmap off;"])
def test_accepted(tmp_path, lines):
    conf = tmp_path / "c.conf"
    conf.write_text(f"events {{}}\nhttp {{ upstream u {{ {lines} }}\nserver {{ listen 127.0.0.1:1; }} }}\n")
    assert run_sluice("-t", "-c", conf)[0] == 0


def test_without_permission(start, mock):
    """What only shows at the start is said, and everything goes by TCP."""
    s = put(start, mock, uid=65534)
    assert fetch(s.port, "/bytes/1000").body == mock_bytes(1000)
    s.wait_log(r'\[warn\].*"sockmap on" is not in force, upstreams are reached by TCP: .*CAP_BPF')
    assert '"sockmap on" is not in force' in s.stderr_text()
    assert counts(s)["on"] is False and "CAP_BPF" in counts(s)["why"]


# --- what goes around -----------------------------------------------------------------------------------

@pytest.mark.kernel
def test_counts(start, mock):
    s = put(start, mock)
    with Conn(s.port) as c:
        for _ in range(20):
            assert c.request("GET", "/bytes/3000").body == mock_bytes(3000)
            assert c.request("POST", "/echo", body=b"x" * 5000).status == 200
    n = counts(s)
    assert n["on"] and 1 <= n["connections"] <= 2
    assert n["request_bytes"] > 100_000 and n["answer_bytes"] > 60_000
    assert n["requests_latched"] == n["answers_latched"] == 0
    # Others are not touched: a group without it, a client of the upstream's own.
    assert fetch(s.port, "/tcp/bytes/1000").body == fetch(mock.port, "/bytes/1000").body == mock_bytes(1000)
    assert counts(s) == n
    assert upstreams(s)["tcp"]["sockmap"] is None
    with Conn(None, unix=s.dir / "admin.sock") as c:
        text = c.request("GET", "/metrics").body.decode()
    assert f'sluice_upstream_sockmap_connections_total{{upstream="up"}} {n["connections"]}\n' in text
    assert f'sluice_upstream_sockmap_bytes_total{{upstream="up",direction="answer"}} {n["answer_bytes"]}\n' in text
    assert 'sluice_upstream_sockmap_latched_total{upstream="up",direction="request"} 0\n' in text
    shown = harness.subprocess.run([harness.CTL, "-s", s.dir / "admin.sock", "upstreams"], capture_output=True, text=True)
    assert re.search(r"up: sockmap on, \d connections, .* to it and .* from it around TCP", shown.stdout), shown


def test_by_tcp(start, mock):
    """What does not fit, what is not known as a whole, tunnels: on connections of their own."""
    s = put(start, mock, sockmap="on limit=64k")
    body = mock_bytes(300_000)
    assert fetch(s.port, "/upload", "POST", body=body).status == 200
    assert fetch(s.port, "/streamed/upload", "POST", body=b"x" * 3000).status == 200
    assert fetch(s.port, "/bytes/100", headers={"Upgrade": "x"}).body == mock_bytes(100)
    assert counts(s)["connections"] == 0
    assert fetch(s.port, "/bytes/100").body == mock_bytes(100)
    assert counts(s)["connections"] == 1


def test_ipv6(start, mocks):
    v6 = mocks(host="::1")
    s = put(start, v6)
    assert fetch(s.port, "/bytes/100").body == mock_bytes(100)
    assert counts(s)["connections"] == 1 and counts(s)["answer_bytes"] > 100


# --- how peers end --------------------------------------------------------------------------------------

def answer(c, body, keep=True, chunked=False):
    c.send(b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % len(body)) +
           (b"" if keep else b"Connection: close\r\n") + b"\r\n" + (b"" if chunked else body))


class Odd:
    """Does as the path says."""

    def __call__(self, c, first, fields):
        size = int(next((v for k, v in fields if k.lower() == "content-length"), 0))
        return getattr(self, first.split()[1].lstrip("/").split("?")[0])(c, size)

    def early(self, c, size):
        """Answers without having read the body, and leaves: TCP would send a reset."""
        answer(c, b"early" * 100, keep=False)

    def unread(self, c, size):
        """Answers before it reads, and reads on."""
        answer(c, b"before")
        time.sleep(0.2)
        c.take(size)
        return True

    def good(self, c, size):
        answer(c, hashlib.sha256(c.take(size)).hexdigest().encode())
        return True

    def eof(self, c, size):
        """Ends its side, and the body by that."""
        c.take(size)
        c.send(b"HTTP/1.0 200 OK\r\n\r\n" + mock_bytes(700_000))
        c.sock.shutdown(socket.SHUT_WR)
        time.sleep(0.3)

    def reset(self, c, size):
        """Resets behind a whole answer."""
        c.take(size)
        answer(c, mock_bytes(100_000))
        c.reset()

    def cut(self, c, size):
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + mock_bytes(100_000))
        c.reset()

    def silent(self, c, size):
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def crumbs(self, c, size):
        """A byte at a time."""
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n")
        for b in mock_bytes(3000):
            c.send(bytes([b]))
        return True


@pytest.mark.kernel
def test_odd_peers(start, stack):
    up = stack.enter_context(Peer(Odd()))
    s = put(start, up)
    body = mock_bytes(200_000)
    for _ in range(5):
        assert fetch(s.port, "/early", "POST", body=body).body == b"early" * 100
        assert fetch(s.port, "/unread", "POST", body=body).body == b"before"
        assert fetch(s.port, "/good", "POST", body=body).body == hashlib.sha256(body).hexdigest().encode()
        assert fetch(s.port, "/eof").body == mock_bytes(700_000)
        assert fetch(s.port, "/reset").body == mock_bytes(100_000)
        assert fetch(s.port, "/crumbs").body == mock_bytes(3000)
        assert fetch(s.port, "/silent").status == 502
        with pytest.raises(Closed):
            fetch(s.port, "/cut")
    assert counts(s)["answer_bytes"] > 1_000_000
    assert not up.errors


def test_slow_client_latches(start, mock):
    """A client that does not read: the upstream is held by the limit, then by TCP; all comes in the end."""
    s = put(start, mock, sockmap="on limit=128k", options=SMALL)
    size = 12_000_000
    with Conn(s.port, rcvbuf=4096, timeout=30) as c:
        c.send(harness.build("GET", f"/direct/bytes/{size}"))
        time.sleep(0.5)
        n = counts(s)
        assert n["answers_latched"] == 1 and n["answer_bytes"] <= 128 * 1024 + TAKEN, n
        r = c.response()
        assert r.body == mock_bytes(size)
    # Such a connection is not used again.
    assert fetch(s.port, "/bytes/10").body == mock_bytes(10)
    assert counts(s)["connections"] == 2


def tcp_memory():
    """Pages that all TCP sockets of this network namespace hold."""
    return int(re.search(r"^TCP:.* mem (\d+)", open("/proc/net/sockstat").read(), re.M)[1])


def test_memory_is_bounded(start, mock):
    """Forty clients that read nothing of an answer of 64 MB: what lies in the kernel is what would by TCP alone, and the limit."""
    s = put(start, mock, sockmap="on limit=256k", options=SMALL)

    def held(path):
        before, conns = tcp_memory(), []
        for _ in range(40):
            c = Conn(s.port, rcvbuf=4096)
            c.send(harness.build("GET", path))
            conns.append(c)
        time.sleep(2)
        pages = tcp_memory() - before
        for c in conns:
            c.reset()
        until(lambda: tcp_memory() < before + max(pages // 4, 400), 10, "the end of what was held")
        return pages * 4096

    plain, relayed = held("/tcp/bytes/64000000"), held("/direct/bytes/64000000")
    assert counts(s)["answers_latched"] == 40
    assert counts(s)["answer_bytes"] <= 40 * (256 * 1024 + TAKEN)
    assert relayed < plain * 1.3 + 40 * 2 * 256 * 1024, (plain, relayed)


# --- life -----------------------------------------------------------------------------------------------

class Load:
    """Clients that ask until told to stop; every answer must be whole and right."""

    def __init__(self, port, n=6):
        self.port, self.done, self.n, self.wrong = port, False, 0, []
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(n)]
        for t in self.threads:
            t.start()

    def run(self, seed):
        rand = random.Random(seed)
        while not self.done:
            try:
                size = rand.choice((10, 900, 20_000, 400_000))
                r = fetch(self.port, f"/bytes/{size}", timeout=20)
                if r.status != 200 or r.body != mock_bytes(size):
                    self.wrong.append((r.status, len(r.body), size))
                self.n += 1
            except (OSError, Closed) as e:
                self.wrong.append(e)

    def end(self):
        self.done = True
        for t in self.threads:
            t.join()
        return self.wrong


def test_reloads_under_traffic(start, mock):
    s = put(start, mock)
    load, seen = Load(s.port), programs(s.pid)
    for i in range(6):
        if i in (2, 4):   # off, and on again
            s.values["sockmap"] = "off" if i == 2 else "on"
            s.rewrite(CONF, main=ADMIN)
        s.reload()
        seen |= programs(s.pid)
        time.sleep(0.3)
    assert load.end() == [] and load.n > 20
    assert counts(s)["connections"] > 0
    now = programs(s.pid)
    assert len(now) == 2 and len(seen) == 4
    until(lambda: are_gone(seen - now), 10, "the end of the first copy")
    # Neither program nor link reaches a child.
    assert not any(programs(pid) for pid in children(s.pid))
    s.stop()
    until(lambda: are_gone(now), 10, "the end of the programs")


def test_workers_die(start, mock):
    s = put(start, mock)
    s.expected = ["exited on signal 9"]
    for _ in range(4):
        assert fetch(s.port, "/bytes/5000").body == mock_bytes(5000)
        before = s.workers()
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(s.workers()) == 2 and s.workers() != before, 10, "another worker")
    for _ in range(10):
        assert fetch(s.port, "/bytes/5000").body == mock_bytes(5000)
    c = counts(s)
    assert c["answer_bytes"] > 50_000, c


def test_master_dies(start, mock):
    """Nothing stays behind a master that was killed, and the next one does as the first."""
    s = put(start, mock)
    s.expected = ["the master process is gone"]
    ids = programs(s.pid)
    with Conn(s.port) as c:
        assert c.request("GET", "/bytes/5000").body == mock_bytes(5000)
        kin = children(s.pid)
        s.proc.kill()
        s.proc.wait()
        with harness.contextlib.suppress(OSError, Closed):
            c.request("GET", "/bytes/5000")
    until(lambda: not any(map(harness.is_alive, kin)), 20, "the end of the workers")
    until(lambda: are_gone(ids), 10, "the end of the programs")
    s.proc = None
    s.start()
    assert fetch(s.port, "/bytes/5000").body == mock_bytes(5000)
    assert counts(s)["connections"] == 1
    assert len(programs(s.pid)) == 2


def test_upstream_is_killed(start, mocks):
    mock = mocks()
    s = put(start, mock)
    assert fetch(s.port, "/bytes/5000").body == mock_bytes(5000)
    mock.kill()
    assert fetch(s.port, "/bytes/5000").status == 502
    mock.start()
    until(lambda: fetch(s.port, "/bytes/5000").body == mock_bytes(5000), 15, "an answer")


# --- all at once ----------------------------------------------------------------------------------------

def move(port, seed, total, failures):
    """One client: uploads and downloads of random sizes, read slowly or fast, over a connection that is kept."""
    rand = random.Random(seed)
    left = total
    try:
        while left > 0:
            with Conn(port, timeout=60, rcvbuf=rand.choice((None, None, 8192))) as c:
                for _ in range(rand.randrange(1, 8)):
                    size = int(2 ** rand.uniform(4, 21))
                    left -= size
                    if rand.random() < 0.5:
                        body = mock_bytes(size)
                        r = c.request("POST", "/upload", body=body)
                        good = r.json()["sha256"] == hashlib.sha256(body).hexdigest()
                    else:
                        c.send(harness.build("GET", f"{rand.choice(('', '/direct'))}/bytes/{size}"))
                        if rand.random() < 0.1:
                            time.sleep(rand.uniform(0, 0.1))
                        r = c.response()
                        good = r.body == mock_bytes(size)
                    if not good or r.status != 200:
                        failures.append((seed, size, r.status))
                if rand.random() < 0.1:   # leaves in the middle
                    c.send(harness.build("GET", "/bytes/3000000"))
                    c.take(1000)
                    c.reset()
    except Exception as e:  # noqa: BLE001 - the test shows it
        failures.append((seed, repr(e)))


def test_nothing_is_lost(start, mock):
    total = int(os.environ.get("SLUICE_SOCKMAP_MB", 24)) << 20
    s = put(start, mock, sockmap="on limit=256k")
    failures = []
    threads = [threading.Thread(target=move, args=(s.port, i, total, failures)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    n = counts(s)
    assert n["answer_bytes"] > 1_000_000 and n["request_bytes"] > 1_000_000 and n["answers_latched"] > 0
