# SPDX-License-Identifier: BSD-2-Clause
"""Error pages, X-Accel-Redirect, passwords and auth_request mean over HTTP/2 what they mean over HTTP/1.1."""
import contextlib
import json

import pytest
import test_nginx_auth
import test_nginx_error_page
from h2raw import H2
from harness import Closed, Conn, Mock, Sluice, free_port, temp_dir

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
