# SPDX-License-Identifier: BSD-2-Clause
"""What is logged and told: variables, lists over several tries, formats, places, syslog, stub_status. nginx and sluice, one file."""
import contextlib
import gzip
import re
import socket

import harness
import pytest
from harness import Conn, build, free_port, until
from pair import Pair, config_errors, fetch, mask, raw_answer, x_raw

VARS = ["arg_a", "arg_A", "arg_none", "args", "binary_remote_addr", "body_bytes_sent", "bytes_sent", "connection_requests", "content_length",
        "content_type", "cookie_c", "cookie_none", "document_root", "document_uri", "host", "hostname", "http_host", "http_x_a", "http_cookie",
        "https", "is_args", "limit_rate", "msec", "pipe", "proxy_add_x_forwarded_for", "proxy_host", "proxy_port", "query_string",
        "realip_remote_addr", "realip_remote_port", "remote_addr", "remote_user", "request", "request_completion", "request_filename", "request_id",
        "request_length", "request_method", "request_time", "request_uri", "scheme", "sent_http_content_type", "sent_http_x_set",
        "sent_http_content_length", "sent_http_connection", "sent_http_transfer_encoding", "sent_http_location", "sent_http_cache_control",
        "server_addr", "server_name", "server_protocol", "status", "tcpinfo_rtt", "tcpinfo_rttvar", "tcpinfo_snd_cwnd", "tcpinfo_rcv_space",
        "time_iso8601", "time_local", "uri", "limit_req_status", "limit_conn_status", "http2", "proxy_protocol_addr", "ssl_protocol",
        "upstream_addr", "upstream_status", "upstream_bytes_received", "upstream_bytes_sent", "upstream_response_length", "upstream_connect_time",
        "upstream_header_time", "upstream_response_time", "upstream_http_x_up", "upstream_http_set_cookie", "upstream_cookie_sid", "upstream_cookie_none",
        "connection_time", "sent_trailer_x_t", "upstream_trailer_x_t", "server_port", "connection", "pid", "remote_port", "request_body", "nothing_at_all"]
SET_BY_MAP = {"nothing_at_all"}
# What differs from run to run, and its form.
FORMS = {"msec": r"\d+\.\d{3}", "request_id": r"[0-9a-f]{32}", "request_time": r"\d+\.\d{3}", "time_iso8601": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d",
         "time_local": r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}", "tcpinfo_rtt": r"\d+", "tcpinfo_rttvar": r"\d+",
         "tcpinfo_snd_cwnd": r"\d+", "tcpinfo_rcv_space": r"\d+", "connection": r"\d+", "pid": r"\d+", "remote_port": r"\d+", "realip_remote_port": r"\d+",
         "connection_time": r"\d+\.\d{3}", "bytes_sent": r"\d+", "upstream_connect_time": r"[\d., :-]*", "upstream_header_time": r"[\d., :-]*",
         "upstream_response_time": r"[\d., :-]*", "server_port": r"\d+", "hostname": r"[a-z0-9.-]+", "upstream_bytes_sent": r"[\d, :-]*"}

