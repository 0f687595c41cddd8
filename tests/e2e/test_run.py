# SPDX-License-Identifier: BSD-2-Clause
"""tests/run.py itself: whoever interrupts `make test` finds nothing of it on the machine."""
import os
import pathlib
import signal
import subprocess

import harness
import pytest
from harness import BUILD, REPO, SLOW, until

pytestmark = pytest.mark.privileged


@pytest.mark.parametrize("sig, of_all", [(signal.SIGINT, True), (signal.SIGTERM, False)], ids=["Ctrl-C", "TERM"])
def test_an_interrupted_run_leaves_nothing(stack, sig, of_all):
    folder = stack.enter_context(harness.temp_dir())
    run = subprocess.Popen(["tests/run.py", "--build", str(BUILD), "--jobs", "3", "tests/e2e/test_guard.py", "tests/e2e/test_guard_rates.py",
                            "tests/e2e/test_testssl.py"],
                           cwd=REPO, env={**os.environ, "TMPDIR": str(folder)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, start_new_session=True)
    stack.callback(run.wait)
    stack.callback(run.kill)
    name = until(lambda: next(folder.glob("sl-run-*"), None), 10, "its folder").name

    def left():
        out = [*pathlib.Path("/run/netns").glob(f"{name}*"), *pathlib.Path("/sys/fs/bpf").glob(f"{name}*"), *folder.iterdir()]
        for proc in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if name in (proc / "cmdline").read_text(errors="replace") or name in os.readlink(proc / "fd/2"):
                    out.append(proc.name)
            except OSError:
                pass
        return out
    until(lambda: any(str(p).startswith("/run/netns/") for p in left()), 30, "a namespace")
    (os.killpg if of_all else os.kill)(run.pid, sig)
    out, _ = run.communicate(timeout=60 * SLOW)
    assert run.returncode == -sig, out
    assert "\ninterrupted\n" in "\n" + out, out
    assert not left(), out
