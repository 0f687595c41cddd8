# SPDX-License-Identifier: BSD-2-Clause
"""Health checks of upstream servers: what is asked, what an answer means, who asks, and what is told."""
import collections
import concurrent.futures
import os
import re
import signal
import time

import pytest
from guard_net import Ctl
from harness import SLOW, Conn, Dns, Mock, Sluice, fetch, free_port, run_sluice, until
from scripted import Scripted

CONF = """
upstream u { @servers@ }
server {
    listen 127.0.0.1:@http@;
    add_header X-Up "$upstream_addr" always;
    location / { proxy_pass @scheme@://u; proxy_connect_timeout 1s; proxy_read_timeout 1s; @in@ health_check @check@; }
}
"""


@pytest.fixture
def checked(start):
    def make(servers, check="interval=50ms", inside="", scheme="http", main="worker_processes 1;", conf=CONF, **values):
        return start(conf, {"servers": servers, "check": check, "in": inside, "scheme": scheme, **values}, main=main)
    return make


@pytest.fixture
def backs(stack):
    return lambda n: stack.enter_context(Scripted(n))


def servers_of(back):
    return " ".join(f"server 127.0.0.1:{p} max_fails=0;" for p in back.ports)


def asked(s, n=8):
    return collections.Counter(int(fetch(s.port, "/").body.split()[0]) for _ in range(n))


def test_sick_server_gets_no_requests(checked, backs):
    back = backs(2)
    s = checked(servers_of(back), "interval=50ms fails=2 passes=3 uri=/health?x=1")
    until(lambda: {i for i, *_ in back.take_seen()} == {0, 1}, what="checks of both")
    assert asked(s) == {0: 4, 1: 4}
    back.answers[0] = "500"
    s.wait_log(rf"\[warn\].*upstream \"u\": 127.0.0.1:{back.ports[0]} is unhealthy: health check \"/health\?x=1\": status 500")
    assert asked(s) == {1: 8}
    back.answers[0] = "302"
    s.wait_log(rf"\[notice\].*upstream \"u\": 127.0.0.1:{back.ports[0]} is healthy")
    assert asked(s) == {0: 4, 1: 4}
    assert s.log().count("unhealthy") == 1


@pytest.mark.parametrize("fault,said", [
    ("404", "status 404"), ("199x", None), ("close", "closed before the answer"), ("reset", "closed before|could not be sent"),
    ("bad", "invalid header"), ("stall", "timed out while reading the response header")])
def test_what_fails(checked, backs, fault, said):
    back = backs(2)
    s = checked(servers_of(back))
    back.answers[0] = fault if said else "204"
    if said:
        s.wait_log(rf"is unhealthy: health check \"/\": .*({said})")
        assert asked(s, 4) == {1: 4}
    else:
        time.sleep(0.3)
        assert "unhealthy" not in s.log()


def test_dead_server_costs_no_request(checked, backs):
    """No client is the one who finds out."""
    back = backs(1)
    s = checked(f"server 127.0.0.1:{free_port()}; server 127.0.0.1:{back.ports[0]};")
    s.wait_log(r"is unhealthy: health check \"/\": connect\(\) failed: Connection refused")
    for _ in range(6):
        r = fetch(s.port, "/")
        assert r.status == 200 and "," not in r.header("X-Up")


def test_all_sick(checked, backs):
    back = backs(1)
    back.answers[0] = "503"
    s = checked(servers_of(back))
    s.wait_log("is unhealthy")
    assert fetch(s.port, "/").status == 502, "also the only one"
    s.wait_log("no live upstreams")
    back.answers[0] = ""
    s.wait_log("is healthy")
    assert fetch(s.port, "/").status == 200


def test_request_that_is_sent(checked, backs):
    back = backs(1)
    checked(servers_of(back), inside="proxy_set_header Host api.test; proxy_set_header Authorization 'Bearer k';"
            "proxy_set_header X-Client $remote_addr;")
    head = until(lambda: back.heads, what="a check")[0]
    assert head.split("\r\n")[0] == "GET / HTTP/1.1"
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    assert fields == {"Host": "api.test", "Authorization": "Bearer k", "User-Agent": "sluice (health check)",
                      "Connection": "close"}


