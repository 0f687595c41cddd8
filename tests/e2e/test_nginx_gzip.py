# SPDX-License-Identifier: BSD-2-Clause
"""gzip and gunzip: nginx and sluice on one file must compress the same answers, and say the same of them."""
import collections
import contextlib
import gzip
import itertools
import re
import threading
import time
import zlib

import harness
import pytest
from harness import Closed, Conn, build, free_port
from origin import Origin, answer

BOMB_BYTES = 128 << 20
TEXT = ("It was the best of times, it was the worst of times. " * 40).encode()
PAST, FUTURE = "Thu, 01 Jan 2015 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
LM = ("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
HTML, PLAIN, JSON = (("Content-Type", t) for t in ("text/html", "text/plain", "application/json"))
ZIPPED = ("Content-Encoding", "gzip")
STATUSES = ("200 OK", "201 Created", "202 Accepted", "204 No Content", "206 Partial Content", "301 Moved Permanently",
            "302 Found", "304 Not Modified", "400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found",
            "429 Too Many Requests", "500 Internal Server Error", "503 Service Unavailable")
# What an answer to a proxy says of caching.
CACHED = {
    "nothing": (), "past": (("Expires", PAST),), "future": (("Expires", FUTURE),), "not-a-date": (("Expires", "0"),),
    "no-cache": (("Cache-Control", "no-cache"),), "no-store": (("Cache-Control", "max-age=1, no-store"),),
    "private": (("Cache-Control", "private"),), "public": (("Cache-Control", "public"),), "lm": (LM,),
    "etag": (("ETag", '"x"'),), "lm-etag": (LM, ("ETag", '"x"')), "past-public": (("Expires", PAST), ("Cache-Control", "public")),
    "two-cc": (("Cache-Control", "public"), ("Cache-Control", "no-store")),
}
PROXIED = ("off", "any", "expired", "no-cache", "no-store", "private", "no_last_modified", "no_etag", "auth",
           "expired no-cache no-store private auth", "no_last_modified no_etag")


def bodies():
    out = {
        "/stream": stream, "/bomb": answer([PLAIN, ZIPPED], gzip.compress(b"\0" * BOMB_BYTES, 9)),
        "/dated": answer([HTML, ("Expires", PAST), ("Date", "Wed, 01 Jan 2014 00:00:00 GMT")], TEXT),
        "/html": answer([HTML], TEXT), "/plain": answer([PLAIN], TEXT), "/json": answer([JSON], TEXT),
        "/none": answer([], TEXT), "/chunked": answer([HTML], TEXT, chunked=True), "/close": answer([HTML], TEXT, length=False),
        "/short-chunked": answer([HTML], b"hi", chunked=True), "/empty": answer([HTML], b""),
        "/empty-chunked": answer([HTML], b"", chunked=True), "/big": answer([HTML], TEXT * 400),
        "/charset": answer([("Content-Type", "text/html; charset=utf-8")], TEXT),
        "/charset-json": answer([("Content-Type", "application/json;charset=utf-8")], TEXT),
        "/charset-space": answer([("Content-Type", "application/json ; charset=utf-8")], TEXT),
        "/other-param": answer([("Content-Type", "application/json; odata=x")], TEXT),
        "/upper": answer([("Content-Type", "Text/HTML")], TEXT),
        "/vary": answer([HTML, ("Vary", "Origin")], TEXT), "/sse": answer([("Content-Type", "text/event-stream")], b"data: x\n\n" * 50, chunked=True),
        "/etag": answer([HTML, ("ETag", '"abc"'), ("Accept-Ranges", "bytes"), LM], TEXT),
        "/weak": answer([HTML, ("ETag", 'W/"abc"')], TEXT), "/bare-etag": answer([HTML, ("ETag", "abc")], TEXT),
        "/br": answer([HTML, ("Content-Encoding", "br")], TEXT), "/identity": answer([HTML, ("Content-Encoding", "identity")], TEXT),
        "/empty-coding": answer([HTML, ("Content-Encoding", "")], TEXT),
        "/gz": answer([PLAIN, ZIPPED, ("ETag", '"z"'), ("Accept-Ranges", "bytes")], gzip.compress(TEXT)),
        "/gz-upper": answer([PLAIN, ("Content-Encoding", "GZip")], gzip.compress(TEXT)),
        "/gz-html": answer([HTML, ZIPPED], gzip.compress(TEXT)), "/gz-chunked": answer([PLAIN, ZIPPED], gzip.compress(TEXT), chunked=True),
        "/gz-two": answer([PLAIN, ZIPPED], gzip.compress(b"one ") + gzip.compress(b"two")),
        "/gz-big": answer([PLAIN, ZIPPED], gzip.compress(TEXT * 400)), "/gz-404": answer([PLAIN, ZIPPED], gzip.compress(TEXT), "404 Not Found"),
        "/gz-broken": answer([PLAIN, ZIPPED], b"this is no gzip at all, is it"), "/gz-cut": answer([PLAIN, ZIPPED], gzip.compress(TEXT)[:-9]),
        "/gz-bad-sum": answer([PLAIN, ZIPPED], gzip.compress(TEXT)[:-8] + b"\0" * 8),
        "/gz-tail": answer([PLAIN, ZIPPED], gzip.compress(TEXT) + b"tail"), "/gz-empty": answer([PLAIN, ZIPPED], b""),
    }
    out |= {f"/len/{n}": answer([HTML], TEXT[:n]) for n in (1, 19, 20, 21, 99, 100, 600)}
    out |= {f"/status/{s[:3]}": answer([HTML, ("Location", "/x")], b"" if s[:3] in ("204", "304") else TEXT, s,
                                       length=s[:3] not in ("204", "304")) for s in STATUSES}
    out |= {f"/cached/{k}": answer([HTML, *v], TEXT) for k, v in CACHED.items()}
    return out


CONF = r"""
    log_format ratio "$uri $gzip_ratio";
    access_log @dir@/ratio.log ratio;
    gzip on;
    proxy_http_version 1.1;
    server {
        listen 127.0.0.1:@http@;
        location / { proxy_pass http://@up@; }
        location /off/ { gzip off; proxy_pass http://@up@/; }
        location /types/ { gzip_types application/json text/plain; proxy_pass http://@up@/;
                           location /types/inner/ { gzip_types text/css; proxy_pass http://@up@/; }
                           location /types/kept/ { gzip_vary on; proxy_pass http://@up@/; } }
        location /any/ { gzip_types *; proxy_pass http://@up@/; }
        location /vary/ { gzip_vary on; proxy_pass http://@up@/; }
        location /min/ { gzip_min_length 100; proxy_pass http://@up@/; }
        location /min0/ { gzip_min_length 0; proxy_pass http://@up@/; }
        location /v10/ { gzip_http_version 1.0; proxy_pass http://@up@/; }
        location /disable/ { gzip_disable msie6 "curl/7\\.[0-3]" ^Bad; gzip_disable "bot$"; proxy_pass http://@up@/; location /disable/in/ { gzip_disable other; proxy_pass http://@up@/; } location /disable/kept/ { proxy_pass http://@up@/; } }
        location /msie/ { gzip_disable msie6; proxy_pass http://@up@/; }
        location /passdate/ { gzip_proxied expired; proxy_pass_header Date; proxy_pass http://@up@/; }
        location /buffers/ { gzip_buffers 4 4k; proxy_pass http://@up@/; }
        location /added/ { add_header Cache-Control no-cache; gzip_proxied no-cache; proxy_pass http://@up@/; }
        @levels@
        @proxied@
        location = /return/200 { default_type text/html; return 200 "a text that is long enough to be compressed, I hope"; }
        location = /return/short { default_type text/html; return 200 "short"; }
        location = /return/403 { default_type text/html; return 403 "a text that is long enough to be compressed, I hope"; }
        location = /return/404 { default_type text/html; return 404 "a text that is long enough to be compressed, I hope"; }
        location = /return/500 { default_type text/html; return 500 "a text that is long enough to be compressed, I hope"; }
        location = /return/plain { default_type text/plain; return 200 "a text that is long enough to be compressed, I hope"; }
        location /gunzip/ { gunzip on; proxy_pass http://@up@/; }
        location /gunzip-off/ { gunzip off; gzip off; proxy_pass http://@up@/; }
        location /gunzip-vary/ { gunzip on; gzip_vary on; proxy_pass http://@up@/; }
        location /gunzip-only/ { gzip off; gunzip on; gunzip_buffers 2 4k; proxy_pass http://@up@/; }
    }
"""
CONF = CONF.replace("@levels@", "".join(f"location /level/{n}/ {{ gzip_comp_level {n}; proxy_pass http://@up@/; }}\n" for n in range(1, 10)))
CONF = CONF.replace("@proxied@", "".join(f"location /p{i}/ {{ gzip_proxied {p}; proxy_pass http://@up@/; }}\n" for i, p in enumerate(PROXIED)))

Case = collections.namedtuple("Case", "path headers method version")


def case(path, *headers, ae="gzip", method="GET", version="1.1"):
    return Case(path, (*headers, *([("Accept-Encoding", ae)] if ae is not None else [])), method, version)


VIA = ("Via", "1.1 proxy")
CODINGS = [case("/html", ae=ae) for ae in (
    None, "", "gzip", "GZIP", "gzi", "gzip, deflate", "deflate, gzip", "deflate,gzip", "deflate;gzip", "x-gzip", "agzip, gzip",
    "agzip", "*", "identity", "gzip;q=0", "gzip;q=0.0", "gzip;q=0.000", "gzip;q=0.0000", "gzip;q=0.001", "gzip;q=1", "gzip;q=1.0",
    "gzip;q=1.1", "gzip;q=2", "gzip;q=0.5, *;q=0", "gzip ;q=0.5", "gzip; q=0.5", "gzip;Q=0.5", "gzip;q=.5", "gzip;q=0,deflate",
    "gzip;q=x", "gzip;x=1", "gzip;q", "gzip;q=", "gzip;", "gzip ", "gzip x", "br;q=1, gzip;q=0.8", "br, gzip;q=0, gzip", "gzip,",
    "gzipped", "gzip;q=0.5x", "gzip;q=0. 5", "gzip ,x", "\tgzip", "deflate,\tgzip")]
CODINGS.append(Case("/html", (("Accept-Encoding", "deflate"), ("Accept-Encoding", "gzip")), "GET", "1.1"))
KINDS = [case(p + q) for p in ("", "/types", "/types/inner", "/types/kept", "/any") for q in (
    "/html", "/plain", "/json", "/none", "/charset", "/charset-json", "/charset-space", "/other-param", "/upper")]
SIZES = [case(f"{p}/len/{n}") for p in ("", "/min", "/min0") for n in (1, 19, 20, 21, 99, 100, 600)]
SIZES += [case(p + q) for p in ("", "/min", "/min0") for q in ("/short-chunked", "/empty", "/empty-chunked", "/chunked", "/close")]
OTHERS = [case(f"/status/{s[:3]}") for s in STATUSES]
OTHERS += [case(p) for p in ("/etag", "/weak", "/bare-etag", "/br", "/identity", "/empty-coding", "/gz-html", "/off/html", "/big",
                             "/buffers/big", "/added/etag", "/types/gz", "/any/sse", "/sse", "/missing")]
OTHERS += [case(f"/vary{p}", ae=ae) for p in ("/html", "/plain", "/vary", "/len/5", "/br", "/status/404", "/status/500") for ae in (None, "gzip")]
OTHERS += [case(p, method="HEAD") for p in ("/html", "/etag", "/vary/html", "/chunked")]
OTHERS += [case(p, version="1.0") for p in ("/html", "/v10/html", "/v10/chunked", "/v10/etag")]
OTHERS += [case(f"/level/{n}/big") for n in range(1, 10)]
OTHERS += [case(p + q) for p in ("/return/",) for q in ("200", "short", "403", "404", "500", "plain")]
OTHERS += [case("/return/200", method="HEAD"), case("/return/200", ae=None)]
AGENTS = [case("/msie/html", ("User-Agent", a)) for a in (
    "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)",
    "Mozilla/4.0 (compatible; MSIE 5.5; Windows)", "Mozilla/4.0 (compatible; MSIE 4.01; Windows)", "MSIE 7.0; x", "MSIE 6", "curl/8", "MSIE 61.0",
    "Mozilla (MSIE 6.0) MSIE 8.0")] + [case("/html", ("User-Agent", "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)"))]
AGENTS += [case(p + "/html", ("User-Agent", a)) for p in ("/disable", "/disable/in", "/disable/kept") for a in (
    "curl/7.2", "curl/7.9", "x CURL/7.0", "Bad/1", "x Bad", "robot", "robots", "other", "MSIE 6.0; x", "")]
VIAS = [case(f"/p{i}/cached/{c}", VIA) for i, c in itertools.product(range(len(PROXIED)), CACHED)]
VIAS += [case(f"/p{i}/cached/public", VIA, ("Authorization", "Basic eA==")) for i in range(len(PROXIED))]
VIAS += [case("/html", VIA), case("/passdate/dated", VIA), case("/p2/dated", VIA), case("/p0/cached/public")]
GUNZIPS = [case(p + q, ae=ae) for p in ("/gunzip", "/gunzip-vary", "/gunzip-only", "/gunzip-off") for ae in (None, "gzip")
           for q in ("/gz", "/gz-html", "/gz-upper", "/gz-chunked", "/gz-two", "/gz-404", "/html", "/br")]
GUNZIPS += [case(f"/gunzip{q}", ae=None) for q in ("/gz-big", "/gz-broken", "/gz-cut", "/gz-bad-sum", "/gz-tail", "/gz-empty")]
GUNZIPS += [case("/gunzip-only/gz-big", ae=None), case("/gunzip/gz", ae="gzip;q=0"), case("/gunzip/gz", method="HEAD", ae=None),
            case("/gunzip/gz", version="1.0"), case("/gunzip/gz", VIA), case("/gunzip/gz-two", ae="deflate")]
CASES = list(dict.fromkeys(CODINGS + KINDS + SIZES + OTHERS + AGENTS + VIAS + GUNZIPS))


@pytest.fixture(scope="module")
def pair():
    with contextlib.ExitStack() as stack:
        up = Origin(bodies())
        stack.callback(up.stop)
        servers = []
        for cls in (harness.Nginx, harness.Sluice):
            s = cls(CONF, {"http": free_port(), "up": up.addr}, main="worker_processes 1;")
            s.port = s.values["http"]
            servers.append(stack.enter_context(s))
        yield servers


def ask(s, c):
    """What came, in a form in which two servers can be compared."""
    with Conn(s.port) as conn:
        conn.send(build(c.method, c.path, c.headers, version=c.version))
        try:
            r = conn.head()
            conn.body(r, c.method)
        except (Closed, ConnectionError):
            return "cut"   # where, is a matter of buffers
    fields = collections.defaultdict(list)
    for k, v in r.headers:
        if k.lower() not in ("date", "server"):
            fields[k.lower()].append(v)
    body = r.body
    if r.header("Content-Encoding") == "gzip" and r.header("Content-Type") == "text/html" and body:
        d = zlib.decompressobj(31)
        body = d.decompress(body)
        assert d.eof and not d.unused_data
    if re.match(rb'<html>\r\n<head><title>\d|{"error"', body):
        body = b"(its own page)"
        for name in ("content-type", "content-length", "content-encoding", "transfer-encoding"):
            fields.pop(name, None)
    return {"status": r.status, "fields": dict(fields), "body": body}


# Where sluice differs on purpose, see docs/nginx.md.
OTHERWISE = {
    case("/html", ae="\tgzip"): "a tab before a value is white space, no part of it",
    case("/gunzip/gz-empty", ae=None): "nothing at all is an answer without a body, not one that is cut off",
}


@pytest.mark.parametrize("c", CASES, ids=[f"{c.method} {c.path} {c.headers}" for c in CASES])
def test_alike(pair, c):
    nginx, sluice = (ask(s, c) for s in pair)
    if c in OTHERWISE:
        assert sluice != "cut" and sluice != nginx
    else:
        assert sluice == nginx


def test_broken_gzip_is_logged_and_never_whole(pair):
    nginx, sluice = pair
    for path in ("/gunzip/gz-broken", "/gunzip/gz-cut", "/gunzip/gz-bad-sum", "/gunzip/gz-tail"):
        assert ask(sluice, case(path, ae=None)) == "cut"
    assert "inflate() failed" in (sluice.dir / "error.log").read_text()


def stream(conn, head):
    """An event each time the client has seen the last one."""
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for i in range(20):
        event = b"data: event %d\n\n" % i
        conn.sendall(b"%x\r\n%s\r\n" % (len(event), event))
        assert go_on.acquire(timeout=20)
    conn.sendall(b"0\r\n\r\n")


go_on = threading.Semaphore(0)


def test_stream_is_flushed_event_by_event(pair):
    """The upstream sends an event only when the client could read the one before."""
    d = zlib.decompressobj(31)
    with Conn(pair[1].port) as c:
        c.send(build("GET", "/any/stream", {"Accept-Encoding": "gzip"}))
        r = c.head()
        assert r.header("Content-Encoding") == "gzip" and r.header("Transfer-Encoding") == "chunked"
        for i in range(20):
            text = b""
            while not text.endswith(b"event %d\n\n" % i):
                text += d.decompress(c.chunk())
            go_on.release()
        while part := c.chunk():
            d.decompress(part)
        assert d.eof


def test_gunzip_is_bounded_by_what_the_client_reads(pair):
    """128 MB come out of 128 KB; a client that does not read costs the gateway its buffers, no more."""
    sluice = pair[1]
    worker = harness.children(sluice.proc.pid)[0]
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(Conn(sluice.port, rcvbuf=4096)) for _ in range(8)]
        before = harness.pss_kb(worker)
        for c in conns:
            c.send(build("GET", "/gunzip/bomb"))
        for c in conns:
            c.head()
        time.sleep(1)
        assert harness.pss_kb(worker) - before < 8 * 1024
        total, c = 0, conns[0]
        while part := c.chunk():
            total += len(part)
        assert total == BOMB_BYTES


