# SPDX-License-Identifier: BSD-2-Clause
"""Who may come in by a password, or by another server's word: auth_basic, auth_request, satisfy, alike in both."""
import base64
import contextlib
import time
import warnings

import pair
import pytest
from alike import Both, case, on, raw
from harness import Conn, temp_dir, until

# By openssl passwd and crypt(3), of "secret".
USERS = r"""# comment:x
plain:{PLAIN}secret
sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
ssha:{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0
apr:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/:with a comment
md5:$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1
sha256:$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.
sha512:$6$rounds=1000$salt$HNxBeBnDfSfUrTj6KiLnmd7tGCvHEmcExh8kl/S0cZ5WrCciNZgfhbpkeFQ4JfkHX.8vPq45lY0iINnCx1Lkm.
bcrypt:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW
des:abNANd1rDfiNc
yes:$y$j7T$abcdefgh$lRA/xbUMMpRLRU0sP4I6FGI8khrWhVmqhwPmMpvSooD

empty:{PLAIN}
dup:{PLAIN}first
dup:{PLAIN}secret
crlf:{PLAIN}secret""" + "\r\n" + r"""unknown:secret
colon:{PLAIN}se:cret
nothing:
last:{PLAIN}secret"""

CONF = r"""
    default_type text/plain;
    proxy_http_version 1.1;
    log_format f '$status|$remote_user|$uri|$request|$request_method|$upstream_status';
    log_format s 'sub $status|$remote_user|$uri|$request|$request_method|$request_uri|$args|$upstream_status|$body_bytes_sent';
    access_log @dir@/f.log f;

    # --- auth_basic
    server {
        listen 127.0.0.1:@http@ default_server;
        server_name basic.test;
        auth_basic "the realm";
        auth_basic_user_file @users@;
        location / { proxy_pass http://@mock@/echo/; proxy_set_header X-User $remote_user; }
        location /off { auth_basic off; proxy_pass http://@mock@/echo; }
        location /own { auth_basic "own $arg_r"; proxy_pass http://@mock@/echo; }
        location /offvar { auth_basic $arg_r; proxy_pass http://@mock@/echo; }
        location /missing { auth_basic_user_file @users@.none; proxy_pass http://@mock@/echo; }
        location /folder { auth_basic_user_file /tmp; proxy_pass http://@mock@/echo; }
        location /varfile { auth_basic_user_file @users@$arg_f; proxy_pass http://@mock@/echo; }
        location /relative { auth_basic_user_file users; proxy_pass http://@mock@/echo; }
        location /return { return 200 "free\n"; }
        location /page { error_page 401 /login; proxy_pass http://@mock@/echo; }
        location = /login { auth_basic off; return 200 "log in $status\n"; }
        location /pagein { error_page 401 /loginin; proxy_pass http://@mock@/echo; }
        location = /loginin { proxy_pass http://@mock@/echo; }
        location /page302 { error_page 401 =302 http://login.test/?from=$uri; proxy_pass http://@mock@/echo; }
        location /pagenamed { error_page 401 = @login; proxy_pass http://@mock@/echo; }
        location @login { auth_basic off; return 200 "named $uri $remote_user\n"; }
        location /except { auth_basic off; limit_except GET { auth_basic inside; } proxy_pass http://@mock@/echo; }
        location /header { add_header X-Here no; add_header X-There yes always; proxy_pass http://@mock@/echo; }
        location /alldeny { deny all; proxy_pass http://@mock@/echo; }
        location /any/allow { satisfy any; allow all; proxy_pass http://@mock@/echo; }
        location /any/deny { satisfy any; deny all; proxy_pass http://@mock@/echo; }
        location /any/two { satisfy any; allow 127.0.0.2; deny all; proxy_pass http://@mock@/echo; }
        location /any/none { satisfy any; proxy_pass http://@mock@/echo; }
        location /any/off { satisfy any; auth_basic off; deny all; proxy_pass http://@mock@/echo; }
        location /any/missing { satisfy any; auth_basic_user_file @users@.none; proxy_pass http://@mock@/echo; }
        location /any/folder { satisfy any; auth_basic_user_file /tmp; proxy_pass http://@mock@/echo; }
        location /any/page { satisfy any; error_page 401 403 /login; deny all; proxy_pass http://@mock@/echo; }
    }
    server {
        listen 127.0.0.1:@http@;
        server_name half.test;
        location / { auth_basic nofile; proxy_pass http://@mock@/echo/; }
        location /f { auth_basic_user_file @users@; proxy_pass http://@mock@/echo; }
    }

    # --- auth_request
    server {
        listen 127.0.0.1:@http@;
        server_name request.test;
        location / { auth_request /auth; proxy_pass http://@mock@/echo/; }
        location /off { auth_request off; proxy_pass http://@mock@/echo; }
        location = /auth { internal; proxy_pass http://@mock@/echo/auth; proxy_pass_request_body off;
                           proxy_set_header Content-Length ""; proxy_set_header X-Mock-Status $http_x_auth; }
        location = /r200 { return 200 "never seen"; }
        location = /r204 { return 204; }
        location = /r401 { return 401; }
        location = /r401t { add_header WWW-Authenticate "Never added" always; return 401 "text"; }
        location = /r403 { return 403; }
        location = /r404 { return 404; }
        location = /r302 { return 302 /x; }
        location = /r500 { return 500; }
        location = /dead { proxy_pass http://127.0.0.1:@dead@; }
        location = /slow { proxy_read_timeout 300ms; proxy_pass http://@mock@/echo; }
        location = /denied { deny all; auth_basic x; auth_basic_user_file @users@; return 200; }
        location = /deniedproxy { deny all; proxy_pass http://@mock@/echo; }
        location = /paged { error_page 404 =200 /r204; return 404; }
        location = /named { error_page 404 = @named; return 404; }
        location @named { return 204; }
        location = /big { proxy_pass http://@mock@/bytes/300000; }
        location = /chunks { proxy_pass http://@mock@/chunked/5000; }
        location = /again { auth_request /r403; proxy_pass http://@mock@/echo; }
        location /u200 { auth_request /r200; proxy_pass http://@mock@/echo; }
        location /u204 { auth_request /r204; proxy_pass http://@mock@/echo; }
        location /u401 { auth_request /r401; proxy_pass http://@mock@/echo; }
        location /u401t { auth_request /r401t; proxy_pass http://@mock@/echo; }
        location /u403 { auth_request /r403; proxy_pass http://@mock@/echo; }
        location /u404 { auth_request /r404; proxy_pass http://@mock@/echo; }
        location /u302 { auth_request /r302; proxy_pass http://@mock@/echo; }
        location /u500 { auth_request /r500; proxy_pass http://@mock@/echo; }
        location /unone { auth_request /nowhere/at/all; proxy_pass http://@mock@/echo; }
        location /udead { auth_request /dead; proxy_pass http://@mock@/echo; }
        location /uslow { auth_request /slow; proxy_pass http://@mock@/echo; }
        location /udenied { auth_request /deniedproxy; proxy_pass http://@mock@/echo; }
        location /upaged { auth_request /paged; proxy_pass http://@mock@/echo; }
        location /unamed { auth_request /named; proxy_pass http://@mock@/echo; }
        location /ubig { auth_request /big; proxy_pass http://@mock@/echo; }
        location /uchunks { auth_request /chunks; proxy_pass http://@mock@/echo; }
        location /uagain { auth_request /again; proxy_pass http://@mock@/echo; }
        location /return { auth_request /r403; return 200 "free\n"; }
        location /page { error_page 401 403 =200 /login; auth_request /auth; proxy_pass http://@mock@/echo; }
        location = /login { return 200 "log in $status $auth_said\n"; }
        location /page5 { error_page 500 /login; auth_request /r404; proxy_pass http://@mock@/echo; }
        location /set { auth_request /auth; auth_request_set $auth_said $upstream_http_x_said; auth_request_set $auth_status $upstream_status;
                        auth_request_set $auth_uri "$uri|$request_uri|$args|$request_method|$request"; auth_request_set $auth_code $status;
                        add_header X-Said "$auth_said" always; add_header X-Code "$auth_code $auth_status" always; add_header X-Uri $auth_uri always;
                        proxy_set_header X-User $auth_said; proxy_pass http://@mock@/echo; }
        location /setpage { auth_request /auth; auth_request_set $auth_said $upstream_http_x_said; error_page 403 /login; proxy_pass http://@mock@/echo; }
        location /any { satisfy any; auth_request /auth; deny all; proxy_pass http://@mock@/echo; }
        location /anyallow { satisfy any; auth_request /auth; allow all; proxy_pass http://@mock@/echo; }
        location /anybasic { satisfy any; auth_request /auth; auth_basic both; auth_basic_user_file @users@; proxy_pass http://@mock@/echo; }
        location /allbasic { auth_request /auth; auth_basic both; auth_basic_user_file @users@; proxy_pass http://@mock@/echo; }
        location /alldeny { auth_request /auth; deny all; proxy_pass http://@mock@/echo; }
        location /logged { log_subrequest on; access_log @dir@/s.log s; auth_request /auth2; proxy_pass http://@mock@/echo; }
        location = /auth2 { log_subrequest on; access_log @dir@/s.log s; proxy_pass http://@mock@/echo; proxy_set_header X-Mock-Status $http_x_auth; }
        location /nested { auth_request /r204; location /nested/in { proxy_pass http://@mock@/echo; }
                           location /nested/off { auth_request off; proxy_pass http://@mock@/echo; } }
    }
"""


