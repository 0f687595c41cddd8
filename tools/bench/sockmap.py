#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""`sockmap on` against off: sluice twice, with one upstream on this host, in turn, in one run. Prints what a request costs
in CPU and how many there are a second, and the ratios. How to read it: docs/bench.md, docs/sockmap.md. It judges nothing.
"""
import argparse
import contextlib
import os
import resource
import signal
import sys
import tempfile

import run


class Scenario(run.Scenario):
    """As in the bench, and how many of it there were in a second."""

    def __init__(self, name, unit, full, quick, **kw):
        super().__init__(name, unit, full, quick, more_rows=[("  rate", f"{unit}/s", "rate")], **kw)

    def run(self, bench, workers):
        figures = super().run(bench, workers)
        watch = figures["load"].get("watch")
        if watch and watch["items"]:
            figures["rate"] = watch["items"] / watch["window_s"]
        return figures


SCENARIOS = [
    Scenario("tls-chat", "request", run.chat(1.2, 2000), run.chat(1, 1000)),
    Scenario("plain-chat", "request", run.chat(1.2, 2000), run.chat(1, 1000), tls=False),
    Scenario("body-1mb", "body", run.download(800, 50), run.download(300, 20)),
    Scenario("sse-event", "event", run.streams(2000, 6), run.streams(2000, 4), is_long=True),
]


class Bench(run.Bench):
    """A candidate is a line of the upstream block."""

    def prepare(self):
        super().prepare()
        with open(self.config, encoding="utf-8") as file:
            self.text = file.read()

    @contextlib.contextmanager
    def proxy(self, binary):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(self.text.replace("keepalive 64;", f"keepalive 64; {binary}"))
        with super().proxy(f"{self.args.build}/sluice") as proxy:
            yield proxy
        if "not in force" in run.tail(f"{self.dir}/error.log", 100):
            raise run.Failure("sockmap is not in force: " + run.tail(f"{self.dir}/error.log"))


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="folder of sluice, sl-load and mock-llm")
    parser.add_argument("--quick", action="store_true", help="one short round: rough figures")
    parser.add_argument("--rounds", type=int, help="default 9, of streams half as many (quick: 1)")
    parser.add_argument("--only", action="append", choices=[s.name for s in SCENARIOS], help="may be repeated")
    args = parser.parse_args()
    args.build, args.load, args.mock = os.path.abspath(args.build), None, None
    args.rounds = args.rounds or (1 if args.quick else 9)
    return args


def main():
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    candidates, lines = {"on": "sockmap on;", "off": "sockmap off;"}, []
    with tempfile.TemporaryDirectory(prefix="sl-bench-") as folder:
        bench = Bench(args, folder)
        bench.prepare()
        os.sched_setaffinity(0, bench.load_cpu)
        mock = [bench.mock, "--listen", f"127.0.0.1:{bench.mock_port}", "--timestamps"]
        with bench.started("mock", mock, bench.load_cpu, [bench.mock_port]):
            run.table_head(list(candidates))
            for scenario in SCENARIOS:
                if args.only and scenario.name not in args.only:
                    continue
                new, _ = run.run_scenario(bench, scenario, candidates, args.rounds)
                lines += new
                for line in new:
                    run.table_line(line, list(candidates), explain=line is new[0])
    print(f"rounds: {args.rounds}{' (quick)' if args.quick else ''}; CPU of the worker only; "
          "medians, and the median of the rounds' ratios")
    return 1 if any(line["problems"] or line["errors"] for line in lines) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (run.Failure, OSError) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
