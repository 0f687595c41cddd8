# SPDX-License-Identifier: BSD-2-Clause
"""What the end-to-end tests stand on: sluice, nginx and mock-llm as processes, raw HTTP, namespaces, DNS.

Everything started here is ended here. It holds no test, and no knowledge of how sluice works inside.
"""
import contextlib
import ctypes
import ctypes.util
import hashlib
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SLUICE_BUILD", REPO / "build")).resolve()
SLUICE, MOCK, SL_LOAD, CTL = (BUILD / n for n in ("sluice", "mock-llm", "sl-load", "sluicectl"))
IS_ASAN = bool(os.environ.get("SLUICE_ASAN"))
IS_ROOT = os.geteuid() == 0
RUN = os.environ.get("SLUICE_RUN", "sl")    # what namespaces and folders of pins begin with
SLOW = int(os.environ.get("SLUICE_SLOW", 4 if IS_ASAN else 1))
REPORT = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:")
LIBC = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)


def until(check, timeout_s=5.0, what="it"):
    """The first true result of check(); an error when there is none in time."""
    end = time.monotonic() + timeout_s * SLOW
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {timeout_s * SLOW:g} s")
        time.sleep(0.02)


class Ports:
    """Ports below the range from which the kernel takes those of outgoing connections: one of these could be taken
    between our look and the server's bind. Other runs of tests stand on the machine, too: a block of ports is ours
    while we have an abstract socket of its name, that is to the end of this process."""

    BLOCK = 250

    def __init__(self):
        self.names, self.owned = [], []
        self.claim()

    def claim(self):
        for first in range(12000, 32000, self.BLOCK):
            name = socket.socket(socket.AF_UNIX)
            try:
                name.bind(f"\0sl-e2e-ports-{first}")
            except OSError:
                name.close()
                continue
            self.names.append(name)
            self.owned += range(first, first + self.BLOCK)
            self.given = itertools.cycle(self.owned)
            return
        raise RuntimeError("no ports are left: all are other tests'")

    def free(self, kind, host):
        while True:
            for port in itertools.islice(self.given, len(self.owned)):
                with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as s:
                    with contextlib.suppress(OSError):
                        s.bind((host, port))
                        return port
            self.claim()


_ports = Ports()


def free_port(kind=socket.SOCK_STREAM, host="127.0.0.1"):
    return _ports.free(kind, host)


@contextlib.contextmanager
def temp_dir():
    """A folder that workers, who are nobody, may enter."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="sl-e2e-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def stopped(pids):
    """The processes PIDS stand still meanwhile: what comes for them waits in the queues of their sockets."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def children(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(p) for p in text.split()]


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {k: v.strip() for k, _, v in (line.partition(":") for line in lines)}


