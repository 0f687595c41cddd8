# SPDX-License-Identifier: BSD-2-Clause
"""Streams: each event at once, nothing held or hidden, and both sides' ends told to the other."""
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import harness
import pytest
from harness import SLOW, Closed, Conn, build, client_tls, fetch, mock_bytes, sha256, until

HERE = pathlib.Path(__file__).parent
CONF = """
upstream llm { server @mock@; keepalive 16; }
server { listen 127.0.0.1:@http@; location / { proxy_pass http://llm; @in@ } }
"""
CHAT = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]})


@pytest.fixture
def llm(start, mock):
    def make(inside="", **kw):
        return start(CONF, {"mock": mock.addr, "in": inside}, **kw)
    return make


def ask(c, path="/v1/chat/completions", **mock_headers):
    headers = {"Content-Type": "application/json"}
    headers.update({"X-Mock-" + k.replace("_", "-"): str(v) for k, v in mock_headers.items()})
    c.send(build("POST", path, headers, CHAT))
    return c.head()


def events(data):
    return [json.loads(part[6:]) if part != b"data: [DONE]" else "[DONE]"
            for part in data.split(b"\n\n") if part.startswith(b"data: ")]


SETTINGS = ["", "proxy_buffering on;", "proxy_buffering off;", "proxy_buffering on; proxy_buffers 16 64k;",
            "proxy_buffering on; proxy_buffer_size 32k; proxy_buffers 4 32k; proxy_http_version 1.1; proxy_set_header Connection '';"]


