# SPDX-License-Identifier: BSD-2-Clause
"""One file, Debian's nginx and sluice: both must answer alike. What docs/nginx.md says differs is masked, by name."""
import contextlib
import json
import re
import threading
import time

import harness
import pytest
from alike import Both, answer, case, on, raw
from harness import Conn, build

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
    server { listen 127.0.0.1:@http@; server_name Mixed.Test .More.Test; return 200 "$server_name $host"; }
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
    "a.b.dot.test", "adot.test", "upper.test", "MIXED.test", "a.more.test", "unknown.test",
    "127.0.0.1", "[::1]", "[::1]:80", "first.test")]
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
                                               "Upgrade": "foo"}}),
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
    ("Server of the upstream", "/l/"), ("Server is ours", "/a/"),
    ("Set-Cookie twice", "/a/", {"headers": [("X-Mock-Add-Header", "Set-Cookie: a=1"),
                                              ("X-Mock-Add-Header", "Set-Cookie: b=2")]}),
    ("answer by 1.0", "/a/", {"headers": {"X-Mock-Fault": "http10-close"}}),
    ("dead upstream", "/dead/"), ("silent upstream", "/slow/", {"headers": {"X-Mock-Fault": "stall-before-head"}}),
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
    "unknown coding before chunks": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
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
]
CASES = LOCATIONS + RETURNS + NAMES + FIELDS + MAPPING + PROXY + REFUSED + CONNECTIONS


@pytest.fixture(scope="module")
def both():
    with contextlib.ExitStack() as stack:
        yield Both(stack, CONF)


# Where sluice answers otherwise on purpose: its status, and why (docs/nginx.md).
OTHERWISE = {
    "location /x#frag": (400, "a target has no fragment (RFC 9112, 3.2)"),
    "proxy mapping /a/%0a": (400, "an escaped control byte is a malformed escape"),
    "proxy mapping /a/%09t": (400, "an escaped control byte is a malformed escape"),
    "proxy mapping /a/%7F": (400, "an escaped control byte is a malformed escape"),
    "refused: HTTP/11": (400, "not a version at all (RFC 9112, 2.3); nginx: 505"),
    "refused: unknown coding": (400, "Transfer-Encoding that does not end in chunked"),
    "refused: CONNECT": (405, "TRACE and CONNECT get 405"),
}


@pytest.mark.parametrize("c", CASES, ids=[c.id for c in CASES])
def test_alike(both, c):
    if c.id in OTHERWISE:
        sluice = answer(both.servers[1], c, both.servers[1].port)
        assert sluice[0]["status"] == OTHERWISE[c.id][0]
        return
    (*nginx, nginx_ended), (*sluice, sluice_ended) = both.ask(c)
    assert sluice == nginx
    if c.id == "refused: TRACE" or nginx[-1] == "closed":
        return
    if nginx_ended or "close" not in nginx[-1]["fields"].get("connection", ()):
        assert sluice_ended == nginx_ended   # nginx may linger, reading, after its last answer


def test_expect_alike(both):
    """A client that waits before it sends its body."""
    for s in both.servers:
        with Conn(s.port) as c:
            c.send(build("POST", "/a/p", {"Expect": "100-continue", "Content-Length": "2"}, host="proxy.test"))
            assert c.head().status == 100
            c.send(b"hi")
            assert c.response().json()["body"] == "hi"
            c.send(build("POST", "/small/", {"Expect": "100-continue", "Content-Length": "11"}, host="proxy.test"))
            assert c.head().status == 413


def test_default_server_of_a_port_alike(both):
    for host in ("one.two", "two.two", "none.two", "exact.test"):
        nginx, sluice = both.ask(case(host, "/", host), port=lambda s: s.two)
        assert sluice == nginx


# --- limit_req: what is answered, and when ---

