# SPDX-License-Identifier: BSD-2-Clause
"""What is changed between client and upstream: redirects, cookies, method, body. nginx and sluice, one file."""
import contextlib

import harness
import pytest
from pair import Pair, config_errors, raw_answer, x_raw

CONF = r"""
    proxy_http_version 1.1;
    upstream group { server @up@; }
    server {
        listen 127.0.0.1:@http@;
        server_name main.test;
        location /one/ { proxy_pass http://@up@/two/; }
        location /noslash { proxy_pass http://@up@/two; }
        location /nouri/ { proxy_pass http://@up@; }
        location = /exact { proxy_pass http://group/inner?x=1; }
        location /default/ { proxy_pass http://@up@/two/; proxy_redirect default; }
        location /off/ { proxy_pass http://@up@/two/; proxy_redirect off; }
        location /pair/ { proxy_pass http://@up@; proxy_redirect http://a.test/ http://b.test/x/; }
        location /rel/ { proxy_pass http://@up@; proxy_redirect http://a.test/ /; }
        location /relto/ { proxy_pass http://@up@; proxy_redirect / /p/; }
        location /norel/ { absolute_redirect off; proxy_pass http://@up@; proxy_redirect http://a.test/ /; }
        location /noport/ { port_in_redirect off; proxy_pass http://@up@; proxy_redirect http://a.test/ /; }
        location /named/ { server_name_in_redirect on; proxy_pass http://@up@; proxy_redirect http://a.test/ /; }
        location /several/ { proxy_pass http://@up@; proxy_redirect http://a.test/1/ /one/; proxy_redirect http://a.test/ /any/;
                             proxy_redirect default; }
        location /vars/ { proxy_pass http://@up@; proxy_redirect http://$host/ https://$http_x_to/; }
        location /dyn/ { proxy_pass http://@up@/two$arg_none/; }
        location /dynpair/ { proxy_pass http://@up@$request_uri; proxy_redirect http://@up@/ /d/; }
        location /empty/ { proxy_pass http://@up@; proxy_redirect http://a.test ""; }
        location /outer/ { proxy_pass http://@up@; proxy_redirect http://a.test/ /outer-a/;
                           location /outer/in/ { proxy_pass http://@up@/z/; } }

        location /re/ { proxy_pass http://@up@; proxy_redirect "~^(http://)([^/]+)/(\d+)/(.*)$" $1$2.x/n$3/$4; proxy_redirect "~*^http://A\.test/(?<rest>.*)" /found/$rest; }
        location /recase/ { proxy_pass http://@up@; proxy_redirect ~A\.TEST /never/; proxy_redirect ~*A\.TEST/$ /ever/; }
        location ~ ^/reloc/(\w+)/ { proxy_pass http://@up@; proxy_redirect http://a.test/ /$1/; }
        location /c/redomain/ { proxy_pass http://@up@/; proxy_cookie_domain ~^\.?(A)\.test$ $1-b.test; proxy_cookie_domain c.test d.test; }
        location /c/repath/ { proxy_pass http://@up@/; proxy_cookie_path ~^/(two)(/?)(.*) /$3$2$1; proxy_cookie_path ~*^/X /y; }
        location /c/reflags/ { proxy_pass http://@up@/; proxy_cookie_flags ~^(one|two)$ secure; proxy_cookie_flags ~. httponly; }
        location /c/none/ { proxy_pass http://@up@/; }
        location /c/domain/ { proxy_pass http://@up@/; proxy_cookie_domain a.test b.test; }
        location /c/dots/ { proxy_pass http://@up@/; proxy_cookie_domain .a.test .b.test; proxy_cookie_domain c.test d.test; }
        location /c/vars/ { proxy_pass http://@up@/; proxy_cookie_domain $http_x_from $host; proxy_cookie_path /$http_x_from/ /$arg_p/; }
        location /c/path/ { proxy_pass http://@up@/; proxy_cookie_path /two/ /one/; proxy_cookie_path / /root/; }
        location /c/root/ { proxy_pass http://@up@/; proxy_cookie_path /x ""; }
        location /c/both/ { proxy_pass http://@up@/; proxy_cookie_path /two /one; proxy_cookie_domain a.test b.test; }
        location /c/off/ { proxy_pass http://@up@/; proxy_cookie_path off; proxy_cookie_domain off; proxy_cookie_flags off; }
        location /c/secure/ { proxy_pass http://@up@/; proxy_cookie_flags one secure httponly; }
        location /c/strict/ { proxy_pass http://@up@/; proxy_cookie_flags one samesite=strict; proxy_cookie_flags two samesite=lax;
                              proxy_cookie_flags three samesite=none secure; }
        location /c/no/ { proxy_pass http://@up@/; proxy_cookie_flags one nosecure nohttponly nosamesite; }
        location /c/mixed/ { proxy_pass http://@up@/; proxy_cookie_flags one secure samesite=lax samesite=strict; }
        location /c/varflag/ { proxy_pass http://@up@/; proxy_cookie_flags $arg_name $arg_flag httponly; }

        location /m/post/ { proxy_pass http://@up@/; proxy_method POST; }
        location /m/var/ { proxy_pass http://@up@/; proxy_method $arg_m; }
        location /m/get/ { proxy_pass http://@up@/; proxy_method GET; }
        location /b/text/ { proxy_pass http://@up@/; proxy_set_body "fixed body"; }
        location /b/vars/ { proxy_pass http://@up@/; proxy_set_body "$request_method:$arg_a:$request_body"; }
        location /b/empty/ { proxy_pass http://@up@/; proxy_set_body ""; }
        location /b/type/ { proxy_pass http://@up@/; proxy_set_body '{"a":1}'; proxy_set_header Content-Type application/json; proxy_method PUT; }
        location /b/none/ { proxy_pass http://@up@/; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
        location /h/none/ { proxy_pass http://@up@/; proxy_pass_request_headers off; }
        location /h/host/ { proxy_pass http://@up@/; proxy_set_header Host fixed.test:81; }
        location /h/nohost/ { proxy_pass http://@up@/; proxy_set_header Host ""; }
        location /h/phost/ { proxy_pass http://@up@/; proxy_set_header Host $proxy_host; proxy_set_header X-P $proxy_port; }
        location /h/group/ { proxy_pass http://group/; }
        location /h/conn/ { proxy_pass http://@up@/; proxy_set_header Connection keep-alive; proxy_set_header X-C $http_connection; }
        location /h/v10/ { proxy_pass http://@up@/; proxy_http_version 1.0; }
        location /h/twice/ { proxy_pass http://@up@/; proxy_set_header X-T a; proxy_set_header X-T b; }
        location /h/case/ { proxy_pass http://@up@/; proxy_set_header x-lower v; proxy_set_header USER-AGENT ua; }
        location /h/ignore/ { proxy_pass http://@up@/; proxy_ignore_headers X-Accel-Expires Expires cache-control Set-Cookie Vary
                              X-Accel-Redirect X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset; }
        location /bind/ { proxy_pass http://@up@/; proxy_bind 127.0.0.9; }
        location /bind/var/ { proxy_pass http://@up@/; proxy_bind $arg_from; }
        location /bind/off/ { proxy_pass http://@up@/; proxy_bind off; }
        location /keep/ { proxy_pass http://@up@/; proxy_socket_keepalive on; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name inherit.test;
        proxy_redirect http://a.test/ /inherited/;
        proxy_cookie_path / /i/;
        proxy_method PATCH;
        proxy_set_body inherited;
        proxy_bind 127.0.0.8;
        location / { proxy_pass http://@up@; }
        location /own/ { proxy_pass http://@up@/; proxy_redirect http://c.test/ /own/; proxy_cookie_path /q /r; }
        location /off/ { proxy_pass http://@up@/; proxy_redirect off; proxy_cookie_path off; proxy_bind off; }
        location /default/ { proxy_pass http://@up@/d/; proxy_redirect default; }
    }
"""


