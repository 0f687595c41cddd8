# SPDX-License-Identifier: BSD-2-Clause
"""SYN floods from forged sources: the kernel's cookies keep a listener open, and sluice says when they could not."""
import pathlib
import random
import re
import socket
import struct
import subprocess
import threading

import harness
import pytest
from guard_net import GuardNet
from harness import Conn, free_port, in_netns, until

pytestmark = pytest.mark.privileged
CONF = "server { @listen@ return 200 hello; }\n"


@pytest.fixture
def net(stack):
    net = stack.enter_context(GuardNet(2))
    # Answers to forged sources go to the attacker's machine, which knows nothing of them.
    harness.ip("route", "add", "default", "via", "10.77.1.2", netns=net.server)
    return net


def sysctl(netns, name, value=None):
    with in_netns(netns):
        path = pathlib.Path("/proc/sys/net") / name
        if value is not None:
            path.write_text(f"{value}\n")
        return int(path.read_text())


def counters(netns):
    """{TcpExt name: value} of a namespace."""
    with in_netns(netns):
        rows = [x.split() for x in pathlib.Path("/proc/thread-self/net/netstat").read_text().splitlines()]
    names, values = (r[1:] for r in rows if r[0] == "TcpExt:")
    return dict(zip(names, map(int, values)))


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff


def syn(dst, port, rng):
    """An IPv4 packet with a SYN from some address of 198.18.0.0/15."""
    src = struct.pack(">I", 0xC6120000 + rng.randrange(1 << 17))
    dst = socket.inet_aton(dst)
    tcp = bytearray(struct.pack(">HHIIBBHHH", rng.randrange(1024, 65536), port, rng.randrange(1 << 32), 0, 6 << 4, 2, 65535, 0, 0) +
                    b"\x02\x04\x05\xb4")
    struct.pack_into(">H", tcp, 16, checksum(src + dst + struct.pack(">BBH", 0, 6, len(tcp)) + bytes(tcp)))
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, src, dst) + bytes(tcp)


class Flood:
    """SYNs from client 1's machine, as long as the block lasts; n_sent counts them."""

    def __init__(self, net, port):
        with in_netns(net.clients[0]):
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        rng = random.Random(7)
        self.packets = [syn("10.77.1.1", port, rng) for _ in range(5000)]
        self.n_sent, self.ending = 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.ending:
            self.sock.sendto(self.packets[self.n_sent % len(self.packets)], ("10.77.1.1", 0))
            self.n_sent += 1

    def __enter__(self):
        self.thread.start()
        until(lambda: self.n_sent > 3000, 20, "3000 SYNs")
        return self

    def __exit__(self, *exc):
        self.ending = True
        self.thread.join()
        self.sock.close()


@pytest.fixture
def served(start, net):
    def make(listen="listen @port@;", **kw):
        port = free_port()
        s = start(CONF, {"listen": listen, "port": port}, netns=net.server, **kw)
        s.port = port
        return s
    return make


def test_a_good_client_connects_during_a_flood_thanks_to_cookies(served, net):
    s = served("listen @port@; listen [::]:@port@;")
    assert not re.search(r"\[warn\]", s.log()), s.log()
    before = counters(net.server)
    with Flood(net, s.port) as flood:
        for i in range(60):
            with Conn(s.port, "10.77.2.1", netns=net.clients[1]) as c:
                assert c.request("GET", "/").body == b"hello"
        with Conn(s.port, "fd77:2::1", netns=net.clients[1]) as c:
            assert c.request("GET", "/").status == 200
        assert flood.n_sent > 3000
    now = counters(net.server)
    assert now["SyncookiesSent"] - before["SyncookiesSent"] > 1000
    assert now["SyncookiesRecv"] - before["SyncookiesRecv"] > 0


def test_without_cookies_the_same_flood_keeps_it_out(served, net):
    """What the test above would look like if it did not test anything."""
    sysctl(net.server, "ipv4/tcp_syncookies", 0)
    s = served("listen @port@ backlog=128;")
    s.wait_log(r"\[warn\] .*SYN cookies are off.*sysctl -w net\.ipv4\.tcp_syncookies=1")
    with Flood(net, s.port):
        n_out = 0
        for _ in range(6):
            try:
                Conn(s.port, "10.77.2.1", netns=net.clients[1], timeout=0.5 / harness.SLOW).close()
            except TimeoutError:
                n_out += 1
        assert n_out >= 4
    assert counters(net.server)["SyncookiesSent"] == 0


def warnings(s):
    return [m[1] for m in re.finditer(r"\[warn\] \S+ (.*)", s.log())]


def test_each_setting_has_one_warning_with_its_command(served, net):
    sysctl(net.server, "core/somaxconn", 300)
    sysctl(net.server, "ipv4/tcp_syncookies", 0)
    sysctl(net.server, "ipv4/tcp_max_syn_backlog", 256)
    s = served()
    assert [re.search(r"sysctl -w (\S+)", w)[1] for w in warnings(s)] == [
        "net.core.somaxconn=511", "net.ipv4.tcp_syncookies=1", "net.ipv4.tcp_max_syn_backlog=511"], s.log()
    assert f"0.0.0.0:{s.port} is 511, but the kernel cuts it to 300" in s.log()


def test_a_reload_looks_again(served, net):
    sysctl(net.server, "core/somaxconn", 300)
    s = served()
    assert len(warnings(s)) == 1
    s.reload()
    assert len(warnings(s)) == 2
    sysctl(net.server, "core/somaxconn", 4096)
    s.reload()
    s.rewrite(CONF.replace("@listen@", "listen @port@; listen 127.0.0.1:@port@1 backlog=5000;".replace("@port@1", "9")))
    assert len(warnings(s)) == 2
    s.reload()
    assert len(warnings(s)) == 3 and "127.0.0.1:9 is 5000, but the kernel cuts it to 4096" in warnings(s)[2]


def test_the_longest_backlog_counts_and_what_fits_is_silent(served, net):
    sysctl(net.server, "core/somaxconn", 128)
    sysctl(net.server, "ipv4/tcp_syncookies", 2)
    sysctl(net.server, "ipv4/tcp_max_syn_backlog", 64)    # without effect while there are cookies
    s = served("listen @port@ backlog=128; listen 127.0.0.1:9 backlog=64; listen unix:@dir@/u.sock backlog=100;")
    assert warnings(s) == []


def test_a_unix_socket_has_a_backlog_but_no_syns(served, net):
    sysctl(net.server, "core/somaxconn", 128)
    sysctl(net.server, "ipv4/tcp_syncookies", 0)
    s = served("listen unix:@dir@/u.sock;")
    assert len(warnings(s)) == 1 and "u.sock is 511" in warnings(s)[0]


def test_settings_are_those_of_the_own_namespace(start, net):
    """Another machine's, so to speak, are nobody's business."""
    sysctl(net.server, "ipv4/tcp_syncookies", 0)
    port = free_port()
    s = start(CONF, {"listen": "listen @port@;", "port": port}, netns=net.clients[0])
    assert warnings(s) == []


def test_a_configuration_test_is_silent_about_the_machine(served, net):
    sysctl(net.server, "ipv4/tcp_syncookies", 0)
    s = served()
    p = subprocess.run(s.command("-t"), capture_output=True, text=True,
                       preexec_fn=lambda: harness.child_setup(net.server))
    assert p.returncode == 0 and "sysctl" not in p.stdout + p.stderr