LIMITS = r"""
    limit_req_zone $binary_remote_addr zone=slow:1m rate=1r/m;
    limit_req_zone $arg_k zone=key:1m rate=1r/m;
    limit_req_zone $binary_remote_addr zone=two:1m rate=2r/s;
    limit_req_zone $binary_remote_addr zone=delays:1m rate=4r/s;
    limit_req_zone $binary_remote_addr zone=dry:1m rate=1r/m;
    server {
        listen 127.0.0.1:@http@;
        location /plain { limit_req zone=slow; proxy_pass http://@mock@/echo; }
        location /burst { limit_req zone=slow burst=3 nodelay; limit_req_status 429; proxy_pass http://@mock@/echo; }
        location /key { limit_req zone=key burst=1 nodelay; proxy_pass http://@mock@/echo; }
        location /both { limit_req zone=key burst=4 nodelay; limit_req zone=slow burst=2 nodelay; proxy_pass http://@mock@/echo; }
        location /wait { limit_req zone=two burst=2; proxy_pass http://@mock@/echo; }
        location /delay { limit_req zone=delays burst=4 delay=2; proxy_pass http://@mock@/echo; }
        location /dry { limit_req zone=dry; limit_req_dry_run on; proxy_pass http://@mock@/echo; }
        location /return { limit_req zone=slow; return 200 free; }
    }
"""


@pytest.fixture
def limits(stack):
    return Both(stack, LIMITS)


def statuses(s, paths):
    with Conn(s.port) as c:
        return [c.request("GET", p).status for p in paths]


@pytest.mark.parametrize("paths,expected", [
    (["/plain"] * 3, [200, 503, 503]), (["/burst"] * 6, [200, 200, 200, 200, 429, 429]),
    (["/key?k=a", "/key?k=a", "/key?k=a", "/key?k=b", "/key", "/key", "/key"], [200, 200, 503, 200, 200, 200, 200]),
    (["/both?k=a"] * 4 + ["/key?k=a"] * 2, [200, 200, 200, 503, 503, 503]),
    (["/dry"] * 4, [200] * 4), (["/return"] * 3, [200] * 3),
    (["/plain", "/burst", "/burst", "/burst", "/burst"], [200, 200, 200, 200, 429]),
], ids=["no burst", "burst", "keys", "two limits", "dry run", "return comes first", "one zone in two places"])
def test_limit_req_alike(limits, paths, expected):
    nginx, sluice = (statuses(s, paths) for s in limits.servers)
    assert nginx == expected
    assert sluice == nginx


def together(s, path, n):
    """N requests at once: [(status, seconds)], in the order of their ends."""
    out, conns = [], [Conn(s.port) for _ in range(n)]
    begun = time.monotonic()

    def one(c):
        with c:
            r = c.request("GET", path)
            out.append((r.status, time.monotonic() - begun))
    threads = [threading.Thread(target=one, args=(c,)) for c in conns]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return sorted(out, key=lambda x: x[1])


@pytest.mark.parametrize("path,n,ok,at_least", [("/wait", 4, 3, [0, 0.4, 0.9]),
                                               ("/delay", 6, 5, [0, 0, 0, 0.2, 0.4])], ids=["burst", "delay"])
def test_limit_req_delays_alike(limits, path, n, ok, at_least):
    for s in limits.servers:
        got = together(s, path, n)
        times = [t for status, t in got if status == 200]
        assert len(times) == ok and [s for s, _ in got].count(503) == n - ok, (s.name, got)
        assert all(t >= least for t, least in zip(times, at_least)), (s.name, got)


# --- access_log ---

LOG_FIELDS = ["$remote_addr", "$remote_user", "$request", "$request_method", "$request_uri", "$uri", "$args", "$status",
              "$body_bytes_sent", "$bytes_sent", "$http_referer", "$http_user_agent", "$http_x_odd", "$host",
              "$server_name", "$server_port", "$scheme", "$request_length", "$connection_requests", "$upstream_addr",
              "$upstream_status", "$upstream_http_x_mock_name", "$sent_http_content_type", "$sent_http_x_http", "$cookie_c",
              "$arg_a", "$binary_remote_addr", "$ssl_protocol", "$http_host", "$server_protocol"]
VOLATILE = {"$bytes_sent": "heads differ in the Server field", "$server_port": "each has its own"}
# Of its own errors sluice's bodies are JSON.
OF_ERRORS = {"$body_bytes_sent", "$sent_http_content_type"}
OF_HEADS = {"$request_method", "$request_uri", "$uri", "$server_protocol", "$host", "$request_length"}
LOGS = ("log_format f '" + "|".join(LOG_FIELDS) + "';\n    log_format j escape=json '{" +
        ",".join(f'"{f[1:]}":"{f}"' for f in LOG_FIELDS) + "}';\n    log_format n escape=none '$http_x_odd|$arg_a';\n"
        "    access_log @dir@/f.log f;\n    access_log @dir@/j.log j;\n    access_log @dir@/n.log n;\n"
        "    access_log @dir@/if.log f if=$arg_logged;\n    access_log @dir@/combined.log;")
