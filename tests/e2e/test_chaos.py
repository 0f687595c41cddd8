# SPDX-License-Identifier: BSD-2-Clause
"""kill -9 of master, workers and admin under traffic: what is banned stays dropped, what is good is served again, and
nothing is there twice."""
import fcntl
import os
import random
import shutil
import signal
import threading
import time

import harness
import pytest
from guard_net import Ctl, GuardNet, Pins, links_of, progs_of, reach, xdp_on
from harness import SLOW, Conn, build, children, fetch, is_alive, until

PORT = 8080
KILLS = 100 if SLOW == 1 else 25 if SLOW < 8 else 12  # an emulated machine takes ten seconds for each
MAIN = """worker_processes 2;
xdp { interface sl-s1 sl-s2; pin_dir @pins@; }
admin { listen unix:@dir@/admin.sock; }
"""
SITE = f"""limit_req_zone $remote_addr zone=r:1m rate=10000r/s; limit_conn_zone $remote_addr zone=c:1m;
server {{
    listen 10.77.1.1:{PORT}; listen 10.77.2.1:{PORT};
    location / {{ limit_req zone=r burst=100; limit_conn c 100; proxy_pass http://@mock@/echo; }}
}}"""
BAD = "10.77.1.2"
pytestmark = [pytest.mark.kernel]


class Client(threading.Thread):
    """Asks for / in a client's namespace again and again; counts what came of it."""

    def __init__(self, netns, host, timeout):
        super().__init__(daemon=True)
        self.netns, self.host, self.timeout = netns, host, timeout
        self.n_answers = self.n_silences = self.n_other = 0
        self.over = False

    def run(self):
        harness.enter_netns(self.netns)
        while not self.over:
            try:
                with Conn(PORT, self.host, timeout=self.timeout) as c:
                    for _ in range(10):
                        assert c.request("GET", "/").status in (200, 502)
                        self.n_answers += 1
                        time.sleep(0.005)
            except TimeoutError:
                self.n_silences += 1
            except (OSError, harness.Closed):
                self.n_other += 1  # a RST, too, says that the packet came through
                time.sleep(0.01)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.over = True
        self.join(20)


class Chaos:
    def __init__(self, s, pins, net, dice):
        self.s, self.pins, self.net, self.dice = s, pins, net, dice
        self.orphans = set()
        self.links = {x["id"] for x in pins.links()}
        self.maps = pins.map_ids()
        self.names = pins.names()

    def kill_master(self):
        """And its successor, often before that is ready; the last one goes on."""
        while True:
            kin = children(self.s.pid)
            self.s.proc.kill()
            self.s.proc.wait()
            self.orphans |= set(kin)
            self.s.stderr.close()
            if self.dice.random() < 0.6:
                break
            self.s.launch()
            time.sleep(self.dice.random() * 0.25)
            self.still_guarded()
        self.still_guarded()
        self.s.start()

    def kill_child(self):
        kin = children(self.s.pid)
        if kin:
            os.kill(self.dice.choice(kin), signal.SIGKILL)

    def still_guarded(self):
        """By the links that were there first."""
        assert set(xdp_on(self.net.server)) == {"sl-s1", "sl-s2"}
        assert {x["id"] for x in self.pins.links()} == self.links

    def is_single(self):
        """One program, on both interfaces, with the maps of the first start; no orphan is left."""
        progs = progs_of(self.pins.map_ids())
        return (len(progs) == 1 and set(xdp_on(self.net.server).values()) == progs and
                links_of(progs) == self.links == {x["id"] for x in self.pins.links()} and
                self.pins.map_ids() == self.maps and self.pins.names() == self.names and
                not [p for p in self.orphans if is_alive(p)])