CONF = r"""
    map $uri $nothing_at_all { default ""; }
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    root @dir@/html;
    log_format vars escape=json '@line@';
    log_format d 'd|$arg_a|$http_x_a|$arg_none|$http_none|$nothing_at_all|';
    log_format j escape=json 'j|$arg_a|$http_x_a|$arg_none|$http_none|$nothing_at_all|';
    log_format n escape=none 'n|$arg_a|$http_x_a|$arg_none|$http_none|$nothing_at_all|';
    log_format lists '$request_uri|$status|$upstream_addr|$upstream_status|$upstream_response_length|$upstream_connect_time|$upstream_header_time|$upstream_response_time|$upstream_bytes_received';
    log_format short '$request_uri $status';
    map $arg_log $wanted { default 1; no 0; empty ""; }
    upstream group { server @up@; }
    upstream dead_first { server 127.0.0.1:@dead@ max_fails=0; server @up@ backup; }
    upstream all_dead { server 127.0.0.1:@dead@; server 127.0.0.1:@dead2@; }
    upstream twice { server @up@ max_fails=0; server @up2@ backup max_fails=0; }

    server {
        listen 127.0.0.1:@http@;
        server_name vars.test;
        access_log @dir@/vars.log vars;
        limit_conn_zone $arg_k zone=c:64k;
        limit_req_zone $arg_k zone=r:64k rate=1000r/s;
        location / { proxy_pass http://@up@; }
        location /group { proxy_pass http://group; add_header X-Set "$upstream_status"; }
        location /ret { return 200 "text"; }
        location /redir { return 302 /else?x; }
        location /limited { limit_conn c 5; limit_req zone=r burst=5; proxy_pass http://@up@; }
        location /dead { proxy_pass http://127.0.0.1:@dead@; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name escape.test;
        access_log @dir@/d.log d; access_log @dir@/j.log j; access_log @dir@/n.log n;
        location / { return 204; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name lists.test;
        access_log @dir@/lists.log lists;
        error_page 418 = /again/dead;
        error_page 404 = @named;
        proxy_intercept_errors on;
        location /ret { return 200 x; }
        location /one { proxy_pass http://group; }
        location /dead { proxy_pass http://dead_first; }
        location /all { proxy_pass http://all_dead; }
        location /next { proxy_next_upstream error timeout http_500 http_404 non_idempotent; proxy_pass http://twice; }
        location /again/ { proxy_pass http://dead_first; }
        location @named { proxy_pass http://group; }
        location /to418 { proxy_pass http://group; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name places.test;
        access_log @dir@/server.log short;
        location / { return 200 x; }
        location /off { access_log off; return 200 x; location /off/on { access_log @dir@/nested.log short; return 200 x; } location /off/in { return 200 x; } }
        location /own { access_log @dir@/own.log short; access_log @dir@/own2.log short; return 200 x; }
        location /if { access_log @dir@/if.log short if=$wanted; return 200 x; }
        location /both { access_log @dir@/server.log short if=$wanted; access_log @dir@/own.log short; return 200 x; }
        location /buffered { access_log @dir@/buffered.log short buffer=4k flush=300ms; return 200 x; }
        location /gz { access_log @dir@/log.gz short gzip flush=300ms; return 200 x; }
        location /gz9 { access_log @dir@/log9.gz short buffer=256 gzip=9; return 200 x; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name errors.test;
        error_log @dir@/server-error.log warn;
        location / { proxy_pass http://127.0.0.1:@dead@; }
        location /own { error_log @dir@/own-error.log error; proxy_pass http://127.0.0.1:@dead@; }
        location /crit { error_log @dir@/crit-error.log crit; proxy_pass http://127.0.0.1:@dead@; }
        location /two { error_log @dir@/own-error.log; error_log @dir@/two-error.log notice; proxy_pass http://127.0.0.1:@dead@; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name status.test;
        location /status { stub_status; }
        location /old { stub_status on; }
        location /vars { return 200 "$connections_active $connections_reading $connections_writing $connections_waiting"; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name syslog.test;
        error_log syslog:server=127.0.0.1:@udp@,tag=err,facility=local3 warn;
        access_log syslog:server=127.0.0.1:@udp@,facility=daemon,severity=warn,tag=acc,nohostname short;
        access_log syslog:server=127.0.0.1:@udp@,tag=plain short;
        location / { proxy_pass http://127.0.0.1:@dead@; }
        location /ret { return 200 x; }
    }
"""


