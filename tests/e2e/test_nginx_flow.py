# SPDX-License-Identifier: BSD-2-Clause
"""How error pages, access and internal redirects go together with if, set, rewrite and files: nginx and sluice alike."""
import contextlib

import pytest
from alike import Both, case, on
from harness import temp_dir

FILES = {"index.html": "index\n", "404.html": "<p>not here</p>\n", "50x.txt": "fifty\n", "private/report.pdf": "%PDF-fake\n", "private/a b.txt": "spaces\n",
         "dir/index.html": "dir index\n", "maintenance.html": "<h1>later</h1>\n"}

CONF = r"""
    default_type application/octet-stream;
    types { text/html html; text/plain txt; application/pdf pdf; }
    proxy_http_version 1.1;
    map $uri $page { default /404.html; ~^/j/ /50x.txt; }
    server {
        listen 127.0.0.1:@http@ default_server;
        server_name files.test;
        root @root@;
        error_page 404 /404.html;
        error_page 500 502 503 504 /50x.txt;
        location / { }
        location = /404.html { internal; }
        location /plain/ { error_page 404 = /50x.txt; }
        location /over/ { error_page 404 =200 /index.html; }
        location /named/ { error_page 404 = @app; }
        location @app { proxy_pass http://@mock@; proxy_set_header X-Uri $uri; }
        location @text { default_type text/plain; return 200 "text $uri $status\n"; }
        location /dead/ { proxy_pass http://127.0.0.1:@dead@; }
        location /try/ { try_files $uri $uri/ =404; }
        location /tryapp/ { try_files $uri @text; }
        location /try503/ { try_files $uri =503; }
        location /trypage/ { try_files $uri /dir/index.html; }
        location /forbidden/ { deny all; error_page 403 =404 /404.html; }
        location /private/ { internal; }
        location /pages/ { error_page 404 $page; }
        location /j/ { error_page 404 $page; }
        location /head/ { error_page 404 /404.html; add_header X-Head h always; }
        location /accel { proxy_pass http://@mock@/echo; }
        location /auth/ { auth_request /authed; error_page 403 /50x.txt; }
        location = /authed { internal; proxy_pass http://@mock@/echo; proxy_pass_request_body off; proxy_set_header X-Mock-Status $http_x_auth; }
        location = /authfile/404 { auth_request /missing; return 200; }
        location /authfile/ { auth_request /index.html; try_files /index.html =404; }
        location /authmissing/ { auth_request /private/none; try_files /index.html =404; }
        location /authtry/ { auth_request /tryauth/x; try_files /index.html =404; }
        location /tryauth/ { internal; try_files $uri @allowed; }
        location @allowed { return 204; }
        location /limits/ { limit_except GET { deny all; } }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name if.test;
        root @root@;
        default_type text/plain;
        set $who nobody;
        error_page 404 /e404;
        location = /e404 { return 200 "e404 $status $who $uri\n"; }
        location /page { if ($arg_a = 1) { error_page 403 /e403; return 403; } error_page 403 /e404; return 403; }
        location = /e403 { return 200 "e403 $status\n"; }
        location /maintenance { if ($arg_m) { return 503; } error_page 503 @maintenance; return 200 "up\n"; }
        location @maintenance { rewrite ^ /maintenance.html break; }
        location /set { set $who $arg_w; return 404; }
        location /deny { deny all; if ($arg_a) { return 200 "before access\n"; } }
        location /ifproxy { deny all; if ($arg_a) { proxy_pass http://@mock@; } return 404; }
        location /allowed { allow all; if ($arg_a) { proxy_pass http://@mock@; } proxy_pass http://@mock@/echo; }
        location /basic { auth_basic r; auth_basic_user_file @root@/users; if ($arg_a) { proxy_pass http://@mock@; } proxy_pass http://@mock@/echo; }
        location /except { limit_except GET { deny all; } if ($arg_a) { return 200 "if\n"; } proxy_pass http://@mock@/echo; }
        location /rw/last { rewrite ^/rw/last(.*)$ /inside$1 last; }
        location /rw/break { rewrite ^/rw/break(.*)$ /inside$1 break; return 200 "never\n"; }
        location /rw/cycle { rewrite ^ /rw/cycle last; }
        location /rw/cyclepage { error_page 500 /e403; rewrite ^ /rw/cyclepage last; }
        location /rw/auth { rewrite ^ /guarded last; }
        location /rw/proxy { rewrite ^/rw/proxy(.*)$ /echo$1?new=1 break; proxy_pass http://@mock@; }
        location /rw/page { error_page 404 /rw/last/page; return 404; }
        location /inside { internal; return 200 "inside $uri $args $status\n"; }
        location /guarded { deny all; proxy_pass http://@mock@/echo; }
        location /vars { auth_request /sub; auth_request_set $sub_who $who; set $who main; add_header X-Who "$who $sub_who $1"; proxy_pass http://@mock@/echo; }
        location ~ ^/caught/(\w+) { auth_request /sub; add_header X-Caught "$1 $who"; proxy_pass http://@mock@; }
        location ~ ^/su(b) { set $who sub; set $other $1; return 204; }
        location /other { auth_request /sub; add_header X-Other "$other"; proxy_pass http://@mock@/echo; }
        location /nested { error_page 404 /e403; location ~ ^/nested/(.+)$ { error_page 404 /e404?name=$1; return 404; } }
        location /server500 { error_page 500 =200 /e403; if ($arg_a ~ "(.)") { return 500; } }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name srvif.test;
        error_page 403 /blocked;
        if ($http_x_block) { return 403; }
        location = /blocked { return 200 "blocked\n"; }
        location / { return 200 "open\n"; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name srvrw.test;
        error_page 404 /gone;
        rewrite ^/old/(.*)$ /new/$1;
        location /new/ { return 404; }
        location = /gone { return 200 "gone $uri $request_uri\n"; }
        location / { return 200 "root $uri\n"; }
    }
"""

