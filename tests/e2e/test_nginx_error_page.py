# SPDX-License-Identifier: BSD-2-Clause
"""Where errors go from: error_page, internal, named locations, X-Accel-Redirect, in nginx and sluice alike."""
import contextlib

import pytest
from alike import Both, case, on, raw
from harness import until

CONF = r"""
    default_type text/plain;
    proxy_http_version 1.1;
    log_format f '$status|$uri|$args|$request|$request_method|$request_uri|$upstream_status|$upstream_addr';
    access_log @dir@/f.log f;
    limit_req_zone $server_name zone=one:1m rate=1r/m;

    # --- the kinds of error_page
    server {
        listen 127.0.0.1:@http@ default_server;
        server_name pages.test;
        location / { return 404; }
        location = /p404 { return 200 "page $status $uri $request_uri $request_method $args\n"; }
        location = /p503 { return 503 "text of 503\n"; }
        location = /p302 { return 302 /elsewhere; }
        location = /pempty { return 200; }
        location = /p204 { return 204; }
        location = /pnone { return 404; }
        location /up/ { proxy_pass http://@mock@/echo/; proxy_set_header X-Status $status; }
        location /in/ { internal; return 200 "internal $uri $args $status\n"; }
        location = /in/exact { internal; proxy_pass http://@mock@/echo; }

        location /a/ { error_page 404 /p404; return 404; }
        location /b/ { error_page 404 =200 /p404; return 404; }
        location /c/ { error_page 404 = /p404; return 404; }
        location /d/ { error_page 404 = /p503; return 404; }
        location /e/ { error_page 404 /p503; return 404; }
        location /f/ { error_page 404 =418 /p404; return 404; }
        location /g/ { error_page 404 /p302; return 404; }
        location /h/ { error_page 404 = /p302; return 404; }
        location /i/ { error_page 404 /pempty; return 404; }
        location /j/ { error_page 404 /p204; return 404; }
        location /k/ { error_page 404 =204 /p404; return 404; }
        location /l/ { error_page 404 /pnone; return 404; }
        location /m/ { error_page 404 403 500 503 /p404; return 403; }
        location /m5/ { error_page 404 403 500 503 /p404; return 500; }
        location /m3/ { error_page 404 403 500 503 /p404; return 405; }
        location /n/ { error_page 404 http://else.test/x?a=b; return 404; }
        location /n1/ { error_page 404 =301 http://else.test/$uri; return 404; }
        location /n7/ { error_page 404 =307 https://$host$request_uri; return 404; }
        location /n2/ { error_page 404 =200 http://else.test/; return 404; }
        location /nr/ { error_page 404 relative; return 404; }
        location /o/ { error_page 404 /p404?x=y&z=$arg_a; return 404; }
        location /oc/ { error_page 404 /p404?x=y; return 404; }
        location /ov/ { error_page 404 /p$status?s=$status; return 404; }
        location /ow/ { error_page 404 $arg_to; return 404; }
        location /q/ { error_page 404 /in/page; return 404; }
        location /qe/ { error_page 404 /in/exact?a=1; return 404; }
        location /r/ { error_page 404 /up/there; return 404; }
        location /s/ { error_page 404 /up/there; return 404; }
        location /t/ { error_page 404 /p404; return 404 "own text\n"; }
        location /two/ { error_page 404 /p503; error_page 404 /p404; return 404; }
        location /redir/ { error_page 301 302 /p404; return 301 http://x.test/; }
        location /rdown/ { error_page 302 =200 /p404; return 302 /local; }
        location /sp/ { error_page 404 "/p404 with space"; return 404; }
        location /big/ { client_max_body_size 10; error_page 413 /p404; proxy_pass http://@mock@/echo/; }
        location /bigup/ { client_max_body_size 10; error_page 413 /up/big; proxy_pass http://@mock@/echo/; }
        location /bignamed/ { client_max_body_size 10; error_page 413 @up; proxy_pass http://@mock@/echo/; }
        location /dead/ { error_page 502 /p404; proxy_pass http://127.0.0.1:@dead@; }
        location /deadup/ { error_page 502 = /up/instead?x=1; proxy_pass http://127.0.0.1:@dead@; }
        location /deadname/ { error_page 502 = @up; proxy_pass http://127.0.0.1:@dead@; }
        location /deadname2/ { error_page 502 504 =200 @text; proxy_pass http://127.0.0.1:@dead@; }
        location /slow/ { proxy_read_timeout 300ms; error_page 504 /p404; proxy_pass http://@mock@/echo/; }
        location /limited/ { limit_req zone=one; limit_req_status 429; error_page 429 =420 /p404; proxy_pass http://@mock@/echo/; }
        location /nested/ { error_page 404 /p404; location /nested/in/ { return 404; }
                            location /nested/own/ { error_page 403 /p404; return 404; } }
        location @up { proxy_pass http://@mock@; proxy_set_header X-Uri $uri; }
        location @text { return 202 "named $uri $request_uri $request_method $status\n"; }
        location @none { return 404; }
        location @again { error_page 404 @text; return 404; }
        location /named/ { error_page 404 @text; return 404; }
        location /named0/ { error_page 404 = @text; return 404; }
        location /namednone/ { error_page 404 @none; return 404; }
        location /namedmiss/ { error_page 404 @missing; return 404; }
        location /namedmiss5/ { error_page 404 @missing; error_page 500 /p404; return 404; }
        location /namedagain/ { error_page 404 @again; return 404; }
        location /namedup/ { error_page 404 = @up; return 404; }
        location /namedvar/ { error_page 404 = @$arg_n; return 404; }
        location /slashed/ { error_page 301 /p404; proxy_pass http://@mock@/echo/; }
        location /head/ { add_header X-Here h; error_page 404 /headers; return 404; }
        location /headers { add_header X-There t always; return 404 "x\n"; }
        location /headers2 { add_header X-There t; return 200 "x\n"; }
        location /headon/ { error_page 404 /headers2; return 404; }
        location /type/ { default_type text/html; error_page 404 /p404; return 404; }
    }

    # --- recursion and cycles
    server {
        listen 127.0.0.1:@http@;
        server_name rec.test;
        recursive_error_pages on;
        location /a { error_page 404 /b; return 404; }
        location /b { error_page 403 /c; return 403; }
        location /c { return 200 "c $status\n"; }
        location /loop { error_page 404 /loop; return 404; }
        location /loop5 { error_page 404 500 /loop5; return 404; }
        location /loopn { error_page 404 @n; return 404; }
        location @n { error_page 404 @n; return 404; }
        location /off { recursive_error_pages off; error_page 404 /b; return 404; }
        location /deep1 { error_page 404 = /deep2; return 404; }
        location /deep2 { error_page 404 = /deep3; return 404; }
        location /deep3 { error_page 404 = /deep4; return 404; }
        location /deep4 { error_page 404 = @deep5; return 404; }
        location @deep5 { error_page 404 = /c; return 404; }
        location /dead { error_page 502 = /dead2; proxy_pass http://127.0.0.1:@dead@; }
        location /dead2 { error_page 502 = @live; proxy_pass http://127.0.0.1:@dead@; }
        location @live { proxy_pass http://@mock@; proxy_set_header X-Uri $uri; }
    }

    # --- inheritance, and errors before any location
    server {
        listen 127.0.0.1:@http@;
        server_name outer.test;
        error_page 404 /e404;
        error_page 400 405 414 494 /e400;
        error_page 403 =200 /e403;
        large_client_header_buffers 2 2k;
        location = /e404 { return 200 "e404 $status\n"; }
        location = /e400 { return 200 "e400 $status $request_method [$request] [$uri]\n"; }
        location = /e403 { return 200 "e403 $status\n"; }
        location /in { return 404; }
        location /own { error_page 403 /e404; return 404; }
        location /own3 { error_page 403 /e404; return 403; }
        location /three { return 403; }
        location /nobody { }
        location /internal { internal; return 200 in; }
        location /internal/open { return 200 "open\n"; }
        location /x { location /x/int { internal; return 200 in; } return 200 "x\n"; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name returns.test;
        error_page 404 /e404;
        error_page 403 = @n;
        location @n { return 200 "named after all\n"; }
        return 404;
    }
    server {
        listen 127.0.0.1:@http@;
        server_name returns3.test;
        error_page 403 = @n;
        location @n { return 200 "named after all $uri\n"; }
        return 403;
    }
    server {
        listen 127.0.0.1:@two@;
        server_name bad.test;
        large_client_header_buffers 2 2k;
        error_page 400 =200 /bad;
        error_page 414 @long;
        error_page 405 505 501 /bad;
        location = /bad { return 200 "bad $status $request_method $uri\n"; }
        location @long { return 200 "never\n"; }
        location / { return 200 "fine\n"; }
    }

    server {
        listen 127.0.0.1:@http@;
        server_name intercept.test;
        proxy_intercept_errors on;
        error_page 404 /e/404;
        error_page 401 503 =200 /e/503;
        error_page 302 = @n;
        location / { proxy_pass http://@mock@/echo/; }
        location /e/ { return 200 "page $status $uri\n"; }
        location /off/ { proxy_intercept_errors off; proxy_pass http://@mock@/echo/; }
        location /own/ { error_page 500 /e/500; proxy_pass http://@mock@/echo/; }
        location /up/ { error_page 404 = /echo/x; proxy_pass http://@mock@/echo/; }
        location /upkeep/ { error_page 404 /echo/x; proxy_pass http://@mock@/echo/; }
        location /echo/ { proxy_pass http://@mock@; proxy_set_header X-Mock-Status 204; }
        location /rec/ { recursive_error_pages on; error_page 404 /rec/2; proxy_pass http://@mock@/echo/; }
        location @n { return 200 "named $uri\n"; }
    }

    # --- X-Accel-Redirect
    server {
        listen 127.0.0.1:@http@;
        server_name accel.test;
        add_header X-Server s;
        location / { proxy_pass http://@mock@/echo/; }
        location /up/ { internal; proxy_pass http://@mock@/echo/second/; }
        location /text/ { internal; return 200 "text $uri $args $request_method $request_uri\n"; }
        location /code/ { internal; return 403; }
        location /err/ { error_page 404 /text/404; proxy_pass http://@mock@/echo/; }
        location @named { return 200 "named $uri $request_method\n"; }
        location @up { proxy_pass http://@mock@; }
        location /loop/ { proxy_pass http://@mock@/echo/; proxy_set_header X-Mock-Add-Header "X-Accel-Redirect: /loop/"; }
    }
"""