@pytest.fixture(scope="module")
def pair():
    with contextlib.ExitStack() as stack:
        yield Pair(stack, CONF)


def both(pair, *args, **kw):
    nginx, sluice = pair.ask(*args, **kw)
    assert sluice == nginx
    return sluice


UP = "http://UP/"
PLACES = ["one", "noslash", "nouri", "default", "off", "pair", "rel", "relto", "norel", "noport", "named", "several", "vars", "dyn",
          "dynpair", "empty", "outer", "outer/in", "re", "recase", "reloc/w"]
LOCATIONS = [UP, UP + "two/x", UP + "two", "http://a.test/", "http://a.test/1/2?q=http://a.test/", "/two/x", "/", "relative", "",
             "http://main.test/y", "http://group/inner?x=1&y", "//a.test/"]


@pytest.mark.parametrize("to", LOCATIONS, ids=[t or "(empty)" for t in LOCATIONS])
@pytest.mark.parametrize("place", PLACES)
def test_location_alike(pair, place, to):
    to = to.replace("UP", pair.up.addr)
    answer = raw_answer([("Location", to)], status="302 Found")
    got = both(pair, f"/{place}/x", [x_raw(answer), ("X-To", "to.test")], host="main.test")
    assert got["status"] == 302


@pytest.mark.parametrize("host,path", [("main.test", "/exact"), ("inherit.test", "/x"), ("inherit.test", "/own/x"),
                                       ("inherit.test", "/off/x"), ("inherit.test", "/default/x"), ("none.test", "/one/x")])
