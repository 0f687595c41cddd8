# SPDX-License-Identifier: BSD-2-Clause
"""`set`, `if`, `rewrite`, `break`, `return`: sluice and Debian's nginx on the same file."""
import contextlib
import re

import harness
import pytest
from alike import Both, case, refused_alike

CONF = r"""
    default_type text/plain;
    proxy_http_version 1.1;
    uninitialized_variable_warn on;
    @logs@
    log_format rw "$uri|$args|$request_uri|$status|$later|$x";
    access_log @dir@/rw.log rw;
    map $arg_m $mapped { default "d$1"; ~^(.)(.)$ "$2$1"; }

    # --- rewrite
    server {
        listen 127.0.0.1:@http@ default_server;
        server_name first.test;
        set $later "";
        set $x "";
        rewrite ^/srv/last/(.*)$ /show/last/$1 last;
        rewrite ^/srv/break/(.*)$ /show/break/$1 break;
        rewrite ^/srv/none/(.*)$ /mid/$1;
        rewrite ^/mid/(.*)$ /show/mid/$1;
        rewrite ^/srv/args/(.*)$ /show?a=$1;
        rewrite ^/srv/redirect/(.*)$ /to/$1 redirect;
        rewrite ^/srv/proxied/(.*)$ /echo/$1 last;
        rewrite ^/srv/proxbreak/(.*)$ /pp/$1 break;
        location /show { return 200 "[$uri] [$args] [$is_args] [$query_string] [$request_uri] [$arg_a] [$document_uri] [$request]"; }
        location /last/ { rewrite ^/last/(.*)$ /show/$1 last; return 200 "not here"; }
        location /break/ { rewrite ^/break/(.*)$ /show/$1 break; return 200 "not here"; }
        location /breakret/ { rewrite ^/breakret/(.*)$ /show/$1; break; return 200 "not here"; }
        location /plain/ { rewrite ^/plain/(.*)$ /show/$1; return 200 "[$uri]"; }
        location /twice/ { rewrite ^/twice/(.*)$ /thrice/$1; rewrite ^/thrice/(.*)$ /show/$1 last; }
        location /second/ { rewrite ^/nope / last; rewrite ^/second/(.*)$ /show/$1 last; }
        location /nomatch/ { rewrite ^/nope / last; return 200 "stayed [$uri]"; }
        location /args/add/ { rewrite ^/args/add/(.*)$ /show/$1?n=1 last; }
        location /args/drop/ { rewrite ^/args/drop/(.*)$ /show/$1? last; }
        location /args/only/ { rewrite ^/args/only/(.*)$ /show/$1?n=1? last; }
        location /args/cap/ { rewrite ^/args/cap/(.*)/(.*)$ /show/$1?b=$2&c=$1 last; }
        location /args/vars/ { rewrite ^/args/vars/(.*)$ /show/$host?h=$http_x_y&q=$arg_q&u=$uri last; }
        location /args/all/ { rewrite ^/args/all/(.*)$ /show/$1?$args&more=1? last; }
        location /args/empty/ { rewrite ^ /show?? last; }
        location /args/two/ { rewrite ^/args/two/(.*)$ /show?a=$1?b=$1 last; }
        location /redirect/ { rewrite ^/redirect/(.*)$ /to/$1 redirect; }
        location /permanent/ { rewrite ^/permanent/(.*)$ /to/$1?p=$1 permanent; }
        location /redrop/ { rewrite ^/redrop/(.*)$ /to/$1? permanent; }
        location /reargs/ { rewrite ^/reargs/(.*)$ /to?a=$1&b=%20%41%3f%zz? redirect; }
        location /http/ { rewrite ^/http/(.*)$ http://x.test/$1; return 200 "not here"; }
        location /https/ { rewrite ^/https/(.*)$ https://x.test/$1?q=1 permanent; }
        location /scheme/ { rewrite ^/scheme/(.*)$ $scheme://$host/$1 last; }
        location /relative/ { rewrite ^/relative/(.*)$ to/$1 redirect; }
        location /enc/ { rewrite ^/enc/(.*)$ /show/$1?e=$1 last; }
        location /encred/ { rewrite ^/encred/(.*)$ /to/$1?e=$1 redirect; }
        location /case/ { rewrite ^/CASE/(.*)$ /show/upper last; rewrite (?i)^/CASE/(.*)$ /show/lower/$1 last; }
        location /named/ { rewrite ^/named/(?<later>[^/]*)/(?<x>.*)$ /show/$x/$later last; }
        location /opt/ { rewrite ^/opt/(a)?(b)?(c)?$ /show/[$1][$2][$3] last; }
        location /loop/ { rewrite ^/loop/(.*)$ /loop/x$1 last; }
        location /ten/ { rewrite "^/ten/(x{0,9})$" /ten/x$1 last; rewrite ^/ten/(.*)$ /show/$1 break; return 200 "[$uri]"; }
        location /nine/ { rewrite "^/nine/(x{0,8})$" /nine/x$1 last; return 200 "[$uri]"; }
        location /eleven/ { rewrite "^/eleven/(x{0,10})$" /eleven/x$1 last; return 200 "[$uri]"; }
        location /zero/ { rewrite ^/zero/(.*)$ $1 last; }
        location /nonabs/ { rewrite ^/nonabs/(.*)$ show/$1 last; }
        location /brk { break; return 200 "not here"; }
        location /slashes/ { rewrite ^/slashes/(.*)$ //show//$1 last; }
        location /dots/ { rewrite ^/dots/(.*)$ /show/../$1 last; }
        location /setargs { set $args "a=1&b=$arg_b"; rewrite ^ /show last; }
        location /setargs2 { set $args ""; proxy_pass http://@mock@/echo; }
        location /setargs3 { set $args "n=$arg_b"; proxy_pass http://@mock@; }
        location /echo { proxy_pass http://@mock@; }
        location /pp/ { proxy_pass http://@mock@/echo/pp/; }
        location /pplast/ { rewrite ^/pplast/(.*)$ /pp/$1 last; }
        location /ppbreak/ { rewrite ^/ppbreak/(.*)$ /echo/b/$1 break; proxy_pass http://@mock@/ignored/; }
        location /ppbreak2/ { rewrite ^/ppbreak2/(.*)$ /echo/b/$1?n=1 break; proxy_pass http://@mock@; }
        location /ppnone/ { rewrite ^/ppnone/(.*)$ /ppnone/echo/$1; break; proxy_pass http://@mock@/; }
        location /ppvar/ { rewrite ^/ppvar/(.*)$ /echo/v/$1 break; set $up @mock@; proxy_pass http://$up; }
        location /ppvaruri/ { rewrite ^/ppvaruri/(.*)$ /echo/v/$1 break; proxy_pass http://@mock@$uri$is_args$args; }
        location /ppplain/ { set $up @mock@; proxy_pass http://$up; }
        location / { return 200 "root [$uri] [$args]"; }
    }

    # --- set, if, return
    server {
        listen 127.0.0.1:@http@;
        server_name if.test;
        set $s server;
        set $empty "";
        if ($arg_server) { return 403; }
        if ($http_x_drop = yes) { set $s dropped; }
        if ($request_method = PURGE) { return 405 "no purge\n"; }
        if ($arg_r ~ ^/(.*)$) { rewrite ^ /cap/$1 last; }
        if ($arg_brk) { break; }
        set $after "after $s";
        if (-f @dir@/flag) { set $s flagged; }
        if (!-e @dir@/sluice.conf) { set $s missing; }

        location /cap { return 200 "[$uri] [$1]"; }
        location /s { return 200 "[$s] [$after] [$empty]"; }
        location /truth { set $v $arg_v; if ($v) { return 200 "true [$v]"; } return 200 "false [$v]"; }
        location /equal { if ($arg_v = "one two") { return 200 equal; } if ($arg_v = $arg_w) { return 200 "same"; } return 200 "no"; }
        location /unequal { if ($arg_v != x) { return 200 "not x"; } return 200 "x"; }
        location /match { if ($arg_v ~ ^a(.*)b$) { return 200 "[$1]"; } if ($arg_v ~* ^C(.)$) { return 200 "c[$1]"; }
                          if ($arg_v !~ d) { return 200 "no d [$1]"; } if ($arg_v !~* E) { return 200 "no e"; } return 200 "de"; }
        location /after { if ($arg_v ~ ^(.)) { set $a $1; } if ($arg_v ~ nomatch) { set $b 1; } return 200 "[$a] [$1]"; }
        location /named { if ($http_user_agent ~ "(?<agent>[a-z]+)/(?<ver>\d+)") { set $seen 1; } return 200 "[$agent] [$ver] [$1]"; }
        location /file { if (-f @dir@/sluice.conf) { set $f "f"; } if (-d @dir@) { set $f "${f}d"; } if (-e @dir@) { set $f "${f}e"; }
                         if (-x @dir@/sluice.conf) { set $f "${f}x"; } if (-x @dir@) { set $f "${f}X"; } if (!-f @dir@) { set $f "${f}!f"; }
                         if (!-d @dir@) { set $f "${f}!d"; } if (!-e @dir@/none) { set $f "${f}!e"; } if (!-x @dir@/none) { set $f "${f}!x"; }
                         if (-f @dir@/$arg_f) { set $f "${f}v"; } if (-e "@dir@/no such") { set $f "${f}?"; } return 200 "$f"; }
        location /spaces { if ( $arg_v = x ) { return 200 a; } if ( $arg_v ) { return 200 b; } if ($arg_w ~ "a b") { return 200 c; } return 200 d; }
        location /order { set $o 1; set $o "${o}2"; if ($arg_v) { set $o "${o}3"; } set $o "${o}4"; return 200 $o; }
        location /first { return 200 one; return 200 two; }
        location /before { set $q 1; return 200 "[$q]"; set $q 2; }
        location /unset { set $defined $never_set; if ($never_set2) { return 200 yes; } return 200 "[$defined] [$never_set]"; }
        location /never { set $never_set 1; set $never_set2 1; }
        location /field { if ($arg_v) { set $http_x_over "set"; } return 200 "[$http_x_over] [$http_x_y]"; }
        location /mapped { set $m "$mapped"; return 200 "[$m] [$mapped] [$1]"; }
        location ~ ^/caps/(.*)$ { set $c "$1"; set $d "x$1y"; return 200 "[$c] [$d] [$1]"; }
        location ~ ^/caps2/(.*)$ { rewrite ^/caps2/(.*)$ /caps3/$1; set $c "$1"; break; return 200 "not here"; }
        location ~ ^/caps5/(.*)$ { if ($uri ~ ^/caps5/(.*)$) { set $c "$1"; } if ($c = "a b") { return 200 "decoded"; } return 200 "[$c]"; }
        location /codes { if ($arg_c = 204) { return 204; } if ($arg_c = 301) { return 301 /moved; } if ($arg_c = 307) { return http://x.test/$arg_v; }
                          if ($arg_c = 404) { return 404; } if ($arg_c = 418) { return 418 "tea"; } if ($arg_c = 444) { return 444; }
                          if ($arg_c = 503) { return 503 "busy\n"; } if ($arg_c = 200) { return 200; } return 400; }
        location / { return 200 "root [$uri] [$s]"; }
    }

    # --- an if is a location
    server {
        listen 127.0.0.1:@http@;
        server_name block.test;
        add_header X-Server server;
        location /hdr { add_header X-Loc loc; if ($arg_a) { add_header X-If a; } if ($arg_b) { add_header X-If b; } proxy_pass http://@mock@/echo/loc; }
        location /pass { proxy_pass http://@mock@/echo/outer; if ($arg_a) { proxy_pass http://@mock@; } }
        location /set { proxy_set_header X-Up outer; proxy_pass http://@mock@/echo; if ($arg_a) { set $y 1; } }
        location /only { if ($arg_a) { proxy_pass http://@mock@; } return 200 "no arg"; }
        location /last { if ($arg_a) { rewrite ^/last(.*)$ /pass$1 last; } if ($arg_b) { rewrite ^/last(.*)$ /echo$1 break; } proxy_pass http://@mock@; }
        location /both { if ($arg_a) { proxy_pass http://@mock@; add_header X-A a; } if ($arg_b) { proxy_pass http://127.0.0.1:@dead@; add_header X-B b always; }
                         proxy_pass http://@mock@; }
        location /ret { add_header X-Loc loc; if ($arg_a) { add_header X-If a; return 200 "in if"; } return 200 "out of if"; }
        location /inherit { default_type text/css; if ($arg_a) { add_header X-If a; } return 200 "typed"; }
        location /log { if ($arg_a) { access_log off; } return 200 "logged"; }
        location ~ ^/re/(.*)$ { if ($arg_a ~ (.*)) { return 200 "[$1]"; } return 200 "[$1]"; }
        location /out/ { location /out/in/ { if ($arg_a) { return 200 "in in"; } return 200 "in"; } if ($arg_a) { return 200 "out if"; } return 200 "out"; }
        location /limit { client_max_body_size 5; if ($arg_a) { proxy_pass http://@mock@; } proxy_pass http://@mock@; }
        if ($arg_s) { return 200 "from the server"; }
    }
    map 1 $unused { default 1; }
    server { listen 127.0.0.1:@http@; server_name ret.test; set $r 1; return 200 "[$r] [$uri]"; location / { return 200 never; } }
    server { listen 127.0.0.1:@http@; server_name retif.test; if ($uri ~ ^/x/(.*)$) { return 301 http://y.test/$1; } location /x { return 200 never; }
             location / { return 200 "[$1]"; } }
    server { listen 127.0.0.1:@http@; server_name null.test; rewrite ^/a$ /b; }

    # --- with what leads elsewhere: error pages, named and internal locations, files, limits
    server {
        listen 127.0.0.1:@http@;
        server_name flow.test;
        root @dir@;
        error_page 404 = @lost;
        error_page 418 /teapot;
        recursive_error_pages on;
        set $seen "";
        set $count "${seen}x";
        location /gone/ { return 404; }
        location /teapot { internal; return 200 "tea $uri [$request_uri] [$seen]"; }
        location /tea { set $seen "tea$arg_a"; return 418; }
        location /viarewrite { rewrite ^ /teapot last; }
        location /viabreak { rewrite ^ /teapot break; return 200 "not here"; }
        location @lost { rewrite ^/gone/(.*)$ /found/$1 last; return 200 "lost $uri $args"; }
        location /found { return 200 "found $uri [$args] [$count]"; }
        location /named/ { error_page 404 = @proxied; return 404; }
        location @proxied { rewrite ^/named/(.*)$ /echo/n/$1?from=named break; proxy_pass http://@mock@; }
        location /named2/ { error_page 404 = @plain; return 404; }
        location @plain { proxy_pass http://@mock@; }
        location /fromfile { try_files /none$uri @files; }
        location @files { if ($arg_a) { return 200 "in a named if [$uri]"; } rewrite ^/fromfile(.*)$ /found$1 last; }
        location /loop { error_page 418 = /loop2; return 418; }
        location /loop2 { error_page 418 = /loop; return 418; }
        location /loop3 { rewrite ^ /loop4 last; }
        location /loop4 { error_page 418 = /loop3; return 418; }
        location /ifpage { error_page 403 =200 /outer403; if ($arg_a) { error_page 403 =201 /inner403; } if ($arg_b) { return 403; } return 403; }
        location /outer403 { return 200 "outer 403 $status"; }
        location /inner403 { return 200 "inner 403 $status"; }
        location /ifroot { if ($arg_a) { root @dir@/sub; } }
        location /expires { expires 1h; if ($arg_a) { expires -1; } return 200 "expires"; }
        location /intercepted { proxy_intercept_errors on; error_page 404 = @lost; rewrite ^/intercepted/(.*)$ /nothing/$1 break; proxy_pass http://@mock@; }
        location ~ ^/capt/(.*)$ { error_page 418 = @capt; return 418; }
        location @capt { return 200 "[$1]"; }
        location /limited { limit_except GET { proxy_pass http://@mock@; } if ($arg_a) { return 200 "if"; } return 200 "limited"; }
        location ~ ^/ext/(?<file>.+)\.(?<ext>txt|css)$ { types { text/css css; text/plain txt; } return 200 "$file $ext"; }
        location /accel { proxy_pass http://@mock@/echo; }
        location /inner/ { internal; rewrite ^/inner/(.*)$ /found/$1 last; }
    }
"""

