# SPDX-License-Identifier: BSD-2-Clause
"""One file, Debian's nginx and sluice: both must answer alike. What docs/nginx.md says differs is masked, by name."""
import collections
import contextlib
import json
import re
import threading
import time

import harness
import pytest
from harness import Closed, Conn, build, free_port

CONF = r"""
    default_type text/plain;
    proxy_http_version 1.1;
    @logs@
    add_header X-Http outer;
    large_client_header_buffers 4 8k;

    upstream group { server @mock@; }

    # --- locations
    server {
        listen 127.0.0.1:@http@ default_server;
        server_name first.test "";
        location / { return 200 "root $uri\n"; }
        location /pre { return 200 "pre"; }
        location /pre/longer { return 200 "longer"; }
        location = /pre/exact { return 200 "exact"; }
        location ^~ /caret/ { return 200 "caret"; }
        location /outer { return 200 "outer"; location /outer/inner { return 200 "inner"; } }
        location /nest { proxy_pass http://@mock@/echo; location = /nest/one { return 200 one; }
                         location /nest/two/ { location /nest/two/deep { return 200 deep; } return 200 two; } }
        location = /ret/204 { return 204; }
        location = /ret/301 { return 301 http://else.test/x?a=b; }
        location = /ret/302 { return 302 /local/path; }
        location = /ret/303 { return 303 $scheme://$host$request_uri; }
        location = /ret/307 { return 307 /seven?$args; }
        location = /ret/308 { return 308 https://$host/; }
        location = /ret/url { return http://else.test/only; }
        location = /ret/https { return https://else.test/$arg_x; }
        location = /ret/404 { return 404; }
        location = /ret/404t { return 404 "nothing here\n"; }
        location = /ret/403 { return 403; }
        location = /ret/418 { return 418 "tea: $arg_a $request_method"; }
        location = /ret/500 { return 500; }
        location = /ret/503t { return 503 later; }
        location = /ret/444 { return 444; }
        location = /ret/200 { return 200; }
        location = /ret/empty { return 200 ""; }
        location = /ret/html { default_type text/html; return 200 "<b>"; }
        location = /ret/json { default_type application/json; return 200 '{"a":"$arg_a"}'; }
        location = /ret/esc { return 200 "a\tb\"c\\d\n"; }
        location = /ret/vars { return 200 "$host|$uri|$request_uri|$args|$is_args|$arg_a|$arg_B|$cookie_c|$http_x_y|$request_method|$scheme|$server_name|$remote_addr|$remote_user|$server_protocol|$content_length|$content_type|$http_host|$query_string|$document_uri|$http_user_agent|"; }
        location /ret/cookie { return 200 "$cookie_a,$cookie_b,$cookie_long_name"; }
    }

    # --- server_name
    server { listen 127.0.0.1:@http@; server_name exact.test other.test; return 200 "exact $server_name $host"; }
    server { listen 127.0.0.1:@http@; server_name *.wild.test; return 200 "lead $server_name"; }
    server { listen 127.0.0.1:@http@; server_name *.sub.wild.test; return 200 "longer lead $server_name"; }
    server { listen 127.0.0.1:@http@; server_name trail.*; return 200 "trail $server_name"; }
    server { listen 127.0.0.1:@http@; server_name .dot.test; return 200 "dot $server_name"; }
    server { listen 127.0.0.1:@http@; server_name x.wild.test; return 200 "exact before wild"; }
    server { listen 127.0.0.1:@http@; server_name trail.wild.test2 UPPER.test; return 200 "upper $host"; }
    server { listen 127.0.0.1:@two@; server_name one.two; return 200 "implicit default of two"; }
    server { listen 127.0.0.1:@two@; server_name two.two; return 200 "two two"; }

    # --- fields of answers
    server {
        listen 127.0.0.1:@http@;
        server_name headers.test;
        location /inherit { return 200 x; }
        location /own { add_header X-Own "v $arg_a"; return 200 x; }
        location /two { add_header X-A 1; add_header X-A 2; return 200 x; }
        location /empty { add_header X-Empty $arg_none; add_header X-Full f; return 200 x; }
        location /always/ { add_header X-Always a always; add_header X-Only-Good g; return 404 gone; }
        location /codes/201 { add_header X-On y; return 201 x; }
        location /codes/204 { add_header X-On y; return 204; }
        location /codes/206 { add_header X-On y; return 206 x; }
        location /codes/301 { add_header X-On y; return 301 http://a.test/; }
        location /codes/400 { add_header X-On y; return 400 x; }
        location /codes/500 { add_header X-On y; add_header X-Al y always; return 500; }
        location /proxied { add_header X-Up "$upstream_status $upstream_http_x_mock_name"; proxy_pass http://@mock@/echo; }
        location /date { add_header Cache-Control no-store; return 200 x; }
        location /nested { add_header X-Lev one; location /nested/in { add_header X-Lev two; return 200 x; } return 200 x; }
        location /nested2 { add_header X-Lev one; location /nested2/in { return 200 x; } return 200 x; }
    }

    # --- proxy_pass
    server {
        listen 127.0.0.1:@http@;
        server_name proxy.test;
        proxy_set_header X-Server s;
        location / { proxy_pass http://@mock@; }
        location /a/ { proxy_pass http://@mock@/echo/; }
        location /b { proxy_pass http://@mock@/echo; }
        location /c { proxy_pass http://@mock@/echo/; }
        location = /d { proxy_pass http://@mock@/echo/d?x=y; }
        location /e/ { proxy_pass http://@mock@/echo/$arg_p/$uri; }
        location /f/ { proxy_pass http://@mock@/echo$request_uri; }
        location /g/ { proxy_pass http://group/echo/; }
        location /h/ { proxy_pass http://@mock@; proxy_set_header X-Own o; }
        location /i/ { proxy_pass http://@mock@/echo/; proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;
                       proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header Connection ""; }
        location /j/ { proxy_pass http://@mock@/echo/; proxy_set_header Accept-Encoding ""; proxy_set_header X-None $arg_none; }
        location /k/ { proxy_pass http://@mock@/echo/; proxy_pass_request_headers off; }
        location /l/ { proxy_pass http://@mock@/echo/; proxy_hide_header X-Hide; proxy_pass_header Server; }
        location /m/ { proxy_pass http://@mock@/echo/; proxy_http_version 1.0; }
        location /n { location /n/in/ { proxy_pass http://@mock@/echo/; } proxy_pass http://@mock@/echo/out; }
        location /slash/ { proxy_pass http://@mock@/echo/; }
        location /bytes { proxy_pass http://@mock@; }
        location /chunked { proxy_pass http://@mock@; }
        location /small/ { client_max_body_size 10; proxy_pass http://@mock@/echo/; }
        location /nolimit/ { client_max_body_size 0; proxy_pass http://@mock@/echo/; }
        location /smallret/ { client_max_body_size 10; return 200 fine; }
        location /dead/ { proxy_pass http://127.0.0.1:@dead@; }
        location /slow/ { proxy_read_timeout 300ms; proxy_pass http://@mock@/echo/; }
    }
"""

