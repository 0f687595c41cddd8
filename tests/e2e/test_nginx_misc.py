# SPDX-License-Identifier: BSD-2-Clause
"""Small things that files from everywhere have in them: charset, old browsers, odd field names, ends of connections, what
only tunes nginx, and what is said of that which is not there. nginx and sluice on the same text."""
import contextlib
import os
import time

import harness
import pytest
from alike import Both, case, refused_alike
from harness import Conn, build, run_sluice
from origin import Origin, answer

TYPES = {"html": "text/html", "plain": "text/plain", "json": "application/json", "js": "application/javascript", "css": "text/css",
         "latin": "text/html; charset=iso-8859-1", "quoted": 'text/plain; charset="utf-8"', "upper": "TEXT/HTML", "param": "text/html; a=b",
         "sse": "text/event-stream"}
ANSWERS = {f"/{name}": answer([("Content-Type", t)], "text") for name, t in TYPES.items()} | {
    f"/s/{s}": answer([("Content-Type", "text/html"), ("Location", "/x")], "text", f"{s} Status")
    for s in (201, 301, 302, 303, 307, 404, 500)} | {"/none": answer([], "text")}
CONF = r"""
    default_type text/plain;
    proxy_http_version 1.1;
    map $arg_c $charset { default ""; u utf-8; o off; }
    server {
        listen 127.0.0.1:@http@;
        server_name charset.test;
        charset utf-8;
        location /up/ { proxy_pass http://@up@/; }
        location /off/ { charset off; proxy_pass http://@up@/; }
        location /types/ { charset_types text/css application/json; proxy_pass http://@up@/; }
        location /any/ { charset_types *; proxy_pass http://@up@/; }
        location /koi/ { charset koi8-r; proxy_pass http://@up@/; }
        location /var/ { charset $charset; proxy_pass http://@up@/; }
        location /if/ { if ($arg_a) { charset windows-1251; } proxy_pass http://@up@/; }
        location /gzip/ { gzip on; gzip_min_length 1; gzip_types text/css; proxy_pass http://@up@/; }
        location /return { return 200 "text"; }
        location /return-json { default_type application/json; return 200 "{}"; }
        location /return-html { default_type text/html; return 200 "x"; }
        location /return301 { return 301 /else; }
        location /own { add_header X-Type "$sent_http_content_type"; return 200 x; }
        location /page { error_page 404 /return; return 404; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name kept.test;
        location / { return 200 "kept"; }
        location /none { keepalive_disable none; return 200 "kept"; }
        location /safari { keepalive_disable safari; return 200 "kept"; }
        location /both { keepalive_disable msie6 safari; return 200 "kept"; }
        location /up { proxy_pass http://@mock@/echo; }
    }
    server {
        listen 127.0.0.1:@two@;
        server_name names.test;
        ignore_invalid_headers off;
        location / { proxy_pass http://@mock@/echo; }
    }
"""
BOTH_FIELDS = ("X-Plain: a", "X.Dot: b", "X_Under: c", "X!#$%&'*+^`|~: d", "x1-2: e")
AGENTS = {"none": "", "msie5": "Mozilla/4.0 (compatible; MSIE 5.5; Windows NT)", "msie6": "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
          "msie6-sv1": "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)", "msie7": "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.0)",
          "safari": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Safari/605.1.15",
          "chrome": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36",
          "iphone": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Version/17.0 Mobile/15E148 Safari/604.1",
          "firefox": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:120.0) Gecko/20100101 Firefox/120.0"}
CASES = [case(f"charset {path}", path, "charset.test", {"Accept-Encoding": "gzip"} if path.startswith("/gzip") else ()) for path in (
    [f"/up/{t}" for t in (*TYPES, "none")] + [f"/off/{t}" for t in ("html", "latin")] + [f"/any/{t}" for t in (*TYPES, "none")] +
    [f"/types/{t}" for t in TYPES] + [f"/up/s/{s}" for s in (201, 301, 302, 303, 307, 404, 500)] +
    ["/koi/html", "/var/html", "/var/html?c=u", "/var/html?c=o", "/if/html", "/if/html?a=1", "/gzip/html", "/gzip/css", "/return", "/return-json",
     "/return-html", "/return301", "/own", "/page"])]