REWRITES = [case(f"rewrite {t}", t, headers={"X-Y": "why not"}) for t in (
    "/srv/last/a", "/srv/last/a?x=1", "/srv/last/a%20b", "/srv/break/a", "/srv/break/a?x", "/srv/none/a", "/mid/a", "/srv/args/v",
    "/srv/args/v%26w?x=1", "/srv/redirect/a%20b?x=1", "/srv/redirect/a+b", "/srv/proxied/a%20b?x=%20", "/srv/proxied/a", "/srv/proxied/a?",
    "/srv/proxbreak/a", "/srv/proxbreak/a%20b?c=d",
    "/last/a", "/last/a?x=1", "/last/", "/last/a%2Fb", "/last/../last/x", "/last//x", "/break/a", "/break/a?x=1", "/breakret/a",
    "/plain/a", "/plain/a?x", "/twice/a?x", "/second/a", "/nomatch/a", "/args/add/a", "/args/add/a?x=1", "/args/add/a?", "/args/drop/a?x=1",
    "/args/drop/a", "/args/only/a?x=1", "/args/cap/one/two?z", "/args/cap/o%26e/t%3Do?z", "/args/cap/a+b/c", "/args/cap/a/b/c",
    "/args/vars/x?q=1", "/args/vars/x%20y?q=%20", "/args/all/x?a=1", "/args/all/x", "/args/empty/x?a=1", "/args/two/v", "/args/two/v?z",
    "/redirect/a", "/redirect/a?x=1", "/redirect/a%20b?x=%20", "/redirect/%E2%82%AC", "/redirect/%3Fx", "/redirect/a%2541", "/redirect/a+b",
    "/redirect/", "/permanent/a", "/permanent/a?x=1", "/permanent/a%26b", "/redrop/a?x=1", "/redrop/a", "/reargs/a?x=1", "/reargs/a",
    "/http/a?x=1", "/http/a%20b", "/https/a?x=1", "/https/a", "/scheme/a?x=1", "/relative/a", "/enc/a%20b", "/enc/a%2Bb+c", "/enc/%25",
    "/enc/a%3Fb%26c%3Dd%23e?x=%20", "/enc/%E2%82%AC", "/encred/a%20b%26c", "/encred/%25%32%30", "/encred/a:b;c,d", "/encred/a:b%20;c,d",
    "/encred/%7B%7C%7D%5B%5D%5E%60%22%3C%3E", "/case/a", "/named/one/two", "/named//two", "/named/a%20b/c?q", "/opt/abc", "/opt/ac", "/opt/b",
    "/opt/", "/loop/", "/ten/", "/ten/x", "/ten/xxxxx", "/nine/", "/eleven/", "/eleven/x", "/zero/", "/zero/show", "/nonabs/x", "/brk",
    "/slashes/a", "/dots/a", "/setargs?b=2", "/setargs2?b=2", "/setargs3?b=2", "/setargs3", "/pp/a%20b?c=%20", "/pplast/a%20b?c=d", "/pplast/a",
    "/ppbreak/a", "/ppbreak/a%20b?c=d", "/ppbreak/a%2fb", "/ppbreak2/a?c=d", "/ppbreak2/a%3Fb", "/ppnone/a?b", "/pp/x?", "/ppbreak/x?", "/ppvar/x?", "/echo/x?", "/ppvar/a%20b?c=d", "/ppvar/a",
    "/ppvaruri/a?c=d", "/ppvaruri/a", "/ppplain/a%20b?c", "/echo/x/../y?z", "/other?x=1")]
