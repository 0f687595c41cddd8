# SPDX-License-Identifier: BSD-2-Clause
"""Bodies and upstreams of all kinds through nginx and sluice: what the client gets, what the upstream sees, who
holds whom. Differences that are meant stand here with their reason, and in docs/nginx.md."""
import contextlib
import threading
import time

import harness
import pytest
from harness import Closed, Conn, Peer, build, free_port, until

CONF = r"""
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    client_max_body_size 100k;
    proxy_read_timeout 700ms;
    proxy_send_timeout 700ms;
    server {
        listen 127.0.0.1:@http@;
        location / { proxy_pass http://@up@; }
        location /off/ { proxy_pass http://@up@; proxy_buffering off; }
        location /stream/ { proxy_pass http://@up@; proxy_request_buffering off; }
        location /stream10/ { proxy_pass http://@up@; proxy_request_buffering off; proxy_http_version 1.0; }
        location /kept10/ { proxy_pass http://@up@; proxy_http_version 1.0; }
        location /nobody/ { proxy_pass http://@up@; proxy_request_buffering off; proxy_pass_request_body off; }
        location /nobody2/ { proxy_pass http://@up@; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
        location /setbody/ { proxy_pass http://@up@; proxy_request_buffering off; proxy_set_body "own $arg_b"; }
        location /tiny/ { proxy_pass http://@up@; client_max_body_size 10; }
        location /tinystream/ { proxy_pass http://@up@; client_max_body_size 10; proxy_request_buffering off; }
        location /buf1/ { proxy_pass http://@up@; client_body_buffer_size 1; }
        location /infile/ { proxy_pass http://@up@; client_body_in_file_only clean; proxy_set_header X-Has-File $request_body_file; }
        location /single/ { proxy_pass http://@up@; client_body_in_single_buffer on; proxy_set_header X-Body $request_body; }
        location /body/ { proxy_pass http://@up@; proxy_set_header X-Body $request_body; }
        location /wait/ { proxy_pass http://@up@; proxy_read_timeout 20s; proxy_send_timeout 20s; proxy_max_temp_file_size 0; }
        location /wait/temp/ { proxy_pass http://@up@; proxy_read_timeout 20s; proxy_send_timeout 20s; proxy_max_temp_file_size 100m; }
        location /wait/temp64k/ { proxy_pass http://@up@; proxy_read_timeout 20s; proxy_send_timeout 20s; proxy_max_temp_file_size 64k; }
        location /wait/off/ { proxy_pass http://@up@; proxy_read_timeout 20s; proxy_send_timeout 20s; proxy_buffering off; proxy_max_temp_file_size 100m; }
        location /wait/ignore/ { proxy_pass http://@up@; proxy_read_timeout 20s; proxy_send_timeout 20s; proxy_max_temp_file_size 100m; proxy_ignore_headers X-Accel-Buffering; }
        location /rate/ { proxy_pass http://@up@; proxy_read_timeout 20s; proxy_send_timeout 20s; proxy_limit_rate 100k; }
        location /rate/off/ { proxy_pass http://@up@; proxy_read_timeout 20s; proxy_send_timeout 20s; proxy_limit_rate 100k; proxy_buffering off; }
    }
"""

OK = b"HTTP/1.1 200 OK\r\n"
CL = b"Content-Length: %d\r\n\r\n"
CH = b"Transfer-Encoding: chunked\r\n\r\n"
X = harness.mock_bytes(60000)
DATA = harness.mock_bytes(16_000_000)

