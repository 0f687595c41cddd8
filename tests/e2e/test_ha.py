# SPDX-License-Identifier: BSD-2-Clause
"""A high-availability gateway as people write it for nginx, whole: fail-over, limits, compression, streams, over both protocols."""
import asyncio
import json
import re
import subprocess
import time

import harness
import httpx
import pytest
from harness import SLOW, Dns, until
from test_stapling import Responder, folder, site, status  # noqa: F401 - fixtures

CONF = """
    resolver @dns@ valid=300s;
    @include@

    upstream model_cluster {
        server primary.sl.test:@p1@ weight=5 max_fails=3 fail_timeout=30s;
        server region.sl.test:@p2@ weight=3 max_fails=3 fail_timeout=30s backup;
        server last.sl.test:@p3@ weight=1 backup;
        keepalive 32;
    }

    limit_req_zone $binary_remote_addr zone=per_address:10m rate=100r/m;
    limit_req_zone $binary_remote_addr zone=premium:10m rate=10r/m;
    limit_req_zone $http_authorization zone=per_key:10m rate=50r/m;

    log_format api '$remote_addr - $remote_user [$time_local] '
                   '"$request" $status $body_bytes_sent '
                   'rt=$request_time uct="$upstream_connect_time" '
                   'uht="$upstream_header_time" urt="$upstream_response_time" '
                   'us="$upstream_status" h2="$http2"';

    server {
        listen 127.0.0.1:@http@ ssl http2;
        server_name gateway.sl.test;
        ssl_certificate     @chain@;
        ssl_certificate_key @key@;
        ssl_session_cache shared:SSL:10m;
        ssl_session_timeout 1d;
        ssl_stapling on;
        ssl_stapling_verify on;
        ssl_trusted_certificate @ca@;

        access_log @dir@/api.log api;
        error_log  @dir@/error.log info;

        gzip on;
        gzip_vary on;
        gzip_min_length 1024;
        gzip_proxied any;
        gzip_types application/json text/plain;

        location /v1/chat/completions {
            limit_req zone=per_address burst=20 nodelay;
            limit_req zone=premium burst=5 nodelay;
            @chat@
        }
        # The same without a limit, for the tests of what lies behind it.
        location /free/v1/chat/completions {
            @chat@
        }
        location /v1/chat/completions/stream {
            limit_req zone=per_address burst=10 nodelay;
            proxy_pass https://model_cluster/v1/chat/completions;
            proxy_http_version 1.1;
            proxy_set_header Host primary.sl.test;
            proxy_set_header Authorization $http_authorization;
            proxy_set_header Accept text/event-stream;
            proxy_buffering off;
            proxy_cache off;
            proxy_connect_timeout 60s;
            proxy_send_timeout 86400s;
            proxy_read_timeout 86400s;
            chunked_transfer_encoding on;
        }
        location /health {
            access_log off;
            return 200 'OK';
            add_header Content-Type text/plain;
        }
    }
"""
CHAT = """
            proxy_pass https://model_cluster/v1/chat/completions;
            proxy_http_version 1.1;
            proxy_set_header Host primary.sl.test;
            proxy_set_header Authorization $http_authorization;
            proxy_set_header Content-Type application/json;
            proxy_set_header Accept-Encoding "gzip, deflate";
            proxy_connect_timeout 15s;
            proxy_send_timeout 180s;
            proxy_read_timeout @read_timeout@;
            proxy_buffering on;
            proxy_buffer_size 32k;
            proxy_buffers 16 32k;
            proxy_busy_buffers_size 64k;
            proxy_next_upstream error timeout invalid_header http_500 http_502 http_503;
            proxy_next_upstream_tries 3;
            proxy_next_upstream_timeout 60s;
"""
URL = "/free/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
LONG = {"X-Mock-Tokens": "400"}
PROTOCOLS = pytest.mark.parametrize("h2", [False, True], ids=["http/1.1", "http/2"])