def authorization(user, password="secret", scheme="Basic "):
    text = user if password is None else f"{user}:{password}"
    return {"Authorization": scheme + base64.b64encode(text.encode("latin-1")).decode()}


def basic(name, target, headers=(), **kw):
    return case(f"basic {name}", target, "basic.test", headers, **kw)


GOOD = ("plain", "sha", "ssha", "apr", "md5", "sha256", "sha512", "bcrypt", "des", "yes", "crlf", "last")
BASIC = [basic(f"{u} {p}", "/x", authorization(u, p)) for u in GOOD for p in ("secret", "secreT", "")]
BASIC += [basic(f"{u} {p}", "/x", authorization(u, p)) for u, p in (
    ("empty", ""), ("empty", "x"), ("dup", "first"), ("dup", "secret"), ("unknown", "secret"), ("colon", "se"), ("colon", "se:cret"),
    ("nothing", ""), ("nothing", "x"), ("nobody", "secret"), ("# comment", "x"), ("PLAIN", "secret"), ("plai", "secret"),
    ("plain:", "secret"), ("plain ", "secret"), ("", "secret"), ("plain", None), ("plain", "secret "), ("\xe9", "x"))]
BASIC += [basic(name, "/x", {"Authorization": v}) for name, v in {
    "lower scheme": "basic cGxhaW46c2VjcmV0", "spaces": "Basic    cGxhaW46c2VjcmV0", "no padding": "Basic ZW1wdHk6",
    "bad base64": "Basic !!!!", "empty": "Basic ", "nothing": "Basic", "bearer": "Bearer cGxhaW46c2VjcmV0", "tab": "Basic\tcGxhaW46c2VjcmV0",
    "padding": "Basic cGxhaW46c2VjcmV0====", "text behind": "Basic cGxhaW46c2VjcmV0 x"}.items()]
