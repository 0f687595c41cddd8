# SPDX-License-Identifier: BSD-2-Clause
"""The first of README's two commands, as a newcomer sees it; what it claims it checks itself."""
import os
import subprocess
import sys

import pytest
from harness import BUILD, REPO, SLOW


@pytest.mark.privileged
@pytest.mark.alone
def test_demo():
    p = subprocess.run([sys.executable, REPO / "tools/demo.py", "--build", BUILD], stdin=subprocess.DEVNULL, text=True,
                       capture_output=True, timeout=100 * SLOW, env={**os.environ, "TMPDIR": "/tmp"})
    assert p.returncode == 0, p.stdout[-3000:] + p.stderr[-3000:]
    assert "DONE: all of it happened" in p.stdout
