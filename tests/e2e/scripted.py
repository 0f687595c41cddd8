# SPDX-License-Identifier: BSD-2-Clause
"""Back ends that do what the request says: `Script: 503,close,200` tells the first one to answer 503, the second
one to close without an answer. So one configuration serves many cases."""
import contextlib
import socket
import struct
import threading

from harness import free_port


class Scripted:
    """N servers on ports of 127.0.0.1, or one for each of HOSTS on one port; .seen is what reached them, as (index,
    method, target, bytes of body)."""

    def __init__(self, n=0, hosts=()):
        self.seen, self.heads, self.lock = [], [], threading.Lock()
        self.answers, self.by_target = {}, {}   # to requests without a script: by index; by target and index
        self.release = threading.Event()   # ends "hold"
        self.ending = False
        self.socks = []
        shared = free_port() if hosts else None
        for host in hosts or ["127.0.0.1"] * n:
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((host, shared or free_port()))
            s.listen(128)
            self.socks.append(s)
        self.ports = [s.getsockname()[1] for s in self.socks]
        for i in range(len(self.socks)):
            threading.Thread(target=self.accept, args=(i,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.ending = True
        self.release.set()
        for s in self.socks:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()

    def values(self):
        """For a configuration: @b0@, @b1@ ... are the addresses."""
        return {f"b{i}": f"127.0.0.1:{p}" for i, p in enumerate(self.ports)}

    def take_seen(self):
        with self.lock:
            seen, self.seen = self.seen, []
        return seen

    def accept(self, i):
        while not self.ending:
            try:
                sock, _ = self.socks[i].accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(i, sock), daemon=True).start()

    def serve(self, i, sock):
        with sock, contextlib.suppress(OSError):
            sock.settimeout(30)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            buf = b""
            while True:
                while b"\r\n\r\n" not in buf:
                    data = sock.recv(65536)
                    if not data:
                        return
                    buf += data
                head, _, buf = buf.partition(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
                length = int(fields.get("content-length", 0))
                while len(buf) < length:
                    data = sock.recv(65536)
                    if not data:
                        return
                    buf += data
                buf = buf[length:]
                method, target, version = first.split(" ")
                with self.lock:
                    self.seen.append((i, method, target, length))
                    self.heads.append(head.decode("latin-1"))
                if not self.act(i, sock, method, self.action(i, target, fields.get("script"))):
                    return
                if version == "HTTP/1.0" or fields.get("connection") == "close":
                    return

    def action(self, i, target, script):
        if script is None:
            return self.by_target.get(target, {}).get(i) or self.answers.get(i, "")
        script = script.split(",")
        return script[i] if i < len(script) else ""

    def act(self, i, sock, method, what):
        """False: the connection ends."""
        what = what.strip() or "200"
        if what.isdigit():
            body = b"" if what == "204" or method == "HEAD" else f"{i} says {what}\n".encode()
            sock.sendall(f"HTTP/1.1 {what} Scripted\r\nContent-Length: {len(body)}\r\nX-Back: {i}\r\n\r\n".encode() + body)
            return True
        if what == "hold":
            self.release.wait(30)
            return self.act(i, sock, method, "200")
        if what == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif what == "bad":
            sock.sendall(b"HTTP/1.1 200 OK\r\nno colon\r\nX: \x01\r\n\r\n")
        elif what == "half":
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
        elif what == "cut":
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it")
        elif what == "stall":
            sock.recv(1)
        elif what == "late":
            threading.Event().wait(0.8)
            return self.act(i, sock, method, "200")
        else:
            assert what == "close", what
        return False