@pytest.fixture(scope="module")
def pair():
    with contextlib.ExitStack() as stack, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        from pair import Scripted
        up2 = Scripted()
        stack.callback(up2.stop)
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(5 * harness.SLOW)
        line = "\\n".join(["#" + "$request_uri", *(f"{v}=${v}" for v in VARS)]).replace("\\n", "~")
        conf = CONF.replace("        limit_conn_zone $arg_k zone=c:64k;\n        limit_req_zone $arg_k zone=r:64k rate=1000r/s;\n", "")
        conf = "    limit_conn_zone $arg_k zone=c:64k;\n    limit_req_zone $arg_k zone=r:64k rate=1000r/s;" + conf
        if not nginx_knows("connection_time"):
            conf = conf.replace("map $uri $nothing", "map $uri $nothing", 1)
        p = Pair(stack, conf, line=line, dead2=free_port(), up2=up2.addr, udp=udp.getsockname()[1])
        p.up2, p.udp = up2, udp
        yield p


def nginx_knows(variable):
    text = f"pid @dir@/pid; events {{}} http {{ log_format f '${variable}'; }}"
    return config_errors(harness.Nginx, text)[0] == 0


def lines_of(s, name, n):
    path = s.dir / name

    def whole():
        try:
            lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except OSError:
            lines = []
        return lines if len(lines) >= n else None
    return until(whole, 5, f"{n} lines in {name} of {s.name}") if n else whole() or []


# --- variables ---

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Up: u\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
COOKIES = raw_answer([("Set-Cookie", "sid=s1; Path=/"), ("Set-Cookie", "other=o"), ("X-Up", "a"), ("X-Up", "b"), ("Cache-Control", "no-store")], b"abc")
VAR_CASES = {
    "return": ("/ret", {}), "args": ("/ret?a=1&b=2&A=3", {}), "empty args": ("/ret?", {}), "escaped": ("/ret/%41%20b?a=%20", {}),
    "redirect": ("/redir", {}), "proxied": ("/x?a=b", {}), "group": ("/group", {}), "chunked": ("/x", {"headers": [x_raw(CHUNKED)]}),
    "cookies": ("/x", {"headers": [x_raw(COOKIES), ("Cookie", "c=1; d=2")]}), "post": ("/x", {"method": "POST", "body": "12345", "headers": [("Content-Type", "a/b")]}),
    "HEAD": ("/x", {"method": "HEAD"}), "1.0": ("/ret", {"version": "1.0"}), "1.0 proxied": ("/x", {"version": "1.0", "headers": [x_raw(CHUNKED)]}),
    "user": ("/ret", {"headers": [("Authorization", "Basic dXNlcjpwYXNz")]}), "limited": ("/limited?k=1", {}), "limited by none": ("/limited", {}),
    "dead": ("/dead", {}), "field twice": ("/ret", {"headers": [("X-A", "1"), ("X-A", "2"), ("X-Forwarded-For", "1.2.3.4")]}),
    "304": ("/x", {"headers": [x_raw(b"HTTP/1.1 304 Not Modified\r\nX-Up: 1\r\n\r\n")]}), "204": ("/x", {"headers": [x_raw(b"HTTP/1.1 204 No Content\r\n\r\n")]}),
    "error of the upstream": ("/x", {"headers": [x_raw(raw_answer([("X-Up", "e")], b"oops", "503 Busy"))]}),
}


@pytest.fixture(scope="module")
def told(pair):
    """name -> [variables with nginx, with sluice]."""
    out = {}
    for s in pair.servers:
        for i, (name, (path, how)) in enumerate(VAR_CASES.items()):
            fetch(s, path, host="vars.test", **how)
            line = lines_of(s, "vars.log", i + 1)[i]
            values = dict(x.split("=", 1) for x in line.split("~")[1:])
            out.setdefault(name, []).append(values)
    return out


# nginx's error page is HTML, sluice's JSON; heads differ in length by the program's name.
JOINED = {"http_x_a", "upstream_http_x_up", "upstream_http_set_cookie"}   # as nginx since 1.23
OF_ERRORS = {"body_bytes_sent", "sent_http_content_type", "sent_http_content_length"}