# What an upstream sends, and how it ends: "keep" the connection, "close", "reset", "stall".
ANSWERS = {
    "length": (OK + CL % 5 + b"hello", "keep"),
    "length and close": (OK + b"Connection: close\r\n" + CL % 5 + b"hello", "close"),
    "nothing in it": (OK + CL % 0, "keep"),
    "until close": (OK + b"\r\nhello", "close"),
    "until close, much": (OK + b"\r\n" + X, "close"),
    "until close by 1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", "close"),
    "1.0 with length": (b"HTTP/1.0 200 OK\r\n" + CL % 5 + b"hello", "close"),
    "1.0 kept alive": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + CL % 5 + b"hello", "keep"),
    "chunks": (OK + CH + b"5\r\nhello\r\n0\r\n\r\n", "keep"),
    "chunks, capital size": (OK + CH + b"A\r\n0123456789\r\n0\r\n\r\n", "keep"),
    "chunks, zeros before": (OK + CH + b"0005\r\nhello\r\n000\r\n\r\n", "keep"),
    "chunks with extensions": (OK + CH + b"5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n", "keep"),
    "chunks with trailers": (OK + CH + b"5\r\nhello\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n", "keep"),
    "many chunks": (OK + CH + b"".join(b"1\r\n%c\r\n" % c for c in X[:3000]) + b"0\r\n\r\n", "keep"),
    "much": (OK + CL % len(X) + X, "keep"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", "keep"),
    "304": (b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", "keep"),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "keep"),
    "206": (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/9\r\n" + CL % 5 + b"hello", "keep"),
    "no reason": (b"HTTP/1.1 200\r\n" + CL % 5 + b"hello", "keep"),
    "its own reason": (b"HTTP/1.1 200 Very Good\r\n" + CL % 5 + b"hello", "keep"),
    "unknown status": (b"HTTP/1.1 299 Odd\r\n" + CL % 5 + b"hello", "keep"),
    "418": (b"HTTP/1.1 418 Teapot\r\n" + CL % 5 + b"hello", "keep"),
    "500": (b"HTTP/1.1 500 Oh\r\n" + CL % 5 + b"hello", "keep"),
    "100 first": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + CL % 5 + b"hello", "keep"),
    "103 first": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + CL % 5 + b"hello", "keep"),
    "empty name": (OK + b": x\r\n" + CL % 5 + b"hello", "keep"),
    # --- what fails before an answer has begun
    "refused": (None, None),
    "closes at once": (b"", "close"),
    "resets at once": (b"", "reset"),
    "closes within the status line": (b"HTTP/1.1 20", "close"),
    "resets within the status line": (b"HTTP/1.1 20", "reset"),
    "closes within the head": (OK + b"Content-Len", "close"),
    "resets within the head": (OK + b"Content-Len", "reset"),
    "stalls at once": (b"", "stall"),
    "stalls within the head": (OK + b"Content-Len", "stall"),
    "garbage status line": (b"nonsense\r\n\r\nmore", "close"),
    "no status": (b"HTTP/1.1 abc OK\r\n\r\n", "close"),
    "HTTP/0.9": (b"hello, no head here", "close"),
    "huge head": (OK + b"X: " + b"x" * 5000 + b"\r\n\r\n", "close"),
    "many fields": (OK + b"".join(b"X-%d: y\r\n" % i for i in range(1000)) + b"\r\n", "close"),
    "two lengths": (OK + b"Content-Length: 5\r\n" + CL % 6 + b"hello!", "close"),
    "length that is none": (OK + b"Content-Length: 5x\r\n\r\nhello", "close"),
    "negative length": (OK + b"Content-Length: -5\r\n\r\nhello", "close"),
    # --- what fails within the body
    "less than the length": (OK + CL % 50 + b"hello", "close"),
    "less than the length, reset": (OK + CL % 50 + b"hello", "reset"),
    "nothing of the length": (OK + CL % 50, "close"),
    "stalls within the body": (OK + CL % 50 + b"hello", "stall"),
    "more than the length": (OK + CL % 5 + b"hello, world", "close"),
    "chunks without an end": (OK + CH + b"5\r\nhello\r\n", "close"),
    "chunks cut within one": (OK + CH + b"50\r\nhello", "close"),
    "chunks cut before the last empty line": (OK + CH + b"5\r\nhello\r\n0\r\n", "close"),
    "chunks that stall": (OK + CH + b"5\r\nhello\r\n", "stall"),
    "bad chunk size": (OK + CH + b"5\r\nhello\r\nxyz\r\n", "close"),
    "negative chunk size": (OK + CH + b"5\r\nhello\r\n-5\r\nhello\r\n0\r\n\r\n", "close"),
    "much, cut": (OK + CL % 100000 + X, "close"),
}

# sluice answers these with 502, since two programs could read them in two ways (docs/nginx.md, "Upstreams").
STRICT = {"HTTP/0.9", "garbage status line", "no status", "empty name", "resets within the status line", "two lengths",
          "length that is none", "negative length"}
