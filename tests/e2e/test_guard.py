# SPDX-License-Identifier: BSD-2-Clause
"""Bans, from the offence to the packet that XDP drops, and the same bans where there is no XDP."""
import os
import re
import signal
import subprocess
import time

import harness
import pytest
from guard_net import IN_NET, PORT, Ctl, Kernel, progs_of, reach, xdp_on
from harness import SLOW, Conn, children, fetch, free_port, is_alive, stopped, until

pytestmark = pytest.mark.kernel
BAN_S = 3 * SLOW
XDP = "xdp { interface sl-s1 sl-s2; pin_dir @pins@; @xdp@ }\n"
ADMIN = "admin { listen unix:@dir@/admin.sock; }\n"
LIMITED = """
limit_req_zone $binary_remote_addr zone=z:1m rate=2r/s;
server {
    @listen@
    location / {
        limit_req zone=z;
        limit_req_status 429;
        @ban@
        proxy_pass http://@mock@/echo;
    }
    location /auth { proxy_pass http://@mock@/echo; ban on=status:401,403 after=3 within=10s for=1h; }
    location /free { return 200 free; }
}
"""
EARNED = "ban on=limit_req after=4 within=10s for=@for@;"


@pytest.fixture
def guarded(start, mocks, net, pins):
    """guarded(more of xdp, duration of bans): sluice in a namespace of two clients, with a guard and an upstream."""
    def make(xdp="", lasts="1h", main=XDP + ADMIN, **kw):
        mock = mocks(netns=net.server)
        s = start(LIMITED, {"listen": IN_NET, "mock": mock.addr, "pins": pins.path, "xdp": xdp, "ban": EARNED,
                            "for": lasts, "http": PORT}, main=main, netns=net.server, **kw)
        s.ctl = Ctl(s)
        return s
    return make


@pytest.fixture
def local(start, mock):
    """local(...): sluice without an xdp block, whose clients are addresses of 127.0.0.0/8."""
    def make(lasts="1h", main=ADMIN, listen="listen 127.0.0.1:@http@;", **kw):
        s = start(LIMITED, {"listen": listen, "mock": mock.addr, "ban": EARNED, "for": lasts}, main=main, **kw)
        s.ctl = Ctl(s)
        return s
    return make


def offend(port, host, n=8, path="/", **kw):
    """N requests on one connection; the statuses that came."""
    out = []
    try:
        with Conn(port, host, **kw) as c:
            for _ in range(n):
                out.append(c.request("GET", path).status)
    except (ConnectionError, harness.Closed, TimeoutError):
        pass
    return out


def get_banned(s, host, addr, **kw):
    statuses = offend(s.port, host, **kw)
    assert statuses[0] == 200 and 429 in statuses, statuses
    until(lambda: addr in s.ctl.bans(), 5, f"the ban of {addr}")


def restart(s):
    """-s stop as a person does it, then the same again."""
    old = s.proc
    assert subprocess.run(s.command("-s", "stop")).returncode == 0
    assert old.wait(10 * SLOW) == 0
    s.start()
    s.ctl = Ctl(s)


def has_in_file(s, addr):
    path = s.dir / "sluice.pid.bans"
    return path.exists() and addr in path.read_text()


def die_and_start(s, net, pins):
    """kill -9 of the master alone; a new one starts once the orphans are gone."""
    kin = children(s.pid)
    s.expected.append("master process is gone")
    s.proc.kill()
    s.proc.wait()
    for pid in kin:
        until(lambda p=pid: not is_alive(p), 5, f"the end of orphan {pid}")
    before = pins.names(), xdp_on(net.server)
    s.start()
    s.ctl = Ctl(s)
    return before


# --- in the kernel ---