@pytest.mark.parametrize("name", VAR_CASES)
def test_variables_alike(pair, told, name):
    nginx, sluice = told[name]
    differ = {}
    for v in VARS:
        a, b = (mask(s, x[v]) for s, x in zip(pair.servers, (nginx, sluice)))
        if v in FORMS:
            for x in (a, b):
                assert re.fullmatch(FORMS[v] + "|PORT" if x else "", x), (v, a, b)
            a, b = (re.sub(r"[0-9a-f]+" if v == "request_id" else r"\d+", "0", x) for x in (a, b))
        if v in OF_ERRORS and name in ("dead", "redirect") or v in JOINED and name in ("field twice", "cookies") or v == "sent_http_connection":
            continue   # docs/nginx.md, "Logs and variables"
        if v == "document_root" or v == "request_filename":
            a, b = (x.replace(str(s.dir), "DIR") for s, x in zip(pair.servers, (a, b)))
        if a != b:
            differ[v] = (a, b)
    assert not differ


def test_variables_of_a_connection_alike(pair):
    for s in pair.servers:
        before = len(lines_of(s, "vars.log", 1))
        with Conn(s.port) as c:
            c.send(build("GET", "/ret", host="vars.test") * 3)
            for _ in range(3):
                c.response()
        got = [dict(x.split("=", 1) for x in line.split("~")[1:]) for line in lines_of(s, "vars.log", before + 3)[before:]]
        assert [(v["connection_requests"], v["pipe"]) for v in got] == [("1", "."), ("2", "p"), ("3", "p")], s.name


def test_request_completion_alike(pair):
    """Of an answer that its client did not wait for."""
    for s in pair.servers:
        before = len(lines_of(s, "vars.log", 1))
        pair.up.gate.clear()
        c = Conn(s.port)
        seen = pair.up.server.n_seen
        c.send(build("GET", "/gone", [("X-Hold", "1")], host="vars.test"))
        until(lambda seen=seen: pair.up.server.n_seen > seen, 5, "the request at the upstream")
        c.close()
        line = lines_of(s, "vars.log", before + 1)[before]
        v = dict(x.split("=", 1) for x in line.split("~")[1:])
        assert (v["status"], v["request_completion"], v["upstream_status"]) == ("499", "", "-"), (s.name, v)
        pair.up.gate.set()


# --- lists ---

E500, E404, E418 = (raw_answer([], b"x", st) for st in ("500 E", "404 N", "418 T"))
LISTS = {"none": ("/ret", ()), "one": ("/one", ()), "dead then up": ("/dead", ()), "all dead": ("/all", ()), "passed over": ("/next", [x_raw(E500)]),
         "404 passed over": ("/next", [x_raw(E404)]), "redirected": ("/to418", [x_raw(E418)]), "named": ("/one", [x_raw(E404)]),
         "redirected to the first again": ("/to418?b", [x_raw(E418)])}


@pytest.mark.parametrize("name", LISTS)
def test_lists_alike(pair, name):
    path, headers = LISTS[name]
    out = []
    for s in pair.servers:
        before = len(lines_of(s, "lists.log", 0))
        fetch(s, path, headers, host="lists.test")
        line = lines_of(s, "lists.log", before + 1)[before]
        uri, status, addr, statuses, length, *times = line.split("|")
        out.append([uri, status, addr, statuses, length, [re.sub(r"\d+\.\d{3}", "T", t) for t in times[:3]], re.sub(r"\d+", "N", times[3])])
    assert out[0] == out[1]
    if "redirected" in name:
        assert " : " in out[1][2]


# --- formats and places ---

VALUES = ["plain", "sp ace", 'quote"', "back\\slash", "tab\there", "high\xe9", "utf8 \xc3\xa9", "del\x7f", "{}[]:,", "'single'", "<tag>&amp;", "$dollar", "%41"]


@pytest.mark.parametrize("log", ["d", "j", "n"])
def test_escapes_alike(pair, log):
    out = []
    for s in pair.servers:
        with Conn(s.port) as c:
            for value in VALUES if log == "d" else ():
                c.request("GET", "/?a=" + re.sub(r"[^!-~]|[#\\]", "_", value), [("X-A", value)] if "\x7f" not in value else [], host="escape.test")
        lines = (s.dir / f"{log}.log").read_bytes().splitlines() if log != "d" else lines_of(s, "d.log", len(VALUES))
        out.append(lines)
    assert out[0] == out[1] and len(out[1]) == len(VALUES)


