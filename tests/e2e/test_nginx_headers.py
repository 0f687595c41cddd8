# SPDX-License-Identifier: BSD-2-Clause
"""What becomes of an answer's head and its pace: expires, add_header, add_trailer, conditions, limit_rate; nginx and sluice."""
import contextlib
import gzip
import re
import time

import harness
import pytest
from alike import Both, case, on, plain, refused_alike
from harness import Conn, build
from origin import Origin, answer

LM = "Wed, 01 Jan 2020 00:00:00 GMT"
OLD = [("Expires", "Thu, 01 Jan 2015 00:00:00 GMT"), ("Cache-Control", "public"), ("Cache-Control", "must-revalidate")]
ANSWERS = {
    "/plain": answer([("X-Up", "1")], "text"), "/lm": answer([("Last-Modified", LM)], "text"),
    "/etag": answer([("ETag", '"abc"'), ("Last-Modified", LM)], "text"), "/old": answer(OLD, "text"), "/bad-lm": answer([("Last-Modified", "x")], "text"),
    "/chunked": answer([], "text", chunked=True), "/ranges": answer([("Accept-Ranges", "bytes"), ("ETag", '"abc"')], "0123456789"),
    "/big": answer([], b"x" * 60000),
} | {f"/s/{s}": answer([("Location", "/x")], b"" if s in (204, 304) else "text", f"{s} Status", length=s not in (204, 304))
     for s in (200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 404, 500)}
ANSWERS["/s/304"] = answer([("ETag", '"up"')], status="304 Not Modified", length=False).replace(b"Connection: close\r\n", b"")
ANSWERS["/s/204"] = answer([], status="204 No Content", length=False).replace(b"Connection: close\r\n", b"")
EXPIRES = ["off", "epoch", "max", "0", "30", "-1", "1h", "+2d", "1d12h", "-1w", "modified 10y", "modified +0", "modified 30y", "modified -1d",
           "@0", "@12h", "@23h59m59s", "@24h", "$arg_e", "modified $arg_e", "1y", "1M"]
