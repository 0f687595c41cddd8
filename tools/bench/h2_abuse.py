#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What one abusive HTTP/2 peer at full speed costs: the worker's memory, and another client's latency.

For each kind of abuse: an attacker process that reconnects as often as it is thrown out, a good client at a
steady rate beside it, and the worker's memory all the while. It prints figures and judges nothing.
"""
import argparse
import contextlib
import multiprocessing
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import hpack
from run import children, free_ports, pss_kb

CONFIG = """\
{user}daemon off;
worker_processes 1;
pid {dir}/pid;
error_log {dir}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.2:{port} http2;
        {ban}
        location / {{ proxy_pass http://127.0.0.1:{mock}; }}
        location = /own {{ return 200 "own"; }}
    }}
}}
"""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
WINDOW = 4  # SETTINGS_INITIAL_WINDOW_SIZE


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def head(path="/own", method="GET"):
    fields = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)]
    return hpack.Encoder().encode(fields, huffman=False)


def streams(make, n=2000):
    """One connection's worth: MAKE(stream) for N streams."""
    return b"".join(make(2 * i + 1) for i in range(n))


def rapid_reset():
    h = head("/bytes/100000")
    return streams(lambda s: frame(HEADERS, END_HEADERS | END_STREAM, s, h) + frame(RST, 0, s, struct.pack(">I", 8)))


def made_you_reset():
    h = head("/bytes/100000")
    return streams(lambda s: frame(HEADERS, END_HEADERS | END_STREAM, s, h) + frame(WINDOW_UPDATE, 0, s, b"\0\0\0\0"))


def overflown_windows():
    h = head("/bytes/100000")
    return streams(lambda s: frame(HEADERS, END_HEADERS, s, h) + frame(WINDOW_UPDATE, 0, s, b"\x7f\xff\xff\xff"))


def bomb():
    """A table entry of 4 KB, referred to with one byte each."""
    big = b"\x40\x01x" + b"\x7f" + b"\xd1\x1e" + b"v" * 4048     # literal with indexing, 4,000 and some bytes
    first = head() + big
    return (frame(HEADERS, END_HEADERS | END_STREAM, 1, first) +
            streams(lambda s: frame(HEADERS, END_HEADERS | END_STREAM, s + 2, head() + b"\xbe" * 8000), 200))


KINDS = {
    "rapid-reset": rapid_reset,
    "made-you-reset": made_you_reset,
    "window-overflow": overflown_windows,
    "settings": lambda: frame(SETTINGS, 0, 0, struct.pack(">HI", WINDOW, 65535)) * 20000,
    "ping": lambda: frame(PING, 0, 0, b"12345678") * 20000,
    "empty-data": lambda: frame(HEADERS, END_HEADERS, 1, head("/own", "POST")) + frame(DATA, 0, 1) * 50000,
    "continuation": lambda: frame(HEADERS, 0, 1, head()) + frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y" * 100) * 5000,
    "empty-continuation": lambda: frame(HEADERS, 0, 1, head()) + frame(CONTINUATION, 0, 1) * 50000,
    "window-update": lambda: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 50000,
    "priority": lambda: streams(lambda s: frame(PRIORITY, 0, s, b"\0\0\0\0\x10"), 50000),
    "hpack-bomb": bomb,
    "unknown": lambda: frame(0x42, 0, 0, b"12345678") * 50000,
    "late-data": lambda: frame(HEADERS, END_HEADERS, 1, head("/own", "POST")) + frame(DATA, 0, 1, b"x" * 100) * 20000,
    "zero-window": lambda: streams(lambda s: frame(HEADERS, END_HEADERS | END_STREAM, s, head("/bytes/4000000")), 100),
    "requests": lambda: streams(lambda s: frame(HEADERS, END_HEADERS | END_STREAM, s, head()), 100),
}