@pytest.mark.privileged
@pytest.mark.parametrize("kind", ["ipv4", "ipv6", "ipv4-vlan", "ipv6-vlan"])
def test_abuser_is_dropped_and_comes_back(guarded, net, pins, kind):
    """Issue 2, point 5."""
    host, addr = ("fd77:1::1", "fd77:1::2") if "6" in kind else ("10.77.1.1", "10.77.1.2")
    s = guarded(lasts=f"{BAN_S}s")
    if "vlan" in kind:
        net.tag_client(1, s.dir)
    bad, good = net.clients
    with Conn(PORT, "10.77.2.1", netns=good) as steady:
        types = net.sent_types(1, lambda: get_banned(s, host, addr, netns=bad))
        assert 0x8100 in types if "vlan" in kind else 0x8100 not in types
        begun = time.monotonic()
        ban = s.ctl.bans()[addr]
        assert ban["in_kernel"] and not ban["manual"] and "limit_req" in ban["reason"]
        assert 0 < ban["left_s"] <= BAN_S
        before = pins.totals()["drop_deny"]
        assert reach(PORT, host, bad, timeout=0.4 / SLOW) == "dropped"
        assert pins.totals()["drop_deny"] > before
        entry = pins.entry("deny_v6" if "6" in kind else "deny_v4", addr)
        assert entry["packets"] > 0 and entry["bytes"] >= 40 * entry["packets"]
        assert s.ctl.bans()[addr]["dropped"]["packets"] >= entry["packets"]
        assert steady.request("GET", "/free").body == b"free"
        assert reach(PORT, "10.77.2.1", good) == 200
    until(lambda: reach(PORT, host, bad, timeout=0.3) == 200, BAN_S + 5, "the way back")
    assert time.monotonic() - begun >= BAN_S - 1.5, "back before the ban was over"
    until(lambda: addr not in s.ctl.bans(), 5, "the end of the ban in the list")
    until(lambda: pins.entry("deny_v6" if "6" in kind else "deny_v4", addr) is None, 5, "the sweep of the map")


@pytest.mark.privileged
def test_other_family_of_a_banned_host_is_free(guarded, net):
    s = guarded()
    get_banned(s, "10.77.1.1", "10.77.1.2", netns=net.clients[0])
    assert reach(PORT, "fd77:1::1", net.clients[0]) == 200


@pytest.mark.privileged
@pytest.mark.parametrize("host,addr,listed", [("10.77.1.1", "10.77.1.2", "10.77.1.0/24"),
                                              ("fd77:1::1", "fd77:1::2", "fd77:1::2")])
def test_allowed_is_never_banned_nor_dropped(guarded, net, pins, host, addr, listed):
    s = guarded(f"allow {listed}; deny {addr};")
    statuses = offend(PORT, host, 12, netns=net.clients[0])
    assert len(statuses) == 12 and statuses.count(429) >= 8
    s.wait_log(f"{addr} is in the allow list")
    assert s.ctl.bans() == {}
    code, _, err = s.ctl.run("ban", addr, "--for", "1h")
    assert code == 1 and "allow" in err
    assert reach(PORT, host, net.clients[0]) in (200, 429)
    totals = pins.totals()
    assert totals["pass_allow"] > 20 and totals["drop_deny"] == totals["drop_net"] == 0


@pytest.mark.privileged
def test_allowed_by_a_reload_is_no_longer_dropped(guarded, net):
    s = guarded()
    s.ctl.ok("ban", "10.77.1.2", "--for", "1h")
    assert reach(PORT, "10.77.1.1", net.clients[0], timeout=0.3) == "dropped"
    s.values["xdp"] = "allow 10.77.1.2;"
    s.rewrite(LIMITED, XDP + ADMIN)
    s.reload()
    until(lambda: reach(PORT, "10.77.1.1", net.clients[0]) == 200, 5, "the way back of who is allowed now")


