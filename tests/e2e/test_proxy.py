# SPDX-License-Identifier: BSD-2-Clause
"""A request through sluice to an upstream and back, as HTTP/1.1 (RFC 9110, 9112) and nginx's directives have it."""
import hashlib
import re
import socket
import threading
import time

import pytest
from harness import SLOW, Closed, Conn, build, fetch, mock_bytes, sha256, until

PLAIN = "server { listen 127.0.0.1:@http@; location / { proxy_pass http://@mock@; @in@ } @srv@ }"


@pytest.fixture
def proxy(start, mock):
    """proxy(what stands in location /, more of the server): in front of mock-llm."""
    def make(inside="", server="", before="", **kw):
        return start(before + PLAIN, {"mock": mock.addr, "in": inside, "srv": server}, **kw)
    return make


def echo(port, path="/echo", **kw):
    r = fetch(port, path, **kw)
    assert r.status == 200, r
    return r.json()


def sent(seen, name):
    return [v for k, v in seen["headers"] if k.lower() == name.lower()]


# --- proxy_pass and what goes to the upstream ---

URI_CASES = [
    # location, proxy_pass's URI, what the client asks, what the upstream gets
    ("/", "", "/echo/a/b?x=1&y", "/echo/a/b?x=1&y"),
    ("/echo/", "", "/echo/a", "/echo/a"),
    ("/api/", "/echo/", "/api/v1/x?q=1", "/echo/v1/x?q=1"),
    ("/api/", "/echo", "/api/v1", "/echov1"),
    ("/api", "/echo", "/api/v1", "/echo/v1"),
    ("/api", "/echo/", "/api/v1", "/echo//v1"),
    ("= /one", "/echo/two", "/one?a=b", "/echo/two?a=b"),
    ("/", "/echo/", "/x%20y", "/echo/x%20y"),
    ("/", "/echo/", "/a/../b/./c", "/echo/b/c"),
    ("/", "", "/echo/a/../b/%41", "/echo/a/../b/%41"),
    ("/", "/echo/", "//a///b", "/echo/a/b"),
    ("/", "/echo/", "/a%2Fb", "/echo/a/b"),
    ("/", "/echo/$request_method$request_uri", "/p/q?x=1", "/echo/GET/p/q?x=1"),
    ("/", "$request_uri", "/echo/q?x=%20", "/echo/q?x=%20"),
    ("/", "/echo/fixed?a=$arg_b", "/p?b=7&c=8", "/echo/fixed?a=7"),
]


@pytest.mark.parametrize("location,uri,asked,expected", URI_CASES)
def test_uri_of_proxy_pass(start, mock, location, uri, asked, expected):
    s = start(f"server {{ listen 127.0.0.1:@http@; location {location} "
              "{ proxy_pass http://@mock@" + uri + "; } }", {"mock": mock.addr})
    r = fetch(s.port, asked)
    if expected.startswith("/echo") and (expected == "/echo" or expected[5] in "/?"):
        assert r.status == 200 and r.json()["target"] == expected
    else:
        assert r.status == 404  # mock-llm has no such path: what counts is that it was asked for that
        assert expected in r.body.decode() or mock.stats()["paths"]["other"] == 1


def test_host_in_a_variable(start, mock):
    s = start("server { listen 127.0.0.1:@http@; location / { proxy_pass http://$http_x_to$request_uri; } }")
    assert echo(s.port, "/echo/z?1", headers={"X-To": mock.addr})["target"] == "/echo/z?1"
    assert fetch(s.port, "/echo").status in (500, 502)
    s.wait_log("proxy_pass has no usable address")


def test_upstream_group_named_by_a_variable(start, mock):
    s = start("upstream u { server @mock@; }\nserver { listen 127.0.0.1:@http@; location / "
              "{ proxy_pass http://$arg_g; } }", {"mock": mock.addr})
    assert echo(s.port, "/echo?g=u")["target"] == "/echo?g=u"


def test_default_fields_to_the_upstream(proxy, mock):
    s = proxy()
    seen = echo(s.port, headers={"User-Agent": "tester", "X-One": "1", "Accept": "*/*"}, host="asked.test")
    assert sent(seen, "Host") == [mock.addr], "as nginx: $proxy_host"
    assert sent(seen, "User-Agent") == ["tester"] and sent(seen, "X-One") == ["1"]
    assert sent(seen, "Accept") == ["*/*"]
    assert sent(seen, "Keep-Alive") == [] and sent(seen, "Upgrade") == []
    assert seen["framing"] == "none"


