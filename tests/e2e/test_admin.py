# SPDX-License-Identifier: BSD-2-Clause
"""The admin API over its sockets, sluicectl, and the metrics' format (docs/admin.md)."""
import json
import os
import re
import stat
import subprocess
import time

import harness
import pytest
from guard_net import Ctl
from harness import (CTL, REPO, Conn, build, children, fetch, free_port, is_alive, run_sluice, status_of, temp_dir,
                     until)

TOKEN = "s3cret-Token.of_tests~+/="
MAIN = "admin { listen unix:@dir@/admin.sock; listen 127.0.0.1:@tcp@; token_file @token@; }\n"
CONF = """
limit_req_zone $binary_remote_addr zone=z:1m rate=1r/m;
upstream models { server @mock@ weight=3 max_fails=2 fail_timeout=7s; server 127.0.0.1:@dead@ backup; server 127.0.0.1:9 down; }
server {
    listen 127.0.0.1:@http@;
    location / { proxy_pass http://models; }
    location /limited { limit_req zone=z; proxy_pass http://@mock@/echo; }
    location /ret { return 204; }
}
"""


@pytest.fixture
def admin(start, mock, stack):
    folder = stack.enter_context(temp_dir())
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "token").chmod(0o600)
    s = start(CONF, {"mock": mock.addr, "tcp": free_port(), "dead": free_port(), "token": folder / "token"}, main=MAIN)
    s.ctl, s.mock, s.sock, s.tcp = Ctl(s), mock, s.dir / "admin.sock", s.values["tcp"]
    return s


def ask(s, method, path, body=None, headers=(), **kw):
    """Over the unix socket."""
    with Conn(None, unix=s.sock, **kw) as c:
        return c.request(method, path, {"Connection": "close", **dict(headers)},
                         json.dumps(body) if isinstance(body, dict) else body)


def over_tcp(s, path, method="GET", token=TOKEN, host="localhost", body=None):
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return fetch(s.tcp, path, method, headers, body, host)


def get(s, path):
    r = ask(s, "GET", path)
    assert r.status == 200 and r.header("Content-Type").startswith("application/json")
    return r.json()


# --- who may ask ---

PATHS = ["/metrics", "/api/v1/status", "/api/v1/upstreams", "/api/v1/bans", "/api/v1/sources"]


@pytest.mark.parametrize("path", PATHS)
def test_tcp_needs_the_token_and_unix_does_not(admin, path):
    assert ask(admin, "GET", path).status == 200
    assert over_tcp(admin, path).status == 200
    for token in (None, "", TOKEN[:-1], TOKEN + "x", TOKEN.lower(), "x"):
        r = over_tcp(admin, path, token=token)
        assert r.status == 401 and r.json()["error"]["code"] == "unauthorized", token
        assert (r.header("WWW-Authenticate") or "").startswith("Bearer")
        assert TOKEN not in r.body.decode()


@pytest.mark.parametrize("value", [TOKEN, f"Basic {TOKEN}", f"Bearer  {TOKEN} x", f"Bearer{TOKEN}", "Bearer"])
def test_other_forms_of_the_token(admin, value):
    assert fetch(admin.tcp, "/metrics", headers={"Authorization": value}).status == 401


def test_changes_need_the_token_too(admin):
    body = '{"address":"192.0.2.1","for":"1h"}'
    assert over_tcp(admin, "/api/v1/bans", "POST", None, body=body).status == 401
    assert admin.ctl.bans() == {}
    assert over_tcp(admin, "/api/v1/bans", "POST", body=body).status == 201
    assert over_tcp(admin, "/api/v1/bans/192.0.2.1", "DELETE", None).status == 401
    assert set(admin.ctl.bans()) == {"192.0.2.1"}


def test_foreign_host_names_are_refused(admin):
    """DNS rebinding: a page of evil.test must not reach the API under its own name."""
    for host, status in (("localhost", 200), (f"127.0.0.1:{admin.tcp}", 200), ("evil.test", 403), ("localhost.evil.test", 403)):
        assert over_tcp(admin, "/metrics", host=host).status == status, host


