# SPDX-License-Identifier: BSD-2-Clause
"""What one HTTP/2 client may do to the others: each kind of abuse ends its connection, soon, with the right code."""
import contextlib
import re
import socket
import ssl
import struct
import time

import h2raw
import pytest
from h2raw import H2, frame_bytes
from harness import IS_ASAN, Mock, Sluice, free_port, pss_kb, stopped, until

ROOM = 6 if IS_ASAN else 1   # ASan keeps what is freed for a while
CONF = """
    upstream mock { server @mock@; keepalive 16; }
    upstream slow { server @slow@; }
    server {
        listen 127.0.0.1:@tls@ ssl;
        http2 on;
        server_name localhost;
        ssl_certificate @cert@;
        ssl_certificate_key @key@;
        keepalive_requests 1000000;
        send_timeout 2s;
        location / { proxy_pass http://mock; }
        location /slow { proxy_pass http://slow/v1/chat/completions; }
        location /ret { return 200 fine; }
    }
    server {
        listen 127.0.0.1:@banned@ http2;
        server_name localhost;
        ban on=h2_abuse after=2 within=60s for=60s;
        return 200 fine;
    }
"""
LITTLE = """
    http2_recv_buffer_size 16k;
    keepalive_requests 3;
    keepalive_timeout 300ms;
    upstream slow { server @slow@; }
    server {
        listen 127.0.0.1:@plain@ http2;
        listen 127.0.0.1:@tls@ ssl http2;
        server_name localhost;
        ssl_certificate @cert@;
        ssl_certificate_key @key@;
        location /ret { return 200 fine; }
        location /slow { proxy_pass http://slow/v1/chat/completions; }
    }
"""


@pytest.fixture(scope="module")
def sluice(ca):
    mock, slow = Mock(), Mock("--delay-ms", "20000")
    values = {"mock": mock.addr, "slow": slow.addr, "cert": ca.server.chain, "key": ca.server.key, "tls": free_port(),
              "banned": free_port()}
    try:
        with Sluice(CONF, values) as s:
            s.mock, s.slow, s.tls, s.banned = mock, slow, values["tls"], values["banned"]
            yield s
    finally:
        mock.stop()
        slow.stop()


@pytest.fixture(scope="module")
def little(sluice, ca):
    """Reads little at a time, and few requests from one connection."""
    values = {"slow": sluice.slow.addr, "cert": ca.server.chain, "key": ca.server.key, "tls": free_port(), "plain": free_port()}
    with Sluice(LITTLE, values) as s:
        s.tls, s.ports = values["tls"], {False: values["plain"], True: values["tls"]}
        yield s


def flood(c, pieces, n=200000, at_once=50):
    """Sends until the peer will have no more; then what its last words were."""
    with contextlib.suppress(OSError, ssl.SSLError):
        for _ in range(0, n, at_once):
            c.raw(b"".join(pieces() for _ in range(at_once)))
    with contextlib.suppress(AssertionError):
        return c.end(5)
    return c.goaway


def ends_with(sluice, c, pieces, text, code="ENHANCE_YOUR_CALM", **kw):
    before = len(sluice.log())
    codes = flood(c, pieces, **kw)
    until(lambda: re.search(text, sluice.log()[before:]), 5, f"'{text}' in the log")
    assert codes[-1:] in ([code], []), codes  # a reset may have overtaken the GOAWAY
    with H2(sluice.tls) as other:
        assert other.get("/ret").status == 200
    return codes


@pytest.fixture(autouse=True)
def memory_is_bounded(sluice):
    worker = sluice.workers()[0]
    before = pss_kb(worker)
    yield
    assert sluice.workers()[0] == worker, "the worker died"
    assert pss_kb(worker) < before + 30000 * ROOM


def headers(c, path="/ret", method="GET", fields=(), end=True):
    id = c.new_id()
    block = c.encoder.encode([(":method", method), (":scheme", "https"), (":path", path), (":authority", "localhost"), *fields])
    return id, frame_bytes(h2raw.HEADERS, 5 if end else 4, id, block)


def test_rapid_reset(sluice):
    before = sluice.mock.requests()
    with H2(sluice.tls) as c:
        def piece():
            id, data = headers(c, "/echo/rapid")
            return data + frame_bytes(h2raw.RST, 0, id, b"\0\0\0\x08")
        ends_with(sluice, c, piece, "cancels too many requests")
    assert sluice.mock.requests() - before < 1000