ALIASES = {"default": "first.test"}
ERROR_PAGE = re.compile(rb"<html>\r\n<head><title>\d{3} ")
Case = collections.namedtuple("Case", "id raw method n")


def case(name, target="/", host="first.test", headers=(), method="GET", body=None, version="1.1"):
    fields = list(headers.items() if isinstance(headers, dict) else headers)
    return Case(name, build(method, target, fields, body, host, version), (method,), 1)


def raw(name, text, method="GET", n=1):
    """Bytes as they are; N answers are read, of which METHOD says whether they have bodies."""
    return Case(name, text.encode("latin-1") if isinstance(text, str) else text, (method,) * n, n)


def on(host, cases):
    return [case(f"{host.split('.')[0]} {name}", target, host, **dict(kw)) for name, target, *rest in cases
            for kw in [rest[0] if rest else {}]]


LOCATIONS = [case(f"location {t}", t) for t in (
    "/", "/x", "/pre", "/prefix", "/pre/long", "/pre/longer", "/pre/longer/still", "/pre/exact", "/pre/exact/", "/PRE",
    "/caret", "/caret/", "/caret/x", "/outer", "/outer/x", "/outer/inner", "/outer/innermost", "/nest/one", "/nest/x?q=1",
    "/nest/two", "/nest/two/", "/nest/two/deep/er", "//pre", "/a/../pre", "/a/./b", "/%70re", "/pre%2flonger",
    "/pre?longer=/x", "/x/%2e%2e/pre", "/a//b///c", "/pre/../../x", "/..", "/%", "/%zz", "/%00", "/a%20b", "/a+b",
    "/a%3Fb", "/x#frag", "/?a=1&b=2", "/x?", "/?%zz", "/%E2%82%AC", "/caf\xe9")]
