# SPDX-License-Identifier: BSD-2-Clause
"""The dashboard as a browser shows it."""
import contextlib
import socket
import subprocess
import threading

import harness
from harness import SLOW
from test_events import ban
from test_guard import local  # noqa: F401 - fixture


def test_the_dashboard_shows_it(local, stack):
    """A browser reads the page and its stream, by way of a relay that has the socket's rights."""
    s = local()
    ban(s, "192.0.2.7")
    relay = socket.create_server(("127.0.0.1", 0))
    stack.callback(relay.close)
    threading.Thread(target=relay_all, args=(relay, str(s.dir / "admin.sock")), daemon=True).start()
    home = stack.enter_context(harness.temp_dir())
    p = subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home}",
                        "--virtual-time-budget=6000", "--dump-dom", f"http://127.0.0.1:{relay.getsockname()[1]}/"],
                       capture_output=True, text=True, timeout=120 * SLOW, env={"HOME": str(home), "PATH": "/usr/bin:/bin"})
    rows = p.stdout.partition("id=\"events\"")[2].partition("</table>")[0]
    assert "<td class=\"bad\">ban</td><td>192.0.2.7</td>" in rows and "a test" in rows, (rows, p.stderr[-1000:])


def relay_all(listener, path):
    def pump(a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)

    with contextlib.suppress(OSError):
        while True:
            c, u = listener.accept()[0], socket.socket(socket.AF_UNIX)
            u.connect(path)
            for pair in ((c, u), (u, c)):
                threading.Thread(target=pump, args=pair, daemon=True).start()
