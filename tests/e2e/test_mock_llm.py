# SPDX-License-Identifier: BSD-2-Clause
"""mock-llm itself: what it answers, and that each fault is on the wire what its name says.

Needs no privilege. The binary is $SLUICE_BUILD/mock-llm, by default that of <repo>/build.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import re
import selectors
import signal
import socket
import ssl
import subprocess
import threading
import time

import httpx
import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("SLUICE_BUILD", REPO / "build")) / "mock-llm"
# One TLS context for all, a connection for each request.
HTTP = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), verify=False, trust_env=False)
CHAT = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "hello"}]}


class Mock:
    """One running mock-llm; ports are chosen by the kernel."""

    def __init__(self, *args):
        self.proc = subprocess.Popen([BINARY, *map(str, args)], stdout=subprocess.PIPE, text=True)
        assert self.proc.stdout.readline() == "mock-llm: ready\n"
        wanted = sum(str(a).startswith("--listen") for a in args)
        self.bound = [self.proc.stdout.readline().split()[1:] for _ in range(wanted)]
        self.port = int(self.bound[0][1].rsplit(":", 1)[1]) if ":/" not in self.bound[0][1] else None

    def url(self, path, i=0):
        scheme, address = self.bound[i]
        return f"{scheme}://{address}{path}"

    def stats(self):
        return HTTP.get(self.url("/stats")).json()

    def stats_until(self, wanted, timeout_s=5):
        """Polls until the given counts are reached; returns all of them."""
        end = time.monotonic() + timeout_s
        while True:
            stats = self.stats()
            if all(stats[k] == v for k, v in wanted.items()) or time.monotonic() > end:
                return stats
            time.sleep(0.02)

    def stop(self, sig=signal.SIGTERM):
        self.proc.send_signal(sig)
        code = self.proc.wait(10)
        self.proc.stdout.close()
        return code


@contextlib.contextmanager
def running(*args):
    mock = Mock(*args)
    try:
        yield mock
    finally:
        assert mock.stop() == 0


@pytest.fixture(scope="module")
def mock():
    with running("--listen", "127.0.0.1:0", "--name", "peer-1") as m:
        yield m


@pytest.fixture(scope="module")
def cert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cert")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "2", "-subj", "/CN=mock.test",
         "-addext", "subjectAltName=DNS:mock.test,DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def tls_mock(cert):
    with running("--listen-tls", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--cert", cert[0], "--key", cert[1]) as m:
        yield m


def connect(mock):
    s = socket.create_connection(("127.0.0.1", mock.port), 10)
    s.settimeout(10)
    return s


def request(method, target, headers=(), body=b"", version="1.1"):
    lines = [f"{method} {target} HTTP/{version}", "Host: mock"]
    lines += [f"{k}: {v}" for k, v in dict(headers).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chat(headers=(), **body):
    return request("POST", "/v1/chat/completions", headers, json.dumps({**CHAT, **body}).encode())


def read_all(s):
    """Everything up to the end, and how that came: "fin" or "reset"."""
    data = b""
    while True:
        try:
            got = s.recv(65536)
        except ConnectionResetError:
            return data, "reset"
        if not got:
            return data, "fin"
        data += got


def ask(mock, raw):
    with connect(mock) as s:
        s.sendall(raw)
        return read_all(s)


def read_for(s, seconds):
    """What arrives within that time; the connection must stay open."""
    data, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        s.settimeout(left)
        try:
            got = s.recv(65536)
        except TimeoutError:
            break
        assert got, "the mock closed the connection"
        data += got
    return data


def split_head(raw):
    head, sep, body = raw.partition(b"\r\n\r\n")
    assert sep, raw
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return status, headers, body


def read_answer(f):
    """One answer with a length from a buffered reader."""
    status = f.readline().decode().strip()
    headers = {}
    while (line := f.readline().decode().strip()):
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return status, headers, f.read(int(headers.get("content-length", 0)))


def dechunk(body):
    """(data, whole): whole is False when the last chunk is missing."""
    data = b""
    while body:
        size, sep, body = body.partition(b"\r\n")
        if not sep or not re.fullmatch(rb"[0-9a-f]+", size):
            return data, False
        n = int(size, 16)
        if n == 0:
            return data, body == b"\r\n"
        if len(body) < n + 2:
            return data + body[:n], False
        assert body[n:n + 2] == b"\r\n"
        data, body = data + body[:n], body[n + 2:]
    return data, False


def events(text):
    """JSON of each event in OpenAI's stream; the last must be [DONE]."""
    rows = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    assert rows[-1] == "[DONE]"
    return [json.loads(row) for row in rows[:-1]]