RETURNS = [case(f"return {t}", t, headers={"Cookie": "c=1; a=x; b=\"q\"; long_name=n", "X-Y": "why",
                                           "Authorization": "Basic dTpw", "User-Agent": "ua"}) for t in (
    "/ret/204", "/ret/301", "/ret/302", "/ret/303?q=1", "/ret/307?q=1&r", "/ret/308", "/ret/url", "/ret/https?x=%20y",
    "/ret/404", "/ret/404t", "/ret/403", "/ret/418?a=b%20c", "/ret/500", "/ret/503t", "/ret/444", "/ret/200",
    "/ret/empty", "/ret/html", "/ret/json?a=%22", "/ret/esc", "/ret/vars", "/ret/vars?a=1&b=2&A=3",
    "/ret/vars?a&B=x", "/ret/vars?&&a==b", "/ret/cookie")]
RETURNS += [
    case("return HEAD of text", "/ret/418?a=1", method="HEAD"), case("return HEAD of 204", "/ret/204", method="HEAD"),
    case("return HEAD of 404", "/ret/404", method="HEAD"), case("return HEAD of 301", "/ret/301", method="HEAD"),
    case("return POST with body", "/ret/418", method="POST", body="some body"),
    case("return OPTIONS", "/ret/418", method="OPTIONS"), case("return DELETE", "/ret/418", method="DELETE"),
    case("return PURGE", "/ret/418", method="PURGE"),
    case("two cookie fields", "/ret/cookie", headers=[("Cookie", "a=1"), ("Cookie", "b=2")]),
    case("cookie without spaces", "/ret/cookie", headers=[("Cookie", "x=0;a=1;b=2")]),
    case("cookie names are not parts", "/ret/cookie", headers=[("Cookie", "aa=1; a=2; xb=3")]),
]
NAMES = [case(f"server_name for {h}", "/", h) for h in (
    "exact.test", "EXACT.Test", "other.test", "exact.test:1234", "exact.test.", "a.wild.test", "a.b.wild.test",
    "wild.test", "a.sub.wild.test", "x.wild.test", "trail.com", "trail.co.uk", "trail.wild.test", "dot.test", "a.dot.test",
    "a.b.dot.test", "adot.test", "upper.test", "unknown.test", "127.0.0.1", "[::1]", "[::1]:80", "first.test")]
NAMES += [raw("server_name of an absolute target", "GET http://exact.test/abs HTTP/1.1\r\nHost: first.test\r\n\r\n"),
          raw("server_name without Host on 1.0", "GET / HTTP/1.0\r\n\r\n"),
          raw("server_name with Host on 1.0", "GET / HTTP/1.0\r\nHost: other.test\r\n\r\n"),
          raw("empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n")]
FIELDS = on("headers.test", [(t, t) for t in (
    "/inherit", "/own?a=1", "/two", "/empty", "/always/", "/codes/201", "/codes/204", "/codes/206", "/codes/301",
    "/codes/400", "/codes/500", "/proxied", "/date", "/nested", "/nested/in", "/nested2", "/nested2/in", "/absent")])
FIELDS += on("headers.test", [("HEAD", "/own?a=1", {"method": "HEAD"}),
                              ("proxied 404", "/proxied", {"headers": {"X-Mock-Status": "404"}}),
                              ("proxied 500", "/proxied", {"headers": {"X-Mock-Status": "500"}})])
MAPPING = on("proxy.test", [(f"mapping {t}", t) for t in (
    "/echo/plain?a=b&c", "/echo/%41%2f%20?x=%20", "/echo/a/../b//c", "/echo/?", "/a/x", "/a/x%20y?q=%20", "/a/x%2Fy",
    "/a/%3F%23%25", "/a/x/../y", "/a/", "/a//x", "/a/a%2Bb+c", "/a/%C3%A9", "/a/%7Euser~", "/a/x;y=1,2", "/a/\"q\"",
    "/b", "/bx", "/b/x", "/b?only=args", "/c", "/cx", "/c/x", "/d", "/d?q=1", "/e/x?p=1", "/f/x%20?y=%20", "/g/x",
    "/n/in/x", "/n/y", "/n", "/slash", "/slash?a=b", "/slash/", "/a/%0a", "/a/%09t", "/a/%7F", "/a/caf\xe9")])