@pytest.mark.parametrize("to", ["http://UP/", "http://UP/d/e", "http://a.test/z", "http://c.test/z", "http://group/inner?x=1&y"])
def test_inherited_redirects_alike(pair, host, path, to):
    answer = raw_answer([("Location", to.replace("UP", pair.up.addr))], status="301 Moved Permanently")
    both(pair, path, [x_raw(answer)], host=host)


@pytest.mark.parametrize("value", ["5; url=http://a.test/1/z", "0;URL=http://a.test/", "3", "5; url=", "1; url=/x", "2;url=http://UP/two/a",
                                   "x url=http://a.test/ url=http://a.test/"])
@pytest.mark.parametrize("place", ["pair", "several", "one", "off"])
def test_refresh_alike(pair, place, value):
    both(pair, f"/{place}/", [x_raw(raw_answer([("Refresh", value.replace("UP", pair.up.addr))]))], host="main.test")


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "304 Not Modified", "503 Service Unavailable"])
def test_location_with_other_statuses_alike(pair, status):
    both(pair, "/rel/", [x_raw(raw_answer([("Location", "http://a.test/n")], status=status))], host="main.test")


COOKIES = ["one=1", "one=1; Domain=a.test; Path=/two/x", "one=1;domain=.A.TEST;path=/two", "two=2; Path=/; Secure; HttpOnly",
           "one=1; Secure; HttpOnly; SameSite=Lax", "one=1; samesite=STRICT", "three=3; SameSite", "ONE=1; Path=/x/y; Max-Age=3",
           "one; Domain=a.test", "one=; Domain=c.test; Domain=a.test", "one=a=b; Path=/two/; path=/two/", "one = 1 ; Domain = a.test ; Path = /two/ ",
           "=1; Domain=a.test", "one=1; Domain; Path", "one=1;; Path=/two/;", "one=\"q; Path=/two/\""]
COOKIE_PLACES = ["none", "domain", "dots", "vars", "path", "root", "both", "off", "secure", "strict", "no", "mixed", "varflag", "redomain", "repath", "reflags"]