def pattern(n):
    x, period = 1, bytearray()
    for _ in range(65521):
        x = (x * 75 + 74) % 65537
        period.append(33 + x % 94)
    return (bytes(period) * (n // len(period) + 1))[:n]


# --- command line

@pytest.mark.parametrize("args, says", [
    (["--lisen", "127.0.0.1:0"], 'unknown option "--lisen"'),
    (["--listen"], "--listen wants a value"),
    ([], "nothing to listen on"),
    (["--listen", "127.0.0.1"], "expected ADDR:PORT"),
    (["--listen", "::1:80"], "expected ADDR:PORT"),
    (["--listen", "127.0.0.1:70000"], "expected ADDR:PORT"),
    (["--listen", "localhost:0"], "not a numeric"),
    (["--listen", "127.0.0.1:0", "--tokens", "-1"], 'bad value for --tokens: "-1"'),
    (["--listen", "127.0.0.1:0", "--status", "99"], "bad value for --status"),
    (["--listen", "127.0.0.1:0", "--fault", "nope"], 'bad value for --fault: "nope"'),
    (["--listen", "127.0.0.1:0", "--delay-ms", "1s"], "bad value for --delay-ms"),
    (["--listen", "127.0.0.1:0", "--name", "two words"], "bad name"),
    (["--listen-tls", "127.0.0.1:0"], "needs --cert and --key"),
    (["--listen-tls", "127.0.0.1:0", "--cert", "/nonexistent", "--key", "/nonexistent"], "/nonexistent"),
    (["--listen", "127.0.0.1:0", "--log", "/nonexistent/log"], "/nonexistent/log"),
    (["--listen-unix", "/nonexistent/sock"], "/nonexistent/sock"),
])
def test_bad_arguments(args, says):
    done = subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1
    assert done.stderr.startswith("mock-llm: ") and says in done.stderr
    assert done.stdout == ""


def test_help_and_version():
    text = subprocess.run([BINARY, "--help"], capture_output=True, text=True, check=True).stdout
    assert "--listen-tls" in text and "--fault" in text
    assert subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout.startswith("mock-llm ")


def test_address_in_use(mock):
    done = subprocess.run([BINARY, "--listen", f"127.0.0.1:{mock.port}"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "in use" in done.stderr


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(sig, tmp_path):
    m = Mock("--listen", "127.0.0.1:0", "--listen-unix", tmp_path / "sock", "--chunk-delay-ms", "50")
    with connect(m) as s:
        s.sendall(chat(stream=True))
        assert s.recv(100)
        assert m.stop(sig) == 0
    assert not (tmp_path / "sock").exists()


def test_ipv6_and_unix(tmp_path):
    path = tmp_path / "sock"
    with running("--listen", "[::1]:0", "--listen", "127.0.0.1:0", "--listen-unix", path) as m:
        echo = HTTP.get(m.url("/echo")).json()
        assert echo["listener"].startswith("[::1]:")
        assert HTTP.get(m.url("/health", 1)).json() == {"status": "ok", "name": "mock-llm"}
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://mock/echo").json()["listener"] == f"unix:{path}"
    # A socket that a killed mock left behind is no obstacle.
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    with running("--listen-unix", path):
        assert path.is_socket()


# --- endpoints

def test_plain_answers_say_who_answers(mock):
    a, b = HTTP.get(mock.url("/health")), HTTP.get(mock.url("/v1/models"))
    assert a.json() == {"status": "ok", "name": "peer-1"}
    assert a.headers["x-mock-name"] == b.headers["x-mock-name"] == "peer-1"
    assert a.headers["x-request-id"] != b.headers["x-request-id"]
    assert "gpt-4.1" in [m["id"] for m in b.json()["data"]]


def test_unknown_path_and_method(mock):
    r = HTTP.get(mock.url('/v2/"nothing"'))
    assert r.status_code == 404
    assert r.json()["error"]["type"] == "invalid_request_error"
    r = HTTP.get(mock.url("/v1/chat/completions"))
    assert r.status_code == 405 and r.headers["allow"] == "POST"


def test_chat(mock):
    r = HTTP.post(mock.url("/v1/chat/completions"), json=CHAT)
    answer = r.json()
    assert r.headers["content-type"] == "application/json"
    assert answer["object"] == "chat.completion" and answer["model"] == "gpt-4.1"
    assert len(answer["choices"][0]["message"]["content"].split()) == 16
    usage = answer["usage"]
    assert usage["completion_tokens"] == 16
    assert usage["total_tokens"] == usage["prompt_tokens"] + 16


def test_chat_body_has_to_be_json(mock):
    for body in (b"", b"[]", b'{"model": "x"', b'{"model": 3}', b'{"a" 1}', b'{"a":1}x'):
        r = HTTP.post(mock.url("/v1/chat/completions"), content=body)
        assert r.status_code == 400, body
        assert r.json()["error"]["type"] == "invalid_request_error"


def test_chat_model_is_read_wherever_it_stands(mock):
    body = {"messages": [{"role": "user", "content": '"model":"no" \\ } ]' * 30000}], "x": {"model": "no"},
            "stream": False, "model": "ok \u00e9\"\\"}
    for ascii_only in (True, False):
        raw = json.dumps(body, ensure_ascii=ascii_only).encode()
        assert len(raw) > 500000
        assert HTTP.post(mock.url("/v1/chat/completions"), content=raw).json()["model"] == body["model"]


def test_stream(mock):
    plain = HTTP.post(mock.url("/v1/chat/completions"), json=CHAT).json()
    r = HTTP.post(mock.url("/v1/chat/completions"), json={**CHAT, "stream": True})
    assert r.headers["content-type"].startswith("text/event-stream")
    assert r.headers["transfer-encoding"] == "chunked"
    chunks = events(r.text)
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks)
    assert text == plain["choices"][0]["message"]["content"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert len({c["id"] for c in chunks}) == 1
    assert not any("usage" in c or "sent_ns" in c for c in chunks)


def test_stream_usage(mock):
    r = HTTP.post(mock.url("/v1/chat/completions"), json={**CHAT, "stream": True, "stream_options": {"include_usage": True}},
                   headers={"X-Mock-Tokens": "5"})
    chunks = events(r.text)
    assert all(c["usage"] is None for c in chunks[:-1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    assert len(chunks) == 1 + 5 + 1 + 1


def test_embeddings(mock):
    r = HTTP.post(mock.url("/v1/embeddings"), json={"model": "text-embedding-3-small", "input": "x"})
    assert 31000 < len(r.content) < 35000
    assert len(r.json()["data"][0]["embedding"]) == 1536


def test_anthropic_messages(mock):
    body = {"model": "claude-sonnet-4.5", "max_tokens": 9, "messages": []}
    answer = HTTP.post(mock.url("/v1/messages"), json=body).json()
    assert answer["type"] == "message" and answer["usage"]["output_tokens"] == 16
    r = HTTP.post(mock.url("/v1/messages"), json={**body, "stream": True})
    rows = [e.split("\n") for e in r.text.split("\n\n") if e]
    kinds = [e[0].removeprefix("event: ") for e in rows]
    assert kinds == ["message_start", "content_block_start", "ping"] + ["content_block_delta"] * 16 + [
        "content_block_stop", "message_delta", "message_stop"]
    data = [json.loads(e[1].removeprefix("data: ")) for e in rows]
    assert [d["type"] for d in data] == kinds
    assert "".join(d["delta"]["text"] for d in data[3:19]) == answer["content"][0]["text"]
    assert data[-2]["usage"]["output_tokens"] == 16
    r = HTTP.post(mock.url("/v1/messages"), json=body, headers={"X-Mock-Status": "529"})
    assert r.status_code == 529 and r.json()["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize("n", [0, 1, 14, 16384, 65521, 300000])
def test_bytes_and_chunked(mock, n):
    a, b = HTTP.get(mock.url(f"/bytes/{n}")), HTTP.get(mock.url(f"/chunked/{n}"))
    assert a.headers["content-length"] == str(n)
    assert b.headers["transfer-encoding"] == "chunked" and "content-length" not in b.headers
    assert a.content == b.content == pattern(n)


def test_bytes_wants_a_number(mock):
    for path in ("/bytes/", "/bytes", "/bytes/x", "/bytes/-1", "/chunked/1x"):
        assert HTTP.get(mock.url(path)).status_code == 404


def test_head(mock):
    raw, _ = ask(mock, request("HEAD", "/bytes/5000", {"Connection": "close"}))
    status, headers, body = split_head(raw)
    assert status == "HTTP/1.1 200 OK" and headers["content-length"] == "5000" and body == b""


def test_slow_reader_costs_no_memory(mock):
    def rss_kb():
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{mock.proc.pid}/status").read_text())[1])
    before, digest, got = rss_kb(), hashlib.sha256(), 0
    with HTTP.stream("GET", mock.url("/bytes/80000000")) as r:
        for i, piece in enumerate(r.iter_raw(65536)):
            if i == 0:
                time.sleep(0.3)
                assert rss_kb() - before < 4096
            digest.update(piece)
            got += len(piece)
    assert got == 80000000
    assert digest.digest() == hashlib.sha256(pattern(got)).digest()


def test_upload(mock):
    data = os.urandom(3000000)
    want = {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert HTTP.post(mock.url("/upload"), content=data).json() == want

    def pieces():
        for at, n in ((0, 1), (1, 70000), (70001, len(data))):
            yield data[at:at + n]
    assert HTTP.put(mock.url("/upload"), content=pieces()).json() == want
    assert HTTP.post(mock.url("/upload")).json() == {"length": 0, "sha256": hashlib.sha256(b"").hexdigest()}


def test_chunked_request_one_byte_at_a_time(mock):
    raw = (b"POST /upload HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n"
           b"5;ext=\"a\"\r\nhello\r\n00A\r\n 123456789\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n"
           b"GET /health HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n")
    with connect(mock) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(raw)):
            s.sendall(raw[i:i + 1])
        f = s.makefile("rb")
        assert json.loads(read_answer(f)[2])["sha256"] == hashlib.sha256(b"hello 123456789").hexdigest()
        assert read_answer(f)[0] == "HTTP/1.1 200 OK"
        assert f.read() == b""


def test_expect_100_continue(mock):
    with connect(mock) as s:
        s.sendall(b"POST /upload HTTP/1.1\r\nHost: m\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"abc")
        assert json.loads(read_answer(s.makefile("rb"))[2])["length"] == 3


def test_echo(mock):
    head = ["PATCH /echo/a%20b?c=d&c HTTP/1.1", "Host: some.host:81", "X-Twice: 1", "x-Other:  spaced \t", "X-Twice: 2",
            "X-Latin: caf\xe9 \"q\"", "Content-Length: 4", "Connection: close"]
    raw, _ = ask(mock, "\r\n".join(head).encode("latin-1") + b"\r\n\r\n\x00a\xff\"")
    echo = json.loads(split_head(raw)[2])
    assert (echo["method"], echo["target"], echo["version"]) == ("PATCH", "/echo/a%20b?c=d&c", "HTTP/1.1")
    assert echo["headers"] == [["Host", "some.host:81"], ["X-Twice", "1"], ["x-Other", "spaced"], ["X-Twice", "2"],
                               ["X-Latin", 'caf\xe9 "q"'], ["Content-Length", "4"], ["Connection", "close"]]
    assert echo["body"] == '\x00a\xff"' and echo["body_length"] == 4 and echo["framing"] == "length"
    assert echo["body_sha256"] == hashlib.sha256(b'\x00a\xff"').hexdigest()
    assert echo["name"] == "peer-1" and echo["sni"] is None and echo["tls"] is None


def test_echo_of_bodies(mock):
    text = "gr\u00fc\u00df \U0001f30a" * 10
    assert HTTP.post(mock.url("/echo"), content=text.encode()).json()["body"] == text
    assert HTTP.post(mock.url("/echo"), content=b"x" * 65536).json()["body"] == "x" * 65536
    big = HTTP.post(mock.url("/echo"), content=b"x" * 65537).json()
    assert big["body"] is None and big["body_length"] == 65537


# --- connections

def test_keepalive_counts_requests(mock):
    with httpx.Client() as client:
        first = client.get(mock.url("/echo")).json()
        second = client.get(mock.url("/echo")).json()
    assert first["connection"] == second["connection"]
    assert (first["request"], second["request"]) == (1, 2)
    assert HTTP.get(mock.url("/echo")).json()["connection"] > first["connection"]


def test_pipelining(mock):
    with connect(mock) as s:
        n = 200
        reqs = [request("POST", "/echo", {"X-N": i}, b"body") if i % 3 else chat(stream=False) for i in range(n)]
        s.sendall(b"".join(reqs) + request("GET", "/bytes/200000") + request("GET", "/health", {"Connection": "close"}))
        f = s.makefile("rb")
        for i in range(n):
            status, _, body = read_answer(f)
            assert status == "HTTP/1.1 200 OK"
            if i % 3:
                assert ["X-N", str(i)] in json.loads(body)["headers"] and json.loads(body)["request"] == i + 1
        assert read_answer(f)[2] == pattern(200000)
        _, headers, _ = read_answer(f)
        assert headers["connection"] == "close"
        assert f.read() == b""


def test_pipelining_behind_a_slow_answer(mock):
    many = 3000  # more than the mock reads ahead
    with connect(mock) as s:
        sender = threading.Thread(target=s.sendall, args=(
            request("GET", "/health", {"X-Mock-Delay-Ms": 300}) + request("GET", "/health") * many,))
        sender.start()
        f = s.makefile("rb")
        for _ in range(many + 1):
            assert read_answer(f)[0] == "HTTP/1.1 200 OK"
        sender.join()


def test_half_closed_client_gets_its_answers(mock):
    with connect(mock) as s:
        s.sendall(request("GET", "/health") * 3 + request("GET", "/bytes/1000000"))
        s.shutdown(socket.SHUT_WR)
        data, end = read_all(s)
    assert data.count(b'"status":"ok"') == 3 and end == "fin"
    assert data.endswith(pattern(1000000)[-50:])


def test_http10(mock):
    raw, end = ask(mock, request("GET", "/health", version="1.0"))
    assert split_head(raw)[1]["connection"] == "close" and end == "fin"
    body = json.dumps({**CHAT, "stream": True}).encode()
    raw, end = ask(mock, request("POST", "/v1/chat/completions", body=body, version="1.0"))
    _, headers, body = split_head(raw)
    assert "transfer-encoding" not in headers and end == "fin"
    assert len(events(body.decode())) == 18
    with connect(mock) as s:
        f = s.makefile("rb")
        for _ in range(2):
            s.sendall(request("GET", "/health", {"Connection": "keep-alive"}, version="1.0"))
            assert read_answer(f)[1]["connection"] == "keep-alive"


@pytest.mark.parametrize("raw", [
    b"GET / HTTP/2.0\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET  / HTTP/1.1\r\n\r\n",
    b"G@T / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\nHost: m\n\n",
    b"GET / HTTP/1.1\r\nHost: m\nX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nX : y\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: y\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
    b"GET /\x01 HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    b"POST /upload HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /upload HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc",
    b"POST /upload HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /upload HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST /upload HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
    b"POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    b"POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000000\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"y" * 300000,
])
def test_malformed_requests(mock, raw):
    before = mock.stats()["bad_requests"]
    data, _ = ask(mock, raw)
    status, headers, body = split_head(data)
    assert status == "HTTP/1.1 400 Bad Request" and headers["connection"] == "close"
    assert json.loads(body)["error"]["message"]
    assert mock.stats()["bad_requests"] == before + 1


# --- settings

@pytest.mark.parametrize("query, headers, model, words", [
    ("", {}, "mock-tokens-3", 3),
    ("", {}, "mock-tokens-3+delay-1", 3),
    ("", {}, "mock-delay-1+mock-tokens-4", 4),
    ("?mock-tokens=5", {}, "gpt", 5),
    ("?a=b&X-Mock-Tokens=6", {}, "mock-tokens-3", 6),
    ("?mock-tokens=5", {"X-Mock-Tokens": "7"}, "mock-tokens-3", 7),
    ("", {"X-Mock-Tokens": "0"}, "gpt", 0),
    ("", {}, "mock-gpt", 16),
    ("", {}, "x-mock-tokens-3", 16),
])
def test_later_sources_win(mock, query, headers, model, words):
    r = HTTP.post(mock.url("/v1/chat/completions" + query), json={**CHAT, "model": model}, headers=headers)
    assert r.json()["usage"]["completion_tokens"] == words
    assert len(r.json()["choices"][0]["message"]["content"].split()) == words


@pytest.mark.parametrize("query, headers, model", [
    ("", {"X-Mock-Fault": "nope"}, "gpt"),
    ("", {"X-Mock-Fault": "refuse"}, "gpt"),
    ("", {"X-Mock-Status": "101"}, "gpt"),
    ("", {"X-Mock-Delay-Ms": "1.5"}, "gpt"),
    ("?mock-tokens=many", {}, "gpt"),
    ("", {}, "mock-fault-nope"),
    ("", {}, "mock-status-abc"),
])
def test_bad_settings_are_refused(mock, query, headers, model):
    r = HTTP.post(mock.url("/v1/chat/completions" + query), json={**CHAT, "model": model}, headers=headers)
    assert r.status_code == 400 and "bad mock setting" in r.json()["error"]["message"]


def test_status(mock):
    r = HTTP.post(mock.url("/v1/chat/completions"), json={**CHAT, "model": "mock-status-503"})
    assert r.status_code == 503 and r.json()["error"]["type"] == "overloaded_error"
    r = HTTP.post(mock.url("/v1/chat/completions"), json={**CHAT, "stream": True},
                   headers={"X-Mock-Status": "429", "X-Mock-Retry-After": "7"})
    assert r.status_code == 429 and r.headers["retry-after"] == "7"
    assert r.json()["error"]["code"] == "rate_limit_exceeded"
    r = HTTP.get(mock.url("/health?mock-status=500&mock-retry-after=Fri,%2031%20Dec%202027%2023:59:59%20GMT"))
    assert r.status_code == 500 and r.headers["retry-after"] == "Fri, 31 Dec 2027 23:59:59 GMT"
    with httpx.Client() as client:
        for status in (204, 304):
            r = client.get(mock.url("/echo"), headers={"X-Mock-Status": str(status)})
            assert r.status_code == status and r.content == b"" and "content-length" not in r.headers
        r = client.get(mock.url("/echo"), headers={"X-Mock-Status": "206"})
        assert r.status_code == 206 and r.json()["request"] == 3


def test_added_headers(mock):
    raw, _ = ask(mock, b"GET /health HTTP/1.1\r\nX-Mock-Add-Header: Set-Cookie: a=b\r\n"
                       b"X-Mock-Add-Header: Set-Cookie: c=d\r\nConnection: close\r\n\r\n")
    assert raw.count(b"\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n") == 1


def test_delay(mock):
    start = time.monotonic()
    assert HTTP.get(mock.url("/health"), headers={"X-Mock-Delay-Ms": "300"}).status_code == 200
    assert 0.3 <= time.monotonic() - start < 2


def test_pace_is_absolute_and_stamped(mock):
    headers = {"X-Mock-Chunk-Delay-Ms": "20", "X-Mock-Tokens": "40", "X-Mock-Sent-At": "1"}
    arrived, chunks = [], []
    with HTTP.stream("POST", mock.url("/v1/chat/completions"), json={**CHAT, "stream": True}, headers=headers) as r:
        for line in r.iter_lines():
            if line.startswith("data: {"):
                arrived.append(time.monotonic_ns())
                chunks.append(json.loads(line[6:]))
    assert len(chunks) == 42
    sent = [c["sent_ns"] for c in chunks]
    for i, at in enumerate(sent):
        # Never early; late by what the machine makes it, but lateness does not add up.
        assert at - sent[0] > i * 20e6 - 2e6
    assert sent[-1] - sent[0] < 41 * 20e6 + 500e6
    assert all(0 <= b - a < 500e6 for a, b in zip(sent, arrived))


def test_paced_bytes(mock):
    start = time.monotonic()
    r = HTTP.get(mock.url("/bytes/65536"), headers={"X-Mock-Chunk-Delay-Ms": "50"})
    assert r.content == pattern(65536)
    assert 0.15 <= time.monotonic() - start < 2


def test_process_wide_defaults(tmp_path):
    log = tmp_path / "log"
    with running("--listen", "127.0.0.1:0", "--status", "503", "--delay-ms", "100", "--log", log) as m:
        start = time.monotonic()
        assert HTTP.get(m.url("/health")).status_code == 503
        assert time.monotonic() - start >= 0.1
        assert m.stats()["requests"] == 2
        assert HTTP.get(m.url("/health"), headers={"X-Mock-Status": "200"}).json()["status"] == "ok"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(r["method"], r["target"], r["status"], r["aborted"]) for r in rows] == [
        ("GET", "/health", 503, False), ("GET", "/stats", 200, False), ("GET", "/health", 200, False)]
    with running("--listen", "127.0.0.1:0", "--fault", "close-before-head", "--timestamps", "--tokens", "2") as m:
        assert ask(m, request("GET", "/health")) == (b"", "fin")
        r = HTTP.post(m.url("/v1/chat/completions"), json={**CHAT, "stream": True}, headers={"X-Mock-Fault": "none"})
        assert all("sent_ns" in c for c in events(r.text)) and len(events(r.text)) == 4


# --- faults

def fault(mock, name, stream=False, **headers):
    return ask(mock, chat({"X-Mock-Fault": name, **headers}, stream=stream))


def test_fault_refuse():
    with running("--listen", "127.0.0.1:0", "--fault", "refuse") as m, connect(m) as s:
        assert read_all(s)[0] == b""


def test_faults_before_and_in_the_head(mock):
    assert fault(mock, "close-before-head") == (b"", "fin")
    assert fault(mock, "reset-before-head") == (b"", "reset")
    for name, end in (("close-in-head", "fin"), ("reset-in-head", "reset")):
        data, how = fault(mock, name)
        assert data.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\n\r\n" not in data and how == end


@pytest.mark.parametrize("end", ["close", "reset"])
def test_faults_in_the_body(mock, end):
    data, how = fault(mock, f"{end}-in-body")
    _, headers, body = split_head(data)
    assert len(body) == int(headers["content-length"]) // 2
    assert how == ("fin" if end == "close" else "reset")
    data, how = fault(mock, f"{end}-in-body", stream=True, **{"X-Mock-Tokens": "10"})
    text, whole = dechunk(split_head(data)[2])
    assert text.count(b"data: ") == 6 and text.endswith(b"\n\n") and not whole
    assert how == ("fin" if end == "close" else "reset")


def test_stalls(mock):
    before = mock.stats()["aborted_answers"]
    with connect(mock) as s, connect(mock) as t:
        s.sendall(chat({"X-Mock-Fault": "stall-before-head"}))
        t.sendall(chat({"X-Mock-Fault": "stall-in-body", "X-Mock-Tokens": "10"}, stream=True))
        assert read_for(s, 0.3) == b""
        text, whole = dechunk(split_head(read_for(t, 0.3))[2])
        assert text.count(b"data: ") == 6 and not whole
    assert mock.stats_until({"aborted_answers": before + 2})["aborted_answers"] == before + 2


def test_drip(mock):
    with connect(mock) as s:
        s.sendall(request("GET", "/health", {"X-Mock-Fault": "drip"}))
        assert 2 <= len(read_for(s, 0.4)) <= 9
    raw, _ = ask(mock, request("GET", "/health", {"X-Mock-Fault": "drip", "X-Mock-Chunk-Delay-Ms": 1,
                                                  "Connection": "close"}))
    assert split_head(raw)[2] == b'{"status":"ok","name":"peer-1"}\n'


def test_false_lengths(mock):
    data, how = fault(mock, "short-length")
    _, headers, body = split_head(data)
    assert int(headers["content-length"]) > len(body) and json.loads(body) and how == "fin"
    data, how = fault(mock, "short-length", stream=True)
    _, headers, body = split_head(data)
    assert int(headers["content-length"]) > len(body) and body.endswith(b"[DONE]\n\n") and how == "fin"
    for stream in (False, True):
        with connect(mock) as s:
            s.sendall(chat({"X-Mock-Fault": "long-length"}, stream=stream))
            _, headers, body = split_head(read_for(s, 0.3))
            assert len(body) > int(headers["content-length"]) and body.endswith(b"\r\n\r\nsmuggled\n")
    data, _ = fault(mock, "both-lengths", Connection="close")
    _, headers, body = split_head(data)
    text, whole = dechunk(body)
    assert whole and int(headers["content-length"]) == len(text) and headers["transfer-encoding"] == "chunked"


@pytest.mark.parametrize("stream", [False, True])
def test_broken_chunks(mock, stream):
    with connect(mock) as s:
        s.sendall(chat({"X-Mock-Fault": "bad-chunk"}, stream=stream))
        assert b"\r\nzz\r\n" in read_for(s, 0.3)
    data, how = fault(mock, "no-final-chunk", stream=stream)
    text, whole = dechunk(split_head(data)[2])
    assert not whole and how == "fin"
    assert text.endswith(b"[DONE]\n\n") if stream else json.loads(text)


def test_broken_heads(mock):
    assert len(split_head(fault(mock, "huge-header", Connection="close")[0])[1]["x-mock-huge"]) == 102400
    assert fault(mock, "garbage-status", Connection="close")[0].startswith(b"HTTP/1.1 2x0 OK\r\n")
    assert b"\r\nx-mock-bad: a\0b\r\n" in fault(mock, "bad-header", Connection="close")[0]
    assert b"\r\nx-mock-bad: a\rb\r\n" in fault(mock, "bad-header-cr", Connection="close")[0]


def test_interim_answers(mock):
    with connect(mock) as s:
        s.sendall(chat({"X-Mock-Fault": "many-1xx"}))
        got = read_for(s, 0.3)
        assert got.count(b"HTTP/1.1 103 Early Hints\r\n") > 300 and b" 200 " not in got
    with connect(mock) as s:
        s.sendall(chat({"X-Mock-Fault": "unrequested-101"}))
        assert read_for(s, 0.2).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")


def test_closing_answers(mock):
    data, how = fault(mock, "close-after")
    _, headers, body = split_head(data)
    assert len(body) == int(headers["content-length"]) and "connection" not in headers and how == "fin"
    for stream in (False, True):
        data, how = fault(mock, "http10-close", stream=stream)
        status, headers, body = split_head(data)
        assert status == "HTTP/1.0 200 OK" and how == "fin"
        assert not {"content-length", "transfer-encoding", "connection"} & set(headers)
        assert events(body.decode()) if stream else json.loads(body)


def test_error_event(mock):
    raw, _ = fault(mock, "error-event", stream=True, **{"Connection": "close", "X-Mock-Tokens": "10"})
    text, whole = dechunk(split_head(raw)[2])
    rows = [json.loads(line[6:]) for line in text.decode().split("\n") if line]
    assert whole and len(rows) == 7 and rows[-1]["error"]["type"] == "server_error"
    r = HTTP.post(mock.url("/v1/messages"), json={"model": "mock-fault-error-event", "stream": True})
    assert r.text.count("content_block_delta\n") == 8
    assert "event: error\ndata: {\"type\":\"error\"" in r.text and "message_stop" not in r.text


def test_split_events(mock):
    raw, _ = fault(mock, "split-events", stream=True, **{"Connection": "close", "X-Mock-Tokens": "3"})
    body = split_head(raw)[2]
    text, whole = dechunk(body)
    assert whole and text.count(b"\r\n\r\n") == 6 and b"\n\n" not in text
    assert len(events(text.decode().replace("\r\n", "\n"))) == 5
    sizes = [int(s, 16) for s in re.findall(rb"(?:^|\r\n)([0-9a-f]+)\r\n(?=.)", body) if int(s, 16) < 200]
    assert 1 in sizes and 37 in sizes


def test_early_answer(mock):
    with connect(mock) as s:
        s.sendall(b"POST /upload HTTP/1.1\r\nX-Mock-Fault: early-answer\r\nX-Mock-Status: 413\r\n"
                  b"Content-Length: 1000000\r\n\r\nonly this")
        data, how = read_all(s)
    assert data.startswith(b"HTTP/1.1 413 ") and how == "fin"


# --- TLS

def tls_context(cert):
    ctx = ssl.create_default_context(cafile=str(cert[0]))
    ctx.set_alpn_protocols(["h2", "http/1.1"])
    return ctx


def tls_connect(mock, ctx, name="mock.test", session=None):
    return ctx.wrap_socket(connect(mock), server_hostname=name, session=session, suppress_ragged_eofs=False)


def test_tls_echo_and_resumption(tls_mock, cert):
    ctx, session, seen = tls_context(cert), None, []
    ctx.maximum_version = ssl.TLSVersion.TLSv1_2
    for _ in range(2):
        with tls_connect(tls_mock, ctx, session=session) as s:
            s.sendall(request("GET", "/echo"))
            seen.append(json.loads(read_answer(s.makefile("rb"))[2]))
            session = s.session
    assert seen[0]["sni"] == "mock.test"
    assert seen[0]["tls"]["alpn"] == "http/1.1" and seen[0]["tls"]["protocol"] == "TLSv1.2"
    assert [e["tls"]["resumed"] for e in seen] == [False, True]


def test_tls_streams_and_bodies(tls_mock, cert):
    with httpx.Client(verify=str(cert[0])) as client:
        assert client.get(tls_mock.url("/bytes/2000000")).content == pattern(2000000)
        data = os.urandom(1000000)
        assert client.post(tls_mock.url("/upload"), content=data).json()["sha256"] == hashlib.sha256(data).hexdigest()
        r = client.post(tls_mock.url("/v1/chat/completions"), json={**CHAT, "stream": True},
                        headers={"X-Mock-Chunk-Delay-Ms": "5"})
        assert len(events(r.text)) == 18
        assert HTTP.get(tls_mock.url("/health", 1)).status_code == 200


def test_tls_endings(tls_mock, cert):
    ctx = tls_context(cert)
    ctx.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    with tls_connect(tls_mock, ctx) as s:
        s.sendall(request("GET", "/health", {"Connection": "close"}))
        assert split_head(read_all(s)[0])[2]  # an end with close_notify
    with tls_connect(tls_mock, ctx) as s:
        s.sendall(request("GET", "/health", {"X-Mock-Fault": "tls-no-close-notify"}))
        got = b""
        with pytest.raises(ssl.SSLError, match="(?i)unexpected.eof"):
            while data := s.recv(65536):
                got += data
    _, headers, body = split_head(got)
    assert json.loads(body) and "content-length" not in headers and "transfer-encoding" not in headers


def test_tls_failed_handshake_is_counted(tls_mock):
    with connect(tls_mock) as s:
        s.sendall(b"GET / HTTP/1.1\r\n\r\n")
        read_all(s)
    with httpx.Client() as client:
        assert client.get(tls_mock.url("/stats", 1)).json()["tls_failed"] >= 1


# --- who left when

def test_aborts_are_counted():
    with running("--listen", "127.0.0.1:0") as m:
        for raw in (chat({"X-Mock-Delay-Ms": "60000"}),
                    chat({"X-Mock-Delay-Ms": "60000"}, stream=True),
                    chat({"X-Mock-Chunk-Delay-Ms": "60000"}, stream=True),
                    chat({"X-Mock-Chunk-Delay-Ms": "10", "X-Mock-Tokens": "100000"}, stream=True),
                    request("GET", "/bytes/100000000")):
            with connect(m) as s:
                s.sendall(raw)
                time.sleep(0.05)
        for raw in (chat()[:40], chat()[:-10]):
            with connect(m) as s:
                s.sendall(raw)
                time.sleep(0.05)
        stats = m.stats_until({"connections_active": 1})
        assert stats["aborted_answers"] == 5 and stats["aborted_streams"] == 3 and stats["aborted_requests"] == 2
        assert stats["streams_active"] == 0 and stats["requests_active"] == 1 and stats["connections_active"] == 1
        # A whole stream is no abort.
        HTTP.post(m.url("/v1/chat/completions"), json={**CHAT, "stream": True})
        stats = m.stats()
        assert stats["aborted_streams"] == 3 and stats["streams_total"] == 4
        assert stats["paths"]["/v1/chat/completions"] == 5 and stats["paths"]["/bytes"] == 1


def test_many_streams_at_once(mock):
    n, sel, got = 500, selectors.DefaultSelector(), {}
    raw = chat({"X-Mock-Chunk-Delay-Ms": "100", "X-Mock-Tokens": "10", "Connection": "close"}, stream=True)
    start = time.monotonic()
    for _ in range(n):
        s = connect(mock)
        s.sendall(raw)
        sel.register(s, selectors.EVENT_READ)
        got[s] = b""
    while sel.get_map():
        ready = sel.select(10)
        assert ready, "streams stand still"
        for key, _ in ready:
            data = key.fileobj.recv(65536)
            got[key.fileobj] += data
            if not data:
                sel.unregister(key.fileobj)
                key.fileobj.close()
    assert time.monotonic() - start < 10
    for data in got.values():
        text, whole = dechunk(split_head(data)[2])
        assert whole and len(events(text.decode())) == 12


# --- a client of the kind that people write

def test_httpx_client_with_pool(mock):
    with httpx.Client(base_url=mock.url("/v1"), headers={"Authorization": "Bearer x"}) as client:
        for _ in range(3):
            r = client.post("/chat/completions", json=CHAT)
            r.raise_for_status()
            assert r.json()["choices"][0]["finish_reason"] == "stop"
            with client.stream("POST", "/chat/completions", json={**CHAT, "stream": True}) as stream:
                words = [json.loads(line[6:])["choices"][0]["delta"].get("content")
                         for line in stream.iter_lines() if line.startswith("data: {")]
            assert "".join(w for w in words if w)
        echo = client.get(mock.url("/echo")).json()
        assert echo["request"] == 7
