# SPDX-License-Identifier: BSD-2-Clause
"""limit_conn and limit_req: the same requests to nginx and sluice at the same times, the same verdicts and log lines."""
import contextlib
import os
import re
import select
import signal
import threading
import time

import harness
import pytest
from h2raw import H2
from harness import Conn, build, until
from pair import Pair, Scripted, config_errors

CONNS = r"""
    limit_conn_zone $binary_remote_addr zone=addr:1m;
    limit_conn_zone $arg_k zone=key:1m;
    limit_conn_zone $arg_m zone=other:1m;
    limit_conn_zone $server_name zone=server:1m;
    log_format c '$uri $status [$limit_conn_status]';
    access_log @dir@/conn.log c;
    proxy_http_version 1.1;
    server {
        listen 127.0.0.1:@http@;
        listen 127.0.0.1:@two@ http2;
        server_name a.test;
        location /one { limit_conn key 1; proxy_pass http://@up@; }
        location /two { limit_conn key 2; limit_conn_status 429; proxy_pass http://@up@; }
        location /addr { limit_conn addr 2; proxy_pass http://@up@; }
        location /both { limit_conn key 3; limit_conn other 2; proxy_pass http://@up@; }
        location /both2 { limit_conn key 1; limit_conn other 5; limit_conn_log_level warn; proxy_pass http://@up@; }
        location /dry { limit_conn key 1; limit_conn_dry_run on; proxy_pass http://@up@; }
        location /level { limit_conn key 1; limit_conn_log_level info; proxy_pass http://@up@; }
        location /none { proxy_pass http://@up@; }
        location /ret { limit_conn key 1; return 200 x; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name b.test;
        limit_conn server 2;
        limit_conn_status 420;
        location / { proxy_pass http://@up@; }
        location /own { limit_conn key 1; proxy_pass http://@up@; }
        location /more { limit_conn server 3; limit_conn_status 503; proxy_pass http://@up@; }
    }
"""


@pytest.fixture(scope="module")
def conns():
    with contextlib.ExitStack() as stack:
        yield Pair(stack, CONNS)


class Held:
    """Requests that are begun one after the other; the upstream answers none before release()."""

    def __init__(self, up, server):
        self.up, self.server, self.conns = up, server, []
        self.answered = set()
        up.gate.clear()

    def begin(self, path, host="a.test"):
        """One more: "held", or its status when it was answered at once."""
        c = Conn(self.server.port)
        self.conns.append(c)
        before = self.count()
        c.send(build("GET", path, [("X-Hold", "1"), ("X-Nr", str(len(self.conns)))], host=host))
        end = time.monotonic() + 5 * harness.SLOW
        while time.monotonic() < end:
            if self.count() > before:
                return "held"
            if select.select([c.sock], [], [], 0.005)[0]:
                self.answered.add(c)
                return c.response().status
        raise AssertionError("neither answered nor passed on")

    def count(self):
        return self.up.server.n_seen

    def release(self):
        self.up.gate.set()
        out = []
        for c in self.conns:
            with contextlib.suppress(harness.Closed, ConnectionError, OSError):
                if c not in self.answered:
                    out.append(c.response().status)
            c.close()
        return out


def held_by(pair, server, begun):
    held = Held(pair.up, server)
    try:
        return [held.begin(*(b if isinstance(b, tuple) else (b,))) for b in begun]
    finally:
        held.release()


