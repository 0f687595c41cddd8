# SPDX-License-Identifier: BSD-2-Clause
"""Which server and which location: sluice and Debian's nginx on the same file."""
import contextlib

import harness
import pytest
from alike import Both, case, refused_alike

CONF = r"""
    default_type text/plain;
    proxy_http_version 1.1;
    server_names_hash_bucket_size 64;
    @logs@

    server {
        listen 127.0.0.1:@http@ default_server;
        server_name first.test;
        location / { return 200 "root $uri"; }
        location /img/ { return 200 "img"; location ~ \.gof$ { return 200 "img gof"; } location /img/deep/ { return 200 "img deep"; } }
        location ~ \.gof$ { return 200 "gof"; }
        location ~* \.jpe?k$ { return 200 "jpk"; }
        location ~* \.JPK$ { return 200 "never"; }
        location ^~ /stop/ { return 200 "stop"; }
        location ^~ /stop2/ { return 200 "stop2"; location ~ \.gof$ { return 200 "stop2 gof"; } location /stop2/a/ { return 200 "stop2 a"; } }
        location = /exact.gof { return 200 "exact"; }
        location /pre.gof { return 200 "pre"; }
        location ~ ^/user/(\d+)/(?<what>[a-z]+)?$ { return 200 "user $1 [$2] [$what] [$3]"; }
        location ~^/glued/(.*)$ { return 200 "glued $1"; }
        location ~*^/loud/(.*)$ { return 200 "loud $1"; }
        location =/eq { return 200 "eq"; }
        location ^~/caret { return 200 "caret"; }
        location ~ ^/outer/(.*)$ { return 200 "outer $1"; location ~ ^/outer/in(.*)$ { return 200 "in $1"; } }
        location ~ "^/brace/[a-z]{2}$" { return 200 "brace"; }
        location ~ ^/alt/(a)|(b)$ { return 200 "alt [$1] [$2]"; }
        location ~ "^/enc/(.*)$" { add_header X-Cap "$1" always; return 200 "enc [$1] [$request_uri] [$uri]"; }
        location ~ ^/redir/(.*)$ { return 302 /else/$1; }
        location ~ ^/url/(?<a>[^/]*)/(?<b>[^/]*)$ { return 301 http://x.test/$b/$a?$args; }
        location ~ ^/nine/(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)$ { return 200 "$1$2$3$4$5$6$7$8$9$10"; }
        location ~ ^/(?i)flag/(.*)$ { return 200 "flag $1"; }
        location ~ ^/utf/.$ { return 200 "byte"; }
        location ~ (*UTF8)^/utf/(.)$ { return 200 "char $1"; }
        location ~ ^/space\ here$ { return 200 "space"; }
        location ~ ^/nocap { return 200 "nocap [$1]"; }
        location /nested/ { return 200 "nested $uri";
            location ~ ^/nested/(?<n>[0-9]+)$ { return 200 "number $n"; }
            location = /nested/one { return 200 "one"; }
            location /nested/two/ { return 200 "two"; location ~ /x$ { return 200 "two x"; } } }
        location ~ /x$ { return 200 "x"; }
        location @named { return 200 "named"; }
    }

    # --- slashes that are added
    server {
        listen 127.0.0.1:@http@;
        server_name slash.test;
        location /both/ { proxy_pass http://@mock@/echo/; }
        location /both { return 200 "both"; }
        location = /exact/ { proxy_pass http://@mock@/echo; }
        location /only/ { proxy_pass http://@mock@/echo/; }
        location /ret/ { return 200 "ret"; }
        location /in/ { proxy_pass http://@mock@/echo/; location /in/side/ { proxy_pass http://@mock@/echo/; } }
        location ~ only { return 200 "regex"; }
        location /sp%20ace/ { proxy_pass http://@mock@/echo/; }
        location "/sp ace/" { proxy_pass http://@mock@/echo/; }
        location / { return 200 "root"; }
    }

    # --- proxying from a location that is a regular expression
    server {
        listen 127.0.0.1:@http@;
        server_name proxy.test;
        location ~ ^/plain/ { proxy_pass http://@mock@; }
        location ~ ^/to/(.*)$ { proxy_pass http://@mock@/echo/$1; }
        location ~ ^/q/(.*)$ { proxy_pass http://@mock@/echo/$1$is_args$args; }
        location ~ ^/hdr/(?<h>.*)$ { proxy_set_header X-Cap $1; proxy_set_header X-Named $h; proxy_pass http://@mock@; }
        location ~ ^/vars { proxy_pass http://@mock@/echo?u=$uri; }
        location ~ ^/bare(.*)$ { proxy_pass http://$host_of$1; }
        location / { return 404; }
    }
    map $host $host_of { default @mock@; }

    # --- names
    server { listen 127.0.0.1:@http@; server_name name.test; return 200 "exact"; }
    server { listen 127.0.0.1:@http@; server_name *.name.test; return 200 "head"; }
    server { listen 127.0.0.1:@http@; server_name *.long.name.test; return 200 "long head"; }
    server { listen 127.0.0.1:@http@; server_name name.*; return 200 "tail"; }
    server { listen 127.0.0.1:@http@; server_name name.co.*; return 200 "long tail"; }
    server { listen 127.0.0.1:@http@; server_name ~^(?<sub>.+)\.regex\.test$; return 200 "regex $sub $1 $server_name"; }
    server { listen 127.0.0.1:@http@; server_name ~^second\.regex\.test$; return 200 "second"; }
    server { listen 127.0.0.1:@http@; server_name ~^UPPER[0-9]+\.test$; return 200 "upper $server_name"; }
    server { listen 127.0.0.1:@http@; server_name ~^(\w+)\.cap\.test$ plain.cap.test; location ~ ^/own/(.*)$ { return 200 "own $1"; }
             location / { return 200 "cap [$1] $server_name"; } }
    server { listen 127.0.0.1:@http@; server_name ~name; return 200 "part"; }
    server { listen 127.0.0.1:@http@; server_name .dotted.test sub.dotted.test; return 200 "dotted $server_name"; }
    server { listen 127.0.0.1:@http@; server_name www.dotted.test; return 200 "www dotted"; }
    server { listen 127.0.0.1:@http@; server_name ""; return 200 "no name [$server_name]"; }
"""