CONF = r"""
    map $arg_m $mapped { default off; a epoch; b 5m; c max; }
    proxy_http_version 1.1;
    server {
        listen 127.0.0.1:@http@;
        server_name expires.test;
        @expires@
        location /map/ { expires $mapped; proxy_pass http://@up@/; }
        location /inherit/ { expires 1h; proxy_pass http://@up@/;
                             location /inherit/off/ { expires off; proxy_pass http://@up@/; }
                             location /inherit/kept/ { add_header X-A b; proxy_pass http://@up@/; } }
        location /cc/ { expires 1h; add_header Cache-Control private; add_header Cache-Control "s-maxage=1"; proxy_pass http://@up@/; }
        location /own-expires/ { expires 1h; add_header Expires never; proxy_pass http://@up@/; }
        location /return { expires 1h; return 200 text; }
        location /return404 { expires 1h; return 404 text; }
        location /return301 { expires 1h; return 301 /x; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name add.test;
        add_header X-Server "s" always;
        location /up/ { add_header X-Up own; add_header X-St "$status $upstream_status"; proxy_pass http://@up@/; }
        location /always/ { add_header X-Al a always; add_header X-Us b; proxy_pass http://@up@/; }
        location /lm/ { add_header Last-Modified "Thu, 02 Jan 2020 00:00:00 GMT"; proxy_pass http://@up@/; }
        location /no-lm/ { add_header Last-Modified ""; proxy_pass http://@up@/; }
        location /etag/ { add_header ETag '"own"'; proxy_pass http://@up@/; }
        location /no-etag/ { add_header ETag ""; proxy_pass http://@up@/; }
        location /link/ { add_header Link "<a>"; add_header Link "<b>"; add_header X-E $arg_none; proxy_pass http://@up@/; }
        location /trailer/ { add_trailer X-T "$upstream_status"; add_trailer X-None $arg_none; proxy_pass http://@up@/; }
        location /trailer-always/ { add_trailer X-T t always; proxy_pass http://@up@/; }
        location /trailer-off/ { add_trailer X-T t; chunked_transfer_encoding off; proxy_pass http://@up@/; }
        location /trailer-in/ { add_trailer X-T out; proxy_pass http://@up@/; location /trailer-in/none/ { add_trailer X-U in; proxy_pass http://@up@/; }
                                location /trailer-in/kept/ { proxy_pass http://@up@/; } }
        location /trailer-return { add_trailer X-T "$request_method" always; add_trailer X-R r; return 200 text; }
        location /trailer-return404 { add_trailer X-T "$request_method" always; add_trailer X-R r; return 404 text; }
        location /unchunked/ { chunked_transfer_encoding off; proxy_pass http://@up@/; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name if.test;
        gzip_types text/plain;
        location /up/ {
            add_header X-Out o;
            proxy_pass http://@up@/;
            if ($arg_a) { add_header X-In i; }
            if ($arg_e) { expires 1h; }
            if ($arg_t) { add_trailer X-T t; }
        }
        location /all/ {
            expires max;
            if ($arg_a = 1) { add_header X-One 1; }
            if ($arg_b = 1) { expires epoch; }
            if ($arg_c = 1) { return 404 text; }
            proxy_pass http://@up@/;
        }
        location /gz/ {
            default_type text/plain;
            gzip on; gzip_min_length 1;
            if ($arg_off) { gzip off; }
            return 200 "a text that is long enough to be compressed, it is";
        }
        location /set/ { set $limit_rate 0; add_header X-Rate "$limit_rate"; proxy_pass http://@up@/; }
        location /set4k/ { set $limit_rate 4k; add_header X-Rate "$limit_rate"; proxy_pass http://@up@/; }
        location /setbad/ { set $limit_rate x; add_header X-Rate "$limit_rate"; proxy_pass http://@up@/; }
        location /norate/ { add_header X-Rate "$limit_rate"; proxy_pass http://@up@/; }
        location /rate/ { limit_rate 5k; add_header X-Rate "$limit_rate"; proxy_pass http://@up@/; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name cond.test;
        location /up/ { proxy_pass http://@up@/; }
        location /return { return 200 text; }
        location /dated { add_header X-A a; return 200 text; }
        location /404 { return 404 text; }
    }
"""
CONF = CONF.replace("@expires@", "".join(f"location /e{i}/ {{ expires {e}; proxy_pass http://@up@/; }}\n" for i, e in enumerate(EXPIRES)))

FRESH = on("expires.test", [(f"{e} {p}", f"/e{i}{p}?e=90s") for i, e in enumerate(EXPIRES) for p in ("/plain", "/lm")])
FRESH += on("expires.test", [(f"{EXPIRES[i]} {p}", f"/e{i}{p}?e=90s") for i in (0, 1, 2, 4, 10) for p in ("/old", "/bad-lm")])
FRESH += on("expires.test", [(f"status {s}", f"/e4/s/{s}") for s in (200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 404, 500)])
FRESH += on("expires.test", [(f"variable {v}", f"/e18/plain?e={v}") for v in ("", "off", "epoch", "max", "10", "-10", "@10h", "x", "1x", "@25h", "%20")])
FRESH += on("expires.test", [(f"modified variable {v}", f"/e19/lm?e={v}") for v in ("", "off", "10", "@1h", "20y", "-1")])
FRESH += on("expires.test", [(f"map {v}", f"/map/plain?m={v}") for v in ("", "a", "b", "c")])
FRESH += on("expires.test", [(p, p) for p in ("/inherit/plain", "/inherit/off/plain", "/inherit/kept/plain", "/cc/plain", "/cc/old", "/own-expires/plain",
                                              "/own-expires/old", "/return", "/return404", "/return301")])
ADDED = on("add.test", [(p, p) for p in ("/up/plain", "/always/plain", "/lm/plain", "/lm/lm", "/no-lm/lm", "/no-lm/plain", "/etag/etag", "/etag/plain",
                                         "/no-etag/etag", "/link/plain", "/missing")])
ADDED += on("add.test", [(f"status {p}/{s}", f"/{p}/s/{s}") for p in ("up", "always", "trailer") for s in (201, 202, 204, 206, 302, 304, 400, 404, 500)])
TRAILERS = on("add.test", [(p, p) for p in ("/trailer/plain", "/trailer/chunked", "/trailer/s/404", "/trailer-always/s/404", "/trailer-off/plain",
                                            "/trailer-off/chunked", "/trailer-in/plain", "/trailer-in/none/plain", "/trailer-in/kept/plain",
                                            "/trailer-return", "/trailer-return404", "/unchunked/chunked", "/unchunked/plain")])
