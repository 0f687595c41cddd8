# SPDX-License-Identifier: BSD-2-Clause
"""PROXY protocol in front of TLS, HTTP/1 and HTTP/2, beside nginx, and what is malformed."""
import struct
import time

import pytest
from h2raw import H2
from harness import Conn, Nginx, Sluice, client_tls, free_port

SIG = b"\r\n\r\n\0\r\nQUIT\n"
CONF = """
    server {
        listen 127.0.0.1:@plain@ proxy_protocol;
        listen 127.0.0.1:@tls@ ssl proxy_protocol@h2@;
        server_name localhost;
        client_header_timeout 700ms;
        ssl_certificate @cert@;
        ssl_certificate_key @key@;
        return 200 "$proxy_protocol_addr|$proxy_protocol_port|$proxy_protocol_server_addr|$proxy_protocol_server_port|$remote_addr|$scheme";
    }
"""


def v2(command=0x21, family=0x11, payload=None):
    if payload is None:
        payload = bytes([1, 2, 3, 4, 5, 6, 7, 8]) + struct.pack(">HH", 1234, 80)
    return SIG + bytes([command, family]) + struct.pack(">H", len(payload)) + payload


V6 = bytes(15) + b"\1" + bytes(15) + b"\2" + struct.pack(">HH", 7, 8)
GOOD = {
    "v1 tcp4": b"PROXY TCP4 10.1.2.3 10.4.5.6 4711 443\r\n",
    "v1 tcp6": b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
    "v1 unknown": b"PROXY UNKNOWN\r\n",
    "v1 unknown with words": b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
    "v2 tcp4": v2(),
    "v2 tcp6": v2(family=0x21, payload=V6),
    "v2 local": v2(0x20, 0, b""),
    "v2 tlv": v2(payload=bytes([1, 2, 3, 4, 5, 6, 7, 8]) + struct.pack(">HH", 1234, 80) + b"\4\0\3abc"),
}
BAD = {
    "none": b"",
    "v1 without end": b"PROXY TCP4 " + b"1" * 120,
    "v1 other word": b"PROXX TCP4 10.1.2.3 10.4.5.6 4711 443\r\n",
    "v1 few words": b"PROXY TCP4 10.1.2.3\r\n",
    "v1 port": b"PROXY TCP4 10.1.2.3 10.4.5.6 70000 443\r\n",
    "v2 version": v2(0x31),
    "v2 short": v2(payload=b"1234"),
}


@pytest.fixture(scope="module", params=[Sluice, Nginx], ids=["sluice", "nginx"])
def server(request, ca):
    values = {"plain": free_port(), "tls": free_port(), "cert": ca.server.chain, "key": ca.server.key, "h2": " http2"}
    with request.param(CONF, values) as s:
        s.plain, s.tls = values["plain"], values["tls"]
        yield s


WANT = {
    "v1 tcp4": b"10.1.2.3|4711|10.4.5.6|443|127.0.0.1|",
    "v1 tcp6": b"2001:db8::1|1|2001:db8::2|65535|127.0.0.1|",
    "v2 tcp4": b"1.2.3.4|1234|5.6.7.8|80|127.0.0.1|",
    "v2 tlv": b"1.2.3.4|1234|5.6.7.8|80|127.0.0.1|",
    "v2 tcp6": b"::1|7|::2|8|127.0.0.1|",
}


@pytest.mark.parametrize("name", GOOD)
def test_good(server, name):
    with Conn(server.plain) as c:
        c.send(GOOD[name])
        assert c.request("GET", "/").body == WANT.get(name, b"||||127.0.0.1|") + b"http"
        assert c.request("GET", "/").body == WANT.get(name, b"||||127.0.0.1|") + b"http"


@pytest.mark.parametrize("name", GOOD)
def test_in_one_piece_with_the_request(server, name):
    with Conn(server.plain) as c:
        c.send(GOOD[name] + b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert c.response().body == WANT.get(name, b"||||127.0.0.1|") + b"http"


@pytest.mark.parametrize("name", ["v1 tcp4", "v2 tcp6"])
def test_before_tls(server, name):
    with Conn(server.tls) as c:
        c.send(GOOD[name])
        c.sock = client_tls(alpn=["http/1.1"]).wrap_socket(c.sock, server_hostname="localhost")
        assert c.request("GET", "/").body == WANT[name] + b"https"
    with H2(server.tls, before=GOOD[name]) as c:
        assert c.get("/").body == WANT[name] + b"https"


@pytest.mark.parametrize("name", BAD)
def test_bad(server, name):
    with Conn(server.plain) as c:
        c.send(BAD[name] + b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        how, data = c.end()
        assert how in ("fin", "reset") and data == b""
    server.wait_log("broken header" if server.name == "sluice" else "broken header|too large")


def test_dripped(start):
    s = start("server { listen 127.0.0.1:@http@ proxy_protocol; return 200 $proxy_protocol_addr; }")
    for data in (GOOD["v1 tcp4"], GOOD["v2 tlv"]):
        with Conn(s.port) as c:
            for i in range(len(data)):
                c.send(data[i:i + 1])
                time.sleep(0.002)
            assert c.request("GET", "/").status == 200


def test_nothing_comes(server):
    with Conn(server.plain) as c:
        c.send(b"PROXY TCP4 ")
        assert c.end()[0] in ("fin", "reset")