ACCEL = "X-Mock-Add-Header"
CASES = on("files.test", [(f"{t} {m}", t, {"method": m}) for m in ("GET", "HEAD") for t in (
    "/", "/none", "/none/", "/404.html", "/plain/x", "/over/x", "/dead/x", "/try/x", "/try/dir", "/tryapp/x", "/try503/x", "/trypage/x", "/forbidden/x",
    "/private/report.pdf", "/pages/x", "/j/x", "/head/x", "/dir", "/dir/", "/dir/none")])
CASES += on("files.test", [(f"POST {t}", t, {"method": "POST", "body": "abc"}) for t in ("/none", "/named/echo", "/over/x", "/tryapp/x", "/index.html",
                                                                                       "/limits/x")])
CASES += on("files.test", [
    ("named", "/named/echo/x?a=b"), ("limits", "/limits/x"), ("page by map", "/pages/x?y"), ("range of a page", "/none", {"headers": {"Range": "bytes=0-3"}}),
    ("conditional page", "/none", {"headers": {"If-None-Match": "*"}}), ("conditional page 2", "/over/x", {"headers": {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}}),
    ("accel file", "/accel", {"headers": [(ACCEL, "X-Accel-Redirect: /private/report.pdf")]}),
    ("accel file with fields", "/accel", {"headers": [(ACCEL, "X-Accel-Redirect: /private/a%20b.txt"), (ACCEL, "Content-Disposition: attachment; filename=x"),
                                                       (ACCEL, "Content-Type: application/x-own"), (ACCEL, "Cache-Control: private")]}),
    ("accel file range", "/accel", {"headers": [(ACCEL, "X-Accel-Redirect: /private/report.pdf"), ("Range", "bytes=1-3")]}),
    ("accel none", "/accel", {"headers": [(ACCEL, "X-Accel-Redirect: /private/none")]}),
    ("accel folder", "/accel", {"headers": [(ACCEL, "X-Accel-Redirect: /dir")]}),
    ("accel POST", "/accel", {"method": "POST", "body": "x", "headers": [(ACCEL, "X-Accel-Redirect: /private/report.pdf")]}),
    ("auth 200", "/auth/none", {"headers": {"X-Auth": "200"}}), ("auth 403", "/auth/none", {"headers": {"X-Auth": "403"}}),
    ("auth by a file", "/authfile/x"), ("auth by no file", "/authmissing/x"), ("auth by try_files", "/authtry/x"),
    ("auth before return", "/authfile/404"),
])
CASES += on("if.test", [(t, t) for t in (
    "/none", "/page", "/page?a=1", "/maintenance", "/maintenance?m=1", "/set?w=me", "/deny", "/deny?a=1", "/ifproxy", "/ifproxy?a=1", "/allowed?a=1", "/allowed",
    "/basic?a=1", "/basic", "/except?a=1", "/except", "/rw/last/x?y=z", "/rw/break/x", "/rw/cycle", "/rw/cyclepage", "/rw/auth", "/rw/proxy/x?a=b", "/rw/page",
    "/inside", "/vars", "/caught/mouse", "/other", "/nested", "/nested/a/b", "/server500?a=1", "/e404")])
CASES += on("if.test", [(f"POST {t}", t, {"method": "POST", "body": "abc"}) for t in (
    "/except?a=1", "/except", "/page?a=1", "/maintenance?m=1", "/rw/proxy/x", "/vars")])
CASES += [case("server if", "/", "srvif.test", {"X-Block": "1"}), case("server if not", "/", "srvif.test"), case("server rewrite", "/old/x?a", "srvrw.test"),
          case("server rewrite not", "/x", "srvrw.test")]


@pytest.fixture(scope="module")
def both():
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(temp_dir())
        for name, text in {**FILES, "users": "u:{PLAIN}p\n"}.items():
            path = root / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        yield Both(stack, CONF, root=root)


@pytest.mark.parametrize("c", CASES, ids=[c.id for c in CASES])
def test_alike(both, c):
    (*nginx, nginx_ended), (*sluice, sluice_ended) = both.ask(c)
    assert sluice == nginx
    if nginx[-1] != "closed" and "close" not in nginx[-1]["fields"].get("connection", ()):
        assert sluice_ended == nginx_ended