ODD = "quote \" back \\ tab \t high \xe9 end"
LOGGED = [
    case("plain", "/pre", headers={"User-Agent": "ua/1", "Referer": "http://r.test/", "Cookie": "c=cookie"}),
    case("odd", "/ret/vars?a=%22", headers={"X-Odd": ODD}),
    case("query", "/ret/200?a=1&b=2"), case("post", "/pre", method="POST", body="12345"),
    case("HEAD", "/pre", method="HEAD"), case("404", "/ret/404"), case("user", "/pre", headers={"Authorization": "Basic dTpw"}),
    case("proxied", "/chunked/3000?a=b%20c", host="proxy.test"), case("dead", "/dead/", host="proxy.test"),
    case("bytes", "/bytes/1000", host="proxy.test"), case("304", "/a/", host="proxy.test", headers={"X-Mock-Status": "304"}),
    case("1.0", "/pre", version="1.0"), case("204", "/ret/204"), case("301", "/ret/301"), case("444", "/ret/444"),
    case("if", "/pre?logged=1"), case("if 0", "/pre?logged=0"),
    case("limit", "/small/", host="proxy.test", method="POST", body="0123456789a"),
    raw("no Host", "GET /x HTTP/1.1\r\n\r\n"), raw("bad line", "GET / HTTPS/1.1\r\n\r\n"),
    raw("three on a connection", f"GET /pre HTTP/1.1\r\n{H}\r\n" * 3, n=3),
]


@pytest.fixture(scope="module")
def logged():
    with contextlib.ExitStack() as stack:
        pair = Both(stack, CONF, logs=LOGS)
        for c in LOGGED:
            pair.ask(c)
        yield pair


def log_lines(s, name, n):
    path = s.dir / name

    def whole():
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
        return lines[:-1] if len(lines) > n else None
    return harness.until(whole, 5, f"{n} lines in {name} of {s.name}")


N_LINES = sum(c.n for c in LOGGED)


def comparable(s, values):
    out = {}
    for name, v in values.items():
        # Of a head that is refused sluice keeps the line alone; nginx what it had read until then.
        if name in OF_HEADS and values["$status"] == "400":
            continue
        if name in VOLATILE or name in OF_ERRORS and values["$status"] >= "300":
            continue
        v = v.replace(f":{s.port}", ":PORT")
        out[name] = v
    return out


def test_log_default_escape_alike(logged):
    nginx, sluice = ([comparable(s, dict(zip(LOG_FIELDS, line.split("|")))) for line in log_lines(s, "f.log", N_LINES)]
                     for s in logged.servers)
    assert len(sluice) == len(nginx) == N_LINES
    for a, b in zip(nginx, sluice):
        assert b == a


def test_log_json_escape_alike(logged):
    nginx, sluice = ([comparable(s, {"$" + k: v for k, v in json.loads(line).items()})
                      for line in log_lines(s, "j.log", N_LINES)] for s in logged.servers)
    assert len(sluice) == len(nginx) == N_LINES
    for a, b in zip(nginx, sluice):
        assert b == a


def test_log_no_escape_alike(logged):
    nginx, sluice = ((s.dir / "n.log").read_bytes() for s in logged.servers)
    assert sluice == nginx and ODD.encode("latin-1") in sluice


def test_log_if_alike(logged):
    nginx, sluice = (log_lines(s, "if.log", 1) for s in logged.servers)
    assert len(nginx) == len(sluice) == 1 and "logged=1" in sluice[0]


def test_log_combined_alike(logged):
    def cut(line):
        m = re.fullmatch(r'(.* - .*) \[\d\d/[A-Z][a-z][a-z]/\d{4}(?::\d\d){3} [+-]\d{4}\] (".*" \d{3} )(\d+)( ".*" ".*")', line)
        assert m, line
        return m[1] + m[2] + ("" if m[2][-4] in "345" else m[3]) + m[4]
    nginx, sluice = ([cut(line) for line in log_lines(s, "combined.log", N_LINES)] for s in logged.servers)
    assert sluice == nginx
