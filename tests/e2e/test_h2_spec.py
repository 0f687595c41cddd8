# SPDX-License-Identifier: BSD-2-Clause
"""RFC 9113 and RFC 7541 section by section, in raw frames: what each may be answered with.

What a request's fields may say, and abuse, are test_h2.py's and test_h2_abuse.py's.
"""
import struct

import pytest
from h2raw import CONTINUATION, DATA, GOAWAY, H2, HEADERS, PING, PREFACE, PRIORITY, PUSH, RST, SETTINGS, WINDOW
from h2raw import frame_bytes as F
from harness import Mock, Sluice, free_port

CONF = """
    upstream slow { server @slow@; }
    server {
        listen 127.0.0.1:@http@ http2;
        server_name localhost;
        location / { return 200 hello; }
        location /slow { proxy_pass http://slow/v1/chat/completions; }
    }
"""
HOST = b"\x41\x09localhost"
GET, POST = b"\x82\x86\x84" + HOST, b"\x83\x86\x84" + HOST
SLOW_GET, SLOW_POST = (m + b"\x86\x04\x05/slow" + HOST for m in (b"\x82", b"\x83"))
FIELD = b"\x00\x06x-test\x02ok"
PRIO = b"\0\0\0\0\x10"
END_STREAM, END_HEADERS, PADDED, HAS_PRIO = 1, 4, 8, 0x20


def head(block=GET, id=1, flags=END_STREAM | END_HEADERS, before=b"", after=b""):
    return F(HEADERS, flags, id, before + block + after)