# A 1xx of the upstream is nobody's answer; nginx 1.22 takes it for one.
INTERIM = {"100 first", "103 first"}


class Origin:
    """One upstream for all cases: the path says what it does."""

    def __init__(self):
        self.seen, self.lock, self.done = {}, threading.Lock(), {}

    def __call__(self, c, first, fields):
        path = first.split()[1]
        what, _, name = path.rsplit("/", 1)[-1].partition("?")[0].partition(".")
        return getattr(self, what)(c, first, fields, name.replace("%20", " "))

    # An answer of ANSWERS.
    def answer(self, c, first, fields, name):
        data, end = ANSWERS[name]
        if first.startswith("HEAD "):
            data = data[:data.index(b"\r\n\r\n", data.rindex(b"HTTP/1.")) + 4]
        c.send(data)
        if end == "stall":
            c.end(3)
        if end == "reset":
            time.sleep(0.1)
            c.reset()
        return end == "keep"

    # What came, as an answer.
    def show(self, c, first, fields, name):
        seen = {"line": first.replace("HTTP/1.1", "HTTP/1").replace("HTTP/1.0", "HTTP/1")}
        for k, v in fields:
            if k.lower() in ("content-length", "transfer-encoding", "expect", "x-body", "x-has-file"):
                seen[k.lower()] = v if k.lower() != "x-has-file" else bool(v)
        with self.lock:
            self.seen[name] = seen
        body = b""
        if "chunked" in seen.get("transfer-encoding", ""):
            while size := int(c.line(), 16):
                body += c.take(size)
                seen["body"] = body
                assert c.take(2) == b"\r\n"
            c.fields()
        else:
            n = int(seen.get("content-length", 0))
            while len(body) < n:
                body += c.take(min(n - len(body), max(1, len(c.buf))))
                seen["body"] = body
        seen["body"], seen["whole"] = body, True
        c.send(OK + CL % 2 + b"ok")
        return True

    # Much, and says when all of it has gone.
    def much(self, c, first, fields, name):
        size = 16_000_000 if "little" not in name else 20000
        extra = b"X-Accel-Buffering: %s\r\n" % name.split("-")[-1].encode() if name.endswith(("-yes", "-no")) else b""
        # Not kept: the kernel would have room for all of it on a connection that was fast before.
        c.send(OK + b"Connection: close\r\n" + extra + CL % size)
        for i in range(0, size, 100000):
            c.send(DATA[i:min(i + 100000, size)])
        self.done[name] = time.monotonic()
        return False

    def some(self, c, first, fields, name):
        c.send(OK + CL % 200000 + DATA[:200000])
        return True

    # Answers before it has read the request.
    def early(self, c, first, fields, name):
        c.send(b"HTTP/1.1 403 No\r\nConnection: close\r\n" + CL % 4 + b"nope")
        c.end(0.5)
        return False


class Two:
    def __init__(self, stack):
        self.servers = []
        for cls in (harness.Nginx, harness.Sluice):
            origin = Origin()
            peer = stack.enter_context(Peer(origin))
            peer.sock.setsockopt(harness.socket.SOL_SOCKET, harness.socket.SO_SNDBUF, 65536)
            v = {"http": free_port(), "up": peer.addr}
            dead = f"    server {{ listen 127.0.0.1:@two@; location / {{ proxy_pass http://127.0.0.1:{free_port()}; }} }}\n"
            v["two"] = free_port()
            s = cls(CONF + dead, v, main="worker_processes 1;")
            s.port, s.two, s.origin, s.peer = v["http"], v["two"], origin, peer
            stack.enter_context(s)
            self.servers.append(s)

    def both(self, scenario):
        """What SCENARIO gives on nginx and on sluice, at the same time."""
        out = [None, None]

        def run(i):
            try:
                out[i] = scenario(self.servers[i])
            except (Closed, ConnectionError) as e:
                out[i] = type(e).__name__
            except Exception as e:  # noqa: BLE001 - shown by the comparison
                out[i] = repr(e)
        threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return out


@pytest.fixture(scope="module")
def two():
    with contextlib.ExitStack() as stack:
        yield Two(stack)