@pytest.mark.parametrize("place", COOKIE_PLACES)
@pytest.mark.parametrize("cookie", COOKIES)
def test_set_cookie_alike(pair, place, cookie):
    both(pair, f"/c/{place}/?name=one&flag=samesite=lax&p=P", [x_raw(raw_answer([("Set-Cookie", cookie), ("Set-Cookie", "z=9; Path=/two/")])),
                                                           ("X-From", "a.test")], host="main.test")


def test_inherited_cookie_path_alike(pair):
    for path in ("/", "/own/", "/off/"):
        both(pair, path, [x_raw(raw_answer([("Set-Cookie", "a=b; Path=/q/z")]))], host="inherit.test")


REQUESTS = [("/m/post/", "GET", None), ("/m/post/", "GET", "body"), ("/m/var/?m=DELETE", "GET", None), ("/m/get/", "POST", "12345"),
            ("/b/text/", "GET", None), ("/b/text/", "POST", "other"), ("/b/vars/?a=q", "POST", "client's"), ("/b/vars/", "GET", None),
            ("/b/empty/", "POST", "abc"), ("/b/empty/", "GET", None), ("/b/type/", "POST", "abc"), ("/b/none/", "POST", "abc"),
            ("/h/none/", "GET", None), ("/h/none/", "POST", "abc"), ("/h/host/", "GET", None), ("/h/nohost/", "GET", None),
            ("/h/phost/", "GET", None), ("/h/group/", "GET", None), ("/h/conn/", "GET", None), ("/h/v10/", "GET", None),
            ("/h/v10/", "POST", "abc"), ("/h/twice/", "GET", None), ("/h/case/", "GET", None), ("/keep/", "GET", None),
            ("/bind/", "GET", None), ("/bind/var/?from=127.0.0.7", "GET", None), ("/bind/var/", "GET", None), ("/bind/off/", "GET", None),
            ("/bind/var/?from=nonsense", "GET", None), ("/one/x?a=b", "GET", None)]


@pytest.mark.parametrize("path,method,body", REQUESTS, ids=[f"{m} {p}{' with a body' if b else ''}" for p, m, b in REQUESTS])
def test_request_alike(pair, path, method, body):
    got = both(pair, path, [("X-Client", "c"), ("User-Agent", "agent")], method, body, host="main.test")
    assert got["status"] == 200 and got["body"]["line"]


def test_address_that_is_not_ours_alike(pair):
    """The configuration's mistake, not the upstream's: a 500, and the next request gets through."""
    for s in pair.servers:
        assert harness.fetch(s.port, "/bind/var/?from=192.0.2.1", host="main.test").status == 500
        assert harness.fetch(s.port, "/bind/var/?from=127.0.0.7", host="main.test").status == 200


def test_inherited_request_alike(pair):
    for path in ("/", "/off/"):
        assert both(pair, path, host="inherit.test")["body"]["line"].startswith("PATCH /")


def test_head_turned_into_get_alike(pair):
    for _ in range(2):
        nginx, sluice = (harness.fetch(s.port, "/m/get/", method="HEAD", host="main.test") for s in pair.servers)
        assert nginx.status == sluice.status == 200 and int(sluice.header("Content-Length")) > 50


@pytest.mark.parametrize("field", ["X-Accel-Expires: 10", "X-Accel-Charset: utf-8", "X-Accel-Buffering: no", "X-Accel-Limit-Rate: 100000",
                                   "Expires: Thu, 01 Jan 1970 00:00:00 GMT", "Cache-Control: no-cache", "Vary: *", "X-Pad: x"])
def test_fields_for_caches_alike(pair, field):
    answer = raw_answer([tuple(field.split(": "))], b"body")
    for path in ("/h/ignore/", "/one/"):
        both(pair, path, [x_raw(answer)], host="main.test")


