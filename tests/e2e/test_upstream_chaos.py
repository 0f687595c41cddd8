# SPDX-License-Identifier: BSD-2-Clause
"""Faults of upstreams, fronts and options at random. Whatever comes together, a client gets the whole answer to its own
request or sees that something is missing; who may be asked again is; and the log says what each try came to.

SLUICE_SEED=N repeats a run."""
import fcntl
import os
import random
import struct
import threading
import time
import zlib

import h2raw
import harness
import pytest
from harness import SLOW, Closed, Conn, Peer, build, client_tls
from test_upstream_faults import closes, resets, server_tls

N = 60      # requests of each client
CLIENTS = 6
PEERS = 3

GROUPS = {"plain": "keepalive 8;", "alone": "keepalive 0;", "relayed": "sockmap on; keepalive 8;", "tls": "keepalive 8;"}
OPTIONS = {
    "default": "", "unbuffered": "proxy_buffering off;", "file": "proxy_max_temp_file_size 10m; proxy_buffers 4 4k;",
    "gzip": "gzip on; gzip_types *; gzip_min_length 1;", "old": "proxy_http_version 1.0;", "disk": "client_body_buffer_size 1k;",
    "small": "proxy_buffers 2 4k; proxy_buffer_size 4k; proxy_busy_buffers_size 4k;",
}
FRONTS = ["h1", "h1 tls", "h1.0", "h1.0 tls", "h2", "h2 tls"]


# What an upstream does, by how it has to end. A body is the token of its request, again and again.