@pytest.mark.privileged
def test_deny_of_the_configuration(guarded, net, pins):
    s = guarded("deny 10.77.1.2 fd77:1::/64;")
    bad, good = net.clients
    assert reach(PORT, "10.77.1.1", bad, timeout=0.3) == "dropped"
    assert reach(PORT, "fd77:1::1", bad, timeout=0.3) == "dropped"
    assert reach(PORT, "10.77.2.1", good) == 200 and reach(PORT, "fd77:2::1", good) == 200
    assert pins.totals()["drop_net"] >= 2
    s.ctl.run("unban", "10.77.1.2")
    assert reach(PORT, "10.77.1.1", bad, timeout=0.3) == "dropped", "unban does not lift what the file says"
    s.values["xdp"] = "deny fd77:1::2;"
    s.rewrite(LIMITED, XDP + ADMIN)
    s.reload()
    until(lambda: reach(PORT, "10.77.1.1", bad, timeout=0.3) == 200, 5, "the end of deny")
    assert reach(PORT, "fd77:1::1", bad, timeout=0.3) == "dropped"


@pytest.mark.privileged
def test_dry_run_counts_and_drops_nothing(guarded, net, pins):
    s = guarded("dry_run on; deny fd77:1::2;")
    bad = net.clients[0]
    get_banned(s, "10.77.1.1", "10.77.1.2", netns=bad)
    assert reach(PORT, "10.77.1.1", bad) in (200, 429)
    assert reach(PORT, "fd77:1::1", bad) == 200
    totals = pins.totals()
    assert totals["would_drop"] > 0 and totals["drop_deny"] == totals["drop_net"] == 0
    assert pins.entry("deny_v4", "10.77.1.2")["packets"] > 0
    assert s.ctl.json("status")["guard"]["dry_run"] is True
    s.values["xdp"] = "dry_run off; deny fd77:1::2;"
    s.rewrite(LIMITED, XDP + ADMIN)
    s.reload()
    until(lambda: reach(PORT, "10.77.1.1", bad, timeout=0.3) == "dropped", 5, "the ban in force")
    assert reach(PORT, "fd77:1::1", bad, timeout=0.3) == "dropped"


@pytest.mark.privileged
def test_live_connections_of_a_banned_source_are_reset(guarded, net, ca):
    s = guarded()
    bad, good = net.clients
    with Conn(PORT, "10.77.1.1", netns=bad) as idle, Conn(PORT, "10.77.1.1", netns=bad) as waiting, \
            Conn(PORT, "10.77.2.1", netns=good) as other:
        assert idle.request("GET", "/free").status == 200
        waiting.send(harness.build("GET", "/auth", {"X-Mock-Fault": "stall-before-head"}))
        assert other.request("GET", "/free").status == 200
        until(lambda: s.ctl.json("status")["requests"]["active"] == 1, 5, "the request that waits")
        s.ctl.ok("ban", "10.77.1.2", "--for", "1h", "--reason", "by hand")
        assert idle.end()[0] == "reset"
        assert waiting.end()[0] == "reset"
        assert other.request("GET", "/free").status == 200
    until(lambda: s.ctl.json("status")["requests"]["active"] == 0, 5, "the end of the request")


@pytest.mark.privileged
def test_ban_and_unban_by_hand(guarded, net, pins):
    s = guarded()
    bad = net.clients[0]
    s.ctl.ok("ban", "10.77.1.2", "--for", "10m", "--reason", "too loud")
    ban = s.ctl.bans()["10.77.1.2"]
    assert ban["manual"] and ban["in_kernel"] and ban["reason"] == "too loud" and 590 <= ban["left_s"] <= 600
    text = s.ctl.ok("bans")
    assert "10.77.1.2" in text and "too loud" in text
    assert reach(PORT, "10.77.1.1", bad, timeout=0.3) == "dropped"
    s.ctl.ok("unban", "10.77.1.2")
    assert s.ctl.bans() == {} and pins.dump("deny_v4") == []
    until(lambda: reach(PORT, "10.77.1.1", bad) == 200, 5, "the way back")
    code, _, err = s.ctl.run("unban", "10.77.1.2")
    assert code == 1 and "404" in err