def test_what_is_taken_back_at_once_costs_no_upstream(sluice):
    """HEADERS and RST_STREAM in one write: the request is not even begun."""
    before = sluice.mock.stats()
    with H2(sluice.tls) as c:
        assert c.get("/ret").status == 200
        data = b""
        for _ in range(50):
            id, head = headers(c, "/echo/taken-back")
            data += head + frame_bytes(h2raw.RST, 0, id, b"\0\0\0\x08")
        kept, head = headers(c, "/echo/kept")
        c.raw(data + head)
        assert c.answer(kept).status == 200
        assert c.get("/echo/kept").status == 200
    paths = sluice.mock.stats()["paths"]
    assert sluice.mock.stats()["connections_total"] - before["connections_total"] < 10
    assert sum(paths.values()) - sum(before["paths"].values()) <= 5, paths


def test_more_requests_in_one_write_than_a_turn_begins(sluice):
    with H2(sluice.tls) as c:
        assert c.get("/ret").status == 200
        made = [headers(c, f"/echo/{i}") for i in range(100)]
        c.raw(b"".join(data for _, data in made))
        for i, (id, _) in enumerate(made):
            assert c.answer(id).json()["target"] == f"/echo/{i}"


def test_resets_that_answers_pay_for(sluice):
    with H2(sluice.tls) as c:
        for i in range(600):
            assert c.get("/ret").status == 200
            id = c.headers(path="/slow")
            c.reset(id)
        assert not c.goaway


@pytest.mark.parametrize("broken", ["window of 0", "window overflow", "too much data", "self-made 400", "priority of itself"])
def test_made_you_reset(sluice, broken):
    with H2(sluice.tls) as c:
        def piece():
            fields, end = ([("content-length", "1")], False) if broken == "too much data" else ([], True)
            id, data = headers(c, "/slow", "POST", fields if broken != "self-made 400" else [("Bad", "1")], end)
            return data + {"window of 0": frame_bytes(h2raw.WINDOW, 0, id, b"\0\0\0\0"),
                           "window overflow": frame_bytes(h2raw.WINDOW, 0, id, b"\x7f\xff\xff\xff"),
                           "too much data": frame_bytes(h2raw.DATA, 0, id, b"xx"),
                           "priority of itself": frame_bytes(h2raw.PRIORITY, 0, id, struct.pack(">IB", id, 1)),
                           "self-made 400": b""}[broken]
        kinds = "break streams|cancels|control frames"
        codes = flood(c, piece, n=5000)
        if broken in ("priority of itself", "window of 0"):
            assert codes in (["ENHANCE_YOUR_CALM"], ["PROTOCOL_ERROR"], [])
            return
        sluice.wait_log(kinds)
        assert codes in (["ENHANCE_YOUR_CALM"], [])


def test_overrun_windows(sluice):
    with H2(sluice.tls) as c:
        def piece():
            id, data = headers(c, "/slow", "POST", end=False)
            return data + b"".join(frame_bytes(h2raw.DATA, 0, id, b"x" * 16384) for _ in range(5))
        codes = flood(c, piece, n=2000, at_once=1)
        assert codes and codes[-1] in ("ENHANCE_YOUR_CALM", "FLOW_CONTROL_ERROR", "PROTOCOL_ERROR") or codes == []


def literal(name, value, kind=b"\0"):
    size = bytes([len(value)]) if len(value) < 127 else b"\x7f" + bytes([(len(value) - 127) & 127 | 128, (len(value) - 127) >> 7])
    return kind + bytes([len(name)]) + name + size + value


REQUEST = b"".join(literal(n, v) for n, v in [(b":method", b"POST"), (b":scheme", b"https"), (b":path", b"/echo/b"),
                                              (b":authority", b"localhost")])


@pytest.mark.parametrize("value", [b"v", b"v" * 4000], ids=["small", "large"])
@pytest.mark.parametrize("where", ["head", "trailers"])
def test_header_bomb(sluice, where, value):
    """One byte makes a field, again and again: what HPACK makes of a block is bounded, wherever the block stands."""
    before = sluice.mock.requests()
    with H2(sluice.tls) as c:
        def piece():
            id = c.new_id()
            if id == 1:
                return frame_bytes(h2raw.HEADERS, 5, id, REQUEST + literal(b"x", value, b"\x40"))
            if where == "head":
                return frame_bytes(h2raw.HEADERS, 5, id, REQUEST + b"\xbe" * 16000)
            return frame_bytes(h2raw.HEADERS, 4, id, REQUEST) + frame_bytes(h2raw.HEADERS, 5, id, b"\xbe" * 16000)
        ends_with(sluice, c, piece, "header blocks without end", n=500, at_once=5)
    assert sluice.mock.requests() - before < 50