class Ha:
    """The gateway, its three upstreams and a client of it."""

    def __init__(self, start, mocks, ca, stack, faults=((), (), ()), read_timeout="180s", own=None,
                 resolves=True):
        self.dns = dns = stack.enter_context(Dns())
        names = self.names = ["primary", "region", "last"]
        self.cert = ca.make("models", [f"{n}.sl.test" for n in names])
        if resolves:
            self.resolve()
        self.mocks = [mocks(*more, tls=self.cert, name=n) for n, more in zip(names, faults)]
        own = own or ca.make("gateway", ["gateway.sl.test", "localhost"])
        values = {"dns": f"127.0.0.1:{dns.port}", "include": "", "chain": own.chain, "key": own.key, "ca": ca.ca,
                  "read_timeout": read_timeout, "chat": CHAT,
                  **{f"p{i}": m.port for i, m in enumerate(self.mocks, 1)}}
        self.s = start(CONF, values)
        self.port, self.ca = self.s.port, ca.ca
        self.base = f"https://localhost:{self.port}"

    def resolve(self):
        for n in self.names:
            self.dns.names[f"{n}.sl.test"] = ["127.0.0.1"]

    def client(self, h2):
        return httpx.Client(http2=h2, http1=not h2, verify=str(self.ca), timeout=30 * SLOW)

    def log(self):
        path = self.s.dir / "api.log"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def ha(start, mocks, ca, stack):
    def make(*faults, **kw):
        return Ha(start, mocks, ca, stack, faults=(list(faults) + [(), (), ()])[:3], **kw)
    return make


@pytest.mark.parametrize("name", ["ai-proxy.conf", "ai-proxy-ha.conf"])
def test_the_configurations_to_start_from_are_right(ca, stack, name):
    folder = stack.enter_context(harness.temp_dir())
    text = (harness.REPO / "conf" / name).read_text()
    for a, b in (("/etc/sluice/ai.example.com.pem", ca.server.chain), ("/etc/sluice/ai.example.com.key", ca.server.key),
                 ("/var/log/sluice", folder), ("/run/sluice", folder)):
        text = text.replace(str(a), str(b))
    (folder / name).write_text(text)
    code, out = harness.run_sluice("-t", "-c", folder / name)
    assert code == 0 and "is successful" in out, out


@PROTOCOLS
def test_a_chat_completion_and_its_log_line(ha, h2):
    g = ha()
    with g.client(h2) as c:
        r = c.post(g.base + URL, json=BODY)
    assert r.status_code == 200 and r.json()["choices"]
    assert r.http_version == ("HTTP/2" if h2 else "HTTP/1.1")
    line = until(g.log, 5, "the line")[0]
    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[[^]]+\] "POST /free/v1/chat/completions HTTP/%s" 200 \d+ rt=\d+\.\d{3} uct="\d+\.\d{3}" '
        r'uht="\d+\.\d{3}" urt="\d+\.\d{3}" us="200" h2="%s"' % (("2\\.0", "h2") if h2 else ("1\\.1", "-?")), line), line
    assert g.mocks[0].requests() == 1


@PROTOCOLS
def test_health(ha, h2):
    g = ha()
    with g.client(h2) as c:
        r = c.get(g.base + "/health")
    assert (r.status_code, r.text, r.headers["content-type"]) == (200, "OK", "text/plain")
    assert not g.log()


@PROTOCOLS
@pytest.mark.parametrize("bad", ["500", "502", "503"])
def test_a_bad_answer_is_asked_for_again_in_the_order_of_the_backups(ha, h2, bad):
    g = ha(("--status", bad), ("--status", bad))
    with g.client(h2) as c:
        r = c.post(g.base + URL, json=BODY)
    assert r.status_code == 200, r.text
    assert [m.requests() for m in g.mocks] == [1, 1, 1]
    assert f'us="{bad}, {bad}, 200"' in until(g.log, 5, "the line")[0]


