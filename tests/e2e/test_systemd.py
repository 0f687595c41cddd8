# SPDX-License-Identifier: BSD-2-Clause
"""conf/sluice.service under systemd itself, in the virtual machine: start, reload, exchange of the binary, a killed
master, stop; with the guard, and with the capabilities that the unit grants and no others."""
import os
import pathlib
import re
import shutil
import subprocess

import harness
import pytest
from harness import SLOW, until

pytestmark = [pytest.mark.vm, pytest.mark.kernel, pytest.mark.timeout(900)]
REPO = pathlib.Path(__file__).resolve().parents[2]
UNITS = pathlib.Path("/etc/systemd/system")
GRANTED = ("chown dac_override fowner kill setgid setuid net_bind_service net_admin sys_resource perfmon bpf").split()
CONF = """
error_log /var/log/sluice/error.log info;
worker_rlimit_nofile 300000;
xdp { interface sl-d0; }
admin { listen unix:/run/sluice/admin.sock; }
events {}
http {
    access_log /var/log/sluice/access.log;
    server { listen 80; location ~ ^/(a+)$ { return 200 "by machine code $1"; } location / { return 200 hello; } }
}
"""
# The one thing that this systemd is started for. Each say is a line "NAME: VALUE" of the result.
CHECK = """#!/bin/bash
cd @dir@
say() { echo "$1: $(eval "$2" 2>&1 | tr '\\n' ' ')" >>result.tmp; }
main() { systemctl show -p MainPID --value sluice; }
look() {
	M=$(main)
	C=$(cat /proc/$M/task/$M/children)
	say "$1 active" 'systemctl is-active sluice'
	say "$1 status" 'systemctl show -p StatusText --value sluice'
	say "$1 answer" 'curl -s http://127.0.0.1/'
	say "$1 capabilities" "grep -h '^Cap[PEB]' /proc/$M/status"
	say "$1 guard" 'sluicectl status | grep ^guard'
	say "$1 children" 'for c in $C; do grep -h Seccomp: /proc/$c/status; done'
	say "$1 bans" 'sluicectl bans | tail -n +2'
}
wait_for() { for i in $(seq 100); do eval "$1" && break; sleep 0.2; done; }
look start
say regex 'curl -s http://127.0.0.1/aaa'
say 'machine code' "grep -c rwx /proc/$M/maps"
say ban 'sluicectl ban 198.51.100.7 --for 1h'
say reload 'systemctl reload sluice; echo $?'
look reloaded
old=$(main)
kill -USR2 $old
wait_for '[ $(main) != $old ]'
kill -QUIT $old
wait_for '[ ! -d /proc/$old ]'
look upgraded
old=$(main)
kill -9 $old
wait_for '[ $(main) != $old ] && [ $(main) != 0 ] && [ "$(systemctl is-active sluice)" = active ]'
look restarted
say stop 'systemctl stop sluice; systemctl is-active sluice'
say left 'pgrep -x sluice; ls /sys/fs/bpf /run/sluice /run/sluice.pid'
mv result.tmp result
"""


@pytest.fixture(scope="module")
def said():
    """{name: value} of what CHECK says."""
    # It changes /etc and starts a systemd. tests/vm/init has put this file there, in its own machine's memory.
    assert pathlib.Path("/run/command").exists() and os.path.ismount("/run"), "`make test-vm` has a machine for this"
    with harness.temp_dir() as d:
        d.chmod(0o755)
        shutil.copy(REPO / "conf/sluice.service", UNITS)
        for source, to in ((harness.SLUICE, "/usr/local/sbin/sluice"), (harness.CTL, "/usr/local/bin/sluicectl")):
            shutil.copy(source, to)
        folder = pathlib.Path("/etc/sluice")
        folder.mkdir()
        (folder / "sluice.conf").write_text(CONF)
        (d / "check").write_text(CHECK.replace("@dir@", str(d)))
        (d / "check").chmod(0o755)
        (UNITS / "check.service").write_text("[Unit]\nAfter=sluice.service\nWants=sluice.service\n[Service]\nType=oneshot\n"
                                             f"ExecStart={d}/check\nTimeoutStartSec=infinity\n")
        (UNITS / "check.target").write_text("[Unit]\nRequires=check.service\nAfter=check.service\n")
        for unit in ("systemd-sysctl", "systemd-udevd", "systemd-udev-trigger", "systemd-modules-load",
                     "systemd-tmpfiles-setup", "systemd-tmpfiles-setup-dev"):
            (UNITS / f"{unit}.service").symlink_to("/dev/null")
        script = ("ip link add sl-d0 type veth peer name sl-d1; ip link set sl-d0 up; ip link set sl-d1 up; "
                  "ip link set lo up; exec /lib/systemd/systemd --system --unit=check.target --show-status=0")
        p = subprocess.Popen(["unshare", "--fork", "--pid", "--net", "--mount", "--mount-proc", "--kill-child", "sh", "-c",
                              script], stdin=subprocess.DEVNULL, env={"container": "lxc", "PATH": "/usr/sbin:/usr/bin"})
        try:
            until(lambda: (d / "result").exists() or p.poll() is not None, 600 / SLOW, "the end of the checks")
            lines = (d / "result").read_text().splitlines()
        finally:
            p.kill()
            p.wait()
            pathlib.Path("/run/sluice.pid.bans").unlink(missing_ok=True)    # a stop keeps it
            print((d / "result.tmp").read_text() if (d / "result.tmp").exists() else "no result",
                  log.read_text() if (log := pathlib.Path("/var/log/sluice/error.log")).exists() else "")
        yield dict(line.split(": ", 1) for line in lines)


@pytest.mark.parametrize("when", ["start", "reloaded", "upgraded", "restarted"])
def test_it_serves_with_what_the_unit_grants(said, when):
    assert said[f"{when} active"].strip() == "active"
    assert said[f"{when} status"].strip() == "serving"
    assert said[f"{when} answer"].strip() == "hello"
    assert re.search(r"\bon: sl-d0 native", said[f"{when} guard"]), said[f"{when} guard"]
    assert said[f"{when} children"].split() == ["Seccomp:", "2"] * 2
    caps = [int(x, 16) for x in re.findall(r"Cap\w+:\s+([0-9a-f]+)", said[f"{when} capabilities"])]
    assert len(caps) == 3 and all(c == mask(GRANTED) for c in caps)
    assert when == "start" or "198.51.100.7" in said[f"{when} bans"], "the ban outlives it"


def mask(names):
    text = pathlib.Path("/usr/include/linux/capability.h").read_text()
    return sum(1 << int(re.search(rf"#define CAP_{n.upper()}\s+(\d+)", text)[1]) for n in names)


def test_regular_expressions_become_machine_code(said):
    assert said["regex"].strip() == "by machine code aaa" and int(said["machine code"]) >= 1


def test_reload_and_stop(said):
    assert said["reload"].strip() == "0"
    assert said["stop"].strip() == "inactive"
    assert not re.search(r"^\d|sluice(?!')", re.sub(r"ls: cannot access \S+: No such file or directory", "", said["left"]))