def test_trailers_over_the_limit_of_heads(sluice):
    with H2(sluice.tls) as c:
        id = c.headers(path="/echo/t", method="POST", end=False)
        c.data(id, b"abc")
        c.trailers(id, [(f"x-{i}", "y" * 3000) for i in range(5)])
        assert c.answer(id).status == 200
        id = c.headers(path="/echo/t", method="POST", end=False)
        fields = [("x", "y" * 3000)] + [("x", "y" * 3000)] * 14
        c.trailers(id, fields)
        assert c.answer(id).reset == "PROTOCOL_ERROR"
        assert c.get("/ret").status == 200


def test_continuation_flood(sluice):
    with H2(sluice.tls) as c:
        c.raw(frame_bytes(h2raw.HEADERS, 1, 1, c.encoder.encode([(":method", "GET")])))
        block = c.encoder.encode([("x", "y" * 100)])
        ends_with(sluice, c, lambda: frame_bytes(h2raw.CONTINUATION, 0, 1, block), "header blocks without end|rules of HTTP/2")


def test_empty_continuations(sluice):
    with H2(sluice.tls) as c:
        c.raw(frame_bytes(h2raw.HEADERS, 1, 1, c.encoder.encode([(":method", "GET")])))
        ends_with(sluice, c, lambda: frame_bytes(h2raw.CONTINUATION, 0, 1), "header blocks without end|empty frames")


def test_hpack_bomb(sluice):
    with H2(sluice.tls) as c:
        id, data = headers(c, fields=[("x-bomb", "b" * 3900)])
        c.raw(data)
        assert c.answer(id).status == 200
        index = c.encoder.encode([("x-bomb", "b" * 3900)])
        assert len(index) == 1
        block = c.encoder.encode([(":method", "GET"), (":scheme", "https"), (":path", "/ret"), (":authority", "localhost")])
        c.raw(frame_bytes(h2raw.HEADERS, 5, c.new_id(), block + index * 16000))
        assert c.end() == ["ENHANCE_YOUR_CALM"]
        sluice.wait_log("header blocks without end")


def test_settings_flood(sluice):
    with H2(sluice.tls) as c:
        ends_with(sluice, c, lambda: frame_bytes(h2raw.SETTINGS, 0, 0, b"\0\3\0\0\0\x64" * 5), "control frames|does not read")


def test_settings_flood_of_table_sizes(sluice):
    with H2(sluice.tls) as c:
        ends_with(sluice, c, lambda: frame_bytes(h2raw.SETTINGS, 0, 0, b"\0\1\x7f\xff\xff\xff"), "control frames|does not read")


def test_ping_flood(sluice):
    with H2(sluice.tls) as c:
        ends_with(sluice, c, lambda: frame_bytes(h2raw.PING, 0, 0, b"12345678"), "control frames|does not read")


def test_ping_flood_without_reading(sluice):
    with H2(sluice.tls, rcvbuf=4096) as c:
        ends_with(sluice, c, lambda: frame_bytes(h2raw.PING, 0, 0, b"12345678"), "control frames|does not read")


@pytest.mark.parametrize("window", [1 << 30, 100])
def test_flood_while_answers_are_on_their_way(sluice, window):
    with H2(sluice.tls, rcvbuf=4096, settings={4: window}) as c:
        c.window(0, 1 << 30)
        for _ in range(20):
            c.headers(path="/bytes/3000000")
        time.sleep(0.3)
        flood(c, lambda: frame_bytes(h2raw.PRIORITY, 0, 1, b"\0\0\0\0\x10"))
    with H2(sluice.tls) as other:
        assert other.get("/ret").status == 200


def test_who_goes_away_cancels_all(sluice):
    def active():
        return sluice.slow.stats()["requests_active"]
    with H2(sluice.tls) as c:
        for _ in range(20):
            c.headers(path="/slow")
        until(lambda: active() >= 20, 5, "20 requests")
    until(lambda: active() <= 1, 5, "their end")   # the one that asks


def test_pings_now_and_then(sluice):
    with H2(sluice.tls) as c:
        for _ in range(300):
            c.ping()
        c.wait(lambda: len(c.pings) == 300)
        assert c.get("/ret").status == 200


def test_priority_flood(sluice):
    with H2(sluice.tls) as c:
        ends_with(sluice, c, lambda: frame_bytes(h2raw.PRIORITY, 0, c.new_id(), b"\0\0\0\0\x10"), "control frames")


