#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs all tests and says in the last line "N passed, N failed".

What is built must be there already (make does that). A failure is printed in full. Exit 1 when there is
any, also when a part ran no test at all. At the end it looks itself at what is left on the machine.
"""
import argparse
import concurrent.futures
import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

REPO = pathlib.Path(__file__).resolve().parents[1]
PINS = pathlib.Path("/sys/fs/bpf")
NOTHING_SELECTED = 5    # pytest's exit code
# What unit tests make in /tmp; the rest of what is there is not this run's, which has a folder.
TEMPS = re.compile("|".join(sorted({name for path in REPO.glob("tests/unit/*/*.[ch]")
                                    for name in re.findall(r'"/tmp/(sl-[a-z-]+)XXXXXX"', path.read_text())})))
# These are begun first, so that none of them is what the others' end is waited for.
LONG = {f"test_{n}.py" for n in ("regressions", "spool", "testssl", "upstream")}

PARTS = ["unit", "bpf", "fuzz", "checks", "vm", "e2e"]
KERNEL_UNITS = ["unit/master/test_confine"]   # unit tests of what a kernel may do differently


class Results:
    def __init__(self):
        self.passed = self.failed = 0
        self.lock = threading.Lock()

    def add(self, name, passed, failed, text=""):
        passed, failed = int(passed), int(failed)
        lines = [f"{'FAILED' if failed else 'ok':6} {name}: {passed} passed, {failed} failed"]
        if failed and text:
            lines += ["    " + line for line in text.splitlines()]
        if children.is_over:
            return
        with self.lock:
            self.passed += passed
            self.failed += failed
            print("\n".join(lines), flush=True)


def slow(env):
    """How much longer than on a plain machine things may take; harness.py knows it too."""
    return int(env.get("SLUICE_SLOW", 1))


class Interrupted(BaseException):
    """Somebody has had enough."""

    @classmethod
    def listen(cls):
        def handler(sig, frame):
            for s in signals:
                signal.signal(s, signal.SIG_IGN)
            raise cls(sig)
        signals = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
        for s in signals:
            signal.signal(s, handler)

    def die(self):
        """As whoever started us expects it."""
        signal.signal(self.args[0], signal.SIG_DFL)
        os.kill(os.getpid(), self.args[0])


class Children:
    """All that run() has started. Each has a session of its own, so that Ctrl-C comes to us alone: what it had begun
    must end in order, and nothing may begin after it. Who is killed itself takes them along."""

    PATIENCE_S = 20

    def __init__(self):
        self.procs, self.lock, self.is_over = set(), threading.Lock(), False
        self.prctl = ctypes.CDLL(None).prctl

    def setup(self):
        signal.signal(signal.SIGINT, signal.SIG_DFL)    # a shell may have had it ignored
        self.prctl(1, signal.SIGINT)    # PR_SET_PDEATHSIG

    def start(self, command, **kw):
        with self.lock:
            if self.is_over:
                raise OSError("interrupted")
            p = subprocess.Popen([str(c) for c in command], cwd=REPO, stdin=subprocess.DEVNULL,
                                 start_new_session=True, preexec_fn=self.setup, **kw)
            self.procs.add(p)
            return p

    def wait(self, p, timeout_s):
        """(exit code, output)"""
        try:
            out, _ = p.communicate(timeout=timeout_s)
            return p.returncode, out or ""
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGKILL)
            return -1, (p.communicate()[0] or "") + f"\nno end in {timeout_s} s"
        finally:
            with self.lock:
                self.procs.discard(p)

    def end(self):
        """pytest ends what its tests have started, the rest dies of it."""
        with self.lock:
            self.is_over = True
            procs = list(self.procs)
        for sig, patience_s in ((signal.SIGINT, self.PATIENCE_S), (signal.SIGKILL, 5)):
            for p in procs:
                if p.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(p.pid, sig)
            end = time.monotonic() + patience_s
            while time.monotonic() < end and any(p.poll() is None for p in procs):
                time.sleep(0.1)


children = Children()


def call(command):
    """(exit code, output) of what is no test."""
    p = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       errors="replace")
    return p.returncode, p.stdout


def run(command, env=None, timeout_s=300):
    """(exit code, output); a signal or a timeout is a code too."""
    try:
        p = children.start(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    except OSError as e:
        return -1, str(e)
    return children.wait(p, timeout_s)


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


def pytest_on(paths, marks, env, args, timeout_s, is_shown=False):
    """(passed, failed, output) of one pytest process; IS_SHOWN: its output goes on as it comes."""
    with tempfile.NamedTemporaryFile(prefix="junit-", suffix=".xml") as report:
        command = ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "--timeout", str(timeout_s), "-q",
                   "-rA" if args.k else "-rfE", "--durations=10", "--durations-min=3", f"--junitxml={report.name}",
                   "-m", marks, *map(str, paths), *(["-k", args.k] if args.k else []),
                   *(["-v", "-v"] if args.kernel else [])]  # who sees it hang sees where
        if is_shown:
            code, text = children.wait(children.start(command, env=env), None)
        else:
            code, text = run(command, env, 3600 * slow(env))
        total = bad = 0
        try:
            for suite in xml.etree.ElementTree.parse(report.name).getroot().iter("testsuite"):
                total += int(suite.get("tests"))
                bad += sum(int(suite.get(k)) for k in ("failures", "errors", "skipped"))
        except xml.etree.ElementTree.ParseError:
            bad = 1
    if not bad and code not in (0, NOTHING_SELECTED):
        bad = 1
    return max(total - bad, 0), bad, f"{text}\npytest ended with {code}"


def run_vm(results, build, env):
    """A boot of Debian's own kernel with the BPF tests alone: which of its verifier's rules a program breaks shows
    nowhere else. `make test-vm` runs the rest of what depends on the kernel."""
    code, text = run([REPO / "tests/vm/run.py", "--build", build, "--only", "bpf", "--timeout", "1100"], env, 1200)
    m = re.search(r"^(\d+) passed, (\d+) failed\n?\Z", text, re.M)
    passed, failed = map(int, m.groups()) if m else (0, 1)
    results.add("tests/bpf on Debian's own kernel", passed, failed or code != 0, text)


def e2e_files(args):
    return [f.resolve() for f in args.files] or sorted((REPO / "tests/e2e").glob("test_*.py"))


def run_beside(results, marks, env, args, timeout_s, others):
    """Each file is a pytest process of its own, args.jobs at a time, beside OTHERS; then, one after the other, what is
    marked "alone"."""
    files = sorted(e2e_files(args), key=lambda p: (p.name not in LONG, p.name))

    def one(path, which):
        begun = time.monotonic()
        passed, failed, text = pytest_on([path], f"{marks} and {which}", env, args, timeout_s)
        if passed or failed:
            took = f"{'alone, ' if which == 'alone' else ''}{time.monotonic() - begun:.0f} s"
            results.add(f"{path.name} ({took})", passed, failed, text)

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        begun = [*(pool.submit(o) for o in others), *(pool.submit(one, p, "not alone") for p in files)]
        try:
            for b in begun:
                b.result()
        except Interrupted:
            pool.shutdown(wait=False, cancel_futures=True)
            children.end()
            raise
    for path in files:
        if "mark.alone" in path.read_text():
            one(path, "alone")


def run_e2e(results, env, args, timeout_s, others):
    marks = "kernel" if args.kernel else "not privileged and not vm" if args.unprivileged else "not vm"
    before = results.passed + results.failed
    if args.jobs == 1:
        for o in others:
            o()
        # To collect all takes minutes on an emulated machine.
        paths = [f for f in e2e_files(args) if not args.kernel or "mark.kernel" in f.read_text()]
        passed, failed, text = pytest_on(paths, marks, env, args, timeout_s, is_shown=True)
        results.add("end-to-end tests", passed, failed, text)
    else:
        run_beside(results, marks, env, args, timeout_s, others)
    if results.passed + results.failed == before:
        results.add("end-to-end tests", 0, 1, "none was selected")


def mounts(folder):
    points = [line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    ours = ("/sys/fs/bpf", f"/run/netns/{folder.name}", str(folder))
    return [p for p in points if p == "/run/netns" or p.startswith(ours)]


def our_processes(build, folder):
    """Processes whose program is one of ours, or which a test started in FOLDER, like nginx."""
    found = {}
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            exe = os.readlink(proc / "exe").removesuffix(" (deleted)")
            line = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if exe.startswith(str(build.resolve()) + "/") or str(folder) in line:
            found[int(proc.name)] = line
    return found


def refused_calls(build):
    """What the kernel's log says of system calls that the seccomp filter refused to build/sluice."""
    code, text = call(["dmesg"])
    if code:
        return {f"the kernel's log cannot be read: {text}"}
    return {line for line in text.splitlines() if "type=1326" in line and f'exe="{build}/sluice"' in line}


