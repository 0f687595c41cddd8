# SPDX-License-Identifier: BSD-2-Clause
"""real_ip: whom nginx and sluice take for the client, request by request on one connection; and who gets banned."""
import contextlib
import re

import harness
import pytest
from h2raw import H2
from harness import Conn, build, until
from pair import Pair, config_errors, fetch

SHOW = "$remote_addr|$remote_port_set|$realip_remote_addr|$proxy_add_x_forwarded_for"
CONF = r"""
    map $remote_port $remote_port_set { "" none; ~^(1|8080|65535)$ $remote_port; default other; }
    log_format a '$remote_addr $realip_remote_addr $request_uri';
    access_log @dir@/real.log a;
    proxy_http_version 1.1;
    limit_req_zone $binary_remote_addr zone=one:1m rate=1r/m;
    server {
        listen 127.0.0.1:@http@;
        listen unix:@dir@/s.sock;
        server_name default.test;
        set_real_ip_from 127.0.0.0/8;
        set_real_ip_from 10.0.0.0/8;
        set_real_ip_from 2001:db8::/32;
        location / { proxy_pass http://@up@; proxy_set_header X-Seen "@show@"; }
        location /ret { return 200 "@show@"; }
        location /loc { set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; proxy_pass http://@up@; proxy_set_header X-Seen "@show@"; }
        location /limited { limit_req zone=one; proxy_pass http://@up@; }
    }
    server {
        listen 127.0.0.1:@http@;
        listen 127.0.0.1:@three@ http2;
        server_name xff.test;
        set_real_ip_from 127.0.0.1; set_real_ip_from 10.0.0.0/8; set_real_ip_from 2001:db8::/32;
        real_ip_header X-Forwarded-For;
        location / { proxy_pass http://@up@; proxy_set_header X-Seen "@show@"; }
        location /rec { real_ip_recursive on; proxy_pass http://@up@; proxy_set_header X-Seen "@show@"; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name rec.test;
        set_real_ip_from 127.0.0.1; set_real_ip_from 10.0.0.0/8; set_real_ip_from 2001:db8::/32;
        real_ip_header X-Forwarded-For; real_ip_recursive on;
        location / { proxy_pass http://@up@; proxy_set_header X-Seen "@show@"; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name other.test;
        set_real_ip_from 127.0.0.1; real_ip_header CF-Connecting-IP;
        location / { proxy_pass http://@up@; proxy_set_header X-Seen "@show@"; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name untrusted.test;
        set_real_ip_from 192.0.2.1; real_ip_header X-Forwarded-For;
        location / { proxy_pass http://@up@; proxy_set_header X-Seen "@show@"; }
        location /trusted { set_real_ip_from 127.0.0.1; proxy_pass http://@up@; proxy_set_header X-Seen "@show@"; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name none.test;
        real_ip_header X-Forwarded-For; real_ip_recursive on;
        location / { proxy_pass http://@up@; proxy_set_header X-Seen "@show@"; }
    }
    server {
        listen unix:@dir@/s.sock;
        server_name unix.test;
        set_real_ip_from unix:; real_ip_header X-Forwarded-For;
        location / { proxy_pass http://@up@; proxy_set_header X-Seen "@show@"; }
    }
    server {
        listen 127.0.0.1:@two@ proxy_protocol;
        set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;
        location / { proxy_pass http://@up@; proxy_set_header X-Seen "@show@|$proxy_protocol_addr"; }
        location /not { set_real_ip_from 10.0.0.1; proxy_pass http://@up@; proxy_set_header X-Seen "@show@"; }
    }
"""


@pytest.fixture(scope="module")
def pair():
    with contextlib.ExitStack() as stack:
        yield Pair(stack, CONF, show=SHOW)


def seen(got):
    """An IPv4 address that is written as IPv6 is IPv4 to sluice: docs/nginx.md, "Clients behind proxies"."""
    assert got["status"] == 200, got
    return mapped(got).replace("::ffff:", "")


def mapped(got):
    return got["body"] if isinstance(got["body"], str) else dict(map(tuple, got["body"]["headers"])).get("x-seen")