def test_window_flood(sluice):
    with H2(sluice.tls) as c:
        ends_with(sluice, c, lambda: frame_bytes(h2raw.WINDOW, 0, 0, b"\0\0\0\1"), "control frames")


def test_unknown_frames_flood(sluice):
    with H2(sluice.tls) as c:
        ends_with(sluice, c, lambda: frame_bytes(0x99, 0, 0, b"x"), "control frames|almost nothing")


@pytest.mark.parametrize("kind", [0xa, 0xc, 0x10, 0x42])
def test_floods_of_extensions(sluice, kind):
    """Frames that HTTP/2's library knows nothing of, or has no use for: ALTSVC, ORIGIN, PRIORITY_UPDATE, any other."""
    with H2(sluice.tls) as c:
        ends_with(sluice, c, lambda: frame_bytes(kind, 0, 0, b"\0\0\0\1u=1"), "control frames|almost nothing")


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 16384], ids=len)
def test_data_for_a_stream_that_we_have_reset(sluice, data):
    with H2(sluice.tls) as c:
        id, head = headers(c, "/ret", "POST", end=False)
        c.raw(head)
        assert c.answer(id).status == 200
        c.wait(lambda: c.stream(id).reset)
        ends_with(sluice, c, lambda: frame_bytes(h2raw.DATA, 0, id, data), "empty frames|control frames", at_once=5)


def test_requests_after_goaway(little):
    """Who does not take leave: requests that are ignored cost their decoding."""
    with H2(little.tls) as c:
        for _ in range(6):
            c.headers(path="/slow")
        time.sleep(0.5)
        c.ping()
        c.wait(lambda: len(c.goaway) == 2)
        ends_with(little, c, lambda: headers(c, "/slow")[1], "control frames|break streams")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_who_goes_on_when_all_is_over(little, tls):
    """After GOAWAY and the end of our side a client may send what its windows let it, not 30 s at full speed."""
    before = len(little.log())
    with H2(little.ports[tls], tls=tls) as c:
        assert c.get("/ret").status == 200
        c.raw(frame_bytes(h2raw.GOAWAY, 0, 0, b"\0" * 8))
        with contextlib.suppress(h2raw.Gone):
            c.wait(lambda: False)
        start, n = time.monotonic(), 0
        with pytest.raises((OSError, ssl.SSLError)):
            for n in range(1, 5000):
                c.sock.sendall(frame_bytes(h2raw.PING, 0, 0, b"12345678") * 1000)
        assert n > 60 and time.monotonic() - start < 20
    counted(little, before, "goes on sending when all is over")


def test_empty_data_flood(sluice):
    with H2(sluice.tls) as c:
        id, data = headers(c, "/echo/e", "POST", end=False)
        c.raw(data)
        ends_with(sluice, c, lambda: frame_bytes(h2raw.DATA, 0, id), "empty frames")


def test_data_in_single_bytes(sluice):
    with H2(sluice.tls) as c:
        id, data = headers(c, "/echo/e", "POST", end=False)
        c.raw(data)
        c.wait(lambda: 4 in c.settings)
        # Framing eats ten times what it carries: allowed for a while, not without end.
        for _ in range(300):
            c.raw(frame_bytes(h2raw.DATA, 0, id, b"x"))
        c.data(id, b"", end=True)
        assert b'"body_length":300,' in c.answer(id).body


def test_padding_flood(sluice):
    with H2(sluice.tls) as c:
        id, data = headers(c, "/echo/e", "POST", end=False)
        c.raw(data)
        ends_with(sluice, c, lambda: frame_bytes(h2raw.DATA, 8, id, b"\xff" + b"\0" * 255), "almost nothing|control frames",
                  code="ENHANCE_YOUR_CALM")


def test_zero_windows(sluice):
    """100 answers of 1 MB that nobody takes: stored only as far as buffers go, and ended by send_timeout."""
    with H2(sluice.tls, settings={4: 0}) as c:
        ids = [c.headers(path="/bytes/1000000") for _ in range(100)]
        c.wait(lambda: all(c.stream(i).heads for i in ids))
        time.sleep(0.3)
        assert pss_kb(sluice.workers()[0]) < 60000 * ROOM
        c.wait(lambda: all(c.stream(i).reset for i in ids), 20)
        assert c.get("/ret").is_over


def test_streams_that_wait(sluice):
    with H2(sluice.tls) as c:
        c.wait(lambda: 3 in c.settings)
        ids = [c.headers(path="/slow", method="GET") for _ in range(128)]
        until(lambda: sluice.slow.requests() >= 100, 5, "requests at the upstream")
        for id in ids:
            c.reset(id)
        assert c.get("/ret").status == 200