PROXY = on("proxy.test", [
    ("default fields", "/a/", {"headers": {"X-One": "1", "User-Agent": "ua", "Accept": "*/*"}}),
    ("inherited set_header", "/a/"), ("own set_header ends inheritance", "/h/echo"),
    ("set_header", "/i/", {"headers": {"X-Real-IP": "9.9.9.9", "X-Forwarded-For": "1.2.3.4, 5.6.7.8"}}),
    ("forwarded for nobody", "/i/"), ("removed fields", "/j/", {"headers": {"Accept-Encoding": "gzip"}}),
    ("no request fields", "/k/", {"headers": {"X-One": "1"}, "method": "POST", "body": "abc"}),
    ("upstream by 1.0", "/m/"), ("repeated fields", "/a/", {"headers": [("X-A", "1"), ("X-A", "2")]}),
    ("hop-by-hop fields", "/i/", {"headers": {"Connection": "keep-alive", "Keep-Alive": "300", "TE": "trailers",
                                               "Upgrade": "foo", "Proxy-Connection": "keep-alive"}}),
    ("POST", "/a/p", {"method": "POST", "body": "x=1", "headers": {"Content-Type": "a/b"}}),
    ("POST of nothing", "/a/p", {"method": "POST", "body": ""}), ("PUT", "/a/p", {"method": "PUT", "body": "x" * 70000}),
    ("DELETE with a body", "/a/p", {"method": "DELETE", "body": "x"}), ("OPTIONS", "/a/p", {"method": "OPTIONS"}),
    ("chunked request", "/a/p", {"method": "POST", "body": "4\r\nwiki\r\n5;ext=1\r\npedia\r\n0\r\nTr: x\r\n\r\n",
                                 "headers": {"Transfer-Encoding": "chunked"}}),
    ("HEAD", "/bytes/1000", {"method": "HEAD"}), ("bytes", "/bytes/100000"), ("chunks", "/chunked/100000"),
    ("chunks to 1.0", "/chunked/5000", {"version": "1.0"}), ("bytes to 1.0", "/bytes/5000", {"version": "1.0"}),
    ("204", "/a/", {"headers": {"X-Mock-Status": "204"}}), ("304", "/a/", {"headers": {"X-Mock-Status": "304"}}),
    ("404 of the upstream", "/a/", {"headers": {"X-Mock-Status": "404"}}),
    ("503 of the upstream", "/a/", {"headers": {"X-Mock-Status": "503", "X-Mock-Retry-After": "7"}}),
    ("hidden fields", "/l/", {"headers": [("X-Mock-Add-Header", "X-Hide: 1"), ("X-Mock-Add-Header", "X-Show: 2"),
                                           ("X-Mock-Add-Header", "X-Accel-Foo: 3"),
                                           ("X-Mock-Add-Header", "X-Pad: 4")]}),
    ("Server of the upstream", "/l/", {"headers": [("X-Mock-Add-Header", "Server: theirs")]}),
    ("Server is ours", "/a/", {"headers": [("X-Mock-Add-Header", "Server: theirs")]}),
    ("Set-Cookie twice", "/a/", {"headers": [("X-Mock-Add-Header", "Set-Cookie: a=1"),
                                              ("X-Mock-Add-Header", "Set-Cookie: b=2")]}),
    ("answer by 1.0", "/a/", {"headers": {"X-Mock-Fault": "http10-close"}}),
    ("dead upstream", "/dead/"), ("silent upstream", "/slow/", {"headers": {"X-Mock-Fault": "stall-before-head"}}),
    ("broken status", "/a/", {"headers": {"X-Mock-Fault": "garbage-status"}}),
    ("body within the limit", "/small/", {"method": "POST", "body": "0123456789"}),
    ("body over the limit", "/small/", {"method": "POST", "body": "0123456789a"}),
    ("body without limit", "/nolimit/", {"method": "POST", "body": "x" * 1500000}),
    ("body over the limit and return", "/smallret/", {"method": "POST", "body": "0123456789a"}),
    ("body over the default limit", "/a/", {"method": "POST", "headers": {"Content-Length": "1048577"}}),
    ("chunks over the limit", "/small/", {"method": "POST", "body": "b\r\n0123456789a\r\n0\r\n\r\n",
                                          "headers": {"Transfer-Encoding": "chunked"}}),
])
H = "Host: first.test\r\n"
REFUSED = [raw(f"refused: {name}", text) for name, text in {
    "no Host": "GET / HTTP/1.1\r\n\r\n", "two Hosts": f"GET / HTTP/1.1\r\n{H}{H}\r\n",
    "bad Host": "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "Host of a dot twice": "GET / HTTP/1.1\r\nHost: a..b\r\n\r\n",
    "lower method": f"get / HTTP/1.1\r\n{H}\r\n", "no target": f"GET HTTP/1.1\r\n{H}\r\n",
    "relative target": f"GET x HTTP/1.1\r\n{H}\r\n", "HTTP/2.0": f"GET / HTTP/2.0\r\n{H}\r\n",
    "HTTP/1.9": f"GET / HTTP/1.9\r\n{H}\r\n", "HTTP/11": f"GET / HTTP/11\r\n{H}\r\n",
    "no version digits": f"GET / HTTP/x.y\r\n{H}\r\n", "other protocol": f"GET / HTPP/1.1\r\n{H}\r\n",
    "TLS on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 32 + b"\r\n\r\n",
    "binary": b"\x00\x01\x02\x03\r\n\r\n",
    "bad length": f"POST / HTTP/1.1\r\n{H}Content-Length: x\r\n\r\n",
    "negative length": f"POST / HTTP/1.1\r\n{H}Content-Length: -1\r\n\r\n",
    "length twice": f"POST / HTTP/1.1\r\n{H}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "two lengths": f"POST / HTTP/1.1\r\n{H}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "huge length": f"POST / HTTP/1.1\r\n{H}Content-Length: 99999999999999999999999\r\n\r\n",
    "length and chunks": f"POST / HTTP/1.1\r\n{H}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: gzip\r\n\r\n",
    "TRACE": f"TRACE / HTTP/1.1\r\n{H}\r\n", "CONNECT": f"CONNECT a.test:443 HTTP/1.1\r\n{H}\r\n",
    "NUL in a value": f"GET / HTTP/1.1\r\n{H}X: a\0b\r\n\r\n", "NUL in the target": f"GET /a\0b HTTP/1.1\r\n{H}\r\n",
    "long target": f"GET /{'a' * 9000} HTTP/1.1\r\n{H}\r\n", "long field": f"GET / HTTP/1.1\r\n{H}X: {'a' * 9000}\r\n\r\n",
    "long head": f"GET / HTTP/1.1\r\n{H}" + "".join(f"X{i}: {'a' * 7000}\r\n" for i in range(6)) + "\r\n",
    "above the root": f"GET /../etc HTTP/1.1\r\n{H}\r\n",
}.items()]
CONNECTIONS = [
    raw("keep-alive by default", f"GET /pre HTTP/1.1\r\n{H}\r\n" * 2, n=2),
    raw("close", f"GET /pre HTTP/1.1\r\n{H}Connection: close\r\n\r\n"),
    raw("close in a list", f"GET /pre HTTP/1.1\r\n{H}Connection: foo, Close\r\n\r\n"),
    raw("1.0 closes", f"GET /pre HTTP/1.0\r\n{H}\r\n"),
    raw("1.0 keep-alive", f"GET /pre HTTP/1.0\r\n{H}Connection: keep-alive\r\n\r\n" * 2, n=2),
    raw("pipelined", f"GET /pre HTTP/1.1\r\n{H}\r\nGET /caret/ HTTP/1.1\r\n{H}\r\nGET /nope HTTP/1.1\r\n{H}\r\n", n=3),
    raw("pipelined after a body", f"POST /pre HTTP/1.1\r\n{H}Content-Length: 4\r\n\r\nbodyGET /x HTTP/1.1\r\n{H}\r\n", n=2),
    raw("pipelined HEAD", f"HEAD /pre HTTP/1.1\r\n{H}\r\n" * 2, "HEAD", n=2),
    raw("404 keeps alive", f"GET /ret/404 HTTP/1.1\r\n{H}\r\n" * 2, n=2),
    raw("500 of return", f"GET /ret/500 HTTP/1.1\r\n{H}\r\n", n=1),
    raw("empty lines first", f"\r\nGET /pre HTTP/1.1\r\n{H}\r\n"),
    raw("many spaces in values", f"GET /ret/vars HTTP/1.1\r\n{H}X-Y:   a  b  \r\n\r\n"),
    raw("no space in fields", "GET /ret/vars HTTP/1.1\r\nHost:first.test\r\nX-Y:z\r\n\r\n"),
    raw("empty value", f"GET /ret/vars HTTP/1.1\r\n{H}X-Y:\r\n\r\n"),
    raw("cases of names", "GET /ret/vars HTTP/1.1\r\nhOST: first.test\r\nx-Y: z\r\n\r\n"),
    raw("absolute target", "GET http://first.test/ret/vars?a=1 HTTP/1.1\r\nHost: first.test\r\n\r\n"),
    raw("absolute target without path", "GET http://first.test HTTP/1.1\r\nHost: first.test\r\n\r\n"),
    raw("expect", f"POST /pre HTTP/1.1\r\n{H}Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"),
]
CASES = LOCATIONS + RETURNS + NAMES + FIELDS + MAPPING + PROXY + REFUSED + CONNECTIONS