CASES += [case(f"kept {name} {method} {path}", path, "kept.test", {"User-Agent": agent} if agent else (), method, "x" if method == "POST" else None)
          for name, agent in AGENTS.items() for method in ("GET", "POST") for path in ("/", "/none", "/safari", "/both")]


@pytest.fixture(scope="module")
def both():
    with contextlib.ExitStack() as stack:
        up = Origin(ANSWERS)
        stack.callback(up.stop)
        yield Both(stack, CONF, up=up.addr)


@pytest.mark.parametrize("c", CASES, ids=lambda c: c.id)
def test_alike(both, c):
    nginx, sluice = both.ask(c)
    assert sluice == nginx


@pytest.mark.parametrize("field", BOTH_FIELDS)
def test_odd_names_pass_alike(both, field):
    """Of names that are tokens; others are refused: docs/nginx.md. Where odd names pass, "_" has its own switch."""
    for port in ("port", "two"):
        nginx, sluice = both.ask(case(field, "/up", "kept.test", [tuple(field.split(": "))]), lambda s, p=port: getattr(s, p))
        assert sluice == nginx


ENDS = r"""
    reset_timedout_connection on;
    server {
        listen 127.0.0.1:@http@;
        client_header_timeout 1s;
        client_body_timeout 1s;
        keepalive_timeout 1s;
        location /444 { return 444; }
        location /ret { return 200 "kept"; }
        location /plain444 { reset_timedout_connection off; return 444; }
        location / { proxy_pass http://@mock@/echo; }
        location /linger-off { lingering_close off; client_max_body_size 1; return 413; }
    }
"""


@pytest.fixture(scope="module")
def ends():
    with contextlib.ExitStack() as stack:
        yield Both(stack, ENDS)


@pytest.mark.parametrize("name,text", [
    ("444", build("GET", "/444")), ("444 without", build("GET", "/plain444")), ("half a head", b"GET / HTTP/1.1\r\nHost: a\r\n"),
    ("half a body", build("POST", "/", {"Content-Length": "10"}, "half")), ("idle after an answer", build("GET", "/ret")), ("nothing", b"")])
def test_reset_timedout_connection(ends, name, text):
    seen = []
    for s in ends.servers:
        with Conn(s.port) as c:
            c.send(text)
            seen.append(c.end(8)[0])
    assert seen[0] == seen[1] and seen[0] in ("fin", "reset")


def test_lingering_close_off(stack):
    """Without lingering a body that nobody reads makes the kernel answer with a reset."""
    conf = """server { listen 127.0.0.1:@http@; client_max_body_size 1k; lingering_timeout 3s;
        location /off { lingering_close off; return 200 x; } location /on { return 200 x; }
        location /always { lingering_close always; return 200 x; } }"""
    for s in Both(stack, conf).servers:
        ends = {}
        for path in ("/off", "/on", "/always"):
            with Conn(s.port) as c:
                c.send(build("GET", path, {"Connection": "close"}))
                assert c.response().status == 200
                begun = time.monotonic()
                c.sock.settimeout(10)
                time.sleep(0.3)
                try:
                    for _ in range(3):
                        c.send("more")
                        time.sleep(0.2)
                    ends[path] = "taken"
                except OSError:
                    ends[path] = "refused"
                assert time.monotonic() - begun < 8
        assert ends == {"/off": "refused", "/on": "refused", "/always": "taken"}, s.name


UNNEEDED = """open_file_cache max=1000 inactive=20s; open_file_cache_valid 30s; open_file_cache_min_uses 2; open_file_cache_errors on;
    sendfile_max_chunk 1m; read_ahead 0; send_lowat 0; directio_alignment 512; subrequest_output_buffer_size 8k; proxy_send_lowat 0;
    aio off; directio off; disable_symlinks off; autoindex off; msie_padding off; msie_refresh off; proxy_store off; ssi off; userid off;
    http2_push off; http2_push_preload off; types_hash_max_size 2048; fastcgi_temp_path @dir@/a; uwsgi_temp_path @dir@/b 1 2; scgi_temp_path @dir@/c;
    server { listen 127.0.0.1:1; location / { proxy_pass http://127.0.0.1:1; proxy_cache_bypass $http_upgrade; proxy_no_cache $cookie_a $arg_b;
    mirror off; override_charset off; } }"""


def test_what_only_tunes_nginx_is_taken(tmp_path):
    refused_alike(tmp_path, UNNEEDED.replace("@dir@", str(tmp_path)), "")


