# SPDX-License-Identifier: BSD-2-Clause
"""An HTTP/2 client that sends whatever frames a test likes. It holds no test.

Frames are hyperframe's, header blocks hpack's; nothing checks what is sent.
"""
import contextlib
import json
import socket
import ssl
import struct
import time

import harness
import hpack
from harness import SLOW, client_tls
from hyperframe.frame import (ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame,
                              RstStreamFrame, SettingsFrame, WindowUpdateFrame)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NAMES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
         "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
         "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]


class Gone(Exception):
    """The peer ended the connection where more was due."""


class Stream:
    def __init__(self):
        self.heads, self.trailers, self.ended, self.reset, self.frames = [], None, False, None, 0
        self.data = bytearray()

    @property
    def body(self):
        """A copy; who only counts takes len(data)."""
        return bytes(self.data)

    @property
    def status(self):
        return int(self.heads[-1][":status"]) if self.heads else None

    def header(self, name, default=None):
        return self.heads[-1].get(name, default)

    def json(self):
        return json.loads(self.body)

    @property
    def is_over(self):
        return self.ended or self.reset is not None


class H2:
    """One connection. PORT speaks TLS with ALPN unless tls=False (prior knowledge)."""

    def __init__(self, port, tls=True, host="127.0.0.1", settings=None, timeout=10.0, preface=True, rcvbuf=None, before=b"",
                 sni="localhost"):
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout * SLOW)
        self.sock.connect((host, port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if before:
            self.sock.sendall(before)
        if tls:
            self.sock = client_tls(alpn=["h2"]).wrap_socket(self.sock, server_hostname=sni, suppress_ragged_eofs=True)
            assert self.sock.selected_alpn_protocol() == "h2"
        self.tls, self.buf, self.next_id, self.streams = tls, b"", 1, {}
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.settings, self.goaway, self.pings, self.auto_window = {}, [], [], True
        self.goaway_ids, self.block, self.ended = [], None, False
        self.may_send, self.initial = {0: 65535}, 65535
        if preface:
            frame = SettingsFrame(0, settings=settings or {})
            self.raw(PREFACE + frame.serialize())

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def abort(self):
        """Ends it with a TCP reset: what was sent is in the peer's queue, and so is the error."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def raw(self, data):
        self.sock.sendall(data)

    def frame(self, kind, flags=0, stream=0, payload=b""):
        self.raw(frame_bytes(kind, flags, stream, payload))

    def headers(self, fields=(), path="/", method="GET", end=True, authority="localhost", scheme=None, stream=None, only=False):
        """Opens a stream. ONLY: no pseudo-headers but those in FIELDS."""
        stream = stream or self.new_id()
        pseudo = [] if only else [(":method", method), (":scheme", scheme or ("https" if self.tls else "http")), (":path", path),
                                  (":authority", authority)]
        block = self.encoder.encode([*pseudo, *fields])
        frame = HeadersFrame(stream, block)
        frame.flags.add("END_HEADERS")
        if end:
            frame.flags.add("END_STREAM")
        self.raw(frame.serialize())
        return stream

    def new_id(self):
        out, self.next_id = self.next_id, self.next_id + 2
        return out

    def data(self, stream, data, end=False):
        frame = DataFrame(stream, data)
        if end:
            frame.flags.add("END_STREAM")
        self.raw(frame.serialize())

    def upload(self, stream, body, end=True, piece=16384):
        """DATA within the windows that the peer opens, reading what it sends meanwhile."""
        self.wait(lambda: 4 in self.settings)
        at = 0
        while at < len(body):
            self.may_send.setdefault(stream, self.initial)
            n = min(piece, len(body) - at, self.may_send[0], self.may_send[stream])
            if self.stream(stream).is_over:
                return
            if n <= 0:
                self.read_frame()
                continue
            self.data(stream, body[at:at + n])
            self.may_send[0] -= n
            self.may_send[stream] -= n
            at += n
        if end:
            self.data(stream, b"", end=True)

    def trailers(self, stream, fields):
        self.headers(fields, stream=stream, only=True)

    def reset(self, stream, code=8):
        self.raw(RstStreamFrame(stream, error_code=code).serialize())

    def window(self, stream, n):
        self.raw(WindowUpdateFrame(stream, window_increment=n).serialize())

    def ping(self, data=b"12345678", ack=False):
        frame = PingFrame(0, data)
        if ack:
            frame.flags.add("ACK")
        self.raw(frame.serialize())

    # What comes back.

    def stream(self, id):
        return self.streams.setdefault(id, Stream())

    def read_frame(self):
        """The next frame, taken into account; Gone at the end."""
        while True:
            if len(self.buf) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self.buf[:9]))
                if len(self.buf) >= 9 + length:
                    frame.parse_body(memoryview(self.buf[9:9 + length]))
                    self.buf = self.buf[9 + length:]
                    self.take(frame)
                    return frame
            try:
                data = self.sock.recv(65536)
            except (ConnectionError, ssl.SSLError) as e:
                self.ended = True
                raise Gone(str(e)) from None
            if not data:
                self.ended = True
                raise Gone("end")
            self.buf += data

    def answer_frame(self, data):
        """What every client must say; who has been shut out says it to nobody."""
        with contextlib.suppress(OSError):
            self.raw(data)

    def take(self, f):
        if isinstance(f, (HeadersFrame, ContinuationFrame)):
            self.take_headers(f)
        elif isinstance(f, DataFrame):
            s = self.stream(f.stream_id)
            s.data += f.data
            s.frames += 1
            s.ended |= "END_STREAM" in f.flags
            if self.auto_window and f.data:
                n = len(f.data)
                self.answer_frame(WindowUpdateFrame(0, window_increment=n).serialize() +
                         (b"" if s.ended else WindowUpdateFrame(f.stream_id, window_increment=n).serialize()))
        elif isinstance(f, RstStreamFrame):
            self.stream(f.stream_id).reset = NAMES[f.error_code]
        elif isinstance(f, SettingsFrame):
            if "ACK" not in f.flags:
                self.settings.update(f.settings)
                self.answer_frame(SettingsFrame(0, flags=["ACK"]).serialize())
                if 4 in f.settings:
                    for id in [i for i in self.may_send if i]:
                        self.may_send[id] += f.settings[4] - self.initial
                    self.initial = f.settings[4]
        elif isinstance(f, WindowUpdateFrame):
            self.may_send.setdefault(f.stream_id, self.initial)
            self.may_send[f.stream_id] += f.window_increment
        elif isinstance(f, PingFrame):
            if "ACK" in f.flags:
                self.pings.append(f.opaque_data)
            else:
                self.answer_frame(PingFrame(0, f.opaque_data, flags=["ACK"]).serialize())
        elif isinstance(f, GoAwayFrame):
            self.goaway.append(NAMES[f.error_code])
            self.goaway_ids.append(f.last_stream_id)

    def take_headers(self, f):
        s = self.stream(f.stream_id)
        self.block = f.data if isinstance(f, HeadersFrame) else self.block + f.data
        if isinstance(f, HeadersFrame):
            s.ended |= "END_STREAM" in f.flags
        if "END_HEADERS" not in f.flags:
            return
        fields = dict(self.decoder.decode(self.block))
        if ":status" in fields:
            s.heads.append(fields)
        else:
            s.trailers = fields

    def wait(self, check, timeout_s=10.0):
        """Reads frames until check() is true."""
        end = time.monotonic() + timeout_s * SLOW
        while not check():
            left = end - time.monotonic()
            assert left > 0, f"not in time: {self.streams}, {self.goaway}"
            self.sock.settimeout(left)
            self.read_frame()

    def answer(self, id, timeout_s=10.0):
        self.wait(lambda: self.stream(id).is_over, timeout_s)
        return self.stream(id)

    def get(self, path="/", fields=(), **kw):
        return self.answer(self.headers(fields, path, **kw))

    def post(self, path, body=b"", fields=(), **kw):
        id = self.headers(fields, path, method="POST", end=False, **kw)
        self.upload(id, body)
        return self.answer(id)

    def end(self, timeout_s=10.0):
        """Reads to the end; the codes of all GOAWAYs."""
        with_end = time.monotonic() + timeout_s * SLOW
        try:
            while time.monotonic() < with_end:
                self.sock.settimeout(max(0.05, with_end - time.monotonic()))
                self.read_frame()
        except Gone:
            return self.goaway
        except (TimeoutError, socket.timeout):
            pass
        raise AssertionError(f"the connection is still open: {self.goaway}")


def frame_bytes(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
assert harness