LOCATIONS = ("/", "/off", "/own?r=x", "/offvar?r=off", "/offvar?r=on", "/offvar", "/missing", "/folder", "/varfile", "/varfile?f=.none", "/relative",
             "/return", "/page", "/pagein", "/page302", "/pagenamed/x", "/except", "/header", "/alldeny", "/any/allow", "/any/deny", "/any/two",
             "/any/none", "/any/off", "/any/missing", "/any/folder", "/any/page")
BASIC += [basic(f"{t} {who}", t, h) for t in LOCATIONS for who, h in (
    ("nobody", {}), ("plain", authorization("plain")), ("wrong", authorization("plain", "wrong")))]
BASIC += [basic(f"POST {t} {who}", t, h, method="POST", body="abc") for t in ("/", "/except", "/page", "/pagenamed") for who, h in (
    ("nobody", {}), ("plain", authorization("plain")))]
BASIC += [basic("HEAD", "/", method="HEAD"), basic("1.0", "/", version="1.0"), basic("HEAD page", "/page", method="HEAD"),
          raw("basic keeps alive", "GET / HTTP/1.1\r\nHost: basic.test\r\n\r\n" * 3, n=3),
          raw("basic keeps alive with a body", "POST / HTTP/1.1\r\nHost: basic.test\r\nContent-Length: 3\r\n\r\nabc" * 2, n=2),
          case("half: no file", "/", "half.test"), case("half: no realm", "/f", "half.test")]
