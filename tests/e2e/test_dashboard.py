# SPDX-License-Identifier: BSD-2-Clause
"""The dashboard as a browser shows it."""
import contextlib
import re
import socket
import subprocess
import threading
import time

import harness
import pytest
from guard_net import Ctl
from harness import SLOW, ip, until
from test_events import ban
from test_guard import ADMIN, PORT, XDP, local, offend  # noqa: F401 - fixtures


def browse(s, stack):
    """What a browser makes of the page and its stream, by way of a relay that has the socket's rights."""
    relay = socket.create_server(("127.0.0.1", 0))
    stack.callback(relay.close)
    threading.Thread(target=relay_all, args=(relay, str(s.dir / "admin.sock")), daemon=True).start()
    home = stack.enter_context(harness.temp_dir())
    p = subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home}",
                        "--virtual-time-budget=6000", "--dump-dom", f"http://127.0.0.1:{relay.getsockname()[1]}/"],
                       capture_output=True, text=True, timeout=120 * SLOW, env={"HOME": str(home), "PATH": "/usr/bin:/bin"})
    assert "id=\"events\"" in p.stdout, p.stderr[-1000:]
    return re.sub("<script.*?</script>", "", p.stdout, flags=re.S)


def rows(page, name):
    """The cells of each row of a table, without the heads."""
    body = page.partition(f'id="{name}"')[2].partition("</table>")[0].partition("<tbody>")[2]
    return [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in body.split("<tr>")[1:]]


def test_the_dashboard_shows_it(local, stack):
    s = local()
    ban(s, "192.0.2.7")
    page = browse(s, stack)
    told = page.partition("id=\"events\"")[2].partition("</table>")[0]
    assert "<td class=\"bad\">ban</td><td>192.0.2.7</td>" in told and "a test" in told, told
    assert "No rules" not in page and ["userspace"] == [r[3] for r in rows(page, "bans")]
    assert "Sockmap" not in page, "a column that nobody asked for"


GUARDED = """
upstream up { server @mock@; sockmap on; }
server {
    listen 10.77.1.1:@http@; listen 10.77.2.1:@http@;
    location / { proxy_pass http://up/echo; }
    location /a { return 404; ban on=status:404 after=2 within=60s for=1h prefix=24; }
    location /t { return 403; ban on=status:403 after=2 within=60s for=1h dry_run; }
}
"""


@pytest.mark.privileged
def test_rules_lists_and_estimates(start, mocks, net, pins, stack, tmp_path):
    listed = tmp_path / "listed"
    listed.write_text("198.51.100.0/24\n203.0.113.9\n")
    s = start(GUARDED, {"mock": mocks(netns=net.server).addr, "pins": pins.path, "http": PORT,
                        "xdp": f"deny 192.0.2.0/24 reason=spam; deny_file {listed} reason=<b>abuse</b>; allow 10.77.3.3;"
                               "rate syn=1000/s burst=2000 dry_run; rate new_tls=30/m burst=9; new_sources 1/s burst=1;"},
              main=XDP + ADMIN, netns=net.server)
    s.ctl = Ctl(s)
    first, second = net.clients
    assert offend(PORT, "10.77.1.1", 2, netns=first) == [200, 200]
    # Many at once: the guard makes no entries for a while, then the next are estimates.
    for n in range(50, 90):
        ip("addr", "add", f"10.77.2.{n}/24", "dev", "sl-c2", netns=second)
    for numbers in (range(50, 80), range(80, 90)):
        for n in numbers:
            with harness.in_netns(second), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
                u.bind((f"10.77.2.{n}", 0))
                u.sendto(b"x", ("10.77.2.1", 9))
        time.sleep(1.2)
    until(lambda: any(x["estimated"] for x in s.ctl.json("sources", "--top", 100)["sources"]), 5, "an estimate")
    offend(PORT, "10.77.2.1", 3, path="/t", netns=second)
    offend(PORT, "10.77.1.1", 3, path="/a", netns=first)
    until(lambda: len(s.ctl.json("bans")["bans"]) == 2, 5, "the two bans")
    page = browse(s, stack)

    told = {r[1]: r for r in rows(page, "rules")}
    earned = told.pop("ban on=status:404 after=2 within=60s for=1h prefix=24")
    assert earned[3] == "in force" and earned[5] in "23" and earned[6:9] == ["1", "0", "1"] and earned[2].startswith("location /a in "), earned
    trial = told.pop("ban on=status:403 after=2 within=60s for=1h dry_run")
    assert trial[3] == "dry run" and trial[6:9] == ["0", "1", "1"], trial
    assert told["deny 192.0.2.0/24"][2:5] == ["spam", "in force", "1"]
    from_file = next(r for t, r in told.items() if t.startswith("deny_file"))
    assert from_file[2] == "&lt;b&gt;abuse&lt;/b&gt;" and from_file[4] == "2", from_file
    shown = s.ctl.ok("rules")
    assert re.search(r"dry run +0 +0 +rate syn=1000/s burst=2000", shown) and re.search(r" 2 +0 +deny_file ", shown), shown
    assert told["rate syn=1000/s burst=2000"][3] == "dry run" and told["rate new_tls=30/m burst=9"][3] == "in force"
    assert told["rate unknown_syn=20000/s burst=40000"][9:] == ["0", "0"]
    assert {r[0] for r in rows(page, "denied")} == {"192.0.2.0/24", "198.51.100.0/24", "203.0.113.9"}
    assert "10.77.3.3" in page and "10.77.1.1 (own)" in page
    assert {r[0]: r[3] for r in rows(page, "bans")} == {"10.77.1.0/24": "kernel", "10.77.2.2": "on trial"}
    assert "1 of networks, and 1 on trial" in page
    assert next(r for r in rows(page, "sources") if r[0] == "10.77.1.2")[8].startswith("banned"), "with its network"
    assert any("estimated" in r[8] for r in rows(page, "sources")) and "may have sent more" in page
    up = rows(page, "upstreams")[0]
    assert re.match(r"\d+ connections", up[11]) and up[12].endswith("B"), up


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
