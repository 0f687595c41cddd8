#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The bench: sluice beside Debian's nginx, on the same configuration file, in turn.

It owns the temporary folder, the processes it starts and the table it prints. It must not judge: it
sets no threshold and prints the ratios of one run. A scenario in which anything went wrong is
FAILED, whatever its figures, and the exit code is then 1. How to read it: docs/bench.md.
"""
import argparse
import contextlib
import ctypes
import datetime
import json
import os
import platform
import random
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

CONFIG = """\
{user}worker_processes 1;
worker_rlimit_nofile {nofile};
pid {dir}/proxy.pid;
error_log {dir}/error.log warn;
events {{
    worker_connections 8192;
}}
http {{
    log_format bench '$remote_addr [$time_local] "$request" $status $body_bytes_sent $request_time';
    access_log {dir}/access.log bench buffer=64k;
    keepalive_timeout 75s;
    keepalive_requests 1000000;
    http2_max_concurrent_streams 128;
    upstream mock {{
        server 127.0.0.1:{mock_port};
        keepalive 64;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{tls_port} ssl;
        listen 127.0.0.1:{plain_port};
        listen 127.0.0.1:{h2_port} ssl http2;
        server_name localhost;
        ssl_certificate {dir}/cert.pem;
        ssl_certificate_key {dir}/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:bench:1m;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header Connection "";
        location / {{
            proxy_pass http://mock;
        }}
        location /stream/ {{
            proxy_buffering off;
            proxy_pass http://mock/;
        }}
        location = /ping {{
            return 200 "pong";
        }}
    }}
}}
"""
NOFILE = 16384
PR_SET_PDEATHSIG = 1
ANSWER_TOKENS = 88  # about 0.9 KB


class Scenario:
    """What sl-load is to do, in full and in a quick run, and the rows that come of it: (name, unit, figure)."""

    def __init__(self, name, unit, full, quick, tls=True, resumed=None, more_rows=(), is_long=False):
        self.name, self.tls, self.resumed, self.is_long = name, tls, resumed, is_long
        self.args = {False: full, True: quick}
        self.rows = [(name, f"us/{unit}", "cpu_us"), *more_rows]

    def run(self, bench, workers):
        """The figures of one round, with "problems" and "errors"."""
        code, result, stderr = bench.run_load(self.args[bench.args.quick], self.tls, workers)
        problems = [f"{kind}: {count}" for kind, count in result["errors_by_kind"].items()]
        if code != 0 and not problems:
            problems.append(stderr or f"sl-load exited with {code}")
        if self.resumed is not None and result["resumed"] != self.resumed:
            problems.append(f"{result['resumed']} handshakes were resumed")
        figures = {"problems": problems, "errors": result["errors"], "load": result}
        watch = result.get("watch")
        if not watch or watch["items"] == 0:
            problems.append("nothing was measured")
            return figures
        figures["cpu_us"] = watch["cpu_ns"] / watch["items"] / 1000
        figures["cpu_busy"] = watch["cpu_ns"] / 1e9 / watch["window_s"]
        if "streams" in result:
            figures["kb"] = (watch["pss_kb"] - watch["pss_before_kb"]) / result["connections"]
            figures["late_ms"] = result["streams"]["lateness_us"]["p99"] / 1000
        return figures


def chat(seconds, warmup):
    return ["requests", "--connections", "64", "--body-bytes", "600", "--warmup", str(warmup),
            "--seconds", str(seconds), "--header", f"X-Mock-Tokens: {ANSWER_TOKENS}"]


def handshake(seconds, warmup):
    return ["handshake", "--connections", "16", "--path", "/ping", "--warmup", str(warmup),
            "--seconds", str(seconds)]


def download(requests, warmup):
    return ["download", "--connections", "8", "--path", "/bytes/1048576", "--warmup", str(warmup),
            "--requests", str(requests)]


def streams(count, seconds):
    return ["streams", "--connections", str(count), "--interval-ms", "100",
            "--seconds", str(seconds), "--path", "/stream/v1/chat/completions"]


SCENARIOS = [
    Scenario("tls-chat", "request", chat(1.2, 2000), chat(1, 1000)),
    Scenario("plain-chat", "request", chat(1.2, 2000), chat(1, 1000), tls=False),
    Scenario("handshake", "connection", handshake(1.2, 100), handshake(1, 100), resumed=0),
    Scenario("body-1mb", "body", download(800, 50), download(300, 20)),
    Scenario("sse-event", "event", streams(2000, 6), streams(2000, 4), is_long=True,
             more_rows=[("memory", "KB/stream", "kb"), ("late-p99", "ms", "late_ms")]),
]


class H2Chat:
    """Requests over HTTP/2, with nghttp2's h2load as the client."""

    name, path, is_long = "h2-chat", "/v1/chat/completions", False
    rows = [("h2-chat", "us/request", "cpu_us")]
    connections, streams = 8, 16
    requests = {False: 20000, True: 5000}
    body = '{"model": "m", "messages": [{"role": "user", "content": "' + "x" * 540 + '"}]}'
    headers = [f"X-Mock-Tokens: {ANSWER_TOKENS}"]

    def command(self, bench, requests):
        body = os.path.join(bench.dir, f"{self.name}.json")
        with open(body, "w", encoding="utf-8") as file:
            file.write(self.body)
        headers = [word for header in self.headers for word in ("-H", header)]
        return ["h2load", "-c", str(self.connections), "-m", str(self.streams), "-n", str(requests), "-d", body,
                "-H", "content-type: application/json", *headers,
                f"https://localhost:{bench.h2_port}{self.path}"]

    def run(self, bench, workers):
        """As Scenario.run()."""
        requests = self.requests[bench.args.quick]
        bench.run_h2load(self.command(bench, requests // 10))
        before = sum(map(cpu_of, workers))
        errors = bench.run_h2load(self.command(bench, requests))
        cpu_us = (sum(map(cpu_of, workers)) - before) * 1e6 / requests
        return {"problems": [], "errors": errors, "cpu_us": cpu_us}


class H2Memory(H2Chat):
    """Event streams that are open at the same time over few connections."""

    name, path, is_long = "h2-memory", "/stream/v1/chat/completions", True
    rows = [("h2-memory", "KB/stream", "kb")]
    connections = 125
    body = '{"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
    headers = ["X-Mock-Tokens: 70", "X-Mock-Chunk-Delay-Ms: 100"]
    SETTLE_S = 4

    def run(self, bench, workers):
        before = sum(map(pss_kb, workers))
        total = self.connections * self.streams
        proc = bench.start_h2load(self.command(bench, total))
        time.sleep(self.SETTLE_S)
        kb = (sum(map(pss_kb, workers)) - before) / total
        return {"problems": [], "errors": bench.end_h2load(proc), "kb": kb}


SCENARIOS += [H2Chat(), H2Memory()]


class Failure(Exception):
    """The bench itself can't go on, or a scenario did not do what it should."""


def free_ports(count):
    """Below the range from which the kernel takes the ports of outgoing connections."""
    found = []
    for port in random.sample(range(12000, 32000), 1000):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
                found.append(port)
            except OSError:
                continue
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


def settle(cpus):
    """In the child: on its CPU, and ahead of whatever else the machine does. A proxy that is kept
    waiting finds more work at each wake-up and looks cheaper than it is. Where the kernel groups
    tasks by session, a nice value counts within the session only, so the session gets its own.
    Should the bench be killed, its children get SIGTERM."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.sched_setaffinity(0, cpus)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        with open("/proc/self/autogroup", "w", encoding="ascii") as file:
            file.write("-20")


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return sorted(int(word) for word in file.read().split())
    except FileNotFoundError:
        return []


def cpu_of(pid):
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e9


def pss_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1])
    raise Failure(f"no Pss of process {pid}")


class Noise:
    """The share of the proxy's CPU that went to others, or to the host, while it was measured."""

    def __init__(self, cpu, pids):
        self.cpu, self.pids = cpu, pids
        self.at, self.busy, self.own = time.monotonic(), self.cpu_busy(), self.own_cpu()

    def cpu_busy(self):
        with open("/proc/stat", encoding="ascii") as file:
            for line in file:
                if line.startswith(f"cpu{self.cpu} "):
                    user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
                    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def own_cpu(self):
        return sum(cpu_of(pid) for pid in self.pids)

    def share(self):
        others = (self.cpu_busy() - self.busy) - (self.own_cpu() - self.own)
        return max(0.0, others / (time.monotonic() - self.at))


def tail(path, lines=5):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:]).rstrip()
    except FileNotFoundError:
        return ""


