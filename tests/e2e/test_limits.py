# SPDX-License-Identifier: BSD-2-Clause
"""limit_req, as nginx has it, and its zones: one for all workers, bounded, outliving reloads and workers."""
import contextlib
import os
import re
import signal
import threading
import time

import pytest
from guard_net import Ctl
from harness import Conn, build, fetch, until

ADMIN = "admin { listen unix:@dir@/admin.sock; }\n"
ONE = """
limit_req_zone @key@ zone=z:@size@ rate=@rate@;
server { listen 127.0.0.1:@http@; location / { limit_req zone=z @limit@; @in@ proxy_pass http://@mock@; } @srv@ }
"""


@pytest.fixture
def limited(start, mock):
    def make(limit="", rate="1r/m", key="$binary_remote_addr", size="1m", inside="", server="", **kw):
        values = {"mock": mock.addr, "limit": limit, "rate": rate, "key": key, "size": size, "in": inside, "srv": server}
        s = start(ONE, values, **kw)
        s.mock = mock
        return s
    return make


def ask(s, n, path="/echo", **kw):
    return [fetch(s.port, path, **kw).status for _ in range(n)]


def ask_at_once(s, n, path="/echo"):
    """All are sent before the first answer is read: a machine that is slow is so for all of them. In order of size."""
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(Conn(s.port)) for _ in range(n)]
        for c in conns:
            c.send(build("GET", path))
        return sorted(c.response().status for c in conns)


def test_rejects_over_the_rate(limited):
    s = limited()
    assert ask(s, 3) == [200, 503, 503]
    assert s.mock.requests() == 1, "what is rejected never reaches the upstream"
    body = fetch(s.port).json()
    assert body["error"]["message"] and set(body["error"]) == {"message", "type", "param", "code"}


def test_a_source_each(limited):
    s = limited()
    for source in ("127.0.0.2", "127.0.0.3"):
        assert ask(s, 2, source=source) == [200, 503]


def test_burst_is_used_up_and_grows_again(limited):
    s = limited("burst=2 nodelay", "2r/s")
    assert ask_at_once(s, 5) == [200, 200, 200, 503, 503]
    time.sleep(0.6)
    assert ask(s, 1) == [200]


def test_rate_of_a_minute(limited):
    """30r/m is one in two seconds, not thirty at once."""
    s = limited(rate="30r/m")
    assert ask(s, 2) == [200, 503]
    time.sleep(2.1)
    assert ask(s, 2) == [200, 503]


def test_rejected_requests_do_not_count(limited):
    s = limited("burst=1 nodelay", "2r/s")
    end = time.monotonic() + 2
    good = 0
    while time.monotonic() < end:
        good += ask(s, 1)[0] == 200
    assert 4 <= good <= 7, good


def test_empty_key_is_not_limited(limited):
    s = limited(key="$http_x_key")
    assert ask(s, 4) == [200] * 4
    assert ask(s, 2, headers={"X-Key": "a"}) == [200, 503]
    assert ask(s, 2, headers={"X-Key": "b"}) == [200, 503]


def test_key_of_several_variables(limited):
    s = limited(key='"$arg_a/$http_x_key"')
    assert ask(s, 2, "/echo?a=1", headers={"X-Key": "k"}) == [200, 503]
    assert ask(s, 1, "/echo?a=2", headers={"X-Key": "k"}) == [200]
    assert ask(s, 1, "/echo?a=1", headers={"X-Key": "kk"}) == [200]


def test_status_and_log_level(limited):
    s = limited("burst=1", "2r/s", inside="limit_req_status 429; limit_req_log_level warn;", log="debug")
    assert ask_at_once(s, 3, "/echo?secret=1") == [200, 200, 429]
    line = s.wait_log(r'.*limiting requests, excess: \d\.\d{3} by zone "z", client: 127\.0\.0\.1.*')[0]
    assert "[warn]" in line and "secret" not in line
    line = s.wait_log(r'.*delaying request, excess: \d\.\d{3},? by zone "z".*')[0]
    assert "[notice]" in line


def test_delayed_requests_come_later(limited):
    s = limited("burst=5", "4r/s")
    begun = time.monotonic()
    with Conn(s.port) as c:
        for _ in range(4):
            assert c.request("GET", "/echo").status == 200
    assert time.monotonic() - begun >= 0.7


def test_a_client_that_leaves_while_it_is_delayed(limited):
    s = limited("burst=5", "1r/s", main=ADMIN)
    ctl = Ctl(s)
    assert ask(s, 1) == [200]
    c = Conn(s.port)
    c.send(build("GET", "/echo"))
    until(lambda: ctl.json("status")["requests"]["active"] == 1, 3, "the request that waits")
    c.close()
    until(lambda: ctl.json("status")["requests"]["active"] == 0, 0.9, "the end of the request")
    time.sleep(1.2)
    assert s.mock.requests() == 1