PATHS = [case(f"path {t}", t) for t in (
    "/", "/img/x", "/img/x.gof", "/img/deep/x", "/img/deep/x.gof", "/x.gof", "/x.GOF", "/x.jpk", "/x.JPEK", "/x.jpek/",
    "/stop/x.gof", "/stop/", "/stop", "/stop2/x.gof", "/stop2/a/x.gof", "/stop2/x", "/exact.gof", "/exact.gof/",
    "/pre.gof", "/pre.goft", "/pre.gof/x", "/user/12/", "/user/12/abc", "/user/12/ABC", "/user/x/abc", "/user//12//abc",
    "/glued/a/b", "/loud/x", "/LOUD/x", "/Loud/", "/eq", "/eq/", "/caret.gof", "/outer/a", "/outer/inside", "/outer/",
    "/brace/ab", "/brace/abc", "/alt/a", "/alt/b", "/b", "/enc/%41%2f%42", "/enc/a%20b", "/enc/a%2Bb+c", "/enc/%E2%82%AC",
    "/enc/a?b=c", "/enc/a%3Fb?c", "/enc//x//y", "/enc/../enc/z", "/redir/a%20b", "/redir/%E2%82%AC", "/redir/a%3fb",
    "/redir/", "/url/1/2?q=1&r", "/url/a%2fb/c", "/url//", "/nine/abcdefghij", "/flag/x", "/FLAG/x", "/utf/a",
    "/utf/%E2%82%AC", "/utf/%C3%28", "/space%20here", "/space+here", "/nocap", "/nested/12", "/nested/one",
    "/nested/two/", "/nested/two/x", "/nested/a/x", "/nested/y", "/any/x", "/@named", "@named", "/named",
    "/img/../x.gof", "/img/%2e%2e/x.gof", "/img%2fx.gof", "/x%2egof", "/x.gof?x.jpk", "/x?a.gof", "/IMG/x.gof")]
SLASHES = [case(f"slash {t}", t, "slash.test") for t in (
    "/both", "/both/", "/both?a=b", "/exact", "/exact/", "/exact/x", "/only", "/only?a=b&c", "/only/", "/only/x", "/ret",
    "/in", "/in/side", "/in/side/", "/in/sidex", "/sp%20ace", "/sp%2520ace")]
PROXIED = [case(f"proxied {t}", t, "proxy.test") for t in (
    "/plain/a%20b?c=%20", "/plain/%2e%2e/plain/x", "/to/a/b", "/to/a%20b", "/to/a?b=c", "/q/a?b=c", "/q/a", "/q/a%20b?c=%20",
    "/hdr/abc", "/hdr/a%20b", "/vars/x", "/vars/x?y=z", "/bare/x/y", "/bare?x=y", "/bare")]
NAMES = [case(f"name {h}", "/", h) for h in (
    "name.test", "a.name.test", "a.b.name.test", "x.long.name.test", "long.name.test", "name.org", "name.co.uk", "name.co",
    "name.x.y", "a.regex.test", "second.regex.test", "A.Regex.Test", "a.b.regex.test", "regex.test", "upper1.test",
    "UPPER12.test", "upper.test", "x.cap.test", "plain.cap.test", "x-y.cap.test", "my-name-here.org", "dotted.test",
    "sub.dotted.test", "a.sub.dotted.test", "www.dotted.test", "nothing.test", "a.regex.test:8080", "a.regex.test.",
    "127.0.0.1", "name.test.")]
NAMES += [case("name with own capture", "/own/abc", "x.cap.test"), case("no host", "/", None, version="1.0")]
CASES = PATHS + SLASHES + PROXIED + NAMES

# Where sluice answers otherwise on purpose: what of it, and why (docs/nginx.md).
OTHERWISE = {
    "proxied /to/a%20b": ("/echo/a%20b", "a space from a variable is escaped in a request line; nginx breaks the line"),
    "proxied /q/a%20b?c=%20": ("/echo/a%20b?c=%20", "the same"),
}