def body_of(token, n):
    text = f"<{token}>".encode()
    return (text * (n // len(text) + 1))[:n]


def head(token, status="200 OK", fields="", version="1.1"):
    return f"HTTP/{version} {status}\r\nX-Token: {token}\r\n{fields}\r\n".encode()


def length(n):
    return f"Content-Length: {n}\r\nContent-Type: text/plain\r\n"


CHUNKED = "Transfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n"
BAD_CHUNKS = [b"x\r\n", b"5 5\r\nhello\r\n", b"-1\r\n", b"5\nhello\r\n", b"\r\n", b"0\r\nno colon\r\n\r\n", b"0\r\n" + b"A: b\r\n" * 6000]
GARBAGE = [b"\x16\x03\x01junk\r\n\r\n", b"HTTP/1.1 xyz OK\r\n\r\n", b"HTTP/1.1 999 A\r\n\r\n", b"hello", b"\0", b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
           b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
           b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]


def chunks(data, dice):
    out, at = b"", 0
    while at < len(data):
        n = min(len(data) - at, dice.choice([1, 10, 300, 5000, 40000]))
        out += b"%x%s\r\n%s\r\n" % (n, dice.choice([b"", b"", b";a=b", b'; x="y z"']), data[at:at + n])
        at += n
    return out


def dies_on_the_next(c):
    c.sock.settimeout(5)
    c.sock.recv(1)


def once_taken(c):
    """A reset takes back what is not with the peer yet."""
    end = time.monotonic() + 20 * SLOW
    while struct.unpack("i", fcntl.ioctl(c.sock.fileno(), 0x5411, bytes(4)))[0] and time.monotonic() < end:
        time.sleep(0.002)
    c.reset()


def stalls(c):
    c.end(30)


def kept(c):
    return True


def says_goodbye(c):
    if hasattr(c.sock, "unwrap"):
        c.sock.settimeout(3)
        c.sock.unwrap()


# (how it ends, what is sent, what comes then): of token, body, dice, and whether the body is left out (HEAD).
FAULTS = {
    "length": ("whole", lambda t, b, d, no: head(t, fields=length(len(b))) + (b"" if no else b), kept),
    "chunked": ("whole", lambda t, b, d, no: head(t, fields=CHUNKED) + (b"" if no else chunks(b, d) + b"0\r\nX-T: t\r\n\r\n"), kept),
    "1xx": ("whole", lambda t, b, d, no: b"HTTP/1.1 103 E\r\nLink: </x>\r\n\r\n" * 4 + head(t, fields=length(len(b))) + (b"" if no else b), kept),
    "and closes": ("whole", lambda t, b, d, no: head(t, fields=length(len(b))) + (b"" if no else b), closes),
    "and resets": ("whole", lambda t, b, d, no: head(t, fields=length(len(b))) + (b"" if no else b), once_taken),
    "and dies on the next": ("whole", lambda t, b, d, no: head(t, fields=length(len(b))) + (b"" if no else b), dies_on_the_next),
    "1.0": ("whole", lambda t, b, d, no: head(t, fields=length(len(b)), version="1.0") + (b"" if no else b), closes),
    "to the end": ("whole", lambda t, b, d, no: head(t) + (b"" if no else b), says_goodbye),
    "and more": ("whole", lambda t, b, d, no: head(t, fields=length(len(b))) + (b"" if no else b) + head("poison", fields=length(0)), kept),
    "204": ("empty", lambda t, b, d, no: head(t, "204 No") + d.choice([b"", b"junk"]), kept),
    "500": ("500", lambda t, b, d, no: head(t, "500 No", length(len(b))) + (b"" if no else b), kept),
    "429": ("429", lambda t, b, d, no: head(t, "429 No", length(len(b))) + (b"" if no else b), kept),
    "closes": ("502", lambda t, b, d, no: b"", closes),
    "resets": ("502", lambda t, b, d, no: b"", lambda c: c.reset()),
    "half a head": ("502", lambda t, b, d, no: head(t)[:d.randrange(1, 20)], closes),
    "garbage": ("502", lambda t, b, d, no: d.choice(GARBAGE), closes),
    "stalls": ("504", lambda t, b, d, no: head(t)[:d.randrange(0, 20)], stalls),
    "cut": ("cut", lambda t, b, d, no: head(t, fields=length(len(b) + 1)) + (b"" if no else b[:d.randrange(0, len(b) + 1)]), closes),
    "cut and reset": ("cut", lambda t, b, d, no: head(t) + b, resets),
    "cut chunk": ("cut", lambda t, b, d, no: head(t, fields=CHUNKED) + chunks(b, d) + d.choice([b"", b"5", b"0\r\n"]), closes),
    "bad chunk": ("cut", lambda t, b, d, no: head(t, fields=CHUNKED) + chunks(b, d) + d.choice(BAD_CHUNKS), closes),
    "stalls within": ("cut", lambda t, b, d, no: head(t, fields=length(len(b) + 1)) + (b"more" if no else b), stalls),
}
SLOW_FAULTS = ["stalls", "stalls within"]
FAST_FAULTS = [f for f in FAULTS if f not in SLOW_FAULTS]
STALE = ("closes", "resets")   # on a kept connection these are no try
RETRIED = ("500", "429", "502", "504")


class Upstreams:
    def __init__(self, stack, tls):
        self.asked, self.lock = {}, threading.Lock()   # by token: (peer, fault)
        self.peers = [stack.enter_context(Peer(lambda c, first, fields, i=i: self.serve(i, c, first, fields), tls=tls)) for i in range(PEERS)]

    def serve(self, i, c, first, fields):
        f = {k.lower(): v for k, v in fields}
        token, script = f["x-token"], f["x-script"].split(",")
        with self.lock:
            before = self.asked.setdefault(token, [])
            fault = script[len(before)] if len(before) < len(script) else "length"
            before.append((i, fault))
        n = int(f.get("content-length", 0))
        assert c.take(n) == body_of("request of " + token, int(f["x-body"]))
        dice = random.Random(f"{token} {len(before)}")
        _, data, then = FAULTS[fault]
        data, at = data(token, body_of(token, int(f["x-size"])), dice, first.startswith("HEAD ")), 0
        while at < len(data):
            k = dice.choice([len(data), len(data), 1, 700, 60000])
            c.send(data[at:at + k])
            at += k
            if dice.random() < 0.1:
                time.sleep(0.002)
        return then(c) is True

    def tries(self, token):
        """Those that count as tries: not the use of a connection that turned out closed."""
        with self.lock:
            asked = list(self.asked.get(token, []))
        tries = [(i, fault) for n, (i, fault) in enumerate(asked)
                 if not (fault in STALE and n + 1 < len(asked) and asked[n + 1][0] == i)]
        assert len({i for i, _ in tries}) == len(tries), f"{token}: one was asked twice: {asked}"
        return [fault for _, fault in tries]


class Client(threading.Thread):
    """Asks N times; .wrong is what should not have been."""

    def __init__(self, s, seed, number, ups):
        super().__init__(daemon=True)
        self.s, self.number, self.seed, self.ups = s, number, seed, ups
        self.dice, self.wrong, self.expected, self.conns = random.Random(f"{seed} {number}"), [], {}, {}

    def run(self):
        for i in range(N):
            try:
                self.one(f"t{self.seed}-{self.number}-{i}")
            except Exception as e:  # noqa: BLE001 - reported with what it was about
                self.wrong.append((i, repr(e)))
        for c in self.conns.values():
            c.close()

    def one(self, token):
        d = self.dice
        group, option, front = d.choice(list(GROUPS)), d.choice(list(OPTIONS)), d.choice(FRONTS)
        method, size = d.choice(["GET", "POST", "HEAD"]), d.choice([0, 1, 500, 5000, 70000, 300000])
        script = [d.choice(SLOW_FAULTS if d.random() < 0.03 else FAST_FAULTS) for _ in range(PEERS)]
        body = body_of("request of " + token, d.choice([0, 1, 3000, 200000]) if method == "POST" else 0)
        fields = [("x-token", token), ("x-script", ",".join(script)), ("x-size", str(size)), ("x-body", str(len(body)))]
        if d.random() < 0.5:
            fields.append(("accept-encoding", "gzip"))
        ask = self.over_h2 if front.startswith("h2") else self.over_h1
        what = (token, group, option, front, method, size, script)
        status, got, headers, whole = ask(front, method, f"/{group}/{option}", fields, body)
        why = self.judge(token, method, size, status, got, headers, whole)
        if why:
            self.wrong.append((*what, status, whole, why))

    def over_h2(self, front, method, path, fields, body):
        c = self.conns.pop(front, None) or h2raw.H2(self.s.values[front.replace(" ", "")], tls="tls" in front)
        id = c.headers(fields, path, method=method, end=not body)
        if body:
            c.upload(id, body)
        a = c.answer(id)
        self.conns[front] = c
        return a.status, a.body, a.heads[-1] if a.heads else {}, a.ended and a.reset in (None, "NO_ERROR")

    def over_h1(self, front, method, path, fields, body):
        c = self.conns.pop(front, None) or Conn(self.s.values["h1tls" if "tls" in front else "h1"], tls=client_tls() if "tls" in front else None)
        r, whole = None, False
        try:
            c.send(build(method, path, fields, body if method == "POST" else None, version="1.0" if "1.0" in front else "1.1"))
            r = c.head()
            c.body(r, method)
            whole = True
        except (Closed, OSError):
            pass
        if whole and r.header("Connection") == "keep-alive":
            self.conns[front] = c
        else:
            c.close()
        return r and r.status, r.body if r else b"", {k.lower(): v for k, v in r.headers} if r else {}, whole

    def judge(self, token, method, size, status, got, headers, whole):
        """What is wrong, if anything."""
        tries = self.ups.tries(token)
        ends = [FAULTS[t][0] for t in tries]
        self.expected[token] = [e if e in RETRIED else "204" if e == "empty" else "200" for e in ends]
        if not ends or any(e not in RETRIED for e in ends[:-1]) or (ends[-1] in RETRIED and len(ends) < PEERS):
            return f"tries: {tries}"
        end = ends[-1]
        if end in RETRIED:
            return status != int(end) and f"expected {end}"
        if method == "HEAD" or end == "empty":
            return (not whole or got) and "not an empty answer"
        if end == "cut":
            return whole and "a cut answer looks whole"
        if not whole or headers.get("x-token") != token:
            return f"not the answer: {headers}"
        if headers.get("content-encoding") == "gzip":
            got = zlib.decompress(got, 31) if got else b""
        return got != body_of(token, size) and "not the body"


@pytest.mark.timeout(300)
def test_faults_at_random(start, stack, ca):
    seed = int(os.environ.get("SLUICE_SEED", time.time_ns() % 1000000))
    print(f"SLUICE_SEED={seed}")
    plain, tls = Upstreams(stack, None), Upstreams(stack, server_tls(ca.server))
    tls.asked = plain.asked
    conf = """log_format tries '$http_x_token|$upstream_status';
        proxy_next_upstream error timeout invalid_header http_500 http_429; proxy_read_timeout @patience@s; llm on;"""
    for name, inside in GROUPS.items():
        peers = (tls if name == "tls" else plain).peers
        conf += f"upstream {name} {{ {' '.join(f'server {p.addr} max_fails=0;' for p in peers)} {inside} }}\n"
    conf += """server { listen 127.0.0.1:@h1@; listen 127.0.0.1:@h1tls@ ssl; listen 127.0.0.1:@h2@ http2; listen 127.0.0.1:@h2tls@ ssl http2;
        ssl_certificate @cert@; ssl_certificate_key @key@; access_log @dir@/tries.log tries; client_max_body_size 1m;\n"""
    for group in GROUPS:
        for name, inside in OPTIONS.items():
            conf += f"location /{group}/{name} {{ {inside} proxy_pass {'https' if group == 'tls' else 'http'}://{group}; }}\n"
    ports = {p: harness.free_port() for p in ("h1", "h1tls", "h2", "h2tls")}
    s = start(conf + "}", {**ports, "patience": 3 * SLOW, "cert": ca.server.chain, "key": ca.server.key}, main="admin { listen unix:@dir@/admin.sock; }")
    clients = [Client(s, seed, i, plain) for i in range(CLIENTS)]
    for c in clients:
        c.start()
    for c in clients:
        c.join(250)
        assert not c.is_alive()
    wrong = [w for c in clients for w in c.wrong]
    assert not wrong, f"SLUICE_SEED={seed}: {len(wrong)}, the first: {wrong[:3]}"
    assert not [p.errors for p in plain.peers + tls.peers if p.errors]
    expected = {token: ", ".join(e) for c in clients for token, e in c.expected.items()}
    harness.until(lambda: len(s.dir.joinpath("tries.log").read_text().splitlines()) >= len(expected), 5, "all lines")
    logged = dict(line.split("|") for line in s.dir.joinpath("tries.log").read_text().splitlines())
    assert {t: (e, logged[t]) for t, e in expected.items() if logged[t] != e} == {}
    with Conn(0, unix=s.dir / "admin.sock") as c:
        groups = c.request("GET", "/api/v1/upstreams").json()["upstreams"]
    assert [p["requests_active"] for g in groups for srv in g["servers"] for p in srv["peers"]] == [0] * PEERS * len(GROUPS)
