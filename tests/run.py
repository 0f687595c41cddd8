#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs all tests and says in the last line "N passed, N failed".

What is built must be there already (make does that). A failure is printed in full. Exit 1 when there is
any, also when a part ran no test at all. At the end it looks itself at what is left on the machine.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

REPO = pathlib.Path(__file__).resolve().parents[1]
PINS = pathlib.Path("/sys/fs/bpf/sluice")

PARTS = ["unit", "bpf", "fuzz", "checks", "vm", "e2e"]
KERNEL_UNITS = ["unit/master/test_confine"]   # unit tests of what a kernel may do differently


class Results:
    def __init__(self):
        self.passed = self.failed = 0

    def add(self, name, passed, failed, text=""):
        passed, failed = int(passed), int(failed)
        self.passed += passed
        self.failed += failed
        print(f"{'FAILED' if failed else 'ok':6} {name}: {passed} passed, {failed} failed", flush=True)
        if failed and text:
            print("\n".join("    " + line for line in text.splitlines()), flush=True)


def slow(env):
    """How much longer than on a plain machine things may take; harness.py knows it too."""
    return int(env.get("SLUICE_SLOW", 1))


def run(command, env=None, timeout_s=300):
    """(exit code, output); a signal or a timeout is a code too."""
    try:
        p = subprocess.run([str(c) for c in command], cwd=REPO, env=env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                           timeout=timeout_s)
        return p.returncode, p.stdout
    except subprocess.TimeoutExpired as e:
        out = e.stdout or b""
        return -1, (out.decode(errors="replace") if isinstance(out, bytes) else out) + f"\nno end in {timeout_s} s"
    except OSError as e:
        return -1, str(e)


def run_unit(results, build, env, patterns):
    """What PATTERNS (of source files under tests/) were built to."""
    binaries = []
    for source in sorted(s for pattern in patterns for s in REPO.glob(f"tests/{pattern}.c")):
        binary = build / source.with_suffix("").relative_to(REPO)
        if binary.is_file():
            binaries.append(binary)
        else:
            results.add(f"{source.relative_to(REPO)}, which was not built", 0, 1)
    for binary in binaries:
        code, text = run([binary], {**env, "CMOCKA_MESSAGE_OUTPUT": "stdout"}, 300 * slow(env))
        begun = len(re.findall(r"^\[ RUN      \]", text, re.M))
        ok = len(re.findall(r"^\[       OK \]", text, re.M))
        failed = begun - ok
        if (code or not begun) and not failed:
            failed = 1
            text += f"\nexit code {code}, {begun} tests"
        results.add(binary.relative_to(build), ok, failed, text)


def run_fuzz_corpora(results, build, env):
    binaries = [b for b in sorted((build / "tests/fuzz").glob("fuzz_*")) if b.suffix != ".d"]
    if not binaries:
        results.add("fuzz corpora", 0, 1, "no replay program was built")
    for binary in binaries:
        corpus = REPO / "tests/fuzz/corpus" / binary.name.removeprefix("fuzz_")
        code, text = run([binary, corpus], env)
        results.add(f"corpus of {binary.name}", code == 0, code != 0, text)


def run_checks(results, build, env):
    code, text = run([REPO / "tools/check_layers.sh"])
    results.add("layers", code == 0, code != 0, text)
    code, text = run([build / "sluice", "--directives"], env)
    path = REPO / "docs/directives.md"
    same = code == 0 and path.is_file() and path.read_text() == text
    results.add("docs/directives.md is what `make docs` writes", same, not same,
                f"exit code {code}; run `make docs` and look at the difference")


def run_e2e(results, env, args, timeout_s):
    select = args.k
    with tempfile.NamedTemporaryFile(prefix="sl-junit-", suffix=".xml") as report:
        command = ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "--timeout", str(timeout_s), "-q",
                   "-rA" if select else "-rfE", "--durations=10", f"--junitxml={report.name}", "tests/e2e"]
        marks = "kernel" if args.kernel else "not privileged and not vm" if args.unprivileged else "not vm"
        command += ["-m", marks] + (["-v", "-v"] if args.kernel else [])  # who sees it hang sees where
        if select:
            command += ["-k", select]
        code = subprocess.run(command, cwd=REPO, env=env, stdin=subprocess.DEVNULL).returncode
        total = bad = 0
        try:
            for suite in xml.etree.ElementTree.parse(report.name).getroot().iter("testsuite"):
                total += int(suite.get("tests"))
                bad += sum(int(suite.get(k)) for k in ("failures", "errors", "skipped"))
        except xml.etree.ElementTree.ParseError:
            pass
    if not bad and (code or not total):
        bad = 1
    results.add("end-to-end tests", max(total - bad, 0), bad, f"pytest ended with {code}")


def run_vm(results, build, env):
    """A boot of Debian's own kernel with the BPF tests alone: which of its verifier's rules a program breaks shows
    nowhere else. `make test-vm` runs the rest of what depends on the kernel."""
    code, text = run([REPO / "tests/vm/run.py", "--build", build, "--only", "bpf", "--timeout", "1100"], env, 1200)
    m = re.search(r"^(\d+) passed, (\d+) failed\n?\Z", text, re.M)
    passed, failed = map(int, m.groups()) if m else (0, 1)
    results.add("tests/bpf on Debian's own kernel", passed, failed or code != 0, text)