@pytest.mark.parametrize("inside", SETTINGS)
def test_each_event_at_once(llm, inside):
    """The next event is not needed for the last to come: they come one by one, 150 ms apart."""
    s = llm(inside)
    with Conn(s.port) as c:
        r = ask(c, Tokens=8, Chunk_Delay_Ms=150)
        assert r.status == 200 and r.header("Content-Type").startswith("text/event-stream")
        times, got = [], b""
        while True:
            part = c.chunk()
            if not part:
                break
            times.append(time.monotonic())
            got += part
    assert events(got)[-1] == "[DONE]"
    gaps = sorted(b - a for a, b in zip(times, times[1:]))
    assert len(gaps) >= 7, "chunks were put together"
    assert gaps[len(gaps) // 2] < 0.15 * 2 * SLOW and gaps[-1] < 0.15 * 4 * SLOW + 0.2


@pytest.mark.alone
def test_lateness_of_events(llm):
    s = llm()
    late = []
    with Conn(s.port) as c:
        ask(c, Tokens=50, Chunk_Delay_Ms=20, Sent_At=1)
        while True:
            part = c.chunk()
            if not part:
                break
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            late += [(now - e["sent_ns"]) / 1e6 for e in events(part) if e != "[DONE]" and "sent_ns" in e]
    assert len(late) >= 50
    late.sort()
    print(f"lateness of events: median {late[len(late) // 2]:.2f} ms, worst {late[-1]:.2f} ms")
    assert late[len(late) // 2] < 20 * SLOW, "Nagle and delayed ACK would make it 40 ms"


def test_bytes_are_not_touched(llm, mock):
    """What comes through is what the upstream sends, in odd pieces too."""
    s = llm()
    for fault in ("none", "split-events", "drip"):
        headers = {"X-Mock-Tokens": "5" if fault == "drip" else "40", "X-Mock-Fault": fault,
                   "X-Mock-Chunk-Delay-Ms": "1", "Content-Type": "application/json"}
        seen = [fetch(p, "/v1/chat/completions", "POST", headers=headers, body=CHAT, timeout=30).body
                for p in (mock.port, s.port)]
        texts = []
        for body in seen:
            body = body.replace(b"\r\n", b"\n")
            texts.append([e if e == "[DONE]" else e["choices"] for e in events(body)])
        assert texts[0] == texts[1] and len(texts[0]) > 4, fault


def test_an_error_event_passes(llm):
    s = llm()
    r = fetch(s.port, "/v1/chat/completions", "POST", headers={"X-Mock-Fault": "error-event"}, body=CHAT)
    assert r.is_whole and b'"error"' in r.body


def test_headers_do_not_wait_for_the_first_event(llm):
    s = llm()
    with Conn(s.port) as c:
        t = time.monotonic()
        r = ask(c, Tokens=3, Chunk_Delay_Ms=1500)
        assert r.status == 200 and time.monotonic() - t < 1.0 * SLOW


@pytest.mark.parametrize("inside", ["", "proxy_buffering off;"])
@pytest.mark.parametrize("how", ["close", "reset", "shutdown"])
def test_a_client_that_hangs_up_cancels_the_upstream(llm, mock, inside, how):
    s = llm(inside)
    c = Conn(s.port)
    ask(c, Tokens=10000, Chunk_Delay_Ms=100)
    c.chunk()
    assert mock.stats()["streams_active"] == 1
    t = time.monotonic()
    if how == "shutdown":
        c.sock.shutdown(socket.SHUT_RDWR)
    c.reset() if how == "reset" else c.close()
    until(lambda: mock.stats()["aborted_streams"] == 1, 3, "the end of the stream upstream")
    assert time.monotonic() - t < 1.0 * SLOW
    assert mock.stats()["streams_active"] == 0
    assert fetch(s.port, "/bytes/10").body == mock_bytes(10)


def test_a_client_that_leaves_before_the_first_byte(llm, mock):
    s = llm()
    for method, fault in (("GET", {"X-Mock-Delay-Ms": "30000"}), ("POST", {"X-Mock-Fault": "stall-before-head"})):
        before = mock.stats()["aborted_answers"]
        with Conn(s.port) as c:
            c.send(build(method, "/echo", fault, "x" if method == "POST" else None))
            until(lambda: mock.stats()["requests_active"] == 2, what="the request")
        until(lambda: mock.stats()["aborted_answers"] == before + 1, 3, "the end upstream")


def test_a_client_that_leaves_while_a_retry_is_under_way(start, mocks):
    bad = mocks("--fault", "stall-before-head", name="bad")
    worse = mocks("--fault", "stall-before-head", name="worse")
    s = start("upstream u { server @a@ max_fails=0; server @b@ max_fails=0; }\nserver { listen 127.0.0.1:@http@; "
              "location / { proxy_pass http://u; proxy_read_timeout 500ms; proxy_next_upstream timeout; } }",
              {"a": bad.addr, "b": worse.addr})
    with Conn(s.port) as c:
        c.send(build("GET", "/echo"))
        until(lambda: bad.requests() + worse.requests() == 2, what="the second try")
    time.sleep(1.5)
    assert bad.requests() + worse.requests() == 2, "nothing is asked for somebody who left"


@pytest.mark.parametrize("fault", ["close-in-body", "reset-in-body", "no-final-chunk"])
def test_an_upstream_that_dies_midway(llm, fault):
    s = llm()
    with Conn(s.port) as c:
        r = ask(c, Tokens=20, Fault=fault)
        assert r.status == 200
        with pytest.raises((Closed, ConnectionResetError)):
            while c.chunk():
                pass
    s.wait_log(r"\[error\].*upstream")


def test_a_killed_upstream_ends_the_stream(llm, mock):
    s = llm()
    with Conn(s.port) as c:
        ask(c, Tokens=1000, Chunk_Delay_Ms=50)
        c.chunk()
        mock.kill()
        with pytest.raises((Closed, ConnectionResetError)):
            while c.chunk():
                pass
    mock.start()


def test_an_idle_stream_times_out(llm):
    s = llm("proxy_read_timeout 700ms;")
    with Conn(s.port) as c:
        ask(c, Tokens=20, Fault="stall-in-body")
        with pytest.raises((Closed, ConnectionResetError)):
            while c.chunk():
                pass
    with Conn(s.port) as c:  # events that keep coming reset the time
        ask(c, Tokens=6, Chunk_Delay_Ms=400)
        while c.chunk():
            pass


@pytest.mark.parametrize("path", ["/bytes/50000000", "/chunked/50000000"])
@pytest.mark.parametrize("inside", ["", "proxy_buffering off;"])
def test_back_pressure(llm, mock, inside, path):
    """A client that reads nothing stops the upstream; sluice does not take it all in."""
    s = llm(inside)
    worker = s.workers()[0]
    fetch(s.port, "/bytes/1000000")
    before = harness.pss_kb(worker)
    with Conn(s.port, rcvbuf=8192, timeout=30) as c:
        c.send(build("GET", path))
        r = c.head()
        for _ in range(10):
            time.sleep(0.15)
            assert harness.pss_kb(worker) - before < 2048 * SLOW
        assert mock.stats()["requests_active"] == 2
        body = c.body(r).body
    assert len(body) == 50000000 and sha256(body) == sha256(mock_bytes(50000000))


def test_back_pressure_towards_the_client(llm, mock):
    """A large upload to an upstream that does not read is bounded by the limit, and lands on disk, not in memory."""
    s = llm("client_max_body_size 0; proxy_send_timeout 30s;")
    worker = s.workers()[0]
    before = harness.pss_kb(worker)
    body = mock_bytes(30000000)
    with Conn(s.port, timeout=30) as c:
        c.send(build("POST", "/upload", {"X-Mock-Delay-Ms": "1000"}, body))
        time.sleep(0.3)
        grown = harness.pss_kb(worker) - before
        assert c.response().json()["sha256"] == sha256(body)
    assert grown < 4096 * SLOW


def test_many_streams_through_one_worker(llm, mock):
    s = llm(connections=2048)
    conns = [Conn(s.port, timeout=30) for _ in range(200)]
    for c in conns:
        c.send(build("POST", "/v1/chat/completions", {"X-Mock-Tokens": "10", "X-Mock-Chunk-Delay-Ms": "50"}, CHAT))
    for c in conns:
        r = c.response()
        assert r.status == 200 and events(r.body)[-1] == "[DONE]"
        c.close()
    assert mock.stats()["aborted_streams"] == 0


# --- clients as they are ---

USER = """
upstream backend { server localhost:@p@ max_fails=3 fail_timeout=30s; keepalive 32; }
server {
    listen 127.0.0.1:@tls@ ssl;
    server_name localhost;
    ssl_certificate @chain@;
    ssl_certificate_key @key@;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256;
    ssl_prefer_server_ciphers on;
    ssl_session_cache shared:SSL:10m;
    ssl_session_timeout 1d;
    proxy_connect_timeout 10s;
    proxy_send_timeout 60s;
    proxy_read_timeout 120s;
    location /v1/ {
        proxy_pass https://backend/v1/;
        proxy_http_version 1.1;
        proxy_set_header Host api.provider.test;
        proxy_set_header Authorization "Bearer the-real-key";
        proxy_set_header Content-Type application/json;
        proxy_set_header Accept application/json;
        proxy_buffering on;
        proxy_buffer_size 4k;
        proxy_buffers 8 4k;
        proxy_ssl_verify on;
        proxy_ssl_verify_depth 2;
        proxy_ssl_trusted_certificate @trusted@;
    }
}
"""


@pytest.fixture
def gateway(start, mocks, ca):
    """The user's first configuration in our own words, in front of a verified HTTPS upstream."""
    def make(trusted=None):
        up = mocks(tls=ca.server)
        port = harness.free_port()
        s = start(USER, {"p": up.port, "tls": port, "chain": ca.server.chain, "key": ca.server.key,
                         "trusted": trusted or ca.ca})
        s.up, s.tls_port = up, port
        return s
    return make


def run_client(*command, **env):
    p = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60 * SLOW, cwd=HERE,
                       env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1", **env})
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


def test_the_users_client(gateway, ca):
    s = gateway()
    out = run_client(sys.executable, HERE / "client.py", f"https://localhost:{s.tls_port}/v1", SSL_CERT_FILE=str(ca.ca))
    assert out["answer"] and out["total"] > 0
    assert out["streamed"] and out["chunks"] >= 16
    assert out["models"] == [f"m-{i}" for i in range(30)]


def test_what_the_upstream_sees_of_the_users_client(gateway, ca):
    s = gateway()
    tls = client_tls(ca.ca)
    r = fetch(s.tls_port, "/v1/echo", tls=tls)
    assert r.status == 404  # mock-llm has no such path, and that answer is the upstream's
    assert r.header("x-mock-name") == "mock"


def test_the_users_client_against_a_wrong_certificate(gateway, ca, wrong_ca):
    s = gateway(trusted=wrong_ca.ca)
    with Conn(s.tls_port, tls=client_tls(ca.ca)) as c:
        r = c.request("POST", "/v1/chat/completions", body=CHAT)
    assert r.status == 502 and "error" in r.json()
    s.wait_log(r"\[error\].*certificate")
    assert s.up.stats()["paths"]["/v1/chat/completions"] == 0


def test_the_openai_sdk(gateway, ca):
    assert (HERE / "node_modules/openai").is_dir(), "run `make deps`"
    s = gateway()
    out = run_client("node", HERE / "openai_client.mjs", f"https://localhost:{s.tls_port}/v1",
                     NODE_EXTRA_CA_CERTS=str(ca.ca))
    assert out["answer"] and out["total"] > 0 and out["streamed"] and out["usage"] > 0
    assert out["models"] > 0 and out["vector"] == 1536
    assert out["error"] == {"name": "RateLimitError", "status": 429}
    assert out["cut"] == "error", "a cut stream must not look like an ended one"
    until(lambda: s.up.stats()["aborted_streams"] >= 1, what="the stream that was left")