def test_host_of_a_group(start, mock):
    s = start("upstream backend { server @mock@; }\nserver { listen 127.0.0.1:@http@; "
              "location / { proxy_pass http://backend; } }", {"mock": mock.addr})
    assert sent(echo(s.port), "Host") == ["backend"]


def test_http_version_to_the_upstream(proxy):
    assert echo(proxy("proxy_http_version 1.1;").port)["version"] == "HTTP/1.1"
    assert echo(proxy("proxy_http_version 1.0;").port)["version"] == "HTTP/1.0"


def test_set_header(proxy):
    s = proxy('proxy_set_header Host $host:$server_port; proxy_set_header X-Real-IP $remote_addr; '
              'proxy_set_header Authorization "Bearer key-$arg_k"; proxy_set_header Accept-Encoding ""; '
              'proxy_set_header X-Empty $http_nothing; proxy_set_header Content-Type application/json;')
    seen = echo(s.port, "/echo?k=9", host="Name.Test:123",
                headers={"Authorization": "Bearer mine", "Accept-Encoding": "gzip", "X-Real-IP": "6.6.6.6"})
    assert sent(seen, "Host") == [f"name.test:{s.port}"]
    assert sent(seen, "X-Real-IP") == ["127.0.0.1"]
    assert sent(seen, "Authorization") == ["Bearer key-9"]
    assert sent(seen, "Content-Type") == ["application/json"]
    assert sent(seen, "Accept-Encoding") == [] and sent(seen, "X-Empty") == []


def test_set_header_is_inherited_only_where_there_is_none(start, mock):
    s = start("proxy_set_header X-Level http;\nserver { listen 127.0.0.1:@http@;\n"
              "location /echo/a { proxy_pass http://@mock@; }\n"
              "location /echo/b { proxy_set_header X-Other b; proxy_pass http://@mock@; }\n}", {"mock": mock.addr})
    assert sent(echo(s.port, "/echo/a"), "X-Level") == ["http"]
    seen = echo(s.port, "/echo/b")
    assert sent(seen, "X-Level") == [] and sent(seen, "X-Other") == ["b"]


def test_pass_request_headers_off(proxy):
    s = proxy("proxy_pass_request_headers off; proxy_set_header X-Mine yes;")
    seen = echo(s.port, headers={"X-Yours": "no", "Cookie": "a=b"}, method="POST", body="data")
    assert sent(seen, "X-Yours") == [] and sent(seen, "Cookie") == []
    assert sent(seen, "X-Mine") == ["yes"] and seen["body"] == "data"


def test_repeated_fields_stay_repeated(proxy):
    seen = echo(proxy().port, headers=[("X-A", "1"), ("X-A", "2"), ("x-a", "3")])
    assert sent(seen, "X-A") == ["1", "2", "3"]


def test_variables(start, mock):
    names = ["host", "http_x_y", "arg_a", "cookie_c", "args", "uri", "request_uri", "request_method", "scheme",
             "server_name", "server_port", "remote_addr", "remote_port", "remote_user", "request_id", "request_length",
             "request_time", "time_local", "time_iso8601", "msec", "connection", "connection_requests", "ssl_protocol",
             "ssl_cipher", "ssl_server_name", "is_args", "server_protocol", "content_length", "pid", "hostname",
             "http_host", "https", "query_string", "document_uri", "server_addr", "proxy_host", "content_type"]
    # Of these the issue names the ones up to ssl_server_name.
    names = names[:names.index("is_args")]
    text = "".join(f'proxy_set_header V-{n.replace("_", "-")} "[${n}]"; ' for n in names)
    s = start("server { listen 127.0.0.1:@http@; server_name named.test; location / { proxy_pass http://@mock@;" +
              text + "} }", {"mock": mock.addr})
    asked = "/echo/p%20q?a=b%20c&d=e"
    with Conn(s.port) as c:
        port = c.sock.getsockname()[1]
        data = build("POST", asked, {"X-Y": "why", "Cookie": "b=1; c=two; d=3", "Authorization": "Basic dXNlcjpwdw=="},
                     "12345", host="NAMED.test:77")
        c.send(data)
        seen = c.response().json()
    got = {n: sent(seen, "V-" + n.replace("_", "-"))[0][1:-1] for n in names}
    expected = {
        "host": "named.test", "http_x_y": "why", "arg_a": "b%20c", "cookie_c": "two", "args": "a=b%20c&d=e",
        "uri": "/echo/p q", "request_uri": asked, "request_method": "POST", "scheme": "http",
        "server_name": "named.test", "server_port": str(s.port), "remote_addr": "127.0.0.1", "remote_port": str(port),
        "remote_user": "user", "request_length": str(len(data)), "connection_requests": "1", "ssl_protocol": "",
        "ssl_cipher": "", "ssl_server_name": "",
    }
    assert {k: got[k] for k in expected} == expected
    assert re.fullmatch(r"[0-9a-f]{32}", got["request_id"])
    assert re.fullmatch(r"\d+\.\d{3}", got["request_time"])
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}", got["time_local"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", got["time_iso8601"])
    assert abs(float(got["msec"]) - time.time()) < 10
    assert int(got["connection"]) > 0