@pytest.mark.privileged
@pytest.mark.timeout(600)
def test_kills_at_random(start, stack, mocks):
    seed = int(os.environ.get("SLUICE_SEED", time.time_ns() % 1000000))
    dice = random.Random(seed)
    print(f"SLUICE_SEED={seed}")
    net, pins = stack.enter_context(GuardNet()), stack.enter_context(Pins())
    mock = mocks(netns=net.server)
    s = start(SITE, {"mock": mock.addr, "pins": pins.path, "http": PORT}, main=MAIN, netns=net.server)
    s.expected += ["exited on signal 9", "master process is gone", "another master|master_gone"]
    Ctl(s).ok("ban", "--for", "1h", BAD)
    chaos = Chaos(s, pins, net, dice)
    dropped = pins.totals()["drop_deny"]
    with Client(net.clients[0], "10.77.1.1", 0.15) as bad, Client(net.clients[1], "10.77.2.1", 2 * SLOW) as good:
        until(lambda: good.n_answers and bad.n_silences, 5, "traffic")
        for i in range(KILLS):
            if dice.random() < 0.35:
                chaos.kill_master()
            else:
                chaos.kill_child()
            before = good.n_answers
            until(lambda n=before: good.n_answers > n + 2, 10, f"answers after kill {i}")
            chaos.still_guarded()
            assert bad.n_answers == bad.n_other == 0, f"after kill {i} a packet of {BAD} came through"
            time.sleep(dice.random() * 0.05)
        until(chaos.is_single, 10, "one program, one set of pins, no orphan")
        until(lambda: len(children(s.pid)) == 3, 10, "two workers and admin")
        ban = Ctl(s).bans()[BAD]
        assert ban["in_kernel"] and 0 < ban["left_s"] <= 3600
        assert bad.n_answers == bad.n_other == 0 and bad.n_silences > 10
        assert pins.totals()["drop_deny"] > dropped + 10
        assert good.n_answers > 5 * KILLS
    Ctl(s).ok("unban", BAD)
    assert reach(PORT, "10.77.1.1", net.clients[0], timeout=5) == 200
    text = s.log() + s.stderr_text()
    for wrong in ("no guard in the kernel", "the guard is not on", "did not reach the kernel", "exited on signal 31"):
        assert wrong not in text, wrong


@pytest.mark.privileged
def test_kills_while_it_starts(start, stack):
    """Whatever is half done, the next start makes it whole."""
    dice = random.Random(4)
    net, pins = stack.enter_context(GuardNet()), stack.enter_context(Pins())
    main = "xdp { interface sl-s1 sl-s2; pin_dir @pins@; }"
    s = start("", {"pins": pins.path}, main=main, netns=net.server)
    s.expected.append("master process is gone")
    names = pins.names()
    for i in range(20 // SLOW):
        s.kill()
        if i % 4 == 0:
            shutil.rmtree(pins.path, ignore_errors=True)
        s.launch()
        time.sleep(dice.random() * 0.15)
    s.kill()
    s.start()
    progs = progs_of(pins.map_ids())
    assert len(progs) == 1 and set(xdp_on(net.server).values()) == progs and pins.names() == names
    assert links_of(progs) == {x["id"] for x in pins.links()}
    assert "no guard in the kernel" not in s.log()


@pytest.mark.privileged
def test_lock_that_is_held_for_a_moment(start, stack):
    """As by a worker that was forked when its master was killed: the guard waits for it."""
    net, pins = stack.enter_context(GuardNet(1)), stack.enter_context(Pins())
    pins.path.mkdir(mode=0o700)
    fd = os.open(pins.path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    timer = threading.Timer(0.3, os.close, [fd])
    timer.start()
    s = start("", {"pins": pins.path}, main="xdp { interface sl-s1; pin_dir @pins@; }", netns=net.server)
    timer.join()
    assert set(xdp_on(net.server)) == {"sl-s1"} and "another sluice" not in s.log()


@pytest.mark.privileged
def test_second_master_of_a_folder(start, stack):
    """Two masters of one folder: the second serves without a guard, and says why."""
    net, pins = stack.enter_context(GuardNet(1)), stack.enter_context(Pins())
    main = "xdp { interface sl-s1; pin_dir @pins@; }"
    start("", {"pins": pins.path}, main=main, netns=net.server)
    other = start("", {"pins": pins.path}, main=main, netns=net.server)
    other.wait_log("there is no guard in the kernel.*another sluice is using")


@pytest.mark.parametrize("ends", ["by itself", "by worker_shutdown_timeout"])
def test_orphan_with_an_open_answer(start, mock, ends):
    """A new start has the port at once; the orphan finishes what it has, for as long as it may."""
    main = "worker_shutdown_timeout 1s;" if "timeout" in ends else ""
    s = start("server { listen 127.0.0.1:@http@; location / { proxy_pass http://@mock@; proxy_buffering off; } }",
              {"mock": mock.addr}, main=main)
    s.expected.append("master process is gone")
    orphan = s.workers()[0]
    with Conn(s.port) as c:
        c.send(build("GET", "/bytes/100000", {"X-Mock-Fault": "stall-in-body"}))
        c.head()
        s.proc.kill()
        s.proc.wait()
        s.stderr.close()
        s.start()
        assert fetch(s.port, "/echo").status == 200
        if not main:
            assert is_alive(orphan)
            c.close()
        until(lambda: not is_alive(orphan), 5, "the orphan's end")
