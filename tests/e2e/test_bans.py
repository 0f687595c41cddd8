# SPDX-License-Identifier: BSD-2-Clause
"""What earns a ban, of whom and for how long; that kernel and userspace say the same of it."""
import base64
import re
import socket
import ssl
import subprocess
import time

import harness
import pytest
from guard_net import IN_NET, PORT, Ctl, reach
from harness import SLOW, Conn, fetch, free_port, until

pytestmark = pytest.mark.kernel

ADMIN = "admin { listen unix:@dir@/admin.sock; }\n"
XDP = "xdp { interface sl-s1 sl-s2; pin_dir @pins@; @xdp@ }\n"
PASSWORDS = "good:{PLAIN}word\n"


@pytest.fixture
def users(stack):
    folder = stack.enter_context(harness.temp_dir())
    (folder / "users").write_text(PASSWORDS)
    folder.chmod(0o755)
    return folder / "users"


@pytest.fixture
def local(start, mock, users):
    """local(text): sluice without an xdp block, whose clients are addresses of 127.0.0.0/8."""
    def make(text, values=None, main=ADMIN, **kw):
        values = {"users": users, **(values or {})}
        s = start(text, {"listen": "listen 127.0.0.1:@http@;", "mock": mock.addr, **(values or {})}, main=main, **kw)
        s.ctl = Ctl(s)
        return s
    return make


@pytest.fixture
def guarded(start, mocks, net, pins):
    def make(text, xdp="", main=XDP + ADMIN, **kw):
        mock = mocks(netns=net.server)
        s = start(text, {"listen": IN_NET, "mock": mock.addr, "pins": pins.path, "xdp": xdp, "http": PORT},
                  main=main, netns=net.server, **kw)
        s.ctl = Ctl(s)
        return s
    return make


def rules(s):
    return {r["rule_id"]: r for r in s.ctl.json("rules")["rules"]}


def wait_ban(s, addr):
    until(lambda: addr in s.ctl.bans(), 5, f"the ban of {addr}")
    return s.ctl.bans()[addr]


def ask_401(s, source, n=1, **kw):
    for _ in range(n):
        assert fetch(s.port, "/echo", source=source, headers={"X-Mock-Status": "401"}, **kw).status == 401


def ask(port, host, headers=(), **kw):
    with Conn(port, host, **kw) as c:
        return c.request("GET", "/echo", headers)


UP = "location / { return 200 ok; } location /echo { proxy_pass http://@mock@; }"


# --- evidence ---

def test_auth(local):
    """Wrong passwords and refused keys count; to be asked for one does not."""
    s = local("ban on=auth after=3 within=60s for=1h;\nserver { @listen@ " + UP +
              "location /basic { auth_basic x; auth_basic_user_file @users@; proxy_pass http://@mock@/echo; }"
              "location /sub { auth_request /check; proxy_pass http://@mock@/echo; }"
              "location = /check { internal; proxy_pass http://@mock@/echo; proxy_set_header X-Mock-Status $http_x_want; } }")
    bad = {"Authorization": "Basic " + base64.b64encode(b"good:wrong").decode()}
    none = {"Authorization": "Basic " + base64.b64encode(b"nobody:wrong").decode()}
    key = {"X-Api-Key": "sk-1", "X-Mock-Status": "401"}
    for _ in range(5):
        assert fetch(s.port, "/basic", source="127.0.0.7").status == 401
        assert fetch(s.port, "/sub", source="127.0.0.7", headers={"X-Want": "401"}).status == 401
        ask_401(s, "127.0.0.7")
    assert s.ctl.bans() == {}
    for h in (bad, none, bad):
        assert fetch(s.port, "/basic", source="127.0.0.8", headers=h).status == 401
    assert wait_ban(s, "127.0.0.8")["reason"].startswith("on=auth")
    for _ in range(3):
        assert fetch(s.port, "/echo", source="127.0.0.9", headers=key).status == 401
    wait_ban(s, "127.0.0.9")
    for _ in range(3):
        assert fetch(s.port, "/sub", source="127.0.0.10", headers={"X-Want": "403"}).status == 403
    wait_ban(s, "127.0.0.10")
    for _ in range(3):
        assert fetch(s.port, "/sub", source="127.0.0.11", headers={"X-Want": "401", **bad}).status == 401
    wait_ban(s, "127.0.0.11")
    assert set(s.ctl.bans()) == {"127.0.0.8", "127.0.0.9", "127.0.0.10", "127.0.0.11"}
    (rule,) = rules(s).values()
    assert rule["evidence"] == 12 and rule["bans"] == 4