# --- what comes back ---

def test_answer_passes(proxy):
    s = proxy()
    r = fetch(s.port, "/bytes/1000", headers=[("X-Mock-Add-Header", "X-Up: a"), ("X-Mock-Add-Header", "X-Up: b"),
                                              ("X-Mock-Add-Header", "Set-Cookie: k=v; Path=/")])
    assert r.status == 200 and r.body == mock_bytes(1000)
    assert r.all("X-Up") == ["a", "b"] and r.all("Set-Cookie") == ["k=v; Path=/"]
    assert r.header("Content-Length") == "1000"
    assert len(r.all("Date")) == 1 and len(r.all("Server")) == 1 and len(r.all("Content-Type")) == 1


@pytest.mark.parametrize("status", [201, 204, 206, 301, 304, 400, 401, 404, 418, 429, 500, 503])
def test_status_of_the_upstream_passes(proxy, status):
    s = proxy("proxy_next_upstream off;")
    r = fetch(s.port, "/echo", headers={"X-Mock-Status": str(status)})
    assert r.status == status and r.is_whole


def test_hidden_fields(proxy):
    add = [("X-Mock-Add-Header", f"{n}: v") for n in
           ("X-Pad", "X-Accel-Expires", "X-Secret", "X-Shown", "Server", "X-Accel-Redirect")]
    s = proxy("proxy_hide_header X-Secret; proxy_pass_header X-Pad;")
    r = fetch(s.port, "/echo", headers=add[:5])
    assert r.all("X-Shown") == ["v"] and r.all("X-Pad") == ["v"]
    assert r.all("X-Secret") == [] and r.all("X-Accel-Expires") == []
    assert r.all("Server") == ["sluice"]
    r = fetch(proxy("proxy_pass_header Server;").port, "/echo", headers=add[4:5])
    assert r.all("Server") == ["v"]


def test_hop_by_hop_fields_end_here(proxy):
    s = proxy("proxy_http_version 1.1;")
    seen = echo(s.port, headers=[("Connection", "close, X-Mine"), ("X-Mine", "1"), ("Keep-Alive", "timeout=5"),
                                 ("TE", "trailers"), ("Upgrade", "websocket"), ("Proxy-Connection", "keep-alive"),
                                 ("Trailer", "X-T"), ("X-End", "to end")])
    for name in ("X-Mine", "Keep-Alive", "TE", "Upgrade", "Proxy-Connection", "Trailer"):
        assert sent(seen, name) == [], name
    assert sent(seen, "X-End") == ["to end"]
    assert [v.lower() for v in sent(seen, "Connection")] in ([], ["close"], ["keep-alive"])
    r = fetch(s.port, "/echo", headers=[("X-Mock-Add-Header", "Keep-Alive: timeout=77"),
                                        ("X-Mock-Add-Header", "Proxy-Connection: keep-alive"),
                                        ("X-Mock-Add-Header", "Trailer: X-T"),
                                        ("X-Mock-Add-Header", "Upgrade: h2c")])
    for name in ("Keep-Alive", "Proxy-Connection", "Trailer", "Upgrade"):
        assert r.all(name) == [], name


