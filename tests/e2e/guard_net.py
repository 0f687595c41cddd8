# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of the guard add to harness.py: namespaces of this process alone, tagged links, pins, sluicectl."""
import ctypes
import errno
import fcntl
import itertools
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess

import harness
from harness import CTL, RUN, SLOW, Conn, Net, bpftool, ip, until

NUMBERS = itertools.count(1)
PORT = 8080
# What a server in a GuardNet listens on.
IN_NET = "".join(f"listen 10.77.{i}.1:{PORT}; listen [fd77:{i}::1]:{PORT};" for i in (1, 2))
TOTALS = ["pass", "pass_allow", "drop_deny", "drop_net", "would_drop", "pass_expired", "pass_malformed",
          "pass_vlan_deep", "pass_not_ip", "drop_syn_rate", "drop_packet_rate", "drop_tls_rate",
          "drop_unknown_syn", "pass_fail_open", "events_lost", "not_counted", "would_syn_rate",
          "would_packet_rate", "would_tls_rate", "would_unknown_syn"]
SIOCETHTOOL, GET_FLAGS, SET_FLAGS, FLAG_TX_VLAN = 0x8946, 0x25, 0x26, 1 << 7


class GuardNet(Net):
    """Net with names of its own, so that two runs of the tests do not meet."""

    def __init__(self, n_clients=2):
        tag = f"{RUN}-{os.getpid()}-{next(NUMBERS)}"
        super().__init__([f"{tag}-c{i}" for i in range(1, n_clients + 1)])
        self.server = f"{tag}-srv"
        self.names = [self.server, *self.clients]

    def tag_client(self, i, folder):
        """From here on everything client I sends carries a VLAN tag."""
        netns, dev, obj = self.clients[i - 1], f"sl-c{i}", folder / "vlan_tag.o"
        subprocess.run(["clang-14", "-O2", "-g", "-target", "bpf", "-I/usr/include/x86_64-linux-gnu", "-c",
                        pathlib.Path(__file__).parent / "vlan_tag.bpf.c", "-o", obj], check=True)
        with harness.in_netns(netns), socket.socket() as s:
            flags = ethtool(s, dev, GET_FLAGS)
            ethtool(s, dev, SET_FLAGS, flags & ~FLAG_TX_VLAN)  # the tag stands in the bytes, not beside them
        for args in (["qdisc", "add", "dev", dev, "clsact"],
                     ["filter", "add", "dev", dev, "egress", "bpf", "da", "obj", str(obj), "sec", "tc"]):
            p = subprocess.run(["tc", "-n", netns, *args], capture_output=True, text=True)
            assert p.returncode == 0, p.stderr

    def sent_types(self, i, do):
        """The Ethernet types of what client I sends while DO() runs, as they are on the wire."""
        with harness.in_netns(self.clients[i - 1]):
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        with s:
            s.bind((f"sl-c{i}", 0))
            s.settimeout(0.2)
            do()
            types = set()
            while True:
                try:
                    data, where = s.recvfrom(2048)
                except TimeoutError:
                    return types
                if where[2] == socket.PACKET_OUTGOING:
                    types.add(int.from_bytes(data[12:14], "big"))


def ethtool(s, dev, command, data=0):
    value = ctypes.create_string_buffer(struct.pack("II", command, data))
    fcntl.ioctl(s, SIOCETHTOOL, struct.pack("16sQ8x", dev.encode(), ctypes.addressof(value)))
    return struct.unpack("II", value.raw[:8])[1]


class Pins:
    """A folder of pins that nobody else uses; what a killed sluice leaves in it goes at the end."""

    def __init__(self):
        self.path = pathlib.Path(f"/sys/fs/bpf/{RUN}-{os.getpid()}-{next(NUMBERS)}")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.path, ignore_errors=True)

    def maps(self):
        """The folder of the maps: its name says their schema."""
        return next(self.path.glob("v*"))

    def names(self):
        return sorted(p.name for p in self.path.rglob("*")) if self.path.exists() else []

    def dump(self, name):
        """[(key, value)] with field names, as an administrator's bpftool shows them."""
        return [(e["formatted"]["key"], e["formatted"].get("values", e["formatted"].get("value")))
                for e in bpftool("map", "dump", "pinned", self.maps() / name)]

    def totals(self):
        """{verdict: packets}."""
        rows = dict(self.dump("totals"))
        return {TOTALS[k]: sum(cpu["value"]["packets"] for cpu in v) for k, v in rows.items()}

    def entry(self, name, addr):
        family = socket.AF_INET6 if ":" in addr else socket.AF_INET
        key = list(socket.inet_pton(family, addr))
        for k, v in self.dump(name):
            if [int(x, 0) if isinstance(x, str) else x for x in k["addr"]] == key:
                return v
        return None

    def map_ids(self):
        return {bpftool("map", "show", "pinned", p)["id"] for p in self.maps().iterdir()}

    def links(self):
        return [bpftool("link", "show", "pinned", self.path / n) for n in self.names() if n.startswith("link_")]


class Kernel:
    """The programs, maps and links that belong to a folder of pins, by their ids."""

    def __init__(self, pins):
        self.maps = pins.map_ids()
        self.progs = progs_of(self.maps)
        self.links = links_of(self.progs)

    def is_gone(self):
        return not (self.progs & {p["id"] for p in bpftool("prog", "show")} or
                    self.maps & {m["id"] for m in bpftool("map", "show")} or
                    self.links & {x["id"] for x in bpftool("link", "show") or []})


def progs_of(maps):
    return {p["id"] for p in bpftool("prog", "show") if maps & set(p.get("map_ids", ()))}


def links_of(progs):
    return {x["id"] for x in bpftool("link", "show") or [] if x.get("prog_id") in progs}


def xdp_on(netns):
    """{interface: id of its XDP program}."""
    return {x["ifname"]: x["xdp"]["prog"]["id"] for x in json.loads(ip("-j", "link", "show", netns=netns))
            if x.get("xdp")}


class Ctl:
    """sluicectl on a sluice's socket."""

    def __init__(self, sluice, name="admin.sock"):
        self.socket = sluice.dir / name
        until(lambda: self.run("status")[0] == 0, 5, "the admin process")

    def run(self, *args):
        p = subprocess.run([str(CTL), "-s", str(self.socket), *map(str, args)], capture_output=True, text=True,
                           timeout=20 * SLOW)
        return p.returncode, p.stdout, p.stderr

    def ok(self, *args):
        code, out, err = self.run(*args)
        assert code == 0, (args, code, out, err)
        return out

    def json(self, *args):
        return json.loads(self.ok("--json", *args))

    def bans(self):
        return {b["address"]: b for b in self.json("bans")["bans"]}


def reach(port, host, netns=None, timeout=0.5, **kw):
    """What a new connection meets: the status of GET /, "dropped" (silence) or "closed"."""
    try:
        with Conn(port, host, netns=netns, timeout=timeout, **kw) as c:
            c.sock.settimeout(5 * SLOW)
            return c.request("GET", "/", {"Connection": "close"}).status
    except TimeoutError:
        return "dropped"
    except OSError as e:
        if e.errno == errno.EHOSTUNREACH:   # what was dropped are its neighbour solicitations
            return "dropped"
        if not isinstance(e, ConnectionError):
            raise
        return "closed"
    except harness.Closed:
        return "closed"