@PROTOCOLS
def test_three_tries_and_no_more_then_the_last_answer(ha, h2):
    g = ha(("--status", "503"), ("--status", "500"), ("--status", "502"))
    with g.client(h2) as c:
        r = c.post(g.base + URL, json=BODY)
    assert r.status_code in (500, 502)
    assert sum(m.requests() for m in g.mocks) == 3


@PROTOCOLS
def test_a_time_out_is_asked_for_again(ha, h2):
    g = ha(("--fault", "stall-before-head"), read_timeout="1s")
    with g.client(h2) as c:
        begun = time.monotonic()
        r = c.post(g.base + URL, json=BODY)
    assert r.status_code == 200 and 0.9 < time.monotonic() - begun < 10 * SLOW
    assert [m.requests() for m in g.mocks][1:] in ([1, 0], [0, 1])


@PROTOCOLS
def test_a_dead_primary_costs_the_clients_nothing(ha, h2):
    g = ha(("--fault", "refuse"))
    with g.client(h2) as c:
        assert {c.post(g.base + URL, json=BODY).status_code for _ in range(12)} == {200}
    counts = [m.requests() for m in g.mocks[1:]]
    assert counts[0] > counts[1] > 0, counts    # 3 to 1, as they are weighted
    assert sum(counts) == 12


@PROTOCOLS
def test_an_answer_is_never_asked_for_again_once_it_began(ha, h2):
    g = ha(("--fault", "reset-in-body"))
    with g.client(h2) as c, pytest.raises(httpx.HTTPError):
        c.post(g.base + URL, json=BODY, headers=LONG)
    assert [m.requests() for m in g.mocks] == [1, 0, 0]


@PROTOCOLS
def test_both_limits_at_once(ha, h2):
    g = ha()
    with g.client(h2) as c:
        got = [c.post(g.base + "/v1/chat/completions", json=BODY).status_code for _ in range(12)]
        # 10 a minute with a burst of 5: one and five, however wide the other limit is.
        assert got == [200] * 6 + [503] * 6, got
        # The stream's location has the wide one alone.
        more = [c.post(g.base + "/v1/chat/completions/stream", json=BODY).status_code for _ in range(15)]
    assert more.count(503) >= 3 and more[:3] == [200] * 3, more
    assert re.search(r'limiting requests, excess: \S+ by zone "premium"', g.s.log())
    assert re.search(r'limiting requests, excess: \S+ by zone "per_address"', g.s.log())


@PROTOCOLS
def test_answers_are_compressed_where_the_client_asks(ha, h2):
    g = ha()
    with g.client(h2) as c:
        zipped = c.post(g.base + URL, json=BODY, headers={**LONG, "Accept-Encoding": "gzip"})
        plain = c.post(g.base + URL, json=BODY, headers={**LONG, "Accept-Encoding": "identity"})
        short = c.post(g.base + URL, json=BODY, headers={"X-Mock-Tokens": "1", "Accept-Encoding": "gzip"})
    assert zipped.headers["content-encoding"] == "gzip" and "content-length" not in zipped.headers
    assert zipped.headers["vary"] == "Accept-Encoding"
    assert len(zipped.json()["choices"][0]["message"]["content"]) == len(plain.json()["choices"][0]["message"]["content"])
    assert "content-encoding" not in plain.headers and "content-encoding" not in short.headers


@PROTOCOLS
def test_streams_come_event_by_event(ha, h2):
    g = ha()
    body = {**BODY, "stream": True}
    with g.client(h2) as c:
        headers = {"X-Mock-Tokens": "8", "X-Mock-Chunk-Delay-Ms": "150", "Accept-Encoding": "gzip"}
        with c.stream("POST", g.base + "/v1/chat/completions/stream", json=body, headers=headers) as r:
            assert r.status_code == 200 and r.headers["content-type"].startswith("text/event-stream")
            times, lines = [], []
            for line in r.iter_lines():
                if line.startswith("data:"):
                    times.append(time.monotonic())
                    lines.append(line.rstrip())
    assert lines[-1] == "data: [DONE]" and len(lines) >= 8
    assert times[-1] - times[0] > 0.6, "they came at once"


