# SPDX-License-Identifier: BSD-2-Clause
"""Error pages, X-Accel-Redirect, passwords and auth_request mean over HTTP/2 what they mean over HTTP/1.1."""
import contextlib
import json
import threading

import pytest
import test_nginx_auth
import test_nginx_error_page
from h2raw import H2
from harness import SLOW, Closed, Conn, Mock, Peer, Sluice, free_port, temp_dir

ONLY_H1 = ("connection", "transfer-encoding", "keep-alive", "date", "x-request-id")


def parts(c):
    """METHOD, path, host, fields and body of a case that is one plain request; None for others."""
    head, _, body = c.raw.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    method, _, rest = line.partition(" ")
    path, _, version = rest.rpartition(" ")
    fields = [tuple(f.split(": ", 1)) if ": " in f else (f.rstrip(":"), "") for f in fields]
    names = [k.lower() for k, _ in fields]
    if c.n != 1 or version != "HTTP/1.1" or names.count("host") != 1 or "transfer-encoding" in names or method in ("TRACE", "PURGE"):
        return None
    host = next(v for k, v in fields if k.lower() == "host")
    return method, path, host, [(k.lower(), v) for k, v in fields if k.lower() not in ("host", "content-length")], body


def usable(cases, prefix):
    return [c for c in cases if c.id.startswith(prefix) and "limited" not in c.id and parts(c)]


PAGES = usable(test_nginx_error_page.CASES, ("pages", "rec", "accel", "intercept"))[::2]
AUTH = usable(test_nginx_auth.CASES, ("basic", "request"))[::3]


@pytest.fixture(scope="module")
def servers():
    with contextlib.ExitStack() as stack:
        users = stack.enter_context(temp_dir()) / "users"
        users.write_bytes(test_nginx_auth.USERS.encode())
        mock = Mock()
        stack.callback(mock.stop)
        out = {}
        for name, conf in (("pages", test_nginx_error_page.CONF), ("auth", test_nginx_auth.CONF)):
            values = {"http": free_port(), "two": free_port(), "mock": mock.addr, "dead": free_port(), "users": users}
            s = stack.enter_context(Sluice("http2 on;\n" + conf, values))
            s.port = values["http"]
            (s.dir / "users").write_bytes(test_nginx_auth.USERS.encode())
            out[name] = s
        yield out


def by_h1(s, method, path, host, fields, body):
    with Conn(s.port) as c:
        r = c.request(method, path, fields, body or None, host)
    return r.status, sorted({k.lower(): v for k, v in r.headers if k.lower() not in ONLY_H1}.items()), r.body


def by_h2(s, method, path, host, fields, body):
    with H2(s.port, tls=False) as c:
        if body:
            fields = [*fields, ("content-length", str(len(body)))]
        stream = c.headers(fields, path, method, end=not body, authority=host)
        if body:
            c.upload(stream, body)
        r = c.answer(stream)
    return r.status, sorted((k, v) for k, v in r.heads[-1].items() if k not in ONLY_H1 and k[0] != ":"), r.body


def comparable(answer):
    status, fields, body = answer
    if b'"body_sha256"' in body:
        seen = json.loads(body)
        seen["headers"] = sorted([k.lower(), v] for k, v in seen["headers"])
        for k in ("connection", "request"):
            seen.pop(k, None)
        fields = [f for f in fields if f[0] != "content-length"]
        body = seen
    return status, [(k, v) for k, v in fields if status != 204 or k != "content-length"], body


@pytest.mark.parametrize("c", PAGES + AUTH, ids=[c.id for c in PAGES + AUTH])
def test_alike_over_both_protocols(servers, c):
    s = servers["auth" if c in AUTH else "pages"]
    asked = parts(c)
    try:
        h1 = comparable(by_h1(s, *asked))
    except (Closed, ConnectionError):
        h1 = None
    if h1 is not None:
        # $request names the protocol; nothing else differs.
        assert json.dumps(str(comparable(by_h2(s, *asked)))).replace("HTTP/2.0", "HTTP/1.1") == json.dumps(str(h1))


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_a_body_that_has_filled_its_window_goes_on_when_its_request_does(start, mock, buffering):
    """Nothing of the client's comes any more that could wake its connection: the answer to the subrequest must."""
    asked, go_on = threading.Event(), threading.Event()

    def allow(c, first, fields):
        asked.set()
        assert go_on.wait(20 * SLOW)
        c.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    with Peer(allow) as peer:
        s = start(f"http2 on; server {{ listen 127.0.0.1:@http@; proxy_request_buffering {buffering};"
                  f"location / {{ auth_request /auth; proxy_pass http://{mock.addr}/echo; }}"
                  f"location = /auth {{ internal; proxy_pass http://{peer.addr}; proxy_pass_request_body off; proxy_set_header Content-Length \"\"; }} }}")
        with H2(s.port, tls=False) as c:
            stream = c.headers([("content-length", "300000")], "/", "POST", end=False)
            c.wait(lambda: c.settings and 0 in c.may_send)
            window = c.initial
            c.may_send[stream] = 0
            for at in range(0, window, 16384):
                c.data(stream, b"x" * min(16384, window - at))
            c.may_send[0] -= window
            assert asked.wait(10 * SLOW)
            c.ping(b"all read")
            c.wait(lambda: b"all read" in c.pings)
            go_on.set()
            c.upload(stream, b"x" * (300000 - window))
            assert c.answer(stream).json()["body_length"] == 300000
        assert not peer.errors


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_a_body_that_has_filled_its_window_goes_on_after_a_delay(start, mock, buffering):
    """As above, but what the request waited for is its turn."""
    s = start(f"http2 on; limit_req_zone $binary_remote_addr zone=z:1m rate=60r/m; server {{ listen 127.0.0.1:@http@; proxy_request_buffering {buffering};"
              f"location / {{ limit_req zone=z burst=5; proxy_pass http://{mock.addr}/echo; }} }}")
    with H2(s.port, tls=False) as c:
        assert c.get("/").status == 200
        stream = c.headers([("content-length", "300000")], "/", "POST", end=False)
        c.wait(lambda: c.settings)
        window = c.initial
        c.may_send[stream] = 0
        for at in range(0, window, 16384):
            c.data(stream, b"x" * min(16384, window - at))
        c.may_send[0] -= window
        c.upload(stream, b"x" * (300000 - window))
        assert c.answer(stream).json()["body_length"] == 300000
