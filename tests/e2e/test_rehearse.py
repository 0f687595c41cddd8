# SPDX-License-Identifier: BSD-2-Clause
"""sluice -t --pcap: captures with known packets through the guard of a configuration, by their own timestamps."""
import ipaddress
import json
import os
import socket
import struct
import subprocess
import threading
import time

import harness
import pytest
from guard_net import Ctl, Pins, xdp_on
from harness import bpftool, run_sluice
from test_guard import ADMIN, LIMITED, XDP, guarded  # noqa: F401 - fixtures

pytestmark = [pytest.mark.privileged, pytest.mark.kernel]

SYN, ACK, T0 = 0x02, 0x10, 1_700_000_000
HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(194)
ETHERNET, RAW, SLL, SLL2 = 1, 101, 113, 276
CONF = "events {}\n"
HTTP = "http { server { listen 127.0.0.1:1; } }\n"


def ip_of(src, payload, proto=6):
    s = ipaddress.ip_address(src)
    if s.version == 6:
        return struct.pack("!IHBB16s16s", 6 << 28, len(payload), proto, 64, s.packed,
                           ipaddress.ip_address("2001:db8::1").packed) + payload
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, proto, 0, s.packed,
                       socket.inet_aton("10.0.0.1")) + payload


def tcp(src, flags=SYN, data=b""):
    return ip_of(src, struct.pack("!HHIIBBHHH", 1234, 443, 1, 0, 0x50, flags, 65535, 0, 0) + data)


def frame(ip):
    return bytes(12) + (b"\x86\xdd" if ip[0] >> 4 == 6 else b"\x08\x00") + ip


class Pcap:
    """A file of packets, by (seconds since T0, packet)."""

    def __init__(self, path, packets, link=ETHERNET, snap=65535, nano=False):
        self.path = path
        with open(path, "wb") as f:
            f.write(struct.pack("<IHHiIII", 0xa1b23c4d if nano else 0xa1b2c3d4, 2, 4, 0, 0, snap, link))
            for at, p in packets:
                ns = round(at * 1e9)
                f.write(struct.pack("<IIII", T0 + ns // 10**9, ns % 10**9 // (1 if nano else 1000),
                                    len(p[:snap]), len(p)) + p[:snap])


def pcapng(path, packets):
    def block(kind, body):
        body += bytes(-len(body) % 4)
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    with open(path, "wb") as f:
        f.write(block(0x0a0d0d0a, struct.pack("<IHHq", 0x1a2b3c4d, 1, 0, -1)))
        f.write(block(1, struct.pack("<HHI", ETHERNET, 0, 0)))
        for at, p in packets:
            us = T0 * 10**6 + round(at * 1e6)
            f.write(block(6, struct.pack("<IIIII", 0, us >> 32, us & 0xffffffff, len(p), len(p)) + p))


@pytest.fixture
def rehearse(stack):
    """rehearse(xdp, packets, *options, ...): what the JSON says."""
    folder = stack.enter_context(harness.temp_dir())

    def run(xdp, packets, *options, code=0, main=None, **kw):
        conf, path = folder / "sluice.conf", folder / "a.pcap"
        conf.write_text(CONF + (main if main is not None else HTTP + "xdp { interface lo; allow_auto off; rate unknown_syn=off; %s }\n" % xdp))
        if packets is not None:
            Pcap(path, packets, **kw)
        p = subprocess.run([str(harness.SLUICE), "-t", "-q", "-c", str(conf), "--pcap", str(path), "--json", *map(str, options)],
                           capture_output=True, text=True, timeout=60 * harness.SLOW)
        assert p.returncode == code, p.stderr
        run.err = p.stderr
        run.folder = folder
        return json.loads(p.stdout) if p.stdout else None
    run.folder = folder
    return run


def rule(j, verdict):
    found = [r for r in j["rules"] if r["verdict"] == verdict]
    assert len(found) == 1, j["rules"]
    return found[0]


def sources(r):
    return {s["address"]: s["packets"] for s in r["sources"]}