def test_add_header(start, mock):
    s = start("""
server { listen 127.0.0.1:@http@; add_header X-Server $server_port;
    location / { proxy_pass http://@mock@; }
    location /always { add_header X-Plain "a $uri"; add_header X-Always yes always; return 404 gone; }
    location /ok { add_header X-Plain a; add_header X-None $arg_none; return 200 fine; }
    location /up { add_header X-Up $upstream_http_x_mock_name; add_header X-Status $upstream_status always;
                   proxy_pass http://@mock@/echo; }
}""", {"mock": mock.addr})
    assert fetch(s.port, "/echo").all("X-Server") == [str(s.port)]
    assert fetch(s.port, "/echo", headers={"X-Mock-Status": "404"}).all("X-Server") == []
    r = fetch(s.port, "/always")
    assert r.all("X-Plain") == [] and r.all("X-Always") == ["yes"] and r.all("X-Server") == []
    r = fetch(s.port, "/ok")
    assert r.all("X-Plain") == ["a"] and r.all("X-None") == []
    r = fetch(s.port, "/up")
    assert r.all("X-Up") == ["mock"] and r.all("X-Status") == ["200"]
    for status, is_there in ((201, True), (204, True), (206, True), (301, True), (302, True), (303, True), (304, True),
                             (307, True), (308, True), (300, False), (400, False), (500, False)):
        r = fetch(s.port, "/echo", headers={"X-Mock-Status": str(status)})
        assert r.status == status and bool(r.all("X-Server")) == is_there, status


def test_return(start):
    s = start(r"""
server { listen 127.0.0.1:@http@; server_name r.test;
    location = /text { return 200 "line\nnext $arg_a"; }
    location = /json { add_header Content-Type application/json; return 200 '{"a":1}'; }
    location = /code { return 403; }
    location = /empty { return 204; }
    location = /moved { return 301 /else/where?x=$arg_x; }
    location = /found { return 302 http://other.test/; }
    location = /seen { return 303 /s; }
    location = /keep { return 307 /k; }
    location = /perm { return 308 /p; }
    location = /url { return https://short.test/; }
    location = /drop { return 444; }
    location = /teapot { return 418 "short and stout"; }
}""")
    r = fetch(s.port, "/text?a=b")
    assert (r.status, r.body, r.header("Content-Length")) == (200, b"line\nnext b", "11")
    assert r.header("Content-Type") == "text/plain"
    assert fetch(s.port, "/json").body == b'{"a":1}'
    r = fetch(s.port, "/code")
    assert r.status == 403 and b"Forbidden" in r.body and r.header("Content-Type")
    r = fetch(s.port, "/empty")
    assert r.status == 204 and not r.body and r.header("Content-Length") is None
    r = fetch(s.port, "/moved?x=1", host="r.test")
    assert r.status == 301 and r.header("Location") == f"http://r.test:{s.port}/else/where?x=1"
    assert fetch(s.port, "/found").header("Location") == "http://other.test/"
    assert [fetch(s.port, p).status for p in ("/seen", "/keep", "/perm", "/url")] == [303, 307, 308, 302]
    assert fetch(s.port, "/url").header("Location") == "https://short.test/"
    r = fetch(s.port, "/teapot")
    assert (r.status, r.body) == (418, b"short and stout")
    with Conn(s.port) as c:
        c.send(build("GET", "/drop"))
        assert c.end()[1] == b""


def test_locations(start):
    s = start("""
server { listen 127.0.0.1:@http@;
    location / { return 200 root; }
    location /a { return 200 a; }
    location /a/b { return 200 ab; }
    location = /a/b/c { return 200 exact; }
    location ^~ /s/ { return 200 s; }
    location "/with space" { return 200 space; }
}""")
    for path, body in (("/", "root"), ("/x", "root"), ("/a", "a"), ("/ab", "a"), ("/a/bc", "ab"), ("/a/b/c", "exact"),
                       ("/a/b/c/", "ab"), ("/s/x", "s"), ("/s", "root"), ("/with%20space/x", "space"), ("/A", "root"),
                       ("/x/../a", "a"), ("/%61", "a"), ("//a", "a"), ("/a?/s/", "a")):
        assert fetch(s.port, path).body.decode() == body, path