class Bench:
    def __init__(self, args, folder):
        self.args, self.dir = args, folder
        cpus = sorted(os.sched_getaffinity(0))
        self.pinned = len(cpus) > 1
        self.proxy_cpu, self.load_cpu = {cpus[0]}, {cpus[1] if self.pinned else cpus[0]}
        self.mock_port, self.tls_port, self.plain_port, self.h2_port = free_ports(4)
        self.load = args.load or os.path.join(args.build, "sl-load")
        self.mock = args.mock or os.path.join(args.build, "mock-llm")
        self.config = os.path.join(folder, "bench.conf")

    def prepare(self):
        os.chmod(self.dir, 0o711)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-nodes", "-keyout", f"{self.dir}/key.pem", "-out", f"{self.dir}/cert.pem",
             "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        user = "user www-data;\n" if os.geteuid() == 0 else ""
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(user=user, nofile=NOFILE, dir=self.dir,
                                     mock_port=self.mock_port, tls_port=self.tls_port,
                                     plain_port=self.plain_port, h2_port=self.h2_port))

    @contextlib.contextmanager
    def started(self, name, command, cpus, ports):
        """Runs a process until the block ends. Only it and its children are ever signalled."""
        output = os.path.join(self.dir, f"{name}.out")
        with open(output, "w", encoding="utf-8") as file:
            proc = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                    cwd=self.dir, preexec_fn=lambda: settle(cpus))
        proc.workers = []
        try:
            self.wait_listening(name, proc, ports, output)
            yield proc
        finally:
            self.stop(name, proc)

    @staticmethod
    def stop(name, proc):
        workers = children(proc.pid) or proc.workers
        if proc.poll() is None:
            proc.terminate()
            try:
                proc.wait(timeout=10)
            except subprocess.TimeoutExpired:
                print(f"bench: {name} ignored SIGTERM for 10 s and was killed", file=sys.stderr)
                proc.kill()
                proc.wait()
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                print(f"bench: {name} left process {pid} behind; it was killed", file=sys.stderr)

    def wait_listening(self, name, proc, ports, output):
        deadline = time.monotonic() + 10
        for port in ports:
            while True:
                if proc.poll() is not None:
                    raise Failure(f"{name} ended at start with {proc.returncode}: {tail(output)}")
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError as error:
                    if time.monotonic() > deadline:
                        raise Failure(f"{name} does not listen on port {port}: {error}; "
                                      f"{tail(output)}") from error
                    time.sleep(0.02)

    def run_load(self, argv, tls, watch=()):
        port = self.tls_port if tls else self.plain_port
        command = [self.load, argv[0], "--connect", f"127.0.0.1:{port}", "--json", *argv[1:]]
        if tls:
            command += ["--tls", "--sni", "localhost", "--ca", f"{self.dir}/cert.pem"]
        if watch:
            command += ["--watch", ",".join(map(str, watch))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300,
                              preexec_fn=lambda: settle(self.load_cpu))
        try:
            result = json.loads(done.stdout)
        except ValueError as error:
            raise Failure(f"sl-load: {done.stderr.strip() or 'no result'}") from error
        return done.returncode, result, done.stderr.strip()

    def start_h2load(self, command):
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                preexec_fn=lambda: settle(self.load_cpu))

    @staticmethod
    def end_h2load(proc):
        """How many of its requests failed."""
        out, _ = proc.communicate(timeout=300)
        found = re.search(r"requests: (\d+) total.* (\d+) succeeded.*\nstatus codes: (\d+) 2xx", out)
        if proc.returncode != 0 or not found:
            raise Failure(f"h2load: {out.strip()[-300:]}")
        total, succeeded, good = map(int, found.groups())
        return total - min(succeeded, good)

    def run_h2load(self, command):
        return self.end_h2load(self.start_h2load(command))

    @contextlib.contextmanager
    def proxy(self, binary):
        """The candidate, after a short warm-up."""
        command = [binary, "-p", self.dir + "/", "-c", self.config, "-g", "daemon off;"]
        ports = [self.tls_port, self.plain_port, self.h2_port]
        with self.started("proxy", command, self.proxy_cpu, ports) as proxy:
            self.run_load(["requests", "--connections", "16", "--requests", "400"], True)
            proxy.workers = children(proxy.pid)
            if not proxy.workers:
                raise Failure("no worker process")
            yield proxy

    def measure(self, scenario, binary):
        """One round of one candidate, in a process that has served only a short warm-up."""
        with self.proxy(binary) as proxy:
            noise = Noise(min(self.proxy_cpu), proxy.workers)
            figures = scenario.run(self, proxy.workers)
            if children(proxy.pid) != proxy.workers:
                figures["problems"].append("a worker died: " + tail(f"{self.dir}/error.log", 2))
                return figures
            return {**figures, "noise": noise.share()}