def test_socket_mode_and_process(admin):
    mode = admin.sock.stat()
    assert stat.S_IMODE(mode.st_mode) == 0o600
    pid = get(admin, "/api/v1/status")["admin_pid"]
    assert pid in children(admin.pid) and pid not in admin.workers()
    if os.geteuid() == 0:
        status = status_of(pid)
        assert status["Uid"].split()[0] != "0" and mode.st_uid == int(status["Uid"].split()[0])
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0 and status["NoNewPrivs"] == "1"


def test_the_token_is_nowhere(admin):
    over_tcp(admin, "/metrics")
    over_tcp(admin, "/metrics", token=TOKEN + "x")
    for path in admin.dir.iterdir():
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path
    for pid in [admin.pid, *children(admin.pid)]:
        for name in ("cmdline", "environ"):
            assert TOKEN.encode() not in open(f"/proc/{pid}/{name}", "rb").read()


@pytest.mark.parametrize("text,expected", [
    ("listen 127.0.0.1:1;", "token_file"), ("", "listen"),
    ("listen 127.0.0.1:1; token_file @dir@/none;", "none"), ("listen unix:@dir@/s; token_file @dir@/empty;", "empty"),
    ("listen unix:relative;", "absolute"), ("listen unix:@dir@/s mode=0999;", "mode"), ("listen localhost;", "invalid address"),
])
def test_broken_configurations(stack, text, expected):
    folder = stack.enter_context(temp_dir())
    (folder / "empty").write_text("\n")
    conf = folder / "c.conf"
    conf.write_text(f"admin {{ {text.replace('@dir@', str(folder))} }}\nevents {{}}\nhttp {{}}\n")
    code, out = run_sluice("-t", "-c", conf)
    assert code == 1 and re.search(rf"\[emerg\] .*{expected}.* in {conf}:1", out), out


# --- what it says ---

def test_status(admin):
    for _ in range(3):
        assert fetch(admin.port, "/ret").status == 204
    fetch(admin.port, "/echo", headers={"X-Mock-Status": "404"})
    with Conn(admin.port) as idle, Conn(admin.port) as busy:
        assert idle.request("GET", "/ret").status == 204
        busy.send(build("GET", "/echo", {"X-Mock-Fault": "stall-before-head"}))
        until(lambda: [get(admin, "/api/v1/status")["requests"][k] for k in ("active", "total")] == [1, 6], 5, "the request that waits")
        s = get(admin, "/api/v1/status")
    assert s["master_pid"] == admin.pid and [w["pid"] for w in s["workers"]] == admin.workers()
    assert s["connections"]["active"] == 2 and s["connections"]["idle"] == 1 and s["connections"]["accepted"] == 6
    assert s["requests"]["total"] == 6
    assert s["responses"]["2xx"] == 4 and s["responses"]["4xx"] == 1 and s["responses"]["5xx"] == 0
    assert s["bytes"]["in"] > 0 and s["bytes"]["out"] > 0
    assert s["guard"]["on"] is False and "xdp" in s["guard"]["reason"]
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", s["version"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", s["started"])
    until(lambda: get(admin, "/api/v1/status")["connections"]["active"] == 0, 5, "the end of the connections")
    assert get(admin, "/api/v1/status")["requests"]["cancelled"] == 1


def test_status_counts_reloads_and_deaths(admin):
    admin.reload()
    good = admin.conf_path.read_text()
    until(lambda: get(admin, "/api/v1/status")["reloads"]["done"] == 1, 5, "the reload in the counts")
    assert get(admin, "/api/v1/status")["generation"] == 2
    admin.expected.append("emerg")
    admin.conf_path.write_text("nonsense;")
    r = ask(admin, "POST", "/api/v1/reload")
    assert r.status == 400 and "nonsense" in r.json()["error"]["message"]
    assert get(admin, "/api/v1/status")["reloads"]["failed"] == 1
    code, _, err = admin.ctl.run("reload")
    assert code == 1 and "nonsense" in err
    admin.conf_path.write_text(good)
    assert admin.ctl.run("reload")[0] == 0
    s = until(lambda: (s := get(admin, "/api/v1/status"))["generation"] == 3 and s, 5, "the third generation")
    assert s["reloads"]["done"] == 2 and s["reloads"]["failed"] == 2


