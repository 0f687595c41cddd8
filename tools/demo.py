#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The whole of sluice on one machine, told step by step: TLS on both sides, a chat completion, a stream, and
two clients in network namespaces of their own, of which one floods until the kernel drops its packets while
the other does not notice. Every sentence that claims something is checked; exit 0 means that all of it
happened. What it makes (namespaces, interfaces, processes, files) it takes away, however it ends."""
import argparse
import contextlib
import ctypes
import fcntl
import http.client
import itertools
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAME = "gateway.demo.test"
PORT = 8443
PINS = "/sys/fs/bpf/sluice"
CLIENTS = {
    # namespace, interface here, our address, the client's (198.18.0.0/15 is for tests: RFC 2544)
    "good": ("sl-demo-good", "sl-demo-good0", "198.18.71.1", "198.18.71.2", "fd73:6c75:71::1", "fd73:6c75:71::2"),
    "bad": ("sl-demo-bad", "sl-demo-bad0", "198.18.72.1", "198.18.72.2", None, None),
}
GOOD_PER_S = 20
FLOOD_THREADS = 4
QUIET_S = 4          # so many seconds without any answer: the flood has stopped
FLOOD_MAX_S = 40
CHAT = json.dumps({"model": "gpt-4.1", "messages": [{"role": "user", "content": "What is a sluice?"}]})


def maps_dir():
    """Named after the schema of what lies in it."""
    return next(entry.path for entry in os.scandir(PINS) if re.fullmatch(r"v\d+", entry.name))


class Failed(Exception):
    """The demo did not show what it should; the text is for the person who reads it."""


class Interrupted(Exception):
    """Ctrl-C, or the end of the terminal."""


# --- telling ---------------------------------------------------------------------------------------------

def say(text=""):
    print(text, flush=True)


def step(text, numbers=itertools.count(1)):
    say()
    say(f"== {next(numbers)}. {text}")


def show(text, limit=None):
    lines = text.rstrip("\n").split("\n")
    for line in lines[:limit]:
        say("   | " + line)
    if limit and len(lines) > limit:
        say(f"   | ... ({len(lines) - limit} more lines)")


def check(ok, claim, otherwise=None):
    if not ok:
        raise Failed(otherwise or f"this should be so, but is not: {claim}")
    say(f"   ok: {claim}")


# --- running ---------------------------------------------------------------------------------------------

def die_with_parent():
    """In the child: TERM when the demo is killed in a way that it cannot clean up after."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def run(*argv, may_fail=False, timeout=30):
    p = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    if p.returncode and not may_fail:
        raise Failed(f"`{' '.join(argv)}` ended with {p.returncode}: {(p.stderr or p.stdout).strip()}")
    return p


def inside(who, *argv):
    return ("ip", "netns", "exec", CLIENTS[who][0]) + argv


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def tail(path, n=15):
    return "\n".join(read(path).splitlines()[-n:]) if os.path.exists(path) else "(no file)"


def free_port():
    """Below the range from which the kernel takes the ports of outgoing connections."""
    for port in random.sample(range(12000, 32000), 1000):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failed("no free port")