TRAILERS += on("add.test", [("1.0", "/trailer/plain", {"version": "1.0"}), ("HEAD", "/trailer/plain", {"method": "HEAD"})])
# Own answers are compared with what the client has; an upstream's are its own business.
CONDITIONS = [("If-None-Match", "*"), ("If-None-Match", '"abc"'), ("If-Match", "*"), ("If-Match", '"abc"'), ("If-Match", '"x"'), ("If-Modified-Since", LM),
              ("If-Modified-Since", "x"), ("If-Unmodified-Since", LM), ("If-Unmodified-Since", "Wed, 01 Jan 2014 00:00:00 GMT"), ("Range", "bytes=0-1"),
              ("Range", "bytes=99-")]
COND = on("cond.test", [(f"{p} {k} {v}", p, {"headers": {k: v}}) for p in ("/return", "/up/etag", "/up/lm", "/up/ranges", "/404") for k, v in CONDITIONS])
COND += on("cond.test", [("both", "/return", {"headers": {"If-None-Match": "*", "If-Match": "*"}}),
                         ("304 with fields", "/dated", {"headers": {"If-None-Match": "*"}}),
                         ("HEAD", "/return", {"headers": {"If-None-Match": "*"}, "method": "HEAD"}),
                         ("POST", "/return", {"headers": {"If-None-Match": "*"}, "method": "POST", "body": "x"})])
IFS = on("if.test", [(t, t) for t in ("/up/plain", "/up/plain?a=1", "/up/plain?e=1", "/up/plain?a=1&e=1", "/up/plain?t=1", "/up/plain?a=1&e=1&t=1", "/all/plain",
                                      "/all/plain?a=1", "/all/plain?b=1", "/all/plain?a=1&b=1", "/all/plain?c=1", "/all/plain?a=1&c=1", "/set/plain", "/set4k/plain",
                                      "/setbad/plain", "/norate/plain", "/rate/plain")])
IFS += on("if.test", [(f"gzip {t}", t, {"headers": {"Accept-Encoding": "gzip"}}) for t in ("/gz/", "/gz/?off=1")])
CASES = FRESH + ADDED + TRAILERS + COND + IFS
OTHERWISE = {}


@pytest.fixture(scope="module")
def both():
    with contextlib.ExitStack() as stack:
        up = Origin(ANSWERS)
        stack.callback(up.stop)
        yield Both(stack, CONF, up=up.addr)


def ask(s, c):
    """The answer with its trailers."""
    with Conn(s.port) as conn:
        conn.send(c.raw)
        r = conn.head()
        trailers = []
        if "chunked" in (r.header("Transfer-Encoding") or ""):
            while size := int(conn.line(), 16):
                r.body += conn.take(size + 2)[:-2]
            trailers = conn.fields()
        else:
            conn.body(r, c.method[0])
        if r.header("Content-Encoding") == "gzip":
            r.body = gzip.decompress(r.body)
        return {**plain(s, r), "trailers": trailers}


@pytest.mark.parametrize("c", CASES, ids=[c.id for c in CASES])
def test_alike(both, c):
    for last in (False, False, True):
        nginx, sluice = (ask(s, c) for s in both.servers)
        if sluice == nginx or last:
            break   # else a second may have passed between the two
    assert sluice == nginx


@pytest.mark.parametrize("line,words", [
    ("expires;", "invalid number of arguments"), ("expires x;", "invalid value"), ("expires 1s 2s;", "invalid value"),
    ("expires modified @1h;", "daily time cannot be used with \"modified\" parameter"), ("expires @25h;", "daily time value must be less than 24 hours"),
    ("expires modified;", "invalid value"), ("expires 1h; expires 2h;", "\"expires\" directive is duplicate"), ("add_header X;", "invalid number of arguments"),
    ("if_modified_since sometimes;", "invalid value \"sometimes\""), ("limit_rate x;", "invalid value"), ("max_ranges x;", "invalid number"),
    ("expires @24h;", ""), ("limit_rate 10k;", ""), ("limit_rate $arg_x;", ""), ("add_trailer A b always;", "")])