def test_lists(rehearse):
    p = [(i * 0.1, frame(tcp(a, ACK))) for i in range(5) for a in ("192.0.2.1", "192.0.2.2", "198.51.100.1", "2001:db8:9::1")]
    j = rehearse("deny 192.0.2.0/24 2001:db8:9::/48; allow 192.0.2.2;", p)
    r = rule(j, "drop_net")
    assert r["text"] == "deny 192.0.2.0/24 2001:db8:9::/48" and r["packets"] == 10 and not r["dry_run"]
    assert sources(r) == {"192.0.2.1": 5, "2001:db8:9::1": 5}
    assert r["bytes"] == 5 * 54 + 5 * 74 == sum(s["bytes"] for s in r["sources"])
    v = {k: x["packets"] for k, x in j["verdicts"].items() if x["packets"]}
    assert v == {"pass": 5, "pass_allow": 5, "drop_net": 10} and j["dropped"]["packets"] == 10
    assert j["capture"]["packets"] == 20 and j["capture"]["link"].startswith("EN10MB")
    assert j["capture"]["begin"] == "2023-11-14T22:13:20.000Z" and j["capture"]["end"] == "2023-11-14T22:13:20.400Z"


def test_allow_auto(rehearse):
    """This machine's own addresses, and upstream servers that are given by address."""
    p = [(i * 0.1, frame(tcp(a, ACK))) for i in range(4) for a in ("127.0.0.1", "198.51.100.7", "198.51.100.8")]
    up = "http { upstream u { server 198.51.100.7; server model.invalid; } server { listen 127.0.0.1:1; location / { proxy_pass http://u; } } }\n"
    for how, passed in (("", 8), ("allow_auto off;", 0), ("allow 198.51.100.8;", 12)):
        block = "xdp { interface lo; rate unknown_syn=off; deny 127.0.0.0/8 198.51.100.0/24; %s }\n" % how
        j = rehearse(None, p, main=up + block)
        assert j["verdicts"]["pass_allow"]["packets"] == passed and j["dropped"]["packets"] == 12 - passed, how
        assert (j["capture"]["allow_auto"] >= 2) == (passed > 0)


@pytest.mark.parametrize("stretch,refused", [(1, 850), (20, 0), (0, 949)])
def test_rates_go_by_the_time_of_the_capture(rehearse, stretch, refused):
    """A SYN each millisecond, or twenty, or all at once; the replay takes as long for each."""
    p = [(i * 0.001 * stretch, frame(tcp("203.0.113.9"))) for i in range(1000)]
    j = rehearse("rate syn=100/s burst=50;", p)
    if not refused:
        assert j["rules"] == [] and j["dropped"]["packets"] == 0
        return
    r = rule(j, "drop_syn_rate")
    assert r["text"] == "rate syn=100/s burst=50" and abs(r["packets"] - refused) <= 1
    assert sources(r) == {"203.0.113.9": r["packets"]}


def test_rates_of_packets_and_hellos_and_prefixes(rehearse):
    p = [(i * 0.01, frame(tcp("203.0.113.9", ACK))) for i in range(200)]
    p += [(3 + i * 0.01, frame(tcp("203.0.113.10", ACK, HELLO))) for i in range(50)]
    p += [(6 + i * 0.001, frame(tcp(f"2001:db8:7:1::{i:x}"))) for i in range(300)]
    j = rehearse("rate packets=10/s burst=20; rate new_tls=1/s burst=4; rate syn=50/s burst=9; v6_prefix 64;", p)
    assert abs(sources(rule(j, "drop_packet_rate"))["203.0.113.9"] - 160) <= 1
    assert 18 <= sources(rule(j, "drop_tls_rate"))["203.0.113.10"] <= 22   # of those that the rate of packets let through
    assert list(sources(rule(j, "drop_syn_rate"))) == ["2001:db8:7:1::/64"]
    total = sum(r["packets"] for r in j["rules"])
    assert j["dropped"]["packets"] == total == sum(
        x["packets"] for k, x in j["verdicts"].items() if k.startswith("drop_"))


def test_a_dry_run_is_marked(rehearse):
    p = [(i * 0.001, frame(tcp("203.0.113.9"))) for i in range(100)]
    j = rehearse("rate syn=1/s burst=9 dry_run;", p)
    r = rule(j, "drop_syn_rate")
    assert r["dry_run"] and r["packets"] == 90
    assert j["verdicts"]["would_drop"]["packets"] == 90 and j["dropped"]["packets"] == 0
    # Of the whole block: what is rehearsed is what it will be without.
    j = rehearse("rate syn=1/s burst=9; dry_run on;", p)
    assert not rule(j, "drop_syn_rate")["dry_run"] and j["dropped"]["packets"] == 90