def test_auth_that_another_satisfies(local):
    s = local("ban on=auth after=1 within=60s for=1h;\nserver { @listen@ location / { satisfy any; allow 127.0.0.7; deny all; "
              "auth_basic x; auth_basic_user_file @users@; proxy_pass http://@mock@/echo; } }")
    bad = {"Authorization": "Basic " + base64.b64encode(b"good:wrong").decode()}
    assert fetch(s.port, "/", source="127.0.0.7", headers=bad).status == 200
    assert s.ctl.bans() == {}
    assert fetch(s.port, "/", source="127.0.0.8", headers=bad).status == 401
    wait_ban(s, "127.0.0.8")


def raw(s, source, data):
    with socket.create_connection(("127.0.0.1", s.tls_port), timeout=5 * SLOW, source_address=(source, 0)) as c:
        if data:
            c.sendall(data)
            c.settimeout(5 * SLOW)
            try:
                while c.recv(4096):
                    pass
            except ConnectionError:
                pass


def test_tls_handshake(local, ca):
    port = free_port()
    s = local("ban on=tls_handshake after=2 within=60s for=1h;\nserver { listen 127.0.0.1:@tls@ ssl; "
              "ssl_certificate @cert@; ssl_certificate_key @key@; client_header_timeout 1s; return 200 ok; }",
              {"tls": port, "cert": ca.server.chain, "key": ca.server.key})
    s.tls_port = port
    for _ in range(4):
        raw(s, "127.0.0.7", b"")                          # said nothing: a look at whether the port is open
    def untrusting(source):
        ctx = ssl.create_default_context()
        with socket.create_connection(("127.0.0.1", port), source_address=(source, 0)) as c:
            with pytest.raises(ssl.SSLError):
                ctx.wrap_socket(c, server_hostname="localhost")
    for _ in range(4):
        untrusting("127.0.0.7")                           # its alert is about our certificate
    time.sleep(0.3)
    assert s.ctl.bans() == {}
    for _ in range(2):
        raw(s, "127.0.0.8", b"\x16\x03\x01\x00\x05garbage that is no handshake\r\n")
    wait_ban(s, "127.0.0.8")
    for _ in range(2):
        raw(s, "127.0.0.9", b"GET / HTTP/1.0\r\n\r\n")
    wait_ban(s, "127.0.0.9")
    for _ in range(2):                                    # an old protocol only
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
        ctx.set_ciphers("ALL:@SECLEVEL=0")
        ctx.minimum_version = ctx.maximum_version = ssl.TLSVersion.TLSv1
        with socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.10", 0)) as c:
            with pytest.raises((ssl.SSLError, OSError)):
                ctx.wrap_socket(c)
    wait_ban(s, "127.0.0.10")
    for _ in range(2):                                    # the handshake that does not go on
        with socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.11", 0)) as c:
            c.sendall(b"\x16\x03")
            c.settimeout(10 * SLOW)
            try:
                assert c.recv(1) == b""
            except ConnectionError:
                pass
    wait_ban(s, "127.0.0.11")
    assert "127.0.0.7" not in s.ctl.bans()