def test_host_without_proxy_set_header(checked, backs):
    back = backs(1)
    checked(servers_of(back), inside="proxy_set_header Host $host;")
    assert "Host: u\r\n" in until(lambda: back.heads, what="a check")[0] + "\r\n"


def test_https(checked, ca, stack):
    good, other = (Mock(tls=c) for c in (ca.server, ca.make("elsewhere", ["elsewhere.test"])))
    stack.callback(good.stop)
    stack.callback(other.stop)
    s = checked(f"server {good.addr}; server {other.addr};", "interval=50ms uri=/echo", scheme="https",
                inside=f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca.ca};")
    s.wait_log(rf"{other.addr} is unhealthy: health check \"/echo\": SSL: ")
    for _ in range(4):
        assert fetch(s.port, "/echo").status == 200
    assert f"{good.addr} is unhealthy" not in s.log()


def test_other_port(checked, backs):
    back = backs(2)
    back.answers[1] = "500"
    s = checked(f"server 127.0.0.1:{back.ports[0]};", f"interval=50ms port={back.ports[1]}")
    s.wait_log(rf"127.0.0.1:{back.ports[0]} is unhealthy: health check \"/\": status 500")
    assert fetch(s.port, "/").status == 502


MANDATORY = CONF.replace("location /", "location = /own { return 200 x; } location /", 1)


@pytest.mark.parametrize("persistent", [False, True])
def test_mandatory(checked, backs, persistent):
    """Nobody is asked before he is known to be well; after a reload not again, when persistent."""
    back = backs(1)
    back.answers[0] = "stall"
    check = "interval=50ms mandatory" + (" persistent" if persistent else "")
    s = checked(servers_of(back), check, conf=MANDATORY)
    assert fetch(s.port, "/").status == 502, "checking"
    back.answers[0] = ""
    s.wait_log("is healthy")
    assert fetch(s.port, "/").status == 200
    back.answers[0] = "hold"
    s.reload()
    until(lambda: len(s.workers()) == 1, what="the end of the old worker")
    time.sleep(0.2)
    assert fetch(s.port, "/own").status == 200
    back.release.set()
    back.answers[0] = ""
    if not persistent:
        until(lambda: s.log().count("is healthy") == 2, what="the check after the reload")
    assert fetch(s.port, "/").status == 200
    assert s.log().count("is healthy") == (1 if persistent else 2)


def test_mandatory_in_between(checked, backs):
    back = backs(1)
    s = checked(servers_of(back), "interval=50ms mandatory", conf=MANDATORY)
    s.wait_log("is healthy")
    back.answers[0] = "hold"
    s.reload()
    until(lambda: fetch(s.port, "/", headers={"Script": "200"}).status == 502, what="nobody before his check")
    back.release.set()
    until(lambda: s.log().count("is healthy") == 2, what="the check after the reload")


def test_one_worker_checks(checked, backs):
    back = backs(1)
    s = checked(servers_of(back), "interval=100ms", main="worker_processes 4;")
    until(lambda: back.seen, what="a check")
    back.take_seen()
    time.sleep(1.05)
    assert 3 <= len(back.take_seen()) <= 12, "about ten of one worker, not forty"
    # Whoever it is, another takes over.
    for pid in s.workers():
        os.kill(pid, signal.SIGKILL)
        s.expected.append(rf"{pid} exited on signal 9")
    until(lambda: len(s.workers()) == 4, 5, "new workers")
    back.answers[0] = "500"
    s.wait_log("is unhealthy")
    assert fetch(s.port, "/").status == 502


def test_state_survives_worker_and_reload(checked, backs):
    back = backs(2)
    back.answers[0] = "500"
    s = checked(servers_of(back), "interval=1h")
    s.wait_log("is unhealthy")
    back.answers[0] = "hold"
    s.reload()
    assert asked(s, 4) == {1: 4}
    back.release.set()