REQUEST = on("request.test", [(t, t) for t in (
    "/off", "/auth", "/u200", "/u204", "/u401", "/u401t", "/u403", "/u404", "/u302", "/u500", "/unone", "/udead", "/udenied", "/upaged", "/unamed", "/ubig",
    "/uchunks", "/uagain", "/return", "/page5", "/nested/in", "/nested/off")])
CHALLENGE = [("X-Mock-Add-Header", "WWW-Authenticate: Bearer realm=\"up\""), ("X-Mock-Add-Header", "X-Said: who it is")]
REQUEST += on("request.test", [(f"{t} {status}", t, {"headers": [("X-Auth", status), *CHALLENGE]}) for status in ("200", "204", "299", "401", "403", "404", "500")
                               for t in ("/x?q=1", "/page", "/set?a=b", "/setpage", "/any", "/anyallow", "/anybasic", "/allbasic", "/alldeny")])
REQUEST += on("request.test", [(f"{t} {status} plain", t, {"headers": [("X-Auth", status), *CHALLENGE, *authorization("plain").items()]})
                               for status in ("200", "401", "403") for t in ("/anybasic", "/allbasic")])
REQUEST += on("request.test", [
    ("POST", "/x", {"method": "POST", "body": "abc", "headers": {"X-Auth": "200"}}),
    ("POST refused", "/x", {"method": "POST", "body": "abc", "headers": {"X-Auth": "403"}}),
    ("large POST", "/x", {"method": "POST", "body": "x" * 100000, "headers": {"X-Auth": "200"}}),
    ("chunked POST", "/x", {"method": "POST", "body": "3\r\nabc\r\n0\r\n\r\n", "headers": {"X-Auth": "200", "Transfer-Encoding": "chunked"}}),
    ("HEAD refused", "/x", {"method": "HEAD", "headers": {"X-Auth": "401"}}), ("PUT set", "/set", {"method": "PUT", "body": "x", "headers": {"X-Auth": "200"}}),
    ("1.0", "/x", {"version": "1.0", "headers": {"X-Auth": "200"}}),
    ("silent", "/uslow", {"headers": {"X-Mock-Fault": "stall-before-head"}}),
    ("cut head", "/x", {"headers": {"X-Auth": "200", "X-Mock-Fault": "reset-before-head"}}),
])
REQUEST += [raw("request keeps alive", "GET /x HTTP/1.1\r\nHost: request.test\r\nX-Auth: 200\r\n\r\nGET /u403 HTTP/1.1\r\nHost: request.test\r\n\r\n" * 2, n=4)]
CASES = BASIC + REQUEST