@pytest.mark.parametrize("http,words", [
    ("proxy_cache_bypass $nothing;", 'unknown "nothing" variable'), ("keepalive_disable opera;", "invalid value"),
    ("lingering_close maybe;", "invalid value"), ("ignore_invalid_headers;", "invalid number of arguments"),
    ("reset_timedout_connection 1;", "invalid value"), ("charset a b;", "invalid number of arguments"),
    *((f"{d} {d}", "directive is duplicate") for d in (
        "open_file_cache off;", "sendfile_max_chunk 1m;", "types_hash_max_size 2048;", "map_hash_max_size 2048;", "postpone_output 1;",
        "output_buffers 1 32k;", "open_log_file_cache off;", "fastcgi_temp_path /tmp;", "connection_pool_size 512;"))])
def test_refused_alike(tmp_path, http, words):
    refused_alike(tmp_path, f"server {{ listen 127.0.0.1:1; location / {{ proxy_pass http://127.0.0.1:1; }} }} {http}", words)


@pytest.mark.parametrize("where,text,hint", [
    ("http", "sub_filter a b;", "let the application do it"), ("http", "proxy_cache_path /tmp keys_zone=a:1m;", "answers are not cached"),
    ("http", "proxy_cache_valid 1s;", "answers are not cached"), ("http", "fastcgi_pass unix:/x;", "over HTTP only"), ("http", "grpc_pass a;", "over HTTP only"),
    ("http", "ssl on;", "listen ... ssl"), ("http", "aio threads;", 'write "off"'), ("http", "autoindex on;", "not listed"),
    ("http", "brotli on;", "gzip"), ("http", "access_by_lua_block {}", "no modules"),
    ("http", "more_set_headers 'A: b';", "add_header"), ("http", "acme_issuer a {}", "certbot"), ("http", "mirror /m;", "not copied"), ("http", "valid_referers none;", "map"),
    ("main", "load_module x.so;", "there are no modules"), ("main", "thread_pool a threads=2;", "no threads"), ("main", "stream { }", "only HTTP"),
    ("main", "worker_priority -5;", "Nice="), ("main", "worker_rlimit_core 1g;", "LimitCORE=")])
def test_what_is_not_there_says_what_to_do(tmp_path, where, text, hint):
    path = tmp_path / "s.conf"
    path.write_text((text if where == "main" else "") + " events { } http { " + (text if where == "http" else "") + " }")
    code, out = run_sluice("-t", "-c", path)
    assert code != 0 and hint in out and ":1" in out


def test_an_answer_to_options_that_many_files_have(start):
    """"add_header Content-Length 0" beside "return 204" is warned of and has no effect; RFC 9110 8.6 forbids it there."""
    s = start("""server { listen 127.0.0.1:@http@; location / {
        if ($request_method = OPTIONS) { add_header Access-Control-Allow-Origin *; add_header Content-Length 0; return 204; }
        return 200 x; } }""")
    with Conn(s.port) as c:
        r = c.request("OPTIONS", "/")
        assert (r.status, r.header("Access-Control-Allow-Origin"), r.header("Content-Length")) == (204, "*", None)
        assert c.request("GET", "/").body == b"x"
    assert "has no effect" in s.stderr_text()
    code, out = run_sluice("-t", "-p", s.dir, "-g", "worker_cpu_affinity 2;")
    assert code != 0 and "digits 0 and 1" in out


@pytest.mark.parametrize("value,n", [("auto", 2), ("auto 1", 2), ("01", 2), ("1 1", 2)])
def test_worker_cpu_affinity(start, stack, value, n):
    """Each worker may run where nginx's may. `auto` takes of the CPUs that sluice was given, nginx of all."""
    mine = os.sched_getaffinity(0)
    stack.callback(os.sched_setaffinity, 0, mine)
    os.sched_setaffinity(0, range(os.cpu_count()))
    seen = []
    main = f"worker_processes {n}; worker_cpu_affinity {value};"
    for cls in (harness.Nginx, harness.Sluice):
        s = start("server { listen 127.0.0.1:@http@; return 200 x; }", cls=cls, main=main)

        def where(s=s):
            return sorted(sorted(os.sched_getaffinity(p)) for p in s.workers())
        harness.until(lambda: len(where()) == n and all(len(cpus) == 1 for cpus in where()), 5, "the workers, bound")
        seen.append(where())
    assert seen[0] == seen[1]
