# SPDX-License-Identifier: BSD-2-Clause
"""Rates in the kernel, from the line in the file to the SYN that is dropped."""
import os
import time

import pytest
from guard_net import IN_NET, PORT, Ctl, reach, xdp_on
from harness import SLOW, Conn, run_sluice, until

pytestmark = pytest.mark.kernel

MAIN = "xdp { interface sl-s1 sl-s2; pin_dir @pins@; @xdp@ }\nadmin { listen unix:@dir@/admin.sock; }\n"
HTTP = "server { @listen@ location / { return 200 ok; } location /no { return 404; } }"


@pytest.fixture
def guarded(start, net, pins):
    def make(xdp):
        s = start(HTTP, {"listen": IN_NET, "pins": pins.path, "xdp": xdp, "http": PORT}, main=MAIN, netns=net.server)
        s.ctl = Ctl(s)
        return s
    return make


def change(s, xdp):
    s.values["xdp"] = xdp
    s.rewrite(HTTP, MAIN)
    s.reload()


def ask(host, netns, path):
    with Conn(PORT, host, netns=netns, timeout=2) as c:
        return c.request("GET", path, {"Connection": "close"}).status


def rates(s):
    return {r["name"]: r for r in s.ctl.json("status")["guard"]["rates"]}


@pytest.mark.privileged
@pytest.mark.parametrize("host", ["10.77.1.1", "fd77:1::1"])
def test_syn_rate_and_reload(guarded, net, pins, host):
    s = guarded("rate syn=1/m burst=2;")
    bad, good = net.clients
    progs = xdp_on(net.server)
    assert [reach(PORT, host, bad) for _ in range(3)] == [200] * 3
    assert reach(PORT, host, bad, timeout=0.4) == "dropped"
    assert reach(PORT, host.replace("77:1", "77:2").replace("77.1", "77.2"), good) == 200
    rate = rates(s)["syn"]
    assert rate["dropped"] >= 1 and rate["burst"] == 2 and not rate["dry_run"] and len(rate["rule"]) == 8
    assert s.ctl.bans() == {}, "a rate bans nobody"
    rows = {r["address"]: r for r in s.ctl.json("sources")["sources"]}
    assert rows[host[:-1] + "2"]["drops"] >= 1 and rows[host[:-1] + "2"]["estimated"] is False
    change(s, "rate syn=1/m burst=2 dry_run;")
    assert reach(PORT, host, bad) == 200
    assert rates(s)["syn"]["would_drop"] >= 1 and rates(s)["syn"]["rule"] == rate["rule"]
    change(s, "rate syn=1/m burst=2;")
    until(lambda: reach(PORT, host, bad, timeout=0.3) == "dropped", 5, "the rate in force again")
    change(s, "")
    assert reach(PORT, host, bad) == 200
    assert xdp_on(net.server) == progs, "the program was loaded again"
    assert "syn" not in rates(s)


@pytest.mark.privileged
@pytest.mark.parametrize("host", ["10.77.1.1", "fd77:1::1"])
def test_good_sources_pass_while_strangers_wait(guarded, net, pins, host):
    s = guarded(f"rate unknown_syn=1/m burst=4; good_for {2 * SLOW}s;")
    good, stranger = net.clients
    other = host.replace("77:1", "77:2").replace("77.1", "77.2")
    assert reach(PORT, host, good) == 200
    assert [ask(other, stranger, "/no") for _ in range(3)] == [404] * 3, "an error makes nobody good"
    assert ask(other, stranger, "/no") == 404
    assert reach(PORT, other, stranger, timeout=0.4) == "dropped"
    assert [reach(PORT, host, good) for _ in range(5)] == [200] * 5
    assert pins.totals()["drop_unknown_syn"] >= 1
    time.sleep(5 * SLOW)
    assert reach(PORT, host, good, timeout=0.4) == "dropped", "good for two generations, not longer"
    assert rates(s)["unknown_syn"]["dropped"] >= 2


@pytest.mark.privileged
def test_settings_of_the_configuration(guarded, pins):
    s = guarded("rate new_tls=90/m; rate packets=5000r/s burst=0; rate unknown_syn=off; v6_prefix 56; new_sources off;")
    kernel = pins.dump("settings")[0][1]
    assert [r["interval_ns"] for r in kernel["rates"]] == [0, 200000, 666666666]
    assert [r["burst_ns"] for r in kernel["rates"]] == [0, 0, 666666666]
    assert kernel["unknown_syn"]["interval_ns"] == 0 and kernel["new_sources"]["interval_ns"] == 0
    assert kernel["v6_prefix"] == 56 and kernel["v6_mask"] == [0x00ffffffffffffff, 0]
    ids = {r["rule"] for r in rates(s).values()}
    assert len(ids) == 2
    change(s, "")
    kernel = pins.dump("settings")[0][1]
    assert kernel["unknown_syn"]["interval_ns"] == 50000 and kernel["new_sources"]["interval_ns"] == 1000000 * os.cpu_count()


@pytest.mark.parametrize("line, error", [
    ("rate;", "invalid number of arguments"),
    ("rate syn;", "invalid parameter \"syn\""),
    ("rate sin=1/s;", "invalid parameter \"sin=1/s\""),
    ("rate syn=1;", "invalid rate \"1\""),
    ("rate syn=0/s;", "invalid rate \"0/s\""),
    ("rate syn=10000001/s;", "invalid rate"),
    ("rate syn=-1/s;", "invalid rate"),
    ("rate syn=1/h;", "invalid rate"),
    ("rate syn=1/s burst=x;", "invalid burst"),
    ("rate syn=1/s burst=1 burst=1;", "invalid parameter \"burst=1\""),
    ("rate syn=1/s dry_run dry_run;", "invalid parameter \"dry_run\""),
    ("rate syn=1/s nodelay;", "invalid parameter \"nodelay\""),
    ("rate syn=off burst=1;", "invalid parameter \"burst=1\""),
    ("rate syn=1/s; rate syn=2/s;", "duplicate rate of \"syn\""),
    ("v6_prefix 0;", "v6_prefix"),
    ("v6_prefix 129;", "v6_prefix"),
    ("new_sources 1/s dry_run;", "invalid parameter \"dry_run\""),
    ("new_sources 5;", "invalid rate"),
])
def test_bad_lines(tmp_path, line, error):
    path = tmp_path / "sluice.conf"
    path.write_text("events { } xdp { interface eth0; %s }\n" % line)
    code, out = run_sluice("-t", "-c", path, "-p", tmp_path)
    assert code == 1 and error in out, out
