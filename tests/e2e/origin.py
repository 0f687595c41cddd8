# SPDX-License-Identifier: BSD-2-Clause
"""An upstream whose answers a test writes down: a table from path to bytes, or to a function that sends them.

It holds no test.
"""
import contextlib
import socket
import threading

from harness import free_port


def answer(headers=(), body=b"", status="200 OK", length=True, chunked=False):
    """The bytes of an answer."""
    if isinstance(body, str):
        body = body.encode()
    lines = [f"HTTP/1.1 {status}", *(f"{k}: {v}" for k, v in headers)]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    elif length:
        lines.append(f"Content-Length: {len(body)}")
    else:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Origin:
    """Serves self.answers {path without query: bytes or function(socket, head)}; others get 404. A function's
    connection is closed after it."""

    def __init__(self, answers=None):
        self.answers, self.seen, self.ending = dict(answers or {}), [], False
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(("127.0.0.1", free_port()))
        self.sock.listen(128)
        self.port = self.sock.getsockname()[1]
        self.addr = f"127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def stop(self):
        self.ending = True
        self.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.sock.close()

    def run(self):
        while not self.ending:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def serve(self, conn):
        buf = b""
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with conn, contextlib.suppress(OSError):
            while True:
                while b"\r\n\r\n" not in buf:
                    data = conn.recv(65536)
                    if not data:
                        return
                    buf += data
                head, _, buf = buf.partition(b"\r\n\r\n")
                head = head.decode("latin-1")
                self.seen.append(head)
                method, target, _ = head.split("\r\n")[0].split(" ")
                what = self.answers.get(target.split("?")[0], answer(status="404 Not Found"))
                if callable(what):
                    what(conn, head)
                    return
                conn.sendall(what.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else what)
                if b"\r\nConnection: close" in what or "\r\nConnection: close" in head:
                    return