def got(c, method="GET"):
    """An answer as a client sees it: whole, or cut with what had come."""
    try:
        r = c.head()
    except (Closed, ConnectionError):
        return {"status": 0, "end": "no answer"}
    own = r.header("Content-Type") in ("text/html", "application/json") and r.status >= 400
    out = {"status": r.status, "length": None if own else r.header("Content-Length"),
           "chunked": r.header("Transfer-Encoding")}
    try:
        c.body(r, method)
        out["body"] = "(its own)" if own else r.body
        out["end"] = "whole"
        if out["length"] is None and not out["chunked"] and not own:
            out["end"] = "closed"
    except (Closed, ConnectionError):
        out["end"] = "cut"
    return out


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("where", ["/", "/off/"])
@pytest.mark.parametrize("name", ANSWERS)
def test_answers(two, name, where, version):
    def scenario(s):
        with Conn(s.port if name != "refused" else s.two) as c:
            c.send(build("GET", f"{where}answer.{name.replace(' ', '%20')}", version=version))
            return got(c)
    nginx, sluice = two.both(scenario)
    if name in INTERIM:
        assert (sluice["status"], sluice["body"], sluice["end"]) == (200, b"hello", "whole")
    elif name in STRICT:
        assert (sluice["status"], sluice["end"]) == (502, "whole")
    elif "cut" in (nginx["end"], sluice["end"]):
        # How much had come is chance, but never may it look whole. nginx ends an answer to HTTP/1.0 in order, too.
        assert sluice["end"] == "cut"
        assert nginx["end"] in ("cut", "closed", "no answer")
    else:
        assert sluice == nginx


@pytest.mark.parametrize("name", [n for n, (data, end) in ANSWERS.items() if end == "keep"])
def test_answers_to_head(two, name):
    def scenario(s):
        with Conn(s.port) as c:
            c.send(build("HEAD", f"/answer.{name.replace(' ', '%20')}"))
            return got(c, "HEAD")
    nginx, sluice = two.both(scenario)
    if name in INTERIM:
        assert (sluice["status"], sluice["length"]) == (200, "5")
    elif name in STRICT:
        assert sluice["status"] == 502
    else:
        assert sluice == nginx