LISTS = ["192.0.2.7", "192.0.2.7, 10.1.2.3", "192.0.2.7,10.1.2.3,10.9.9.9", "198.51.100.1, 192.0.2.7, 10.1.1.1", "10.1.1.1, 10.2.2.2", "nonsense",
         "192.0.2.7, nonsense", "nonsense, 10.1.1.1", "192.0.2.7,", ",192.0.2.7", ",", "192.0.2.7 10.1.1.1", "  192.0.2.7  ,  10.1.1.1  ", "192.0.2.7:8080",
         "192.0.2.7:0", "192.0.2.7:65536", "192.0.2.7:65535", "192.0.2.7:", "2001:db8::7", "2001:470::1", "[2001:470::1]:8080", "[2001:470::1]",
         "2001:470::1, 2001:db8::2", "::ffff:192.0.2.9", "192.0.2.7, ::ffff:10.1.1.1", "unix:", "unix:/x", "", "192.0.2.7, ,10.1.1.1", "192.0.2.256",
         "0x7f.1", "192.0.2.7/24", "192.0.2.7;10.1.1.1", "127.0.0.1", "127.0.0.1, 127.0.0.1", "a" * 300, "192.0.2.1," * 50 + "192.0.2.7"]


@pytest.mark.parametrize("host,path", [("xff.test", "/"), ("rec.test", "/"), ("xff.test", "/rec")])
@pytest.mark.parametrize("value", LISTS, ids=[v[:40] or "(empty)" for v in LISTS])
def test_forwarded_for_alike(pair, host, path, value):
    nginx, sluice = pair.ask(path, [("X-Forwarded-For", value)], host=host)
    assert seen(sluice) == seen(nginx)


@pytest.mark.parametrize("values", [["192.0.2.1", "192.0.2.2"], ["192.0.2.1, 10.0.0.1", "10.0.0.2"], ["192.0.2.1", "10.0.0.1, 192.0.2.5"], ["192.0.2.1", "nonsense"],
                                   ["nonsense", "10.0.0.1"], ["10.0.0.1", "10.0.0.2", "10.0.0.3"], ["", "10.0.0.1"]])
@pytest.mark.parametrize("host", ["xff.test", "rec.test"])
def test_several_forwarded_for_alike(pair, host, values):
    nginx, sluice = pair.ask("/", [("X-Forwarded-For", v) for v in values], host=host)
    assert seen(sluice) == seen(nginx)


OTHERS = [("default.test", "/", "X-Real-IP", "192.0.2.7"), ("default.test", "/", "X-Real-IP", "192.0.2.7, 192.0.2.8"), ("default.test", "/", "X-Real-IP", "bad"),
          ("default.test", "/", "X-Forwarded-For", "192.0.2.7"), ("default.test", "/ret", "X-Real-IP", "192.0.2.7"), ("default.test", "/loc", "X-Forwarded-For", "192.0.2.7"),
          ("default.test", "/loc", "X-Real-IP", "192.0.2.7"), ("default.test", "/", "x-real-ip", "192.0.2.7:1"), ("other.test", "/", "CF-Connecting-IP", "192.0.2.7"),
          ("other.test", "/", "cf-connecting-ip", "2001:470::5"), ("other.test", "/", "X-Real-IP", "192.0.2.7"), ("other.test", "/", "CF-Connecting-IP", "1.2.3.4, 5.6.7.8"),
          ("untrusted.test", "/", "X-Forwarded-For", "192.0.2.7"), ("untrusted.test", "/trusted", "X-Forwarded-For", "192.0.2.7"), ("none.test", "/", "X-Forwarded-For", "192.0.2.7"),
          ("default.test", "/", "X-None", "1")]


@pytest.mark.parametrize("host,path,field,value", OTHERS)
def test_fields_alike(pair, host, path, field, value):
    nginx, sluice = pair.ask(path, [(field, value)], host=host)
    assert seen(sluice) == seen(nginx)


@pytest.mark.parametrize("host", ["default.test", "unix.test"])
@pytest.mark.parametrize("value", ["192.0.2.7", "bad", "2001:470::5"])
def test_unix_alike(pair, host, value):
    got = []
    for s in pair.servers:
        with Conn(0, unix=s.dir / "s.sock") as c:
            r = c.request("GET", "/", [("X-Forwarded-For", value)], host=host)
            got.append(dict(r.json()["headers"])["X-Seen"])
    assert got[0] == got[1]
    assert value == "bad" or host == "default.test" or got[1].startswith(value)


@pytest.mark.parametrize("line", ["PROXY TCP4 192.0.2.7 192.0.2.8 8080 443", "PROXY TCP6 2001:470::5 ::1 8080 1", "PROXY UNKNOWN"])
@pytest.mark.parametrize("path", ["/", "/not"])
def test_proxy_protocol_alike(pair, path, line):
    got = []
    for s in pair.servers:
        with Conn(s.two) as c:
            c.send(line.encode() + b"\r\n" + build("GET", path, [("X-Real-IP", "192.0.2.99")]) * 2)
            got.append([dict(c.response().json()["headers"])["X-Seen"] for _ in range(2)])
    assert got[0] == got[1]


