# SPDX-License-Identifier: BSD-2-Clause
"""`map`: sluice and Debian's nginx on the same file."""
import contextlib

import harness
import pytest
from alike import Both, case, refused_alike

CONF = r"""
    default_type text/plain;
    proxy_http_version 1.1;
    map_hash_max_size 2048;
    map_hash_bucket_size 128;
    @logs@
    log_format maps "$plain|$regex|$name";
    access_log @dir@/maps.log maps;

    map $arg_a $plain {
        default none;
        one 1;
        Two 2;
        "" empty;
        "with space" spaced;
        'quoted "q"' quotes;
        \default backslash-default;
        \include backslash-include;
        \hostnames backslash-hostnames;
        \~tilde tilde;
        \\double double;
        include @dir@/more.map;
        semi\;colon semi;
        $dollar literal;
        0 zero;
        *.star star;
        .dot dot;
    }
    map $arg_a $no_default { one 1; }
    map $arg_a $regex {
        default no;
        exact first;
        ~^exact never;
        ~^a(?<name>.*)b$ "a-$name-$1-b";
        ~*^LOUD(.*)$ "loud$1";
        "~^sp ace$" space;
        ~^(\d+)-(\d+)$ $2-$1;
        "~^x{2,3}$" exes;
        ~second second;
        ~sec first-wins-not;
        ~^opt(a)?(b)?$ "[$1][$2]";
    }
    map $host $by_host {
        hostnames;
        default other;
        example.test exact;
        *.example.test head;
        *.deep.example.test deep;
        .both.test both;
        tail.* tail;
        tail.long.* long;
        ~^re(\d+)\.test$ "re$1";
    }
    map "$arg_a:$arg_b" $pair { default "no $arg_a"; x:y xy; :  neither; ~^(?<left>\w+):\1$ "same $left"; }
    map $arg_a $nested { default $plain; n "$arg_b and $plain"; }
    map $nested $chain { default "chained $nested"; none nothing; }
    map $request_method $bodyless { default 0; GET 1; HEAD 1; }
    map $http_x_y $from_field { default "-"; "~^(?<first>[^,]+)," $first; }
    map $cookie_c $from_cookie { default no; yes YES; }
    map $uri $by_uri { default "uri $uri"; ~^/m/(.*)$ "m $1"; /u/%20 raw; "/u/ " space; }
    map $args $mutable { default "was $args"; }
    map $arg_a $flip { volatile; default "v $arg_a"; one v1; }
    map $arg_u $target { default @mock@; dead 127.0.0.1:@dead@; }
    map $arg_e $empty { default ""; x ""; y $arg_none; }
    map $arg_a $same { default first; }
    map $arg_b $same { default second; }
    split_clients "${arg_a}x" $split { 0.5% half; 20% fifth; 33.33% third; .07% little; * rest; }
    split_clients $arg_a $open { 25% quarter; 25% second; }
    split_clients $arg_b $all { 100% all; }

    server {
        listen 127.0.0.1:@http@ default_server;
        server_name first.test;
        location = /plain { return 200 "[$plain] [$no_default]"; }
        location = /regex { return 200 "[$regex] [$1] [$2] [$name]"; }
        location = /later { return 200 "[$1] [$regex] [$1] [$name]"; }
        location ~ ^/loc/(.*)$ { return 200 "[$1] [$plain]"; }
        location = /pair { return 200 "[$pair] [$left]"; }
        location = /nested { return 200 "[$nested] [$chain]"; }
        location = /method { return 200 "[$bodyless] [$from_field] [$from_cookie]"; }
        location = /volatile { return 200 "[$flip][$flip][$mutable]"; }
        location /u/ { return 200 "[$by_uri]"; }
        location /m/ { return 200 "[$by_uri]"; }
        location = /split { return 200 "[$split] [$open] [$all]"; }
        location = /same { return 200 "[$same]"; }
        location = /to { proxy_pass http://$target/echo?p=$plain; }
        location = /field { add_header X-Map $plain; add_header X-Empty $empty; add_header X-Regex $regex always; return 200 "ok"; }
        location = /case { return 200 "[$PLAIN] [${plain}x]"; }
        location = /body { proxy_set_header X-Plain $plain; proxy_set_header X-Empty "$empty"; proxy_pass http://@mock@/echo; }
    }
    server { listen 127.0.0.1:@http@; server_name example.test *.example.test *.deep.example.test .both.test tail.* ~test$;
             return 200 "[$by_host]"; }
"""

CASES = [case(f"plain {a}", f"/plain?a={a}") for a in (
    "one", "ONE", "two", "TWO", "three", "", "with%20space", "with+space", "default", "include", "hostnames", "~tilde",
    "tilde", "%5Cdouble", "more", "other", "semi;colon", "$dollar", "0", "00", "*.star", "x.star", ".dot", "dot", "x.dot",
    "volatile", "quoted%20%22q%22", "one%00", "%6Fne", "o" * 300)]
CASES += [case("plain without the argument", "/plain"), case("plain twice", "/plain?a=one&a=two")]
CASES += [case(f"regex {a}", f"/regex?a={a}") for a in (
    "exact", "EXACT", "exactly", "ab", "axxb", "aXXB", "loud", "LoUder", "sp ace", "12-34", "12-", "x", "xx", "xxx", "xxxx",
    "second", "sec", "opt", "opta", "optb", "optab", "", "a%0Ab", "a" * 1000 + "b")]
CASES += [case("captures stay without a match", "/loc/x?a=one"),
          case("captures of the location stay", "/loc/a/b?a=zzz")]