def test_who_was_let_in_before_a_reload_is_answered_after_it(admin):
    """The admin process of before waits for the first request, for a second; a loaded machine may need more tries."""
    def ask_across_a_reload():
        old = get(admin, "/api/v1/status")["admin_pid"]
        with Conn(None, unix=admin.dir / "admin.sock") as c:
            get(admin, "/api/v1/status")    # who connects later is let in later
            admin.reload()
            until(lambda: get(admin, "/api/v1/status")["admin_pid"] != old, 5, "another admin process")
            time.sleep(0.1)
            try:
                return c.request("GET", "/api/v1/status").json()["admin_pid"] == old
            except (harness.Closed, ConnectionError):
                return False
    assert any(ask_across_a_reload() for _ in range(5))
    admin.expected.append("exited on signal 9|killed")
    os.kill(until(lambda: len(admin.workers()) == 1 and admin.workers()[0], 5, "one worker"), 9)
    until(lambda: get(admin, "/api/v1/status")["worker_deaths"] == 1, 5, "the death in the counts")
    until(lambda: fetch(admin.port, "/ret").status == 204, 5, "another worker")


def test_upstreams(admin):
    fetch(admin.port, "/echo")
    fetch(admin.port, "/echo", headers={"X-Mock-Status": "503"})
    groups = {g["name"]: g for g in get(admin, "/api/v1/upstreams")["upstreams"]}
    models = groups["models"]
    assert models["implicit"] is False
    first, backup, down = models["servers"]
    assert (first["weight"], first["max_fails"], first["fail_timeout_s"]) == (3, 2, 7)
    assert backup["backup"] and down["down"] and not first["backup"] and not first["down"]
    peer = first["peers"][0]
    assert peer["address"] == admin.mock.addr and peer["state"] == "up"
    assert peer["requests"] == 2 and peer["requests_active"] == 0
    assert peer["responses"]["2xx"] == 1 and peer["responses"]["5xx"] == 1
    assert down["peers"][0]["state"] == "down"
    assert any(g["implicit"] for g in groups.values())
    admin.mock.kill()
    for _ in range(3):
        assert fetch(admin.port, "/echo").status == 502
    models = next(g for g in get(admin, "/api/v1/upstreams")["upstreams"] if g["name"] == "models")
    peer = models["servers"][0]["peers"][0]
    assert peer["state"] == "failed" and peer["failures"] >= 2 and peer["unavailable_since"]


def test_bans_of_the_api(admin):
    r = ask(admin, "POST", "/api/v1/bans", {"address": "198.51.100.7", "for": "1h30m", "reason": "a \"reason\" <b>"})
    assert r.status == 201 and r.json()["address"] == "198.51.100.7"
    time.sleep(0.05)  # newest first, by the millisecond
    assert ask(admin, "POST", "/api/v1/bans", {"address": "2001:DB8:0::1", "for": "forever"}).status == 201
    bans = get(admin, "/api/v1/bans")
    assert bans["total"] == 2 and [b["address"] for b in bans["bans"]] == ["2001:db8::1", "198.51.100.7"]
    one = get(admin, "/api/v1/bans/198.51.100.7")
    assert one["reason"] == "a \"reason\" <b>" and one["manual"] and 5390 <= one["left_s"] <= 5400
    assert one["in_kernel"] is False
    assert get(admin, "/api/v1/bans/2001:db8:0:0::1")["until"] is None
    assert [b["address"] for b in get(admin, "/api/v1/bans?limit=1")["bans"]] == ["2001:db8::1"]
    assert ask(admin, "DELETE", "/api/v1/bans/198.51.100.7").status == 204
    assert ask(admin, "DELETE", "/api/v1/bans/198.51.100.7").status == 404
    assert ask(admin, "GET", "/api/v1/bans/198.51.100.7").status == 404
    assert set(admin.ctl.bans()) == {"2001:db8::1"}


