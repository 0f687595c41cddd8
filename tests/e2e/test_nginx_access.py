# SPDX-License-Identifier: BSD-2-Clause
"""Who may come in by address and method: allow, deny, limit_except, satisfy, in nginx and sluice alike."""
import contextlib

import pytest
from alike import Both, case, on, raw, refused_alike

CONF = r"""
    default_type text/plain;
    proxy_http_version 1.1;
    server {
        listen 127.0.0.1:@http@ default_server;
        listen [::1]:@http@;
        listen unix:@dir@/http.sock;
        server_name rules.test;
        proxy_set_header X-Mock-Status 200;
        location / { proxy_pass http://@mock@/echo/; }
        location /deny { deny all; proxy_pass http://@mock@/echo; }
        location /allow { allow all; proxy_pass http://@mock@/echo; }
        location /one { allow 127.0.0.1; deny all; proxy_pass http://@mock@/echo; }
        location /two { deny 127.0.0.2; allow 127.0.0.0/24; deny all; proxy_pass http://@mock@/echo; }
        location /order { deny 127.0.0.0/8; allow 127.0.0.1; proxy_pass http://@mock@/echo; }
        location /six { allow ::1; deny all; proxy_pass http://@mock@/echo; }
        location /sixnet { deny ::/16; allow all; proxy_pass http://@mock@/echo; }
        location /sixother { allow 2001:db8::/32; deny all; proxy_pass http://@mock@/echo; }
        location /unix { allow unix:; deny all; proxy_pass http://@mock@/echo; }
        location /nounix { deny unix:; proxy_pass http://@mock@/echo; }
        location /unnamed { allow 192.0.2.1; proxy_pass http://@mock@/echo; }
        location /four { deny 0.0.0.0/0; proxy_pass http://@mock@/echo; }
        location /nested { deny all; location /nested/own { allow 127.0.0.1; proxy_pass http://@mock@/echo; }
                           location /nested/inherits { proxy_pass http://@mock@/echo; }
                           location /nested/mixed { deny 192.0.2.1; proxy_pass http://@mock@/echo; } }
        location /return { deny all; return 200 "before access\n"; }
        location /nothing { deny all; }
        location /page { error_page 403 =404 /why; deny all; proxy_pass http://@mock@/echo; }
        location = /why { return 200 "why $status $uri\n"; }
        location /page2 { error_page 403 /closed; deny all; proxy_pass http://@mock@/echo; }
        location = /closed { deny all; proxy_pass http://@mock@/echo; }
        location /page3 { error_page 403 @in; deny all; proxy_pass http://@mock@/echo; }
        location @in { proxy_pass http://@mock@; }
        location /accel { proxy_pass http://@mock@/echo; }
        location /any { satisfy any; allow 127.0.0.1; deny all; proxy_pass http://@mock@/echo; }
        location /anydeny { satisfy any; deny all; proxy_pass http://@mock@/echo; }
        location /body { deny all; client_max_body_size 5; proxy_pass http://@mock@/echo; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name outer.test;
        deny 127.0.0.3;
        location / { proxy_pass http://@mock@/echo/; }
        location /open { allow all; proxy_pass http://@mock@/echo; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name except.test;
        location / { limit_except GET { deny all; } proxy_pass http://@mock@/echo/; }
        location /post { limit_except POST { deny all; } proxy_pass http://@mock@/echo; }
        location /several { limit_except GET POST put OPTIONS { deny all; } proxy_pass http://@mock@/echo; }
        location /head { limit_except HEAD { deny all; } proxy_pass http://@mock@/echo; }
        location /address { limit_except GET { allow 127.0.0.2; deny all; } proxy_pass http://@mock@/echo; }
        location /return { limit_except GET { deny all; } return 200 "r\n"; }
        location /returnin { limit_except GET { allow all; } return 200 "r\n"; }
        location /outer { deny 127.0.0.2; limit_except GET { allow 127.0.0.2; } proxy_pass http://@mock@/echo; }
        location /both { deny all; limit_except GET { allow all; } proxy_pass http://@mock@/echo; }
        location /page { error_page 403 /why; limit_except GET { deny all; } proxy_pass http://@mock@/echo; }
        location = /why { return 200 "why $status $request_method\n"; }
        location /whypost { error_page 403 /gate; limit_except GET { deny all; } proxy_pass http://@mock@/echo; }
        location = /gate { limit_except GET { deny all; } proxy_pass http://@mock@/echo; }
        location /pass { limit_except GET { proxy_pass http://@mock@; } proxy_pass http://@mock@/echo/get; }
        location /named { error_page 418 @n; limit_except POST { deny all; } return 418; }
        location @n { limit_except GET { deny all; } proxy_pass http://@mock@; }
        location /nest { limit_except GET { deny all; } proxy_pass http://@mock@/echo;
                         location /nest/in { proxy_pass http://@mock@/echo; } }
        location /header { add_header X-Here yes always; limit_except GET { deny all; } proxy_pass http://@mock@/echo; }
        location /internal { internal; limit_except GET { deny all; } proxy_pass http://@mock@/echo; }
        location /size { client_max_body_size 3; limit_except GET { allow all; } proxy_pass http://@mock@/echo; }
        location /nohandler { limit_except GET { allow all; } }
    }
"""

FROM = {"1": {}, "2": {"source": "127.0.0.2"}, "3": {"source": "127.0.0.3"}, "6": {"host": "::1"}, "unix": {}}
PATHS = ("/", "/deny", "/allow", "/one", "/two", "/order", "/six", "/sixnet", "/sixother", "/unix", "/nounix", "/unnamed", "/four",
         "/nested", "/nested/own", "/nested/inherits", "/nested/mixed", "/any", "/anydeny")