PAGES = on("pages.test", [(f"{t} {m}", t, {"method": m}) for t in (
    "/a/", "/b/x", "/c/?q=1", "/d/", "/e/", "/f/", "/g/", "/h/", "/i/", "/j/", "/k/", "/l/", "/m/", "/m5/", "/m3/", "/n/",
    "/n1/x", "/o/?a=1", "/ov/", "/q/", "/r/x", "/named/x", "/namedup/echo/x?a=1", "/deadname/echo/y") for m in ("GET", "HEAD", "POST")
                           if (t, m) != ("/r/x", "HEAD")])
PAGES += on("pages.test", [(t, t) for t in (
    "/", "/p404", "/in/x", "/in/exact", "/n7/?q=1", "/n2/", "/nr/", "/oc/?a=1", "/ow/?to=/p404", "/ow/?to=@text",
    "/ow/?to=http://x.test/", "/ow/?to=/in/a%20b", "/qe/", "/t/", "/two/", "/redir/", "/rdown/", "/sp/", "/dead/x",
    "/deadup/", "/deadname2/x?y", "/nested/in/", "/nested/own/", "/named0/", "/namednone/", "/namedmiss/", "/namedmiss5/",
    "/namedagain/", "/namedvar/?n=text", "/namedvar/?n=zip", "/slashed", "/head/", "/headon/", "/headers2", "/type/",
    "/in/../a/%20x", "/namedup/echo/%41%20?x=%20", "/limited/1", "/limited/2", "/absent")])