def attack(kind, port, until, count):
    """The attacker's process: as many connections, one after the other, as it can; one thread drops what comes back."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    first = frame(SETTINGS, 0, 0, struct.pack(">HI", WINDOW, 0) if kind == "zero-window" else b"")
    data = PREFACE + first + KINDS[kind]()
    held = []
    while time.monotonic() < until:
        s = socket.socket()
        s.settimeout(1)
        try:
            s.bind(("127.0.0.9", 0))
            s.connect(("127.0.0.2", port))
            count.value += 1
            reader = threading.Thread(target=drop, args=(s,), daemon=True)
            if kind != "zero-window":
                reader.start()
            s.sendall(data)
            if kind == "zero-window":    # they stay, as many as it may
                held.append(s)
                if len(held) >= 50:
                    time.sleep(max(0, until - time.monotonic()))
                continue
            s.shutdown(socket.SHUT_WR)
            reader.join(1)
        except OSError:
            time.sleep(0.0005)
        if s not in held:
            s.close()


def drop(s):
    with contextlib.suppress(OSError):
        while s.recv(1 << 16):
            pass


def good(port, seconds, rate=200):
    """Latencies in ms of a keep-alive client that asks at a steady rate; and how many of its requests failed."""
    took, bad, s = [], 0, None
    ask = b"GET /bytes/1000 HTTP/1.1\r\nHost: a\r\n\r\n"
    begun = time.monotonic()
    for i in range(int(seconds * rate)):
        wait = begun + i / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        start = time.monotonic()
        try:
            if s is None:
                s = socket.create_connection(("127.0.0.1", port), timeout=5)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.sendall(ask)
            got = b""
            while b"\r\n\r\n" not in got or len(got.split(b"\r\n\r\n", 1)[1]) < 1000:
                piece = s.recv(65536)
                if not piece:
                    raise OSError("closed")
                got += piece
            took.append((time.monotonic() - start) * 1000)
            if b"connection: close" in got.lower():     # keepalive_requests
                s.close()
                s = None
        except OSError:
            bad, s = bad + 1, None
    took.sort()
    return took, bad


def percentile(sorted_ms, p):
    return sorted_ms[min(len(sorted_ms) - 1, int(len(sorted_ms) * p))] if sorted_ms else float("nan")


class Memory(threading.Thread):
    """The largest PSS of a process while it is watched."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.top, self.ending = pid, 0, False
        self.start()

    def run(self):
        with contextlib.suppress(OSError):  # it died: main() says so
            while not self.ending:
                self.top = max(self.top, pss_kb(self.pid))
                time.sleep(0.05)


def ahead():
    """For what is measured: not kept waiting by what attacks it."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)


@contextlib.contextmanager
def started(command, port, folder, name):
    with open(os.path.join(folder, name + ".out"), "wb") as out:
        proc = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, preexec_fn=ahead)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.05)
        else:
            raise RuntimeError(f"{name} does not listen")
        yield proc
    finally:
        proc.terminate()
        proc.wait(10)


def one(kind, args, port, pid):
    count = multiprocessing.Value("Q", 0)
    memory = Memory(pid)
    attacker = multiprocessing.Process(target=attack, args=(kind, port, time.monotonic() + args.seconds, count))
    attacker.start()
    took, bad = good(port, args.seconds)
    attacker.join()
    memory.ending = True
    memory.join()
    return took, bad, memory.top, count.value


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--seconds", type=float, default=20, help="of each kind")
    parser.add_argument("--only", action="append", choices=list(KINDS))
    one_of = parser.add_mutually_exclusive_group()
    one_of.add_argument("--ban", action="store_true", help="with `ban on=h2_abuse`")
    one_of.add_argument("--nginx", action="store_true", help="Debian's nginx instead, for comparison")
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ahead()
    ban = "ban on=h2_abuse after=5 within=10s for=1m;" if args.ban else ""
    with tempfile.TemporaryDirectory(prefix="sl-abuse-") as folder:
        os.chmod(folder, 0o711)
        port, mock_port = free_ports(2)
        conf = os.path.join(folder, "c.conf")
        text = CONFIG.format(user="user www-data;\n" if os.geteuid() == 0 else "", dir=folder, port=port, mock=mock_port,
                             ban=ban)
        with open(conf, "w", encoding="ascii") as f:
            f.write(text)
        binary = "/usr/sbin/nginx" if args.nginx else os.path.join(os.path.abspath(args.build), "sluice")
        mock = [os.path.join(args.build, "mock-llm"), "--listen", f"127.0.0.1:{mock_port}"]
        with started(mock, mock_port, folder, "mock"), \
                started([binary, "-p", folder + "/", "-c", conf], port, folder, "sluice") as proxy:
            good(port, 1)
            pid = children(proxy.pid)[0]
            idle, bad = good(port, min(args.seconds, 10))
            base, before = percentile(idle, 0.99), pss_kb(pid)
            print(f"{'kind':<20}{'good p50 ms':>12}{'p99 ms':>9}{'p99/idle':>10}{'lost':>6}{'worker MB':>11}{'connections':>13}")
            print(f"{'(idle)':<20}{percentile(idle, .5):>12.2f}{base:>9.2f}{1:>9.2f}x{bad:>6}{before / 1024:>11.1f}{0:>13}")
            for kind in args.only or KINDS:
                took, bad, top, n = one(kind, args, port, pid)
                p99 = percentile(took, 0.99)
                print(f"{kind:<20}{percentile(took, .5):>12.2f}{p99:>9.2f}{p99 / base:>9.2f}x{bad:>6}{top / 1024:>11.1f}{n:>13}",
                      flush=True)
                if children(proxy.pid)[:1] != [pid]:
                    print("the worker died", file=sys.stderr)
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