def test_a_cancelled_stream_cancels_its_upstream(sluice):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        conf = """
            server { listen 127.0.0.1:@http@; http2 on; location / { proxy_pass http://127.0.0.1:@up@; } location /ret { return 200 x; } }
        """
        with Sluice(conf, {"http": (port := free_port()), "up": server.getsockname()[1]}) as s, H2(port, tls=False) as c:
            id = c.headers(path="/wait")
            up, _ = server.accept()
            with up:
                up.settimeout(10)
                assert b"GET /wait" in up.recv(4096)
                c.reset(id)
                assert up.recv(4096) == b""
            assert c.get("/ret").status == 200
            until(lambda: '"GET /wait HTTP/2.0" 499' in (s.dir / "access.log").read_text(), 5, "a log line with 499")


def test_who_does_not_read_is_ended(sluice):
    c = H2(sluice.tls, settings={4: 1 << 30}, rcvbuf=4096)
    try:
        c.window(0, 1 << 30)
        for _ in range(50):
            c.headers(path="/bytes/3000000")
        assert pss_kb(sluice.workers()[0]) < 60000 * ROOM
        sluice.wait_log("client timed out while sending to client", 15)
    finally:
        c.close()


def counted(little, before, text="control frames"):
    until(lambda: re.search(text, little.log()[before:]), 5, f"'{text}' in the log")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_who_floods_and_resets_the_connection_is_counted(little, tls):
    """However little of it is read at a time."""
    before = len(little.log())
    with H2(little.ports[tls], tls=tls) as c:
        c.wait(lambda: 4 in c.settings)
        with stopped(little.workers()):
            c.raw(b"".join(headers(c, fields=[("x", f"{i}~" * 2250)])[1] for i in range(3)))
            c.raw(frame_bytes(h2raw.PRIORITY, 0, 1, b"\0\0\0\0\x10") * 2500)
            c.abort()
    counted(little, before)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_who_floods_and_is_gone_when_he_is_answered_is_counted(little, tls):
    """The answer to the first PING meets a closed port, the next cannot be written; the rest is read all the same."""
    before = len(little.log())
    with H2(little.ports[tls], tls=tls) as c:
        c.wait(lambda: 4 in c.settings)
        c.ping()
        c.wait(lambda: c.pings)
        with stopped(little.workers()):
            for _ in range(22):
                c.raw(frame_bytes(h2raw.PING, 0, 0, b"12345678") + frame_bytes(0x42, 0, 0, b"x" * 44) * 96)
            c.close()
    counted(little, before)


@pytest.mark.parametrize("frame", [frame_bytes(h2raw.SETTINGS, 0, 1), frame_bytes(h2raw.DATA, 0, 1, b"x" * 16385),
                                   frame_bytes(h2raw.PRIORITY, 0, 0, b"\0\0\0\0\x10")], ids=["ended", "too large", "ours"])
@pytest.mark.parametrize("leaves", ["stays", "closes", "resets"])
def test_broken_frames_count_as_bad_requests(frame, leaves):
    conf = "server { listen 127.0.0.1:@http@ http2; ban on=bad_request after=2 within=60s for=1s; return 200 fine; }"
    with Sluice(conf, {"http": (port := free_port())}) as s:
        for _ in range(2):
            with H2(port, tls=False) as c:
                c.wait(lambda: 4 in c.settings)
                with stopped(s.workers() if leaves == "resets" else []):
                    c.raw(frame)
                    if leaves == "resets":
                        c.abort()
                if leaves == "stays":
                    c.end()
        s.wait_log("ban of 127.0.0.1 asked for: on=bad_request")
        assert "HTTP/2 client" not in s.log()


def test_ban(sluice):
    """Once by who waits for the answer, once by who resets the connection before it is read."""
    def piece():
        return frame_bytes(h2raw.PRIORITY, 0, 1, b"\0\0\0\0\x10")
    with H2(sluice.banned, tls=False) as c, contextlib.suppress(OSError):
        flood(c, piece)
    with H2(sluice.banned, tls=False) as c:
        c.wait(lambda: 4 in c.settings)
        with stopped(sluice.workers()):
            c.raw(piece() * 10000)
            c.abort()
    sluice.wait_log("ban of 127.0.0.1 asked for: on=h2_abuse")

    def is_reset():
        with socket.socket() as s:
            s.settimeout(5)
            try:
                s.connect(("127.0.0.1", sluice.banned))
                s.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return s.recv(100) == b""
            except ConnectionError:
                return True
    until(is_reset, 5, "the ban")