PLACES = ["/", "/off", "/off/on", "/off/in", "/own", "/if", "/if?log=no", "/if?log=empty", "/both", "/both?log=no", "/none"]


def test_places_alike(pair):
    for s in pair.servers:
        for path in PLACES:
            fetch(s, path, host="places.test")
    for name, n in (("server.log", 3), ("nested.log", 1), ("own.log", 3), ("own2.log", 1), ("if.log", 1)):
        nginx, sluice = (lines_of(s, name, n) for s in pair.servers)
        assert sluice == nginx and len(sluice) == n, name


def test_buffered_alike(pair):
    for s in pair.servers:
        assert fetch(s, "/buffered", host="places.test").status == 200
        assert (s.dir / "buffered.log").read_text() == ""
        assert lines_of(s, "buffered.log", 1) == ["/buffered 200"]


def test_gzip_alike(pair):
    def text(path):
        data = path.read_bytes()
        return gzip.decompress(data).decode() if data else ""
    for s in pair.servers:
        for i in range(60):
            fetch(s, f"/gz9/{i:040}", host="places.test")
        fetch(s, "/gz", host="places.test")
        until(lambda s=s: text(s.dir / "log.gz") == "/gz 200\n", 5, "a flush")
        fetch(s, "/gz", host="places.test")
        until(lambda s=s: text(s.dir / "log.gz") == "/gz 200\n" * 2, 5, "another")
    nginx, sluice = (text(s.dir / "log9.gz") for s in pair.servers)
    # What waits in the buffer differs: nginx makes room for the longest status that there could be.
    n = min(len(nginx), len(sluice))
    assert sluice[:n] == nginx[:n] and n > 2000