def test_bans_of_a_file(rehearse):
    end_ms = (T0 + 5) * 1000
    (rehearse.folder / "bans").write_text(
        f"192.0.2.1 {end_ms} 0 0a0b0c0d 0 too many\n192.0.2.2 0 0 00000000 1 by hand\n192.0.2.3 {T0 * 1000 - 1} 0 0a0b0c0d 0 over\n")
    p = [(float(i), frame(tcp(f"192.0.2.{k}", ACK))) for i in range(10) for k in (1, 2, 3)]
    j = rehearse("", p, "--bans", rehearse.folder / "bans")
    by_id = {r["rule"]: r for r in j["rules"]}
    assert sources(by_id["0a0b0c0d"]) == {"192.0.2.1": 5} and sources(by_id["00000000"]) == {"192.0.2.2": 10}
    assert by_id["00000000"]["text"] == "banned by hand" and by_id["0a0b0c0d"]["verdict"] == "drop_deny"
    assert j["verdicts"]["pass_expired"]["packets"] == 5 and j["capture"]["bans"] == 2


def test_bans_of_networks_and_on_trial(rehearse):
    (rehearse.folder / "bans").write_text(
        "198.51.100.0/24 0 0 0a0b0c0d 0 a network\n2001:db8:5::/48 0 0 0a0b0c0e 0 another\n192.0.2.1 0 0 0a0b0c0f 0:1:0:1 trial\n"
        "192.0.2.2 0 0 0a0b0c10 2 behind a proxy\n")
    p = [(float(i), frame(tcp(a, ACK))) for i in range(3)
         for a in ("198.51.100.7", "198.51.101.7", "2001:db8:5::9", "192.0.2.1", "192.0.2.2")]
    j = rehearse("", p, "--bans", rehearse.folder / "bans")
    assert {(r["rule"], r["verdict"], r["dry_run"], *sources(r).items()) for r in j["rules"]} == {
        ("0a0b0c0d", "drop_net", False, ("198.51.100.7", 3)), ("0a0b0c0e", "drop_net", False, ("2001:db8:5::9", 3)),
        ("0a0b0c0f", "drop_deny", True, ("192.0.2.1", 3))}
    assert j["dropped"]["packets"] == 6 and j["verdicts"]["would_drop"]["packets"] == 3


def test_only_the_first_sources_are_shown(rehearse):
    p = [(0.0, frame(tcp(f"192.0.2.{k}", ACK))) for k in range(100) for _ in range(k + 1)]
    r = rule(rehearse("deny 192.0.2.0/24;", p, "--top", 3), "drop_net")
    assert sources(r) == {"192.0.2.99": 100, "192.0.2.98": 99, "192.0.2.97": 98}
    assert r["n_sources"] == 100 and r["packets"] == 5050 and r["packets_unlisted"] == 0


@pytest.mark.parametrize("link,header", [
    (RAW, b""), (SLL, struct.pack("!HHH8sH", 0, 1, 6, bytes(8), 0x0800)),
    (SLL2, struct.pack("!HHIHBB8s", 0x0800, 0, 3, 1, 0, 6, bytes(8))),
])
def test_other_links(rehearse, link, header):
    j = rehearse("deny 192.0.2.1;", [(0, header + tcp("192.0.2.1")), (1, header + tcp("192.0.2.2"))], link=link)
    assert j["dropped"] == {"packets": 1, "bytes": 54} and j["verdicts"]["pass"]["packets"] == 1


@pytest.mark.parametrize("link,header", [
    (SLL, struct.pack("!HHH8sH", 4, 1, 6, bytes(8), 0x0800)), (SLL2, struct.pack("!HHIHBB8s", 0x0800, 0, 3, 1, 4, 6, bytes(8))),
])
def test_what_the_host_sent_is_passed_over(rehearse, link, header):
    j = rehearse("deny 192.0.2.1;", [(0, header + tcp("192.0.2.1"))], link=link)
    assert j["dropped"]["packets"] == j["capture"]["packets"] == 0 and j["capture"]["sent"] == 1


