# SPDX-License-Identifier: BSD-2-Clause
"""What Debian's own kernel has and the one that the tests run on may not have: `make test-vm` alone runs these."""
import contextlib
import json
import os
import socket
import struct
import subprocess

import pytest
from guard_net import FLAG_TX_VLAN, GET_FLAGS, SET_FLAGS, Ctl, Kernel, ethtool, reach, xdp_on
from harness import Conn, in_netns, ip
from test_guard import ADMIN, PORT, guarded, restart  # noqa: F401

pytestmark = [pytest.mark.vm, pytest.mark.kernel]
SOL_TLS, TCP_ULP, TLS_TX, TLS_RX = 282, 31, 1, 2
VID = 7


def run(netns, *command, code=0):
    p = subprocess.run(["nsenter", f"--net=/run/netns/{netns}", *command], capture_output=True, text=True)
    assert p.returncode == code, (command, p.stdout, p.stderr)
    return p.stdout + p.stderr


# --- kernel TLS ---

def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as server:
        a = socket.create_connection(server.getsockname())
        return a, server.accept()[0]


def test_ktls_carries_records():
    """The ULP is there, and what one end's kernel seals the other's opens; a third sees no plain text."""
    key = struct.pack("=HH8s16s4s8s", 0x0303, 51, b"explicit", os.urandom(16), b"salt", bytes(8))
    a, b = tcp_pair()
    with a, b:
        for s in (a, b):
            s.settimeout(20)
            s.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
        a.setsockopt(SOL_TLS, TLS_TX, key)
        a.sendall(b"sealed" * 100)
        sealed = b.recv(5, socket.MSG_PEEK)
        assert sealed == struct.pack(">BHH", 23, 0x0303, 600 + 8 + 16)
        b.setsockopt(SOL_TLS, TLS_RX, key)
        assert b.recv(600, socket.MSG_WAITALL) == b"sealed" * 100


# --- other XDP programs: libxdp's dispatcher ---

@contextlib.contextmanager
def xdp_filter(netns, *devs):
    for dev in devs:
        run(netns, "xdp-filter", "load", "--mode", "native", "--features", "ipv4,ipv6", dev)
    try:
        yield
    finally:
        for dev in devs:
            run(netns, "xdp-filter", "unload", dev)


def test_dispatcher_chains_programs(net):  # noqa: F811
    """libxdp alone: its dispatcher loads here (it needs freplace), and xdp-filter in it drops whom it is told to."""
    with xdp_filter(net.server, "sl-s1"):
        status = run(net.server, "xdp-loader", "status", "sl-s1")
        assert "xdp_dispatcher" in status and "xdpfilt" in status, status
        assert set(xdp_on(net.server)) == {"sl-s1"}
        server = socket_at(net.server, "10.77.1.1", PORT)
        with server:
            Conn(PORT, "10.77.1.1", netns=net.clients[0]).close()
            run(net.server, "xdp-filter", "ip", "--mode", "src", "10.77.1.2")
            with pytest.raises(TimeoutError):
                Conn(PORT, "10.77.1.1", netns=net.clients[0], timeout=0.1)
    assert xdp_on(net.server) == {}


def socket_at(netns, host, port):
    with in_netns(netns):
        return socket.create_server((host, port))


def test_dispatcher_in_the_way_is_named(guarded, net, pins):  # noqa: F811
    """A bpf_link cannot be where the dispatcher is: the log says who is, and the next start has the interface."""
    with xdp_filter(net.server, "sl-s1"):
        s = guarded()
        ident = xdp_on(net.server)["sl-s1"]
        s.wait_log(rf"\[warn\].*sl-s1.*xdp_dispatcher.*{ident}")
        assert [x["ifname"] for x in json.loads(ip("-j", "link", "show", netns=net.server)) if x.get("xdp")] == \
            ["sl-s1", "sl-s2"]
        s.ctl.ok("ban", "10.77.2.2", "--for", "1h")
        assert reach(PORT, "10.77.2.1", net.clients[1], timeout=0.1) == "dropped"
        assert reach(PORT, "10.77.1.1", net.clients[0]) == 200
    restart(s)
    kernel = Kernel(pins)
    assert set(xdp_on(net.server).values()) == kernel.progs and len(kernel.links) == 2