def test_ratio(pair):
    for s in pair:
        ask(s, case("/big"))
        ask(s, case("/off/big"))

    def lines(s):
        found = [x for x in (s.dir / "ratio.log").read_text().splitlines() if "/big" in x]
        return found[-2:] if len(found) >= 2 and found[-1].startswith("/off/big") else None
    nginx, sluice = (harness.until(lambda s=s: lines(s), 5, "the log") for s in pair)
    assert sluice[1] == nginx[1] == "/off/big -"
    assert abs(float(sluice[0].split()[1]) / float(nginx[0].split()[1]) - 1) < 0.05


@pytest.mark.parametrize("line,words", [
    ("gzip_comp_level 0", "value must be between 1 and 9"), ("gzip_comp_level 10", "value must be between 1 and 9"),
    ("gzip_http_version 2", "invalid value"), ("gzip_proxied sometimes", "invalid value"), ("gzip maybe", "it must be"),
    ("gzip_buffers 4", "invalid number of arguments"), ("gzip_buffers x 4k", "invalid"), ("gzip_min_length -1", "invalid value")])
def test_errors(line, words):
    with harness.temp_dir() as folder:
        (folder / "t.conf").write_text("events {}\nhttp { %s; }\n" % line)
        code, text = harness.run_sluice("-t", "-p", folder, "-c", "t.conf")
        assert code and words in text