def pss_kb(pid):
    """Without its share of pages of files: that changes with how many others run the same program."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kb) for kb in re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+) kB", text, re.M))


def is_alive(pid):
    try:
        return status_of(pid)["State"][0] != "Z"
    except (OSError, KeyError):
        return False


# --- HTTP, byte by byte -----------------------------------------------------------------------------

class Closed(Exception):
    """The peer ended the connection where more was due."""


class Response:
    def __init__(self, version, status, reason, headers):
        self.version, self.status, self.reason, self.headers = version, status, reason, headers
        self.body, self.is_whole, self.trailers = b"", False, []

    def all(self, name):
        return [v for k, v in self.headers if k.lower() == name.lower()]

    def header(self, name, default=None):
        values = self.all(name)
        return values[0] if values else default

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"


class Conn:
    """One client connection on which tests write and read what they like."""

    def __init__(self, port, host="127.0.0.1", tls=None, sni="localhost", timeout=10.0, unix=None, source=None,
                 rcvbuf=None, netns=None):
        with (in_netns(netns) if netns else contextlib.nullcontext()):
            family = socket.AF_UNIX if unix else socket.AF_INET6 if ":" in host else socket.AF_INET
            self.sock = socket.socket(family, socket.SOCK_STREAM)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout * SLOW)
        try:
            if source:
                self.sock.bind((source, 0))
            self.sock.connect(str(unix) if unix else (host, port))
            if not unix:
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                self.sock = tls.wrap_socket(self.sock, server_hostname=sni, suppress_ragged_eofs=False)
        except BaseException:
            self.sock.close()
            raise
        self.buf = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise Closed(f"after {self.buf[:200]!r}")
        self.buf += data

    def line(self):
        while b"\r\n" not in self.buf:
            self.fill()
        line, _, self.buf = self.buf.partition(b"\r\n")
        return line.decode("latin-1")

    def take(self, n):
        parts, have = [], 0
        while have < n:
            if not self.buf:
                self.fill()
            part, self.buf = self.buf[:n - have], self.buf[n - have:]
            parts.append(part)
            have += len(part)
        return b"".join(parts)

    def fields(self):
        out = []
        while True:
            line = self.line()
            if not line:
                return out
            name, colon, value = line.partition(":")
            assert colon, f"not a header line: {line!r}"
            out.append((name, value.strip(" \t")))

    def head(self):
        first = self.line()
        m = re.fullmatch(r"(HTTP/1\.[01]) (\d{3})(?: (.*))?", first)
        assert m, f"not a status line: {first!r}"
        return Response(m[1], int(m[2]), m[3], self.fields())

    def chunk(self):
        """The next chunk, b"" at the last one (whose trailers are read too)."""
        size = int(self.line().split(";")[0], 16)
        data = self.take(size)
        if size:
            assert self.take(2) == b"\r\n"
        else:
            self.fields()
        return data

    def body(self, response, method="GET"):
        r = response
        if method == "HEAD" or r.status in (204, 304) or r.status < 200:
            r.is_whole = True
        elif "chunked" in (r.header("Transfer-Encoding") or ""):
            parts = []
            while True:
                part = self.chunk()
                if not part:
                    break
                parts.append(part)
            r.body, r.is_whole = b"".join(parts), True
        elif r.header("Content-Length") is not None:
            r.body, r.is_whole = self.take(int(r.header("Content-Length"))), True
        else:
            parts = [self.buf]
            self.buf = b""
            while True:
                data = self.sock.recv(65536)
                if not data:
                    break
                parts.append(data)
            r.body, r.is_whole = b"".join(parts), True
        return r

    def response(self, method="GET"):
        r = self.head()
        while 100 <= r.status < 200 and r.status != 101:
            r = self.head()
        return self.body(r, method)

    def request(self, method, path, headers=(), body=None, host="localhost", version="1.1"):
        self.send(build(method, path, headers, body, host, version))
        return self.response(method)

    def end(self, timeout_s=5.0):
        """How the peer ends: ("fin" | "reset", what came before); "open" when it does not."""
        data, self.buf = self.buf, b""
        self.sock.settimeout(timeout_s * SLOW)
        while True:
            try:
                got = self.sock.recv(65536)
            except (ConnectionResetError, BrokenPipeError):
                return "reset", data
            except ssl.SSLError as e:
                if isinstance(e, ssl.SSLEOFError):
                    return "cut", data
                raise
            except TimeoutError:
                return "open", data
            if not got:
                return "fin", data
            data += got


def build(method, path, headers=(), body=None, host="localhost", version="1.1"):
    lines = [f"{method} {path} HTTP/{version}"]
    headers = list(headers.items() if isinstance(headers, dict) else headers)
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{k}: {v}" for k, v in headers]
    if isinstance(body, str):
        body = body.encode()
    if body is not None and not any(k.lower() in ("content-length", "transfer-encoding") for k, _ in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def fetch(port, path="/", method="GET", headers=(), body=None, host="localhost", version="1.1", **conn):
    """One request on a connection of its own."""
    headers = list(headers.items() if isinstance(headers, dict) else headers)
    if version == "1.1" and not any(k.lower() == "connection" for k, _ in headers):
        headers.append(("Connection", "close"))
    with Conn(port, **conn) as c:
        return c.request(method, path, headers, body, host, version)


def mock_bytes(n):
    """What mock-llm's /bytes/N holds."""
    period, x = bytearray(), 1
    for _ in range(65521):
        x = (x * 75 + 74) % 65537
        period.append(33 + x % 94)
    return (bytes(period) * (n // 65521 + 1))[:n]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Peer:
    """An upstream that does what a test says: SERVE(conn, first, fields) for each request that comes.

    CONN is a Conn of the accepted socket whose head was read; when SERVE returns true the next head of the same
    connection is read, else it is closed. What SERVE raises because the other side left is passed over; other
    errors are kept in self.errors.
    """

    def __init__(self, serve, host="127.0.0.1", unix=None, tls=None, port=0):
        self.serve, self.errors, self.n_conns, self.tls = serve, [], 0, tls
        self.sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
        if not unix:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(str(unix) if unix else (host, port or free_port()))
        self.sock.listen(256)
        self.unix = unix
        self.port = None if unix else self.sock.getsockname()[1]
        self.addr = f"unix:{unix}" if unix else f"{host}:{self.port}"
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                sock = self.sock.accept()[0]
            except OSError:
                return
            self.n_conns += 1
            threading.Thread(target=self.one, args=(sock,), daemon=True).start()

    def one(self, sock):
        c = Conn.__new__(Conn)
        c.buf = b""
        try:
            sock.settimeout(20 * SLOW)
            if not self.unix:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            c.sock = self.tls.wrap_socket(sock, server_side=True) if self.tls else sock
            while True:
                first = c.line()
                if not self.serve(c, first, c.fields()):
                    break
        except (Closed, OSError):
            pass
        except BaseException as e:  # noqa: BLE001 - for the test to see
            self.errors.append(e)
        finally:
            with contextlib.suppress(OSError, AttributeError):
                c.sock.close()
            sock.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Load:
    """Clients that ask without a pause, or PAUSE_S after they connected; .bad says what went wrong, .count how often
    nothing did."""

    def __init__(self, port, path="/", n=6, keep=True, pause_s=0.0):
        self.bad, self.count, self.ending = [], 0, False
        self.threads = [threading.Thread(target=self.work, args=(port, path, keep, pause_s)) for _ in range(n)]

    def work(self, port, path, keep, pause_s):
        while not self.ending:
            try:
                with Conn(port, timeout=20) as c:
                    time.sleep(pause_s)
                    while not self.ending:
                        r = c.request("GET", path, {} if keep else {"Connection": "close"})
                        if r.status == 200 and r.is_whole:
                            self.count += 1
                        else:
                            self.bad.append(r)
                        if (r.header("Connection") or "").lower() == "close" or not keep:
                            break
            except Exception as e:  # noqa: BLE001 - into the list, whatever it is
                self.bad.append(repr(e))

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self.ending = True
        for t in self.threads:
            t.join()


# --- processes --------------------------------------------------------------------------------------

class Mock:
    """One mock-llm; port 0 unless told."""

    def __init__(self, *args, port=0, tls=None, name="mock", host="127.0.0.1", netns=None):
        shown = f"[{host}]" if ":" in host else host
        listen = ["--listen-tls" if tls else "--listen", f"{shown}:{port}"]
        if tls:
            listen += ["--cert", str(tls.chain), "--key", str(tls.key)]
        self.args = [str(MOCK), *listen, "--name", name, *map(str, args)]
        self.netns, self.host, self.is_tls = netns, host, bool(tls)
        self.port = port
        self.start()

    def start(self):
        args = self.args.copy()
        if self.port:
            i = args.index("--listen-tls" if self.is_tls else "--listen") + 1
            args[i] = args[i].rsplit(":", 1)[0] + f":{self.port}"
        for _ in range(50):
            self.proc = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                         preexec_fn=lambda: child_setup(self.netns))
            line = self.proc.stdout.readline()
            if line == "mock-llm: ready\n":
                break
            err = self.proc.stderr.read()
            self.proc.wait()
            self.close_pipes()
            if "in use" not in err:
                raise AssertionError(f"mock-llm: {line}{err}")
            time.sleep(0.1)
        self.port = int(self.proc.stdout.readline().rsplit(":", 1)[1])
        return self

    @property
    def addr(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def stats(self):
        tls = ssl._create_unverified_context() if self.is_tls else None
        with Conn(self.port, self.host, tls=tls, netns=self.netns) as c:
            return c.request("GET", "/stats").json()

    def requests(self):
        """How many requests came, not counting those for /stats."""
        stats = self.stats()
        return stats["requests"] - sum(n for p, n in stats["paths"].items() if p == "/stats")

    def close_pipes(self):
        self.proc.stdout.close()
        self.proc.stderr.close()

    def kill(self):
        self.proc.kill()
        self.proc.wait()
        self.close_pipes()

    def stop(self):
        if self.proc.poll() is None:
            self.proc.terminate()
            self.proc.wait(10)
        self.close_pipes()


def child_setup(netns=None, uid=None):
    LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if netns:
        enter_netns(netns)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)


MAIN = """\
daemon off;
pid @dir@/sluice.pid;
error_log @dir@/error.log info;
@main@
events {
    worker_connections @connections@;
}
"""


class Sluice:
    """The real binary on a configuration in a folder of its own.

    CONF is what stands in the http block (or the whole file, with whole=True); "@name@" is replaced by
    values[name], "@dir@" by the folder.
    """

    program = [str(SLUICE)]
    name = "sluice"

    def __init__(self, conf, values=None, main="", whole=False, netns=None, uid=None, folder=None, args=(),
                 connections=1024, log="info"):
        self.stack = contextlib.ExitStack()
        self.dir = folder or self.stack.enter_context(temp_dir())
        self.values = {"dir": self.dir, "main": main, "connections": connections, **(values or {})}
        self.expected = []
        self.netns, self.uid, self.extra = netns, uid, list(args)
        if uid is not None:
            os.chown(self.dir, uid, uid)
        head = MAIN.replace(" info;", f" {log};", 1)
        self.write(conf if whole else head + self.http_block(conf))
        self.proc = None

    def http_block(self, conf):
        return ("http {\n    access_log @dir@/access.log;\n    client_body_temp_path @dir@/body;\n" + conf +
                "\n}\n")

    def write(self, text):
        for key, value in self.values.items():
            text = text.replace(f"@{key}@", str(value))
        for key, value in list(self.values.items()):
            text = text.replace(f"@{key}@", str(value))
        self.conf_path = self.dir / "sluice.conf"
        self.conf_path.write_text(text)

    def rewrite(self, conf, main=None):
        """Another http block; takes effect with the next reload or start."""
        if main is not None:
            self.values["main"] = main
        self.write(MAIN + self.http_block(conf))

    @property
    def pid_path(self):
        return self.dir / "sluice.pid"

    def command(self, *args):
        return [*self.program, "-p", str(self.dir), "-c", "sluice.conf", *self.extra, *args]

    def launch(self):
        """Starts it and waits for nothing."""
        self.stderr = open(self.dir / "stderr", "ab")
        self.proc = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=self.stderr,
                                     stderr=self.stderr, start_new_session=True,
                                     preexec_fn=lambda: child_setup(self.netns, self.uid))

    def start(self):
        self.launch()
        try:
            until(self.is_ready, 10, f"start of {self.name}")
        except AssertionError:
            self.kill()
            raise AssertionError(f"{self.name} did not start: {self.stderr_text()}\n{self.log()}") from None
        return self

    def is_ready(self):
        assert self.proc.poll() is None
        try:
            text = self.pid_path.read_text()
        except OSError:
            return False
        return text.endswith("\n") and int(text) == self.proc.pid and self.children_ready()

    def n_workers(self):
        """How many the configuration asks for; of `auto` one is enough."""
        m = re.search(r"\bworker_processes\s+(\d+);", self.conf_path.read_text())
        return int(m[1]) if m else 1

    def children_ready(self):
        return len(self.workers()) >= self.n_workers()

    def stderr_text(self):
        return (self.dir / "stderr").read_text(errors="replace")

    def log(self):
        try:
            return (self.dir / "error.log").read_text(errors="replace")
        except OSError:
            return ""

    def access(self):
        return (self.dir / "access.log").read_text(errors="replace")

    def wait_log(self, pattern, timeout_s=5.0):
        return until(lambda: re.search(pattern, self.log()), timeout_s, f"/{pattern}/ in the error log")

    @property
    def pid(self):
        return self.proc.pid

    def workers(self, draining=True):
        """The worker processes, those that drain too, oldest first."""
        out = []
        for pid in children(self.proc.pid):
            with contextlib.suppress(OSError):
                title = pathlib.Path(f"/proc/{pid}/cmdline").read_text()
                if "worker process" in title and (draining or "shutting down" not in title):
                    out.append(pid)
        return out

    def send_signal(self, sig):
        self.proc.send_signal(sig)

    def reload(self, timeout_s=10.0):
        """HUP, and waits until all other workers are there, and those of before take no connection any more."""
        before = set(self.workers())

        def is_done():
            now = set(self.workers(draining=False))
            return len(now) >= self.n_workers() and not now & before
        self.send_signal(signal.SIGHUP)
        until(is_done, timeout_s, "new workers alone")

    def stop(self, sig=signal.SIGTERM, timeout_s=10.0):
        """Ends it and says whether all was well: exit 0, nobody left, no report, no unexpected alert."""
        if self.proc is None:
            return
        kin = children(self.proc.pid)
        if self.proc.poll() is None:
            self.send_signal(sig)
        try:
            code = self.proc.wait(timeout_s * SLOW)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end: {self.tail()}") from None
        self.proc = None
        self.stderr.close()
        text, log = self.stderr_text(), self.log()
        assert code == 0, f"{self.name} exited with {code}: {text}\n{self.tail()}"
        for pid in kin:
            until(lambda p=pid: not is_alive(p), 3, f"the end of process {pid}")
        assert not REPORT.search(text), text
        bad = [line for line in log.splitlines() if re.search(r"\[(alert|emerg)\]", line)
               and not any(re.search(e, line) for e in self.expected)]
        assert not bad, "\n".join(bad)

    def tail(self):
        return "\n".join(self.log().splitlines()[-30:])

    def kill(self):
        """The whole family at once, with -9; for cleaning up and for tests of crashes."""
        if self.proc is None:
            return
        kin = children(self.proc.pid)
        self.proc.kill()
        self.proc.wait()
        for pid in kin:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.proc = None
        self.stderr.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.stop()
            else:
                log = self.tail()
                self.kill()
                if value is not None and hasattr(value, "add_note"):
                    value.add_note(f"{self.name}'s error log ends:\n{log}\nstderr: {self.stderr_text()[-3000:]}")
        finally:
            self.kill()
            self.stack.close()