CONDITIONS = [case(f"if {n}", t, "if.test", **kw) for n, t, *rest in (
    ("set by the server", "/s"), ("server returns", "/s?server=1"), ("server sets", "/s", {"headers": {"X-Drop": "yes"}}),
    ("method", "/s", {"method": "PURGE"}), ("server captures", "/x?r=/a/b"), ("server captures encoded", "/x%20?r=/a%20b"),
    ("server breaks", "/s?brk=1"), ("after", "/s?brk=0"),
    *((f"truth {v!r}", f"/truth?v={v}") for v in ("", "0", "00", "1", "false", "no", "%30", "0.0")), ("truth of nothing", "/truth"),
    *((f"equal {q}", f"/equal?{q}") for q in ("v=one%20two", "v=a&w=a", "v=a&w=A", "v=a", "", "v=&w=")),
    *((f"unequal {q}", f"/unequal?{q}") for q in ("v=x", "v=X", "")),
    *((f"match {v}", f"/match?v={v}") for v in ("ab", "axxb", "cx", "CY", "x", "d", "de", "DE", "")),
    ("captures after a failed match", "/after?v=xyz"), ("captures none", "/after"), ("named", "/named", {"headers": {"User-Agent": "curl/7.1"}}),
    ("named none", "/named"), ("files", "/file"), ("file by argument", "/file?f=sluice.conf"), ("file above", "/file?f=../etc/passwd"),
    ("spaces x", "/spaces?v=x"), ("spaces y", "/spaces?v=y"), ("spaces", "/spaces?w=a%20b"), ("spaces none", "/spaces"),
    ("order", "/order"), ("order if", "/order?v=1"), ("first return", "/first"), ("return before set", "/before"), ("unset", "/unset"),
    ("field", "/field", {"headers": {"X-Over": "mine", "X-Y": "y"}}), ("field set", "/field?v=1", {"headers": {"X-Over": "mine"}}),
    ("map in set", "/mapped?m=ab"), ("map default in set", "/mapped?m=abc"),
    *((f"captures {t}", f"/caps/{t}") for t in ("a", "a%20b", "a+b", "a%2Bb", "%E2%82%AC", "a%26b?c", "")),
    ("captures after rewrite", "/caps2/a%20b"), ("captures in if", "/caps5/a%20b"), ("captures in if plain", "/caps5/ab"),
    *((f"code {c}", f"/codes?c={c}&v=a%20b") for c in (200, 204, 301, 307, 404, 418, 444, 503, 1)), ("root", "/z"),
) for kw in [rest[0] if rest else {}]]
BLOCKS = [case(f"block {t}", t, "block.test", **kw) for t, *rest in (
    ("/hdr",), ("/hdr?a=1",), ("/hdr?b=1",), ("/hdr?a=1&b=1",), ("/hdr?a=0",), ("/pass/x",), ("/pass/x?a=1",), ("/pass/x%20y?a=1",), ("/set",),
    ("/set?a=1",), ("/only?a=1",), ("/only",), ("/last/x?a=1",), ("/last/x?b=1",), ("/last/x%20y?b=1",), ("/both",), ("/both?a=1",), ("/both?b=1",),
    ("/both?a=1&b=1",), ("/ret",), ("/ret?a=1",), ("/inherit?a=1",), ("/inherit",), ("/log",), ("/log?a=1",), ("/re/x?a=y",), ("/re/x?b=y",),
    ("/out/x",), ("/out/x?a=1",), ("/out/in/x",), ("/out/in/x?a=1",), ("/any?s=1",), ("/any",),
    ("/limit?a=1", {"method": "POST", "body": "123456"}), ("/limit?a=1", {"method": "POST", "body": "12345"})) for kw in [rest[0] if rest else {}]]