PAGES += on("pages.test", [
    ("silent upstream", "/slow/", {"headers": {"X-Mock-Fault": "stall-before-head"}}),
    ("POST body to the page's upstream", "/s/x", {"method": "POST", "body": "hello"}),
    ("POST body to a named location", "/namedup/echo/z", {"method": "POST", "body": "hello"}),
    ("POST body after a dead upstream", "/deadname/echo/z", {"method": "POST", "body": "hello"}),
    ("POST body after a dead upstream to a path", "/deadup/z", {"method": "POST", "body": "hello"}),
    ("large POST body after a dead upstream", "/deadname/echo/z", {"method": "POST", "body": "h" * 70000}),
    ("413", "/big/", {"method": "POST", "body": "0123456789a"}),
    ("413 to an upstream", "/bigup/", {"method": "POST", "body": "0123456789a"}),
    ("413 to a name", "/bignamed/echo/", {"method": "POST", "body": "0123456789a"}),
    ("413 of chunks", "/big/", {"method": "POST", "body": "b\r\n0123456789a\r\n0\r\n\r\n",
                                "headers": {"Transfer-Encoding": "chunked"}}),
    ("1.0", "/a/", {"version": "1.0"}), ("PUT", "/a/", {"method": "PUT", "body": "x"}), ("PURGE", "/a/", {"method": "PURGE"}),
    ("1.0 named", "/named/", {"version": "1.0"}), ("OPTIONS", "/named/", {"method": "OPTIONS"}),
])
PAGES += [raw("pages keep alive", "".join(f"GET /{p}/ HTTP/1.1\r\nHost: pages.test\r\n\r\n" for p in ("a", "named", "e", "q")), n=4),
          raw("pages keep alive with bodies", "".join(
              f"POST /{p}/ HTTP/1.1\r\nHost: pages.test\r\nContent-Length: 3\r\n\r\nabc" for p in ("a", "named", "e", "q", "r")), n=5),
          raw("500 with a page closes", "GET /m5/ HTTP/1.1\r\nHost: pages.test\r\n\r\n"),
          raw("HEAD keeps alive", "HEAD /j/ HTTP/1.1\r\nHost: pages.test\r\n\r\n" * 2, "HEAD", n=2)]