class Nginx(Sluice):
    """Debian's nginx on the same text."""

    program = ["/usr/sbin/nginx"]
    name = "nginx"

    def command(self, *args):
        return [*self.program, "-p", str(self.dir), "-c", str(self.conf_path), "-e", str(self.dir / "error.log"),
                *self.extra, *args]

    def http_block(self, conf):
        temps = "".join(f"    {m}_temp_path @dir@/{m};\n" for m in ("proxy", "fastcgi", "uwsgi", "scgi"))
        return super().http_block(temps + conf)


def run_sluice(*args, **kw):
    """A short run of the binary: (exit code, stdout and stderr)."""
    p = subprocess.run([str(SLUICE), *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                       timeout=30 * SLOW, **kw)
    assert not REPORT.search(p.stderr), p.stderr
    return p.returncode, p.stdout + p.stderr


# --- certificates -----------------------------------------------------------------------------------

class Cert:
    def __init__(self, chain, key):
        self.chain, self.key = chain, key


class CertMaker:
    """A CA and what it signs, by the openssl command."""

    def __init__(self, folder, name="ca"):
        self.dir, self.name = folder, name
        self.ca = folder / f"{name}.pem"
        self.ca_key = folder / f"{name}.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                self.ca_key, "-out", self.ca, "-days", "400", "-subj", f"/CN=sluice test {name}")

    def make(self, name, sans, kind="ec", expired=False, subject=None, more="", days=20):
        key, csr, out, ext = (self.dir / f"{self.name}-{name}.{e}" for e in ("key", "csr", "pem", "ext"))
        how = ["-newkey", "rsa:2048"] if kind == "rsa" else ["-newkey", "ec", "-pkeyopt",
                                                             "ec_paramgen_curve:prime256v1"]
        openssl("req", *how, "-nodes", "-keyout", key, "-out", csr, "-subj", subject or f"/CN={name}")
        sans = ",".join(f"IP:{s}" if re.fullmatch(r"[0-9.]+|.*:.*", s) else f"DNS:{s}" for s in sans)
        ext.write_text(f"subjectAltName={sans}\nbasicConstraints=CA:FALSE\n{more}")
        if expired:
            self.sign_expired(csr, out, ext)
        else:
            openssl("x509", "-req", "-in", csr, "-CA", self.ca, "-CAkey", self.ca_key, "-CAcreateserial", "-days",
                    str(days), "-out", out, "-extfile", ext)
        for path in (key, out):
            path.chmod(0o644)
        return Cert(out, key)

    def sign_expired(self, csr, out, ext):
        db = self.dir / f"{self.name}-db"
        db.mkdir(exist_ok=True)
        (db / "index").write_text("")
        (db / "serial").write_text("1234\n")
        conf = db / "conf"
        conf.write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={db}/index\nserial={db}/serial\nnew_certs_dir={db}\n"
                        "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
        openssl("ca", "-batch", "-config", conf, "-in", csr, "-out", out, "-cert", self.ca, "-keyfile", self.ca_key,
                "-startdate", "20200101000000Z", "-enddate", "20200201000000Z", "-extfile", ext, "-notext")


def openssl(*args):
    p = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert p.returncode == 0, f"openssl {args}: {p.stderr}"
    return p.stdout


def client_tls(ca=None, low=None, high=None, alpn=None, ciphers=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        context.load_verify_locations(ca)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if low:
        context.minimum_version = low
    if high:
        context.maximum_version = high
    if alpn:
        context.set_alpn_protocols(alpn)
    if ciphers:
        context.set_ciphers(ciphers)
    return context


# --- namespaces -------------------------------------------------------------------------------------

def enter_netns(name):
    fd = os.open(f"/run/netns/{name}" if name else "/proc/1/ns/net", os.O_RDONLY)
    try:
        if LIBC.setns(fd, 0x40000000):
            raise OSError(ctypes.get_errno(), f"setns to {name}")
    finally:
        os.close(fd)


@contextlib.contextmanager
def in_netns(name):
    """This thread is in the namespace meanwhile: sockets made here stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        enter_netns(name)
        yield
    finally:
        LIBC.setns(home, 0x40000000)
        os.close(home)


def ip(*args, netns=None, check=True):
    command = ["ip", *(["-n", netns] if netns else []), *map(str, args)]
    p = subprocess.run(command, capture_output=True, text=True)
    assert not check or p.returncode == 0, f"{' '.join(command)}: {p.stderr}"
    return p.stdout


def ip_batch(lines, netns=None):
    """One process for all of LINES; the first that fails ends it."""
    p = subprocess.run(["ip", *(["-n", netns] if netns else []), "-batch", "-"], input="\n".join(lines), text=True,
                       capture_output=True)
    assert p.returncode == 0, f"{lines}: {p.stderr}"


class Net:
    """Namespaces sl-srv and one per client, each client joined to sl-srv by a veth pair.

    Client I's link is 10.77.I.0/24 and fd77:I::/64, sl-srv at .1, the client at .2.
    """

    def __init__(self, clients=("sl-bad", "sl-good")):
        self.server, self.clients = "sl-srv", clients
        self.names = [self.server, *clients]

    def __enter__(self):
        self.clean()
        try:
            ip_batch([f"netns add {name}" for name in self.names] +
                     [f"link add sl-s{i} netns {self.server} type veth peer name sl-c{i} netns {name}"
                      for i, name in enumerate(self.clients, 1)])
            ip_batch(["link set lo up"] + [line for i in range(1, len(self.clients) + 1)
                                           for line in self.addresses(i, f"sl-s{i}", 1)], self.server)
            for i, name in enumerate(self.clients, 1):
                ip_batch(["link set lo up", *self.addresses(i, f"sl-c{i}", 2), f"route add default via 10.77.{i}.1"], name)
        except BaseException:
            self.clean()
            raise
        return self

    @staticmethod
    def addresses(i, dev, host):
        return [f"addr add 10.77.{i}.{host}/24 dev {dev}", f"addr add fd77:{i}::{host}/64 dev {dev} nodad",
                f"link set {dev} up"]

    def vlan(self, i, vid):
        """A VLAN on link I: 10.78.I.0/24 and fd78:I::/64."""
        for netns, dev, host in ((self.server, f"sl-s{i}", 1), (self.clients[i - 1], f"sl-c{i}", 2)):
            ip("link", "add", "link", dev, "name", f"{dev}.{vid}", "type", "vlan", "id", vid, netns=netns)
            ip("addr", "add", f"10.78.{i}.{host}/24", "dev", f"{dev}.{vid}", netns=netns)
            ip("addr", "add", f"fd78:{i}::{host}/64", "dev", f"{dev}.{vid}", "nodad", netns=netns)
            ip("link", "set", f"{dev}.{vid}", "up", netns=netns)

    def clean(self):
        for name in self.names:
            if os.path.exists(f"/run/netns/{name}"):
                ip("netns", "del", name, check=False)

    def __exit__(self, *exc):
        self.clean()


def bpftool(*args):
    p = subprocess.run(["/usr/sbin/bpftool", "-j", *map(str, args)], capture_output=True, text=True)
    assert p.returncode == 0, f"bpftool {args}: {p.stdout}{p.stderr}"
    return json.loads(p.stdout or "null")


# --- a name server of one file ----------------------------------------------------------------------

class Dns:
    """Answers A and AAAA from self.names {name: [address]}; others get NXDOMAIN. TTL 1 s."""

    def __init__(self):
        self.names, self.queries, self.mute = {}, [], False
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(0.1)
        self.port = self.sock.getsockname()[1]
        self.ending = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.ending = True
        self.thread.join()
        self.sock.close()

    def run(self):
        while not self.ending:
            try:
                data, peer = self.sock.recvfrom(2048)
            except TimeoutError:
                continue
            with contextlib.suppress(OSError):
                if not self.mute:
                    self.sock.sendto(self.answer(data), peer)

    def answer(self, data):
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1:at + 1 + data[at]].decode())
            at += 1 + data[at]
        question, (kind,) = data[12:at + 5], struct.unpack(">H", data[at + 1:at + 3])
        name = ".".join(labels).lower()
        self.queries.append((name, kind))
        found = self.names.get(name)
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        records = [socket.inet_pton(family, a) for a in found or () if family and (":" in a) == (kind == 28)]
        flags = 0x8180 if found is not None else 0x8183
        body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 1, len(r)) + r for r in records)
        return data[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0) + question + body