def test_slow_client(local):
    s = local("ban on=slow_client after=2 within=60s for=1h;\nclient_header_timeout 1s; client_body_timeout 1s; "
              "server { @listen@ keepalive_timeout 1s; " + UP + "location /free { return 200 ok; } }")
    def slow(source, data):
        for _ in range(2):
            with Conn(s.port, source=source) as c:
                c.send(data)
                c.end()
    for _ in range(3):
        with Conn(s.port, source="127.0.0.7") as c:       # idle between requests
            assert c.request("GET", "/free").status == 200
            c.end()
    slow("127.0.0.8", "GET / HTTP/1.1\r\nHost: a\r\n")
    wait_ban(s, "127.0.0.8")
    slow("127.0.0.9", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    wait_ban(s, "127.0.0.9")
    slow("127.0.0.10", "")
    wait_ban(s, "127.0.0.10")
    assert "127.0.0.7" not in s.ctl.bans()


def test_slow_by_min_rate(local):
    s = local("server { @listen@ client_max_body_size 10m; location / { ban on=slow_client after=1 within=60s for=1h; "
              "client_min_rate 1000 after=1s; proxy_pass http://@mock@; } }")
    with Conn(s.port, source="127.0.0.8") as c:
        c.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        try:
            for _ in range(int(60 * SLOW)):
                c.send("a")
                time.sleep(0.1)
                if "127.0.0.8" in s.ctl.bans():
                    break
        except (OSError, harness.Closed):
            pass
    wait_ban(s, "127.0.0.8")


# --- of whom and for how long ---

def test_networks(local):
    s = local("ban on=status:401 after=3 within=60s for=1h prefix=24,64;\nserver { @listen@ listen [::1]:@http@; " + UP + " }")
    with Conn(s.port, source="127.0.5.9") as other, Conn(s.port, source="127.0.6.1") as free:
        assert other.request("GET", "/echo").status == free.request("GET", "/echo").status == 200
        ask_401(s, "127.0.5.7", 2)
        ask_401(s, "127.0.5.8")
        ban = wait_ban(s, "127.0.5.0/24")
        assert other.end()[0] == "reset"
        assert free.request("GET", "/echo").status == 200
    assert list(s.ctl.bans()) == ["127.0.5.0/24"] and not ban["dry_run"]
    assert reach(s.port, "127.0.0.1", source="127.0.5.200") == "closed"
    assert reach(s.port, "127.0.0.1", source="127.0.4.255") == 200
    for _ in range(3):
        assert ask(s.port, "::1", headers={"X-Mock-Status": "401"}).status == 401
    wait_ban(s, "::/64")
    assert reach(s.port, "::1") == "closed"
    s.ctl.ok("unban", "::/64")
    assert reach(s.port, "::1") == 200
    assert s.ctl.json("status")["bans"]["networks"] == 1


@pytest.mark.privileged
@pytest.mark.parametrize("host,source,network", [("10.77.1.1", "10.77.1.2", "10.77.1.0/24"),
                                                 ("fd77:1::1", "fd77:1::2", "fd77:1::/64")])
def test_network_in_the_kernel(guarded, net, pins, host, source, network):
    s = guarded("ban on=status:401 after=3 within=60s for=1h prefix=24,64;\nserver { @listen@ " + UP + " }")
    bad, good = net.clients
    for _ in range(3):
        assert ask(PORT, host, netns=bad, headers={"X-Mock-Status": "401"}).status == 401
    ban = wait_ban(s, network)
    assert ban["in_kernel"]
    assert reach(PORT, host, bad, timeout=0.3) == "dropped"
    assert reach(PORT, "10.77.2.1", good) == 200
    (key, value), = pins.dump("ban_net_v6" if ":" in host else "ban_net_v4")
    assert value["packets"] > 0 and value["rule_id"] == int(ban["rule_id"], 16)
    assert s.ctl.bans()[network]["dropped"]["packets"] == value["packets"]
    assert re.search(rf"banned {re.escape(network)} .*, in the kernel: on=status.* \(rule {ban['rule_id']}\)", s.log())
    # a master that was killed is followed by one that finds it, wherever it is kept
    s.expected.append("master process is gone")
    s.proc.kill()
    s.proc.wait()
    (s.dir / "sluice.pid.bans").unlink(missing_ok=True)
    s.start()
    s.ctl = Ctl(s)
    again = s.ctl.bans()[network]
    assert again["in_kernel"] and again["rule_id"] == ban["rule_id"]
    assert reach(PORT, host, bad, timeout=0.3) == "dropped"
    s.ctl.ok("unban", network)
    assert pins.dump("ban_net_v4") == pins.dump("ban_net_v6") == []
    until(lambda: reach(PORT, host, bad) == 200, 5, "the way back")


def test_repeaters(local):
    """2 s, then 4, then 5: what max says; and it is remembered over a restart."""
    s = local(f"ban on=status:401 after=1 within=60s for={2 * SLOW}s max={5 * SLOW}s;\nserver {{ @listen@ {UP} }}")
    for times, lasts in ((1, 2), (2, 4), (3, 5)):
        ask_401(s, "127.0.0.7")
        ban = wait_ban(s, "127.0.0.7")
        assert ban["times"] == times and lasts * SLOW - 1 <= ban["left_s"] <= lasts * SLOW
        if times == 1:
            assert subprocess.run(s.command("-s", "stop")).returncode == 0
            assert s.proc.wait(10 * SLOW) == 0
            s.start()
            s.ctl = Ctl(s)
            assert s.ctl.bans()["127.0.0.7"]["times"] == 1
        until(lambda: reach(s.port, "127.0.0.1", source="127.0.0.7") == 200, lasts * SLOW + 5, "the end")


# --- on trial ---

def test_dry_run_of_a_rule(local):
    s = local("ban on=status:401 after=2 within=60s for=1h dry_run;\nban on=status:403 after=2 within=60s for=1h;\n"
              "server { @listen@ " + UP + " }")
    with Conn(s.port, source="127.0.0.7") as c:
        for _ in range(5):
            assert c.request("GET", "/echo", {"X-Mock-Status": "401"}).status == 401
        ban = wait_ban(s, "127.0.0.7")
        assert ban["dry_run"] and not ban["in_kernel"]
        s.wait_log(rf"would ban 127.0.0.7 .*dry run: .*\(rule {ban['rule_id']}\)")
        assert c.request("GET", "/echo").status == 200
    assert reach(s.port, "127.0.0.1", source="127.0.0.7") == 200
    status = s.ctl.json("status")["bans"]
    assert status["active"] == 0 and status["dry_run"] == 1
    rule = rules(s)[ban["rule_id"]]
    assert rule["dry_run"] and rule["evidence"] == 5 and rule["would_bans"] >= 1 and rule["bans"] == 0
    # what is on trial hides nothing
    for _ in range(2):
        assert fetch(s.port, "/echo", source="127.0.0.7", headers={"X-Mock-Status": "403"}).status == 403
    until(lambda: reach(s.port, "127.0.0.1", source="127.0.0.7") == "closed", 5, "the ban")
    assert len(s.ctl.json("bans")["bans"]) == 2
    s.ctl.ok("unban", "127.0.0.7")
    assert s.ctl.bans() == {}


@pytest.mark.privileged
def test_dry_run_of_a_rule_in_the_kernel(guarded, net, pins):
    s = guarded("ban on=status:401 after=1 within=60s for=1h dry_run;\nserver { @listen@ " + UP + " }")
    bad = net.clients[0]
    assert ask(PORT, "10.77.1.1", netns=bad, headers={"X-Mock-Status": "401"}).status == 401
    wait_ban(s, "10.77.1.2")
    for _ in range(3):
        assert reach(PORT, "10.77.1.1", bad) == 200
    assert pins.totals()["would_drop"] > 0 and pins.totals()["drop_deny"] == 0
    assert pins.entry("deny_v4", "10.77.1.2")["flags"] == 1
    s.ctl.ok("ban", "10.77.1.2", "--for", "1h")
    assert reach(PORT, "10.77.1.1", bad, timeout=0.3) == "dropped"
    s.ctl.ok("unban", "10.77.1.2")
    assert reach(PORT, "10.77.1.1", bad) == 200 and pins.dump("deny_v4") == []


# --- ids ---

def test_ids_are_the_same_everywhere(local):
    s = local("ban on=status:401 after=1 within=60s for=1h;\nserver { @listen@ ban on=status:403 after=1 within=60s for=1h; "
              + UP + " }")
    assert fetch(s.port, "/echo", source="127.0.0.8", headers={"X-Mock-Status": "403"}).status == 403
    ban = wait_ban(s, "127.0.0.8")
    rid = ban["rule_id"]
    assert re.fullmatch("[0-9a-f]{8}", rid)
    known = rules(s)
    assert len(known) == 2 and known[rid]["text"].startswith("on=status:403") and known[rid]["bans"] == 1
    s.wait_log(rf"banned 127.0.0.8 .*: on=status:403.* \(rule {rid}\)")
    metrics = admin_get(s, "/metrics")
    assert f'sluice_ban_rule_bans_total{{rule="{rid}",on="status"}} 1' in metrics
    assert f'sluice_ban_rule_evidence_total{{rule="{rid}",on="status"}} 1' in metrics
    assert f'sluice_ban_rule_would_bans_total{{rule="{rid}",on="status"}} 0' in metrics
    s.reload()
    assert set(rules(s)) == set(known) and rules(s)[rid]["bans"] == 1


def admin_get(s, path):
    with socket.socket(socket.AF_UNIX) as c:
        c.connect(str(s.dir / "admin.sock"))
        c.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        out = b""
        while data := c.recv(65536):
            out += data
    return out.split(b"\r\n\r\n", 1)[1].decode()


# --- behind a proxy ---

PROXIED = "set_real_ip_from 127.0.0.2; real_ip_header X-Forwarded-For; "


def test_behind_a_proxy(local):
    """The one who offends is banned, not the proxy nor who else comes through it, whatever the evidence."""
    s = local("ban on=status:401 after=2 within=60s for=1h prefix=24;\nban on=bad_request after=1 within=60s for=1h prefix=24;\n"
              "server { @listen@ " + PROXIED + UP + " } server { listen 127.0.0.1:@second@; " + UP + " }",
              {"second": free_port()})
    with Conn(s.port, source="127.0.0.2") as proxy:
        for _ in range(2):
            assert proxy.request("GET", "/echo", {"X-Forwarded-For": "192.0.2.7", "X-Mock-Status": "401"}).status == 401
        ban = wait_ban(s, "192.0.2.0/24")
        assert ban["indirect"] and not ban["in_kernel"]
        until(lambda: proxy.request("GET", "/echo", {"X-Forwarded-For": "192.0.2.200"}).status == 403, 5, "403")
        assert proxy.request("GET", "/echo", {"X-Forwarded-For": "192.0.3.1"}).status == 200
    with Conn(s.port, source="127.0.0.2") as proxy:       # it is the proxy that spoke so, for whomever
        proxy.send("GET / HTTP/1.1\r\nBad Name: x\r\nHost: a\r\n\r\n")
        proxy.end()
    # a neighbour of the proxy is banned alone, since the network has the proxy in it; also at another server
    ask_401(s, "127.0.0.9", 2)
    wait_ban(s, "127.0.0.9")
    port, s.port = s.port, int(s.values["second"])
    ask_401(s, "127.0.0.2", 3)
    assert set(s.ctl.bans()) == {"192.0.2.0/24", "127.0.0.9"}
    assert reach(port, "127.0.0.1", source="127.0.0.2") == 200


def test_behind_proxy_protocol(local):
    s = local("ban on=status:401 after=2 within=60s for=1h;\nban on=slow_client after=1 within=60s for=1h;\n"
              "client_header_timeout 1s; server { listen 127.0.0.1:@http@ proxy_protocol; set_real_ip_from 127.0.0.2; "
              "real_ip_header proxy_protocol; " + UP + " }")
    def conn(who, source="127.0.0.2"):
        c = Conn(s.port, source=source)
        c.send(f"PROXY TCP4 {who} 127.0.0.1 1000 80\r\n")
        return c
    with conn("192.0.2.7") as bad, conn("192.0.2.7") as idle, conn("192.0.2.8") as good:
        assert idle.request("GET", "/echo").status == good.request("GET", "/echo").status == 200
        for _ in range(2):
            assert bad.request("GET", "/echo", {"X-Mock-Status": "401"}).status == 401
        assert wait_ban(s, "192.0.2.7")["indirect"]
        assert idle.end()[0] == "reset", "such a connection is one client's"
        assert good.request("GET", "/echo").status == 200
    with conn("192.0.2.7") as again:
        assert again.request("GET", "/echo").status == 403
    with conn("192.0.2.9") as slow:
        slow.send("GET / HT")
        slow.end()
    wait_ban(s, "192.0.2.9")
    with conn("192.0.2.10", source="127.0.0.3") as untrusted:   # says so, is not believed, and is some proxy itself
        for _ in range(3):
            assert untrusted.request("GET", "/echo", {"X-Mock-Status": "401"}).status == 401
    time.sleep(0.3)
    assert set(s.ctl.bans()) == {"192.0.2.7", "192.0.2.9"}



# --- lists ---

def lists_conf(s, xdp):
    s.values["xdp"] = xdp
    s.rewrite(s.text, XDP + ADMIN)


@pytest.fixture
def listed(guarded):
    def make(xdp, **kw):
        text = "server { @listen@ " + UP + " }"
        s = guarded(text, xdp, **kw)
        s.text = text
        return s
    return make


@pytest.mark.privileged
def test_deny_file(listed, net, pins, users):
    path = users.parent / "deny.txt"
    path.write_text("# a feed\n10.77.1.2 # why\nfd77:1::/64 until=2097-01-01\n192.0.2.0/24\n")
    s = listed(f'deny_file {path} "reason=a feed"; deny 198.51.100.0/24;')
    bad, good = net.clients
    for host in ("10.77.1.1", "fd77:1::1"):
        assert reach(PORT, host, bad, timeout=0.3) == "dropped"
    assert reach(PORT, "10.77.2.1", good) == 200
    s.wait_log("the guard's deny list: 4 networks, 4 added, 0 changed, 0 taken out")
    found = {e["address"]: e for e in s.ctl.json("denied")["denied"]}
    assert found["10.77.1.2"]["dropped"]["packets"] > 0 and found["10.77.1.2"]["reason"] == "a feed"
    assert found["fd77:1::/64"]["until"].startswith("2097-01-01") and found["192.0.2.0/24"]["until"] is None
    rid = found["10.77.1.2"]["rule_id"]
    assert found["198.51.100.0/24"]["rule_id"] != rid and rules(s)[rid]["text"] == f"deny_file {path}"
    assert {int(rid, 16)} == {v["rule_id"] for k, v in pins.dump("deny_net_v6")}
    # nothing changed: nothing is written, and the counters stay
    before = pins.dump("deny_net_v4")
    s.reload()
    assert pins.dump("deny_net_v4") == before and len(re.findall("the guard's deny list", s.log())) == 1
    # a broken file: all stays as it was, and it is said where it is broken
    s.expected += ["nonsense", "is not taken, the old one goes on"]
    path.write_text("10.77.2.2\nnonsense\n")
    s.send_signal(1)
    s.wait_log(rf'invalid address or network "nonsense" in {path}:2')
    assert reach(PORT, "10.77.1.1", bad, timeout=0.3) == "dropped" and reach(PORT, "10.77.2.1", good) == 200
    path.write_text("192.0.2.0/24\n10.77.2.2\n")
    s.reload()
    until(lambda: reach(PORT, "10.77.1.1", bad, timeout=0.3) == 200, 5, "the way back")
    assert reach(PORT, "10.77.2.1", good, timeout=0.3) == "dropped"
    s.wait_log("the guard's deny list: 3 networks, 1 added, 0 changed, 2 taken out")


@pytest.mark.privileged
def test_large_deny_file(listed, net, pins, users):
    path = users.parent / "deny.txt"
    path.write_text("".join(f"{1 + i // 65536}.{i // 256 % 256}.{i % 256}.0/24\n" for i in range(100000)))
    s = listed(f"deny_file {path};")
    assert reach(PORT, "10.77.1.1", net.clients[0]) == 200
    with path.open("a") as f:
        f.write("10.77.1.0/24\n")
    begun = time.monotonic()
    s.reload(30)
    until(lambda: reach(PORT, "10.77.1.1", net.clients[0], timeout=0.3) == "dropped", 10, "the end")
    assert time.monotonic() - begun < 20 * SLOW
    s.wait_log("100001 networks, 1 added, 0 changed, 0 taken out")


@pytest.mark.privileged
def test_deny_until(listed, net, pins):
    ends = time.gmtime(time.time() + 4 * SLOW)
    s = listed("deny 10.77.1.2 until=%s; deny 10.77.2.0/24;" % time.strftime("%Y-%m-%dT%H:%M:%SZ", ends))
    assert reach(PORT, "10.77.1.1", net.clients[0], timeout=0.3) == "dropped"
    until(lambda: reach(PORT, "10.77.1.1", net.clients[0], timeout=0.3) == 200, 8 * SLOW, "its end")
    until(lambda: len(pins.dump("deny_net_v4")) == 1, 5, "the sweep")


def test_deny_file_in_userspace(local, users):
    path = users.parent / "deny.txt"
    path.write_text("127.0.0.66\n127.0.1.0/24\n")
    s = local("server { @listen@ " + PROXIED + UP + " }",
              main=f"xdp {{ interface sl-none; pin_dir /sys/fs/bpf/sl-none; deny_file {path}; allow 127.0.1.9; }}\n" + ADMIN)
    for source, what in (("127.0.0.66", "closed"), ("127.0.1.1", "closed"), ("127.0.1.9", 200), ("127.0.0.67", 200)):
        assert reach(s.port, "127.0.0.1", source=source) == what
    # and of who is behind a proxy
    assert fetch(s.port, "/echo", source="127.0.0.2", headers={"X-Forwarded-For": "127.0.1.1"}).status == 403
    assert fetch(s.port, "/echo", source="127.0.0.2", headers={"X-Forwarded-For": "127.0.1.9"}).status == 200


@pytest.mark.privileged
def test_allow_auto(guarded, net, pins, mocks):
    """This host, its upstreams and who uses the admin API are never banned, nor dropped with a network."""
    up = mocks(netns=net.clients[1], host="10.77.2.2")
    text = ("server { @listen@ location / { return 200 ok; } location /up { proxy_pass http://10.77.2.2:%d/echo; } "
            "ban on=status:404 after=1 within=60s for=1h; }" % up.port)
    s = guarded(text)
    for addr, why in (("10.77.1.1", "own"), ("::1", "own"), ("10.77.2.2", "upstream")):
        code, _, err = s.ctl.run("ban", addr, "--for", "1h")
        assert code == 1 and "allow list" in err and why in err, err
    s.ctl.ok("ban", "10.77.2.0/24", "--for", "1h")        # around it: it is let through all the same
    assert fetch_of(s, "/up", net.clients[0]) == 200
    assert reach(PORT, "10.77.2.1", net.clients[1]) == 200
    allowed = {a["address"]: a["why"] for a in s.ctl.json("denied")["allowed"]}
    assert allowed["10.77.2.2"] == "upstream" and allowed["127.0.0.1"] == "own"
    # told not to
    s.values["xdp"] = "allow_auto off;"
    s.rewrite(text, XDP + ADMIN)
    s.reload()
    until(lambda: reach(PORT, "10.77.2.1", net.clients[1], timeout=0.3) == "dropped", 5, "the ban")
    # who is an upstream by a later configuration is banned no more
    s.ctl = Ctl(s)
    s.ctl.ok("unban", "10.77.2.0/24")
    s.ctl.ok("ban", "10.77.2.2", "--for", "1h")
    s.values["xdp"] = ""
    s.rewrite(text, XDP + ADMIN)
    s.reload()
    s.ctl = Ctl(s)
    until(lambda: s.ctl.bans() == {}, 5, "the end of the ban")
    assert reach(PORT, "10.77.2.1", net.clients[1]) == 200


def fetch_of(s, path, netns):
    with Conn(PORT, "10.77.1.1", netns=netns) as c:
        return c.request("GET", path).status


@pytest.mark.privileged
def test_who_uses_the_admin_api_is_allowed(guarded, net, users):
    token = users.parent / "token"
    token.write_text("secret-token\n")
    s = guarded("server { @listen@ " + UP + " }", main=XDP + f"admin {{ listen unix:@dir@/admin.sock; listen 10.77.1.1:9901; token_file {token}; }}\n")
    with Conn(9901, "10.77.1.1", netns=net.clients[0]) as c:
        assert c.request("GET", "/api/v1/status", {"Authorization": "Bearer wrong"}, host="10.77.1.1").status == 401
    time.sleep(2.5)
    s.ctl.ok("ban", "10.77.1.2", "--for", "1h")
    s.ctl.ok("unban", "10.77.1.2")
    with Conn(9901, "10.77.1.1", netns=net.clients[0]) as c:
        assert c.request("GET", "/api/v1/status", {"Authorization": "Bearer secret-token"}, host="10.77.1.1").status == 200
    until(lambda: s.ctl.run("ban", "10.77.1.2", "--for", "1s")[0] == 1, 5, "its exemption")


# --- out and in ---

def test_export_and_import(local, users):
    s = local("ban on=status:401 after=1 within=60s for=1h;\nserver { @listen@ " + UP + " }")
    ask_401(s, "127.0.0.7")
    wait_ban(s, "127.0.0.7")
    s.ctl.ok("ban", "198.51.100.0/24", "--for", "forever", "--reason", "a feed")
    path = users.parent / "bans.jsonl"
    before = s.ctl.bans()
    s.ctl.ok("bans", "--export", path)
    assert len(path.read_text().splitlines()) == 2
    assert len(s.ctl.ok("bans", "--export", "-").splitlines()) == 2
    assert s.ctl.ok("bans", "--import", path) == "0 added, 2 known already, 0 over, 0 refused\n"
    for addr in before:
        s.ctl.ok("unban", addr)
    good = path.read_text()
    path.write_text(good + '{"address": "192.0.2.0/40", "until": null}\n')
    code, _, err = s.ctl.run("bans", "--import", path)
    assert code == 1 and "ban 3" in err and s.ctl.bans() == {}, "nothing of a file that is not right"
    path.write_text(good + '{"address": "192.0.2.1", "until": "2001-01-01"}\n')
    assert s.ctl.ok("bans", "--import", path) == "2 added, 0 known already, 1 over, 0 refused\n"
    after = s.ctl.bans()
    assert set(after) == set(before)
    for addr, ban in after.items():
        assert all(ban[k] == before[addr][k] for k in ("reason", "manual", "rule_id", "dry_run")), ban
        assert abs((ban["left_s"] or 0) - (before[addr]["left_s"] or 0)) < 10 * SLOW
    assert reach(s.port, "127.0.0.1", source="127.0.0.7") == "closed"


def test_import_of_who_is_allowed(local, users):
    """The rest is taken, and the exit status says that it is not all."""
    s = local("server { @listen@ " + UP + " }",
              main="xdp { interface sl-none; pin_dir /sys/fs/bpf/sl-none; allow 192.0.2.0/24; }\n" + ADMIN)
    path = users.parent / "feed.jsonl"
    path.write_text("".join('{"address": "%s", "until": null}\n' % a for a in ("192.0.2.7", "198.51.100.7")))
    code, out, err = s.ctl.run("bans", "--import", path)
    assert (code, out) == (1, "1 added, 0 known already, 0 over, 1 refused\n") and "allow list" in err
    assert set(s.ctl.bans()) == {"198.51.100.7"}
    s.wait_log("192.0.2.7 is in the allow list")
