# SPDX-License-Identifier: BSD-2-Clause
"""Who may come in, limits, `if` and the choice of locations, many of each in one server: nginx and sluice on the same text."""
import contextlib

import pytest
from pair import Pair, raw_answer, x_raw

CONF = r"""
    limit_conn_zone $arg_c zone=c:1m; limit_req_zone $arg_k zone=k1:1m rate=1r/m; limit_req_zone $arg_j zone=k2:1m rate=2r/m;
    set_real_ip_from 127.0.0.0/8; real_ip_header X-Forwarded-For; real_ip_recursive on;
    geo $office { default 0; 10.0.0.0/8 1; 192.168.0.0/16 2; }
    map $office $key { 0 $binary_remote_addr; default ""; }
    limit_req_zone $key zone=geo:1m rate=1r/m;
    upstream s { server @up@; }
    upstream w { server @up@ weight=3; server @up@ weight=1; }
    server { listen 127.0.0.1:@http@; proxy_http_version 1.1; satisfy any; auth_basic "top"; auth_basic_user_file @dir@/pw;
    allow 10.0.0.0/8; deny all; error_page 401 /e401; root @dir@/www;
        location = /e401 { auth_basic off; allow all; internal; return 200 "e401"; }
        location /top { return 200 x; proxy_pass http://s; }
        location /p { proxy_pass http://s; }
        location /off { auth_basic off; proxy_pass http://s; }
        location /all { satisfy all; proxy_pass http://s; }
        location /own { allow 192.168.0.0/16; deny all; auth_basic "own $remote_addr"; proxy_pass http://s; }
        location /onlydeny { auth_basic off; satisfy all; deny 10.1.1.1; proxy_pass http://s; }
        location /areq { auth_basic off; auth_request /sub; auth_request_set $u $upstream_http_x_user; auth_request_set $st $upstream_status; proxy_set_header X-User $u; add_header X-St "$st|$u" always; proxy_pass http://s; }
        location = /sub { internal; auth_basic off; allow all; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header X-Orig $request_uri; proxy_pass http://s/auth; }
        location /geo { allow all; limit_req zone=geo nodelay; limit_req_status 429; proxy_pass http://s; }
        location /two { allow all; limit_req zone=k1 burst=2 nodelay; limit_req zone=k2 burst=1 nodelay; proxy_pass http://s; }
        location /delay { allow all; limit_req zone=k1 burst=3 delay=2; proxy_pass http://s; add_header X-L $limit_req_status always; }
        location /lc { allow all; limit_conn c 1; proxy_pass http://s; add_header X-L "$limit_conn_status" always; }
        location /ra { allow all; return 200 "$remote_addr $realip_remote_addr $http_x_forwarded_for $proxy_add_x_forwarded_for $office"; }
        location /if1 { allow all; set $a 1; if ($arg_x) { set $a 2; } if ($arg_y) { set $a "${a}3"; add_header X-Y y; } add_header X-Out $a; proxy_pass http://s; }
        location /if2 { allow all; if ($arg_x) { return 200 "x"; } if ($arg_y) { break; } if ($arg_z) { return 200 "z"; } proxy_pass http://s; }
        location /if3 { allow all; if ($arg_x) { proxy_pass http://s; break; } proxy_set_header X-Outer 1; return 200 "outer"; }
        location /if4 { allow all; if ($request_method = POST) { return 307 /p4; } if ($arg_x != "") { rewrite ^ /ra? last; } if ($arg_y ~ ^(?<cap>\d+)$) { return 200 "cap $cap $1"; } if ($arg_y !~ ^a) { return 200 "not a"; } return 200 "end"; }
        location /if5 { allow all; if ($http_cookie ~* "id=([^;]+)(?:;|$)") { set $id $1; } return 200 "[$id]"; }
        location /if6 { allow all; if ($arg_a = $arg_b) { return 200 "eq"; } if ($arg_a = "") { return 200 "empty"; } if ($arg_a = 0) { return 200 "zero"; } if ($arg_a) { return 200 "true"; } return 200 "false"; }
        location /if7 { allow all; if (-d $document_root$arg_p) { return 200 d; } if (-f $document_root$arg_p) { return 200 f; } if (-e $document_root$arg_p) { return 200 e; } if (!-x $document_root$arg_p) { return 200 nx; } return 200 x; }
        location /if8 { allow all; if ($arg_x) { limit_rate 1k; add_header X-In 1; } if ($arg_x = 2) { expires 1h; } proxy_pass http://s; }
        location /if9 { allow all; if ($arg_x) { gzip on; error_page 404 /e9; } return 404; } location /e9 { allow all; return 200 e9; }
        location /n1 { allow all; add_header X-N 1; location ~ \.a$ { return 200 "re"; } location ^~ /n1/np { return 200 np; } location = /n1/eq { return 200 eq; } location /n1/deep { proxy_pass http://s/dp; location /n1/deep/er { return 200 er; } } return 200 n1; }
        location ~ ^/re(\d) { allow all; return 200 "first $1"; }
        location ~ ^/re1 { return 200 second; }
        location ~* ^/RE { allow all; return 200 "third"; }
        location ^~ /re9 { allow all; return 200 pref; }
        location = /re1 { allow all; return 200 exact; }
        location /w { allow all; proxy_pass http://w; }
    }
"""
USERS = [{}, {"Authorization": "Basic dTpw"}, {"Authorization": "Basic dTpx"}, {"Authorization": "basic dTpw"}, {"Authorization": "Bearer q"}]
FORWARDED = [None, "10.0.0.1", "192.168.1.1", "8.8.8.8, 10.0.0.2", "10.1.1.1", "127.0.0.9, 127.0.0.8", "garbage", "::1", "10.0.0.1:80",
             "8.8.8.8,, 127.0.0.1", "[::1]:5"]
