# SPDX-License-Identifier: BSD-2-Clause
"""Issue 2, points 3 and 4: thousands of streams through a reload, and ten thousand requests through failures."""
import json
import signal
import subprocess
import time

import pytest
from guard_net import Ctl
from harness import IS_ASAN, SL_LOAD, child_setup, pss_kb, until

N_STREAMS = 200 if IS_ASAN else 2000
N_REQUESTS = 2000 if IS_ASAN else 10000
N_CONNECTIONS = 50
SECONDS = 10
PSS_MAX_KB = 16     # all connect in the same instant: the bench measures less
pytestmark = pytest.mark.alone
MAIN = "worker_rlimit_nofile 16384;\nadmin { listen unix:@dir@/admin.sock; }\n"


class Load:
    """A run of sl-load; its report as JSON."""

    def __init__(self, *args):
        self.proc = subprocess.Popen([str(SL_LOAD), *map(str, args), "--json"], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True, preexec_fn=child_setup)

    def end(self, timeout_s=60):
        try:
            out, err = self.proc.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.stop()
            raise
        assert out, err
        return self.proc.returncode, json.loads(out), err

    def stop(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.communicate()


@pytest.fixture
def load(stack):
    def make(*args):
        run = Load(*args)
        stack.callback(run.stop)
        return run
    return make


def test_streams_through_a_reload(start, mocks, load, ca):
    mock = mocks("--timestamps")
    s = start("""
upstream models { server @mock@; }
server {
    listen 127.0.0.1:@http@ ssl;
    ssl_certificate @chain@;
    ssl_certificate_key @key@;
    location / { proxy_pass http://models; proxy_read_timeout 30s; }
}""", {"mock": mock.addr, "chain": ca.server.chain, "key": ca.server.key}, main=MAIN, connections=3 * N_STREAMS)
    ctl = Ctl(s)
    worker = s.workers()[0]
    before = pss_kb(worker)
    run = load("streams", "--connect", f"127.0.0.1:{s.port}", "--tls", "--ca", ca.ca, "--sni", "localhost",
               "--connections", N_STREAMS, "--seconds", SECONDS, "--interval-ms", 100, "--max-lost", 0,
               "--timeout-ms", 20000)
    until(lambda: ctl.json("status")["requests"]["active"] == N_STREAMS, 15, "all streams")
    time.sleep(1)
    per_stream = (pss_kb(worker) - before) / N_STREAMS
    s.send_signal(signal.SIGHUP)
    until(lambda: len(s.workers()) == 2 and worker in s.workers(), 10, "the new worker beside the old one")
    code, report, err = run.end()
    streams = report["streams"]
    print(f"\n{N_STREAMS} streams: {per_stream:.1f} KB a stream (PSS), late by (us) {streams['lateness_us']}")
    assert code == 0 and report["errors"] == 0, (report, err)
    assert streams["completed"] == streams["started"] == N_STREAMS
    assert streams["cut"] == streams["without_done"] == streams["events_lost"] == 0
    assert streams["events_received"] == streams["events_expected"] >= N_STREAMS * SECONDS * 9
    assert IS_ASAN or per_stream < PSS_MAX_KB
    until(lambda: worker not in s.workers(), 10, "the end of the old worker")
    until(lambda: mock.stats()["streams_active"] == 0, 5, "the end of the streams upstream")
    stats = mock.stats()
    assert stats["streams_total"] == N_STREAMS and stats["aborted_streams"] == 0


def test_requests_through_failures(start, mocks, load, ca):
    """One upstream is killed and one begins to answer 500 in the middle; nobody notices, and the dead one comes back."""
    good, dies, fails = (mocks(name=n) for n in ("good", "dies", "fails"))
    s = start("""
upstream models {
    server @good@;
    server @dies@ max_fails=2 fail_timeout=1s;
    server @fails@ max_fails=2 fail_timeout=1s;
}
server {
    listen 127.0.0.1:@http@ ssl;
    ssl_certificate @chain@;
    ssl_certificate_key @key@;
    location / {
        proxy_pass http://models;
        proxy_next_upstream error timeout http_500 http_502 http_503;
    }
}""", {"good": good.addr, "dies": dies.addr, "fails": fails.addr, "chain": ca.server.chain, "key": ca.server.key},
              main=MAIN)
    ctl = Ctl(s)
    run = load("requests", "--connect", f"127.0.0.1:{s.port}", "--tls", "--ca", ca.ca, "--sni", "localhost",
               "--connections", N_CONNECTIONS, "--requests", N_REQUESTS, "--warmup", 0, "--rate", N_REQUESTS // 5,
               "--path", "/v1/chat/completions", "--method", "POST", "--body-bytes", 600)

    def done():
        return ctl.json("status")["requests"]["total"]
    until(lambda: done() > N_REQUESTS // 5, 20, "a fifth of the requests")
    dies.kill()
    until(lambda: done() > 2 * N_REQUESTS // 5, 20, "two fifths of the requests")
    fails.kill()
    fails.args += ["--status", "500"]
    fails.start()
    assert done() < N_REQUESTS, "all this happens in the middle"
    code, report, err = run.end(120)
    assert code == 0 and report["errors"] == 0, (report, err)
    assert report["count"] == N_REQUESTS and report["status"] == {"200": N_REQUESTS}
    peers = peers_of(ctl)
    assert peers[good.addr]["state"] == "up" and peers[good.addr]["failures"] == 0
    for mock in (dies, fails):
        assert peers[mock.addr]["failures"] >= 2 and peers[mock.addr]["requests"] > 0
    assert peers[fails.addr]["responses"]["5xx"] > 0 and peers[good.addr]["responses"]["5xx"] == 0
    text = ctl.ok("upstreams")
    assert dies.addr in text and fails.addr in text
    assert ctl.json("status")["responses"]["2xx"] >= N_REQUESTS and ctl.json("status")["responses"]["5xx"] == 0
    dies.start()
    before = dies.requests()

    def is_back():
        subprocess.run([str(SL_LOAD), "requests", "--connect", f"127.0.0.1:{s.port}", "--tls", "--requests", "20",
                        "--connections", "2", "--path", "/v1/chat/completions", "--method", "POST", "--body-bytes", "600"],
                       capture_output=True, check=True)
        return dies.requests() > before and peers_of(ctl)[dies.addr]["state"] == "up"
    until(is_back, 10, "the return of the upstream that was dead")


def peers_of(ctl):
    group = next(g for g in ctl.json("upstreams")["upstreams"] if g["name"] == "models")
    return {p["address"]: p for server in group["servers"] for p in server["peers"]}