SERVERS = [case("server return", "/x", "ret.test"), case("server return captures", "/x/a%20b", "retif.test"), case("server if fails", "/y", "retif.test"),
           case("no location", "/a", "null.test"), case("no location, no match", "/c", "null.test")]
FLOW = [case(f"flow {t}", t, "flow.test", **kw) for t, *rest in (
    ("/gone/a",), ("/gone/a?x=1",), ("/gone/a%20b",), ("/teapot",), ("/tea",), ("/tea?a=1",), ("/viarewrite",), ("/viarewrite?x",), ("/viabreak",),
    ("/found",), ("/named/a%20b?c=d",), ("/named/",), ("/named2/a%20b?c=d",), ("/fromfile/x?y",), ("/fromfile?a=1",), ("/loop",), ("/loop3",),
    ("/ifpage",), ("/ifpage?a=1",), ("/ifpage?a=1&b=1",), ("/ifpage?b=1",), ("/ifroot",), ("/ifroot?a=1",), ("/expires",), ("/expires?a=1",),
    ("/intercepted/a",), ("/capt/a%20b",), ("/limited",), ("/limited?a=1",), ("/limited", {"method": "POST", "body": ""}),
    ("/limited?a=1", {"method": "POST", "body": ""}), ("/ext/a.b.txt",), ("/ext/x.css",), ("/ext/x.html",), ("/nowhere",), ("/inner/x",),
    ("/accel", {"headers": {"X-Mock-Add-Header": "X-Accel-Redirect: /inner/y?z=1"}}),
    ("/accel", {"headers": {"X-Mock-Add-Header": "X-Accel-Redirect: @plain"}})) for kw in [rest[0] if rest else {}]]