RECURSION = on("rec.test", [(t, t) for t in (
    "/a", "/b", "/c", "/loop", "/loop5", "/loopn", "/off", "/deep1", "/deep3", "/dead", "/dead?a=b")])
OUTER = on("outer.test", [(t, t) for t in (
    "/in", "/own", "/own3", "/three", "/nobody", "/", "/e404", "/internal", "/internal/open", "/x", "/x/int", "/internal?a",
    "/%00", "/..")])
OUTER += on("outer.test", [("TRACE", "/", {"method": "TRACE"}), ("POST nobody", "/nobody", {"method": "POST", "body": "x"})])
OUTER += [case("return of a server", "/", "returns.test"), case("return of a server, path", "/e404", "returns.test"),
          case("return of a server to a name", "/p", "returns3.test")]
BAD = [raw(f"bad: {name}", text) for name, text in {
    "no Host": "GET /x HTTP/1.1\r\n\r\n", "two lengths": "POST / HTTP/1.1\r\nHost: bad.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "bad line": "GET / HTPP/1.1\r\n\r\n", "version": "GET / HTTP/2.0\r\n\r\n", "method": "get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "long target": f"GET /{'a' * 3000} HTTP/1.1\r\nHost: bad.test\r\n\r\n", "above the root": "GET /../x HTTP/1.1\r\nHost: bad.test\r\n\r\n",
    "coding": "POST / HTTP/1.1\r\nHost: bad.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "long field": f"GET / HTTP/1.1\r\nHost: bad.test\r\nX-Long: {'a' * 3000}\r\n\r\n",
    "fine": "GET / HTTP/1.1\r\nHost: bad.test\r\n\r\n",
}.items()]


def accel(name, to, *more, **kw):
    fields = [("X-Mock-Add-Header", f"X-Accel-Redirect: {to}")] + [("X-Mock-Add-Header", m) for m in more]
    return case(f"accel {name}", kw.pop("target", "/x?q=1"), "accel.test", headers=fields + kw.pop("headers", []), **kw)


ACCEL = [
    accel("path", "/text/a"), accel("args", "/text/a?b=c"), accel("escapes", "/text/a%20b%2Fc?x=%20"),
    accel("name", "@named"), accel("missing name", "@missing"), accel("upstream", "/up/b?c=d"),
    accel("named upstream", "@up"), accel("no location", "/text"), accel("climbs", "/text/../x"), accel("climbs at the end", "/text/.."),
    accel("climbs by escapes", "/text/%2e%2e/x"), accel("dots in a name", "/text/..a/b.."), accel("code", "/code/"), accel("nothing", "?x"),
    accel("POST", "/text/a", method="POST", body="abc"), accel("POST to a name", "@named", method="POST", body="abc"),
    accel("HEAD", "/text/a", method="HEAD"), accel("POST to an upstream", "/up/x", method="POST", body="abc"),
    accel("kept fields", "/text/a", "Content-Disposition: attachment", "Set-Cookie: a=1", "Set-Cookie: b=2",
          "Cache-Control: no-store", "Expires: Thu, 01 Jan 1970 00:00:01 GMT", "Accept-Ranges: none", "X-Other: gone",
          "ETag: \"x\"", "Last-Modified: Thu, 01 Jan 1970 00:00:01 GMT", "Vary: *"),
    accel("of an error", "/text/a", headers=[("X-Mock-Status", "404")]), accel("of a redirect", "/text/a", headers=[("X-Mock-Status", "302")]),
    accel("in an error page", "/nowhere", target="/err/x"), accel("cycle", "/loop/"),
]
INTERCEPT = on("intercept.test", [(f"{t} of {status} {m}", t, {"method": m, "headers": [
    ("X-Mock-Status", status), ("X-Mock-Add-Header", "WWW-Authenticate: Basic realm=up"), ("X-Mock-Add-Header", "X-Gone: x")]})
    for m in ("GET", "HEAD") for t in ("/x", "/off/x", "/own/x", "/up/x", "/upkeep/x", "/rec/x")
    for status in ("200", "404", "401", "503", "302", "500", "403") # What the mock says to a HEAD that is passed on names nginx's Connection.
    if m == "GET" or status == "404" and t not in ("/off/x", "/own/x")])
