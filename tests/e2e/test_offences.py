# SPDX-License-Identifier: BSD-2-Clause
"""An HTTP/1 offence counts, however its connection ends: the client waits for the answer, closes, or resets it at once.

The workers stand still while the client leaves, so that they find offence and end together.
"""
import contextlib
import itertools
import re
import time

import harness
import pytest
from harness import Conn, client_tls, free_port, stopped, until

CONF = """
log_format by '$remote_addr $status';
access_log @dir@/by.log by;
limit_req_zone $binary_remote_addr zone=z:1m rate=1r/m;
ban on=bad_request after=1 within=60s for=1h dry_run;
ban on=auth after=1 within=60s for=1h dry_run;
ban on=limit_req after=1 within=60s for=1h dry_run;
ban on=status:403,404 after=1 within=60s for=1h dry_run;
ban on=tls_handshake after=1 within=60s for=1h dry_run;
server {
    listen 127.0.0.1:@http@;
    listen 127.0.0.1:@both@ http2;
    listen 127.0.0.1:@tls@ ssl;
    ssl_certificate @chain@; ssl_certificate_key @key@;
    location / { proxy_pass http://@mock@; }
    location /no { return 403; }
    location /ok { return 200 ok; }
    location /none { root @dir@; }
    location /auth { auth_basic x; auth_basic_user_file @users@; proxy_pass http://@mock@; }
    location /limited { limit_req zone=z; root @dir@; }
}
"""
H = "Host: a\r\n"
GET = "GET {} HTTP/1.1\r\n" + H
CHUNKS = "POST {} HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked\r\n\r\n"
WRONG = "Authorization: Basic Z29vZDp4\r\n"

# (name, what is read before the end, what comes together with it, the rule)
CASES = [
    ("a head", None, GET.format("/") + "X : y\r\n\r\n", "bad_request"),
    ("a head's second half", GET.format("/"), "X : y\r\n\r\n", "bad_request"),
    ("a path", None, GET.format("/../x") + "\r\n", "bad_request"),
    ("a head behind a request", GET.format("/ok") + "\r\n", GET.format("/") + H + "\r\n", "bad_request"),
    ("a chunk", None, CHUNKS.format("/echo") + "zz\r\n", "bad_request"),
    ("a second chunk", CHUNKS.format("/echo") + "3\r\nabc\r\n", "zz\r\n", "bad_request"),
    ("a chunk that nobody wants", CHUNKS.format("/ok") + "3\r\nabc\r\n", "zz\r\n", "bad_request"),
    ("403", None, GET.format("/no") + "\r\n", "status"),
    ("404", None, GET.format("/none/x") + "\r\n", "status"),
    ("a password", None, GET.format("/auth") + WRONG + "\r\n", "auth"),
    ("a password before a body", None, GET.format("/auth") + WRONG + "Content-Length: 9\r\n\r\nabc", "auth"),
    ("too many", GET.format("/limited/no") + "\r\n", GET.format("/limited/no") + "\r\n", "limit_req"),
]
ENDS = ("waits", "closes", "resets")
source = itertools.count(2)


@pytest.fixture(scope="module")
def s(ca):
    with contextlib.ExitStack() as stack:
        mock = harness.Mock()
        stack.callback(mock.stop)
        users = stack.enter_context(harness.temp_dir()) / "users"
        users.write_text("good:{PLAIN}word\n")
        ports = {name: free_port() for name in ("http", "both", "tls")}
        s = harness.Sluice(CONF, {**ports, "mock": mock.addr, "users": users, "chain": ca.server.chain, "key": ca.server.key})
        s.ports = ports
        yield stack.enter_context(s)


def leave(c, how):
    """A close with an answer unread would be a reset, too."""
    if how == "resets":
        c.sock.setsockopt(harness.socket.SOL_SOCKET, harness.socket.SO_LINGER, harness.struct.pack("ii", 1, 0))
    if how != "waits":
        c.close()


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("port", ["http", "both", "tls"])
@pytest.mark.parametrize("name,before,data,rule", CASES, ids=[c[0].replace(" ", "-") for c in CASES])
def test_counts(s, name, before, data, rule, port, how):
    who = f"127.0.7.{next(source)}"
    with Conn(s.ports[port], source=who, tls=client_tls() if port == "tls" else None) as c:
        if before and before.count("\r\n\r\n") and "/echo" not in before:
            c.send(before)
            c.response()
        elif before:
            c.send(before)
            time.sleep(0.1)     # it waits for more, which nobody can see from here
        with stopped(s.workers()):
            c.send(data)
            leave(c, how)
        s.wait_log(rf"ban of {re.escape(who)} asked for: on={rule}")


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("data", ["", "GET / HT", GET.format("/"), CHUNKS.format("/echo") + "3\r\nab", CHUNKS.format("/ok"), GET.format("/ok") + "\r\n"],
                         ids=["nothing", "half-a-line", "half-a-head", "half-a-body", "half-a-body-that-nobody-wants", "a-good-request"])
def test_to_leave_is_no_offence(s, data, how):
    who = f"127.0.7.{next(source)}"
    with Conn(s.ports["http"], source=who) as c:
        with stopped(s.workers()):
            c.send(data)
            leave(c, how)
        time.sleep(0.2)
    if data and how != "waits":
        until(lambda: f"{who} " in (s.dir / "by.log").read_text(), 5, "the log line")
    assert f"ban of {who} " not in s.log()
