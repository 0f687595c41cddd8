# SPDX-License-Identifier: BSD-2-Clause
"""Choosing a peer, going on to the next one, keeping connections, names, and TLS towards upstreams."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import harness
import pytest
from harness import SLOW, Closed, Conn, Dns, build, fetch, free_port, mock_bytes, until
from scripted import Scripted

GROUP = """
upstream u { @servers@ }
server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; @in@ } }
"""


@pytest.fixture
def group(start):
    def make(servers, inside="", **kw):
        return start(GROUP, {"servers": servers, "in": inside}, **kw)
    return make


def names(s, n, path="/echo"):
    return [fetch(s.port, path).json()["name"] for _ in range(n)]


# Faults before anything of the answer went on: whoever answers next, the client sees that one.
FAULTS = {
    "close-before-head": 502, "reset-before-head": 502, "close-in-head": 502, "reset-in-head": 502,
    "garbage-status": 502, "bad-header": 502, "bad-header-cr": 502, "huge-header": 502, "both-lengths": 502,
    "unrequested-101": 502, "many-1xx": 502, "stall-before-head": 504,
}
CONDITIONS = "proxy_next_upstream error timeout invalid_header; proxy_read_timeout 1s;"


@pytest.mark.parametrize("fault", FAULTS)
def test_next_upstream(group, mocks, fault):
    bad, good = mocks("--fault", fault, name="bad"), mocks(name="good")
    s = group(f"server {bad.addr}; server {good.addr};", CONDITIONS)
    for _ in range(3):
        r = fetch(s.port, "/echo")
        assert r.status == 200 and r.json()["name"] == "good"
    assert bad.requests() > 0, "the faulty one was asked first"


@pytest.mark.parametrize("fault", FAULTS)
def test_without_another_upstream(group, mocks, fault):
    bad = mocks(name="bad")
    s = group(f"server {bad.addr};", CONDITIONS)
    r = fetch(s.port, "/echo", headers={"X-Mock-Fault": fault})
    assert r.status == FAULTS[fault]
    s.wait_log(r"\[error\].*upstream")
    assert fetch(s.port, "/echo").status in (200, 502)


def test_refused_connections(group, mocks):
    good = mocks(name="good")
    s = group(f"server 127.0.0.1:{free_port()}; server {good.addr};")
    assert names(s, 4) == ["good"] * 4
    s.wait_log(r"connect\(\) failed \(111: Connection refused\) while connecting to upstream")
    s = group(f"server 127.0.0.1:{free_port()};")
    assert fetch(s.port, "/").status == 502


def test_connect_timeout(group, mocks):
    """A listener whose queue is full lets nobody in."""
    good = mocks(name="good")
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = []
        for _ in range(4):
            f = socket.socket()
            f.setblocking(False)
            f.connect_ex(("127.0.0.1", port))
            fillers.append(f)
        time.sleep(0.1)
        s = group(f"server 127.0.0.1:{port}; server {good.addr};", "proxy_connect_timeout 500ms;")
        assert names(s, 1) == ["good"]
        s = group(f"server 127.0.0.1:{port};", "proxy_connect_timeout 500ms;")
        t = time.monotonic()
        assert fetch(s.port, "/").status == 504
        assert time.monotonic() - t < 3 * SLOW
        for f in fillers:
            f.close()


@pytest.mark.parametrize("status,condition", [(500, "http_500"), (502, "http_502"), (503, "http_503"),
                                              (504, "http_504"), (403, "http_403"), (404, "http_404"),
                                              (429, "http_429")])
def test_next_upstream_by_status(group, mocks, status, condition):
    bad, good = mocks("--status", status, name="bad"), mocks(name="good")
    s = group(f"server {bad.addr} max_fails=0; server {good.addr};", f"proxy_next_upstream error {condition};")
    for _ in range(4):
        r = fetch(s.port, "/echo")
        assert r.status == 200 and r.json()["name"] == "good"
    assert bad.requests() > 0
    s = group(f"server {bad.addr} max_fails=0; server {good.addr};")  # error timeout
    assert {fetch(s.port, "/echo").status for _ in range(4)} == {200, status}
    s = group(f"server {bad.addr};", f"proxy_next_upstream error {condition};")
    r = fetch(s.port, "/echo")
    assert r.status == status and r.header("x-mock-name") == "bad", "the last answer is passed on"


@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize("fault", ["close-in-body", "reset-in-body", "short-length", "bad-chunk", "no-final-chunk"])
def test_a_cut_answer_is_never_seen_as_whole(group, mocks, fault, buffering):
    bad, good = mocks(name="bad"), mocks(name="good")
    s = group(f"server {bad.addr}; server {good.addr} backup;", f"proxy_buffering {buffering};")
    path = "/bytes/200000" if fault in ("close-in-body", "reset-in-body", "short-length") else "/chunked/200000"
    with Conn(s.port) as c:
        c.send(build("GET", path, {"X-Mock-Fault": fault}))
        r = c.head()
        assert r.status == 200
        with pytest.raises((Closed, ConnectionResetError)):
            c.body(r)
        assert not r.is_whole
    assert good.requests() == 0, "nothing is asked again once bytes went to the client"
    s.wait_log(r"\[error\].*upstream (prematurely closed|sent invalid|.*reset)|Connection reset by peer")


def test_more_than_the_length_is_not_passed_on(group, mock):
    s = group(f"server {mock.addr}; keepalive 4;")
    with Conn(s.port) as c:
        r = c.request("GET", "/bytes/1000", {"X-Mock-Fault": "long-length"})
        assert r.status == 200 and r.body == mock_bytes(int(r.header("Content-Length")))
        # What followed must not become the answer of anybody.
        for i in range(5):
            r = c.request("GET", f"/bytes/{i}")
            assert r.status == 200 and r.body == mock_bytes(i)


def test_early_answer_to_a_large_request(group, mock):
    s = group(f"server {mock.addr};", "client_max_body_size 0;")
    r = fetch(s.port, "/upload", "POST", headers={"X-Mock-Fault": "early-answer", "X-Mock-Status": "413"},
              body=b"x" * 5000000)
    assert r.status == 413


def test_tries_and_timeout(group, mocks):
    bad = [mocks("--fault", "close-before-head", name=f"bad{i}") for i in range(4)]
    good = mocks(name="good")
    servers = "".join(f"server {m.addr} max_fails=0; " for m in bad) + f"server {good.addr} backup;"
    s = group(servers, "proxy_next_upstream_tries 2;")
    assert fetch(s.port, "/echo").status == 502
    assert sum(m.requests() for m in bad) == 2
    s = group(servers)
    assert fetch(s.port, "/echo").json()["name"] == "good"
    slow = [mocks("--fault", "stall-before-head", name=f"slow{i}") for i in range(4)]
    s = group("".join(f"server {m.addr} max_fails=0; " for m in slow),
              "proxy_read_timeout 600ms; proxy_next_upstream_timeout 1s;")
    assert fetch(s.port, "/echo").status == 504
    assert sum(m.requests() for m in slow) == 2


def test_a_post_is_not_sent_twice(group, mocks):
    bad, good = mocks(name="bad"), mocks(name="good")
    s = group(f"server {bad.addr} max_fails=0; server {good.addr} max_fails=0 backup;",
              CONDITIONS + " llm off;")
    for method in ("POST", "PATCH", "LOCK"):
        r = fetch(s.port, "/echo", method, body="x", headers={"X-Mock-Fault": "close-before-head"})
        assert r.status == 502, method
    assert good.requests() == 0
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        # The backup shows the fault too when asked by header: what counts is that it was asked.
        before = good.requests()
        fetch(s.port, "/echo", method, body="x", headers={"X-Mock-Fault": "close-before-head"})
        assert good.requests() == before + 1, method


def test_a_post_never_sent_goes_on(group, mocks):
    good = mocks(name="good")
    s = group(f"server 127.0.0.1:{free_port()} max_fails=0; server {good.addr} backup;", "llm off;")
    assert fetch(s.port, "/echo", "POST", body="x").json()["name"] == "good"


@pytest.mark.parametrize("inside,path", [("proxy_next_upstream error non_idempotent; llm off;", "/echo"),
                                         ("llm on;", "/echo"), ("llm auto;", "/v1/chat/completions"),
                                         ("", "/v1/embeddings")])
def test_a_post_is_sent_again_where_that_is_wanted(group, mocks, inside, path):
    bad, good = mocks("--fault", "close-before-head", name="bad"), mocks(name="good")
    s = group(f"server {bad.addr} max_fails=0; server {good.addr} backup;", inside)
    r = fetch(s.port, path, "POST", headers={"Content-Type": "application/json"},
              body='{"model":"m","input":"x","messages":[{"role":"user","content":"x"}]}')
    assert r.status == 200 and r.header("x-mock-name") == "good"


def test_the_body_comes_whole_at_the_second_peer(group, mocks):
    bad, good = mocks("--fault", "close-before-head", name="bad"), mocks(name="good")
    s = group(f"server {bad.addr} max_fails=0; server {good.addr} backup;", "client_max_body_size 0;")
    body = mock_bytes(3000000)
    r = fetch(s.port, "/upload", "PUT", body=body, timeout=20)
    assert r.status == 200 and r.json()["length"] == len(body)


# --- balance ---

def test_round_robin_and_weights(group, mocks):
    a, b, c = (mocks(name=n) for n in "abc")
    s = group(f"server {a.addr} weight=5; server {b.addr} weight=2; server {c.addr};")
    got = names(s, 16)
    assert [got.count(n) for n in "abc"] == [10, 4, 2]
    assert got[:8] == list("abaacaba"), "smooth: nobody's turns come in one block"


def test_state_is_shared_by_workers(group, mocks):
    a, b = mocks(name="a"), mocks(name="b")
    s = group(f"server {a.addr}; server {b.addr};", main="worker_processes 2;")
    until(lambda: len(s.workers()) == 2, what="two workers")
    got = names(s, 40)
    assert got.count("a") == got.count("b") == 20


def test_backup_and_down(group, mocks):
    a, b, c = mocks(name="a"), mocks(name="b"), mocks(name="c")
    s = group(f"server {a.addr}; server {b.addr} backup; server {c.addr} down;")
    assert set(names(s, 4)) == {"a"}
    a.kill()
    assert set(names(s, 4)) == {"b"}
    assert c.requests() == 0


def test_max_fails_and_recovery(group, mocks):
    a, b = mocks(name="a"), mocks(name="b")
    s = group(f"server {a.addr} max_fails=2 fail_timeout=1s; server {b.addr};")
    assert set(names(s, 4)) == {"a", "b"}
    a.kill()
    assert set(names(s, 12)) == {"b"}
    failed = len(re.findall(r"Connection refused", s.log()))
    assert failed == 2, "after max_fails it is left alone"
    a.start()
    until(lambda: "a" in names(s, 2), 6, "the return of a")
    assert names(s, 10).count("a") == 5


def test_all_down(group, mocks):
    s = group(f"server 127.0.0.1:{free_port()} max_fails=1 fail_timeout=30s; "
              f"server 127.0.0.1:{free_port()} max_fails=1 fail_timeout=30s;")
    assert [fetch(s.port, "/").status for _ in range(3)] == [502] * 3
    s.wait_log("no live upstreams while connecting to upstream")


def test_max_conns(group, mocks):
    a, b = mocks(name="a"), mocks(name="b")
    s = group(f"server {a.addr} max_conns=1; server {b.addr} backup;")
    with Conn(s.port) as c:
        c.send(build("GET", "/echo", {"X-Mock-Delay-Ms": "1500"}))
        until(lambda: a.stats()["requests_active"] == 2, what="the request at a")
        assert names(s, 3) == ["b"] * 3
        assert c.response().json()["name"] == "a"
    assert names(s, 1) == ["a"]


# --- kept connections ---

def test_keepalive(group, mock):
    s = group(f"server {mock.addr}; keepalive 2;")
    before = mock.stats()["connections_total"]
    seen = [fetch(s.port, "/echo").json() for _ in range(20)]
    assert len({e["connection"] for e in seen}) == 1 and seen[-1]["request"] == 20
    assert mock.stats()["connections_total"] - before == 2  # that one and that of /stats
    assert all(h[0].lower() != "connection" or h[1].lower() != "close" for h in seen[0]["headers"])


def test_keepalive_limits(group, mock):
    s = group(f"server {mock.addr}; keepalive 2; keepalive_requests 5;")
    seen = [fetch(s.port, "/echo").json()["request"] for _ in range(12)]
    assert seen == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2]
    s = group(f"server {mock.addr}; keepalive 2; keepalive_timeout 300ms;")
    assert fetch(s.port, "/echo").json()["request"] == 1
    time.sleep(0.8)
    assert fetch(s.port, "/echo").json()["request"] == 1


def test_keepalive_keeps_no_more_than_said(group, mock):
    s = group(f"server {mock.addr}; keepalive 2;")
    clients = [Conn(s.port) for _ in range(6)]
    for c in clients:
        c.send(build("GET", "/echo", {"X-Mock-Delay-Ms": "300", "Connection": "close"}))
    for c in clients:
        assert c.response().status == 200
        c.close()
    until(lambda: mock.stats()["connections_active"] == 3, what="two kept ones, and that of /stats")


def test_a_kept_connection_that_turns_out_closed(group, mock):
    """Is retried silently, also for POST, and counts against nobody."""
    s = group(f"server {mock.addr} max_fails=1 fail_timeout=60s; keepalive 8;", "llm off; proxy_next_upstream off;")
    for i in range(10):
        assert fetch(s.port, "/echo").status == 200
        port = mock.port
        mock.kill()
        mock.start()
        assert mock.port == port
        r = fetch(s.port, "/echo", "POST", body=f"number {i}")
        assert r.status == 200 and r.json()["body"] == f"number {i}"


def test_an_upstream_that_closes_without_saying(group, mock):
    s = group(f"server {mock.addr}; keepalive 8;", "proxy_next_upstream off;")
    for _ in range(50):
        r = fetch(s.port, "/bytes/100", headers={"X-Mock-Fault": "close-after"})
        assert r.status == 200 and r.body == mock_bytes(100)


def test_a_broken_answer_poisons_no_kept_connection(group, mock):
    s = group(f"server {mock.addr} max_fails=0; keepalive 8;", "proxy_next_upstream off; proxy_read_timeout 500ms;")
    for fault in ("long-length", "bad-chunk", "stall-in-body", "both-lengths", "short-length", "unrequested-101"):
        with Conn(s.port) as c:
            c.send(build("GET", "/bytes/1000", {"X-Mock-Fault": fault}))
            c.end(3)
        r = fetch(s.port, "/bytes/77")
        assert r.status == 200 and r.body == mock_bytes(77), fault


# --- names ---

NAMED = """
resolver 127.0.0.1:@dns@ valid=1s ipv6=off;
resolver_timeout 2s;
upstream u { server gpt.test:@p@; }
server { listen 127.0.0.1:@http@;
    location / { proxy_pass http://u; }
    location /direct { proxy_pass http://direct.test:@p@/echo; }
    location /var { proxy_pass http://$arg_h:@p@/echo; }
}
"""


def test_names_that_do_not_resolve_and_then_do(start, mocks):
    mock = mocks(name="found")
    with Dns() as dns:
        s = start(NAMED, {"dns": dns.port, "p": mock.port})
        r = fetch(s.port, "/echo")
        assert r.status == 502
        s.wait_log(r"gpt\.test.*could not be resolved")
        assert fetch(s.port, "/direct").status == 502
        dns.names["gpt.test"] = dns.names["direct.test"] = ["127.0.0.1"]
        until(lambda: fetch(s.port, "/echo").status == 200, 10, "recovery by itself")
        until(lambda: fetch(s.port, "/direct").status == 200, 10, "recovery by itself")
        assert all(kind == 1 for _, kind in dns.queries), "ipv6=off asks for no AAAA"


def test_names_are_looked_up_again(start, mocks):
    port = free_port()
    with Dns() as dns:
        dns.names["gpt.test"] = ["127.0.0.1"]
        first = mocks(name="first", port=port)
        second = mocks(name="second", port=port, host="127.0.0.2")
        s = start(NAMED, {"dns": dns.port, "p": port})
        until(lambda: fetch(s.port, "/echo").status == 200, what="the first address")
        assert names(s, 3) == ["first"] * 3
        dns.names["gpt.test"] = ["127.0.0.2"]
        until(lambda: names(s, 1) == ["second"], 10, "the new address")
        dns.names["gpt.test"] = ["127.0.0.1", "127.0.0.2"]
        until(lambda: set(names(s, 4)) == {"first", "second"}, 10, "both addresses")
        dns.names.clear()  # a name that fails keeps its last addresses
        time.sleep(2.5)
        assert set(names(s, 4)) == {"first", "second"}
        assert first.requests() and second.requests()


def test_names_in_variables(start, mocks):
    mock = mocks()
    with Dns() as dns:
        dns.names["var.test"] = ["127.0.0.1"]
        s = start(NAMED, {"dns": dns.port, "p": mock.port})
        assert fetch(s.port, "/var?h=var.test").status == 200
        assert fetch(s.port, "/var?h=127.0.0.1").status == 200
        assert fetch(s.port, "/var?h=none.test").status == 502


def test_a_silent_name_server(start, mocks):
    mock = mocks()
    with Dns() as dns:
        dns.mute = True
        s = start(NAMED, {"dns": dns.port, "p": mock.port})
        t = time.monotonic()
        assert fetch(s.port, "/echo", timeout=20).status == 502
        assert time.monotonic() - t < 12 * SLOW
        dns.names["gpt.test"] = ["127.0.0.1"]
        dns.mute = False
        until(lambda: fetch(s.port, "/echo", timeout=20).status == 200, 20, "recovery")


def test_localhost_is_resolved_without_a_resolver(start, mock):
    s = start("server { listen 127.0.0.1:@http@; location / { proxy_pass http://localhost:@p@; } }", {"p": mock.port})
    until(lambda: fetch(s.port, "/echo").status == 200, what="an answer")


def test_ipv6_upstream(group, mocks):
    mock = mocks(host="::1")
    assert fetch(group(f"server {mock.addr};").port, "/echo").status == 200


def test_unix_upstream(start, mocks):
    with harness.temp_dir() as folder:
        path = folder / "up.sock"
        proc = subprocess.Popen([str(harness.MOCK), "--listen-unix", str(path)], stdout=subprocess.PIPE, text=True)
        try:
            assert proc.stdout.readline() == "mock-llm: ready\n"
            path.chmod(0o777)
            s = start("upstream u { server unix:@path@; }\nserver { listen 127.0.0.1:@http@; "
                      "location /g/ { proxy_pass http://u/echo/; } "
                      "location /d/ { proxy_pass http://unix:@path@:/echo/x; } }", {"path": path})
            assert fetch(s.port, "/g/1").json()["target"] == "/echo/1"
            assert fetch(s.port, "/d/").json()["target"] == "/echo/x"
        finally:
            proc.terminate()
            proc.wait()
            proc.stdout.close()


# --- TLS towards the upstream ---

TLS = """
server { listen 127.0.0.1:@http@; location / {
    proxy_pass https://@name@:@p@; proxy_ssl_verify @verify@; proxy_ssl_trusted_certificate @ca@; @in@ } }
"""


@pytest.fixture
def secure(start):
    def make(mock, ca, name="localhost", verify="on", inside=""):
        s = start(TLS, {"name": name, "p": mock.port, "verify": verify, "ca": ca, "in": inside})
        until(lambda: "could not be resolved" not in s.log() and "still being" not in s.log(), what="localhost")
        return s
    return make


def test_https_upstream(secure, mocks, ca):
    mock = mocks(tls=ca.server)
    s = secure(mock, ca.ca, inside="proxy_ssl_server_name on;")
    r = fetch(s.port, "/echo")
    assert r.status == 200
    assert r.json()["sni"] == "localhost" and r.json()["tls"]["protocol"] == "TLSv1.3"
    assert fetch(s.port, "/bytes/2000000").body == mock_bytes(2000000)


def test_https_sni(secure, mocks, ca):
    """Other than in nginx it is on by default (docs/nginx.md)."""
    mock = mocks(tls=ca.server)
    assert fetch(secure(mock, ca.ca).port, "/echo").json()["sni"] == "localhost"
    s = secure(mock, ca.ca, inside="proxy_ssl_server_name off;")
    assert fetch(s.port, "/echo").json()["sni"] in (None, "")


def test_https_verifies_an_address(secure, mocks, ca):
    assert fetch(secure(mocks(tls=ca.server), ca.ca, name="127.0.0.1").port, "/echo").status == 200


def test_https_session_is_reused(secure, mocks, ca):
    mock = mocks("--fault", "close-after", tls=ca.server)
    s = secure(mock, ca.ca)
    seen = [fetch(s.port, "/echo").json() for _ in range(6)]
    assert len({e["connection"] for e in seen}) == 6
    assert [e["tls"]["resumed"] for e in seen] == [False] + [True] * 5
    s = secure(mock, ca.ca, inside="proxy_ssl_session_reuse off;")
    assert [fetch(s.port, "/echo").json()["tls"]["resumed"] for _ in range(3)] == [False] * 3


def test_https_wrong_authority(secure, mocks, ca, wrong_ca):
    mock = mocks(tls=ca.server)
    s = secure(mock, wrong_ca.ca)
    assert fetch(s.port, "/echo").status == 502
    s.wait_log(r"\[error\].*certificate.*(unable to get local issuer|20:)")
    assert mock.stats()["paths"]["/echo"] == 0
    # Without verification the same upstream is good enough, and that is the default.
    assert fetch(secure(mock, wrong_ca.ca, verify="off").port, "/echo").status == 200


def test_https_wrong_name(secure, mocks, ca):
    other = ca.make("other.test", ["other.test"])
    mock = mocks(tls=other)
    s = secure(mock, ca.ca)
    assert fetch(s.port, "/echo").status == 502
    s.wait_log(r'\[error\].*upstream SSL certificate does not match "localhost"')
    assert mock.requests() == 0
    s = secure(mock, ca.ca, inside="proxy_ssl_name other.test; proxy_ssl_server_name on;")
    r = fetch(s.port, "/echo")
    assert r.status == 200 and r.json()["sni"] == "other.test"


def test_https_expired(secure, mocks, ca):
    mock = mocks(tls=ca.make("old", ["localhost"], expired=True))
    s = secure(mock, ca.ca)
    assert fetch(s.port, "/echo").status == 502
    s.wait_log(r"\[error\].*certificate.*(has expired|10:)")


def test_https_self_signed_against_the_system_store(start, mocks, ca):
    mock = mocks(tls=ca.server)
    s = start("server { listen 127.0.0.1:@http@; location / { proxy_pass https://127.0.0.1:@p@; proxy_ssl_verify on; } }",
              {"p": mock.port})
    assert fetch(s.port, "/echo").status == 502
    s.wait_log(r"\[error\].*certificate")


def test_https_to_a_plain_port(start, mock):
    s = start("server { listen 127.0.0.1:@http@; proxy_connect_timeout 1s; "
              "location / { proxy_pass https://@m@; } }", {"m": mock.addr})
    assert fetch(s.port, "/echo").status in (502, 504)
    s.wait_log(r"SSL")


def test_https_upstream_cut_without_close_notify(secure, mocks, ca):
    """A body that ends with the connection is whole only after close_notify."""
    s = secure(mocks(tls=ca.server), ca.ca)
    with Conn(s.port) as c:
        c.send(build("GET", "/bytes/100000", {"X-Mock-Fault": "tls-no-close-notify"}))
        r = c.head()
        if r.status == 200:
            with pytest.raises((Closed, ConnectionResetError)):
                c.body(r)
        else:
            assert r.status == 502
    with Conn(s.port) as c:  # the same for HTTP/1.0 clients, who have only the end of the connection
        c.send(build("GET", "/bytes/100000", {"X-Mock-Fault": "tls-no-close-notify"}, version="1.0"))
        how, data = c.end()
        assert how == "reset" or b" 502 " in data[:20]


def test_https_protocols_and_ciphers(secure, mocks, ca):
    mock = mocks(tls=ca.server)
    s = secure(mock, ca.ca, inside="proxy_ssl_protocols TLSv1.2; proxy_ssl_ciphers ECDHE-ECDSA-AES256-GCM-SHA384;")
    tls = fetch(s.port, "/echo").json()["tls"]
    assert tls["protocol"] == "TLSv1.2" and tls["cipher"] == "ECDHE-ECDSA-AES256-GCM-SHA384"


def test_many_clients_while_peers_come_and_go(group, mocks):
    """No request of a good client fails while one of three peers is killed and started again."""
    peers = [mocks(name=n) for n in "abc"]
    s = group("".join(f"server {m.addr} fail_timeout=1s; " for m in peers) + "keepalive 16;",
              "proxy_next_upstream error timeout invalid_header non_idempotent; keepalive_requests 1000000;")
    bad, ending = [], threading.Event()

    def work():
        try:
            with Conn(s.port) as c:
                while not ending.is_set():
                    r = c.request("GET", "/echo")
                    if r.status != 200:
                        bad.append(r)
        except Exception as e:  # noqa: BLE001 - into the list, whatever it is
            bad.append(repr(e))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for m in (peers[0], peers[1], peers[2], peers[0]):
        time.sleep(0.4)
        m.kill()
        time.sleep(0.4)
        m.start()
        time.sleep(1.2)
    ending.set()
    for t in threads:
        t.join()
    assert not bad


# --- what is known of peers, and who keeps it ---

def test_addresses_of_a_name_keep_what_is_known_of_them(start, stack):
    back = stack.enter_context(Scripted(hosts=["127.0.0.1", "127.0.0.2", "127.0.0.3"]))
    with Dns() as dns:
        dns.names["api.test"] = ["127.0.0.1", "127.0.0.2"]
        s = start(f"""resolver 127.0.0.1:{dns.port} ipv6=off valid=1s;
            upstream u {{ server api.test:{back.ports[0]} fail_timeout=1h resolve; }}
            server {{ listen 127.0.0.1:@http@; location / {{ proxy_pass http://u; }} }}""")
        until(lambda: fetch(s.port, "/").status == 200, 5, "the name's addresses")
        until(lambda: "temporarily disabled" in (fetch(s.port, "/", headers={"Script": "close"}), s.log())[1], 5, "a failure")
        back.take_seen()
        dns.names["api.test"] = ["127.0.0.3", "127.0.0.1"]
        until(lambda: fetch(s.port, "/").body.startswith(b"2"), 8, "the new address")
        back.take_seen()
        assert [fetch(s.port, "/").body[:1] for _ in range(6)] == [b"2"] * 6
        assert {i for i, *_ in back.take_seen()} == {2}, "the first one's failure is kept, the second one has gone"


def test_resolver_without_a_family(start, mocks):
    mock = mocks()
    with Dns() as dns:
        dns.names["api.test"] = ["127.0.0.1", "::1"]
        s = start(f"""resolver 127.0.0.1:{dns.port} ipv6=off; upstream u {{ server api.test:{mock.port}; }}
            server {{ listen 127.0.0.1:@http@; location / {{ proxy_pass http://u; }} }}""")
        until(lambda: fetch(s.port, "/echo").status == 200, 5, "the name's address")
        assert {kind for _, kind in dns.queries} == {1}
        start(f"""resolver 127.0.0.1:{dns.port} ipv4=off; upstream u {{ server six.test:{mock.port}; }}
            server {{ listen 127.0.0.1:@http@; location / {{ proxy_pass http://u; }} }}""")
        until(lambda: ("six.test", 28) in dns.queries, 5, "the question for AAAA")
        assert ("six.test", 1) not in dns.queries


def test_requests_of_a_dead_worker_are_over(group, mock):
    s = group(f"server {mock.addr} max_conns=1;", main="worker_processes 1;")
    with Conn(s.port) as c:
        c.send(build("GET", "/echo", {"X-Mock-Fault": "stall-before-head"}))
        until(lambda: mock.requests() == 1, what="the request at the upstream")
        assert fetch(s.port, "/echo").status == 502, "full"
        (worker,) = s.workers()
        s.expected.append(rf"{worker} exited on signal 9")
        os.kill(worker, signal.SIGKILL)
        until(lambda: s.workers() not in ([], [worker]), 5, "another worker")
        assert fetch(s.port, "/echo").status == 200


# --- worker_connections: those to upstreams count ---

def held(s, n):
    """N requests whose answers do not come yet."""
    conns = [Conn(s.port) for _ in range(n)]
    for c in conns:
        c.send(build("GET", "/echo", {"X-Mock-Fault": "stall-before-head"}))
    return conns


def test_no_room_for_an_upstream_connection(group, mock):
    s = group(f"server {mock.addr}; keepalive 0;", main="worker_processes 1;", connections=7)
    s.expected.append("worker_connections are not enough")
    conns = held(s, 3)
    until(lambda: mock.requests() == 3, what="three requests at the upstream")
    r = fetch(s.port, "/echo")
    assert r.status == 500, "three clients, their three upstreams, and a client that has no room for his"
    s.wait_log(r"\[alert\].*7 worker_connections are not enough while connecting to upstream")
    for c in conns:
        c.close()
    until(lambda: fetch(s.port, "/echo").status == 200, what="room again: the upstream was not to blame")


def test_idle_connections_make_room(group, mock):
    s = group(f"server {mock.addr}; keepalive 8;", main="worker_processes 1;", connections=6)
    idle = [Conn(s.port) for _ in range(2)]
    for c in idle:
        assert c.request("GET", "/echo").status == 200
    conns = held(s, 2)
    until(lambda: mock.stats()["paths"].get("/echo") == 4, what="two more requests at the upstream")
    assert fetch(s.port, "/echo").status == 200, "idle ones, of clients and to the upstream, have gone"
    s.wait_log(r"\[warn\].* 6 worker_connections are not enough, reusing connections")
    for c in [*conns, *idle]:
        c.close()


def n_descriptors(s):
    return len(list(pathlib.Path(f"/proc/{s.workers()[0]}/fd").iterdir()))


@pytest.mark.parametrize("n", [1, 2])
def test_no_descriptor_for_an_upstream_connection(group, mocks, n):
    """What the gateway itself lacks is a 500, and no upstream server is left out for it."""
    servers = "".join(f"server {mocks().addr}; " for _ in range(n))
    s = group(servers + "keepalive 0;", main="worker_processes 1; worker_rlimit_nofile 30;")
    s.expected.append("Too many open files")
    assert fetch(s.port, "/echo").status == 200     # the worker has begun, and has opened what it opens
    conns = []
    while (n_before := n_descriptors(s)) < 30:
        conns.append(Conn(s.port))
        until(lambda: n_descriptors(s) != n_before, what="its descriptor")
    for c in conns:
        c.send("GET /echo HTTP/1.1\r\n")   # nobody is idle
    time.sleep(0.1)
    conns[0].send("Host: localhost\r\n\r\n")
    assert conns[0].response().status == 500
    s.wait_log(r"failed \(24: Too many open files\) while connecting to upstream")
    for c in conns:
        c.close()
    until(lambda: n_descriptors(s) < 20, what="room")
    for _ in range(4):
        assert fetch(s.port, "/echo").status == 200
    assert "temporarily disabled" not in s.log()


def test_a_draining_worker_ends_with_its_last_connection(group, mock):
    s = group(f"server {mock.addr};", main="worker_processes 1;")
    (c,) = held(s, 1)
    until(lambda: mock.requests() == 1, what="the request at the upstream")
    (old,) = s.workers()
    s.reload()
    time.sleep(0.2)
    assert old in s.workers()
    c.close()
    until(lambda: old not in s.workers(), 2, "the old worker's end")