@pytest.fixture(scope="module")
def users():
    with temp_dir() as folder:
        path = folder / "users"
        path.write_bytes(USERS.encode())
        yield path


@pytest.fixture(scope="module")
def both(users):
    with contextlib.ExitStack() as stack:
        pair = Both(stack, CONF, users=users)
        for s in pair.servers:
            (s.dir / "users").write_bytes(USERS.encode())
        yield pair


@pytest.mark.parametrize("c", CASES, ids=[c.id for c in CASES])
def test_alike(both, c):
    (*nginx, nginx_ended), (*sluice, sluice_ended) = both.ask(c)
    assert sluice == nginx
    if nginx[-1] != "closed" and "close" not in nginx[-1]["fields"].get("connection", ()):
        assert sluice_ended == nginx_ended


def test_words_alike(both):
    auth = {"wrong": authorization("plain", "no"), "absent": authorization("nobody\x1b"), "none": {}}
    for who, headers in auth.items():
        both.ask(case(who, f"/{who}", "basic.test", headers))
    for path in ("/missing", "/any/off"):
        both.ask(case(path, path, "basic.test", auth["wrong"]))
    both.ask(case("u404", "/u404", "request.test"))
    both.ask(case("udead", "/udead", "request.test"))
    for s in both.servers:
        s.wait_log(r'\[error\] .*user "plain": password mismatch, client: 127\.0\.0\.1')
        s.wait_log(r'\[error\] .*user "nobody.*" was not found in "/.*/users", client')
        s.wait_log(r"\[info\] .*no user/password was provided for basic authentication")
        s.wait_log(r'\[error\] .*open\(\) "/.*/users\.none" failed \(2: No such file or directory\)')
        s.wait_log(r"\[error\] .*access forbidden by rule")
        s.wait_log(r"\[error\] .*auth request unexpected status: 404")
        s.wait_log(r'\[error\] .*connect\(\) failed \(111: Connection refused\) while connecting to upstream, .*, subrequest: "/dead", upstream')
        assert "secret" not in s.log() and "Basic " not in s.log()


def test_subrequest_log_alike(stack, users):
    pair = Both(stack, CONF, users=users)
    pair.ask(case("on", "/logged?a=b", "request.test", {"X-Auth": "200"}, method="DELETE"))
    pair.ask(case("refused", "/logged", "request.test", {"X-Auth": "403"}))
    pair.ask(case("off", "/x", "request.test", {"X-Auth": "200"}))
    nginx, sluice = (until(lambda s=s: len((t := (s.dir / "s.log").read_text().splitlines())) == 4 and t, 5, "s.log") for s in pair.servers)
    # What the subrequest's answer had for a body is not counted: nobody got it.
    assert [line.rsplit("|", 1)[0] for line in sluice] == [line.rsplit("|", 1)[0] for line in nginx]
    assert all(len((s.dir / "f.log").read_text().splitlines()) == 1 for s in pair.servers)


ASKED = r"""
    server {
        listen 127.0.0.1:@http@;
        location / { auth_request /auth; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://@up@/main; }
        location = /auth { proxy_http_version 1.1; proxy_pass http://@up@; proxy_pass_request_body off; proxy_set_header Content-Length "";
                           proxy_set_header Connection ""; proxy_set_header X-Original $request_uri; proxy_set_header X-Method $request_method; }
    }
"""


@pytest.mark.parametrize("method,body", [("GET", None), ("POST", "abc"), ("HEAD", None), ("PUT", "x" * 50000)])
def test_what_the_other_server_is_asked_alike(stack, method, body):
    p = pair.Pair(stack, ASKED)
    seen = []
    for s in p.servers:
        p.up.seen.clear()
        r = pair.fetch(s, "/some/where?a=b", {"X-Field": "f", "Range": "bytes=0-1"}, method=method, body=body)
        assert r.status == 200
        seen.append([(line, sorted(fields), len(data)) for line, fields, data, *_ in p.up.seen])
    assert len(seen[0]) == 2
    assert seen[1] == seen[0]


