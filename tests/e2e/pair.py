# SPDX-License-Identifier: BSD-2-Clause
"""nginx and sluice side by side on one configuration, before one scripted upstream.

The upstream answers what the request tells it to: `X-Raw` is the answer's bytes in base64. Without it the
answer is JSON that shows what arrived. With `X-Hold` it waits for Scripted.gate. It holds no test.
"""
import base64
import collections
import contextlib
import json
import re
import socket
import socketserver
import struct
import threading

import harness
from harness import Closed, Conn, Response, build, free_port

V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def raw_answer(head, body=b"", status="200 OK"):
    """The bytes of an answer with a length, for X-Raw: HEAD is [(name, value)]."""
    lines = [f"HTTP/1.1 {status}", *(f"{k}: {v}" for k, v in head), f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def x_raw(data):
    return ("X-Raw", base64.b64encode(data).decode())


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.buf, proxied = b"", None
        with contextlib.suppress(ConnectionError, EOFError):
            proxied = self.proxy_header()
            while self.one(proxied):
                pass

    def need(self, n):
        while len(self.buf) < n:
            data = self.request.recv(65536)
            if not data:
                raise EOFError
            self.buf += data

    def until(self, mark):
        while mark not in self.buf:
            self.need(len(self.buf) + 1)
        out, _, self.buf = self.buf.partition(mark)
        return out

    def proxy_header(self):
        self.need(6)
        if self.buf.startswith(b"PROXY "):
            return self.until(b"\r\n").decode()
        if self.buf.startswith(b"\r\n\r\n\0"):
            self.need(16)
            assert self.buf.startswith(V2_SIGNATURE)
            command, family, n = struct.unpack(">BBH", self.buf[12:16])
            self.need(16 + n)
            data, self.buf = self.buf[16:16 + n], self.buf[16 + n:]
            return f"{command:x} {family:x} {data.hex()}"
        return None

    def body(self, fields):
        if "chunked" in fields.get("transfer-encoding", ""):
            out = b""
            while size := int(self.until(b"\r\n"), 16):
                self.need(size + 2)
                out, self.buf = out + self.buf[:size], self.buf[size + 2:]
            self.until(b"\r\n")
            return out
        n = int(fields.get("content-length", 0))
        self.need(n)
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    def one(self, proxied):
        head = self.until(b"\r\n\r\n").decode("latin-1")
        line, *rest = head.split("\r\n")
        pairs = [tuple(x.strip() for x in f.split(":", 1)) for f in rest]
        fields = {k.lower(): v for k, v in pairs}
        body = self.body(fields)
        self.server.seen.append((line, pairs, body, self.client_address[0]))
        self.server.n_seen += 1
        if "x-hold" in fields:
            self.server.gate.wait(20)
        if "x-raw" in fields:
            self.request.sendall(base64.b64decode(fields["x-raw"]))
        else:
            seen = {"line": line, "headers": pairs, "body": body.decode("latin-1"), "proxied": proxied,
                    "peer": self.client_address[0] if self.client_address else ""}
            data = json.dumps(seen).encode()
            self.request.sendall(raw_answer([("Content-Type", "application/json")], b"" if line.startswith("HEAD ") else data))
        return "close" not in fields.get("connection", "") and " HTTP/1.1" in line and "x-end" not in fields


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


class Scripted:
    """The upstream, in a thread of its own."""

    def __init__(self, port=None):
        self.server = Server(("127.0.0.1", port or free_port()), Handler)
        self.server.seen = self.seen = collections.deque(maxlen=1000)
        self.gate = self.server.gate = threading.Event()
        self.server.n_seen = 0
        self.port = self.server.server_address[1]
        self.addr = f"127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def stop(self):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Pair:
    """Both servers on CONF. @http@ is the port of each, @up@ the upstream, @dead@ a port nobody listens on."""

    def __init__(self, stack, conf, main="worker_processes 1;", **values):
        self.up = Scripted()
        stack.callback(self.up.stop)
        self.dead = free_port()
        self.servers = []
        for cls in (harness.Nginx, harness.Sluice):
            v = {"http": free_port(), "two": free_port(), "three": free_port(), "up": self.up.addr, "dead": self.dead, **values}
            s = cls(conf, v, main=main)
            s.port, s.two, s.three = v["http"], v["two"], v["three"]
            stack.enter_context(s)
            self.servers.append(s)
        self.nginx, self.sluice = self.servers

    def ask(self, *args, **kw):
        """(nginx's answer, sluice's), in a form in which they can be compared."""
        return [comparable(s, fetch(s, *args, **kw)) for s in self.servers]


def fetch(s, path, headers=(), method="GET", body=None, host="localhost", version="1.1", raw=None, **conn):
    """What S answers on a connection of its own; "closed" when it answers nothing."""
    with Conn(s.port, **conn) as c:
        c.send(raw if raw is not None else build(method, path, headers, body, host, version))
        try:
            return c.response(method)
        except (Closed, ConnectionError):
            return "closed"


def mask(s, text):
    text = re.sub(r"nginx(/[\d.]+)?|sluice(/[\d.]+)?", "(server)", text)
    return text.replace(str(s.port), "PORT")


def comparable(s, r):
    if not isinstance(r, Response):
        return r
    fields = collections.defaultdict(list)
    is_own = r.body.startswith((b"<html>\r\n<head><title>", b'{"error"'))
    for k, v in r.headers:
        k = k.lower()
        if is_own and k in ("content-type", "content-length"):
            continue
        fields[k].append("(date)" if k == "date" else mask(s, v))
    body = r.body.decode("latin-1")
    if is_own:
        body = "(its own page)"   # sluice's errors are JSON
    elif body.startswith('{"line"'):
        body = json.loads(body)
        # nginx 1.22 sends "Connection: close" unless told otherwise: docs/nginx.md, "Upstreams".
        body["headers"] = sorted([k.lower(), mask(s, v)] for k, v in body["headers"] if k.lower() != "connection")
        fields.pop("content-length")
    else:
        body = mask(s, body)
    return {"status": r.status, "fields": dict(fields), "body": body}


def config_errors(cls, text):
    """What the program says of TEXT, a whole file: (exit code, message without place)."""
    import subprocess
    with harness.temp_dir() as folder:
        path = folder / "t.conf"
        path.write_text(text.replace("@dir@", str(folder)))
        args = [*cls.program, "-t", "-p", str(folder), "-c", str(path)]
        p = subprocess.run(args, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30 * harness.SLOW)
        m = re.search(r"\[emerg\] (?:\d+#\d+: )?(.*?)(?: in \S+:\d+.*)?$", p.stderr, re.M)
        return p.returncode, m[1] if m else ""


__all__ = ["Pair", "Scripted", "comparable", "config_errors", "fetch", "raw_answer", "socket", "x_raw"]
