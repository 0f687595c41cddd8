# SPDX-License-Identifier: BSD-2-Clause
"""HTTP/2: nginx and sluice on one file, asked the same by the same frames, must answer, pass on and log alike.

Where they differ on purpose (docs/nginx.md, "HTTP/2") the case stands in STRICTER, with both answers.
"""
import base64
import contextlib
import json
import re

import h2raw
import pytest
from h2raw import H2, Gone
from pair import Pair, mask, raw_answer

CONF = """
    log_format h2 '$request|$status|$http2|$server_protocol|$scheme|$host|$http_host|$request_method|$request_uri|$uri|$args|$content_length|$content_type|$http_cookie|$connection_requests|$http_te|$body_bytes_sent';
    access_log @dir@/h2.log h2;
    default_type text/plain;
    proxy_http_version 1.1;
    server {
        listen 127.0.0.1:@http@ http2;
        server_name localhost;
        large_client_header_buffers 4 2k;
        client_max_body_size 10000;
        underscores_in_headers off;
        location / { proxy_pass http://@up@; proxy_set_header Connection ""; }
        location /host { proxy_pass http://@up@; proxy_set_header Connection ""; proxy_set_header Host $http_host; proxy_set_header X-Host $host; }
        location /uri/ { proxy_pass http://@up@/other/; proxy_set_header Connection ""; }
        location /ret/200 { return 200 "$http2 $server_protocol $scheme $host $http_host $request_method $request_uri $args|"; }
        location /ret/204 { return 204; }
        location /ret/301 { return 301 /there; }
        location /ret/302 { return 302 http://else.test/; }
        location /ret/404 { return 404; }
        location /ret/444 { return 444; }
        location /ret/500 { return 500 oops; }
        location /add { add_header X-Add "$http2" always; add_header X-Two 1; add_header X-Two 2; return 200 x; }
        location /vars { return 200 "$http_x_a|$http_cookie|$cookie_a|$cookie_b|$content_length|$content_type|$http_te|$http_connection|$http_user_agent|$is_args|"; }
        location /dead { proxy_pass http://127.0.0.1:@dead@; }
        location /small { client_max_body_size 10; proxy_pass http://@up@; proxy_set_header Connection ""; }
        location /buffer-off { proxy_buffering off; proxy_pass http://@up@; proxy_set_header Connection ""; }
        location /request-off { proxy_request_buffering off; proxy_pass http://@up@; proxy_set_header Connection ""; }
        location /slash/ { proxy_pass http://@up@; proxy_set_header Connection ""; }
    }
    server {
        listen 127.0.0.1:@http@ http2;
        server_name other.test *.wild.test;
        return 200 "other $host $server_name";
    }
"""


@pytest.fixture(scope="module")
def pair():
    with contextlib.ExitStack() as stack:
        yield Pair(stack, CONF)


def x_raw(data):
    return ("x-raw", base64.b64encode(data).decode())


def shown(s, r):
    if not r.heads:
        return {"reset": r.reset, "ended": r.ended}
    fields = {}
    own = r.body.startswith((b"<html>\r\n<head><title>", b'{"error"'))
    for k, v in r.heads[-1].items():
        if own and k in ("content-type", "content-length"):
            continue
        fields[k] = "(date)" if k == "date" else mask(s, v)
    body = r.body.decode("latin-1")
    if own:
        body = "(its own page)"
    elif body.startswith('{"line"'):
        body = json.loads(body)
        # The order of fields is each proxy's own.
        body["headers"] = sorted([k.lower(), mask(s, v)] for k, v in body["headers"])
        fields.pop("content-length")
    else:
        body = mask(s, body)
    return {"fields": fields, "body": body, "ended": r.ended, "trailers": r.trailers}


def ask_one(s, body=None, declare=True, fields=(), path="/", method="GET", **kw):
    fields = list(fields)
    with H2(s.port, tls=False) as c:
        if body is not None and declare:
            fields.append(("content-length", str(len(body))))
        id = c.headers(fields, path, method, end=body is None, **kw)
        try:
            if body is not None:
                c.upload(id, body)
            return shown(s, c.answer(id))
        except Gone:
            return {"gone": c.goaway}


def ask(pair, **kw):
    return [ask_one(s, **kw) for s in pair.servers]


