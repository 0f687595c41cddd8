# SPDX-License-Identifier: BSD-2-Clause
"""What happens, told as it happens: /api/v1/events, sluicectl watch, the log; and what interrupts the telling."""
import json
import os
import queue
import signal
import socket
import struct
import subprocess
import threading
import time

import harness
import pytest
from guard_net import Ctl, reach
from harness import CTL, SLOW, Conn, children, fetch, free_port, is_alive, until
from test_guard import ADMIN, LIMITED, PORT, get_banned, guarded, local, offend  # noqa: F401 - fixtures
from test_life import upgrade  # noqa: F401 - fixture

pytestmark = pytest.mark.kernel

WAIT_S = 10 * SLOW


class Watch:
    """sluicectl watch; .next(...) is the next line, or with --json the next event."""

    def __init__(self, s, *args, text=False):
        self.lines, self.text, self.seen = queue.Queue(), text, []
        self.proc = subprocess.Popen([str(CTL), "-s", str(s.dir / "admin.sock"), *([] if text else ["--json"]), "watch",
                                      *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                     # A shell that runs the tests in the background has it ignored.
                                     preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        threading.Thread(target=self.read, daemon=True).start()
        if not args:
            until(lambda: s.ctl.json("status")["events"]["watchers"] > 0, 5, "the watcher")

    def read(self):
        for line in self.proc.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def next(self, kind=None):
        while True:
            try:
                line = self.lines.get(timeout=WAIT_S)
            except queue.Empty:
                raise AssertionError(f"no {kind or 'event'} came, but {self.seen}") from None
            assert line is not None, (self.seen, self.proc.stderr.read())
            self.seen.append(line)
            if self.text:
                return line
            event = json.loads(line)
            if kind in (None, event["event"]):
                return event

    def stop(self):
        self.proc.send_signal(signal.SIGINT)
        self.proc.wait(WAIT_S)


@pytest.fixture
def watch(stack):
    def make(s, *args, **kw):
        w = Watch(s, *args, **kw)
        stack.callback(w.stop)
        return w
    return make


def ban(s, addr, lasts="1h"):
    s.ctl.ok("ban", addr, "--for", lasts, "--reason", "a test")


def test_a_ban_is_told_from_its_beginning_to_its_end(local, watch):
    s = local()
    w = watch(s)
    ban(s, "192.0.2.7", "2s")
    e = w.next()
    assert (e["event"], e["address"], e["manual"], e["reason"], e["for_s"]) == ("ban", "192.0.2.7", True, "a test", 2)
    assert e["in_kernel"] is False and e["rule"] == "00000000" and e["dry_run"] is False
    e = w.next()
    assert (e["event"], e["address"]) == ("ban_over", "192.0.2.7")
    ban(s, "2001:db8::7", "forever")
    e = w.next()
    assert (e["address"], e["for_s"]) == ("2001:db8::7", None)
    s.ctl.ok("unban", "2001:db8::7")
    assert w.next()["event"] == "ban_lifted"


def test_a_ban_by_a_rule_has_its_id(local, watch):
    s = local()
    w = watch(s)
    offend(s.port, "127.0.0.1")
    e = w.next("ban")
    assert e["address"] == "127.0.0.1" and not e["manual"] and "limit_req" in e["reason"]
    assert int(e["rule"], 16) != 0 and len(e["rule"]) == 8


def test_the_lines_for_people(local, watch):
    s = local()
    w = watch(s, text=True)
    ban(s, "192.0.2.7", "90s")
    line = w.next()
    assert line[2] == line[5] == ":" and line[8] == "."
    assert line[13:] == "ban 192.0.2.7 for 90s rule 00000000: a test", line


def test_the_last_ones_first(local, watch):
    s = local()
    for i in range(5):
        ban(s, f"192.0.2.{i}")
    w = watch(s, "--last", "2")
    assert [w.next()["address"] for _ in range(2)] == ["192.0.2.3", "192.0.2.4"]
    code, _, err = s.ctl.run("watch", "--last", "0")
    assert code == 1 and "last" in err
    assert s.ctl.run("bans", "--last", "2")[0] == 2
    assert subprocess.run([str(CTL), "-s", "/nowhere", "watch"], capture_output=True).returncode == 3


def test_reloads_lose_nothing(local, watch):
    s = local()
    w = watch(s)
    for i in range(4):
        ban(s, f"192.0.2.{i}")
        s.reload()
        ban(s, f"198.51.100.{i}")
    got = [w.next()["address"] for _ in range(8)]
    assert got == [f"{net}.{i}" for i in range(4) for net in ("192.0.2", "198.51.100")]


def test_a_killed_admin_process_loses_nothing(local, watch):
    s = local()
    w = watch(s)
    s.expected.append("exited on signal|killed")
    for i in range(3):
        ban(s, f"192.0.2.{i}")
        pid = s.ctl.json("status")["admin_pid"]
        os.kill(pid, 9)
        until(lambda p=pid: not is_alive(p), 5, "the end of the admin process")
        offend(s.port, "127.0.0.1", source=f"127.0.0.{10 + i}")
    got = [w.next("ban")["address"] for _ in range(6)]
    assert got == [a for i in range(3) for a in (f"192.0.2.{i}", f"127.0.0.{10 + i}")]


def test_a_new_binary_goes_on_telling(local, watch, upgrade):
    s = local()
    w = watch(s)
    ban(s, "192.0.2.1")
    assert w.next()["address"] == "192.0.2.1"
    u = upgrade(s)
    u.quit_old()
    e = w.next("gap")
    assert e["lost"] is None
    ban(s, "192.0.2.2")
    assert w.next("ban")["address"] == "192.0.2.2"


def test_over_tcp_with_a_token(start, mock, stack):
    folder = stack.enter_context(harness.temp_dir())
    (folder / "token").write_text("a-token-for-this-test\n")
    (folder / "token").chmod(0o600)
    s = start(LIMITED, {"listen": "listen 127.0.0.1:@http@;", "mock": mock.addr, "ban": "", "tcp": free_port(),
                        "folder": folder},
              main="admin { listen unix:@dir@/admin.sock; listen 127.0.0.1:@tcp@; token_file @folder@/token; watchers 1; }\n")
    s.ctl, tcp = Ctl(s), s.values["tcp"]
    assert fetch(tcp, "/api/v1/events").status == 401
    ban(s, "192.0.2.1")
    headers = {"Authorization": "Bearer a-token-for-this-test"}
    with Conn(tcp) as c:
        c.send(harness.build("GET", "/api/v1/events?last=5", headers))
        head = c.head()
        assert head.status == 200 and head.header("Content-Type") == "text/event-stream"
        assert head.header("Cache-Control") == "no-store"
        text = ""
        while "data: " not in text or not text.endswith("\n\n"):
            text += c.chunk().decode()
        lines = text.splitlines()
        assert lines[0] == "retry: 1000" and lines[1].startswith("id: ") and lines[2] == ""
        assert lines[3].startswith("id: ") and lines[4] == "event: ban" and lines[5].startswith("data: {")
        r = fetch(tcp, "/api/v1/events", headers=headers)
        assert r.status == 503 and r.json()["error"]["code"] == "full"
    until(lambda: s.ctl.json("status")["events"]["watchers"] == 0, 5, "the end of the watcher")
    metrics = fetch(tcp, "/metrics", headers=headers).body.decode()
    assert "\nsluice_events_total 1\n" in metrics and '\nsluice_events_lost_total{where="watchers"} 0\n' in metrics
    assert "\nsluice_event_watchers 0\n" in metrics


def test_many_watchers_that_do_not_read_cost_nothing(local, stack):
    """Each holds a place in the ring: the admin process does not grow, and others are served."""
    s = local()
    pid = s.ctl.json("status")["admin_pid"]
    idle = [stack.enter_context(Conn(None, unix=s.dir / "admin.sock")) for _ in range(16)]
    for c in idle:
        c.send(harness.build("GET", "/api/v1/events", {}))
    until(lambda: s.ctl.json("status")["events"]["watchers"] == 16, 5, "the watchers")
    before = harness.pss_kb(pid)
    for _ in range(5):
        for i in range(200):
            r = one(s, "POST", "/api/v1/bans", {"address": f"192.0.2.{i}", "for": "1h", "reason": "x" * 90})
            assert r.status == 201
    # ASan keeps what was freed for a while.
    assert harness.pss_kb(pid) < before + (300000 if harness.IS_ASAN else 1024)
    assert s.ctl.json("status")["events"]["total"] == 1000
    assert pid in children(s.pid)


def one(s, method, path, body):
    with Conn(None, unix=s.dir / "admin.sock") as c:
        return c.request(method, path, {"Connection": "close"}, json.dumps(body))


@pytest.mark.privileged
def test_the_guard_says_where_it_is(guarded, watch):
    s = guarded()
    w = watch(s, "--last", "10")
    on = [w.next("guard_on") for _ in range(2)]
    assert {e["interface"] for e in on} == {"sl-s1", "sl-s2"} and "mode" in on[0]["text"]
    s.reload()                      # the same again is no news
    s.ctl.ok("ban", "10.77.9.9", "--for", "1h")
    e = w.next()
    assert e["event"] == "ban" and e["in_kernel"] is True
    s.rewrite(LIMITED, ADMIN)
    s.reload()
    assert w.next()["event"] == "guard_off"


@pytest.mark.privileged
def test_what_the_guard_drops_is_told(guarded, net, pins, watch):
    """In the stream, in the log and in the maps by the same id; once a second and no more."""
    s = guarded("deny 10.77.2.0/24; rate syn=1/s burst=1;")
    w = watch(s)
    bad, denied = net.clients
    assert reach(PORT, "10.77.2.1", denied, timeout=0.3) == "dropped"
    e = w.next("drop")
    assert (e["address"], e["network"], e["verdict"], e["interface"]) == ("10.77.2.2", "10.77.2.0/24", "drop_net", "sl-s2")
    assert e["dry_run"] is False and e["packets"] >= 1
    s.wait_log(f"the guard drops 10.77.2.2 of 10.77.2.0/24: drop_net, rule {e['rule']}, ")
    get_banned(s, "10.77.1.1", "10.77.1.2", netns=bad)
    ban_event = w.next("ban")
    begun = time.monotonic()
    while time.monotonic() < begun + 2:
        assert reach(PORT, "10.77.1.1", bad, timeout=0.2) == "dropped"
    e = w.next("drop")
    while e["address"] != "10.77.1.2" or e["verdict"] != "drop_deny":
        e = w.next("drop")
    assert e["rule"] == ban_event["rule"]
    s.wait_log(f"the guard drops 10.77.1.2: drop_deny, rule {e['rule']}, ")
    n_s = time.monotonic() - begun
    s.ctl.ok("ban", "192.0.2.99", "--for", "1h")
    told = 1
    while (e := w.next())["event"] != "ban":
        told += e["event"] == "drop" and e["verdict"] == "drop_deny"
    assert told <= n_s + 1.5, (told, n_s)


@pytest.mark.privileged
def test_a_dry_run_is_told_as_one(guarded, net, watch):
    s = guarded("dry_run on; rate syn=1/s burst=1;")
    w = watch(s)
    for _ in range(5):
        reach(PORT, "10.77.1.1", net.clients[0])
    e = w.next("drop")
    assert e["verdict"] == "drop_syn_rate" and e["dry_run"] is True and e["address"] == "10.77.1.2"
    s.wait_log(r"the guard would drop \(dry run\) 10.77.1.2: drop_syn_rate")


@pytest.mark.privileged
def test_a_flood_of_events_is_bounded(guarded, net, pins, watch):
    """A thousand sources at once: most are told, few are logged, the rest is counted, and all are dropped."""
    s = guarded("deny 198.18.0.0/15;")
    for i in range(1000):
        one(s, "POST", "/api/v1/bans", {"address": f"198.20.{i // 250}.{i % 250 + 1}", "for": "1h", "reason": ""})
    before = s.ctl.json("status")["events"]
    with harness.in_netns(net.clients[0]), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as out:
        for i in range(1000):
            src = socket.inet_aton(f"198.20.{i // 250}.{i % 250 + 1}")
            out.sendto(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 1, 0, 64, 17, 0, src, socket.inet_aton("10.77.1.1")) + bytes(8),
                       ("10.77.1.1", 0))
    until(lambda: pins.totals()["drop_deny"] == 1000, 5, "the drops")

    def all_accounted():
        now = s.ctl.json("status")["events"]
        return now["total"] - before["total"] + now["left_out"] + now["lost_in_kernel"] >= 1000
    until(all_accounted, 5, "the events")
    now = s.ctl.json("status")["events"]
    assert now["total"] - before["total"] >= 500 and now["lost_in_kernel"] == 0
    s.wait_log("the guard: [0-9]+ more events are not logged")
    assert len([x for x in s.log().splitlines() if "the guard drops" in x]) < 100


def test_a_peer_that_goes_and_comes_back(start, mocks, watch):
    """By failures of requests, and by health checks; a reload in between is no news."""
    failing, sick = mocks(), mocks()
    s = start("""
upstream fails { server @a@ max_fails=1 fail_timeout=1s; server @ok@; }
upstream checked { server @b@; server @ok@; }
server {
    listen 127.0.0.1:@http@;
    location / { proxy_pass http://fails; }
    location /c { proxy_pass http://checked; health_check interval=500ms uri=/health; }
}
""", {"a": failing.addr, "b": sick.addr, "ok": mocks().addr}, main=ADMIN)
    s.ctl = Ctl(s)
    w = watch(s)
    until(lambda: all(p["health_checks"] for u in s.ctl.json("upstreams")["upstreams"] if u["name"] == "checked"
                      for x in u["servers"] for p in x["peers"]), 10, "the first health check")
    s.reload()
    sick.kill()
    e = w.next("peer_down")
    assert e["text"].startswith(f"checked {sick.addr}: "), e
    failing.kill()
    for _ in range(4):
        assert fetch(s.port, "/echo").status == 200
    assert w.next("peer_down")["text"] == f"fails {failing.addr}"
    sick.start()
    assert w.next("peer_up")["text"] == f"checked {sick.addr}"
    s.reload()
    ban(s, "192.0.2.1")
    w.next("ban")
    assert [json.loads(x)["event"] for x in w.seen] == ["peer_down", "peer_down", "peer_up", "ban"]