class Both:
    """nginx and sluice on CONF, with the same mock-llm behind both."""

    def __init__(self, stack, conf, **values):
        self.mock = harness.Mock()
        stack.callback(self.mock.stop)
        self.dead = free_port()
        self.servers = []
        for cls in (harness.Nginx, harness.Sluice):
            v = {"http": free_port(), "two": free_port(), "mock": self.mock.addr, "dead": self.dead, "logs": "", **values}
            s = cls(conf, v, main="worker_processes 1;")
            s.port, s.two = v["http"], v["two"]
            stack.enter_context(s)
            self.servers.append(s)

    def ask(self, c, port=None):
        return [answer(s, c, port(s) if port else s.port) for s in self.servers]


@pytest.fixture(scope="module")
def both():
    with contextlib.ExitStack() as stack:
        yield Both(stack, CONF)


def answer(s, c, port):
    """What came for C, in a form in which the two can be compared."""
    with Conn(port) as conn:
        conn.send(c.raw)
        out = []
        try:
            for method in c.method:
                r = conn.head()
                while r.status == 100:
                    out.append(100)
                    r = conn.head()
                conn.body(r, method)
                out.append(r)
        except (Closed, ConnectionError):
            out.append("closed")
        last = next((r for r in reversed(out) if isinstance(r, harness.Response)), None)
        end = "" if last is None else conn.end(0.05)[0]
        return [plain(s, r) if isinstance(r, harness.Response) else r for r in out] + [end and end != "open"]