def test_packets_that_were_cut_short(rehearse):
    """With a snap length of 54 there are TCP flags, and no ClientHello; lengths are those of the wire."""
    p = [(0.0, frame(tcp("203.0.113.9", ACK, HELLO))) for _ in range(20)]
    p += [(1.0, frame(tcp("203.0.113.9", SYN, bytes(100)))) for _ in range(20)]
    xdp = "rate new_tls=1/s burst=1; rate syn=1/s burst=1;"
    whole, cut = rehearse(xdp, p), rehearse(xdp, p, snap=54)
    assert whole["capture"]["cut"] == 0 and cut["capture"]["cut"] == 40
    assert rule(whole, "drop_tls_rate")["packets"] == 18
    assert [r["verdict"] for r in cut["rules"]] == ["drop_syn_rate"]
    assert rule(cut, "drop_syn_rate")["packets"] == 18 and cut["capture"]["bytes"] == sum(len(x) for _, x in p)
    assert cut["verdicts"]["pass_malformed"]["packets"] == 0


def test_jumbo_vlan_odd_and_backward_packets(rehearse):
    tagged = bytes(12) + b"\x81\x00\x00\x05" + frame(tcp("192.0.2.1"))[12:]
    big = frame(tcp("192.0.2.1", ACK, bytes(60000)))
    j = rehearse("deny 192.0.2.1;", [(5, tagged), (4, big), (6, b"short"), (7, frame(b"\x45" + bytes(10)))])
    assert j["dropped"] == {"packets": 2, "bytes": len(tagged) + len(big)}
    assert j["capture"]["odd"] == 1 and j["capture"]["out_of_order"] == 1
    assert j["verdicts"]["pass_malformed"]["packets"] == 1


def test_pcapng_nanoseconds_standard_input_and_filters(rehearse):
    p = [(i * 0.001, frame(tcp(a))) for i in range(100) for a in ("203.0.113.9", "203.0.113.10")]
    xdp = "rate syn=10/s burst=9;"
    plain = rehearse(xdp, p)
    assert rehearse(xdp, p, nano=True)["rules"] == plain["rules"]
    pcapng(rehearse.folder / "a.pcap", p)
    assert rehearse(xdp, None)["rules"] == plain["rules"]
    one = rehearse(xdp, p, "--filter", "src host 203.0.113.10")
    assert set(sources(rule(one, "drop_syn_rate"))) == {"203.0.113.10"} and one["capture"]["packets"] == 100
    with open(rehearse.folder / "a.pcap", "rb") as f:
        out = subprocess.run([str(harness.SLUICE), "-t", "-c", str(rehearse.folder / "sluice.conf"), "--pcap", "-"], stdin=f,
                             capture_output=True, text=True, timeout=60)
    assert out.returncode == 0 and "test is successful" in out.stderr
    assert "\n  203.0.113.10" not in out.stdout and "    203.0.113.10 " in out.stdout and "rate syn=10/s burst=9" in out.stdout


def test_errors(rehearse):
    folder = rehearse.folder
    assert rehearse("", [], link=127, code=1) is None and "link type" in rehearse.err and "IEEE802_11" in rehearse.err
    assert rehearse("", [(0, b"")], "--filter", "nonsense here", code=1) is None and "filter" in rehearse.err
    assert rehearse("", [], main="", code=1) is None and "no xdp block" in rehearse.err
    assert rehearse("", [(0, frame(tcp("192.0.2.1")))], "--bans", folder / "none", code=1) is None
    assert "No such file" in rehearse.err
    for text in (b"", b"not a capture at all, but long enough"):
        (folder / "a.pcap").write_bytes(text)
        assert rehearse("", None, code=1) is None and "a.pcap" in rehearse.err
    # A capture that was cut off: what it holds is shown, and the exit status says so.
    Pcap(folder / "a.pcap", [(0, frame(tcp("192.0.2.1")))] * 10)
    os.truncate(folder / "a.pcap", os.path.getsize(folder / "a.pcap") - 7)
    j = rehearse("deny 192.0.2.1;", None, code=1)
    assert j["dropped"]["packets"] == 9 and "truncated" in rehearse.err
    empty = rehearse("", [])
    assert empty["capture"]["begin"] is None and empty["rules"] == []
    for args, text in ((["--pcap", "x"], "-t"), (["-t", "--pcap"], "argument"), (["-t", "--top", "3"], "--pcap"),
                       (["-t", "--pcap", "x", "--top", "0"], "number")):
        code, out = run_sluice(*args)
        assert code == 1 and text in out, (args, out)