CASES = INTERCEPT + PAGES + RECURSION + OUTER + BAD + ACCEL


@pytest.fixture(scope="module")
def both():
    with contextlib.ExitStack() as stack:
        yield Both(stack, CONF)


@pytest.mark.parametrize("c", CASES, ids=[c.id for c in CASES])
def test_alike(both, c):
    port = (lambda s: s.two) if c.id.startswith("bad: ") else None
    (*nginx, nginx_ended), (*sluice, sluice_ended) = both.ask(c, port)
    if c.id == "bad: long target":  # @long is for no request without a path: docs/nginx.md, "What is refused with 400"
        nginx[0]["status"] = {500: 414}[nginx[0]["status"]]
    assert sluice == nginx
    if nginx[-1] != "closed" and "close" not in nginx[-1]["fields"].get("connection", ()):
        assert sluice_ended == nginx_ended


LOGGED = [case("plain", "/a/x?q=1", "pages.test"), case("POST", "/named/x?q", "pages.test", method="POST", body="abc"),
          case("twice", "/dead?a=b", "rec.test"), case("accel", "/deadup/x", "pages.test", method="PUT", body="x"),
          case("code", "/f/", "pages.test"), case("own", "/c/", "pages.test"), case("redirect", "/n1/", "pages.test"),
          case("none", "/l/", "pages.test"), accel("to an upstream", "/up/x?y=z", method="POST", body="a")]


def test_log_alike(stack):
    """What a request has become, and what it was: $request stays, $uri does not."""
    pair = Both(stack, CONF)
    for c in LOGGED:
        pair.ask(c)

    def lines(s):
        text = (s.dir / "f.log").read_text().replace(str(s.port), "PORT")
        return text.splitlines() if text.count("\n") == len(LOGGED) else None
    nginx, sluice = (until(lambda s=s: lines(s), 5, "the access log") for s in pair.servers)
    assert sluice == nginx
    assert any(" : " in line for line in sluice)


WORDS = {
    "/loop": r"\[error\] .*rewrite or internal redirection cycle while internally redirecting to \"/loop\"",
    "/loopn": r"\[error\] .*rewrite or internal redirection cycle while redirect to named location \"@n\"",
}


def test_words_alike(stack):
    pair = Both(stack, CONF)
    for path, words in WORDS.items():
        pair.ask(case(path, path, "rec.test"))
        for s in pair.servers:
            s.wait_log(words + r".*, client: 127\.0\.0\.1, server: rec\.test, request: \"GET " + path)
    pair.ask(case("missing", "/namedmiss/", "pages.test"))
    pair.ask(accel("unsafe", "/text/../x"))
    for s in pair.servers:
        s.wait_log(r'\[error\] .*could not find named location "@missing"')
        s.wait_log(r'\[error\] .*unsafe URI "/text/../x" was detected')


TLS = r"""
    server {
        listen 127.0.0.1:@http@ ssl;
        server_name localhost;
        ssl_certificate @cert@;
        ssl_certificate_key @key@;
        error_page 497 https://$host:1234$request_uri;
        location / { return 200 "tls\n"; }
    }
    server {
        listen 127.0.0.1:@two@ ssl;
        server_name localhost;
        ssl_certificate @cert@;
        ssl_certificate_key @key@;
        location / { return 200 "tls\n"; }
    }
    server {
        listen 127.0.0.1:@two@ ssl;
        server_name page.test;
        ssl_certificate @cert@;
        ssl_certificate_key @key@;
        error_page 497 =200 /plain;
        location /plain { return 200 "plain $scheme $request_method $status\n"; }
    }
"""


@pytest.mark.parametrize("c,second", [
    (case("redirect", "/a%20b?x=y", "localhost"), False), (case("POST", "/a", "localhost", method="POST", body="abc"), False),
    (case("no page", "/a", "localhost"), True), (case("HEAD", "/a", "localhost", method="HEAD"), True),
    (case("page of a name", "/a", "page.test", method="POST", body="abc"), True),
    (raw("no HTTP", "hello\r\n\r\n"), True), (raw("two", "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2), True),
], ids=lambda x: x.id if hasattr(x, "id") else "")
def test_plain_http_on_a_tls_port_alike(stack, ca, c, second):
    pair = Both(stack, TLS, cert=ca.server.chain, key=ca.server.key)
    (*nginx, _), (*sluice, _) = pair.ask(c, (lambda s: s.two) if second else None)
    assert sluice == nginx