def test_a_ban_again_is_the_same_ban(admin):
    for lasts in ("1h", "2h"):
        assert ask(admin, "POST", "/api/v1/bans", {"address": "192.0.2.1", "for": lasts}).status == 201
    assert get(admin, "/api/v1/bans")["total"] == 1
    assert get(admin, "/api/v1/bans/192.0.2.1")["left_s"] > 7000


@pytest.mark.parametrize("body", [
    "", "{", "[]", "null", '"x"', '{"for":"1h"}', '{"address":"192.0.2.1"}', '{"address":"192.0.2.1","for":""}',
    '{"address":"192.0.2.1","for":"-1s"}', '{"address":"192.0.2.1","for":"0"}', '{"address":"192.0.2.1","for":"soon"}',
    '{"address":"192.0.2.1","for":3600.5}', '{"address":"192.0.2.256","for":"1h"}', '{"address":"a.test","for":"1h"}',
    '{"address":"192.0.2.0/33","for":"1h"}', '{"address":"","for":"1h"}', '{"address":["192.0.2.1"],"for":"1h"}',
    '{"address":"192.0.2.1\\u0000x","for":"1h"}', '{"address":"192.0.2.1","for":"1h","reason":"%s"}' % ("x" * 96),
    '{"address":"192.0.2.1","for":"1h","reason":7}', '{"address":"192.0.2.1","for":"1h","unknown":1}',
    '{"address":"192.0.2.1","for":"1h"} x', '{"address":"192.0.2.1","address":"192.0.2.2","for":"1h"}',
    '{"address":"192.0.2.1","for":"999999999999999999999d"}', "[" * 5000,
])
def test_bad_bans(admin, body):
    r = ask(admin, "POST", "/api/v1/bans", body)
    assert r.status == 400 and r.json()["error"]["code"] == "bad_request", r
    assert admin.ctl.bans() == {}


def test_paths_and_methods(admin):
    for method, path, status in [
            ("GET", "/nothing", 404), ("GET", "/api/v1/", 404), ("GET", "/api/v2/status", 404), ("GET", "/metrics/", 404),
            ("POST", "/metrics", 405), ("DELETE", "/api/v1/status", 405), ("PUT", "/api/v1/bans", 405),
            ("DELETE", "/api/v1/bans", 405), ("POST", "/api/v1/bans/192.0.2.1", 405), ("GET", "/api/v1/reload", 405),
            ("DELETE", "/api/v1/bans/nonsense", 400), ("GET", "/api/v1/bans/192.0.2.0%2f33", 400),
            ("GET", "/api/v1/bans?limit=0", 400), ("GET", "/api/v1/bans?limit=10001", 400),
            ("GET", "/api/v1/sources?top=x", 400), ("GET", "/api/v1/sources?top=1001", 400)]:
        r = ask(admin, method, path)
        assert r.status == status, (method, path, r)
        assert set(r.json()["error"]) == {"message", "code"}
        if status == 405:
            assert r.header("Allow")


def test_too_large(admin):
    assert ask(admin, "POST", "/api/v1/bans", "x" * 70000).status == 413
    assert is_alive(get(admin, "/api/v1/status")["admin_pid"])


def test_page(admin):
    for r in (ask(admin, "GET", "/"), over_tcp(admin, "/", token=None)):
        assert r.status == 200 and r.header("Content-Type").startswith("text/html")
        assert "default-src" in r.header("Content-Security-Policy")
        assert TOKEN.encode() not in r.body
        assert not re.search(rb"https?://(?!www\.w3\.org)", r.body), "nothing from elsewhere"