def test_without_privileges(rehearse):
    Pcap(rehearse.folder / "a.pcap", [])
    (rehearse.folder / "sluice.conf").write_text(CONF + "xdp { interface lo; }\n")
    for p in (rehearse.folder, rehearse.folder / "a.pcap", rehearse.folder / "sluice.conf"):
        p.chmod(0o755)
    p = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", str(harness.SLUICE), "-t", "-q", "-c",
                        rehearse.folder / "sluice.conf", "--pcap", rehearse.folder / "a.pcap"], capture_output=True, text=True)
    assert p.returncode == 1 and "no permission to load XDP programs" in p.stderr, p.stderr


def test_a_running_sluice_is_left_alone(guarded, net, pins):
    """Its pins, its program, its bans and counters; with its own configuration and file of bans."""
    s = guarded("rate syn=5/s burst=5;")
    s.ctl.ok("ban", "192.0.2.1", "--for", "1h")
    harness.until(lambda: (s.dir / "sluice.pid.bans").exists(), 5, "the file of bans")
    Pcap(s.dir / "a.pcap", [(i * 0.001, frame(tcp(a))) for i in range(100) for a in ("192.0.2.1", "203.0.113.9")])
    before = pins.names(), xdp_on(net.server), pins.entry("deny_v4", "192.0.2.1"), pins.entry("sources_v4", "203.0.113.9")
    p = subprocess.run(["nsenter", f"--net=/run/netns/{net.server}", *map(str, s.command(
        "-t", "-q", "--json", "--bans", s.dir / "sluice.pid.bans", "--pcap", s.dir / "a.pcap"))],
        capture_output=True, text=True, timeout=60)
    assert p.returncode == 0, p.stderr
    j = json.loads(p.stdout)
    assert sources(rule(j, "drop_deny")) == {"192.0.2.1": 100}
    assert 90 <= sources(rule(j, "drop_syn_rate"))["203.0.113.9"] <= 95
    assert (pins.names(), xdp_on(net.server), pins.entry("deny_v4", "192.0.2.1"),
            pins.entry("sources_v4", "203.0.113.9")) == before
    assert s.ctl.bans().keys() == {"192.0.2.1"}


def test_a_flood_as_it_was_captured(rehearse, net):
    """Frames of a real link, written as they come in: what the guard of the same rate would have let through."""
    path = rehearse.folder / "a.pcap"
    with net, harness.in_netns(net.server):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        tap.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)     # SO_RCVBUFFORCE: whoever reads may be late
        tap.bind(("sl-s1", 0))
        tap.settimeout(2)
        packets = []

        def take():
            while True:
                try:
                    data, where = tap.recvfrom(65536)
                except TimeoutError:
                    return
                if where[2] != socket.PACKET_OUTGOING and data[12:14] == b"\x08\x00":
                    packets.append((time.time() - T0, data))
        t = threading.Thread(target=take)
        t.start()
        with harness.in_netns(net.clients[0]):
            out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        for i in range(500):
            out.sendto(tcp(f"10.77.1.{2 + i % 2}"), ("10.77.1.1", 0))
        t.join()
        tap.close()
        out.close()
    n = {k: sum(p[26:30] == socket.inet_aton(f"10.77.1.{k}") and p[47] == SYN for _, p in packets) for k in (2, 3)}
    assert n == {2: 250, 3: 250}, n
    Pcap(path, packets)
    r = rule(rehearse("rate syn=1/s burst=4;", None), "drop_syn_rate")
    took_s = packets[-1][0] - packets[0][0]
    for k in (2, 3):
        passed = 250 - sources(r)[f"10.77.1.{k}"]
        assert 5 <= passed <= 5 + took_s + 1
