# SPDX-License-Identifier: BSD-2-Clause
"""HTTP/2 connections when workers come and go: no stream is cut, no request lost."""
import signal
import threading
import time

import h2raw
import httpx
import pytest
from h2raw import H2
from harness import Mock, Sluice, free_port, until

CONF = """
    upstream slow { server @slow@; }
    server {
        listen 127.0.0.1:@tls@ ssl http2;
        server_name localhost;
        keepalive_requests 100000;
        ssl_certificate @cert@;
        ssl_certificate_key @key@;
        location / { proxy_pass http://slow/v1/chat/completions; }
        location /ret { return 200 "@text@"; }
    }
"""


NOTICE = "<ConnectionTerminated error_code:0, last_stream_id:2147483647,"


@pytest.fixture
def sluice(ca):
    slow = Mock("--chunk-delay-ms", "100", "--tokens", "15")
    values = {"slow": slow.addr, "cert": ca.server.chain, "key": ca.server.key, "tls": free_port(), "text": "old"}
    try:
        with Sluice(CONF, values) as s:
            s.port = values["tls"]
            yield s
    finally:
        slow.stop()


def stream(c):
    id = c.headers(method="POST", end=False)
    c.data(id, b'{"stream":true}', end=True)
    return id


def test_reload_finishes_streams(sluice):
    with H2(sluice.port) as c:
        ids = [stream(c) for _ in range(20)]
        c.wait(lambda: all(c.stream(i).heads for i in ids))
        sluice.values["text"] = "new"
        sluice.rewrite(CONF)
        sluice.reload()
        with H2(sluice.port) as fresh:
            assert fresh.get("/ret").body == b"new"
        # Until it has heard of it, the client may open streams: they are served.
        assert c.get("/ret").body == b"old"
        for id in ids:
            assert b"[DONE]" in c.answer(id).body and c.stream(id).ended
            assert not c.goaway or id == ids[-1]
        assert c.end() == ["NO_ERROR", "NO_ERROR"]
        assert c.goaway_ids[0] == 0x7fffffff and c.goaway_ids[1] == 41
    until(lambda: len(sluice.workers()) == 1, 10, "the end of the old worker")


def test_reload_moves_idle_connections(sluice):
    with H2(sluice.port) as c:
        assert c.get("/ret").status == 200
        sluice.reload()
        assert c.end() == ["NO_ERROR", "NO_ERROR"]
    until(lambda: len(sluice.workers()) == 1, 10, "the end of the old worker")


def test_who_does_not_answer_pings_must_go_too(sluice):
    with H2(sluice.port) as c:
        assert c.get("/ret").status == 200
        sluice.reload()
        c.wait(lambda: c.goaway)
        c.take = lambda f: None
        start = time.monotonic()
        with pytest.raises((h2raw.Gone, OSError)):
            while time.monotonic() < start + 10:
                c.read_frame()
        assert time.monotonic() < start + 8


def test_quit_finishes_streams(sluice):
    with H2(sluice.port) as c, H2(sluice.port) as idle:
        assert idle.get("/ret").status == 200
        ids = [stream(c) for _ in range(10)]
        c.wait(lambda: all(c.stream(i).heads for i in ids))
        sluice.send_signal(signal.SIGQUIT)
        assert idle.end()[-1] == "NO_ERROR"
        for id in ids:
            assert b"[DONE]" in c.answer(id).body
        assert c.end()[-1] == "NO_ERROR"
    until(lambda: sluice.proc.poll() is not None, 10, "the end")


def test_reloads_under_load(sluice):
    """No request may fail, and httpx takes a GOAWAY for the end of what is open. It comes in a pause of half a second, but on a
    busy machine a client may have wanted to go on just then (test_reload_load.py has a client that does right)."""
    failures, done, stop = [], [0], threading.Event()

    def run():
        with httpx.Client(http2=True, verify=False, timeout=30) as c:
            before = begun = time.monotonic()
            while not stop.is_set():
                before, begun = begun, time.monotonic()
                try:
                    r = c.get(f"https://127.0.0.1:{sluice.port}/ret")
                    if r.status_code != 200 or r.text != "old":
                        failures.append(r)
                    done[0] += 1
                    time.sleep(0.15 if done[0] % 20 == 0 else 0)
                except Exception as e:
                    lasted_s = time.monotonic() - before
                    # From the answer before to the notice it was not longer.
                    if not (isinstance(e, httpx.RemoteProtocolError) and NOTICE in str(e) and lasted_s >= 0.45):
                        failures.append((lasted_s, repr(e)))
    threads = [threading.Thread(target=run) for _ in range(4)]
    for t in threads:
        t.start()
    for _ in range(8):
        time.sleep(0.3)
        sluice.reload()
    until(lambda: done[0] > 50, 10, "answers")
    stop.set()
    for t in threads:
        t.join()
    assert not failures, failures[:5]
    until(lambda: len(sluice.workers()) == 1, 15, "the end of old workers")