@pytest.mark.privileged
def test_sources(guarded, net, pins):
    s = guarded()
    bad, good = net.clients
    for _ in range(5):
        assert reach(PORT, "10.77.1.1", bad) in (200, 429)
    assert reach(PORT, "fd77:2::1", good) == 200
    s.ctl.ok("ban", "10.77.1.2", "--for", "1h")
    assert reach(PORT, "10.77.1.1", bad, timeout=0.3) == "dropped"
    rows = {r["address"]: r for r in s.ctl.json("sources", "--top", "100")["sources"]}
    assert rows["10.77.1.2"]["banned"] and rows["10.77.1.2"]["drops"] >= 1
    assert rows["10.77.1.2"]["syns"] >= 5 and rows["10.77.1.2"]["packets"] > rows["10.77.1.2"]["syns"]
    assert not rows["fd77:2::2"]["banned"] and rows["fd77:2::2"]["syns"] == 1 and rows["fd77:2::2"]["drops"] == 0
    top = s.ctl.json("sources", "--top", "1")["sources"]
    assert [r["address"] for r in top] == [max(rows.values(), key=lambda r: r["packets"])["address"]]
    assert pins.entry("sources_v4", "10.77.1.2")["syns"] >= 5


@pytest.mark.privileged
def test_bans_survive_a_reload(guarded, net, pins):
    s = guarded()
    get_banned(s, "10.77.1.1", "10.77.1.2", netns=net.clients[0])
    drops, kernel = pins.totals()["drop_deny"], Kernel(pins)
    for _ in range(2):
        s.reload()
    assert reach(PORT, "10.77.1.1", net.clients[0], timeout=0.3) == "dropped"
    assert "10.77.1.2" in s.ctl.bans() and pins.totals()["drop_deny"] > drops
    assert (Kernel(pins).progs, Kernel(pins).links, Kernel(pins).maps) == (kernel.progs, kernel.links, kernel.maps)
    assert reach(PORT, "10.77.2.1", net.clients[1]) == 200


@pytest.mark.privileged
@pytest.mark.parametrize("how", ["stop and start", "kill -9 and start"])
def test_bans_survive(guarded, net, pins, how):
    s = guarded()
    bad = net.clients[0]
    get_banned(s, "10.77.1.1", "10.77.1.2", netns=bad)
    s.ctl.ok("ban", "fd77:1::2", "--for", "2h", "--reason", "by hand")
    before = s.ctl.bans()
    if how == "stop and start":
        restart(s)
    else:
        until(lambda: has_in_file(s, "10.77.1.2") and has_in_file(s, "fd77:1::2"), 5, "the file of bans")
        s.expected.append("master process is gone")
        s.proc.kill()
        s.proc.wait()
        assert reach(PORT, "10.77.1.1", bad, timeout=0.3) == "dropped", "the kernel goes on without a master"
        s.start()
        s.ctl = Ctl(s)
    after = s.ctl.bans()
    assert set(after) == set(before)
    for addr, ban in after.items():
        assert ban["in_kernel"] and ban["reason"] == before[addr]["reason"] and ban["until"] == before[addr]["until"]
        assert ban["manual"] == before[addr]["manual"] and ban["rule_id"] == before[addr]["rule_id"]
        assert 0 <= before[addr]["left_s"] - ban["left_s"] < 20 * SLOW
    for host in ("10.77.1.1", "fd77:1::1"):
        assert reach(PORT, host, bad, timeout=0.3) == "dropped"
    assert reach(PORT, "10.77.2.1", net.clients[1]) == 200


@pytest.mark.privileged
def test_a_ban_that_ends_while_sluice_is_down(guarded, net, pins):
    s = guarded(lasts="2s")
    get_banned(s, "10.77.1.1", "10.77.1.2", netns=net.clients[0])
    old = s.proc
    assert subprocess.run(s.command("-s", "stop")).returncode == 0
    old.wait(10 * SLOW)
    time.sleep(2.2)
    s.start()
    s.ctl = Ctl(s)
    assert s.ctl.bans() == {} and pins.dump("deny_v4") == []
    assert reach(PORT, "10.77.1.1", net.clients[0]) == 200