def test_dry_run(limited):
    s = limited(inside="limit_req_dry_run on;", main=ADMIN)
    assert ask(s, 3) == [200] * 3
    s.wait_log(r'limiting requests, dry run, excess: \d\.\d{3} by zone "z"')
    assert Ctl(s).json("status")["limit_req"] == {"delayed": 0, "rejected": 0, "dry_run": 2}


def test_inheritance(start, mock):
    s = start("""
limit_req_zone $binary_remote_addr zone=a:1m rate=1r/m;
limit_req_zone $binary_remote_addr zone=b:1m rate=1r/m;
limit_req zone=a;
server {
    listen 127.0.0.1:@http@;
    location /echo/inherits { proxy_pass http://@mock@; }
    location /echo/own { limit_req zone=b burst=1 nodelay; proxy_pass http://@mock@; }
}""", {"mock": mock.addr})
    assert ask(s, 2, "/echo/inherits") == [200, 503]
    assert ask(s, 3, "/echo/own") == [200, 200, 503]


def test_one_zone_for_all_workers(limited):
    s = limited("burst=9 nodelay", main="worker_processes 4;")
    until(lambda: len(s.workers()) == 4, 5, "four workers")
    out = []

    def some():
        for _ in range(10):
            out.append(fetch(s.port, "/echo").status)
    threads = [threading.Thread(target=some) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert out.count(200) == 10 and out.count(503) == 70


def test_zone_outlives_workers_and_reloads(limited):
    s = limited("burst=1 nodelay")
    assert ask(s, 3) == [200, 200, 503]
    s.reload()
    assert ask(s, 2) == [503, 503]
    s.expected.append(r"exited on signal 9|killed by signal")
    victim = s.workers()[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: s.workers() and victim not in s.workers(), 5, "another worker")
    until(lambda: ask(s, 1) == [503], 5, "an answer")
    s.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert ask(s, 1) == [503]


def test_zone_of_another_key_is_another(limited):
    s = limited()
    assert ask(s, 2) == [200, 503]
    s.values["key"] = "$arg_k"
    s.rewrite(ONE)
    s.reload()
    until(lambda: fetch(s.port, "/echo?k=1").status == 200, 5, "the new zone")
    assert ask(s, 1, "/echo?k=1") == [503] and ask(s, 1, "/echo?k=2") == [200]


def test_another_rate_after_a_reload(limited):
    s = limited()
    assert ask(s, 2) == [200, 503]
    s.values["rate"] = "100r/s"
    s.rewrite(ONE)
    s.reload()
    time.sleep(0.1)
    until(lambda: ask(s, 1) == [200], 5, "the new rate")
    time.sleep(0.05)
    assert ask(s, 1) == [200]


def test_memory_of_a_zone_is_bounded(limited):
    """The least recently used keys go; nobody is refused because there is no room."""
    s = limited(key="$arg_k", size="64k", main=ADMIN)
    ctl = Ctl(s)
    with Conn(s.port, timeout=30) as c:
        for i in range(0, 6000, 50):
            c.send(b"".join(build("GET", f"/echo?k={'x' * 40}{j}") for j in range(i, i + 50)))
            for _ in range(50):
                r = c.response()
                assert r.status == 200
                if "close" in (r.header("Connection") or ""):
                    raise AssertionError("keepalive_requests")
            if i % 900 == 850:
                c.close()
                c.__init__(s.port, timeout=30)
    zone = ctl.json("status")["limit_zones"][0]
    assert zone["name"] == "z" and zone["entries"] <= zone["entries_max"] < 6000
    assert ask(s, 1, f"/echo?k={'x' * 40}5999") == [503], "the newest key is known"
    assert ask(s, 1, f"/echo?k={'x' * 40}0") == [200], "the oldest is forgotten"


def test_long_keys(limited):
    s = limited(key="$arg_k", size="256k")
    a, b = "a" * 3000, "a" * 2999 + "b"
    assert ask(s, 2, f"/echo?k={a}") == [200, 503]
    assert ask(s, 1, f"/echo?k={b}") == [200]


def test_counts_are_shown(limited):
    s = limited("burst=1", "5r/s", main=ADMIN)
    ctl = Ctl(s)
    assert sorted(ask(s, 2)) == [200, 200]
    got = []
    threads = [threading.Thread(target=lambda: got.append(fetch(s.port, "/echo").status)) for _ in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    counts = ctl.json("status")["limit_req"]
    assert counts["rejected"] == got.count(503) >= 3 and counts["delayed"] >= 1
    assert re.fullmatch(r"z", ctl.json("status")["limit_zones"][0]["name"])