A, B = "a.test", "b.test"
CONN_CASES = {
    "one": (["/one?k=a"] * 3, ["held", 503, 503]),
    "by key": (["/one?k=a", "/one?k=b", "/one?k=a", "/one?k=c"], ["held", "held", 503, "held"]),
    "no key": (["/one"] * 3, ["held"] * 3),
    "empty key": (["/one?k="] * 2, ["held"] * 2),
    "two, another status": (["/two?k=a"] * 4, ["held", "held", 429, 429]),
    "one zone in two places": (["/two?k=a", "/one?k=a", "/two?k=a", "/two?k=a"], ["held", 503, "held", 429]),
    "address": (["/addr"] * 4, ["held", "held", 503, 503]),
    "two zones": (["/both?k=a&m=a"] * 3, ["held", "held", 503]),
    "two zones, one key": (["/both?k=a"] * 4, ["held", "held", "held", 503]),
    "a refused one counts nowhere": (["/both?k=a&m=a", "/both?k=a&m=a", "/both?k=a&m=a", "/both?k=a", "/both?k=a"],
                                     ["held", "held", 503, "held", 503]),
    "first zone refuses": (["/both2?k=a&m=a"] * 2, ["held", 503]),
    "dry run": (["/dry?k=a"] * 3, ["held"] * 3),
    "dry run counts": (["/dry?k=a", "/dry?k=a", "/one?k=a"], ["held", "held", 503]),
    "return is not limited": (["/one?k=a", "/ret?k=a", "/ret?k=a"], ["held", 200, 200]),
    "level": (["/level?k=a"] * 2, ["held", 503]),
    "unlimited": (["/one?k=a", "/none?k=a"], ["held", "held"]),
    "inherited": ([("/", B)] * 3, ["held", "held", 420]),
    "own lines replace": ([("/own?k=a", B)] * 2 + [("/own?k=b", B)] * 2, ["held", 420, "held", 420]),
    "same zone, higher limit": ([("/", B), ("/", B), ("/more", B), ("/", B), ("/more", B)], ["held", "held", "held", 420, 503]),
    "by server": ([("/", B), ("/", B), ("/one?k=x", A)], ["held", "held", "held"]),
    "case of keys": (["/one?k=a", "/one?k=A"], ["held", "held"]),
    "long keys": (["/one?k=" + "x" * 200, "/one?k=" + "x" * 200, "/one?k=" + "x" * 201], ["held", 503, "held"]),
}


@pytest.mark.parametrize("name", CONN_CASES)
def test_limit_conn_alike(conns, name):
    begun, expected = CONN_CASES[name]
    for s in conns.servers:
        # Twice: what was held is given back.
        for _ in range(2):
            assert held_by(conns, s, begun) == expected, s.name
            until(lambda s=s: is_free(conns, s), 5, "release")


def is_free(pair, s):
    """nginx may log an answer a moment after the client has it."""
    time.sleep(0.02)
    return True


def test_limit_conn_keeps_no_idle_connection(conns):
    for s in conns.servers:
        with Conn(s.port) as c:
            assert c.request("GET", "/one?k=idle", host=A).status == 200
            assert c.request("GET", "/one?k=idle", host=A).status == 200
            assert harness.fetch(s.port, "/one?k=idle", host=A).status == 200


def test_limit_conn_counts_streams_alike(conns):
    """Each concurrent request of an HTTP/2 connection counts, as nginx's documentation says."""
    for s in conns.servers:
        conns.up.gate.clear()
        with H2(s.two, tls=False) as c:
            seen = conns.up.server.n_seen
            held = [c.headers([("x-hold", "1")], path="/two?k=h2", authority=A) for _ in range(4)]
            until(lambda seen=seen: conns.up.server.n_seen == seen + 2, 5, "two at the upstream")
            assert sorted(c.answer(i).status for i in held[2:]) == [429, 429], s.name
            assert c.get("/two?k=other", authority=A).status == 200
            conns.up.gate.set()
            assert [c.answer(i).status for i in held[:2]] == [200, 200], s.name
            until(lambda c=c: c.get("/two?k=h2", authority=A).status == 200, 5, "room again")


def test_limit_conn_of_a_reset_stream(conns):
    for s in conns.servers:
        conns.up.gate.clear()
        with H2(s.two, tls=False) as c:
            seen = conns.up.server.n_seen
            gone = c.headers([("x-hold", "1")], path="/one?k=rst", authority=A)
            until(lambda seen=seen: conns.up.server.n_seen == seen + 1, 5, "it at the upstream")
            assert c.get("/one?k=rst", authority=A).status == 503
            c.reset(gone)
            conns.up.gate.set()
            until(lambda c=c: c.get("/one?k=rst", authority=A).status == 200, 5, "room again")


def test_limit_conn_when_the_client_leaves(conns):
    for s in conns.servers:
        held = Held(conns.up, s)
        assert held.begin("/one?k=gone") == "held"
        held.conns[0].close()
        until(lambda h=held: h.begin("/one?k=gone") == "held", 5, "the place of who left")
        held.release()


def log_lines(s, pattern):
    lines = [re.search(r"\[(\w+)\] \S+ \S+ (" + pattern + ".*?), client", line) for line in s.log().splitlines()]
    return [(m[1], m[2]) for m in lines if m]