def literal(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def u32(*n):
    return struct.pack(f">{len(n)}I", *n)


def setting(id, value):
    return struct.pack(">HI", id, value)


OPEN = head(SLOW_POST, flags=END_HEADERS)   # a stream that waits for its body,
ASKED = head(SLOW_GET)                      # or for its answer
CANCEL = F(RST, 0, 1, u32(8))
PROTOCOL, SIZE, CLOSED, FLOW, HPACK = ("PROTOCOL_ERROR", "FRAME_SIZE_ERROR", "STREAM_CLOSED", "FLOW_CONTROL_ERROR", "COMPRESSION_ERROR")

# Stream 1 is answered 200.
ANSWERED = {
    "2.1 PRIORITY of an idle stream": F(PRIORITY, 0, 1, PRIO) + head(),
    "2.2 WINDOW_UPDATE, half closed": head() + F(WINDOW, 0, 1, u32(1)),
    "2.3 PRIORITY, half closed": head() + F(PRIORITY, 0, 1, PRIO),
    "4.1 the reserved bit": F(HEADERS, 5, 0x80000001, GET),
    "4.1 undefined flags": head(flags=0xd7),
    "4.2 DATA of 16384 bytes": head(POST, flags=END_HEADERS) + F(DATA, 1, 1, b"x" * 16384),
    "4.2 HEADERS of 16384 bytes": F(HEADERS, 13, 1, b"\x01" + GET + literal(b"x", b"y" * 120) * 132 + b"\0"),
    "6.2 padding": head(flags=13, before=b"\x05", after=b"\0" * 5),
    "6.2 padding, as long as can be": head(flags=13, before=b"\xff", after=b"\0" * 255),
    "6.2 priority": head(flags=5 | HAS_PRIO, before=PRIO),
    "6.2 padding and priority": head(flags=13 | HAS_PRIO, before=b"\x05" + PRIO, after=b"\0" * 5),
    "6.10 CONTINUATION": head(GET[:2], flags=1) + F(CONTINUATION, 0, 1, GET[2:5]) + F(CONTINUATION, 4, 1, GET[5:]),
    "6.10 an empty CONTINUATION": head(flags=1) + F(CONTINUATION, 4, 1),
    "6.10 empty HEADERS": head(b"", flags=1) + F(CONTINUATION, 4, 1, GET),
    "6.1 padded DATA": head(POST, flags=4) + F(DATA, 9, 1, b"\x06test" + b"\0" * 6),
    "6.1 nothing but padding": head(POST, flags=4) + F(DATA, 8, 1, b"\x06" + b"\0" * 6) + F(DATA, 1, 1),
    "8.1 trailers": head(POST, flags=4) + F(DATA, 0, 1, b"x") + head(FIELD),
    "8.1 empty trailers": head(POST, flags=4) + head(b""),
    "6.8 GOAWAY within a request": head(POST, flags=4) + F(GOAWAY, 0, 0, u32(0, 0)) + F(DATA, 1, 1, b"x"),
    "6.8 GOAWAY that names the client's own streams": head(POST, flags=4) + F(GOAWAY, 0, 0, u32(1, 0)) + F(DATA, 1, 1),
    "6.8 GOAWAY as a notice": head(POST, flags=4) + F(GOAWAY, 0, 0, u32(0x7fffffff, 0) + b"bye") +
                              F(GOAWAY, 0, 0, u32(0, 0)) + F(DATA, 1, 1),
    "HPACK 6.2.2 without indexing": head(GET + FIELD),
    "HPACK 6.2.3 never indexed": head(GET + b"\x10\x01x\x01y"),
    "HPACK 6.2.1 with indexing": head(GET + b"\x40\x01x\x01y\xbe"),
    "HPACK 6.3 a table size": head(b"\x3f\x01" + GET),
    "HPACK 6.3 the largest table size": head(b"\x3f\xe1\x1f" + GET),
    "HPACK 4.2 two table sizes": head(b"\x20\x3f\x01" + GET),
    "HPACK 4.2 a table size and the rest": head(b"\x20", flags=1) + F(CONTINUATION, 4, 1, GET),
    "HPACK 5.2 an empty Huffman string": head(GET + b"\x00\x01x\x80"),
    "HPACK 5.2 three bits of padding": head(GET + b"\x00\x01x\x81\x1f"),
}

# The connection lives, and stream 1, if there is one, is not reset.
FINE = {
    "2.4 RST_STREAM, half closed": ASKED + CANCEL,
    "4.1 an unknown type": F(0x16, 0, 0, b"12345678"),
    "4.1 an unknown type on an idle stream": F(0x16, 0xff, 99, b"12345678"),
    "4.1 flags of a PING": F(PING, 0x16, 0, b"12345678"),
    "5.1 WINDOW_UPDATE on a closed stream": OPEN + CANCEL + F(WINDOW, 0, 1, u32(1)),
    "5.1 RST_STREAM on a closed stream": OPEN + CANCEL + CANCEL,
    "5.1 PRIORITY on a closed stream": OPEN + CANCEL + F(PRIORITY, 0, 1, PRIO),
    "5.1 PRIORITY of a closed stream on itself": OPEN + CANCEL + F(PRIORITY, 0, 1, u32(1) + b"\x10"),
    "6.5.2 an unknown setting": F(SETTINGS, 0, 0, setting(0xff, 1)),
    "6.5.2 MAX_FRAME_SIZE": F(SETTINGS, 0, 0, setting(5, 16384) + setting(5, 16777215)),
    "6.5.2 the largest window": F(SETTINGS, 0, 0, setting(4, 0x7fffffff)),
    "6.7 an answer to no PING": F(PING, 1, 0, b"nobody's"),
    "6.9 the reserved bit": F(WINDOW, 0, 0, u32(0x80000001)),
    "6.9.2 windows below zero": OPEN + F(SETTINGS, 0, 0, setting(4, 0)) + F(SETTINGS, 0, 0, setting(4, 65535)),
    "6.9.2 the largest window of a stream": OPEN + F(WINDOW, 0, 1, u32(0x7fffffff - 65535)) + F(SETTINGS, 0, 0, setting(4, 100)) +
                                            F(SETTINGS, 0, 0, setting(4, 65535)),
    "6.9.2 many windows at once": OPEN + head(SLOW_POST, 3, 4) + head(SLOW_POST, 5, 4) + F(SETTINGS, 0, 0, setting(4, 1 << 20)),
    "7 RST_STREAM with an unknown code": OPEN + F(RST, 0, 1, u32(0xff)),
    "RFC 9218 PRIORITY_UPDATE": F(0x10, 0, 0, u32(1) + b"u=1"),
    "RFC 7838 ALTSVC": F(0xa, 0, 0, b"\0\1abc"),
}

RESET = {
    "RFC 7540 5.3.1 PRIORITY on itself": (OPEN + F(PRIORITY, 0, 1, u32(1) + b"\x10"), PROTOCOL),
    "6.9.1 a stream's window": (OPEN + F(WINDOW, 0, 1, u32(0x7fffffff)) * 2, FLOW),
    "8.1 HEADERS in between": (OPEN + head(FIELD, flags=4), PROTOCOL),
    "8.1 pseudo-headers in trailers": (OPEN + head(b"\x82"), PROTOCOL),
}

BROKEN = {
    "4.2 DATA of 16385 bytes": (OPEN + F(DATA, 1, 1, b"x" * 16385), SIZE),
    "4.2 HEADERS of 16385 bytes": (head(GET + b"\0" * 16373), SIZE),
    "4.2 SETTINGS of 16386 bytes": (F(SETTINGS, 0, 0, setting(3, 1) * 2731), SIZE),
    "4.2 16385 bytes of an unknown type": (F(0x16, 0, 0, b"\0" * 16385), SIZE),
    "4.2 the largest frame": (b"\xff\xff\xff\0\0" + u32(1), SIZE),
    **{f"4.3 {name} within a header block": (head(flags=1) + f, PROTOCOL) for name, f in {
        "PRIORITY": F(PRIORITY, 0, 1, PRIO), "HEADERS": head(id=3), "DATA": F(DATA, 0, 1, b"x"), "RST_STREAM": CANCEL,
        "WINDOW_UPDATE": F(WINDOW, 0, 1, u32(1)), "PING": F(PING, 0, 0, b"12345678"), "SETTINGS": F(SETTINGS), "GOAWAY":
        F(GOAWAY, 0, 0, u32(0, 0)), "an unknown frame": F(0x16), "another's CONTINUATION": F(CONTINUATION, 4, 3, FIELD),
        "CONTINUATION on stream 0": F(CONTINUATION, 4, 0, FIELD)}.items()},
    **{f"5.1 {name} on an idle stream, {what}": (before + F(kind, flags, id, payload), PROTOCOL)
       for name, kind, flags, payload in [("DATA", DATA, 0, b"x"), ("RST_STREAM", RST, 0, u32(8)), ("WINDOW_UPDATE", WINDOW, 0, u32(1)),
                                          ("CONTINUATION", CONTINUATION, 4, GET)]
       for what, before, id in [("the first", b"", 1), ("even", b"", 2), ("the next", head(), 3)]},
    "5.1 DATA, half closed": (ASKED + F(DATA, 1, 1, b"x"), CLOSED),
    "5.1 HEADERS, half closed": (ASKED + head(), CLOSED),
    "5.1 CONTINUATION, half closed": (ASKED + F(CONTINUATION, 4, 1, GET), PROTOCOL),
    "5.1 DATA after a reset": (OPEN + CANCEL + F(DATA, 1, 1, b"x"), CLOSED),
    "5.1 HEADERS after a reset": (OPEN + CANCEL + head(), CLOSED),
    "5.1 CONTINUATION after a reset": (OPEN + CANCEL + F(CONTINUATION, 4, 1, GET), PROTOCOL),
    "5.1.1 an even stream": (head(id=2), PROTOCOL),
    "5.1.1 a number that was passed over": (head(id=7) + head(id=5), PROTOCOL),
    "5.1.1 the last number, twice": (head(id=0x7fffffff) * 2, CLOSED),
    "6.1 DATA on stream 0": (F(DATA, 0, 0, b"x"), PROTOCOL),
    "6.1 too much padding": (OPEN + F(DATA, 9, 1, b"\x06test"), PROTOCOL),
    "6.1 padding as long as the frame": (OPEN + F(DATA, 9, 1, b"\x01"), PROTOCOL),
    "6.1 padded, and empty": (OPEN + F(DATA, 9, 1), PROTOCOL),
    "6.2 HEADERS on stream 0": (head(id=0), PROTOCOL),
    "6.2 too much padding": (head(flags=13, before=bytes([len(GET) + 1])), PROTOCOL),
    "6.2 padded, and empty": (head(b"", flags=13), PROTOCOL),
    "6.2 half a priority": (head(b"\0\0\0", flags=5 | HAS_PRIO), SIZE),
    "6.2 padding over the priority": (head(b"\x04" + PRIO + b"\0\0", flags=13 | HAS_PRIO), PROTOCOL),
    "RFC 7540 5.3.1 HEADERS on itself": (head(flags=5 | HAS_PRIO, before=u32(1) + b"\x10"), PROTOCOL),
    "6.3 PRIORITY on stream 0": (F(PRIORITY, 0, 0, PRIO), PROTOCOL),
    "6.3 PRIORITY of 4 bytes": (OPEN + F(PRIORITY, 0, 1, PRIO[1:]), SIZE),
    "6.3 PRIORITY of 6 bytes": (OPEN + F(PRIORITY, 0, 1, PRIO + b"\0"), SIZE),
    "6.4 RST_STREAM on stream 0": (F(RST, 0, 0, u32(8)), PROTOCOL),
    "6.4 RST_STREAM of 3 bytes": (OPEN + F(RST, 0, 1, b"\0\0\0"), SIZE),
    "6.4 RST_STREAM of 5 bytes": (OPEN + F(RST, 0, 1, b"\0\0\0\0\0"), SIZE),
    "6.5 an acknowledgement that says something": (F(SETTINGS, 1, 0, setting(3, 1)), SIZE),
    "6.5 SETTINGS on a stream": (F(SETTINGS, 0, 1, setting(3, 1)), PROTOCOL),
    "6.5 SETTINGS of 3 bytes": (F(SETTINGS, 0, 0, b"\0\3\0"), SIZE),
    "6.5.2 ENABLE_PUSH 2": (F(SETTINGS, 0, 0, setting(2, 2)), PROTOCOL),
    "6.5.2 INITIAL_WINDOW_SIZE": (F(SETTINGS, 0, 0, setting(4, 1 << 31)), FLOW),
    "6.5.2 MAX_FRAME_SIZE too small": (F(SETTINGS, 0, 0, setting(5, 16383)), PROTOCOL),
    "6.5.2 MAX_FRAME_SIZE too large": (F(SETTINGS, 0, 0, setting(5, 1 << 24)), PROTOCOL),
    "6.6 PUSH_PROMISE": (OPEN + F(PUSH, 4, 1, u32(2) + GET), PROTOCOL),
    "6.7 PING on a stream": (F(PING, 0, 1, b"12345678"), PROTOCOL),
    "6.7 PING of 6 bytes": (F(PING, 0, 0, b"123456"), SIZE),
    "6.7 PING of 9 bytes": (F(PING, 0, 0, b"123456789"), SIZE),
    "6.8 GOAWAY on a stream": (F(GOAWAY, 0, 1, u32(0, 0)), PROTOCOL),
    "6.8 GOAWAY of 7 bytes": (F(GOAWAY, 0, 0, b"\0" * 7), SIZE),
    "6.9 WINDOW_UPDATE of 0": (F(WINDOW, 0, 0, u32(0)), PROTOCOL),
    "6.9 WINDOW_UPDATE of 0 on a stream": (ASKED + F(WINDOW, 0, 1, u32(0)), PROTOCOL),
    "6.9 WINDOW_UPDATE of 3 bytes": (F(WINDOW, 0, 0, b"\0\0\1"), SIZE),
    "6.9.1 the connection's window": (F(WINDOW, 0, 0, u32(0x7fffffff)) * 2, FLOW),
    "6.9.2 a setting that makes a stream's window too large": (OPEN + F(WINDOW, 0, 1, u32(0x7fff0000)) +
                                                               F(SETTINGS, 0, 0, setting(4, 0x7fffffff)), FLOW),
    "6.10 CONTINUATION after the end of a header block": (OPEN + F(CONTINUATION, 4, 1), PROTOCOL),
    "6.10 CONTINUATION after the last CONTINUATION": (head(SLOW_POST, flags=0) + F(CONTINUATION, 4, 1) * 2, PROTOCOL),
    "6.10 CONTINUATION after DATA": (OPEN + F(DATA, 0, 1, b"x") + F(CONTINUATION, 4, 1), PROTOCOL),
    "8.1 DATA after trailers": (OPEN + head(FIELD) + F(DATA, 0, 1, b"x"), CLOSED),
    "8.1 HEADERS after trailers": (OPEN + head(FIELD) * 2, CLOSED),
    "HPACK 2.3.3 no such index": (head(b"\xc6" + GET), HPACK),
    "HPACK 2.3.3 no such name": (head(b"\x7f\x50\x01a" + GET), HPACK),
    "HPACK 6.1 index 0": (head(b"\x80" + GET), HPACK),
    "HPACK 5.1 a number without end": (head(b"\xff" + b"\xff" * 10 + b"\x7f"), HPACK),
    "HPACK 5.2 more than seven bits of padding": (head(GET + b"\x00\x01x\x82\x1f\xff"), HPACK),
    "HPACK 5.2 padding of zeros": (head(GET + b"\x00\x01x\x81\x18"), HPACK),
    "HPACK 5.2 EOS": (head(GET + b"\x00\x01x\x84\xff\xff\xff\xff"), HPACK),
    "HPACK 4.2 a table size at the end": (head(GET + b"\x3f\x01"), HPACK),
    "HPACK 4.2 a table size in the middle": (head(GET[:1] + b"\x3f\x01" + GET[1:]), HPACK),
    "HPACK 4.2 a table size in CONTINUATION": (head(flags=1) + F(CONTINUATION, 4, 1, b"\x20"), HPACK),
    "HPACK 4.2 a table size that is too large": (head(b"\x3f\xe2\x1f" + GET), HPACK),
    "HPACK 4.2 too large a table size in trailers": (OPEN + head(b"\x3f\xe2\x1f" + FIELD), HPACK),
    "HPACK 5.2 half a string": (head(GET + b"\x00\x05ab"), HPACK),
    "HPACK 3.1 errors count on refused requests, too": (head(b"\x80", 3) + head(b"\x80", 1), HPACK),
}

BEGINNINGS = {
    "3.4 HEADERS first": (PREFACE + head(), True),
    "3.4 an acknowledgement first": (PREFACE + F(SETTINGS, 1, 0), True),
    "3.4 PING first": (PREFACE + F(PING, 0, 0, b"12345678"), True),
    "3.4 another end": (PREFACE[:-4] + b"XX\r\n" + F(SETTINGS), False),
    "3.4 another beginning": (b"INVALID CONNECTION PREFACE\r\n\r\n", False),
}


@pytest.fixture(scope="module")
def sluice():
    slow = Mock("--delay-ms", "20000")
    try:
        with Sluice(CONF, {"slow": slow.addr, "http": (port := free_port())}) as s:
            s.port = port
            yield s
    finally:
        slow.stop()


def sent(sluice, frames):
    c = H2(sluice.port, tls=False)
    c.wait(lambda: c.settings)
    c.raw(frames)
    return c


def lives_on(c):
    c.ping(b"the end?")
    c.wait(lambda: b"the end?" in c.pings)
    return not c.goaway


@pytest.mark.parametrize("name", ANSWERED)
def test_answered(sluice, name):
    with sent(sluice, ANSWERED[name]) as c:
        assert c.answer(1).status == 200 and c.stream(1).body == b"hello" and c.stream(1).reset in (None, "NO_ERROR")


@pytest.mark.parametrize("name", FINE)
def test_fine(sluice, name):
    with sent(sluice, FINE[name]) as c:
        assert lives_on(c) and c.stream(1).reset is None
        id = c.headers(stream=99)
        assert c.answer(id).status == 200


@pytest.mark.parametrize("name", RESET)
def test_ends_the_stream(sluice, name):
    frames, code = RESET[name]
    with sent(sluice, frames) as c:
        c.wait(lambda: c.stream(1).is_over)
        assert c.stream(1).reset == code and lives_on(c)
        assert c.answer(c.headers(stream=99)).status == 200


@pytest.mark.parametrize("name", BROKEN)
def test_ends_the_connection(sluice, name):
    frames, code = BROKEN[name]
    with sent(sluice, frames) as c:
        assert c.end() == [code]


@pytest.mark.parametrize("name", ["5.1 DATA after a reset", "6.3 PRIORITY on stream 0", "6.8 GOAWAY of 7 bytes", "HPACK 6.1 index 0",
                                  "6.9.2 a setting that makes a stream's window too large"])
def test_byte_by_byte(sluice, name):
    frames, code = BROKEN[name]
    with sent(sluice, b"") as c:
        for byte in frames:
            c.raw(bytes([byte]))
        assert c.end() == [code]


@pytest.mark.parametrize("name", BEGINNINGS)
def test_beginnings(sluice, name):
    raw, is_h2 = BEGINNINGS[name]
    with H2(sluice.port, tls=False, preface=False) as c:
        c.raw(raw)
        if is_h2:
            assert c.end() == [PROTOCOL]
        else:
            assert c.sock.recv(100).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 505 "))


def over(sluice):
    c = sent(sluice, head())
    assert c.answer(1).status == 200
    return c


@pytest.mark.parametrize("frame, code", [(F(DATA, 1, 1, b"x"), CLOSED), (head(), CLOSED), (F(CONTINUATION, 4, 1, GET), PROTOCOL)],
                         ids=["DATA", "HEADERS", "CONTINUATION"])
def test_5_1_a_stream_that_is_over(sluice, frame, code):
    with over(sluice) as c:
        c.raw(frame)
        assert c.end() == [code]


@pytest.mark.parametrize("frame", [F(WINDOW, 0, 1, u32(1)), CANCEL, F(PRIORITY, 0, 1, PRIO)], ids=["WINDOW_UPDATE", "RST_STREAM", "PRIORITY"])
def test_5_1_what_a_stream_that_is_over_may_get(sluice, frame):
    with over(sluice) as c:
        c.raw(frame)
        assert lives_on(c)


def test_5_1_data_for_a_stream_that_we_reset(sluice):
    """It may have been on its way: no error, and the connection's window opens again."""
    with sent(sluice, head(POST, flags=4)) as c:
        c.wait(lambda: c.stream(1).is_over)
        for _ in range(40):
            c.raw(F(DATA, 0, 1, b"x" * 16384))
            assert lives_on(c)
        assert c.may_send[0] >= 1 << 20


def test_5_1_2_bodies_of_refused_streams():
    """Their DATA may be on its way behind the next request: ignored, as what is sent to a stream that we reset."""
    conf = "http2_max_concurrent_streams 1; server { listen 127.0.0.1:@http@ http2; location / { proxy_pass http://@slow@; } location /own { return 200 hello; } }"
    slow = Mock("--delay-ms", "20000")
    try:
        with Sluice(conf, {"slow": slow.addr, "http": (port := free_port())}) as s, H2(port, tls=False) as c:
            c.raw(head(SLOW_POST, 1, 4) + head(SLOW_POST, 3, 4) + head(SLOW_POST, 5, 4))    # before our settings are acknowledged
            c.wait(lambda: c.stream(5).reset and c.stream(3).reset)
            assert c.stream(3).reset == c.stream(5).reset == "REFUSED_STREAM"
            c.raw(F(DATA, 0, 3, b"x") + CANCEL)
            assert c.answer(c.headers(path="/own", stream=7)).status == 200
            c.raw(F(DATA, 0, 3, b"x" * 1000) + F(DATA, 1, 5, b"x"))
            assert lives_on(c), s.log()
            c.raw(F(DATA, 0, 5, b"x" * 100) * 3000)
            assert c.end() == ["ENHANCE_YOUR_CALM"]
    finally:
        slow.stop()


def test_6_5_3_settings_take_effect_in_order(sluice):
    with sent(sluice, b"") as c:
        c.auto_window = False
        c.raw(F(SETTINGS, 0, 0, setting(4, 100) + setting(4, 1)) + head())
        c.wait(lambda: c.stream(1).body == b"h")
        assert lives_on(c) and c.stream(1).body == b"h"
        c.raw(F(SETTINGS, 0, 0, setting(4, 3)))
        c.wait(lambda: c.stream(1).body == b"hel")
        c.raw(F(SETTINGS, 0, 0, setting(4, 0)) + F(WINDOW, 0, 1, u32(3)))    # -3, and then 0
        assert lives_on(c) and c.stream(1).body == b"hel"
        c.window(1, 100)
        assert c.answer(1).body == b"hello"


def test_6_9_1_frames_keep_within_the_window(sluice):
    with sent(sluice, F(SETTINGS, 0, 0, setting(4, 0)) + head()) as c:
        c.auto_window = False
        c.wait(lambda: c.stream(1).heads)
        assert lives_on(c) and c.stream(1).body == b""
        c.window(1, 1)
        c.wait(lambda: c.stream(1).body == b"h")
        assert not c.stream(1).is_over
        c.window(1, 1 << 20)
        assert c.answer(1).body == b"hello"