class Machine:
    """What of this run is on the machine, apart from files in the repository. Others may run tests at the same time:
    what is ours is in FOLDER, or has its name."""

    def __init__(self, build, folder):
        self.build, self.folder = build, folder
        self.before = self.look()
        self.mounts = mounts(folder)

    def look(self):
        things = {f"process {pid}: {line}" for pid, line in our_processes(self.build, self.folder).items()}
        things |= {f"namespace {p}" for p in pathlib.Path("/run/netns").glob(f"{self.folder.name}*")}
        things |= {f"interface {p}" for p in pathlib.Path("/sys/class/net").glob("sl-*")}
        things |= {f"file {p}" for p in self.folder.iterdir() if not p.name.startswith("pytest-of-")}
        things |= {f"file {p}" for p in pathlib.Path("/tmp").glob("sl-*") if TEMPS.match(p.name)}
        for pattern in ("sluice.pid*", "sluice"):
            things |= {f"file {p}" for p in pathlib.Path("/run").glob(pattern)}
        if os.access(PINS, os.R_OK):
            things |= {f"pin {p}" for p in [*PINS.glob("sluice"), *PINS.glob("sluice/*"), *PINS.glob(f"{self.folder.name}*")]}
        return things

    def is_of_this_run(self, pid):
        """Others may have started the same programs: ours have files in our folder, or were told its name."""
        with contextlib.suppress(OSError):
            if str(self.folder) in pathlib.Path(f"/proc/{pid}/cmdline").read_text(errors="replace"):
                return True
            return any(os.readlink(fd).startswith(str(self.folder)) for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir())
        return False

    def sweep(self):
        """What interrupted tests could not take away any more."""
        for pid in filter(self.is_of_this_run, our_processes(self.build, self.folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for mount in sorted(mounts(self.folder), reverse=True):
            if mount.startswith(str(self.folder)):
                call(["umount", "-l", mount])
        for netns in pathlib.Path("/run/netns").glob(f"{self.folder.name}*"):
            call(["ip", "netns", "del", netns.name])
        for pins in PINS.glob(f"{self.folder.name}*"):
            shutil.rmtree(pins, ignore_errors=True)

    def restore_mounts(self):
        """bpffs goes if it was not there at the start."""
        while mounts(self.folder).count("/sys/fs/bpf") > self.mounts.count("/sys/fs/bpf"):
            if call(["umount", "/sys/fs/bpf"])[0]:
                break

    def left(self):
        """What others' tests have in places that are nobody's goes again; what is left stays."""
        for _ in range(20):
            out = sorted(self.look() - self.before)
            if not any(thing.startswith(("file /tmp/sl-", "interface ")) for thing in out):
                break
            time.sleep(0.5)
        now = mounts(self.folder)
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


def run_parts(results, parts, args, env):
    build = args.build
    if "checks" in parts:
        run_checks(results, build, env)
    if "unit" in parts:
        run_unit(results, build, env, ["unit/*/test_*"])
    if "bpf" in parts or "unit" in parts and not args.unprivileged:
        run_unit(results, build, env, ["bpf/test_*"])
    if args.kernel and "bpf" in parts:
        run_unit(results, build, env, KERNEL_UNITS)
    if "fuzz" in parts:
        run_fuzz_corpora(results, build, env)
    vm = [lambda: run_vm(results, build, env)] if "vm" in parts else []
    if "e2e" in parts:
        run_e2e(results, env, args, (300 if args.asan else 120) * slow(env), vm)
    elif vm:
        vm[0]()


def run_all(results, parts, args, env, reports):
    refused = set() if args.unprivileged else refused_calls(args.build)
    run_parts(results, parts, args, env)
    if args.asan:
        texts = [p.read_text(errors="replace") for p in sorted(reports.iterdir())]
        results.add("no sanitizer report", not texts, len(texts), "\n\n".join(texts))
    if not args.unprivileged and "e2e" in parts:
        more = sorted(refused_calls(args.build) - {r for r in refused if "type=1326" in r})
        results.add("no system call was refused", not more, len(more), "\n".join(more))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", type=pathlib.Path, help="the folder of what make built")
    parser.add_argument("--unprivileged", action="store_true", help="leave out what needs root and BPF")
    parser.add_argument("--kernel", action="store_true", help="only what depends on the kernel: `make test-vm`")
    parser.add_argument("--asan", action="store_true", help="any report of ASan, LSan or UBSan is a failure")
    parser.add_argument("--only", choices=PARTS, action="append", help="these parts alone")
    parser.add_argument("-k", metavar="EXPRESSION", help="end-to-end tests with these names alone")
    parser.add_argument("--jobs", type=int, help="files of end-to-end tests at the same time (one more than CPUs: they wait "
                        "more than they compute; with -k or --kernel 1); 1: all in one process, its output as it comes")
    parser.add_argument("files", nargs="*", type=pathlib.Path, help="files of end-to-end tests; these alone")
    args = parser.parse_args()
    args.jobs = args.jobs or (1 if args.k or args.kernel else os.cpu_count() + 1)
    args.build = (REPO / args.build).resolve()
    parts = args.only or (["e2e"] if args.files else usual_parts(args))
    results = Results()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sl-run-"))
    folder.chmod(0o1777)
    tempfile.tempdir = str(folder)
    reports = folder / "reports"
    reports.mkdir()
    machine = Machine(args.build, folder)
    env = {**os.environ, "SLUICE_BUILD": str(args.build), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8",
           "TMPDIR": str(folder), "SLUICE_RUN": folder.name}
    if args.asan:
        env.update(sanitizer_env(reports))
    if not args.unprivileged and os.geteuid() != 0:
        results.add("root", 0, 1, "these tests need root; `make test-unprivileged` leaves out what does")
    try:
        Interrupted.listen()
        run_all(results, parts, args, env, reports)
    except Interrupted as e:
        children.end()
        machine.sweep()
        machine.restore_mounts()
        print("\n".join(["interrupted", *machine.left()]), flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        e.die()
    machine.restore_mounts()
    left = machine.left()
    results.add("nothing left behind", not left, bool(left), "\n".join(left))
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{results.passed} passed, {results.failed} failed", flush=True)
    return 1 if results.failed or not results.passed else 0


if __name__ == "__main__":
    sys.exit(main())