def test_a_stream_that_an_upstream_cuts_is_not_whole_for_the_client(ha):
    g = ha(("--fault", "close-in-body"))
    body = {**BODY, "stream": True}
    for h2 in (False, True):
        with g.client(h2) as c, pytest.raises(httpx.HTTPError):
            c.post(g.base + "/v1/chat/completions/stream", json=body, headers={"X-Mock-Tokens": "50"})


def test_the_certificates_status_is_stapled(ha, ca, folder, site, stack):  # noqa: F811
    port = harness.free_port()
    cert = site(port)
    responder = Responder(ca, folder, port)
    responder.set(cert)
    stack.enter_context(responder)
    g = ha(own=cert)
    until(lambda: status(g.port, ca=ca.ca) == "good", 10, "the staple")


def test_h2load(ha):
    g = ha()
    body = g.s.dir / "body.json"
    body.write_text(json.dumps(BODY))
    p = subprocess.run(["h2load", "-c", "4", "-m", "8", "-n", "400", "-H", "content-type: application/json", "-d", body,
                        f"{g.base}{URL}"], capture_output=True, text=True, timeout=120)
    assert "400 succeeded, 0 failed" in p.stdout and "400 2xx" in p.stdout, p.stdout


@pytest.mark.parametrize("flag", ["--http1.1", "--http2"])
def test_curl(ha, flag):
    g = ha()
    p = subprocess.run(["curl", "-sS", flag, "--cacert", g.ca, "--resolve", f"gateway.sl.test:{g.port}:127.0.0.1",
                        "-w", "\n%{http_version} %{http_code}", "-d", json.dumps(BODY),
                        f"https://gateway.sl.test:{g.port}{URL}"], capture_output=True, text=True, timeout=60)
    body, tail = p.stdout.rsplit("\n", 1)
    assert json.loads(body)["choices"] and tail == ("2 200" if flag == "--http2" else "1.1 200"), p.stderr


def test_chromium(ha, stack):
    g = ha()
    home = stack.enter_context(harness.temp_dir())
    p = subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors",
                        f"--user-data-dir={home}", "--dump-dom", f"{g.base}/nothing"],
                       capture_output=True, text=True, timeout=120 * SLOW, env={"HOME": str(home), "PATH": "/usr/bin:/bin"})
    assert "404 Not Found" in p.stdout, p.stderr[-2000:]
    assert any('"GET /nothing HTTP/2.0" 404' in line for line in g.log())


@PROTOCOLS
def test_many_at_once(ha, h2):
    # In one thread: httpcore 0.16 may give two threads one HTTP/2 stream, or send them out of their order.
    g = ha()

    async def ask_all():
        async with httpx.AsyncClient(http2=h2, http1=not h2, verify=str(g.ca), timeout=30 * SLOW) as c:
            room = asyncio.Semaphore(16)

            async def ask(i):
                async with room:
                    return await c.post(g.base + URL, json=BODY, headers={"X-Mock-Tokens": str(i + 1)})
            return await asyncio.gather(*map(ask, range(100)))
    got = asyncio.run(ask_all())
    assert {r.status_code for r in got} == {200}
    for i, r in enumerate(got):
        assert r.json()["usage"]["completion_tokens"] == i + 1, "somebody else's answer"


def test_a_name_that_does_not_resolve_at_the_start_recovers(ha):
    """The 502 after a restart that people know."""
    g = ha(resolves=False)
    with g.client(False) as c:
        assert c.post(g.base + URL, json=BODY).status_code == 502
        g.resolve()
        until(lambda: c.post(g.base + URL, json=BODY).status_code == 200, 15, "an answer")
