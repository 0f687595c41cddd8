# SPDX-License-Identifier: BSD-2-Clause
"""Heads and bodies as clients may write them (HTTP/1): nginx and sluice answer alike, and ask the upstream alike."""
import contextlib

import alike
import pytest
from alike import Both, case, raw

CONF = """
    server {
        listen 127.0.0.1:@http@;
        server_name first.test;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        client_max_body_size 1000;
        location / { proxy_pass http://@mock@; }
        location /echo/stream { proxy_request_buffering off; proxy_pass http://@mock@; }
        location /host { return 200 "$host|$http_host"; }
        location /vars { return 200 "$host|$http_x_a|$http_x_real_ip|$http_x_b"; }
        location /add { proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_pass http://@mock@/echo; }
        location /under { proxy_set_header X-Seen "$http_x_a"; proxy_pass http://@mock@/echo; }
    }
    server {
        listen 127.0.0.1:@two@;
        error_page 400 405 @named;
        location / { proxy_pass http://@mock@; }
        location @named { proxy_pass http://@mock@; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name under.test;
        underscores_in_headers on;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location / { proxy_set_header X-Seen "$http_x_a"; proxy_pass http://@mock@; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name any.test;
        ignore_invalid_headers off;
        location / { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://@mock@; }
    }
"""
H = "Host: first.test\r\n"
CHUNKED = "POST /echo HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked\r\n\r\n"
STREAMED = CHUNKED.replace("/echo", "/echo/stream")

# nginx 1.22 takes what its default server says of names, sluice what the request's own says: each on its own here.
CASES = [case(f"name {name} to {where}", where, headers=[("X-Real-IP", "good"), (name, "other")])
         for name in ("X_A", "x_a", "X-A", "X_Real_IP", "x_real-ip", "X.A", "X_Forwarded_For", "X-Forwarded_For", "_", "X!A")
         for where in ("/echo", "/vars", "/add", "/under")]
