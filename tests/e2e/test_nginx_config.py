# SPDX-License-Identifier: BSD-2-Clause
"""What -t says of a statement: nginx and sluice give the same exit code and the same [emerg] and [warn] lines. sluice may say where
it stands when nginx does not, and adds a hint in brackets behind the place. The statements are in nginx_config_lines.txt."""
import concurrent.futures
import pathlib
import re
import subprocess

import harness
import pytest
from harness import SLOW, temp_dir

LINES = pathlib.Path(__file__).with_name("nginx_config_lines.txt")
SERVER = "events { }\nhttp {\naccess_log off;\nserver {\nlisten 127.0.0.1:8098;\n%s\n}\n}\n"
BLOCKS = {"main": "events { }\n%s\n", "http": "events { }\nhttp {\naccess_log off;\n%s\n}\n", "server": SERVER,
          "location": SERVER % "location /x/ {\n%s\n}"}


def statements():
    block, out = None, []
    for line in LINES.read_text().splitlines():
        if line.startswith("["):
            block = line[1:-1]
        elif line and not line.startswith("#"):
            out.append((block, line))
    return out


def told(text, path):
    """The messages of TEXT, without their time, place and hint."""
    out = []
    for line in text.splitlines():
        m = re.search(r"\[(emerg|warn)\] (?:\d+#\d+: )?(.*)", line)
        if m:
            message = m[2].replace(str(path), "FILE")
            out.append((m[1], *re.fullmatch(r"(.*?)(?: in FILE:(\d+)(?: \(.*\))?)?", message).groups()))
    return out


def ask_both(case, folder):
    block, line = case
    path = folder / f"{abs(hash(case))}.conf"
    path.write_text(BLOCKS[block] % line)
    out = []
    for program, *more in (["/usr/sbin/nginx", "-e", "stderr"], [str(harness.SLUICE)]):
        p = subprocess.run([program, "-t", "-p", str(folder), "-c", str(path), *more, "-g", f"pid {folder}/pid;"],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30 * SLOW)
        out.append((p.returncode, told(p.stderr, path)))
    return out


@pytest.fixture(scope="module")
def answers():
    with temp_dir() as folder, concurrent.futures.ThreadPoolExecutor(4) as threads:
        cases = statements()
        yield dict(zip(cases, threads.map(lambda c: ask_both(c, folder), cases), strict=True))


@pytest.mark.parametrize("case", statements(), ids=lambda c: f"{c[0]} {c[1]}"[:100])
def test_alike(answers, case):
    (code, nginx), (own_code, own) = answers[case]
    assert own_code == code
    assert [(level, text) for level, text, _ in own] == [(level, text) for level, text, _ in nginx]
    for (_, _, theirs), (_, _, ours) in zip(nginx, own, strict=True):
        assert theirs is None or ours == theirs or case[1].startswith("proxy_")   # at the end of the block