def test_limit_conn_log_alike(stack):
    pair = Pair(stack, CONNS)
    for s in pair.servers:
        for name in ("one", "two zones", "first zone refuses", "dry run", "level", "inherited"):
            held_by(pair, s, CONN_CASES[name][0])
            time.sleep(0.05)
    nginx, sluice = (log_lines(s, "limiting connections") for s in pair.servers)
    assert nginx == sluice and len(sluice) == 8
    n = sum(len(CONN_CASES[c][0]) for c in ("one", "two zones", "first zone refuses", "dry run", "level", "inherited"))
    logs = []
    for s in pair.servers:
        path = s.dir / "conn.log"
        until(lambda p=path: len(p.read_text().splitlines()) == n, 5, "all lines")
        logs.append(sorted(path.read_text().splitlines()))
    assert logs[0] == logs[1]
    assert any("[REJECTED_DRY_RUN]" in line for line in logs[1]) and any("[REJECTED]" in line for line in logs[1])


def test_limit_conn_across_workers_and_their_deaths(stack, start):
    """One count for all workers; what a killed worker held is free again; a reload keeps the counts."""
    conf = """limit_conn_zone $arg_k zone=z:64k;
              server { listen 127.0.0.1:@http@ reuseport; location / { limit_conn z 4; proxy_pass http://@up@; } }"""
    up = Scripted()
    stack.callback(up.stop)
    s = start(conf, {"up": up.addr}, main="worker_processes 3;")
    s.expected.append("exited on signal|exited with")

    held = []

    def hold():
        """One more request; true once the upstream has it, false where it is refused."""
        before = up.server.n_seen
        held.append(Conn(s.port))
        held[-1].send(build("GET", "/?k=a", [("X-Hold", "1")]))
        until(lambda: up.server.n_seen > before or select.select([held[-1].sock], [], [], 0)[0], 5, "a verdict")
        return up.server.n_seen > before

    def refused():
        with Conn(s.port, timeout=0.5) as c:
            c.send(build("GET", "/x?k=a"))
            try:
                return c.response().status == 503
            except TimeoutError:
                return False
    assert all([hold() for _ in range(4)]) and refused()
    s.reload()
    assert refused()
    for c in held:
        c.close()
    until(lambda: not refused(), 5, "room again")
    until(lambda: not hold(), 5, "the limit")
    for pid in s.workers():
        os.kill(pid, signal.SIGKILL)
    until(lambda: not still_refused(refused), 10, "room again after the workers' deaths")
    for c in held:
        c.close()


def still_refused(refused):
    try:
        return refused()
    except (harness.Closed, ConnectionError):
        return True


def test_limit_conn_ban(stack):
    pair = Pair(stack, """limit_conn_zone $arg_k zone=z:32k; server { listen 127.0.0.1:@http@;
        location / { limit_conn z 1; proxy_pass http://@up@; } }""")
    conf = """limit_conn_zone $arg_k zone=z:32k; server { listen 127.0.0.1:@http@; ban on=limit_conn after=2 within=10s for=60s;
              location / { limit_conn z 1; proxy_pass http://@up@; } }"""
    port = harness.free_port()
    with harness.Sluice(conf, {"http": port, "up": pair.up.addr}) as s:
        s.port = port
        assert held_by(pair, s, ["/?k=a", "/?k=a", "/?k=a"])[:2] == ["held", 503]
        s.wait_log("ban of 127.0.0.1 asked for: on=limit_conn")


CONN_ERRORS = ["limit_conn_zone $arg_a zone=z;", "limit_conn_zone $arg_a zone=z:1k;", "limit_conn_zone $arg_a size=1m;",
               "limit_conn_zone $arg_a zone=:1m;", "limit_conn_zone $nope zone=z:1m;", "limit_conn_zone $arg_a;",
               "limit_conn_zone $arg_a zone=z:1m; limit_conn_zone $arg_b zone=z:1m;", "limit_conn z 1;",
               "limit_conn_zone $arg_a zone=z:1m; limit_conn z 0;", "limit_conn_zone $arg_a zone=z:1m; limit_conn z 65536;",
               "limit_conn_zone $arg_a zone=z:1m; limit_conn z x;", "limit_conn_zone $arg_a zone=z:1m; limit_conn z 1; limit_conn z 2;",
               "limit_conn_log_level debug;", "limit_conn_dry_run maybe;",
               "limit_req_zone $arg_a zone=z:1m rate=0r/s;", "limit_req_zone $arg_a zone=z:1m rate=1r/h;", "limit_req_zone $arg_a zone=z:1k rate=1r/s;", "limit_req zone=z;", "limit_req burst=1;",
               "limit_req_zone $arg_a zone=z:1m rate=1r/s; limit_req zone=z burst=0;", "limit_req_zone $arg_a zone=z:1m rate=1r/s; limit_req zone=z delay=0;",
               "limit_req_zone $arg_a zone=z:1m rate=1r/s; limit_req zone=z; limit_req zone=z burst=1;",
               "limit_req_zone $arg_a zone=z:1m rate=1r/s; limit_req zone=z other;"]