def summarize(name, unit, key, rounds, candidates):
    """rounds: [{candidate: row}]. The ratio is the median of each round's own: what changes between
    rounds (heat, neighbours of the machine) touches both sides of one."""
    reference = candidates[-1]
    line = {"scenario": name, "unit": unit, "figures": {}, "ratios": {}, "spread": {}, "noise": 0.0,
            "errors": 0, "problems": []}
    for one in rounds:
        for candidate, row in one.items():
            line["errors"] += row["errors"]
            line["noise"] = max(line["noise"], row.get("noise", 0))
            line["problems"] += [f"{candidate}: {problem}" for problem in row["problems"]]
    if any(key not in row for one in rounds for row in one.values()):
        return line
    for candidate in candidates:
        line["figures"][candidate] = statistics.median(one[candidate][key] for one in rounds)
        ratios = [one[candidate][key] / one[reference][key] for one in rounds
                  if one[reference][key] > 0]
        if candidate != reference and ratios:
            line["ratios"][candidate] = statistics.median(ratios)
            line["spread"][candidate] = [min(ratios), max(ratios)]
    return line


def run_scenario(bench, scenario, candidates, rounds):
    """Many short rounds that begin with one and the other in turn: a machine's speed drifts."""
    names = list(candidates)
    results = []
    for number in range((rounds + 1) // 2 if scenario.is_long else rounds):
        results.append({})
        for name in names if number % 2 == 0 else reversed(names):
            try:
                results[-1][name] = bench.measure(scenario, candidates[name])
            except (Failure, OSError, subprocess.TimeoutExpired) as error:  # OSError: a worker died
                results[-1][name] = {"problems": [str(error)], "errors": 0}
    return [summarize(*row, results, names) for row in scenario.rows], results


def table_head(names):
    cells = "".join(f"{name:>12}" for name in names)
    cells += "".join(f"{name + '/' + names[-1]:>18}{'(lowest-highest)':>18}" for name in names[:-1])
    print(f"{'scenario':<12}{'unit':<15}{cells}{'noise':>8}{'errors':>8}", flush=True)


def table_line(line, names, explain):
    out = f"{line['scenario']:<12}{line['unit']:<15}"
    for name in names:
        out += f"{line['figures'][name]:>12.2f}" if name in line["figures"] else f"{'-':>12}"
    for name in names[:-1]:
        if name in line["ratios"]:
            low, high = line["spread"][name]
            out += f"{line['ratios'][name]:>17.3f}x{f'{low:.3f}-{high:.3f}':>18}"
        else:
            out += f"{'-':>18}{'-':>18}"
    out += f"{line['noise']:>8.0%}{line['errors']:>8}"
    if line["problems"]:
        out += "  FAILED"
    print(out)
    for problem in dict.fromkeys(line["problems"]) if explain else ():
        print(f"    {problem}")
    sys.stdout.flush()


def version_of(binary):
    done = subprocess.run([binary, "-v"], capture_output=True, text=True, check=False)
    return ((done.stderr or done.stdout).strip().splitlines() or ["?"])[0]


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def environment(bench, candidates):
    openssl = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=False)
    pinned = "NOT PINNED: one CPU only, figures are rough"
    if bench.pinned:
        pinned = (f"proxy on CPU {min(bench.proxy_cpu)}, "
                  f"load and upstream on CPU {min(bench.load_cpu)}")
    return {
        **{name: f"{version_of(binary)} ({binary})" for name, binary in candidates.items()},
        "openssl": openssl.stdout.strip(),
        "kernel": platform.release(),
        "machine": f"{os.cpu_count()} x {cpu_model()}; {pinned}",
        "date": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z"),
    }