def test_errors_alike(tmp_path, line, words):
    refused_alike(tmp_path, line, words)


@pytest.mark.parametrize("line", ["add_header Content-Length 1;", "add_header Transfer-Encoding x;", "add_header Connection x;", "add_trailer Content-Length 1;",
                                  "add_trailer Content-Encoding x;", "add_header 'a b' c;", "add_header A b sometimes;"])
def test_what_frames_an_answer_is_refused(tmp_path, line):
    (tmp_path / "t.conf").write_text("events {}\nhttp { %s }\n" % line)
    code, out = harness.run_sluice("-t", "-p", tmp_path, "-c", "t.conf")
    assert code and re.search("frames the answer|invalid header name|invalid parameter", out)


# --- limit_rate ---

RATES = r"""
    map $http_x_rate $rate { default 0; a 20k; }
    proxy_http_version 1.1;
    send_timeout 1s;
    server {
        listen 127.0.0.1:@http@;
        location /none/ { proxy_pass http://@up@/; }
        location /rate/ { limit_rate 20k; proxy_pass http://@up@/; }
        location /after/ { limit_rate 20k; limit_rate_after 40k; proxy_pass http://@up@/; }
        location /var/ { limit_rate $rate; proxy_pass http://@up@/; }
        location /slow/ { limit_rate 1000; proxy_pass http://@up@/; }
        location /chunked/ { limit_rate 20k; proxy_pass http://@up@/; }
        location /set/ { limit_rate 1; set $limit_rate 20k; proxy_pass http://@up@/; }
        location /set0/ { limit_rate 1; set $limit_rate 0; proxy_pass http://@up@/; }
        location /if/ { proxy_pass http://@up@/; if ($arg_slow) { limit_rate 20k; } }
        location /return { limit_rate 100; return 200 "@text@"; }
    }
"""


@pytest.fixture(scope="module")
def rates():
    with contextlib.ExitStack() as stack:
        up = Origin({"/big": answer([], b"x" * 60000), "/big-chunked": answer([], b"x" * 60000, chunked=True)})
        stack.callback(up.stop)
        yield Both(stack, RATES, up=up.addr, text="y" * 350)


@pytest.mark.parametrize("path,headers,least,most", [
    ("/none/big", {}, 0, 1), ("/rate/big", {}, 1.8, 5), ("/after/big", {}, 0, 1), ("/var/big", {}, 0, 1), ("/var/big", {"X-Rate": "a"}, 1.8, 5),
    ("/rate/big-chunked", {}, 1.8, 5), ("/return", {}, 2.3, 6),
    ("/set/big", {}, 1.8, 5), ("/set0/big", {}, 0, 1), ("/if/big", {}, 0, 1), ("/if/big?slow=1", {}, 1.8, 5)])
def test_limit_rate_alike(rates, path, headers, least, most):
    """60000 bytes at 20 KB a second: about two seconds, of which send_timeout (1 s) knows nothing."""
    for s in rates.servers:
        begun = time.monotonic()
        with Conn(s.port) as c:
            r = c.request("GET", path, headers)
        took = time.monotonic() - begun
        assert r.is_whole and len(r.body) in (60000, 350)
        assert least <= took <= most * harness.SLOW, (s.name, took)


def test_limit_rate_is_smooth_and_leaves_others_alone(rates):
    sluice = rates.servers[1]
    with Conn(sluice.port) as slow, Conn(sluice.port) as other:
        slow.send(build("GET", "/slow/big"))
        slow.head()
        got, begun = len(slow.buf), time.monotonic()
        slow.sock.settimeout(5)
        for _ in range(3):
            assert other.request("GET", "/none/big").is_whole
            got += len(slow.sock.recv(65536))
        assert got <= 1000 * (time.monotonic() - begun + 2)


def test_a_client_that_leaves_a_slow_answer(rates):
    sluice = rates.servers[1]
    for _ in range(20):
        with Conn(sluice.port) as c:
            c.send(build("GET", "/slow/big"))
            c.head()
    with Conn(sluice.port) as c:
        assert c.request("GET", "/none/big").is_whole