@pytest.mark.privileged
@pytest.mark.parametrize("how", ["stop", "quit"])
def test_nothing_stays_in_the_kernel(guarded, net, pins, how):
    """Issue 2, point 6."""
    s = guarded()
    s.ctl.ok("ban", "10.77.1.2", "--for", "1h")
    kernel = Kernel(pins)
    assert len(kernel.progs) == 1 and len(kernel.links) == 2 and set(xdp_on(net.server)) == {"sl-s1", "sl-s2"}
    assert set(xdp_on(net.server).values()) == kernel.progs
    proc = s.proc
    assert subprocess.run(s.command("-s", how)).returncode == 0
    assert proc.wait(10 * SLOW) == 0
    assert xdp_on(net.server) == {}
    assert not pins.path.exists() or pins.names() == []
    until(kernel.is_gone, 5, "the end of programs, maps and links")
    assert sorted(p.name for p in s.dir.glob("*.sock")) == [] and not s.pid_path.exists()


@pytest.mark.privileged
def test_nothing_is_doubled_after_a_crash(guarded, net, pins):
    """Issue 2, point 6."""
    s = guarded()
    kernel = Kernel(pins)
    for _ in range(2):
        names, xdp = die_and_start(s, net, pins)
        assert xdp and set(xdp.values()) == kernel.progs, "the guard stays while nobody is there"
        now = Kernel(pins)
        assert pins.names() == names
        assert now.maps == kernel.maps and now.links == kernel.links
        until(lambda: len(progs_of(kernel.maps)) == 1, 5, "the end of the old program")
        kernel = Kernel(pins)
        assert set(xdp_on(net.server)) == {"sl-s1", "sl-s2"}
        assert set(xdp_on(net.server).values()) == kernel.progs
    until(lambda: len(s.workers()) == 1, 5, "one worker")
    assert reach(PORT, "10.77.1.1", net.clients[0]) == 200


@pytest.mark.privileged
def test_interfaces_follow_a_reload(guarded, net, pins):
    s = guarded()
    for main, on in ((XDP.replace("sl-s1 ", ""), {"sl-s2"}), ("", set()), (XDP, {"sl-s1", "sl-s2"})):
        s.rewrite(LIMITED, main + ADMIN)
        s.reload()
        until(lambda: set(xdp_on(net.server)) == on, 5, f"a guard on {on}")
        s.ctl = Ctl(s)
        assert s.ctl.json("status")["guard"]["on"] is bool(on)


@pytest.mark.privileged
def test_a_ban_goes_on_when_the_guard_goes_and_comes(guarded, net, pins):
    s = guarded()
    s.ctl.ok("ban", "10.77.1.2", "--for", "1h")
    s.rewrite(LIMITED, ADMIN)
    s.reload()
    until(lambda: reach(PORT, "10.77.1.1", net.clients[0], timeout=0.3) == "closed", 5, "the ban in userspace")
    s.ctl = Ctl(s)
    assert not s.ctl.bans()["10.77.1.2"]["in_kernel"]
    s.rewrite(LIMITED, XDP + ADMIN)
    s.reload()
    until(lambda: reach(PORT, "10.77.1.1", net.clients[0], timeout=0.3) == "dropped", 5, "the ban in the kernel")
    s.ctl = Ctl(s)
    assert s.ctl.bans()["10.77.1.2"]["in_kernel"]