def plain(s, r):
    fields, body = list(r.headers), r.body
    # sluice's own errors are JSON, nginx's HTML: docs/nginx.md, "Errors of sluice itself".
    is_own_error = bool(ERROR_PAGE.match(body)) or b'"error"' in body and r.header("x-mock-name") is None
    if is_own_error or 300 <= r.status and r.header("x-mock-name") is None and r.header("Content-Type") in (
            "text/html", "application/json"):
        body = b"(its own error)"
        fields = [(k, v) for k, v in fields if k.lower() not in ("content-type", "content-length")]
    out = collections.defaultdict(list)
    for k, v in fields:
        k = k.lower()
        if k == "server":
            v = re.sub(r"nginx(/[\d.]+)?|sluice(/[\d.]+)?", "(server)", v)   # who it is
        if k == "date":
            v = "(date)"
        out[k].append(v.replace(str(s.port), "PORT"))
    return {"version": r.version, "status": r.status, "fields": dict(out), "body": body_of(s, body)}


def body_of(s, body):
    if not body.startswith(b'{"name":') and b'"body_sha256"' not in body:
        return body.replace(str(s.port).encode(), b"PORT")
    seen = json.loads(body)
    for volatile in ("connection", "request"):
        seen.pop(volatile, None)
    # nginx 1.22 sends "Connection: close" unless told otherwise: docs/nginx.md, "Upstreams".
    seen["headers"] = sorted([k.lower(), v] for k, v in seen["headers"] if k.lower() != "connection")
    return seen


@pytest.mark.parametrize("c", CASES, ids=[c.id for c in CASES])
def test_alike(both, c):
    nginx, sluice = both.ask(c)
    assert sluice == nginx
