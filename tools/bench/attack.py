#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What a good client feels while the gateway is attacked: sluice beside Debian's nginx, with the same limits.

A good client asks 300 times a second over TLS on 30 connections, while in turn 200 addresses flood with
requests on kept connections, 200 others with TLS handshakes that they leave as soon as the server has signed,
and forged sources with SYNs. Attackers have CPU 0, all else CPU 1. It owns its namespaces, processes and
folder, and takes them away; it sets no threshold. Runs as root. How to read it: docs/bench.md.
"""
import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

from run import children, pss_kb

NAME = f"sl-atk{os.getpid() % 10000}"
SERVER, BAD, GOOD = f"{NAME}-srv", f"{NAME}-bad", f"{NAME}-good"
# Addresses for tests of networks (RFC 2544).
TO_BAD, TO_GOOD, BAD_GATEWAY = "198.18.64.1", "198.18.128.1", "198.18.64.2"
GOOD_FROM, N_CONNECTIONS, N_BAD = "198.18.128.10", 30, 200
REQUESTS_FROM, HELLO_FROM, FORGED = "198.18.65.10", "198.18.66.10", "198.19.0.0"
PORT, GOOD_PER_S, GRACE_S = 8443, 300, 2
HZ = os.sysconf("SC_CLK_TCK")

CONFIG = """\
user www-data;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {dir}/proxy.pid;
error_log {dir}/error.log crit;
events {{ worker_connections 8192; }}
{guard}
http {{
    access_log off;
    # The good client is one that is known, and may do more.
    map $remote_addr $limit_key {{ {good_from} ""; default $binary_remote_addr; }}
    limit_req_zone $limit_key zone=requests:1m rate=20r/s;
    limit_conn_zone $limit_key zone=connections:1m;
    limit_req_status 429;
    keepalive_timeout 75s;
    upstream mock {{ server 127.0.0.1:{mock_port}; keepalive 64; }}
    server {{
        listen {to_bad}:{port} ssl;
        listen {to_good}:{port} ssl;
        server_name localhost;
        ssl_certificate {dir}/cert.pem;
        ssl_certificate_key {dir}/key.pem;
        ssl_session_cache shared:tls:1m;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        {bans}
        location / {{
            limit_req zone=requests burst=20 nodelay;
            limit_conn connections 10;
            proxy_pass http://mock;
        }}
    }}
}}
"""
GUARD = """\
xdp {{
    interface {ifaces};
    pin_dir /sys/fs/bpf/{name};
    rate syn=50/s burst=100;
    rate new_tls=10/s burst=20;
    rate unknown_syn=2000/s burst=2000;
}}
admin {{ listen unix:{dir}/admin.sock; }}"""
BANS = """ban on=limit_req after=20 within=1s for=5m;
        ban on=tls_handshake after=5 within=10s for=5m;"""


def run(*argv):
    p = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if p.returncode:
        raise RuntimeError(f"`{' '.join(argv)}` ended with {p.returncode}: {(p.stderr or p.stdout).strip()}")
    return p.stdout


def inside(netns, cpu, *argv):
    """In a namespace, with the mounts of everybody, on one CPU."""
    return ("nsenter", f"--net=/run/netns/{netns}", "taskset", "-c", str(cpu), *argv)


def ip(netns, *argv):
    return run("ip", "-n", netns, *argv)


class Net:
    """Three namespaces: the gateway between an attacker and a good client."""

    def __enter__(self):
        for netns in (SERVER, BAD, GOOD):
            run("ip", "netns", "add", netns)
            ip(netns, "link", "set", "lo", "up")
        for netns, here, there, address, gateway in ((BAD, "sl-bad", "sl-b0", f"{TO_BAD}/18", f"{BAD_GATEWAY}/18"),
                                                     (GOOD, "sl-good", "sl-g0", f"{TO_GOOD}/24", None)):
            ip(SERVER, "link", "add", here, "type", "veth", "peer", "name", there, "netns", netns)
            ip(SERVER, "addr", "add", address, "dev", here)
            if gateway:
                ip(netns, "addr", "add", gateway, "dev", there)
            ip(SERVER, "link", "set", here, "up")
            ip(netns, "link", "set", there, "up")
        for netns, dev, bits, first, count in ((GOOD, "sl-g0", 24, GOOD_FROM, 1), (BAD, "sl-b0", 18, REQUESTS_FROM, N_BAD),
                                               (BAD, "sl-b0", 18, HELLO_FROM, N_BAD)):
            head, last = first.rsplit(".", 1)
            for i in range(count):
                ip(netns, "addr", "add", f"{head}.{int(last) + i}/{bits}", "dev", dev)
        # What answers forged sources goes somewhere.
        ip(SERVER, "route", "add", f"{FORGED}/16", "via", BAD_GATEWAY)
        self.mac = json.loads(ip(SERVER, "-j", "link", "show", "sl-bad"))[0]["address"]
        return self

    def __exit__(self, *exc):
        for netns in (SERVER, BAD, GOOD):
            subprocess.run(["ip", "netns", "del", netns], capture_output=True, check=False)


class Gateway:
    def __init__(self, binary, folder, conf, mac, build):
        self.folder, self.build, self.mac = folder, build, mac
        self.out = open(os.path.join(folder, "out"), "wb")
        command = [binary, "-c", conf, "-p", folder]
        self.proc = subprocess.Popen(inside(SERVER, 1, *command), stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.out)
        self.wait()

    def load(self, netns, cpu, sources, *more):
        to = TO_GOOD if netns == GOOD else TO_BAD
        return inside(netns, cpu, f"{self.build}/sl-load", "requests", "--connect", f"{to}:{PORT}", "--tls", "--json",
                      "--sources", sources, *map(str, more))

    def wait(self):
        argv = self.load(GOOD, 1, GOOD_FROM, "--requests", 1, "--connections", 1, "--timeout-ms", 500)
        for _ in range(50):
            if self.proc.poll() is not None:
                break
            p = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if p.returncode == 0:
                return
            time.sleep(0.1)
        with open(os.path.join(self.folder, "out"), encoding="utf-8", errors="replace") as f:
            raise RuntimeError(f"no answer: {p.stderr} {f.read()[-500:]}")

    def good(self, seconds):
        """What the good client sees; what it and the gateway measure begins when the grace is over."""
        pids = ",".join(map(str, [self.proc.pid, *children(self.proc.pid)]))
        argv = self.load(GOOD, 1, GOOD_FROM, "--connections", N_CONNECTIONS, "--rate", GOOD_PER_S,
                         "--seconds", seconds, "--warmup", GRACE_S * GOOD_PER_S, "--timeout-ms", 5000, "--watch", pids)
        p = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        return json.loads(p.stdout)

    def attacker(self, kind, seconds):
        flood = f"{self.build}/sl-flood"
        if kind == "requests":
            return self.load(BAD, 0, f"{REQUESTS_FROM}+{N_BAD}", "--connections", 2 * N_BAD, "--seconds", seconds,
                             "--timeout-ms", 1000)
        if kind == "handshakes":
            return inside(BAD, 0, flood, "hello", TO_BAD, str(PORT), str(seconds), HELLO_FROM, str(N_BAD))
        return inside(BAD, 0, flood, "syn", TO_BAD, str(PORT), str(seconds), FORGED, "sl-b0", self.mac)

    def phase(self, kind, seconds):
        """A row of the table."""
        attack = kind and subprocess.Popen(self.attacker(kind, seconds + GRACE_S + 1), stdin=subprocess.DEVNULL,
                                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        result = self.good(seconds)
        sent = json.loads(attack.communicate()[0]) if attack else {}
        n_sent = sent.get("sent", sent.get("count", 0) + sent.get("errors", 0))
        watch = result.get("watch") or {"cpu_ns": 0, "window_s": 1}
        return {"p50_ms": result["latency_us"]["p50"] / 1000, "p99_ms": result["latency_us"]["p99"] / 1000,
                "bad": result["errors"], "asked": result["count"] + result["errors"],
                "cpu": watch["cpu_ns"] / 1e9 / watch["window_s"],
                "mb": sum(map(pss_kb, children(self.proc.pid))) / 1024, "sent": n_sent}

    def stop(self):
        self.proc.send_signal(signal.SIGQUIT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.proc.wait(10)
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        self.out.close()


KINDS = ["requests", "handshakes", "syns"]


def certificate(folder):
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", f"{folder}/key.pem", "-out",
        f"{folder}/cert.pem")


@contextlib.contextmanager
def mock(build):
    """The upstream, on a port of its own choice in the gateway's namespace."""
    port = 18080
    proc = subprocess.Popen(inside(SERVER, 1, f"{build}/mock-llm", "--listen", f"127.0.0.1:{port}"), stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        proc.terminate()
        proc.wait()


def measure(name, binary, net, folder, mock_port, args):
    """{kind: row} of one gateway."""
    is_ours = name == "sluice"
    conf = os.path.join(folder, f"{name}.conf")
    guard = GUARD.format(ifaces="sl-bad sl-good", name=NAME, dir=folder) if is_ours else ""
    with open(conf, "w", encoding="ascii") as f:
        f.write(CONFIG.format(dir=folder, guard=guard, mock_port=mock_port, to_bad=TO_BAD, to_good=TO_GOOD, port=PORT, good_from=GOOD_FROM,
                              bans=BANS if is_ours else ""))
    gateway = Gateway(binary, folder, conf, net.mac, args.build)
    try:
        rows = {}
        for kind in [None, *(args.only or KINDS)]:
            row = rows[kind] = gateway.phase(kind, args.seconds)
            print(f"{kind or '(idle)':<12}{name:<8}{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}"
                  f"{row['p99_ms'] / rows[None]['p99_ms']:>9.2f}x{row['bad']:>7}/{row['asked']}{row['cpu']:>9.3f}"
                  f"{row['mb']:>8.1f}{row['sent']:>12,}", flush=True)
        return rows
    finally:
        gateway.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--seconds", type=float, default=10, help="of each attack, behind a grace of %d" % GRACE_S)
    parser.add_argument("--only", action="append", choices=KINDS)
    parser.add_argument("--no-nginx", action="store_true")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # what was made is taken away then, too
    if os.geteuid() != 0:
        sys.exit("attack.py: network namespaces and XDP need root")
    print(f"A good client with {GOOD_PER_S} requests/s over TLS; measured from {GRACE_S} s after an attack's begin, for "
          f"{args.seconds:g} s; \"not 200\" from its begin.")
    print(f"{'attack':<12}{'gateway':<8}{'p50 ms':>9}{'p99 ms':>9}{'p99/idle':>10}{'not 200':>11}{'CPU':>9}{'MB':>8}{'sent':>12}")
    with Net() as net, mock(args.build) as mock_port:
        for name, binary in [("sluice", f"{args.build}/sluice"), ("nginx", "/usr/sbin/nginx")]:
            if name == "nginx" and args.no_nginx:
                continue
            with tempfile.TemporaryDirectory(prefix="sl-attack-") as folder:
                os.chmod(folder, 0o711)
                certificate(folder)
                measure(name, binary, net, folder, mock_port, args)


if __name__ == "__main__":
    main()