@pytest.fixture(scope="module")
def both():
    with contextlib.ExitStack() as stack:
        b = Both(stack, CONF)
        for s in b.servers:
            s.expected.append(r"failed: -8 on .*UTF8")   # invalid UTF-8 against a pattern that wants UTF-8
        yield b


@pytest.mark.parametrize("c", CASES, ids=[c.id for c in CASES])
def test_alike(both, c):
    nginx, sluice = both.ask(c)
    if c.id in OTHERWISE:
        assert (sluice[0]["status"], sluice[0]["body"]["target"]) == (200, OTHERWISE[c.id][0])
        return
    assert sluice == nginx


# --- what both refuse, in the same words; "": both accept it

REFUSED = {
    "prefix outside": ("location /a { location /b { } }", 'location "/b" is outside location "/a"'),
    "in exact": ("location = /a { location /a/b { } }", 'location "/a/b" cannot be inside the exact location "/a"'),
    "in named": ("location @a { location /b { } }", 'location "/b" cannot be inside the named location "@a"'),
    "named inside": ("location /a { location @b { } }", 'named location "@b" can be on the server level only'),
    "regex anywhere": ("location /a { location ~ b { } }", ""),
    "prefix in regex": ("location ~ b { location /b { } }", 'location "/b" is outside location "b"'),
    "regex text in regex": ("location ~ b { location bb { } }", ""),
    "twice": ("location /a { } location /a { }", 'duplicate location "/a"'),
    "twice with ^~": ("location /a { } location ^~ /a { }", 'duplicate location "/a"'),
    "exact and prefix": ("location = /a { } location /a { }", ""),
    "exact twice": ("location = /a { } location = /a { }", 'duplicate location "/a"'),
    "regex twice": ("location ~ a { } location ~ a { }", ""),
    "modifier": ("location !~ a { }", 'invalid location modifier "!~"'),
    "bad regex": ("location ~ (a { }", "pcre2_compile() failed: missing closing parenthesis"),
    "bad class": ("location ~ [a { }", "pcre2_compile() failed: missing terminating ] for character class"),
    "bad name": ("server_name ~(; ", "pcre2_compile() failed: missing closing parenthesis"),
    "no pattern": ("server_name ~;", 'empty regex in server name "~"'),
    "two asterisks": ("server_name *.*.a;", 'invalid server name or wildcard "*.*.a"'),
    "asterisk within": ("server_name a*.b;", 'invalid server name or wildcard "a*.b"'),
    "empty label": ("server_name a..b;", 'invalid server name or wildcard "a..b"'),
    "capture of a known name": ("location ~ (?<host>x) { }", 'the duplicate "host" variable'),
    "capture of an own name": ("location ~ (?<mine>x) { return 200 $mine; } location ~ (?<mine>y) { }", ""),
    "unknown variable": ("location / { return 200 $no_such; }", 'unknown "no_such" variable'),
    "capture used above": ("location / { return 200 $late; } location ~ (?<late>x) { }", ""),
    "proxy_pass with URI in regex": ("location ~ a { proxy_pass http://127.0.0.1:1/x; }",
                                     '"proxy_pass" cannot have URI part in location given by regular expression'),
    "proxy_pass with URI in named": ("location @a { proxy_pass http://127.0.0.1:1/; }",
                                     '"proxy_pass" cannot have URI part in location given by regular expression'),
    "proxy_pass in regex": ("location ~ a { proxy_pass http://127.0.0.1:1; }", ""),
    "proxy_pass with variables in regex": ("location ~ a { proxy_pass http://127.0.0.1:1/$uri; }", ""),
    "no location": ("location { }", 'invalid number of arguments in "location" directive'),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_alike(tmp_path, name):
    body, words = REFUSED[name]
    listen = f"listen 127.0.0.1:{harness.free_port()};"
    refused_alike(tmp_path, f"server {{ {listen} {body} }} server {{ {listen} server_name second; }}", words)


# --- what nginx has no limit for

def test_a_regex_that_takes_too_long_fails(start):
    """Catastrophic backtracking costs its request, not the worker."""
    s = start(r"""
        server {
            listen 127.0.0.1:@http@;
            location ~ ^/(a+)+$ { return 200 "all a"; }
            location /fine { return 200 fine; }
        }""", main="regex_match_limit 10000;")
    s.expected.append(r"pcre2_match\(\) failed: -47")
    assert harness.fetch(s.port, "/aaa").body == b"all a"
    assert harness.fetch(s.port, "/" + "a" * 5000 + "!").status == 500
    s.wait_log(r'pcre2_match\(\) failed: -47 on "/a+" using "\^/\(a\+\)\+\$"')
    assert harness.fetch(s.port, "/fine").status == 200


def test_interpreted_when_jit_is_off(start):
    s = start("server { listen 127.0.0.1:@http@; location ~ ^/(a|b)+/(?<x>.*)$ { return 200 $1$x; } }", main="pcre_jit off;")
    assert harness.fetch(s.port, "/" + "ab" * 500 + "/c").body == b"bc"