def test_removed_check_is_forgotten(checked, backs):
    back = backs(2)
    back.answers[0] = "500"
    s = checked(servers_of(back))
    s.wait_log("is unhealthy")
    s.rewrite(CONF.replace("health_check @check@;", ""))
    back.answers[0] = ""
    s.reload()
    until(lambda: asked(s, 4) == {0: 2, 1: 2}, what="requests at both")
    until(lambda: len(s.workers()) == 1, what="the end of the old worker")
    back.take_seen()
    time.sleep(0.3)
    assert not back.take_seen(), "no check any more"


@pytest.mark.parametrize("path", ["/bytes/30000", "/bytes/200000", "/chunked/20000", "/echo"])
def test_body_of_a_check(checked, mocks, path):
    """It is read, as far as it is short, and never held."""
    mock = mocks()
    s = checked(f"server {mock.addr};", f"interval=50ms uri={path}")
    until(lambda: mock.requests() >= 5, what="checks")
    assert "unhealthy" not in s.log()
    sockets = [f for f in os.listdir(f"/proc/{s.workers()[0]}/fd")]
    assert len(sockets) < 40


def test_two_checks_of_a_group(checked, backs):
    """Both must find it well."""
    back = backs(2)
    conf = CONF[:CONF.rindex("}")] + "    location /b { proxy_pass http://u/; health_check interval=50ms uri=/deep; }\n}\n"
    s = checked(servers_of(back), conf=conf)
    back.by_target["/deep"] = {0: "500"}
    s.wait_log(r"is unhealthy: health check \"/deep\": status 500")
    assert asked(s, 4) == {1: 4}
    back.by_target.clear()
    s.wait_log("is healthy")
    assert asked(s, 4) == {0: 2, 1: 2}


def test_addresses_that_come_and_go(checked, backs):
    back = backs(1)
    with Dns() as dns:
        dns.names["api.test"] = ["127.0.0.1"]
        s = checked(f"resolver 127.0.0.1:{dns.port} ipv6=off valid=1s; server api.test:{back.ports[0]};",
                    "interval=50ms mandatory")
        s.wait_log("127.0.0.1:.* is healthy", 5 * SLOW)
        assert fetch(s.port, "/").status == 200
        dns.names["api.test"] = ["127.0.0.9"]   # nobody there
        s.wait_log("127.0.0.9:.* is unhealthy", 8 * SLOW)
        until(lambda: fetch(s.port, "/").status == 502, what="no live upstream")
        dns.names["api.test"] = ["127.0.0.1"]
        until(lambda: fetch(s.port, "/").status == 200, 8 * SLOW, "the first address again")


def test_slow_start_after_sickness(checked, backs):
    back = backs(2)
    back.answers[0] = "500"
    s = checked(f"server 127.0.0.1:{back.ports[0]} slow_start=1h; server 127.0.0.1:{back.ports[1]};")
    s.wait_log("is unhealthy")
    back.answers[0] = ""
    s.wait_log("is healthy")
    assert asked(s, 20)[0] <= 2, "its weight grows for an hour"


def test_passive_failure_is_cleared_by_a_check(checked, backs):
    """After fail_timeout the check, not a client, finds out whether it is back."""
    back = backs(2)
    p, q = back.ports
    s = checked(f"server 127.0.0.1:{p} fail_timeout=1s; server 127.0.0.1:{q};", "interval=50ms uri=/check",
                inside="proxy_next_upstream error http_503;")
    back.by_target["/"] = {0: "503"}
    until(lambda: "temporarily disabled" in (fetch(s.port, "/"), s.log())[1], what="a failure")
    time.sleep(3.2)
    back.by_target.clear()
    back.take_seen()
    assert asked(s, 4)[0] >= 1


PASSIVE = """
upstream u { server 127.0.0.1:@p@ fail_timeout=1s; server 127.0.0.1:@q@; }
server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; proxy_read_timeout 2s; } }
"""