BODIES = {
    "nothing": ([], None), "empty": ([("Content-Length", "0")], b""), "one byte": ([("Content-Length", "1")], b"x"),
    "some": ([("Content-Length", "10000")], X[:10000]), "much": ([("Content-Length", "60000")], X),
    "no chunks": ([("Transfer-Encoding", "chunked")], b"0\r\n\r\n"),
    "chunks": ([("Transfer-Encoding", "chunked")], b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"),
    "chunks and a trailer": ([("Transfer-Encoding", "chunked")], b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"),
    "much in chunks": ([("Transfer-Encoding", "chunked")],
                       b"".join(b"3e8\r\n%s\r\n" % X[i:i + 1000] for i in range(0, 60000, 1000)) + b"0\r\n\r\n"),
    "too much": ([("Content-Length", str(100 * 1024 + 1))], None),
    "too much in chunks": ([("Transfer-Encoding", "chunked")], b"19001\r\n" + bytes(0x19001) + b"\r\n0\r\n\r\n"),
    "expected": ([("Content-Length", "3"), ("Expect", "100-continue")], b"abc"),
    "bad chunks": ([("Transfer-Encoding", "chunked")], b"zz\r\n"),
}
PLACES = ["/", "/stream/", "/stream10/", "/kept10/", "/nobody/", "/nobody2/", "/setbody/", "/tiny/", "/tinystream/", "/buf1/",
          "/infile/", "/single/", "/body/"]


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("name", BODIES)
def test_request_bodies(two, name, where, method):
    headers, body = BODIES[name]
    key = f"{where}{name}{method}".replace("/", "-").replace(" ", "_")

    def scenario(s):
        with Conn(s.port) as c:
            c.send(build(method, f"{where}show.{key}?b=1", headers))
            if body:
                with contextlib.suppress(OSError):
                    c.send(body)
            r = got(c)
            while r["status"] == 100:   # sluice sends none when the body is there already
                r = got(c)
            seen = dict(s.origin.seen.get(key, {}))
            if not seen.get("whole"):
                seen = {}   # a streamed request that is refused may have been seen, or not
            if "/stream" in where or where == "/tinystream/":
                # Whether the length is known when the head goes on is chance in both.
                seen = {k: v for k, v in seen.items() if k not in ("content-length", "transfer-encoding")}
            if len(body or b"") > 5000:
                seen.pop("x-body", None)   # of a body on disk nginx has none
            return r, seen
    nginx, sluice = two.both(scenario)
    if where == "/nobody/" and body:
        # nginx tells the length of a body that it does not send, and the upstream waits for it.
        assert sluice == (nginx[0], {}) or sluice[0]["status"] == 200 and sluice[1]["body"] == b""
    elif where == "/nobody/":
        assert sluice[0] == nginx[0]
    else:
        assert sluice == nginx


@pytest.mark.parametrize("where", ["/stream/", "/"])
@pytest.mark.parametrize("name,headers,begin,rest", [
    ("length", [("Content-Length", "6")], b"abc", b"def"),
    ("chunks", [("Transfer-Encoding", "chunked")], b"3\r\nabc\r\n", b"3\r\ndef\r\n0\r\n\r\n")])
@pytest.mark.parametrize("then", ["rest", "close", "reset", "broken"])
def test_when_a_body_goes_on(two, where, name, headers, begin, rest, then):
    key = f"{where}{name}{then}".replace("/", "-")

    def scenario(s):
        c = Conn(s.port)
        c.send(build("POST", f"{where}show.{key}", headers) + begin)
        out = []
        with contextlib.suppress(AssertionError):
            until(lambda: s.origin.seen.get(key, {}).get("body") == b"abc", 0.7)
        out.append(s.origin.seen.get(key, {}).get("body"))
        if then == "rest":
            c.send(rest)
            out.append(got(c))
        elif then == "broken":
            c.send(b"zzzz\r\n" if name == "chunks" else b"d")
            if name == "chunks":
                out.append(got(c))
        c.reset() if then == "reset" else c.close()
        if then != "rest":
            time.sleep(0.3)
        out.append(s.origin.seen.get(key, {}).get("whole"))
        return out
    nginx, sluice = two.both(scenario)
    assert sluice == nginx


@pytest.mark.parametrize("where", ["/stream/", "/"])
@pytest.mark.parametrize("size", [3, 50000])
def test_an_early_answer(two, where, size):
    def scenario(s):
        with Conn(s.port) as c:
            c.send(build("POST", f"{where}early.x", [("Content-Length", str(size + 3))]) + bytes(size))
            if where == "/":
                c.send(b"abc")
            return got(c)
    nginx, sluice = two.both(scenario)
    assert sluice == nginx and sluice["status"] == 403


HOLD = [("/wait/", False), ("/wait/temp/", True), ("/wait/temp64k/", False), ("/wait/off/", False), ("/wait/ignore/", True)]


@pytest.mark.parametrize("kind", ["", "-yes", "-no", "little"])
@pytest.mark.parametrize("where,free", HOLD)
def test_who_holds_the_upstream(two, where, free, kind):
    """A client that reads nothing: is the upstream rid of its 16 MB?"""
    if kind == "little" or (kind == "-yes" and where == "/wait/off/"):
        free = True
    if kind == "-no" and where != "/wait/ignore/":
        free = False
    key = f"{where}{kind}".replace("/", "_") + ("" if kind in ("-yes", "-no") else "-x")

    def scenario(s):
        with Conn(s.port, rcvbuf=20000, timeout=30) as c:
            c.send(build("GET", f"{where}much.{key}"))
            r = c.head()
            if free:
                with contextlib.suppress(AssertionError):
                    until(lambda: key in s.origin.done, 6)
            else:
                time.sleep(1.2)
            was_free = key in s.origin.done
            c.body(r)
            return was_free, r.status, r.body == DATA[:len(r.body)], len(r.body)
    nginx, sluice = two.both(scenario)
    assert sluice == nginx == (free, 200, True, 20000 if kind == "little" else 16_000_000)


@pytest.mark.parametrize("where,slow", [("/rate/", True), ("/rate/off/", False)])
def test_rate_of_reading(two, where, slow):
    def scenario(s):
        with Conn(s.port) as c:
            t = time.monotonic()
            c.send(build("GET", f"{where}some.x"))
            r = c.response()
            return len(r.body), time.monotonic() - t > 0.7
    nginx, sluice = two.both(scenario)
    assert sluice == nginx == (200000, slow)