JSON_TYPE = [("content-type", "application/json")]
CASES = {
    "get": dict(path="/a"),
    "query": dict(path="/a?b=c&d"),
    "empty query": dict(path="/a?"),
    "escapes": dict(path="/a%20b%2Fc"),
    "dots": dict(path="/uri/a/../b/./c"),
    "double slash": dict(path="/uri//a"),
    "escaped dots": dict(path="/uri/%2e%2e/uri/x"),
    "colon": dict(path="/a:b;c,d"),
    "high bytes escaped": dict(path="/%c3%a4"),
    "plus": dict(path="/a+b?c+d"),
    "slash redirect": dict(path="/slash"),
    "slash redirect with query": dict(path="/slash?x=1"),
    "replaced": dict(path="/uri/x?y"),
    "other host": dict(authority="other.test"),
    "wild host": dict(authority="a.wild.test"),
    "upper host": dict(authority="OTHER.test"),
    "host with port": dict(authority="localhost:1234", path="/host"),
    "host with final dot": dict(authority="localhost.", path="/host"),
    "unknown host": dict(authority="nobody.test", path="/host"),
    "ip host": dict(authority="127.0.0.1", path="/host"),
    "ipv6 host": dict(authority="[::1]:80", path="/host"),
    "host without authority": dict(only=True, fields=[(":method", "GET"), (":scheme", "http"), (":path", "/host"), ("host", "localhost")]),
    "https scheme": dict(scheme="https", path="/ret/200"),
    "pseudo order": dict(only=True, fields=[(":path", "/a"), (":authority", "localhost"), (":scheme", "http"), (":method", "GET")]),
    "options": dict(method="OPTIONS", path="/a"),
    "delete": dict(method="DELETE", path="/a"),
    "patch": dict(method="PATCH", path="/a", body=b"x"),
    "put": dict(method="PUT", path="/a", body=b"xyz"),
    "propfind": dict(method="PROPFIND", path="/a"),
    "own method": dict(method="PURGE", path="/a"),
    "head": dict(method="HEAD", path="/a"),
    "head of return": dict(method="HEAD", path="/ret/200"),
    "trace": dict(method="TRACE", path="/a"),
    "one cookie": dict(fields=[("cookie", "a=1; b=2")]),
    "crumbs": dict(fields=[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]),
    "crumbs among others": dict(fields=[("cookie", "a=1"), ("x-a", "y"), ("cookie", "b=2")]),
    "crumbs in variables": dict(path="/vars", fields=[("cookie", "a=1"), ("cookie", "b=2")]),
    "field twice": dict(fields=[("x-a", "1"), ("x-a", "2")]),
    "empty value": dict(fields=[("x-a", "")]),
    "long value": dict(fields=[("x-a", "y" * 1500)]),
    "underscore": dict(fields=[("x_a", "1")]),
    "dot in name": dict(fields=[("x.a", "1")]),
    "value with tab": dict(fields=[("x-a", "a\tb")]),
    "value in utf-8": dict(fields=[("x-a", "\u00e4")]),
    "te trailers": dict(fields=[("te", "trailers")]),
    "te in variables": dict(path="/vars", fields=[("te", "trailers")]),
    "user agent": dict(path="/vars", fields=[("user-agent", "me/1")]),
    "referer": dict(fields=[("referer", "http://x.test/")]),
    "accept": dict(fields=[("accept", "text/html"), ("accept-language", "de"), ("accept-encoding", "gzip")]),
    "forwarded": dict(fields=[("x-forwarded-for", "1.2.3.4"), ("via", "2 x")]),
    "range": dict(fields=[("range", "bytes=0-1")]),
    "authorization": dict(fields=[("authorization", "Bearer x")]),
    "no body": dict(method="POST", path="/a"),
    "no body, length 0": dict(method="POST", path="/a", fields=[("content-length", "0")]),
    "empty body": dict(method="POST", path="/a", body=b""),
    "empty body undeclared": dict(method="POST", path="/a", body=b"", declare=False),
    "body": dict(method="POST", path="/a", body=b'{"x":1}', fields=JSON_TYPE),
    "body undeclared": dict(method="POST", path="/a", body=b'{"x":1}', declare=False, fields=JSON_TYPE),
    "body of 9999": dict(method="POST", path="/a", body=b"z" * 9999),
    "body of 9999 undeclared": dict(method="POST", path="/a", body=b"z" * 9999, declare=False),
    "body too large": dict(method="POST", path="/a", body=b"z" * 10001),
    "body too large undeclared": dict(method="POST", path="/a", body=b"z" * 10001, declare=False),
    "body too large for its place": dict(method="POST", path="/small", body=b"z" * 11),
    "body that just fits": dict(method="POST", path="/small", body=b"z" * 10),
    "body that is passed on": dict(method="POST", path="/request-off", body=b"z" * 9000),
    "body of get": dict(method="GET", path="/a", body=b"xyz"),
    "body to return": dict(method="POST", path="/ret/200", body=b"xyz"),
    "body variables": dict(method="POST", path="/vars", body=b"xyz", fields=JSON_TYPE),
    "return 200": dict(path="/ret/200?x=1"),
    "return 204": dict(path="/ret/204"),
    "return 301": dict(path="/ret/301"),
    "return 302": dict(path="/ret/302"),
    "return 404": dict(path="/ret/404"),
    "return 444": dict(path="/ret/444"),
    "return 500": dict(path="/ret/500"),
    "add_header": dict(path="/add"),
    "dead upstream": dict(path="/dead"),
    "content-type upper": dict(method="POST", path="/a", body=b"x", fields=[("content-type", "Text/HTML; charset=X")]),
    "answer 404": dict(fields=[x_raw(raw_answer([], b"gone", "404 Not Found"))]),
    "answer 503": dict(fields=[x_raw(raw_answer([("Retry-After", "3")], b"later", "503 Service Unavailable"))]),
    "answer 204": dict(fields=[x_raw(b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n")]),
    "answer 304": dict(fields=[x_raw(b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n")]),
    "answer chunked": dict(fields=[x_raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")]),
    "answer to the end": dict(fields=[x_raw(b"HTTP/1.0 200 OK\r\n\r\nabc"), ("x-end", "1")]),
    "answer with odd case": dict(fields=[x_raw(raw_answer([("X-MiXeD", "Value"), ("CONTENT-TYPE", "a/b")], b"x"))]),
    "answer with keep-alive": dict(fields=[x_raw(raw_answer([("Keep-Alive", "timeout=5"), ("Connection", "keep-alive"), ("X-A", "b")], b"x"))]),
    "answer with two cookies": dict(fields=[x_raw(raw_answer([("Set-Cookie", "a=1")], b"x"))]),
    "answer with empty field": dict(fields=[x_raw(raw_answer([("X-Empty", "")], b"x"))]),
    "answer empty": dict(fields=[x_raw(raw_answer([], b""))]),
    "answer of 5000": dict(fields=[x_raw(raw_answer([], b"y" * 1000))]),
    "answer unbuffered": dict(path="/buffer-off", fields=[x_raw(raw_answer([], b"y" * 1000))]),
    "answer to head": dict(method="HEAD", fields=[x_raw(raw_answer([], b"y" * 10)[:-10])]),
    "answer is cut": dict(fields=[x_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), ("x-end", "1")]),
    "answer with location": dict(fields=[x_raw(raw_answer([("Location", "http://x.test/y")], b"", "302 Found"))]),
    "upper name": dict(fields=[("X-Upper", "1")]),
    "no path": dict(only=True, fields=[(":method", "GET"), (":scheme", "http"), (":authority", "localhost")]),
    "no method": dict(only=True, fields=[(":path", "/"), (":scheme", "http"), (":authority", "localhost")]),
    "no scheme": dict(only=True, fields=[(":path", "/"), (":method", "GET"), (":authority", "localhost")]),
    "no authority": dict(only=True, fields=[(":path", "/"), (":method", "GET"), (":scheme", "http")]),
    "two methods": dict(fields=[(":method", "GET")]),
    "two schemes": dict(fields=[(":scheme", "http")]),
    "two paths": dict(fields=[(":path", "/")]),
    "unknown pseudo": dict(fields=[(":x", "y")]),
    "empty path": dict(path=""),
    "path without slash": dict(path="a"),
    "path with NUL": dict(path="/a\0"),
    "path above root": dict(path="/../a"),
    "path with bad escape": dict(path="/a%zz"),
    "empty method": dict(method=""),
    "method with space": dict(method="A B"),
    "bad host": dict(authority="a b"),
    "empty authority": dict(authority=""),
    "value with NUL": dict(fields=[("x-a", "a\0b")]),
    "value with LF": dict(fields=[("x-a", "a\nb")]),
    "field too long": dict(fields=[("x-a", "y" * 3000)]),
    "fields too long together": dict(fields=[(f"x-{i}", "y" * 1900) for i in range(6)]),
    "less body than declared": dict(method="POST", path="/a", fields=[("content-length", "5")], body=b"abc", declare=False),
    "more body than declared": dict(method="POST", path="/a", fields=[("content-length", "2")], body=b"abc", declare=False),
    "two lengths": dict(method="POST", path="/a", fields=[("content-length", "3"), ("content-length", "3")], body=b"abc", declare=False),
    "bad length": dict(method="POST", path="/a", fields=[("content-length", "3x")], body=b"abc", declare=False),
}


def outcome(shown):
    if "fields" in shown:
        return int(shown["fields"][":status"])
    return "gone" if "gone" in shown else "reset"


@pytest.mark.parametrize("name", CASES)
def test_alike(pair, name):
    nginx, sluice = ask(pair, **CASES[name])
    if outcome(nginx) in (400, "reset", "gone") and "return" not in name:
        # Malformed: RFC 9113 has it a reset, with or without an answer before it.
        assert outcome(sluice) in (400, "reset")
        return
    assert sluice == nginx


def test_host_beside_an_equal_authority(pair):
    """RFC 9113 8.3.1 has it; nginx 1.22 refuses it."""
    assert outcome(ask_one(pair.sluice, path="/host", fields=[("host", "localhost")])) == 200


REFUSED = {
    "host differs": dict(fields=[("host", "evil.test")]),
    "absolute path": dict(path="http://localhost/a"),
    "connection": dict(fields=[("connection", "close")]),
    "keep-alive": dict(fields=[("keep-alive", "1")]),
    "upgrade": dict(fields=[("upgrade", "x")]),
    "transfer-encoding": dict(fields=[("transfer-encoding", "chunked")]),
    "te gzip": dict(fields=[("te", "gzip")]),
    "leading space": dict(fields=[("x-a", " b")]),
    "trailing space": dict(fields=[("x-a", "b ")]),
    "control byte": dict(fields=[("x-a", "a\x01b")]),
    "two authorities": dict(fields=[(":authority", "localhost")]),
    "late pseudo": dict(only=True, fields=[(":method", "GET"), ("x", "y"), (":path", "/"), (":scheme", "http"), (":authority", "localhost")]),
    "scheme ftp": dict(scheme="ftp"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_stricter_than_nginx(pair, name):
    """nginx 1.22 lets some of these through; none of them reaches an upstream here."""
    before = len(pair.up.seen)
    assert outcome(ask_one(pair.sluice, **REFUSED[name])) in (400, "reset")
    assert len(pair.up.seen) == before


LOGGED = {
    "get": dict(path="/ret/200?log=get"),
    "proxied": dict(path="/log=proxied"),
    "post": dict(method="POST", path="/a?log=post", body=b"abc", fields=JSON_TYPE),
    "crumbs": dict(path="/a?log=crumbs", fields=[("cookie", "a=1"), ("cookie", "b=2")]),
    "te": dict(path="/a?log=te", fields=[("te", "trailers")]),
    "host": dict(path="/host?log=host", authority="localhost:99"),
    "other": dict(path="/host?log=other", authority="OTHER.test"),
    "head": dict(method="HEAD", path="/a?log=head"),
    "return 204": dict(path="/ret/204?log=204"),
    "return 444": dict(path="/ret/444?log=444"),
    "escapes": dict(path="/a%20b?log=esc"),
}


@pytest.mark.parametrize("name", LOGGED)
def test_logged_alike(pair, name):
    ask(pair, **LOGGED[name])
    mark = re.search(r"log=\w+", LOGGED[name]["path"])[0]
    lines = [next((x for x in reversed(log_of(s)) if mark in x), None) for s in pair.servers]
    nginx, sluice = (mask(s, x).split("|") for s, x in zip(pair.servers, lines))
    if name not in ("return 204", "head", "return 444"):
        # What upstreams and pages are long differs; framing counts in both.
        assert int(nginx.pop()) > 0 and int(sluice.pop()) > 0
    assert sluice == nginx


def log_of(s):
    from harness import until
    path = s.dir / "h2.log"
    return until(lambda: path.read_text().splitlines() if path.exists() and path.stat().st_size else None)


FRAMES = {
    "data on stream 0": (h2raw.DATA, 0, 0, b"x"),
    "data on idle stream": (h2raw.DATA, 1, 1, b"x"),
    "headers on stream 0": (h2raw.HEADERS, 5, 0, b"\x82"),
    "headers on even stream": (h2raw.HEADERS, 5, 2, b"\x82\x86\x84\x41\x01a"),
    "continuation alone": (h2raw.CONTINUATION, 4, 1, b"\x82"),
    "push promise": (h2raw.PUSH, 4, 1, b"\0\0\0\2\x82"),
    "rst on stream 0": (h2raw.RST, 0, 0, b"\0\0\0\0"),
    "rst of 3 bytes": (h2raw.RST, 0, 1, b"\0\0\0"),
    "settings of 5 bytes": (h2raw.SETTINGS, 0, 0, b"12345"),
    "settings ack with payload": (h2raw.SETTINGS, 1, 0, b"123456"),
    "settings with frame size 1": (h2raw.SETTINGS, 0, 0, b"\0\5\0\0\0\1"),
    "settings with window 2^31": (h2raw.SETTINGS, 0, 0, b"\0\4\x80\0\0\0"),
    "ping of 7 bytes": (h2raw.PING, 0, 0, b"1234567"),
    "window update of 0": (h2raw.WINDOW, 0, 0, b"\0\0\0\0"),
    "window update of 3 bytes": (h2raw.WINDOW, 0, 0, b"\0\0\1"),
    "window overflow": (h2raw.WINDOW, 0, 0, b"\x7f\xff\xff\xff"),
    "priority of 4 bytes": (h2raw.PRIORITY, 0, 1, b"\0\0\0\0"),
    "padding too long": (h2raw.HEADERS, 0xd, 1, b"\xff\x82"),
    "bad hpack index": (h2raw.HEADERS, 5, 1, b"\xff\xff\xff\x7f"),
    "hpack table too large": (h2raw.HEADERS, 5, 1, b"\x3f\xe1\xff\x03\x82"),
    "frame over 16384": (h2raw.DATA, 0, 1, b"x" * 16385),
}


NGINX_IGNORES = {"data on idle stream", "frame over 16384"}


@pytest.mark.parametrize("name", FRAMES)
def test_broken_frames_end_the_connection(pair, name):
    """Both say GOAWAY; which of the codes that the RFC allows is theirs to choose."""
    for s in [pair.sluice] if name in NGINX_IGNORES else pair.servers:
        with H2(s.port, tls=False) as c:
            c.wait(lambda c=c: c.settings)
            c.frame(*FRAMES[name])
            codes = c.end()
            assert codes and codes[-1] != "NO_ERROR"


@pytest.mark.parametrize("fields", [{3: 1, 4: 10}, {1: 0}, {2: 0}, {5: 16777215}, {6: 100}, {0x42: 1}])
def test_settings_of_clients(pair, fields):
    got = []
    for s in pair.servers:
        with H2(s.port, tls=False, settings=fields) as c:
            if 4 in fields:
                id = c.headers(path="/ret/200")
                c.wait(lambda c=c, id=id: c.stream(id).heads)
                c.window(id, 1000)
                got.append(shown(s, c.answer(id)))
            else:
                got.append(shown(s, c.get("/ret/200")))
    assert got[0] == got[1]


def test_many_on_one_connection(pair):
    for s in pair.servers:
        with H2(s.port, tls=False) as c:
            ids = [c.headers(path=f"/n{i}") for i in range(60)]
            for i, id in enumerate(ids):
                assert f"/n{i}" in c.answer(id).json()["line"]


def test_pings_are_answered(pair):
    for s in pair.servers:
        with H2(s.port, tls=False) as c:
            c.ping(b"abcdefgh")
            c.wait(lambda c=c: c.pings)
            assert c.pings == [b"abcdefgh"]