def test_nothing_there_is_404_and_server_names_choose(start):
    s = start("""
server { listen 127.0.0.1:@http@; server_name one.test www.one.test; location / { return 200 one; } }
server { listen 127.0.0.1:@http@; server_name *.two.test; location / { return 200 two; } }
server { listen 127.0.0.1:@http@ default_server; server_name _; location /x { return 200 default; } }
server { listen 127.0.0.1:@http@; server_name three.*; location / { return 200 three; } }
server { listen 127.0.0.1:@http@; server_name .four.test; location / { return 200 four; } }
""")
    for host, body in (("one.test", b"one"), ("WWW.One.Test", b"one"), ("one.test:99", b"one"), ("one.test.", b"one"),
                       ("a.two.test", b"two"), ("a.b.two.test", b"two"), ("three.org", b"three"), ("four.test", b"four"),
                       ("x.four.test", b"four"), ("two.test", b"default"), ("nobody.test", b"default"),
                       ("127.0.0.1", b"default")):
        assert fetch(s.port, "/x", host=host).body == body, host
    r = fetch(s.port, "/nothing", host="nobody.test")
    assert r.status == 404 and b"404" in r.body


# --- forms of requests ---

def test_head(proxy):
    s = proxy(server='location = /r { return 200 "12345"; }')
    with Conn(s.port) as c:
        r = c.request("HEAD", "/bytes/5000")
        assert r.status == 200 and r.header("Content-Length") == "5000"
        r = c.request("HEAD", "/r")
        assert r.status == 200 and r.header("Content-Length") == "5"
        r = c.request("HEAD", "/chunked/5000")
        assert r.status == 200
        assert c.request("GET", "/bytes/10").body == mock_bytes(10)
        r = c.request("HEAD", "/echo", headers={"X-Mock-Status": "404"})
        assert r.status == 404
        assert c.request("GET", "/bytes/10").body == mock_bytes(10)