CASES += [raw(f"refused HEAD: {name}", text, "HEAD") for name, text in (
    ("no host", "HEAD /echo HTTP/1.1\r\n\r\n"),
    ("two hosts", "HEAD /echo HTTP/1.1\r\n" + H + H + "\r\n"),
    ("host with a slash", "HEAD /echo HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("chunks in HTTP/1.0", "HEAD /echo HTTP/1.0\r\n" + H + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("unknown coding", "HEAD /echo HTTP/1.1\r\n" + H + "Transfer-Encoding: gzip, chunked\r\n\r\n"),
    ("two lengths", "HEAD /echo HTTP/1.1\r\n" + H + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    ("space before the colon", "HEAD /echo HTTP/1.1\r\n" + H + "X : a\r\n\r\n"),
    ("asterisk", "HEAD * HTTP/1.1\r\n" + H + "\r\n"),
    ("no slash", "HEAD echo HTTP/1.1\r\n" + H + "\r\n"),
    ("bad escape", "HEAD /echo%zz HTTP/1.1\r\n" + H + "\r\n"),
    ("above the root", "HEAD /../echo HTTP/1.1\r\n" + H + "\r\n"),
    ("long field", "HEAD /echo HTTP/1.1\r\n" + H + "X-A: " + "a" * 40000 + "\r\n\r\n"))]
CASES += [case(f"host {host}", "/vars", host=host) for host in (
    "first.test", "FIRST.test", "first.test.", "first.test:80", "first.test:", "first.test.:", "[::1]", "[::1]:", "[::1]:80", "a_b", "a-b.c",
    "127.0.0.1", "127.0.0.1:65535", "", " ", ".", "..a", "a..b", "a/b", "a b")]
CASES += [raw(f"absolute {target}", f"GET {target} HTTP/1.1\r\nHost: first.test\r\n\r\n") for target in (
    "http://first.test/vars", "http://first.test:81/vars", "http://first.test:/vars", "HTTP://First.Test/vars", "https://first.test/vars",
    "http://first.test", "http://first.test?a", "http:///vars", "http:/first.test/vars", "http://", "http://first.test/vars?a=http://b/c")]
# The size that a chunk announces counts before it has come.
CASES += [raw(f"{how} chunk of {size} announced", head + size + "\r\nabc") for how, head in (("kept", CHUNKED), ("streamed", STREAMED))
          for size in ("3e9", "1000", "7fffffff", "100000003", "fffffffffffff")]
CASES += [raw(f"{how} second chunk announced", head + "3\r\nabc\r\n3e6\r\nabc") for how, head in (("kept", CHUNKED), ("streamed", STREAMED))]
CASES += [raw(f"chunks {name}", CHUNKED + text) for name, text in (
    ("of 1000 in all", "3e0\r\n" + "a" * 992 + "\r\n8\r\nabcdefgh\r\n0\r\n\r\n"),
    ("of 1001 in all", "3e0\r\n" + "a" * 992 + "\r\n9\r\nabcdefghi\r\n0\r\n\r\n"),
    ("in capitals", "A\r\n0123456789\r\n0\r\n\r\n"),
    ("with extensions", '3;a;b=c;d="e f"\r\nabc\r\n0;x=y\r\n\r\n'),
    ("with trailers", "3\r\nabc\r\n0\r\nX-A: b\r\nContent-Length: 9\r\n\r\n"),
    ("of nothing", "0\r\n\r\n"), ("of nothing, long", "000\r\n\r\n"),
    ("bad size", "3x\r\nabc\r\n0\r\n\r\n"), ("minus", "-3\r\nabc\r\n0\r\n\r\n"), ("0x", "0x3\r\nabc\r\n0\r\n\r\n"),
    ("of 64 bits", "10000000000000003\r\nabc\r\n0\r\n\r\n"), ("longer than said", "3\r\nabcd\r\n0\r\n\r\n"),
    ("without line ends", "3\r\nabc0\r\n\r\n"))]
CASES += [raw(f"connection {value!r}", f"GET /echo HTTP/{version}\r\n{H}Connection: {value}\r\n\r\n") for version in ("1.0", "1.1")
          for value in ("close", "Close", "keep-alive", "Keep-Alive", "close, keep-alive", "keep-alive, close", "", ",", "x", " close ", "te, close")]


@pytest.fixture(scope="module")
def both():
    with contextlib.ExitStack() as stack:
        yield Both(stack, CONF)


@pytest.mark.parametrize("c", CASES, ids=[c.id for c in CASES])
def test_alike(both, c):
    nginx, sluice = both.ask(c)
    assert sluice == nginx


@pytest.mark.parametrize("line", ["GET /../x", "POST /a/../../x", "GET /%00", "GET /a%0ab", "GET /a\\b", "GET /%zz", "HEAD /%zz", "CONNECT a:1",
                                  "TRACE /%00", "GET x", "GET /a#b", "GET /two hosts", "HEAD /two hosts"])
def test_what_was_refused_is_passed_to_no_named_location(both, line):
    """nginx makes a 500 of a path that it refuses, and passes on what it read of a head."""
    head = H + H if "two hosts" in line else H
    line = line.replace(" hosts", "")
    before = both.mock.requests()
    c = raw(line, f"{line} HTTP/1.1\r\n{head}X-A: 1\r\n\r\n", line.split()[0])
    answer, *more = alike.answer(both.servers[1], c, both.servers[1].two)
    assert answer["status"] == (405 if line[:2] in ("CO", "TR") else 400) and more == [True]
    assert both.mock.requests() == before


def test_other_errors_go_to_a_named_location(both):
    c = raw("chunk", CHUNKED + "zz\r\n")
    for seen in both.ask(c, port=lambda s: s.two):
        assert (seen[0]["status"], seen[0]["body"]["target"]) == (400, "/echo")


@pytest.mark.parametrize("target,field,seen", [
    ("/host", "FIRST.test:8", "first.test|FIRST.test:8"),
    ("http://first.test/host", "first.test", "first.test|first.test"),
    ("http://First.test:81/host", "under.test", "first.test|First.test:81"),
    ("http://first.test/host", "evil/../", None)])
def test_an_absolute_target_says_the_host(both, target, field, seen):
    """RFC 9112 3.2.2: whatever Host says is ignored then, and no one behind us is told it."""
    answer = both.one(both.servers[1], raw("host", f"GET {target} HTTP/1.1\r\nHost: {field}\r\n\r\n"))[0]
    assert (answer["status"], answer["body"]) == (200, seen.encode()) if seen else answer["status"] == 400


def test_a_dropped_name_is_told_once(both):
    s = both.servers[1]
    both.one(s, case("names", "/vars", headers=[("X-A", "1")] + [(f"X_{i}", "2") for i in range(50)]))
    s.wait_log(r'client sent invalid header name: "X_0", client: 127\.0\.0\.1')
    assert '"X_1"' not in s.log()


@pytest.mark.parametrize("host,names", [("under.test", {"x_a"}), ("any.test", {"x.a", "x!a"})])
def test_names_that_a_server_lets_through(both, host, names):
    """nginx asks its default server instead (which says no), so this is sluice alone."""
    sent = [("X_A", "1"), ("X.A", "2"), ("X!A", "3")]
    answer = both.one(both.servers[1], case("names", "/echo", host=host, headers=sent))[0]["body"]
    assert {k for k, _ in answer["headers"]} & {"x_a", "x.a", "x!a"} == names
    assert host != "under.test" or ["x-seen", "1"] in answer["headers"]