def mounts():
    lines = pathlib.Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(("/sys/fs/bpf", "/run/netns", "/tmp/sl-"))]


def our_processes(build):
    """Processes whose program is one of ours, or an nginx that a test started."""
    found = {}
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            exe = os.readlink(proc / "exe").removesuffix(" (deleted)")
            line = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if exe.startswith(str(build.resolve()) + "/") or "sl-e2e-" in line:
            found[int(proc.name)] = line
    return found


def refused_calls(build):
    """What the kernel's log says of system calls that the seccomp filter refused to build/sluice."""
    code, text = run(["dmesg"])
    if code:
        return {f"the kernel's log cannot be read: {text}"}
    return {line for line in text.splitlines() if "type=1326" in line and f'exe="{build}/sluice"' in line}


class Machine:
    """What of ours is on this machine, apart from files in the repository."""

    def __init__(self, build):
        self.build = build
        self.before = self.look()
        self.mounts = mounts()

    def look(self):
        things = {f"process {pid}: {line}" for pid, line in our_processes(self.build).items()}
        things |= {f"namespace {p}" for p in pathlib.Path("/run/netns").glob("sl-*")}
        things |= {f"interface {p}" for p in pathlib.Path("/sys/class/net").glob("sl-*")}
        things |= {f"file {p}" for p in pathlib.Path("/tmp").glob("sl-*")}
        for pattern in ("sluice.pid*", "sluice"):
            things |= {f"file {p}" for p in pathlib.Path("/run").glob(pattern)}
        if os.access(PINS, os.R_OK):
            things |= {f"pin {p}" for p in [PINS, *PINS.iterdir()]}
        return things

    def restore_mounts(self):
        """bpffs goes if it was not there at the start."""
        while mounts().count("/sys/fs/bpf") > self.mounts.count("/sys/fs/bpf"):
            if run(["umount", "/sys/fs/bpf"])[0]:
                break

    def left(self):
        out = sorted(self.look() - self.before)
        now = mounts()
        return out + [f"mount {m}" for m in sorted(set(now)) if now.count(m) > self.mounts.count(m)]


def sanitizer_env(folder):
    folder.chmod(0o1777)
    return {
        "SLUICE_ASAN": "1",
        "ASAN_OPTIONS": f"log_path={folder}/report:detect_stack_use_after_return=1:strict_string_checks=1",
        "UBSAN_OPTIONS": f"log_path={folder}/report:print_stacktrace=1",
    }


def usual_parts(args):
    if args.kernel:
        return ["bpf", "e2e"]
    return ["unit", "fuzz", "e2e"] + ([] if args.asan else ["checks"] if args.unprivileged else ["checks", "vm"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", type=pathlib.Path, help="the folder of what make built")
    parser.add_argument("--unprivileged", action="store_true", help="leave out what needs root and BPF")
    parser.add_argument("--kernel", action="store_true", help="only what depends on the kernel: `make test-vm`")
    parser.add_argument("--asan", action="store_true", help="any report of ASan, LSan or UBSan is a failure")
    parser.add_argument("--only", choices=PARTS, action="append", help="these parts alone")
    parser.add_argument("-k", metavar="EXPRESSION", help="end-to-end tests with these names alone")
    args = parser.parse_args()
    args.build = (REPO / args.build).resolve()
    parts = args.only or usual_parts(args)
    results = Results()
    machine = Machine(args.build)
    refused = set() if args.unprivileged else refused_calls(args.build)
    env = {**os.environ, "SLUICE_BUILD": str(args.build), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
    reports = pathlib.Path(tempfile.mkdtemp(prefix="sl-reports-"))
    machine.before.add(f"file {reports}")
    if args.asan:
        env.update(sanitizer_env(reports))
    if not args.unprivileged and os.geteuid() != 0:
        results.add("root", 0, 1, "these tests need root; `make test-unprivileged` leaves out what does")
    if "checks" in parts:
        run_checks(results, args.build, env)
    if "unit" in parts:
        run_unit(results, args.build, env, ["unit/*/test_*"])
    if "bpf" in parts or "unit" in parts and not args.unprivileged:
        run_unit(results, args.build, env, ["bpf/test_*"])
    if args.kernel and "bpf" in parts:
        run_unit(results, args.build, env, KERNEL_UNITS)
    if "fuzz" in parts:
        run_fuzz_corpora(results, args.build, env)
    if "vm" in parts:
        run_vm(results, args.build, env)
    if "e2e" in parts:
        run_e2e(results, env, args, (300 if args.asan else 120) * slow(env))
    if args.asan:
        texts = [p.read_text(errors="replace") for p in sorted(reports.iterdir())]
        results.add("no sanitizer report", not texts, len(texts), "\n\n".join(texts))
    shutil.rmtree(reports, ignore_errors=True)
    if not args.unprivileged and "e2e" in parts:
        more = sorted(refused_calls(args.build) - {r for r in refused if "type=1326" in r})
        results.add("no system call was refused", not more, len(more), "\n".join(more))
    machine.restore_mounts()
    left = machine.left()
    results.add("nothing left behind", not left, bool(left), "\n".join(left))
    print(f"{results.passed} passed, {results.failed} failed", flush=True)
    return 1 if results.failed or not results.passed else 0


if __name__ == "__main__":
    sys.exit(main())
