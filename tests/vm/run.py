#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Boots Debian's own kernel under qemu and runs there what depends on the kernel, from this build tree.

The kernel is the one of Debian's package, unpacked into build/vm/: nothing is installed for it. The machine is
emulated (KVM is not asked for), has no network, and sees the host's files read-only. The last line is
"N passed, N failed"; exit 1 when a test failed, the machine did not come up or did not end in time, or its
kernel complained.
"""
import argparse
import ctypes
import ctypes.util
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
HERE = REPO / "tests/vm"
# What is taken out of the kernel's package: 40 MB of its 400.
WANTED = ["./boot/vmlinuz-*", "./lib/modules/*/modules.*", "./lib/modules/*/kernel/net", "./lib/modules/*/kernel/lib",
          "./lib/modules/*/kernel/crypto", "./lib/modules/*/kernel/fs/9p", "./lib/modules/*/kernel/fs/netfs",
          "./lib/modules/*/kernel/fs/fscache", "./lib/modules/*/kernel/fs/overlayfs",
          "./lib/modules/*/kernel/drivers/virtio", "./lib/modules/*/kernel/drivers/net/veth.ko",
          "./lib/modules/*/kernel/drivers/net/dummy.ko", "./lib/modules/*/kernel/arch/x86/crypto"]
# Until the host's files are there; the rest comes from them, by modprobe.
EARLY = ["virtio_pci", "9pnet_virtio", "9p", "overlay"]
COMPLAINTS = re.compile(r"\b(BUG:|WARNING:|Oops|Kernel panic|general protection fault|UBSAN:|"
                        r"possible recursive locking|refcount_t|hung_task|blocked for more than)")
# An emulated machine on a busy host may well be late; that says nothing about the kernel.
HARMLESS = re.compile(r"soft lockup|rcu.*(stall|kthread starved)|workqueue lockup|clocksource")


class Trouble(Exception):
    pass


def call(*command, **kw):
    kw.setdefault("stdin", subprocess.DEVNULL)
    p = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    if p.returncode:
        raise Trouble(f"{shlex.join(map(str, command))}: {p.stdout.strip()}")
    return p.stdout


def download(package, folder):
    """The .deb of PACKAGE in FOLDER; the lists of packages are fetched when they are too old for it."""
    folder.mkdir(parents=True)
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package]
    try:
        call(*command, cwd=folder)
    except Trouble:
        call("apt-get", "-q", "update")
        call(*command, cwd=folder)
    return next(folder.glob("*.deb"))


def kernel_package():
    """The versioned package that linux-image-amd64 stands for today."""
    for attempt in range(2):
        try:
            m = re.search(r"Depends: (linux-image-\d\S+)", call("apt-cache", "depends", "linux-image-amd64"))
            if m:
                return m[1]
        except Trouble:
            pass
        if not attempt:
            call("apt-get", "-q", "update")
    raise Trouble("apt knows no linux-image-amd64")


def fetch_kernel(vm):
    """build/vm/kernel: boot/vmlinuz-V, lib/modules/V, bin/busybox. Kept until Debian has a newer one."""
    package, kernel, stamp = kernel_package(), vm / "kernel", vm / "kernel/package"
    if not (stamp.is_file() and stamp.read_text() == package):
        print(f"vm: unpacking {package}", flush=True)
        new = vm / f"new-{os.getpid()}"
        shutil.rmtree(kernel, ignore_errors=True)
        try:
            deb = download(package, new / "deb")
            with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as tar:
                call("tar", "-x", "-C", new, "--wildcards", *WANTED, stdin=tar.stdout)
            call("dpkg", "-x", download("busybox-static", new / "busybox"), new / "busybox")
            shutil.move(new / "busybox/bin", new / "bin")
            call(new / "bin/busybox", "depmod", "-b", new, next((new / "lib/modules").iterdir()).name)
            shutil.rmtree(new / "deb")
            shutil.rmtree(new / "busybox")
            (new / "package").write_text(package)
            new.rename(kernel)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return kernel, next((kernel / "lib/modules").iterdir()).name


def early_modules(modules):
    """The files of EARLY with what they depend on, in the order of loading."""
    deps = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        deps[path] = rest.split()
    by_name = {pathlib.Path(p).stem.replace("-", "_"): p for p in deps}
    order = []

    def add(path):
        for d in deps[path]:
            add(d)
        if path not in order:
            order.append(path)
    for name in EARLY:
        if name not in by_name:
            raise Trouble(f"the kernel's package has no module {name}")
        add(by_name[name])
    return [modules / p for p in order]


def make_initramfs(vm, kernel, version, command):
    root = vm / "initramfs"
    shutil.rmtree(root, ignore_errors=True)
    (root / "bin").mkdir(parents=True)
    (root / "modules").mkdir()
    shutil.copy(kernel / "bin/busybox", root / "bin/busybox")
    files = early_modules(kernel / "lib/modules" / version)
    for f in files:
        shutil.copy(f, root / "modules")
    (root / "modules/order").write_text("".join(f"{f.name}\n" for f in files))
    text = (HERE / "init").read_text()
    for name, value in (("REPO", REPO), ("KERNEL", kernel), ("VERSION", version)):
        text = text.replace(f"={'@' + name + '@'}", f"={shlex.quote(str(value))}")
    (root / "init").write_text(text)
    (root / "command").write_text(f"#!/bin/sh\ncd {shlex.quote(str(REPO))} && {command}\n")
    for name in ("init", "command"):
        (root / name).chmod(0o755)
    names = "".join(f"{p.relative_to(root)}\n" for p in sorted(root.rglob("*")))
    image = vm / "initramfs.cpio"
    with image.open("wb") as out:
        subprocess.run([kernel / "bin/busybox", "cpio", "-o", "-H", "newc"], input=names.encode(), stdout=out,
                       stderr=subprocess.DEVNULL, cwd=root, check=True)
    shutil.rmtree(root)
    return image


def die_with_parent():
    ctypes.CDLL(ctypes.util.find_library("c")).prctl(1, signal.SIGKILL)


class Machine:
    """qemu, with what its tests say on our standard output and its kernel's words in build/vm/console.log."""

    def __init__(self, vm, kernel, version, image, memory_mb):
        self.console = vm / "console.log"
        self.command = [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(memory_mb),
            "-nodefaults", "-display", "none", "-no-reboot", "-nic", "none",
            "-kernel", kernel / f"boot/vmlinuz-{version}", "-initrd", image,
            "-append", "console=ttyS0 quiet loglevel=5 panic=-1 mitigations=off nowatchdog random.trust_cpu=on",
            "-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console",
            "-chardev", "stdio,id=tests,signal=off", "-serial", "chardev:tests",
            "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
            "-device", "virtio-rng-pci"]
        self.last = ""      # what the init script said last
        self.counts = None

    def run(self, timeout_s):
        """The end of the init script's last word, "exit N" if all went well."""
        self.console.unlink(missing_ok=True)
        proc = subprocess.Popen([str(c) for c in self.command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, errors="replace", preexec_fn=die_with_parent)
        late = threading.Timer(timeout_s, proc.kill)
        late.start()
        try:
            for line in proc.stdout:
                self.hear(line.rstrip("\r\n"))
            code = proc.wait()
        finally:
            late.cancel()
            proc.kill()
            proc.wait()
        if self.last.startswith("exit "):
            return self.last
        return self.last or f"qemu ended with {code}" + (f", {timeout_s} s were not enough" if code == -9 else "")

    def hear(self, line):
        m = re.fullmatch(r"vm: (exit \d+|failed.*)", line)
        if m:
            self.last = m[1]
            return
        m = re.fullmatch(r"(\d+) passed, (\d+) failed", line)
        if m:
            self.counts = int(m[1]), int(m[2])
            return
        print(line, flush=True)

    def complaints(self):
        lines = self.console.read_text(errors="replace").splitlines() if self.console.is_file() else []
        return [x for x in lines if COMPLAINTS.search(x) and not HARMLESS.search(x)], lines[-40:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", type=pathlib.Path, help="the folder of what make built")
    parser.add_argument("--timeout", type=int, default=3600, metavar="SECONDS", help="for all of it")
    parser.add_argument("--memory", type=int, default=2048, metavar="MB")
    parser.add_argument("-k", metavar="EXPRESSION", help="end-to-end tests with these names alone")
    parser.add_argument("--only", choices=["bpf", "e2e"], help="this part alone")
    parser.add_argument("--command", help="run this there instead of the tests")
    args = parser.parse_args()
    build = (REPO / args.build).resolve()
    vm = build / "vm"
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    tests = ["/usr/bin/python3", "tests/run.py", "--build", build, "--kernel"]
    tests += ["--only", args.only] if args.only else []
    tests += ["-k", args.k] if args.k else []
    command = args.command or "export SLUICE_SLOW=8 RELAY_MB=16; exec " + shlex.join(map(str, tests))
    try:
        if not (build / "sluice").is_file():
            raise Trouble(f"{build}/sluice is not there; `make test-vm` builds it")
        vm.mkdir(parents=True, exist_ok=True)
        kernel, version = fetch_kernel(vm)
        machine = Machine(vm, kernel, version, make_initramfs(vm, kernel, version, command), args.memory)
        end = machine.run(args.timeout)
    except (Trouble, OSError) as e:
        print(f"FAILED the virtual machine: {e}\n0 passed, 1 failed")
        return 1
    if args.command:
        print(f"vm: {end}")
        return 0 if end == "exit 0" else 1
    passed, failed = machine.counts or (0, 0)
    complaints, last_lines = machine.complaints()
    if end != "exit 0" and not failed:
        failed += 1
        print(f"FAILED the virtual machine: {end}; its console said last:\n" + "\n".join(f"    {x}" for x in last_lines))
    if complaints:
        failed += 1
        print("FAILED the kernel complained:\n" + "\n".join(f"    {x}" for x in complaints))
    else:
        passed += 1
    print(f"{version}: {time.monotonic() - begun:.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not machine.counts else 0


if __name__ == "__main__":
    sys.exit(main())