def test_admin_comes_back(admin):
    pid = get(admin, "/api/v1/status")["admin_pid"]
    admin.expected.append("exited on signal|killed")
    os.kill(pid, 9)
    until(lambda: admin.ctl.run("status")[0] == 0 and get(admin, "/api/v1/status")["admin_pid"] != pid, 10,
          "another admin process")
    assert fetch(admin.port, "/ret").status == 204


# --- the format of the metrics ---

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (NaN|[-+]?Inf|[-+]?[0-9.]+(?:e[-+]?\d+)?)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


def metrics(s):
    """{name: (type, {labels: value})}, with the rules of the format checked (those of promtool too)."""
    r = ask(s, "GET", "/metrics")
    assert r.status == 200 and r.header("Content-Type").startswith("text/plain; version=0.0.4")
    text = r.body.decode()
    assert text.endswith("\n") and "\n\n" not in text
    found, current, helped = {}, None, set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            current = line.split(" ", 3)[2]
            assert current not in helped and line.split(" ", 3)[3].strip()
            helped.add(current)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == current and kind in ("counter", "gauge") and name not in found
            found[name] = (kind, {})
        else:
            m = SAMPLE.fullmatch(line)
            assert m, line
            assert m[1] == current, f"{line} is not with its family"
            labels = tuple((x[1], x[2]) for x in LABEL.finditer(m[2] or ""))
            assert "".join(f'{k}="{v}",' for k, v in labels).rstrip(",") == (m[2] or "").rstrip(","), line
            assert labels not in found[current][1], f"{line} twice"
            found[current][1][labels] = float(m[3])
    return found


def test_metrics_format(admin):
    fetch(admin.port, "/echo")
    found = metrics(admin)
    assert len(found) > 30
    for name, (kind, samples) in found.items():
        assert name.startswith("sluice_") and name == name.lower()
        assert samples, f"{name} has no sample"
        assert (kind == "counter") == name.endswith("_total"), name
        assert not re.search(r"_(count|sum|bucket)$|_(milli|micro|nano)seconds|_(ms|us|kb|mb|minutes|percent)(_|$)", name)
        assert all(value >= 0 for value in samples.values())
        names = {tuple(k for k, _ in labels) for labels in samples}
        assert len(names) == 1, f"{name} has samples of different labels"


def test_metrics_of_the_documentation(admin):
    """docs/admin.md lists all that there are, and no others."""
    text = (REPO / "docs/admin.md").read_text()
    table = text[text.index("## Metrics"):]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {"sluice_" + n for row in rows for n in re.findall(r"`(\w+)`", row)}
    only_guard = {n for n in named if n.startswith(("sluice_guard_packets", "sluice_guard_bytes", "sluice_guard_not", "sluice_ban_rule"))}
    fetch(admin.port, "/echo")
    assert set(metrics(admin)) == named - only_guard


def test_metrics_count(admin):
    before = metrics(admin)
    for _ in range(3):
        fetch(admin.port, "/ret")
    fetch(admin.port, "/echo", headers={"X-Mock-Status": "500"})
    for _ in range(2):
        fetch(admin.port, "/limited")
    with Conn(admin.port) as c:
        c.send("nonsense\r\n\r\n")
        c.end()
    assert ask(admin, "POST", "/api/v1/bans", {"address": "192.0.2.1", "for": "1h"}).status == 201
    after = metrics(admin)

    def grown(name, **labels):
        key = tuple(labels.items())
        return after[name][1][key] - before[name][1].get(key, 0)
    assert grown("sluice_requests_total") == 7
    assert grown("sluice_responses_total", **{"class": "2xx"}) == 4
    assert grown("sluice_responses_total", **{"class": "5xx"}) == 2
    assert grown("sluice_responses_total", **{"class": "4xx"}) == 1
    assert grown("sluice_requests_malformed_total") == 1
    assert grown("sluice_limit_req_total", verdict="rejected") == 1
    assert grown("sluice_connections_accepted_total") == 7
    assert grown("sluice_bans") == 1
    peer = {"upstream": "models", "peer": admin.mock.addr}
    assert grown("sluice_upstream_peer_requests_total", **peer) == 1
    assert grown("sluice_upstream_peer_responses_total", **peer, **{"class": "5xx"}) == 1
    assert after["sluice_upstream_peer_weight"][1][tuple(peer.items())] == 3
    assert after["sluice_upstream_peer_up"][1][tuple(peer.items())] == 1
    assert after["sluice_guard_attached"][1][()] == 0