@pytest.mark.privileged
@pytest.mark.parametrize("mode", ["native", "generic"])
def test_modes(guarded, net, mode):
    s = guarded(f"mode {mode};")
    shown = [x["xdp"]["mode"] for x in harness.json.loads(harness.ip("-j", "link", "show", netns=net.server))
             if x.get("xdp")]
    assert shown == [{"native": 1, "generic": 2}[mode]] * 2
    assert mode in s.ctl.json("status")["guard"]["mode"]
    s.ctl.ok("ban", "10.77.1.2", "--for", "1h")
    assert reach(PORT, "10.77.1.1", net.clients[0], timeout=0.3) == "dropped"


@pytest.mark.privileged
def test_two_of_one_pin_dir(guarded, start, net, pins):
    """The second one says that it has no guard and takes nothing from the first."""
    s = guarded()
    kernel = Kernel(pins)
    other = start("server { listen 10.77.1.1:8081; location / { return 200 two; } }", {"pins": pins.path, "xdp": ""},
                  main=XDP, netns=net.server)
    other.wait_log(r"\[warn\].*guard")
    other.stop()
    assert Kernel(pins).links == kernel.links and set(xdp_on(net.server)) == {"sl-s1", "sl-s2"}
    s.ctl.ok("ban", "10.77.1.2", "--for", "1h")
    assert reach(PORT, "10.77.1.1", net.clients[0], timeout=0.3) == "dropped"


@pytest.mark.privileged
def test_interface_that_is_not_there(start, net, pins):
    s = start("server { listen 10.77.1.1:8080; location / { return 200 ok; } }", {"pins": pins.path},
              main="xdp { interface sl-none sl-s1; pin_dir @pins@; }", netns=net.server)
    s.wait_log(r"\[warn\].*sl-none")
    assert set(xdp_on(net.server)) == {"sl-s1"}
    assert reach(PORT, "10.77.1.1", net.clients[0]) == 200


# --- in userspace ---

def test_ban_without_xdp(local):
    s = local(lasts=f"{BAN_S}s")
    with Conn(s.port, source="127.0.0.7") as idle:
        assert idle.request("GET", "/free").status == 200
        get_banned(s, "127.0.0.1", "127.0.0.7", source="127.0.0.7")
        begun = time.monotonic()
        assert idle.end()[0] == "reset"
    assert s.ctl.bans()["127.0.0.7"]["in_kernel"] is False
    assert reach(s.port, "127.0.0.1", source="127.0.0.7") == "closed"
    assert reach(s.port, "127.0.0.1", source="127.0.0.8") == 200
    assert s.ctl.json("status")["connections"]["refused_banned"] >= 1
    until(lambda: reach(s.port, "127.0.0.1", source="127.0.0.7") == 200, BAN_S + 5, "the way back")
    assert time.monotonic() - begun >= BAN_S - 1.5


def test_one_warning_where_bans_have_no_guard(local):
    s = local()
    assert len(re.findall(r"\[warn\].*userspace", s.log())) == 1, s.log()
    s.reload()
    s.reload()
    get_banned(s, "127.0.0.1", "127.0.0.7", source="127.0.0.7")
    assert len(re.findall(r"\[warn\].*userspace", s.log())) == 1, s.log()


def test_no_warning_where_nothing_is_banned(start):
    s = start("server { listen 127.0.0.1:@http@; location / { return 200 ok; } }")
    assert "userspace" not in s.log() + s.stderr_text()


@pytest.mark.privileged
def test_ban_of_an_ordinary_user(local):
    """Its xdp block cannot work; one warning says so, and the ban holds all the same."""
    s = local(main="xdp { interface lo; deny 127.0.0.66; allow 127.0.0.9; }\n" + ADMIN, uid=65534)
    assert len(re.findall(r"\[warn\].*userspace", s.log())) == 1, s.log()
    get_banned(s, "127.0.0.1", "127.0.0.7", source="127.0.0.7")
    assert reach(s.port, "127.0.0.1", source="127.0.0.7") == "closed"
    assert reach(s.port, "127.0.0.1", source="127.0.0.66") == "closed", "deny holds too"
    statuses = offend(s.port, "127.0.0.1", 12, source="127.0.0.9")
    assert len(statuses) == 12
    assert set(s.ctl.bans()) == {"127.0.0.7"}