@pytest.mark.parametrize("lines", CONN_ERRORS)
def test_errors_alike(lines):
    text = "pid @dir@/pid; error_log stderr; events {} http { access_log off; @ server { listen 127.0.0.1:1; } }".replace("@ ", lines + " ")
    (nginx, why), (sluice, why_too) = (config_errors(cls, text) for cls in (harness.Nginx, harness.Sluice))
    assert nginx == sluice == 1
    if "log_level" not in lines and "zone=:" not in lines and "dry_run" not in lines:
        assert why_too == why


# --- limit_req ---

RATES = r"""
    limit_req_zone $arg_k zone=slow:1m rate=1r/m;
    limit_req_zone $arg_m zone=slow2:1m rate=2r/m;
    limit_req_zone $arg_k zone=two:1m rate=2r/s;
    limit_req_zone $arg_k zone=four:1m rate=4r/s;
    limit_req_zone $arg_k zone=minute:1m rate=120r/m;
    limit_req_zone "$arg_k$arg_m" zone=joined:1m rate=1r/m;
    log_format r '$request_uri $status [$limit_req_status]';
    access_log @dir@/req.log r;
    proxy_http_version 1.1;
    server {
        listen 127.0.0.1:@http@;
        location /plain { limit_req zone=slow; proxy_pass http://@up@; }
        location /burst { limit_req zone=slow burst=2 nodelay; limit_req_status 429; proxy_pass http://@up@; }
        location /level { limit_req zone=slow burst=1 nodelay; limit_req_log_level notice; proxy_pass http://@up@; }
        location /both { limit_req zone=slow burst=3 nodelay; limit_req zone=slow2 burst=1 nodelay; proxy_pass http://@up@; }
        location /both2 { limit_req zone=slow2 burst=1 nodelay; limit_req zone=slow burst=3 nodelay; proxy_pass http://@up@; }
        location /dry { limit_req zone=slow burst=1 nodelay; limit_req_dry_run on; proxy_pass http://@up@; }
        location /drydelay { limit_req zone=two burst=5; limit_req_dry_run on; proxy_pass http://@up@; }
        location /two { limit_req zone=two; proxy_pass http://@up@; }
        location /two5 { limit_req zone=two burst=1 nodelay; proxy_pass http://@up@; }
        location /wait { limit_req zone=two burst=3; proxy_pass http://@up@; }
        location /delay { limit_req zone=four burst=3 delay=1; proxy_pass http://@up@; }
        location /delaylevel { limit_req zone=two burst=3; limit_req_log_level info; proxy_pass http://@up@; }
        location /twodelays { limit_req zone=two burst=5; limit_req zone=four burst=5; proxy_pass http://@up@; }
        location /minute { limit_req zone=minute burst=1 nodelay; proxy_pass http://@up@; }
        location /joined { limit_req zone=joined; proxy_pass http://@up@; }
        location /outer { limit_req zone=slow; location /outer/in { proxy_pass http://@up@; }
                          location /outer/own { limit_req zone=slow burst=1 nodelay; proxy_pass http://@up@; } }
    }
"""


@pytest.fixture
def rates(stack):
    pair = Pair(stack, RATES)
    pair.up.gate.set()
    return pair


def timeline(s, steps, out, in_turn):
    """Requests at their times, each by itself, or IN_TURN: when the one before is answered: [(status, was it delayed)]."""
    begun = time.monotonic()

    def one(i, at, path):
        time.sleep(max(0, begun + at - time.monotonic()))
        t = time.monotonic()
        status = harness.fetch(s.port, path).status
        out[i] = (status, round((time.monotonic() - t) * 4) / 4)
    threads = [threading.Thread(target=one, args=(i, at, path)) for i, (at, path) in enumerate(steps)]
    for t in threads:
        t.start()
        if in_turn:
            t.join()
    for t in threads:
        t.join()


