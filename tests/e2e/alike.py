# SPDX-License-Identifier: BSD-2-Clause
"""Debian's nginx and sluice on the same configuration: cases, and answers in a form in which the two can be compared.

A test file has a CONF, cases, and a fixture that yields Both(stack, CONF).
"""
import collections
import email.utils
import json
import re
import subprocess

import harness
from harness import Closed, Conn, build, free_port

ERROR_PAGE = re.compile(rb"<html>\r\n<head><title>\d{3} ")
Case = collections.namedtuple("Case", "id raw method n")


def case(name, target="/", host="first.test", headers=(), method="GET", body=None, version="1.1"):
    fields = list(headers.items() if isinstance(headers, dict) else headers)
    return Case(name, build(method, target, fields, body, host, version), (method,), 1)


def raw(name, text, method="GET", n=1):
    """Bytes as they are; N answers are read, of which METHOD says whether they have bodies."""
    return Case(name, text.encode("latin-1") if isinstance(text, str) else text, (method,) * n, n)


def on(host, cases):
    return [case(f"{host.split('.')[0]} {name}", target, host, **dict(kw)) for name, target, *rest in cases
            for kw in [rest[0] if rest else {}]]


class Both:
    """nginx and sluice on CONF, with the same mock-llm behind both."""

    def __init__(self, stack, conf, **values):
        self.mock = harness.Mock()
        stack.callback(self.mock.stop)
        self.dead = free_port()
        self.servers = []
        for cls in (harness.Nginx, harness.Sluice):
            v = {"http": free_port(), "two": free_port(), "mock": self.mock.addr, "dead": self.dead, "logs": "", **values}
            s = cls(conf, v, main="worker_processes 1;")
            s.port, s.two = v["http"], v["two"]
            stack.enter_context(s)
            self.servers.append(s)

    @staticmethod
    def one(s, c, **conn):
        return answer(s, c, s.port, **conn)

    def ask(self, c, port=None, **conn):
        return [answer(s, c, port(s) if port else s.port, **conn) for s in self.servers]


def refused_alike(folder, http, words):
    """Both refuse the http block HTTP with these words, or accept it when WORDS is empty."""
    path = folder / "alike.conf"
    path.write_text(f"events {{ }} http {{ access_log off; {http} }}")
    nginx = subprocess.run(["/usr/sbin/nginx", "-t", "-q", "-c", str(path), "-e", "stderr", "-g", f"pid {folder}/pid;"],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (words in nginx.stderr, nginx.returncode != 0) == (True, bool(words)), nginx.stderr
    code, out = harness.run_sluice("-t", "-c", path)
    assert (words in out, code != 0) == (True, bool(words)), out


def answer(s, c, port, **how):
    """What came for C, in a form in which the two can be compared."""
    with Conn(port, **how) as conn:
        conn.send(c.raw)
        out = []
        try:
            for method in c.method:
                r = conn.head()
                while r.status == 100:
                    out.append(100)
                    r = conn.head()
                conn.body(r, method)
                out.append(r)
        except (Closed, ConnectionError):
            out.append("closed")
        last = next((r for r in reversed(out) if isinstance(r, harness.Response)), None)
        # Who says that it closes has time for it, also on a machine that does much else.
        end, more = ("", b"") if last is None else conn.end(2 if last.header("Connection") == "close" else 0.05)
        seen = [plain(s, r) if isinstance(r, harness.Response) else r for r in out]
        return seen + ([more] if more else []) + [end and end != "open"]


def in_seconds(then, now):
    """A time of an answer as it is from its Date: the other server is asked a moment later."""
    try:
        return str(email.utils.parsedate_to_datetime(then) - email.utils.parsedate_to_datetime(now))
    except (TypeError, ValueError):
        return then


def plain(s, r):
    fields, body = list(r.headers), r.body
    # sluice's own errors are JSON, nginx's HTML: docs/nginx.md, "Errors of sluice itself".
    is_own_error = bool(ERROR_PAGE.match(body)) or b'"error"' in body and r.header("x-mock-name") is None
    if is_own_error or not body and 300 <= r.status and r.header("x-mock-name") is None and r.header("Content-Type") in (
            "text/html", "application/json"):
        body = b"(its own error)"
        fields = [(k, v) for k, v in fields if k.lower() not in ("content-type", "content-length")]
    out = collections.defaultdict(list)
    for k, v in fields:
        k = k.lower()
        if k == "server":
            v = re.sub(r"nginx(/[\d.]+)?|sluice(/[\d.]+)?", "(server)", v)   # who it is
        if k == "date":
            v = "(date)"
        if k == "expires":
            v = in_seconds(v, r.header("Date"))
        if k == "x-request-id":
            v = "(the mock's count)"
        out[k].append(v.replace(str(s.port), "PORT"))
    body = body_of(s, body)
    if isinstance(body, dict):
        out.pop("content-length", None)   # of JSON that holds what is masked in it
    return {"version": r.version, "status": r.status, "fields": dict(out), "body": body}


def body_of(s, body):
    if b'"body_sha256"' not in body:
        return body.replace(str(s.port).encode(), b"PORT")
    seen = json.loads(body)
    for volatile in ("connection", "request"):
        seen.pop(volatile, None)
    # nginx 1.22 sends "Connection: close" unless told otherwise: docs/nginx.md, "Upstreams".
    seen["headers"] = sorted([k.lower(), v] for k, v in seen["headers"] if k.lower() != "connection")
    # Bytes that no URI may hold stand there escaped; nginx lets a raw one through.
    seen["target"] = re.sub(r'["\x80-\xff]', lambda m: f"%{ord(m[0]):02X}", seen["target"])
    return seen