def test_userspace_bans_survive(local):
    s = local()
    get_banned(s, "127.0.0.1", "127.0.0.7", source="127.0.0.7")
    s.ctl.ok("ban", "127.0.0.8", "--for", "forever", "--reason", "never again")
    s.reload()
    assert reach(s.port, "127.0.0.1", source="127.0.0.7") == "closed"
    restart(s)
    assert set(s.ctl.bans()) == {"127.0.0.7", "127.0.0.8"}
    assert s.ctl.bans()["127.0.0.8"]["until"] is None
    assert reach(s.port, "127.0.0.1", source="127.0.0.7") == "closed"
    assert reach(s.port, "127.0.0.1", source="127.0.0.8") == "closed"
    until(lambda: reach(s.port, "127.0.0.1", source="127.0.0.9") == 200, 3, "an answer")
    s.ctl.ok("unban", "127.0.0.8")
    assert reach(s.port, "127.0.0.1", source="127.0.0.8") == 200
    restart(s)
    assert set(s.ctl.bans()) == {"127.0.0.7"}


def test_userspace_bans_survive_kill_9(local):
    s = local()
    get_banned(s, "127.0.0.1", "127.0.0.7", source="127.0.0.7")
    until(lambda: has_in_file(s, "127.0.0.7"), 5, "the file of bans")
    s.expected.append("master process is gone")
    s.proc.kill()
    s.proc.wait()
    s.start()
    s.ctl = Ctl(s)
    assert "127.0.0.7" in s.ctl.bans()
    assert reach(s.port, "127.0.0.1", source="127.0.0.7") == "closed"


def test_ban_over_ipv6_and_a_mapped_listener(local):
    """A socket for both families sees IPv4 clients as ::ffff:a.b.c.d; it is the same ban."""
    port = free_port(host="::")
    s = local(listen=f"listen [::]:{port} ipv6only=off;")
    with Conn(port, "127.0.0.1", source="127.0.0.7") as idle:
        assert idle.request("GET", "/free").status == 200
        s.port = port
        get_banned(s, "127.0.0.1", "127.0.0.7", source="127.0.0.7")
        assert idle.end()[0] == "reset"
    assert reach(port, "127.0.0.1", source="127.0.0.7") == "closed"
    assert reach(port, "127.0.0.1", source="127.0.0.8") == 200
    get_banned(s, "::1", "::1")
    assert reach(port, "::1") == "closed"
    assert reach(port, "127.0.0.1", source="127.0.0.8") in (200, 429)


def test_ban_on_status(local):
    s = local()
    def ask(status, n):
        for _ in range(n):
            assert fetch(s.port, "/auth", source="127.0.0.7", headers={"X-Mock-Status": status}).status == int(status)
    ask("404", 5)
    ask("401", 2)
    assert s.ctl.bans() == {}
    ask("403", 1)
    until(lambda: "127.0.0.7" in s.ctl.bans(), 5, "the ban")
    assert "status" in s.ctl.bans()["127.0.0.7"]["reason"]
    assert reach(s.port, "127.0.0.1", source="127.0.0.7") == "closed"


def test_ban_on_bad_request(start):
    s = start("ban on=bad_request after=3 within=10s for=1h;\n"
              "server { listen 127.0.0.1:@http@; location / { return 200 ok; } location /bad { return 400; } }",
              main=ADMIN)
    s.ctl = Ctl(s)
    for _ in range(2):
        with Conn(s.port, source="127.0.0.7") as c:
            c.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            assert c.response().status == 400
    for _ in range(4):
        assert fetch(s.port, source="127.0.0.7").status == 200
    assert s.ctl.bans() == {}
    with Conn(s.port, source="127.0.0.7") as c:
        c.send("GET / HTTP/1.1\r\nBad Name: x\r\nHost: a\r\n\r\n")
        c.end()
    until(lambda: "127.0.0.7" in s.ctl.bans(), 5, "the ban")
    assert reach(s.port, "127.0.0.1", source="127.0.0.7") == "closed"