CASES = REWRITES + CONDITIONS + BLOCKS + SERVERS + FLOW


@pytest.fixture(scope="module")
def both():
    with contextlib.ExitStack() as stack:
        yield Both(stack, CONF)


@pytest.mark.parametrize("c", CASES, ids=[c.id for c in CASES])
def test_alike(both, c):
    for last in (False, False, True):
        nginx, sluice = both.ask(c)
        if sluice == nginx or last or "expires" not in c.id:
            break   # else a second may have passed between the two
    assert sluice == nginx


def test_access_logs_alike(both):
    """Also what `access_log off` in an `if` leaves out."""
    for target in ("/log?a=1", "/log?x", "/named/a/b", "/last/x?y"):
        both.ask(case("log", target, "block.test" if "log" in target else "first.test"))
    nginx, sluice = ((s.dir / "rw.log").read_text().splitlines() for s in both.servers)
    assert len(nginx) > 3 and sluice == nginx


def test_rewrite_log(both, stack):
    """The same lines, word by word."""
    conf = CONF.replace("@logs@", "rewrite_log on; error_log @dir@/error.log notice;")
    pair = Both(stack, conf)
    lines = []
    for s in pair.servers:
        for target in ("/twice/a?x=1", "/nomatch/a", "/redirect/a%20b?x=1", "/loop/", "/zero/", "/args/cap/a/b"):
            harness.fetch(s.port, target, host="first.test")
        for target in ("/match?v=axb", "/unset"):
            harness.fetch(s.port, target, host="if.test")
        found = re.findall(r'\[(notice|warn|error)\] \S+ \*\d+ (.*?), client:', s.log())
        assert len(found) > 20
        lines.append(found)
    assert lines[1] == lines[0]