def test_metrics_never_go_back(admin):
    """Counters stay when a worker dies and when the configuration is loaded again."""
    for _ in range(5):
        fetch(admin.port, "/ret")
    before = metrics(admin)
    admin.expected.append("exited on signal|killed")
    os.kill(admin.workers()[0], 9)
    until(lambda: metrics(admin)["sluice_worker_deaths_total"][1][()] == 1, 5, "the death in the counts")
    until(lambda: len(admin.workers()) == 1, 5, "another worker")
    admin.reload()
    until(lambda: metrics(admin)["sluice_config_reloads_total"][1][()] == 1, 5, "the reload in the counts")
    after = metrics(admin)
    for name, (kind, samples) in before.items():
        if kind == "counter" and not name.startswith(("sluice_admin_", "sluice_process_")):
            for labels, value in samples.items():
                assert after[name][1].get(labels, value) >= value, (name, labels)
    assert after["sluice_responses_total"][1][(("class", "2xx"),)] >= 5


# --- sluicectl ---

def test_sluicectl_json_is_what_the_api_says(admin):
    for command, path, key in (("upstreams", "/api/v1/upstreams", "upstreams"), ("bans", "/api/v1/bans", "bans"),
                               ("sources", "/api/v1/sources", "sources")):
        assert admin.ctl.json(command)[key] == get(admin, path)[key]
    assert set(admin.ctl.json("status")) == set(get(admin, "/api/v1/status"))


def test_sluicectl_text(admin):
    admin.ctl.ok("ban", "192.0.2.1", "--for", "10m", "--reason", "for the test")
    admin.ctl.ok("ban", "2001:db8::5", "--for", "1d")
    text = admin.ctl.ok("bans")
    assert "192.0.2.1" in text and "for the test" in text and "2001:db8::5" in text
    assert admin.mock.addr in admin.ctl.ok("upstreams") and "models" in admin.ctl.ok("upstreams")
    assert str(admin.pid) in admin.ctl.ok("status")
    assert "xdp" in admin.ctl.ok("sources")
    admin.ctl.ok("unban", "192.0.2.1")
    assert "192.0.2.1" not in admin.ctl.ok("bans")


def test_sluicectl_does_not_repeat_control_bytes(admin):
    """A reason may hold anything that JSON may; a terminal must not obey it."""
    body = '{"address":"192.0.2.1","for":"1h","reason":"a\\u001b[2Jb\\nc"}'
    assert ask(admin, "POST", "/api/v1/bans", body).status in (201, 400)
    text = admin.ctl.ok("bans")
    assert "\x1b" not in text and len(text.splitlines()) <= 4


@pytest.mark.parametrize("args,code", [
    ([], 2), (["nonsense"], 2), (["ban"], 2), (["ban", "192.0.2.1"], 2), (["unban"], 2), (["bans", "extra"], 2),
    (["sources", "--top"], 2), (["--nonsense", "bans"], 2), (["-h"], 0), (["ban", "nonsense", "--for", "1h"], 1),
    (["ban", "192.0.2.1", "--for", "never"], 1), (["unban", "192.0.2.1"], 1), (["sources", "--top", "0"], 1),
    (["status"], 0)])
def test_sluicectl_exit_codes(admin, args, code):
    got, out, err = admin.ctl.run(*args)
    assert got == code, (out, err)
    assert bool(err) == (code != 0)


def test_sluicectl_without_a_sluice(stack):
    folder = stack.enter_context(temp_dir())
    p = subprocess.run([str(CTL), "-s", str(folder / "none.sock"), "status"], capture_output=True, text=True)
    assert p.returncode == 3 and "none.sock" in p.stderr and not p.stdout