def test_client_that_leaves_ends_the_question(start, mocks):
    """The parent's end is the subrequest's."""
    mock = mocks()
    s = start("""server { listen 127.0.0.1:@http@; location / { auth_request /auth; return 200; proxy_pass http://@mock@; }
                          location /x { auth_request /auth; proxy_pass http://@mock@/echo; }
                          location = /auth { proxy_pass http://@mock@/echo; } }""", {"mock": mock.addr})
    for _ in range(5):
        c = Conn(s.port)
        c.send("GET /x HTTP/1.1\r\nHost: a\r\nX-Mock-Fault: stall-before-head\r\n\r\n")
        until(lambda: mock.stats()["requests"], what="the question")
        c.close()
    s.wait_log("client prematurely closed connection")
    with Conn(s.port) as c:
        assert c.request("GET", "/x").status == 200


def test_file_that_changes(start, stack):
    users = stack.enter_context(temp_dir()) / "users"
    users.write_text("u:{PLAIN}one\n")
    s = start('server { listen 127.0.0.1:@http@; location / { auth_basic x; auth_basic_user_file @users@; } }',
              {"users": users})

    def status(password):
        with Conn(s.port) as c:
            return c.request("GET", "/", authorization("u", password)).status
    assert (status("one"), status("two")) == (404, 401)
    users.write_text("u:{PLAIN}twoo\n")
    until(lambda: status("twoo") == 404, 5, "the new password")
    assert status("one") == 401
    users.unlink()
    until(lambda: status("twoo") == 403, 5, "the file's end")


def test_dear_passwords_leave_time_for_others(start, stack, mocks):
    """Whoever guesses at a bcrypt password waits; who knows it pays once; everybody else does not notice."""
    users = stack.enter_context(temp_dir()) / "users"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import crypt
        users.write_text("u:" + crypt.crypt("secret", "$2b$09$abcdefghijklmnopqrstuu") + "\nbig:$2y$14$abcdefghijklmnopqrstuu\n")
    s = start("""server { listen 127.0.0.1:@http@; location / { auth_basic x; auth_basic_user_file @users@; proxy_pass http://@mock@/echo; }
                          location /free { return 200 free; } }""", {"users": users, "mock": mocks().addr}, main="worker_processes 1;")
    with Conn(s.port, timeout=30) as c:
        assert c.request("GET", "/", authorization("u", "secret")).status == 200
        guessers = [Conn(s.port, timeout=30) for _ in range(8)]
        for i, g in enumerate(guessers):
            g.send("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: " + authorization("u", f"guess{i}")["Authorization"] + "\r\n\r\n")
        begun = time.monotonic()
        for _ in range(20):
            assert c.request("GET", "/free").status == 200
            assert c.request("GET", "/", authorization("u", "secret")).status == 200
        took = time.monotonic() - begun
        answers = [g.response().status for g in guessers]
        for g in guessers:
            g.close()
        # 503: who waited too long on a slow machine.
        assert 401 in answers and set(answers) <= {401, 503}
        assert took < time.monotonic() - begun
        assert c.request("GET", "/", authorization("big", "secret")).status == 500
    s.wait_log(r'user "big": the stored password has more rounds than are allowed')


def test_delay(start, users):
    s = start("""server { listen 127.0.0.1:@http@; auth_delay 300ms; auth_basic x; auth_basic_user_file @users@; location / { }
                          location /any { satisfy any; deny all; } location /page { error_page 401 =200 /login; }
                          location = /login { return 200; } }""", {"users": users})
    for path, status in (("/", 401), ("/any", 401), ("/page", 200)):
        begun = time.monotonic()
        with Conn(s.port) as c:
            assert c.request("GET", path).status == status
        assert time.monotonic() - begun >= 0.29
    s.wait_log("delaying unauthorized request")
