# SPDX-License-Identifier: BSD-2-Clause
"""client_min_rate: who drips loses the connection, who is only idle, or has a slow upstream, does not."""
import time

import h2.config
import h2.connection
import harness
import pytest
from harness import SLOW, Conn, build

pytestmark = pytest.mark.alone
CONF = """
client_min_rate 200 after=2s;
server {
    listen 127.0.0.1:@http@;
    location / { proxy_pass http://@mock@; }
    location /patient/ { client_min_rate 0; proxy_pass http://@mock@/echo/; }
}
"""


@pytest.fixture
def s(start, mock):
    return start(CONF, {"mock": mock.addr})


def drip(c, data, pause_s=0.2):
    """When the connection ended, in seconds; None: it took all."""
    begun = time.monotonic()
    try:
        for i in range(len(data)):
            c.send(data[i:i + 1])
            time.sleep(pause_s)
            c.sock.settimeout(0.001)
            try:
                if c.sock.recv(1, harness.socket.MSG_PEEK) == b"":
                    return time.monotonic() - begun
            except TimeoutError:
                pass
    except OSError:
        return time.monotonic() - begun
    return None


def test_a_head_that_drips(s):
    with Conn(s.port) as c:
        took = drip(c, b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 200)
    assert took and took > 1.5
    s.wait_log("client is slower than client_min_rate")


def test_a_body_that_drips(s):
    with Conn(s.port) as c:
        c.send(build("POST", "/echo", {"Content-Length": "1000"}))
        took = drip(c, b"b" * 100)
    assert took and took > 1.5
    s.wait_log("client is slower than client_min_rate")


def test_where_there_is_no_minimum_it_may(s):
    with Conn(s.port) as c:
        c.send(build("POST", "/patient/", {"Content-Length": "20"}))
        assert drip(c, b"b" * 20) is None
        c.sock.settimeout(10 * SLOW)
        assert c.response().status == 200


def test_reading_that_drips(s):
    with Conn(s.port, rcvbuf=4096) as c:
        c.send(build("GET", "/bytes/30000000"))
        s.wait_log("client is slower than client_min_rate", 15)


def test_reading_that_drips_over_http2(start, mock):
    s = start(CONF.replace("@http@;", "@http@ http2;"), {"mock": mock.addr})
    conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    conn.initiate_connection()
    conn.send_headers(1, [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/bytes/3000000")],
                      end_stream=True)
    with Conn(s.port) as c:
        c.send(conn.data_to_send())     # and never a WINDOW_UPDATE
        s.wait_log("client is slower than client_min_rate", 15)


def test_who_is_only_idle_stays(s):
    with Conn(s.port) as c:
        assert c.request("GET", "/bytes/10").status == 200
        time.sleep(4)
        assert c.request("GET", "/bytes/10").status == 200
    assert "client_min_rate" not in s.log()


def test_a_slow_upstream_is_not_the_clients_fault(s):
    with Conn(s.port) as c:
        c.send(build("POST", "/v1/chat/completions", {"X-Mock-Tokens": "4", "X-Mock-Chunk-Delay-Ms": "1500"},
                     b'{"model": "m", "stream": true}'))
        assert b"[DONE]" in c.response().body
    assert "client_min_rate" not in s.log()


@pytest.mark.parametrize("bad, says", [("x", "invalid rate"), ("1k after=5", None), ("1k after=500ms", "invalid parameter"),
                                       ("1k before=1s", "invalid parameter")])
def test_configuration(stack, bad, says):
    path = stack.enter_context(harness.temp_dir()) / "c.conf"
    path.write_text(f"events {{}} http {{ client_min_rate {bad}; server {{ listen 127.0.0.1:1; return 200; }} }}\n")
    code, text = harness.run_sluice("-t", "-c", path)
    assert (code == 0) if says is None else (code == 1 and says in text), text