REFUSED = {
    "if nested": ("location / { if ($host) { if ($uri) { } } }", '"if" directive is not allowed here'),
    "if nested in a server": ("if ($host) { if ($uri) { } }", '"if" directive is not allowed here'),
    "location in if": ("location / { if ($host) { location /x { } } }", '"location" directive is not allowed here'),
    "proxy_pass in a server's if": ("if ($host) { proxy_pass http://127.0.0.1:1; }", '"proxy_pass" directive is not allowed here'),
    "add_header in a server's if": ("if ($host) { add_header a b; }", '"add_header" directive is not allowed here'),
    "proxy_pass with URI in if": ("location / { if ($host) { proxy_pass http://127.0.0.1:1/x; } }", '"proxy_pass" cannot have URI part in location'),
    "no parentheses": ("if $host { }", 'invalid condition "$host"'),
    "not closed": ("if ($host { }", 'invalid condition "$host"'),
    "no variable": ("if (host) { }", 'invalid condition "host"'),
    "two words": ("if ($host = ) { }", 'invalid condition "$host"'),
    "four words": ("if ($host = a b) { }", 'invalid condition "$host"'),
    "bad operator": ("if ($host == a) { }", 'unexpected "==" in condition'),
    "bad file test": ("if (-z a) { }", 'invalid condition "-z"'),
    "file test alone": ("if (-f) { }", 'invalid condition "-f"'),
    "unknown variable": ("if ($no_such) { }", 'unknown "no_such" variable'),
    "two variables": ("if ($host$uri) { }", 'unknown "host$uri" variable'),
    "bad regex": ("if ($host ~ () { }", "pcre2_compile() failed: missing closing parenthesis"),
    "rewrite flag": ("rewrite a b forever;", 'invalid parameter "forever"'),
    "rewrite to nothing": ('rewrite a "";', "empty replacement"),
    "rewrite alone": ("rewrite a;", 'invalid number of arguments in "rewrite" directive'),
    "rewrite bad regex": ("rewrite a( b;", "pcre2_compile() failed: missing closing parenthesis"),
    "set without dollar": ("set x y;", 'invalid variable name "x"'),
    "set known": ("set $host y;", 'the duplicate "host" variable'),
    "set args": ("set $args y;", ""),
    "return code": ("return 1000;", 'invalid return code "1000"'),
    "return word": ("return fine;", 'invalid return code "fine"'),
    "return number and url": ("return x http://a/;", 'invalid return code "x"'),
    "return in http": ("}  return 200; server {", '"return" directive is not allowed here'),
    "break with argument": ("break x;", 'invalid number of arguments in "break" directive'),
    "set below its use": ("location /a { return 200 $below; } location /b { set $below 1; }", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_alike(tmp_path, name):
    body, words = REFUSED[name]
    refused_alike(tmp_path, f"server {{ listen 127.0.0.1:{harness.free_port()}; {body} }}", words)