CASES = [(c, who) for who in FROM for c in on("rules.test", [(t, t) for t in PATHS])]
CASES += [(c, "1") for c in on("rules.test", [(t, t) for t in (
    "/return", "/nothing", "/page", "/page2", "/page3", "/page3?a=b")])]
CASES += [(c, "1") for c in on("rules.test", [
    ("accel past deny", "/accel", {"headers": [("X-Mock-Add-Header", "X-Accel-Redirect: /deny")]}),
    ("POST denied", "/deny", {"method": "POST", "body": "x" * 3000}), ("HEAD denied", "/deny", {"method": "HEAD"}),
    ("1.0 denied", "/deny", {"version": "1.0"}), ("large body denied", "/body", {"method": "POST", "body": "0123456789"}),
    ("chunks denied", "/deny", {"method": "POST", "body": "3\r\nabc\r\n0\r\n\r\n", "headers": {"Transfer-Encoding": "chunked"}}),
])]
CASES += [(raw("denied keeps alive", "POST /deny HTTP/1.1\r\nHost: rules.test\r\nContent-Length: 3\r\n\r\nabc" * 3, n=3), "1")]
CASES += [(c, who) for who in ("1", "3") for c in on("outer.test", [(t, t) for t in ("/", "/open")])]
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "PURGE")
CASES += [(c, "1") for t in ("/", "/post", "/several", "/head") for c in on("except.test", [
    (f"{t} {m}", t, {"method": m}) for m in METHODS if (t, m) not in (("/", "HEAD"), ("/several", "HEAD"), ("/head", "HEAD"))])]
CASES += [(c, who) for who in ("1", "2") for c in on("except.test", [
    (f"{t} {m}", t, {"method": m}) for t in ("/address", "/outer") for m in ("GET", "POST")])]
CASES += [(c, "1") for c in on("except.test", [
    (f"{t} {m}", t, {"method": m, "body": "body" if m == "POST" else None}) for m in ("GET", "POST") for t in (
        "/return", "/returnin", "/both", "/page", "/whypost", "/pass/x", "/named/echo", "/nest", "/nest/in", "/header", "/internal",
        "/size", "/nohandler")])]


@pytest.fixture(scope="module")
def both():
    with contextlib.ExitStack() as stack:
        yield Both(stack, CONF)


@pytest.mark.parametrize("c,who", CASES, ids=[f"{c.id} from {who}" for c, who in CASES])
def test_alike(both, c, who):
    answers = []
    for s in both.servers:
        how = {"unix": s.dir / "http.sock"} if who == "unix" else FROM[who]
        answers.append(both.one(s, c, **how))
    assert answers[1] == answers[0]


def test_words_alike(both):
    for path in ("/deny", "/anydeny"):
        both.ask(case(path, f"{path}?word", "rules.test"))
        for s in both.servers:
            s.wait_log(rf'\[error\] .*access forbidden by rule, client: 127\.0\.0\.1, server: rules\.test, request: "GET {path}')


@pytest.mark.parametrize("http,words", [
    ("allow 1.2.3.4/33;", 'invalid parameter "1.2.3.4/33"'), ("deny localhost;", 'invalid parameter "localhost"'),
    ("allow;", 'invalid number of arguments in "allow" directive'), ("allow 1.2.3.4;", ""), ("deny 2001:db8::/129;", "invalid parameter"),
    ("server { limit_except GET { } }", '"limit_except" directive is not allowed here'),
    ("server { location / { limit_except FOO { } } }", 'invalid method "FOO"'),
    ("server { location / { limit_except { } } }", 'invalid number of arguments in "limit_except" directive'),
    ("server { location / { limit_except GET { satisfy any; } } }", '"satisfy" directive is not allowed here'),
    ("server { location / { limit_except GET { deny all; auth_basic x; auth_basic_user_file y; } } }", ""),
    ("server { location / { limit_except GET { } limit_except POST { } } }", "is duplicate"),
    ("satisfy some;", 'invalid value "some"'), ("satisfy any; satisfy all;", '"satisfy" directive is duplicate'),
    ("server { location / { internal; } }", ""), ("server { internal; }", '"internal" directive is not allowed here'),
    ("error_page 404;", 'invalid number of arguments in "error_page" directive'), ("error_page 200 /x;", "must be between 300 and 599"),
    ("error_page 499 /x;", 'invalid value "499"'), ("error_page foo /x;", 'invalid value "foo"'), ("error_page =200 /x;", 'invalid value "=200"'),
    ("error_page 404 =x /x;", 'invalid value "=x"'), ("error_page 404 405 = /x;", ""), ("error_page 600 /x;", "must be between 300 and 599"),
    ("error_page 404 $nope;", 'unknown "nope" variable'), ("auth_request off;", ""), ("auth_request_set $a $status;", ""),
    ("auth_request_set a $status;", 'invalid variable name "a"'), ("auth_basic a b;", "invalid number of arguments"),
    ("auth_basic a; auth_basic b;", '"auth_basic" directive is duplicate'),
    ("server { location / { limit_except GET { proxy_pass http://127.0.0.1/x; } } }", '"proxy_pass" cannot have URI part'),
    ("server { location @n { proxy_pass http://127.0.0.1/x; } }", '"proxy_pass" cannot have URI part'),
])
def test_configuration_alike(tmp_path, http, words):
    refused_alike(tmp_path, http, words)