def test_evidence_counts_within_its_time_only(start, mock):
    s = start("server { listen 127.0.0.1:@http@; location / { proxy_pass http://@mock@; "
              "ban on=status:401 after=3 within=1s for=1h; } }", {"mock": mock.addr}, main=ADMIN)
    s.ctl = Ctl(s)
    ask = {"X-Mock-Status": "401"}
    for _ in range(3):
        for _ in range(2):
            assert fetch(s.port, "/echo", source="127.0.0.7", headers=ask).status == 401
        time.sleep(1.1)
    assert s.ctl.bans() == {}


def test_ban_is_inherited_and_switched_off(start, mock):
    s = start("ban on=status:401 after=2 within=60s for=1h;\nserver { listen 127.0.0.1:@http@; "
              "location / { proxy_pass http://@mock@; } location /echo/off { ban off; proxy_pass http://@mock@; } }",
              {"mock": mock.addr}, main=ADMIN)
    s.ctl = Ctl(s)
    for _ in range(4):
        assert fetch(s.port, "/echo/off", source="127.0.0.7", headers={"X-Mock-Status": "401"}).status == 401
    for _ in range(2):
        assert fetch(s.port, "/echo", source="127.0.0.8", headers={"X-Mock-Status": "401"}).status == 401
    until(lambda: "127.0.0.8" in s.ctl.bans(), 5, "the ban")
    assert set(s.ctl.bans()) == {"127.0.0.8"}


def test_a_start_right_after_kill_9(local):
    """The orphans still hold the sockets for a moment; the new one waits for them."""
    s = local()
    s.expected.append("master process is gone")
    for _ in range(5):
        s.proc.kill()
        s.proc.wait()
        s.start()
    s.ctl = Ctl(s)
    assert reach(s.port, "127.0.0.1", source="127.0.0.9") == 200
    until(lambda: len(s.workers()) == 1, 5, "one worker")


@pytest.mark.privileged
def test_through_libxdp(guarded, net, pins):
    """Behind libxdp's dispatcher, or alone where the kernel has none, which the log says."""
    s = guarded(xdp="attach libxdp priority=5;")
    bad, good = net.clients
    is_alone = "libxdp has no dispatcher on this kernel" in s.log()
    assert is_alone == ("xdp_dispatcher" not in {p["name"] for p in harness.bpftool("prog", "show") if p["type"] == "xdp"})
    s.ctl.ok("ban", "10.77.1.2", "--for", "1h")
    assert reach(PORT, "10.77.1.1", bad, timeout=0.3) == "dropped"
    s.reload()
    assert reach(PORT, "10.77.1.1", bad, timeout=0.3) == "dropped"
    assert reach(PORT, "fd77:2::1", good) == 200
    s.stop()
    assert xdp_on(net.server) == {} and not pins.path.exists()


@pytest.mark.privileged
@pytest.mark.parametrize("fail", ["open", "static"])
def test_without_a_heartbeat(guarded, net, pins, fail):
    """A master that is stopped: the kernel lets all pass, or goes on; the workers' own table holds either way."""
    s = guarded(xdp=f"fail_after 2s; fail {fail};")
    bad = net.clients[0]
    s.ctl.ok("ban", "10.77.1.2", "--for", "1h")
    assert reach(PORT, "10.77.1.1", bad, timeout=0.3) == "dropped"
    with stopped([s.pid]):
        time.sleep(2.5)
        answer = reach(PORT, "10.77.1.1", bad, timeout=0.5 * SLOW)
        assert answer == ("dropped" if fail == "static" else "closed")
        assert (pins.totals()["pass_fail_open"] > 0) == (fail == "open")
    until(lambda: reach(PORT, "10.77.1.1", bad, timeout=0.3) == "dropped", 5, "the ban again")