def test_error_logs_alike(pair):
    def cut(s, line):
        line = re.sub(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (\[\w+\]) \d+#\d+: \*\d+ ", r"\1 ", line)
        return mask(s, line)
    for s in pair.servers:
        for path in ("/", "/own", "/crit", "/two?secret=1"):
            fetch(s, path, host="errors.test")
    for name, n in (("server-error.log", 1), ("own-error.log", 2), ("crit-error.log", 0), ("two-error.log", 1)):
        nginx, sluice = ([cut(s, line) for line in lines_of(s, name, n)] for s in pair.servers)
        # The query may hold keys: docs/nginx.md, "Processes".
        assert sluice == [line.replace("?secret=1", "") for line in nginx] and len(sluice) == n, name


def test_syslog_alike(pair):
    out = []
    for s in pair.servers:
        got = []
        fetch(s, "/x", host="syslog.test")
        got += [pair.udp.recv(65536).decode() for _ in range(3)]
        fetch(s, "/ret", host="syslog.test")
        got += [pair.udp.recv(65536).decode() for _ in range(2)]
        got = [re.sub(r"^<(\d+)>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d ", r"<\1>TIME ", x) for x in got]
        got = [re.sub(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (\[\w+\]) \d+#\d+: \*\d+", r"WHEN \1", x) for x in got]
        out.append([mask(s, x) for x in got])
    assert out[0] == out[1]


# --- stub_status, server_tokens ---

STUB = re.compile(r"Active connections: \d+ \nserver accepts handled requests\n \d+ \d+ \d+ \nReading: \d+ Writing: \d+ Waiting: \d+ \n")


@pytest.mark.parametrize("path,method", [("/status", "GET"), ("/status", "HEAD"), ("/status", "POST"), ("/old", "GET"), ("/vars", "GET"), ("/status?x=1", "GET")])
def test_stub_status_alike(pair, path, method):
    nginx, sluice = (fetch(s, path, method=method, host="status.test", body="x" if method == "POST" else None) for s in pair.servers)
    assert nginx.status == sluice.status
    assert nginx.header("Content-Type").split(";")[0] == sluice.header("Content-Type").split(";")[0] or method == "POST"
    if method == "GET" and path != "/vars":
        assert STUB.fullmatch(nginx.body.decode()) and STUB.fullmatch(sluice.body.decode())


def test_stub_status_counts(start):
    s = start("server { listen 127.0.0.1:@http@; location / { stub_status; } location /x { return 200 x; } }", main="worker_processes 1;")
    for _ in range(3):
        harness.fetch(s.port, "/x")
    with Conn(s.port) as idle, Conn(s.port) as c:
        idle.request("GET", "/x")
        text = until(lambda: (lambda t: t if "Active connections: 2 \n" in t else None)(c.request("GET", "/").body.decode()), 5, "two connections")
        accepts, handled, requests = map(int, text.splitlines()[2].split())
        assert (accepts, handled) == (5, 5) and requests >= 5
        assert text.splitlines()[3] == "Reading: 0 Writing: 1 Waiting: 1 "


@pytest.mark.parametrize("value,server", [("", "sluice"), ("server_tokens off;", "sluice"), ("server_tokens on;", "sluice/VERSION"), ("server_tokens build;", "sluice/VERSION")])
def test_server_tokens(start, value, server):
    s = start("server { listen 127.0.0.1:@http@; @tokens@ location / { return 404; } location /own { server_tokens off; return 200 x; } }", {"tokens": value})
    version = re.search(r"sluice/([\d.]+)", harness.run_sluice("-v")[1])[1]
    server = server.replace("VERSION", version)
    r = harness.fetch(s.port, "/", headers=[("Accept", "text/html")])
    assert r.header("Server") == server and f"<center>{server}</center>".encode() in r.body
    assert harness.fetch(s.port, "/own").header("Server") == "sluice"


def test_read_and_not_needed():
    """What only sizes nginx's own tables passes, with its values looked at."""
    text = "pid @dir@/pid; error_log stderr; events {} http { access_log off; @ server { listen 127.0.0.1:1; } }"
    good = ("proxy_headers_hash_max_size 1024; proxy_headers_hash_bucket_size 128; types_hash_max_size 2048; types_hash_bucket_size 64; "
            "server_names_hash_max_size 512; server_names_hash_bucket_size 64; variables_hash_max_size 2048; variables_hash_bucket_size 64; "
            "map_hash_max_size 2048; map_hash_bucket_size 64; connection_pool_size 512; request_pool_size 4k; output_buffers 2 32k; "
            "postpone_output 1460; open_log_file_cache max=10 inactive=20s;")
    for cls in (harness.Nginx, harness.Sluice):
        assert config_errors(cls, text.replace("@ ", good + " ")) == (0, ""), cls
        assert config_errors(cls, text.replace("@ ", "types_hash_max_size x; "))[0] == 1


ERRORS = ["log_format a;", "log_format a escape=wrong x;", "log_format a x; log_format a y;", "access_log /dev/null nope;", "access_log /dev/null combined buffer=x;",
          "access_log /dev/null combined flush=1s;", "access_log /dev/null combined wrong;", "access_log off combined;",
          "access_log syslog:facility=local1 combined;", "access_log syslog:server=127.0.0.1,facility=nope combined;", "access_log syslog:server=127.0.0.1,severity=nope combined;",
          "access_log syslog:server=127.0.0.1,tag=a-b combined;", "error_log stderr nope;", "log_format a $no_such_variable;", "error_log;", "access_log;",
          "access_log syslog:server=127.0.0.1 combined buffer=4k;", "access_log /dev/null combined gzip=10;", "access_log /dev/null combined gzip=x;"]


@pytest.mark.parametrize("lines", ERRORS)
def test_errors_alike(lines):
    text = "pid @dir@/pid; error_log stderr; events {} http { @ server { listen 127.0.0.1:1; } }".replace("@ ", lines + " ")
    (nginx, _), (sluice, why) = (config_errors(cls, text) for cls in (harness.Nginx, harness.Sluice))
    assert nginx == sluice == 1 and why