def wait_for(what, condition, seconds=10.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise Failed(f"waited {seconds:g} s in vain for {what}")


# --- the two clients, run by this same file within their namespaces ---------------------------------------

def post(conn, close=False):
    headers = {"Content-Type": "application/json", "Host": NAME, "X-Mock-Tokens": "4"}
    if close:
        headers["Connection"] = "close"
    conn.request("POST", "/v1/chat/completions", body=CHAT, headers=headers)
    answer = conn.getresponse()
    return answer.status, answer.read()


class Connection(http.client.HTTPSConnection):
    """To an address, with the gateway's name for SNI and the certificate."""

    def connect(self):
        s = socket.create_connection((self.host, self.port), self.timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)     # head and body are two writes
        self.sock = self._context.wrap_socket(s, server_hostname=NAME)


def good_client(ca, addresses):
    """A steady rate, over IPv4 and IPv6 in turn, now and then on a new connection, until TERM. Prints a line of
    JSON: how many requests, which failures, how long they took."""
    context = ssl.create_default_context(cafile=ca)
    conns = [None] * len(addresses)
    took, failures, stop = [], [], []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    signal.signal(signal.SIGUSR1, lambda *_: print(json.dumps({"so_far": len(took)}), flush=True))
    print(json.dumps({"so_far": 0}), flush=True)
    n, next_at = 0, time.monotonic()
    while not stop:
        i = n % len(addresses)
        begin = time.monotonic()
        try:
            if conns[i] is None:
                conns[i] = Connection(addresses[i], PORT, timeout=10, context=context)
            last = n % 20 >= 20 - len(addresses)
            status, body = post(conns[i], close=last)
            if last:
                conns[i].close()
                conns[i] = None
            if status != 200 or "choices" not in json.loads(body):
                failures.append(f"request {n} to {addresses[i]}: {status} {body[:200]!r}")
        except Exception as e:
            failures.append(f"request {n} to {addresses[i]}: {e!r}")
            conns[i] = None
        took.append(time.monotonic() - begin)
        n += 1
        next_at = max(next_at + 1 / GOOD_PER_S, time.monotonic() - 1)
        time.sleep(max(0.0, next_at - time.monotonic()))
    took.sort()
    print(json.dumps({"requests": n, "failures": failures, "p50_ms": took[n // 2] * 1000,
                      "p99_ms": took[n * 99 // 100] * 1000, "max_ms": took[-1] * 1000}), flush=True)


def bad_client(ca, address):
    """As many requests as go, on four connections; a line of JSON each second, until TERM."""
    context = ssl.create_default_context(cafile=ca)
    lock, count = threading.Lock(), {}

    def note(what):
        with lock:
            count[what] = count.get(what, 0) + 1

    def flood():
        conn = None
        while True:
            try:
                if conn is None:
                    conn = Connection(address, PORT, timeout=1, context=context)
                note({200: "answered", 429: "refused"}.get(post(conn)[0], "other"))
            except TimeoutError:
                note("silence")
                conn = None
            except OSError:
                note("reset")
                conn = None
            except http.client.HTTPException:
                note("reset")
                conn = None

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    for _ in range(FLOOD_THREADS):
        threading.Thread(target=flood, daemon=True).start()
    while True:
        time.sleep(1)
        with lock:
            print(json.dumps(count), flush=True)
            count.clear()


# --- the demo ---------------------------------------------------------------------------------------------

class Demo:
    def __init__(self, build, keep):
        self.build, self.keep = build, keep
        self.undo = contextlib.ExitStack()
        self.dir = self.token = self.admin_port = None

    # ---- making

    def program(self, name):
        return os.path.join(self.build, name)

    def start(self, what, argv, **kw):
        """A child that ends with the demo, in a session of its own, so that Ctrl-C reaches only us."""
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True,
                             preexec_fn=die_with_parent, **kw)
        self.undo.callback(self.end, what, p)
        return p

    @staticmethod
    def end(what, p):
        if p.poll() is None:
            p.terminate()
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                say(f"   {what} (process {p.pid}) does not end, it is killed")
                p.kill()
                p.wait(10)
        for pipe in (p.stdout, p.stderr):
            if pipe:
                pipe.close()

    def prepare(self):
        if os.geteuid() != 0:
            raise Failed("network namespaces and XDP need root: run it as root (sudo make demo)")
        for name in ("sluice", "sluicectl", "mock-llm"):
            if not os.access(self.program(name), os.X_OK):
                raise Failed(f"{self.program(name)} is not built: run `make` first")
        os.environ["PATH"] += ":/usr/sbin:/sbin"
        for name in ("ip", "openssl", "curl", "bpftool"):
            if not shutil.which(name):
                raise Failed(f"{name} is not installed: run `make deps` first")
        lock = open("/run/sl-demo.lock", "w", encoding="ascii")
        self.undo.callback(lock.close)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failed("another demo is running on this machine") from None
        self.undo.callback(os.unlink, "/run/sl-demo.lock")
        if os.path.isdir(PINS) and os.listdir(PINS):
            raise Failed(f"{PINS} is in use: a sluice with a guard runs here (or was killed). Stop it first; if "
                         f"none runs, `rm -r {PINS}` takes what it left out of the kernel")
        if not os.path.ismount("/sys/fs/bpf"):
            self.undo.callback(self.unmount_bpffs)
        self.dir = tempfile.mkdtemp(prefix="sl-demo-")
        self.undo.callback(shutil.rmtree, self.dir, True)
        os.chmod(self.dir, 0o755)
        say(f"   everything of this run is in {self.dir}")

    @staticmethod
    def unmount_bpffs():
        """Only where nobody has put anything meanwhile; maps.debug and progs.debug are the kernel's own."""
        if os.path.ismount("/sys/fs/bpf") and not set(os.listdir("/sys/fs/bpf")) - {"maps.debug", "progs.debug"}:
            run("umount", "/sys/fs/bpf", may_fail=True)

    def make_network(self):
        for who, (ns, here, our4, their4, our6, their6) in CLIENTS.items():
            run("ip", "netns", "del", ns, may_fail=True)       # left by a demo that was killed
            run("ip", "link", "del", here, may_fail=True)
            self.undo.callback(run, "ip", "netns", "del", ns, may_fail=True)
            self.undo.callback(run, "ip", "link", "del", here, may_fail=True)
            run("ip", "netns", "add", ns)
            run("ip", "link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", ns)
            run("ip", "addr", "add", our4 + "/30", "dev", here)
            run("ip", "-n", ns, "addr", "add", their4 + "/30", "dev", "eth0")
            if our6:
                run("ip", "addr", "add", our6 + "/64", "dev", here, "nodad")
                run("ip", "-n", ns, "addr", "add", their6 + "/64", "dev", "eth0", "nodad")
            run("ip", "link", "set", here, "up")
            run("ip", "-n", ns, "link", "set", "lo", "up")
            run("ip", "-n", ns, "link", "set", "eth0", "up")
            say(f"   {ns}: {their4}{' and ' + their6 if their6 else ''} <-> {here} {our4}")

    def make_certificate(self, file, name):
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
            "-keyout", f"{self.dir}/{file}.key", "-out", f"{self.dir}/{file}.pem")
        os.chmod(f"{self.dir}/{file}.key", 0o600)
        say(f"   {file}.pem for {name}")

    def start_upstream(self, name):
        p = self.start(f"mock-llm {name}",
                       [self.program("mock-llm"), "--listen-tls", "127.0.0.1:0", "--cert",
                        f"{self.dir}/models.pem", "--key", f"{self.dir}/models.key", "--name", name],
                       stdout=subprocess.PIPE, text=True)
        for line in p.stdout:
            m = re.match(r"mock-llm: https? (\S+:\d+)$", line)
            if m:
                say(f"   {name}: https://{m[1]}")
                return m[1]
        raise Failed(f"the upstream {name} did not start")

    def configure(self, upstreams):
        self.admin_port = free_port()
        self.token = secrets.token_urlsafe(24)
        with open(f"{self.dir}/token", "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(self.token + "\n")
        words = {
            "DIR": self.dir, "ADMIN_PORT": self.admin_port,
            "UPSTREAM_A": upstreams[0], "UPSTREAM_B": upstreams[1],
            "GOOD_IF": CLIENTS["good"][1], "BAD_IF": CLIENTS["bad"][1],
            "GOOD_V4": CLIENTS["good"][2], "GOOD_V6": f"[{CLIENTS['good'][4]}]", "BAD_V4": CLIENTS["bad"][2],
        }
        text = re.sub(r"@([A-Z0-9_]+)@", lambda m: str(words.get(m[1], m[0])),
                      read(os.path.join(ROOT, "conf/demo.conf")))
        with open(f"{self.dir}/sluice.conf", "w", encoding="ascii") as f:
            f.write(text)

    def start_sluice(self):
        conf = f"{self.dir}/sluice.conf"
        p = run(self.program("sluice"), "-t", "-c", conf)
        show(p.stderr)
        with open(f"{self.dir}/stderr", "w", encoding="ascii") as err:
            self.sluice = self.start("sluice", [self.program("sluice"), "-c", conf], stderr=err)

        def ready():
            if self.sluice.poll() is not None:
                raise Failed(f"sluice ended with {self.sluice.returncode}:\n" + tail(f"{self.dir}/stderr"))
            return self.ctl("status", may_fail=True).returncode == 0
        wait_for("sluice's admin socket", ready)

    # ---- looking

    def ctl(self, *argv, may_fail=False):
        return run(self.program("sluicectl"), "-s", f"{self.dir}/admin.sock", *argv, may_fail=may_fail)

    def ctl_json(self, *argv):
        return json.loads(self.ctl("--json", *argv).stdout)

    def metrics(self, token=True):
        r = urllib.request.Request(f"http://127.0.0.1:{self.admin_port}/metrics")
        if token:
            r.add_header("Authorization", "Bearer " + self.token)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(r, timeout=10) as answer:
            return answer.read().decode()

    @staticmethod
    def sample(text, name):
        m = re.search("^" + re.escape(name) + r" (\S+)$", text, re.M)
        if not m:
            raise Failed(f"/metrics has no line {name}")
        return float(m[1])

    @staticmethod
    def dropped():
        """(packets, bytes) of totals[drop_deny], summed over the CPUs, as bpftool reads them."""
        rows = json.loads(run("bpftool", "-j", "map", "dump", "pinned", f"{maps_dir()}/totals").stdout)
        row = next(r["formatted"] for r in rows if r["formatted"]["key"] == 2)
        return tuple(sum(v["value"][what] for v in row["values"]) for what in ("packets", "bytes"))

    def rights(self):
        """Title, uid and effective capabilities of sluice's processes, from /proc."""
        master = self.sluice.pid
        pids = [master] + [int(p) for p in read(f"/proc/{master}/task/{master}/children").split()]
        rows = []
        for pid in pids:
            s = dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/status").splitlines())
            title = read(f"/proc/{pid}/cmdline").split("\0")[0].rstrip()
            rows.append((pid, title, int(s["Uid"].split()[0]), int(s["CapEff"], 16)))
        if len(rows) < 3:
            raise Failed(f"sluice should be a master, workers and an admin process, but is {rows}")
        return rows

    # ---- showing

    def curl(self, *argv):
        return inside("good", "curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20",
                      "--cacert", f"{self.dir}/gateway.pem",
                      "--resolve", f"{NAME}:{PORT}:{CLIENTS['good'][2]}", *argv)

    def chat(self):
        argv = self.curl("-w", "\n%{http_code} %{ssl_verify_result} %{time_total}",
                         f"https://{NAME}:{PORT}/v1/chat/completions",
                         "-H", "Content-Type: application/json", "-d", CHAT)
        say(f"   curl https://{NAME}:{PORT}/v1/chat/completions -d '{CHAT}'")
        body, _, rest = run(*argv).stdout.rpartition("\n")
        status, verify, seconds = rest.split()
        show(body)
        text = json.loads(body)["choices"][0]["message"]["content"] if status == "200" else ""
        check(status == "200" and verify == "0" and text,
              f"a chat completion through TLS, verified, in {float(seconds) * 1000:.0f} ms",
              f"the chat completion got status {status}: {body}\n{tail(self.dir + '/error.log')}")

    def stream(self, n=8, apart_ms=200):
        body = json.dumps({"model": "gpt-4.1", "stream": True, "messages": [{"role": "user", "content": "Count."}]})
        say(f"   the same with \"stream\": true; the upstream says a word every {apart_ms} ms")
        p = self.start("curl", self.curl("-N", f"https://{NAME}:{PORT}/v1/chat/completions",
                                         "-H", "Content-Type: application/json",
                                         "-H", f"X-Mock-Tokens: {n}", "-H", f"X-Mock-Chunk-Delay-Ms: {apart_ms}",
                                         "-d", body), stdout=subprocess.PIPE, text=True)
        begin, at, words, done = time.monotonic(), [], [], False
        for line in p.stdout:
            if not line.startswith("data: "):
                continue
            t = time.monotonic() - begin
            done = line.strip() == "data: [DONE]"
            event = {} if done else json.loads(line[6:])
            word = "".join(c["delta"].get("content") or "" for c in event.get("choices", []))
            say(f"   | {t:6.3f} s  {'[DONE]' if done else repr(word) if word else '(no text)'}")
            if word:
                at.append(t)
                words.append(word)
        gaps = [b - a for a, b in zip(at, at[1:])]
        check(p.wait(10) == 0 and done and len(words) == n, f"{len(words)} words and [DONE]")
        check(at[-1] - at[0] > 0.7 * apart_ms / 1000 * (n - 1) and max(gaps) < 3 * apart_ms / 1000,
              f"each event came when it was made: {min(gaps) * 1000:.0f} to {max(gaps) * 1000:.0f} ms apart",
              f"events came in heaps: gaps of {', '.join(f'{g * 1000:.0f}' for g in gaps)} ms")

    def start_client(self, who, *addresses):
        return self.start(f"{who} client",
                          inside(who, sys.executable, os.path.abspath(__file__), "--client", who,
                                 "--ca", f"{self.dir}/gateway.pem", *addresses),
                          stdout=subprocess.PIPE, text=True)

    def flood(self):
        bad = self.start_client("bad", CLIENTS["bad"][2])
        sums = {"answered": 0, "refused": 0, "reset": 0, "silence": 0, "other": 0}
        quiet = second = 0
        say("   second  answered  refused(429)  reset  no answer   dropped packets")
        while quiet < QUIET_S:
            line = bad.stdout.readline()
            if not line:
                raise Failed("the flooding client ended by itself")
            now = json.loads(line)
            second += 1
            for k, v in now.items():
                sums[k] += v
            say(f"   {second:6} {now.get('answered', 0):9} {now.get('refused', 0):13} {now.get('reset', 0):6} "
                f"{now.get('silence', 0):10} {self.dropped()[0]:17}")
            got = now.get("answered", 0) + now.get("refused", 0) + now.get("other", 0)
            quiet = 0 if got or not sums["refused"] else quiet + 1
            if second > FLOOD_MAX_S:
                raise Failed(f"after {second} s the flood is still being answered: no ban took hold\n"
                             + tail(f"{self.dir}/error.log"))
        self.end("bad client", bad)
        return sums

    def show_ban(self):
        address = CLIENTS["bad"][3]
        say("   sluicectl bans")
        show(self.ctl("bans").stdout)
        bans = self.ctl_json("bans")["bans"]
        check([b["address"] for b in bans] == [address], f"sluicectl: {address} is banned, and nobody else",
              f"sluicectl shows these bans: {bans}")
        say("   sluicectl status")
        show(self.ctl("status").stdout)
        try:
            self.metrics(token=False)
            raise Failed("/metrics over TCP answered without the token")
        except urllib.error.HTTPError as e:
            check(e.code == 401, f"/metrics without the token: {e.code}")
        text = self.metrics()
        say(f"   curl -H \"Authorization: Bearer $(cat {self.dir}/token)\" http://127.0.0.1:{self.admin_port}/metrics")
        show("\n".join(line for line in text.splitlines() if re.match(
            r"sluice_(bans|guard_attached|guard_packets_total|limit_req_total|responses_total)", line)))
        check(self.sample(text, "sluice_bans") == 1 and self.sample(text, "sluice_bans_in_kernel") == 1,
              "/metrics: one ban, and it is in the kernel")
        check(self.sample(text, 'sluice_guard_packets_total{verdict="drop_deny"}') > 0,
              "/metrics: the guard counts dropped packets")
        say(f"   bpftool map dump pinned {maps_dir()}/deny_v4")
        dump = run("bpftool", "map", "dump", "pinned", f"{maps_dir()}/deny_v4").stdout
        show(dump, 30)
        rows = json.loads(run("bpftool", "-j", "map", "dump", "pinned", f"{maps_dir()}/deny_v4").stdout)
        check(len(rows) == 1 and bytes(rows[0]["formatted"]["key"]["addr"]) == socket.inet_aton(address)
              and rows[0]["formatted"]["value"]["packets"] > 0,
              f"bpftool: {address} is in the kernel's map, with the packets that it dropped")

    def unban(self):
        address = CLIENTS["bad"][3]
        argv = inside("bad", "curl", "--silent", "--noproxy", "*", "--max-time", "2", "--cacert",
                      f"{self.dir}/gateway.pem", "--resolve", f"{NAME}:{PORT}:{CLIENTS['bad'][2]}",
                      "-o", "/dev/null", "-w", "%{http_code}", f"https://{NAME}:{PORT}/health")
        p = run(*argv, may_fail=True)
        check(p.returncode == 28, f"{address} gets no answer at all (curl: timed out)",
              f"a banned client got this: curl {p.returncode}, status {p.stdout}")
        say(f"   sluicectl unban {address}")
        self.ctl("unban", address)
        p = run(*argv, may_fail=True)
        check(p.stdout == "200", "after `sluicectl unban` it is answered again: 200",
              f"after unban: curl {p.returncode}, status {p.stdout}")

    def stop_sluice(self):
        run(self.program("sluice"), "-c", f"{self.dir}/sluice.conf", "-s", "quit")
        try:
            code = self.sluice.wait(15)
        except subprocess.TimeoutExpired:
            raise Failed("`sluice -s quit` did not end it within 15 s") from None
        check(code == 0, "`sluice -s quit`: it ended with 0")
        links = [x for x in json.loads(run("ip", "-j", "-d", "link").stdout)
                 if x.get("ifname") in [c[1] for c in CLIENTS.values()] and x.get("xdp")]
        check(not links and not (os.path.isdir(PINS) and os.listdir(PINS)),
              "nothing of it is left in the kernel: no XDP program, no pinned map",
              f"left behind: XDP on {[x['ifname'] for x in links]}, pins {os.listdir(PINS)}"
              if os.path.isdir(PINS) else None)

    def all_steps(self):
        begin = time.monotonic()
        step("Two clients, each in its own network namespace, with its own wire to this machine")
        self.prepare()
        self.make_network()
        step("Certificates, and two upstreams that look like an LLM API (HTTPS)")
        self.make_certificate("gateway", NAME)
        self.make_certificate("models", "models.demo.test")
        upstreams = [self.start_upstream("model-a"), self.start_upstream("model-b")]
        step("sluice, with conf/demo.conf")
        self.configure(upstreams)
        self.start_sluice()
        for pid, name, uid, caps in self.rights():
            if pid == self.sluice.pid:
                say(f"   the master, process {pid}: uid {uid}, capabilities {caps:#x}")
            else:
                check(uid != 0 and caps == 0, f"{name}, process {pid}: uid {uid}, no capability",
                      f"{name} has uid {uid} and capabilities {caps:#x}")
        status = self.ctl_json("status")
        guard = status["guard"]
        check(guard["on"], f"the guard is on: {guard['mode']}",
              f"the guard is not on: {guard}\n{tail(self.dir + '/error.log')}")
        step("A chat completion through TLS")
        self.chat()
        step("A stream through TLS")
        self.stream()
        step(f"A good client begins: {GOOD_PER_S} requests a second, over IPv4 and IPv6, without a pause")
        before = self.dropped()
        good = self.start_client("good", CLIENTS["good"][2], CLIENTS["good"][4])
        good.stdout.readline()
        time.sleep(2)
        step(f"Beside it a bad one, as fast as it can, on {FLOOD_THREADS} connections")
        flood = self.flood()
        refused = self.sample(self.metrics(), 'sluice_limit_req_total{verdict="rejected"}')
        check(refused >= 100 and flood["refused"] > 0, f"limit_req refused {refused:.0f} of its requests with 429")
        check(flood["silence"] > 0, f"then it was banned: for {QUIET_S} s none of its requests got an answer")
        after = self.dropped()
        check(after[0] > before[0], f"packets that XDP dropped: {before[0]} before, {after[0]} after "
              f"({after[1] - before[1]} bytes)")
        step("The ban, in every place that shows it")
        self.show_ban()
        step("The ban ends")
        self.unban()
        step("What the good client saw of all this")
        good.terminate()
        report = json.loads(good.stdout.read().splitlines()[-1])
        say(f"   {report['requests']} requests, {len(report['failures'])} failures; half within "
            f"{report['p50_ms']:.1f} ms, 99% within {report['p99_ms']:.1f} ms, the slowest {report['max_ms']:.1f} ms")
        check(report["requests"] > 100 and not report["failures"], "not one of its requests failed",
              f"the good client had failures: {report['failures'][:5]}")
        if self.keep:
            self.stay()
        step("The end")
        self.stop_sluice()
        return time.monotonic() - begin

    def stay(self):
        say()
        say(f"   sluice keeps running. The dashboard: http://127.0.0.1:{self.admin_port}/")
        say(f"   The token that it asks for is in {self.dir}/token")
        say(f"   {self.program('sluicectl')} -s {self.dir}/admin.sock status")
        say(f"   curl --cacert {self.dir}/gateway.pem --resolve {NAME}:{PORT}:{CLIENTS['good'][2]} "
            f"https://{NAME}:{PORT}/v1/models")
        say("   Ctrl-C ends it.")
        while self.sluice.poll() is None:
            try:
                time.sleep(0.5)
            except Interrupted:
                say()
                return
        raise Failed("sluice ended")

    def run(self):
        try:
            took = self.all_steps()
        finally:
            signals(ignore=True)
            self.undo.close()
        if not self.keep:
            say("   The dashboard can be seen with `tools/demo.py --keep`: it shows the address, and stays until Ctrl-C.")
        return took


def interrupted(number, frame):
    raise Interrupted(signal.Signals(number).name)


def signals(ignore):
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, signal.SIG_IGN if ignore else interrupted)


def main():
    p = argparse.ArgumentParser(description="Shows sluice at work on this machine; needs root.")
    p.add_argument("--build", default=os.path.join(ROOT, "build"), help="where the programs are (build)")
    p.add_argument("--keep", action="store_true", help="stay at the end, to look around, until Ctrl-C")
    p.add_argument("--client", choices=list(CLIENTS), help=argparse.SUPPRESS)
    p.add_argument("--ca", help=argparse.SUPPRESS)
    p.add_argument("address", nargs="*", help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.client == "good":
        return good_client(o.ca, o.address)
    if o.client == "bad":
        return bad_client(o.ca, o.address[0])
    signals(ignore=False)
    try:
        took = Demo(os.path.abspath(o.build), o.keep).run()
    except Interrupted as e:
        say(f"\nINTERRUPTED ({e}): everything is cleaned up.")
        return 130
    except (Failed, OSError, subprocess.SubprocessError, json.JSONDecodeError, KeyError) as e:
        say(f"\nFAILED: {e if isinstance(e, Failed) else repr(e)}")
        return 1
    say(f"\nDONE: all of it happened, in {took:.0f} s, and everything is cleaned up.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