def test_beside_xdp_filter(guarded, net, pins):  # noqa: F811
    """attach libxdp: the guard and xdp-filter in one dispatcher, each drops its own; what is left is the other's."""
    with xdp_filter(net.server, "sl-s1"):
        s = guarded("attach libxdp;")
        status = run(net.server, "xdp-loader", "status", "sl-s1")
        assert "sluice_guard" in status and "xdpfilt" in status, status
        assert reach(PORT, "10.77.1.1", net.clients[0]) == 200
        s.ctl.ok("ban", "10.77.1.2", "--for", "1h")
        assert reach(PORT, "10.77.1.1", net.clients[0], timeout=0.1) == "dropped"
        assert pins.totals()["drop_deny"] > 0
        s.ctl.ok("unban", "10.77.1.2")
        assert reach(PORT, "10.77.1.1", net.clients[0]) == 200
        run(net.server, "xdp-filter", "ip", "--mode", "src", "10.77.1.2")
        assert reach(PORT, "10.77.1.1", net.clients[0], timeout=0.1) == "dropped"
        s.stop()
        status = run(net.server, "xdp-loader", "status", "sl-s1")
        assert "sluice_guard" not in status and "xdpfilt" in status, status


# --- VLAN interfaces, whose tags a NIC may strip before XDP ---

@pytest.mark.parametrize("host,addr", [("10.78.1.1", "10.78.1.2"), ("fd78:1::1", "fd78:1::2")])
@pytest.mark.parametrize("tags", ["in the frame", "beside the frame"])
@pytest.mark.parametrize("mode", ["native", "generic"])
def test_vlan_interface(start, mocks, net, pins, host, addr, tags, mode):  # noqa: F811
    """The guard on the parent stops who is banned on its VLAN, wherever the tag is; the parent's own network goes on."""
    net.vlan(1, VID)
    if tags == "in the frame":
        without_tag_offload(net.clients[0], "sl-c1")
    s = start(f"server {{ listen {bracket(host)}:{PORT}; listen 10.77.1.1:{PORT}; location / {{ return 200 ok; }} }}",
              {"pins": pins.path, "http": PORT}, netns=net.server,
              main=f"xdp {{ interface sl-s1; pin_dir @pins@; mode {mode}; }}\n" + ADMIN)
    s.ctl = Ctl(s)
    bad = net.clients[0]
    assert reach(PORT, host, bad) == 200
    s.ctl.ok("ban", addr, "--for", "1h")
    before = pins.totals()["drop_deny"]
    assert reach(PORT, host, bad, timeout=0.1) == "dropped"
    assert pins.totals()["drop_deny"] > before
    assert reach(PORT, "10.77.1.1", bad) == 200
    s.ctl.ok("unban", addr)
    assert reach(PORT, host, bad) == 200


def test_guard_on_a_vlan_interface_itself(start, net, pins):  # noqa: F811
    """It has no native XDP: auto says so and goes on with the generic one."""
    net.vlan(1, VID)
    s = start(f"server {{ listen 10.78.1.1:{PORT}; location / {{ return 200 ok; }} }}",
              {"pins": pins.path, "http": PORT}, netns=net.server,
              main=f"xdp {{ interface sl-s1.{VID}; pin_dir @pins@; deny 10.78.1.2; }}\n")
    s.wait_log(rf"\[warn\].*sl-s1.{VID}.*generic")
    assert reach(PORT, "10.78.1.1", net.clients[0], timeout=0.1) == "dropped"


def bracket(host):
    return f"[{host}]" if ":" in host else host


def without_tag_offload(netns, dev):
    with in_netns(netns), socket.socket() as s:
        ethtool(s, dev, SET_FLAGS, ethtool(s, dev, GET_FLAGS) & ~FLAG_TX_VLAN)