def test_each_request_of_a_connection(pair):
    """One connection of a proxy carries many clients."""
    for s in pair.servers:
        with Conn(s.port) as c:
            for real in ("192.0.2.1", None, "192.0.2.2", "bad", "192.0.2.1"):
                r = c.request("GET", "/", [("X-Forwarded-For", real)] if real else [], host="xff.test")
                want = real if real and real != "bad" else "127.0.0.1"
                assert dict(r.json()["headers"])["X-Seen"].startswith(want + "|"), s.name


def test_each_stream_of_a_connection(pair):
    """The streams of one HTTP/2 connection have a client each, at the same time."""
    for s in pair.servers:
        pair.up.gate.clear()
        with H2(s.three, tls=False) as c:
            before = pair.up.server.n_seen
            ids = {c.headers([("x-hold", "1"), ("x-forwarded-for", f"192.0.2.{i}")], authority="xff.test"): i for i in range(1, 9)}
            until(lambda before=before: pair.up.server.n_seen == before + 8, 5, "all at the upstream")
            pair.up.gate.set()
            for stream, i in ids.items():
                assert dict(c.answer(stream).json()["headers"])["X-Seen"].startswith(f"192.0.2.{i}|"), s.name


def test_limits_and_logs_go_by_it(pair):
    for s in pair.servers:
        got = [fetch(s, "/limited", [("X-Real-IP", ip)], host="default.test").status for ip in ("192.0.2.1", "192.0.2.2", "192.0.2.1")]
        assert got == [200, 200, 503]
        s.wait_log(r"limiting requests.*client: 192\.0\.2\.1, server")
        until(lambda s=s: "192.0.2.2 127.0.0.1 /limited" in (s.dir / "real.log").read_text(), 5, "the access log's line")


BANS = r"""
    server {
        listen 127.0.0.1:@http@;
        set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;
        ban on=status:404 after=2 within=60s for=60s;
        ban on=bad_request after=2 within=60s for=60s;
        location / { return 200 ok; }
        location /no { return 404; }
    }
"""


def test_bans_of_who_is_behind_a_proxy(start):
    """Who offends is banned, in userspace; the proxy and its other clients are not."""
    s = start(BANS)

    def ask(path, ip):
        return c.request("GET", path, [("X-Forwarded-For", ip)]).status
    with Conn(s.port) as c:
        assert [ask("/no", "192.0.2.1") for _ in range(2)] == [404, 404]
        s.wait_log(r"banned 192\.0\.2\.1 for 1m: ")
        until(lambda: ask("/", "192.0.2.1") == 403, 5, "the ban")
        assert ask("/", "192.0.2.2") == 200
        assert c.request("GET", "/").status == 200
        # What comes without a usable address is the proxy's own, and it is never banned.
        assert [c.request("GET", "/no").status for _ in range(4)] == [404] * 4
    for _ in range(4):
        with Conn(s.port) as bad:
            bad.send(b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n")
            assert bad.response().status == 400
    assert harness.fetch(s.port).status == 200
    assert not re.search(r"ban(ned|) (of )?127\.0\.0\.1", s.log())
    bans = (s.dir / "sluice.pid.bans")
    s.stop()
    assert re.search(r"^192\.0\.2\.1 \d+ \d+ \w{8} 2 on=status:404", bans.read_text(), re.M)


ERRORS = ["set_real_ip_from nosuchhost.invalid;", "set_real_ip_from 10.0.0.0/33;", "set_real_ip_from;", "set_real_ip_from 1.2.3.4 5.6.7.8;", "real_ip_header;",
          "real_ip_header X-A; real_ip_header X-B;", "real_ip_recursive maybe;", "real_ip_header X-A X-B;"]


@pytest.mark.parametrize("lines", ERRORS)
def test_errors_alike(lines):
    text = "pid @dir@/pid; error_log stderr; events {} http { access_log off; @ server { listen 127.0.0.1:1; } }".replace("@ ", lines + " ")
    (nginx, why), (sluice, why_too) = (config_errors(cls, text) for cls in (harness.Nginx, harness.Sluice))
    assert nginx == sluice == 1
    assert "maybe" in lines or why_too == why


def test_name_at_start(stack):
    for pair in (Pair(stack, """server { listen 127.0.0.1:@http@; set_real_ip_from localhost; real_ip_header X-Forwarded-For;
                                location / { proxy_pass http://@up@; proxy_set_header X-Seen $remote_addr; } }"""),):
        nginx, sluice = pair.ask("/", [("X-Forwarded-For", "192.0.2.1")])
        assert seen(nginx) == seen(sluice) == "192.0.2.1"