def test_http10(proxy):
    s = proxy()
    with Conn(s.port) as c:
        c.send("GET /bytes/100 HTTP/1.0\r\n\r\n")
        r = c.response()
        assert r.status == 200 and r.body == mock_bytes(100)
        assert c.end() == ("fin", b"")
    with Conn(s.port) as c:
        c.send("GET /chunked/3000 HTTP/1.0\r\nHost: x\r\n\r\n")
        r = c.response()
        assert r.header("Transfer-Encoding") is None, "HTTP/1.0 does not know chunks"
        assert r.body == mock_bytes(3000)
    with Conn(s.port) as c:
        for _ in range(2):
            c.send("GET /bytes/10 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            r = c.response()
            assert r.body == mock_bytes(10) and r.header("Connection").lower() == "keep-alive"


def test_absolute_form(proxy):
    s = proxy("proxy_set_header Host $host; proxy_set_header X-Uri $request_uri;")
    with Conn(s.port) as c:
        seen = c.request("GET", "http://Abs.Test:8080/echo/x?y=z", host="other.test").json()
    assert seen["target"] == "/echo/x?y=z", "an origin gets the origin-form"
    assert sent(seen, "Host") == ["abs.test"], "RFC 9112 3.2.2: the target's host counts"


def test_expect_100(proxy):
    s = proxy("client_max_body_size 1k;")
    with Conn(s.port) as c:
        c.send(build("POST", "/upload", {"Expect": "100-continue", "Content-Length": "5"}, None))
        assert c.head().status == 100
        c.send("hello")
        assert c.response().json()["sha256"] == sha256(b"hello")
    with Conn(s.port) as c:
        c.send(build("POST", "/upload", {"Expect": "100-continue", "Content-Length": "2000"}, None))
        assert c.head().status == 413, "the answer instead of 100"
    with Conn(s.port) as c:  # HTTP/1.0 knows no 100
        c.send(build("POST", "/upload", {"Expect": "100-continue", "Content-Length": "5"}, None, version="1.0"))
        c.send("hello")
        r = c.head()
        assert r.status == 200
    with Conn(s.port) as c:  # the body comes with the head: no 100 needed, none must break it
        assert c.request("POST", "/upload", {"Expect": "100-continue"}, "hello").json()["length"] == 5


def test_pipelining(proxy):
    s = proxy(server='location = /r { return 200 "local"; }')
    wanted = [("/bytes/100", mock_bytes(100)), ("/r", b"local"), ("/chunked/20000", mock_bytes(20000)),
              ("/bytes/0", b""), ("/r", b"local"), ("/bytes/50", mock_bytes(50))]
    with Conn(s.port) as c:
        c.send(b"".join(build("GET", p) for p, _ in wanted) + build("POST", "/upload", body=b"x" * 5000) +
               build("POST", "/upload", {"Transfer-Encoding": "chunked"}, b"3\r\nabc\r\n0\r\n\r\n") +
               build("GET", "/r", {"Connection": "close"}))
        for path, body in wanted:
            assert c.response().body == body, path
        assert c.response().json()["sha256"] == sha256(b"x" * 5000)
        assert c.response().json()["sha256"] == sha256(b"abc")
        assert c.response().body == b"local"
        assert c.end() == ("fin", b"")


def test_a_request_in_single_bytes(proxy):
    s = proxy()
    with Conn(s.port) as c:
        for b in build("POST", "/upload", {"Transfer-Encoding": "chunked"}, b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"):
            c.send(bytes([b]))
        assert c.response().json()["sha256"] == sha256(b"hello")


def test_empty_lines_before_a_request(proxy):
    s = proxy()
    with Conn(s.port) as c:
        c.send(b"\r\n" + build("GET", "/bytes/3") + b"\r\n" + build("GET", "/bytes/4"))
        assert c.response().body == mock_bytes(3) and c.response().body == mock_bytes(4)


def test_keepalive_requests(proxy):
    s = proxy(before="keepalive_requests 3;\n")
    with Conn(s.port) as c:
        for i in range(3):
            r = c.request("GET", "/bytes/1")
            assert (r.header("Connection") or "keep-alive").lower() == ("close" if i == 2 else "keep-alive")
        assert c.end() == ("fin", b"")


def test_keepalive_timeout(start):
    s = start('keepalive_timeout 500ms 7s;\nserver { listen 127.0.0.1:@http@; location / { return 200 x; } '
              'location /no { keepalive_timeout 0; return 200 y; } }')
    with Conn(s.port) as c:
        assert c.request("GET", "/").header("Keep-Alive") == "timeout=7"
        t = time.monotonic()
        assert c.end() == ("fin", b"")
        assert 0.4 < time.monotonic() - t < 2 * SLOW
    with Conn(s.port) as c:
        assert c.request("GET", "/no").header("Connection") == "close"
        assert c.end() == ("fin", b"")


# --- bodies ---

SIZES = [0, 1, 4095, 4096, 65536, 1048577, 20 * 1024 * 1024]


@pytest.mark.parametrize("size", SIZES)
def test_request_body_with_length(proxy, size):
    s = proxy(before="client_max_body_size 0;\n")
    body = mock_bytes(size)
    r = fetch(s.port, "/upload", "POST", body=body, timeout=30)
    assert r.json() == {"length": size, "sha256": sha256(body)}


@pytest.mark.parametrize("size", SIZES)
def test_request_body_in_chunks(proxy, size):
    s = proxy(before="client_max_body_size 0;\n")
    body = mock_bytes(size)
    with Conn(s.port, timeout=30) as c:
        c.send(build("PUT", "/upload", {"Transfer-Encoding": "chunked", "Connection": "close"}, None))
        for at in range(0, size, 77777):
            part = body[at:at + 77777]
            c.send(b"%X\r\n%b\r\n" % (len(part), part))
        c.send(b"0\r\n\r\n")
        assert c.response().json() == {"length": size, "sha256": sha256(body)}


@pytest.mark.parametrize("kind", ["bytes", "chunked"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("buffering", ["on", "off"])
def test_answer_body(proxy, kind, size, buffering):
    s = proxy(f"proxy_buffering {buffering};")
    r = fetch(s.port, f"/{kind}/{size}", timeout=30)
    assert r.is_whole and len(r.body) == size and r.body == mock_bytes(size)


def test_answer_until_the_upstream_closes(proxy):
    s = proxy()
    r = fetch(s.port, "/bytes/100000", headers={"X-Mock-Fault": "http10-close"})
    assert r.status == 200 and r.body == mock_bytes(100000)


def test_body_too_large(proxy, mock):
    s = proxy(before="client_max_body_size 1k;\n", server="location /free "
              "{ client_max_body_size 0; proxy_pass http://@mock@/upload; }")
    assert fetch(s.port, "/upload", "POST", body=b"x" * 1024).status == 200
    before = mock.requests()
    with Conn(s.port) as c:
        r = c.request("POST", "/upload", body=b"x" * 1025)
        assert r.status == 413 and b"413" in r.body
    with Conn(s.port) as c:
        c.send(build("POST", "/upload", {"Transfer-Encoding": "chunked"}, None))
        c.send(b"400\r\n" + b"x" * 1024 + b"\r\n1\r\ny\r\n0\r\n\r\n")
        assert c.response().status == 413
    assert mock.requests() == before
    assert fetch(s.port, "/free", "POST", body=b"x" * 100000).json()["length"] == 100000
    s.wait_log("client intended to send too large")


def test_default_body_limit_is_1m(proxy):
    s = proxy()
    assert fetch(s.port, "/upload", "POST", body=b"x" * 1048576).status == 200
    with Conn(s.port) as c:
        c.send(build("POST", "/upload", {"Content-Length": "1048577"}, None))
        assert c.response().status == 413


# --- time ---

def test_client_header_timeout(start):
    s = start("client_header_timeout 500ms;\nserver { listen 127.0.0.1:@http@; location / { return 200 x; } }")
    for begin in ("", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\nX"):
        with Conn(s.port) as c:
            c.send(begin)
            how, data = c.end(3)
            assert how != "open"
            assert data == b"" or data.startswith(b"HTTP/1.1 408 ")
    with Conn(s.port) as c:  # a byte now and then does not help
        t = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(100):
                c.send("X")
                time.sleep(0.1)
        assert time.monotonic() - t < 4 * SLOW


def test_client_body_timeout(proxy, mock):
    s = proxy(before="client_body_timeout 500ms;\n")
    with Conn(s.port) as c:
        c.send(build("POST", "/upload", {"Content-Length": "100"}, None) + b"some")
        how, data = c.end(3)
        assert how != "open" and (not data or data.startswith(b"HTTP/1.1 408 "))
    with Conn(s.port) as c:  # each pause is short enough
        c.send(build("POST", "/upload", {"Content-Length": "10"}, None))
        for _ in range(10):
            time.sleep(0.15)
            c.send("x")
        assert c.response().json()["length"] == 10


def test_upstream_read_timeout(proxy):
    s = proxy("proxy_read_timeout 500ms; proxy_next_upstream off;")
    t = time.monotonic()
    r = fetch(s.port, "/echo", headers={"X-Mock-Delay-Ms": "5000"})
    assert r.status == 504 and time.monotonic() - t < 3 * SLOW
    s.wait_log("timed out")
    assert fetch(s.port, "/echo", headers={"X-Mock-Delay-Ms": "200"}).status == 200


def test_upstream_read_timeout_midway_is_no_clean_end(proxy):
    s = proxy("proxy_read_timeout 500ms;")
    with Conn(s.port) as c:
        c.send(build("GET", "/chunked/100000", {"X-Mock-Fault": "stall-in-body"}))
        r = c.head()
        with pytest.raises((Closed, ConnectionResetError)):
            c.body(r)


def test_send_timeout_ends_a_client_that_does_not_read(proxy, mock):
    s = proxy(before="send_timeout 1s;\n")
    with Conn(s.port, rcvbuf=4096) as c:
        c.send(build("GET", "/bytes/20000000"))
        until(lambda: mock.stats()["requests_active"] == 2, what="the request")
        until(lambda: mock.stats()["requests_active"] == 1, 8, what="the end of the request")


def test_a_slow_but_steady_client_is_served(proxy):
    s = proxy(before="send_timeout 1s;\n")
    with Conn(s.port, rcvbuf=8192, timeout=20) as c:
        c.send(build("GET", "/bytes/3000000"))
        r = c.head()
        digest, left = hashlib.sha256(), 3000000
        while left:
            part = c.take(min(left, 100000))
            digest.update(part)
            left -= len(part)
            time.sleep(0.05)
    assert r.status == 200 and digest.hexdigest() == sha256(mock_bytes(3000000))


# --- connections ---

def test_keepalive_without_a_connection_field(proxy):
    s = proxy()
    with Conn(s.port) as c:
        for i in range(200):
            r = c.request("GET", f"/bytes/{i}")
            assert r.body == mock_bytes(i)


def test_half_closed_client_gets_its_answer(proxy):
    s = proxy()
    with Conn(s.port) as c:
        c.send(build("GET", "/bytes/100", {"X-Mock-Delay-Ms": "200", "Connection": "close"}))
        c.sock.shutdown(socket.SHUT_WR)
        how, data = c.end()
    # As nginx: a FIN before the answer is a client that left (499), unless the whole answer got out.
    assert data == b"" or data.endswith(mock_bytes(100))


def test_unread_body_does_not_turn_into_a_request(start):
    s = start('server { listen 127.0.0.1:@http@; location / { return 200 "ok"; } }')
    with Conn(s.port) as c:
        body = build("GET", "/smuggled")
        assert c.request("POST", "/a", body=body).body == b"ok"
        assert c.request("GET", "/b").body == b"ok"
        c.send(build("GET", "/c", {"Connection": "close"}))
        assert c.response().body == b"ok"
        assert c.end() == ("fin", b"")
    until(lambda: s.access().count("\n") == 3, what="three lines")
    assert "smuggled" not in s.access()


def test_many_at_once(proxy):
    s = proxy()
    bad = []

    def work(k):
        try:
            with Conn(s.port, timeout=30) as c:
                for i in range(20):
                    n = (k * 7919 + i * 104729) % 50000
                    if c.request("GET", f"/chunked/{n}").body != mock_bytes(n):
                        bad.append((k, i, "body"))
        except Exception as e:  # noqa: BLE001 - into the list, whatever it is
            bad.append((k, repr(e)))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not bad


# --- the log ---

def test_access_log(start, mock):
    s = start("""
log_format all '$remote_addr|$request|$status|$body_bytes_sent|$bytes_sent|$request_time|$upstream_addr|'
               '$upstream_status|$upstream_connect_time|$upstream_header_time|$upstream_response_time|'
               '$sent_http_content_type|$upstream_http_x_mock_name|$connection_requests|$http_user_agent';
log_format j escape=json '{"ua":"$http_user_agent","none":"$http_none"}';
log_format none escape=none '$http_user_agent';
server { listen 127.0.0.1:@http@;
    access_log @dir@/all.log all; access_log @dir@/json.log j; access_log @dir@/none.log none;
    location / { proxy_pass http://@mock@; }
    location /silent { access_log off; return 200 x; }
    location /some { access_log @dir@/some.log all if=$arg_log; return 200 x; }
    location /buffered { access_log @dir@/buffered.log all buffer=64k flush=1s; return 200 x; }
}""", {"mock": mock.addr})
    fetch(s.port, "/bytes/100", headers={"User-Agent": 'a"b\\c\td'})
    fetch(s.port, "/silent")
    for q in ("", "?log=", "?log=0", "?log=1"):
        fetch(s.port, "/some" + q)
    fetch(s.port, "/buffered")
    until(lambda: (s.dir / "some.log").exists() and (s.dir / "some.log").read_text(), what="the log")
    f = (s.dir / "all.log").read_text().splitlines()
    assert len(f) == 1
    f = f[0].split("|")
    assert f[:4] == ["127.0.0.1", "GET /bytes/100 HTTP/1.1", "200", "100"] and int(f[4]) > 200
    assert all(re.fullmatch(r"\d+\.\d{3}", f[i]) for i in (5, 8, 9, 10)), f
    assert f[6:8] == [mock.addr, "200"]
    assert f[11] == "application/octet-stream" and f[12:14] == ["mock", "1"]
    assert f[14] == r"a\x22b\x5Cc\x09d"
    assert (s.dir / "json.log").read_text() == '{"ua":"a\\"b\\\\c\\td","none":""}\n'
    assert (s.dir / "none.log").read_bytes() == b'a"b\\c\td\n'
    assert (s.dir / "some.log").read_text().count("\n") == 1 and "?log=1" in (s.dir / "some.log").read_text()
    until(lambda: (s.dir / "buffered.log").exists() and (s.dir / "buffered.log").read_text().count("\n") == 1, 4,
          "the flush")


def test_combined_is_the_default_format(start):
    s = start('server { listen 127.0.0.1:@http@; location / { return 200 "x"; } }')
    fetch(s.port, "/p?q", headers={"Referer": "http://r/", "User-Agent": "me"})
    until(lambda: s.access(), what="a line")
    assert re.fullmatch(r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:[\d:]{8} [+-]\d{4}\] "GET /p\?q HTTP/1\.1" 200 1 '
                        r'"http://r/" "me"\n', s.access())


def test_a_client_that_left_is_499(proxy, mock):
    s = proxy()
    with Conn(s.port) as c:
        c.send(build("GET", "/echo", {"X-Mock-Delay-Ms": "3000"}))
        until(lambda: mock.stats()["requests_active"] == 2, what="the request")
    until(lambda: '" 499 ' in s.access(), what="the line of the one who left")