ARGS = ["", "?x=1", "?y=1", "?x=1&y=1", "?z=1", "?x=1&z=1", "?y=1&z=1", "?y=12", "?y=abc", "?a=1", "?a=1&b=1", "?a=0", "?a=&b=", "?a=00",
        "?p=/f.txt", "?p=/d", "?p=/no", "?p=", "?x=2"]
PATHS = """/n1 /n1/x.a /n1/np.a /n1/np/x.a /n1/eq /n1/deep /n1/deep/x /n1/deep/x.a /n1/deep/er /n1/deep/er.a /n1x /re1 /re1x /re2 /re9 /RE1 /REx /re
    /rE9""".split()


def tables():
    """(name, [(path, how)]), each table in its order: some of its requests fill limits."""
    forwarded = [[("X-Forwarded-For", x)] if x else [] for x in FORWARDED]
    for path in ("/top", "/p", "/off", "/all", "/own", "/onlydeny", "/areq"):
        yield path, [(path, {"headers": [*user.items(), *f]}) for f in forwarded for user in USERS]
    for path in ("/geo", "/ra", "/w"):
        yield path, [(path, {"headers": f}) for f in forwarded]
    answers = [x_raw(raw_answer(head, b"a", status)) for status, head in (
        ("200 OK", [("X-User", "bob")]), ("401 U", [("WWW-Authenticate", "Bearer x")]), ("403 F", []), ("404 N", []), ("500 E", []), ("302 F", [("Location", "/l")]))]
    yield "auth_request", [("/areq/x?y", {"method": m, "body": b, "headers": [a]}) for a in answers for m, b in (("GET", None), ("POST", "zz"))]
    yield "limits", [(p, {}) for p in ["/two?k=a&j=a"] * 4 + ["/two?k=b&j=b"] * 4 + ["/two?k=c", "/two?j=d"] * 4 + ["/delay?k=e"] * 3 + ["/lc?c=1", "/lc"]]
    for i in range(1, 10):
        yield f"if {i}", [(f"/if{i}{q}", {"headers": [("Cookie", "a=b; ID=77; c=d")]}) for q in ARGS] + [(f"/if{i}", {"method": "POST", "body": "q"})]
    yield "locations", [(p, {}) for p in PATHS]


@pytest.fixture(scope="module")
def pair():
    with contextlib.ExitStack() as stack:
        both = Pair(stack, CONF)
        for s in both.servers:
            (s.dir / "pw").write_text("u:{PLAIN}p\n")
            (s.dir / "pw").chmod(0o644)
            (s.dir / "www/d").mkdir(parents=True)
            (s.dir / "www").chmod(0o755)
            (s.dir / "www/f.txt").write_text("x")
        yield both


@pytest.mark.parametrize("cases", [pytest.param(cases, id=name) for name, cases in tables()])
def test_alike(pair, cases):
    for path, how in cases:
        nginx, sluice = pair.ask(path, **how)
        assert (path, how, sluice) == (path, how, nginx)