def test_one_request_probes(start, backs):
    """No crowd pays for a dead server: after fail_timeout one request of all workers' tries it."""
    back = backs(2)
    s = start(PASSIVE, {"p": back.ports[0], "q": back.ports[1]}, main="worker_processes 4;")
    back.answers[0] = "close"
    until(lambda: "temporarily disabled" in (fetch(s.port, "/"), s.log())[1], what="a failure")
    back.answers[0] = "stall"
    time.sleep(2.2)
    back.take_seen()
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(lambda _: fetch(s.port, "/").status, range(60)))
    assert answers == [200] * 60
    assert [i for i, *_ in back.take_seen()].count(0) == 1
    # When it is back, the first answer says so to all.
    back.answers[0] = ""
    time.sleep(2.2)
    until(lambda: asked(s, 8)[0] >= 3, 5, "its share of requests")


def test_admin_shows_it(start, backs):
    back = backs(2)
    p, q = back.ports
    s = start(CONF, {"servers": f"least_conn; server 127.0.0.1:{p} slow_start=1h; server 127.0.0.1:{q}; server 127.0.0.1:1 drain;",
                     "check": "interval=50ms", "in": "", "scheme": "http"}, main="admin { listen unix:@dir@/admin.sock; }")
    ctl = Ctl(s)
    back.answers[0] = "500"
    s.wait_log("is unhealthy")

    def states():
        group = next(g for g in ctl.json("upstreams")["upstreams"] if g["name"] == "u")
        assert group["method"] == "least_conn"
        return [sv["peers"][0] for sv in group["servers"]]
    first, second, third = states()
    assert (first["state"], second["state"], third["state"]) == ("unhealthy", "up", "draining")
    assert first["health_checks"]["last_error"] == "status 500" and first["health_checks"]["failures"] >= 1
    assert second["health_checks"]["total"] >= 1 and second["health_checks"]["failures"] == 0
    assert third["health_checks"] is None
    back.answers[0] = ""
    s.wait_log("is healthy")
    assert states()[0]["state"] == "starting"
    assert re.search(r"^u \(least_conn\) .* starting ", ctl.ok("upstreams"), re.M)
    with Conn(None, unix=ctl.socket) as c:
        text = c.request("GET", "/metrics").body.decode()
    assert float(re.search(rf'peer_health_check_failures_total{{.*:{p}"}} (\d+)', text)[1]) >= 1
    assert f'sluice_upstream_peer_up{{upstream="u",peer="127.0.0.1:{p}"}} 1' in text


@pytest.mark.parametrize("check,said", [
    ("interval=x", 'invalid parameter "interval=x"'), ("interval=1ms", 'invalid parameter "interval=1ms"'),
    ("fails=0", 'invalid parameter "fails=0"'), ("passes=x", 'invalid parameter "passes=x"'),
    ("uri=health", 'invalid parameter "uri=health"'), ("'uri=/a b'", 'invalid parameter "uri=/a b"'),
    ("port=0", 'invalid parameter "port=0"'), ("port=65536", 'invalid parameter "port=65536"'),
    ("match=ok", 'parameter "match" is not supported'), ("type=grpc", 'parameter "type" is not supported'),
    ("persistent", '"persistent" needs "mandatory"'), ("often", 'invalid parameter "often"')])
def test_configuration_errors(stack, check, said):
    s = Sluice(CONF, {"servers": "server 127.0.0.1:1;", "in": "", "scheme": "http", "check": check, "http": 1})
    stack.callback(s.stack.close)
    code, text = run_sluice("-p", s.dir, "-c", "sluice.conf", "-t")
    assert code == 1 and said in text


def test_needs_proxy_pass(stack):
    s = Sluice("server { listen 127.0.0.1:1; location / { health_check; return 200 x; } }")
    stack.callback(s.stack.close)
    code, text = run_sluice("-p", s.dir, "-c", "sluice.conf", "-t")
    assert code == 1 and '"health_check" needs a "proxy_pass" without variables' in text