def run_both(pair, steps, in_turn=False):
    outs = [[None] * len(steps) for _ in pair.servers]
    threads = [threading.Thread(target=timeline, args=(s, steps, out, in_turn)) for s, out in zip(pair.servers, outs)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return outs


def at_once(*paths):
    # In this order, near enough to each other for rates of a few a second.
    return [(i * 0.03, p) for i, p in enumerate(paths)]


REQ_CASES = {
    "plain": at_once("/plain?k=a", "/plain?k=a", "/plain?k=b", "/plain?k=a"),
    "no key": at_once("/plain", "/plain", "/plain?k="),
    "burst": at_once(*["/burst?k=a"] * 5),
    "one zone, two bursts": at_once("/plain?k=a", "/burst?k=a", "/burst?k=a", "/plain?k=a", "/burst?k=a"),
    "two zones": at_once(*["/both?k=a&m=a"] * 4),
    "two zones, one key": at_once("/both?k=a", "/both?k=a", "/both?m=a", "/both?m=a", "/both?m=a"),
    "the refused charges nobody": at_once("/both?k=a&m=a", "/both?k=a&m=a", "/both?k=a&m=a", "/both?k=a", "/both?k=a", "/both?k=a"),
    "two zones, the other order": at_once(*["/both2?k=a&m=a"] * 3, *["/both2?k=a"] * 4),
    "dry run": at_once(*["/dry?k=a"] * 4, "/plain?k=a"),
    "leaks": [(0, "/two?k=a"), (0.2, "/two?k=a"), (0.9, "/two?k=a"), (1.1, "/two?k=a")],
    "leaks with a burst": [(0, "/two5?k=a"), (0.05, "/two5?k=a"), (0.1, "/two5?k=a"), (0.7, "/two5?k=a"), (0.75, "/two5?k=a")],
    "refused requests do not count": [(t / 10, "/two?k=a") for t in (0, 1, 2, 3, 8)],
    "minute": [(0, "/minute?k=a"), (0.05, "/minute?k=a"), (0.1, "/minute?k=a"), (0.8, "/minute?k=a")],
    "joined key": at_once("/joined?k=a&m=b", "/joined?k=ab", "/joined?k=a", "/joined?m=ab"),
    "inherited": at_once("/outer/in?k=a", "/outer/in?k=a", "/outer/own?k=a", "/outer/own?k=a"),
}


@pytest.mark.alone
@pytest.mark.parametrize("name", REQ_CASES)
def test_limit_req_alike(rates, name):
    nginx, sluice = run_both(rates, REQ_CASES[name], in_turn=True)
    assert [s for s, _ in sluice] == [s for s, _ in nginx]
    nginx, sluice = (req_log(s, len(REQ_CASES[name])) for s in rates.servers)
    assert sluice == nginx


DELAYS = {"wait": at_once(*["/wait?k=a"] * 5), "delay": at_once(*["/delay?k=a"] * 5), "two": at_once(*["/twodelays?k=a"] * 4),
          "level": at_once(*["/delaylevel?k=a"] * 3), "dry run": at_once(*["/drydelay?k=a"] * 3)}


@pytest.mark.alone
@pytest.mark.parametrize("name", DELAYS)
def test_limit_req_delays_alike(rates, name):
    nginx, sluice = run_both(rates, DELAYS[name])
    assert [s for s, _ in sluice] == [s for s, _ in nginx]
    assert all(abs(a - b) <= 0.25 * harness.SLOW for (_, a), (_, b) in zip(nginx, sluice)), (nginx, sluice)
    nginx, sluice = (req_log(s, len(DELAYS[name])) for s in rates.servers)
    assert sluice == nginx


def req_log(s, n):
    """The error log's lines on limits, their excess in whole requests, where it is known; the access log's N, in any order."""
    path = s.dir / "req.log"
    until(lambda: len(path.read_text().splitlines()) >= n, 5, "all lines")
    # Of rates of a few a minute the excess is known; that of faster ones hangs on the millisecond.
    errors = [(level, re.sub(r"excess: [\d.]+", lambda m: f"excess: {float(m[0][8:]) + 0.25:.0f}" if '"slow' in text else "", text))
              for level, text in log_lines(s, "(?:limiting|delaying) request")]
    return errors, sorted(path.read_text().splitlines())