def test_errors_of_sluice():
    """nginx takes flags that it will pass over later."""
    text = "pid @dir@/pid; error_log stderr; events {} http { server { listen 127.0.0.1:1; location / { @ } } }"
    for lines, why in (("proxy_cookie_flags one wrong;", 'invalid parameter "wrong"'),
                       ("proxy_ignore_headers X-Other;", 'invalid value "X-Other" in "proxy_ignore_headers" directive'),
                       ("proxy_bind $remote_addr transparent;",
                        'parameter "transparent" is not supported: workers have no capabilities')):
        assert config_errors(harness.Sluice, text.replace("@ ", lines)) == (1, why)


def test_method_that_is_none(pair):
    """nginx sends " /..." to the upstream; a request line is not made of what is no method."""
    for m in ("", "A/B", "A,B"):
        assert harness.fetch(pair.sluice.port, f"/m/var/?m={m}", host="main.test").status == 500


def test_head_upstream_for_get(pair):
    """proxy_method HEAD: nginx tells the length of a body that never comes."""
    conf = "server { listen 127.0.0.1:@http@; location / { proxy_pass http://@up@; proxy_method HEAD; } }"
    port = harness.free_port()
    with harness.Sluice(conf, {"http": port, "up": pair.up.addr}) as s, harness.Conn(port) as c:
        for _ in range(2):
            raw = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
            r = c.request("GET", "/", [x_raw(raw)])
            assert (r.status, r.body, r.header("Content-Length")) == (200, b"", "0")
        assert s.proc.poll() is None


@pytest.mark.parametrize("value,version", [("on", 1), ("v1", 1), ("v2", 2)])
def test_proxy_protocol_out(pair, start, value, version):
    """Every connection begins with the client's address, and no other client's request uses it."""
    conf = """upstream u { server @up@; keepalive 8; }
              server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; proxy_protocol @value@; } }"""
    s = start(conf, {"up": pair.up.addr, "value": value})
    for source in ("127.0.0.1", "127.0.0.5"):
        for _ in range(2):
            with harness.Conn(s.port, source=source) as c:
                mine = c.sock.getsockname()[1]
                for _ in range(2):
                    seen = c.request("GET", "/").json()["proxied"]
                    if version == 1:
                        assert seen == f"PROXY TCP4 {source} 127.0.0.1 {mine} {s.port}"
                    else:
                        ip = "".join(f"{int(b):02x}" for b in source.split("."))
                        assert seen == f"21 11 {ip}7f000001{mine:04x}{s.port:04x}"


def test_health_checks_come_from_proxy_bind(pair, start):
    conf = """upstream u { server @up@; zone z 64k; }
              server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; proxy_bind 127.0.0.6; health_check uri=/check interval=100ms; } }"""
    start(conf, {"up": pair.up.addr})
    harness.until(lambda: any(line.startswith("GET /check ") and peer == "127.0.0.6" for line, _, _, peer in list(pair.up.seen)), 5, "a check")


ERRORS = ["proxy_redirect ~( a;", "proxy_cookie_path ~*[ b;", "proxy_cookie_flags ~( secure;", "proxy_redirect default;", "proxy_pass http://x.test$arg_a; proxy_redirect default;", "proxy_redirect on;",
          "proxy_redirect off; proxy_redirect off;", "proxy_redirect a;", "proxy_cookie_path on;", "proxy_cookie_domain x;",
          "proxy_bind nonsense;", "proxy_bind 127.0.0.1 wrong;", "proxy_method;", "proxy_redirect a b c;",
          "proxy_socket_keepalive maybe;", "proxy_cookie_flags one secure httponly samesite=lax nosecure nohttponly;"]


@pytest.mark.parametrize("lines", ERRORS)
def test_errors_alike(lines):
    text = "events {} http { server { listen 127.0.0.1:1; location / { @ } } }".replace("@", lines)
    if harness.IS_ROOT:
        text = "user nobody nogroup; pid @dir@/pid; error_log stderr; " + text.replace("http {", "http { access_log off; ")
    (nginx, why), (sluice, why_too) = (config_errors(cls, text) for cls in (harness.Nginx, harness.Sluice))
    assert nginx == sluice == 1
    assert why_too.removesuffix(' at ""') == why
