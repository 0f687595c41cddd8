# SPDX-License-Identifier: BSD-2-Clause
"""What files for proxying APIs have in them, taken together, as people write them: nginx and sluice on the same text."""
import contextlib
import socket

import harness
import pytest
from harness import Conn, build, fetch, free_port
from pair import Pair, Scripted, raw_answer, x_raw

LISTEN = r"""
    gzip on;
    gzip_min_length 1;
    gzip_types text/css;
    gzip_types application/json text/xml;
    server { listen 127.0.0.1:@http@; server_name named.test; location / { return 200 "named"; }
        location /pass { proxy_pass_header Server; proxy_pass_header Date; proxy_pass http://@up@; }
        location /date { proxy_pass_header Date; proxy_pass http://@up@; }
        location /plain { proxy_pass http://@up@; } }
    server { listen 127.0.0.1:@http@; return 200 "without a name"; }
    server { listen 127.0.0.1:@http@; server_name other.test _; return 200 "other"; }
"""


@pytest.fixture(scope="module")
def listens():
    with contextlib.ExitStack() as stack:
        yield Pair(stack, LISTEN)


@pytest.mark.parametrize("text", ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nHost: named.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: _\r\n\r\n"])
def test_a_server_without_a_name(listens, text):
    """Its name is the empty one: it serves who sends no Host, the first server whom nobody serves."""
    nginx, sluice = listens.ask("/", raw=text.encode(), host="")
    assert sluice == nginx and nginx["status"] == 200


@pytest.mark.parametrize("path", ["/pass", "/date", "/plain"])
@pytest.mark.parametrize("fields", [[], [("Server", "up")], [("Date", "Tue, 15 Nov 1994 08:12:31 GMT")],
                                    [("Server", "up"), ("Date", "Tue, 15 Nov 1994 08:12:31 GMT")]], ids=str)
def test_server_and_date_of_the_upstream(listens, path, fields):
    """Where they are passed on and the upstream sends none, there is none."""
    heads = []
    for s in listens.servers:
        r = fetch(s.port, path, headers=[x_raw(raw_answer(fields, b"x"))])
        own = {"Server": {"nginx/1.22.1", "nginx", "sluice"}}
        heads.append({k: "own" if r.header(k) in own.get(k, ()) or r.header(k) and "1994" not in r.header(k) and k == "Date" else r.header(k)
                      for k in ("Server", "Date")})
    assert heads[1] == heads[0]


@pytest.mark.parametrize("kind", ["text/css", "application/json", "text/xml", "text/plain"])
def test_several_lines_of_gzip_types(listens, kind):
    raw = x_raw(raw_answer([("Content-Type", kind)], b"x" * 1000))
    seen = [fetch(s.port, "/plain", headers=[raw, ("Accept-Encoding", "gzip")]).header("Content-Encoding") for s in listens.servers]
    assert seen[1] == seen[0] == (None if kind == "text/plain" else "gzip")


def four_ports():
    """The first of four ports in a row, all of them ours."""
    ports = [free_port()]
    while len(ports) < 4:
        port = free_port()
        ports = [*ports, port] if port == ports[-1] + 1 else [port]
    return ports[0]


@pytest.mark.parametrize("cls", [harness.Nginx, harness.Sluice])
def test_listen_to_ranges_and_names(start, cls):
    """Each port of a range, and each address of a name."""
    first, two = four_ports(), free_port()
    start(f"""server {{ listen localhost:{two} bind; listen 127.0.0.1:{first}-{first + 3};
                        return 200 "$server_addr:$server_port"; }}""", cls=cls)
    assert [fetch(p, "/").body.decode() for p in range(first, first + 4)] == [f"127.0.0.1:{p}" for p in range(first, first + 4)]
    names = {a[4][0] for a in socket.getaddrinfo("localhost", two, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)}
    assert "127.0.0.1" in names
    for name in names:
        with socket.create_connection((name, two), 5) as c:
            c.sendall(build("GET", "/"))
            assert name.encode() in c.recv(4000)


# --- a gateway as people put it together

GATEWAY = r"""
 map $http_apikey $api_client_name { default ""; "k1" "one"; "k2" "two"; }
 map $api_client_name $lim { default ""; one $binary_remote_addr; }
 map $request_uri $skip { ~^/health 0; default 1; }
 map $status $loggable { ~^[23] 0; default 1; }
 map $time_iso8601 $day { ~^(?<y>\d+)-(?<m>\d+) "$y"; }
 map $http_user_agent $bot { default 0; ~*(curl|bot) 1; "" 2; }
 map $http_x_forwarded_proto $fp { default $http_x_forwarded_proto; "" $scheme; }
 map $uri $new_uri { /old /new; ~^/o/(?<rest>.*)$ /n/$rest; }
 map $cookie_canary:$http_x_canary $grp { "always:" c; ~:1$ c; default s; }
 map $http_accept $is_sse { ~text/event-stream 1; default 0; }
 map $content_type $json_body { ~^application/json 1; default 0; }
 map $http_host $tenant { hostnames; default none; .t.com all; *.x.com wx; www.* ww; "a.t.com" at; ~^z(?<zz>\d+) "z$zz"; }
 log_format main '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_forwarded_for"';
 access_log @dir@/acc.log main if=$loggable;
 limit_req_zone $lim zone=api:1m rate=1r/m;
 limit_conn_zone $server_name zone=srv:1m;
 upstream s { server @up@; keepalive 8; keepalive_requests 100; keepalive_timeout 60s; }
 upstream c { server @up@ weight=2 max_fails=1 fail_timeout=1s; }
 upstream ai { zone ai 64k; least_conn; server 127.0.0.1:@dead@ max_fails=1 fail_timeout=10s; server @up@ backup; }
 server { listen 127.0.0.1:@http@ default_server; server_name _; 
   proxy_http_version 1.1; default_type application/json; server_tokens off; client_max_body_size 1k; large_client_header_buffers 2 1k; client_header_buffer_size 512;
   error_page 400 @400; location @400 { return 400 '{"status":400,"message":"Bad request"}\n'; }
   error_page 401 @401; location @401 { return 401 '{"status":401,"message":"Unauthorized"}\n'; }
   error_page 403 @403; location @403 { return 403 '{"status":403,"message":"Forbidden"}\n'; }
   error_page 404 = @404; location @404 { return 404 '{"status":404,"message":"Resource not found"}\n'; }
   error_page 405 @405; location @405 { return 405 '{"status":405}\n'; }
   error_page 413 @413; location @413 { return 413 '{"status":413}\n'; }
   error_page 414 494 @414; location @414 { return 414 '{"status":"uri"}\n'; }
   error_page 429 @429; location @429 { add_header Retry-After 1 always; return 429 '{"status":429}\n'; }
   error_page 500 501 502 503 504 @5xx; location @5xx { return 503 '{"status":"$status"}\n'; }
   location = /_validate_apikey { internal; if ($http_apikey = "") { return 401; } if ($api_client_name = "") { return 403; } return 204; }
   location /api/ { auth_request /_validate_apikey; limit_req zone=api burst=1 nodelay; limit_req_status 429; proxy_set_header X-Client $api_client_name; proxy_pass http://s/; proxy_intercept_errors on; }
   location /api/inner/ { satisfy any; allow 10.0.0.0/8; deny all; auth_request /_validate_apikey; proxy_pass http://s; }
   location /wsx/ { try_files /nonexistent @$http_upgrade; }
   location @websocket { return 200 "ws"; }
   location @ { return 200 "plain"; }
   location /ws { proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection; proxy_set_header "X-Quoted" "a b"; proxy_pass http://s; }
   location /canary { proxy_pass http://$grp$request_uri; }
   location /ten { return 200 "$tenant|$bot|$fp|$skip|$is_sse|$json_body|$new_uri"; }
   location /old { return 301 $scheme://$http_host$new_uri; }
   location /o/ { if ($new_uri) { return 302 $new_uri; } return 200 none; }
   location /fail { proxy_pass http://ai; proxy_next_upstream error timeout http_502 http_503; proxy_connect_timeout 1s; }
   location /v1/chat { if ($request_method !~ ^(POST|OPTIONS)$) { return 405; } if ($content_type !~ "^application/json") { return 415; } if ($http_authorization = "") { return 401; } proxy_pass http://s; proxy_set_header Authorization "Bearer $http_apikey"; proxy_set_header Accept-Encoding ""; proxy_pass_request_headers on; }
   location /strip { proxy_pass_request_headers off; proxy_set_header X-Only 1; proxy_pass http://s/; }
   location /nb { proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_pass http://s/; }
   location ~* ^/(?<svc>[a-z]+)-svc(?<path>/.*)?$ { set $backend "@up@"; rewrite ^/[a-z]+-svc/?(.*)$ /$1 break; proxy_set_header X-Svc $svc; proxy_set_header X-Path $path; proxy_pass http://$backend; }
   location ~ ^/u/(\d+)/(.+)$ { set $id $1; set $r $2; if ($arg_q ~ "^(a+)$") { set $r "q$1"; } return 200 "$id $r $1"; }
   location /red { proxy_redirect http:// https://; proxy_pass http://s; }
   location /red2/ { proxy_redirect ~^http://[^/]+(/.*)$ $scheme://$host$1; proxy_cookie_path / /red2/; proxy_cookie_domain s example.com; proxy_cookie_flags sess secure httponly samesite=strict; proxy_pass http://s/; }
   location /hc { default_type text/plain; return 200 "healthy\n"; }
   location /status { stub_status; allow 127.0.0.1; deny all; }
   location /deny { if ($bot) { return 444; } location /deny/x { deny 127.0.0.0/8; } return 200 nobot; }
   location ~ /\.(?!well-known) { deny all; }
   location /maint { set $m 0; if (-f @dir@/m) { set $m 1; } if ($remote_addr = 127.0.0.1) { set $m "${m}0"; } if ($m = 1) { return 503; } if ($m = 00) { return 200 "open"; } return 503; }
   location /slash { rewrite ^([^.]*[^/])$ $1/ permanent; return 200 $uri; }
   location /noslash/ { rewrite ^/(.*)/$ /$1 permanent; return 200 $uri; }
   location /multi { rewrite ^/multi/a /multi/b; rewrite ^/multi/b /multi/c break; return 200 $uri; }
   location /argw { if ($args ~ (.*)secret=[^&]*(.*)) { set $args $1$2; } proxy_pass http://s; }
   location /argd { set $args ""; proxy_pass http://s; }
   location /arga { set $args $args&k=v; proxy_pass http://s/z; }
   location /argr { rewrite ^ /x?only=1? break; proxy_pass http://s; }
   location /enc/ { proxy_pass http://s/; }
   location /enc2/ { proxy_pass http://s; }
   location /xff { proxy_set_header X-Forwarded-For "$http_x_forwarded_for, $remote_addr"; proxy_set_header Forwarded "for=$remote_addr;proto=$scheme"; proxy_set_header Host $proxy_host; proxy_set_header X-Port $server_port; proxy_set_header X-Req $request_uri; proxy_pass http://s; }
   location /dup { proxy_set_header X-A 1; proxy_set_header X-A 2; proxy_set_header x-b $http_x_none; proxy_pass http://s; }
   location / { return 404; }
 }
"""


def get(path, method="GET", body=None, **fields):
    return path, {"method": method, "body": body, "headers": [(k.replace("_", "-"), v) for k, v in fields.items()]}


def by_raw(path, status, head, body=b"up", **fields):
    return path, {"headers": [*fields.items(), x_raw(raw_answer(head, body, status))]}


KEYS = [{}, {"apikey": "k1"}, {"apikey": "k2"}, {"apikey": "bad"}]
REDIRECT = [("Set-Cookie", "sess=1; Path=/; Domain=s"), ("Set-Cookie", "o=2; path=/a; domain=.s; Secure"), ("Refresh", "3; url=http://s/q")]
CHAT = [("GET", {}), ("POST", {"Content_Type": "application/json", "Authorization": "x"}), ("POST", {"Content_Type": "text/plain", "Authorization": "x"}),
        ("POST", {"Content_Type": "application/json"}), ("OPTIONS", {"Content_Type": "application/json", "Authorization": "y"}),
        ("PUT", {"Content_Type": "application/json", "Authorization": "y"})]
PATHS = """/old /o/a/b?c /o/ /oo /fail /fail /hc /maint /slash /slash/a /slash/a.b /noslash/ /noslash/x/ /noslash/x /multi/a/b /multi/bb /multi /u/12/abc
    /u/12/abc?q=aa /u/x/y /.git/config /.well-known/x /a/.env / /nope /foo-svc /foo-svc/a/b?c=d /FOO-SVC/x /argw?a=1&secret=x&b=2 /argw?secret=1 /argd?x
    /arga /arga?x=1 /argr?x=1 /enc/a%20b%2Fc?d=%20 /enc2/a%20b%2Fc?d=%20 /enc/%E4%BD%A0 /enc/a+b /enc/a;b=c /enc/..%2f /enc/a%25b /enc2/a%25b%3f /enc/?
    /enc /xff /dup /strip?x=1 /nb /red2 /red2/ /_validate_apikey""".split()
GATEWAY_CASES = [get(p, **key) for key in KEYS for p in ("/api/", "/api/x?y=1", "/api/inner/z") for _ in range(2)]
GATEWAY_CASES += [get("/api/x", "POST", "b" * n, apikey="k2") for n in (10, 2000)]
GATEWAY_CASES += [by_raw("/api/x", s, [("WWW-Authenticate", "B"), ("Retry-After", "9")], apikey="k2")
                  for s in ("404 x", "500 x", "503 x", "401 x", "429 x", "200 OK", "400 B")]
GATEWAY_CASES += [get("/wsx/a"), get("/wsx/a", Upgrade="websocket", Connection="upgrade"), get("/wsx/a", Upgrade="foo", Connection="upgrade"),
                  get("/ws"), get("/ws", Connection="keep-alive"), get("/ws", Connection="close")]
GATEWAY_CASES += [get("/canary/x?y"), get("/canary/x?y", Cookie="canary=always"), get("/canary/x?y", Cookie="canary=x"), get("/canary", X_Canary="1")]
GATEWAY_CASES += [("/ten", {"host": h}) for h in ("a.t.com", "b.t.com", "t.com", "q.x.com", "www.foo", "z12.q", "zz", "A.T.COM", "t.com:80")]
GATEWAY_CASES += [get(p, User_Agent=a) for a in ("curl/7", "Googlebot", "") for p in ("/ten", "/deny", "/deny/x")]
GATEWAY_CASES += [get("/ten", Accept="text/event-stream", Content_Type="application/json; charset=utf-8", X_Forwarded_Proto="https")]
GATEWAY_CASES += [c for p in PATHS for c in (get(p), get(p, "POST", "abc", X_Forwarded_For="1.2.3.4, 5.6.7.8", Cookie="a=b", Content_Type="application/json"))]
GATEWAY_CASES += [get("/v1/chat/completions", m, None if m == "GET" else "{}", **h) for m, h in CHAT]
GATEWAY_CASES += [by_raw(p, "302 F", [("Location", to), *REDIRECT], b"") for p in ("/red", "/red2/a", "/enc/")
                  for to in ("http://s/x", "http://other/x?y", "https://s/x", "/rel", "rel", "http://s:80/x")]


@pytest.fixture(scope="module")
def gateway():
    with contextlib.ExitStack() as stack:
        yield Pair(stack, GATEWAY)


@pytest.mark.parametrize("path,how", GATEWAY_CASES, ids=lambda x: x if isinstance(x, str) else "")
def test_a_gateway(gateway, path, how):
    nginx, sluice = gateway.ask(path, **how)
    assert sluice == nginx


# Heads that are refused, of which nginx has read the first line; and those that name no path at all.
REFUSED = ["GET / HTTP/1.1\r\n\r\n", "GET /p HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 1x\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\r\nX: " + "a" * 1500 + "\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
           "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + "x" * 5000, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"]
NO_PATH = ["/../x", "/a/../../x?q=1", "/%zz", "/a%00", "/a%0ab", "/a\\b", "/a#b"]


@pytest.mark.parametrize("text", REFUSED, ids=lambda t: t[:50])
def test_named_error_pages_of_refused_requests(gateway, text):
    """`error_page 400 @400` is for those, too, whose head is malformed."""
    nginx, sluice = gateway.ask("", raw=text.encode())
    assert sluice == nginx and b"status" in sluice["body"].encode()


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("text", [*(f" {p} HTTP/1.1\r\nHost: h\r\n" for p in NO_PATH), " /p HTTP/1.1\r\nHost: a b\r\n"])
def test_what_was_refused_reaches_no_upstream(start, stack, text, method):
    """Neither its path nor its body, by way of a named location that proxies; the status stays."""
    up = Scripted()
    stack.callback(up.stop)
    s = start(f"""server {{ listen 127.0.0.1:@http@; error_page 400 @up; location @up {{ proxy_pass http://{up.addr}; }}
                           location / {{ proxy_pass http://{up.addr}; }} }}""")
    with Conn(s.port) as c:
        c.send(f"{method}{text}" + ("Content-Length: 6\r\n\r\nsecret" if method == "POST" else "\r\n"))
        assert c.response(method).status == 400
    assert not up.seen