CASES += [case(f"host {h}", "/", h) for h in (
    "example.test", "EXAMPLE.test", "a.example.test", "x.deep.example.test", "deep.example.test", "both.test", "a.both.test",
    "tail.test", "tail.long.test", "re12.test", "re.test", "none.test", "example.test.", "example.test:80")]
CASES += [case(f"pair {q}", f"/pair?{q}") for q in ("a=x&b=y", "a=X&b=Y", "", "a=q&b=q", "a=q&b=Q", "a=q", "b=q")]
CASES += [case(f"nested {q}", f"/nested?{q}") for q in ("a=n&b=1", "a=one", "a=zz", "", "a=n")]
CASES += [case("method GET", "/method"), case("method POST", "/method", method="POST", body="x"),
          case("field", "/method", headers={"X-Y": "one, two", "Cookie": "c=yes"}),
          case("field without a comma", "/method", headers={"X-Y": "one", "Cookie": "c=YES"}),
          case("volatile", "/volatile?a=1"), case("volatile key", "/volatile?a=one"),
          case("uri", "/u/%20"), case("uri raw", "/u/%2520"), case("uri regex", "/m/a%20b"), case("uri default", "/u/"),
          case("two maps of one name", "/same?a=1&b=2"), case("proxy_pass", "/to?a=one"),
          case("proxy_pass elsewhere", "/to?u=dead"), case("add_header", "/field?a=ab"), case("add_header empty", "/field?a=&e=x"),
          case("names in any case", "/case?a=one"), case("set_header", "/body?a=two"), case("set_header empty", "/body?a=zz&e=y")]

CASES += [case(f"split {i}", f"/split?a={'abc'[:i % 4]}{i * 7919}&b={i}") for i in range(24)] + [case("split nothing", "/split")]


@pytest.fixture(scope="module")
def both():
    with contextlib.ExitStack() as stack:
        yield make_both(stack, CONF)


def make_both(stack, conf):
    folder = stack.enter_context(harness.temp_dir())
    (folder / "more.map").write_text("more included;\n~^oth regex-in-a-plain-map;\n")
    return Both(stack, conf.replace("@dir@/more.map", str(folder / "more.map")))


@pytest.mark.parametrize("c", CASES, ids=[c.id[:60] for c in CASES])
def test_alike(both, c):
    nginx, sluice = both.ask(c)
    assert sluice == nginx


def test_logged_alike(both):
    """What was not asked for while the request lived is found out when the log is written."""
    for a in ("one", "axb", "zz"):
        c = case("log", f"/case?a={a}")
        assert both.ask(c)
    nginx, sluice = ((s.dir / "maps.log").read_text().splitlines() for s in both.servers)
    assert len(nginx) > 100 and sluice == nginx


REFUSED = {
    "no dollar": ("map $host name { }", 'invalid variable name "name"'),
    "known name": ("map $host $host { a b; }", 'the duplicate "host" variable'),
    "two values": ("map $host $x { a b c; }", "invalid number of the map parameters"),
    "no value": ("map $host $x { a; }", "invalid number of the map parameters"),
    "default twice": ("map $host $x { default a; default b; }", "duplicate default map parameter"),
    "key twice": ("map $host $x { A b; a c; }", 'conflicting parameter "a"'),
    "host twice": ("map $host $x { hostnames; .a.test b; a.test c; }", 'conflicting parameter "a.test"'),
    "host and dot": ("map $host $x { hostnames; a.test b; .a.test c; }", 'conflicting parameter ".a.test"'),
    "star and dot": ("map $host $x { hostnames; *.a.test b; .a.test c; }", 'conflicting parameter ".a.test"'),
    "regex twice": ("map $host $x { ~a b; ~a c; }", ""),
    "bad host": ("map $host $x { hostnames; a.*.b b; }", 'invalid hostname or wildcard "a.*.b"'),
    "star without hostnames": ("map $host $x { a.*.b b; }", ""),
    "bad regex": ("map $host $x { ~( b; }", "pcre2_compile() failed: missing closing parenthesis"),
    "bad variable in a value": ("map $host $x { a $no_such; }", 'unknown "no_such" variable'),
    "bad variable in the source": ("map $no_such $x { a b; }", 'unknown "no_such" variable'),
    "hash size": ("map_hash_max_size x;", '"map_hash_max_size" directive invalid'),
    "shares over 100": ("split_clients $host $x { 60% a; 50% b; }", "percent total is greater than 100%"),
    "share without %": ("split_clients $host $x { 60 a; }", 'invalid percent value "60"'),
    "share of nothing": ("split_clients $host $x { 0% a; }", 'invalid percent value "0%"'),
    "share too fine": ("split_clients $host $x { 0.001% a; }", 'invalid percent value "0.001%"'),
    "no source": ("map $x { }", 'invalid number of arguments in "map" directive'),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_alike(tmp_path, name):
    refused_alike(tmp_path, *REFUSED[name])


def test_captures_of_a_map_are_there_later(both):
    """Within one text too. nginx, which measured $1 before the map had run, gives up with 500."""
    both.servers[0].expected.append("no buffer space in script copy")
    nginx, sluice = both.ask(case("later", "/later?a=axb"))
    assert nginx[0]["status"] == 500
    assert (sluice[0]["status"], sluice[0]["body"]) == (200, b"[] [a-x-x-b] [x] [x]")


def test_a_circle_of_maps_is_empty(start):
    """Maps that need each other end; nginx stops after a hundred steps, sluice at once."""
    s = start(r"""
        map $b $a { default "a$b"; }
        map $a $b { default "b$a"; }
        server { listen 127.0.0.1:@http@; return 200 "[$a]"; }""")
    assert harness.fetch(s.port, "/").status == 200
    s.wait_log('cycle while evaluating variable "a"')