def parse_args():
    parser = argparse.ArgumentParser(
        description="CPU and memory of sluice beside nginx, on the same file")
    parser.add_argument("--build", default="build", help="folder of sluice, sl-load and mock-llm")
    parser.add_argument("--quick", action="store_true", help="one short round: rough figures")
    parser.add_argument("--rounds", type=int, help="default 9, of streams half as many (quick: 1)")
    parser.add_argument("--only", action="append", choices=[s.name for s in SCENARIOS],
                        help="may be repeated")
    parser.add_argument("--json", metavar="FILE", help="all that was measured, round by round")
    parser.add_argument("--candidate", action="append", metavar="NAME=BINARY", default=[],
                        help="compare these instead of sluice and nginx; the last is the reference")
    parser.add_argument("--load", help="sl-load's path")
    parser.add_argument("--mock", help="mock-llm's path")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    args.rounds = args.rounds or (1 if args.quick else 9)
    pairs = args.candidate or [f"sluice={args.build}/sluice", "nginx=/usr/sbin/nginx"]
    if not all("=" in pair for pair in pairs):
        parser.error("--candidate wants NAME=BINARY")
    args.candidates = {name: os.path.abspath(path)
                       for name, path in (pair.split("=", 1) for pair in pairs)}
    return args


def main():
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    lines, raw = [], {}
    with tempfile.TemporaryDirectory(prefix="sl-bench-") as folder:
        bench = Bench(args, folder)
        for path in [bench.load, bench.mock, *args.candidates.values()]:
            if not os.access(path, os.X_OK):
                raise Failure(f"{path} is missing")
        bench.prepare()
        facts = environment(bench, args.candidates)
        os.sched_setaffinity(0, bench.load_cpu)
        mock = [bench.mock, "--listen", f"127.0.0.1:{bench.mock_port}", "--timestamps"]
        names = list(args.candidates)
        with bench.started("mock", mock, bench.load_cpu, [bench.mock_port]):
            table_head(names)
            for scenario in SCENARIOS:
                if args.only and scenario.name not in args.only:
                    continue
                new, raw[scenario.name] = run_scenario(bench, scenario, args.candidates,
                                                       args.rounds)
                lines += new
                for line in new:
                    table_line(line, names, explain=line is new[0])
    for key, value in facts.items():
        print(f"{key}: {value}")
    print(f"rounds: {args.rounds}{' (quick)' if args.quick else ''}; CPU of the worker only; "
          "medians, and the median of the rounds' ratios")
    print("noise: the largest share of the proxy's CPU that others took in any round")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"environment": facts, "rounds": args.rounds, "quick": args.quick,
                       "summary": lines, "raw": raw}, file, indent=1)
    return 1 if any(line["problems"] or line["errors"] for line in lines) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failure, OSError, subprocess.CalledProcessError) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
