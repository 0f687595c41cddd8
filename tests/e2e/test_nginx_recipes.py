# SPDX-License-Identifier: BSD-2-Clause
"""What files for proxying APIs have in them, taken together, as people write them: nginx and sluice on the same text."""
import contextlib
import socket

import harness
import pytest
from harness import build, fetch, free_port
from pair import Pair, raw_answer, x_raw

LISTEN = r"""
    gzip on;
    gzip_min_length 1;
    gzip_types text/css;
    gzip_types application/json text/xml;
    server { listen 127.0.0.1:@http@; server_name named.test; location / { return 200 "named"; }
        location /pass { proxy_pass_header Server; proxy_pass_header Date; proxy_pass http://@up@; }
        location /date { proxy_pass_header Date; proxy_pass http://@up@; }
        location /plain { proxy_pass http://@up@; } }
    server { listen 127.0.0.1:@http@; return 200 "without a name"; }
    server { listen 127.0.0.1:@http@; server_name other.test _; return 200 "other"; }
"""


@pytest.fixture(scope="module")
def listens():
    with contextlib.ExitStack() as stack:
        yield Pair(stack, LISTEN)


@pytest.mark.parametrize("text", ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nHost: named.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: _\r\n\r\n"])
def test_a_server_without_a_name(listens, text):
    """Its name is the empty one: it serves who sends no Host, the first server whom nobody serves."""
    nginx, sluice = listens.ask("/", raw=text.encode(), host="")
    assert sluice == nginx and nginx["status"] == 200


@pytest.mark.parametrize("path", ["/pass", "/date", "/plain"])
@pytest.mark.parametrize("fields", [[], [("Server", "up")], [("Date", "Tue, 15 Nov 1994 08:12:31 GMT")],
                                    [("Server", "up"), ("Date", "Tue, 15 Nov 1994 08:12:31 GMT")]], ids=str)
def test_server_and_date_of_the_upstream(listens, path, fields):
    """Where they are passed on and the upstream sends none, there is none."""
    heads = []
    for s in listens.servers:
        r = fetch(s.port, path, headers=[x_raw(raw_answer(fields, b"x"))])
        own = {"Server": {"nginx/1.22.1", "nginx", "sluice"}}
        heads.append({k: "own" if r.header(k) in own.get(k, ()) or r.header(k) and "1994" not in r.header(k) and k == "Date" else r.header(k)
                      for k in ("Server", "Date")})
    assert heads[1] == heads[0]


@pytest.mark.parametrize("kind", ["text/css", "application/json", "text/xml", "text/plain"])
def test_several_lines_of_gzip_types(listens, kind):
    raw = x_raw(raw_answer([("Content-Type", kind)], b"x" * 1000))
    seen = [fetch(s.port, "/plain", headers=[raw, ("Accept-Encoding", "gzip")]).header("Content-Encoding") for s in listens.servers]
    assert seen[1] == seen[0] == (None if kind == "text/plain" else "gzip")


def four_ports():
    """The first of four ports in a row, all of them ours."""
    ports = [free_port()]
    while len(ports) < 4:
        port = free_port()
        ports = [*ports, port] if port == ports[-1] + 1 else [port]
    return ports[0]


@pytest.mark.parametrize("cls", [harness.Nginx, harness.Sluice])
def test_listen_to_ranges_and_names(start, cls):
    """Each port of a range, and each address of a name."""
    first, two = four_ports(), free_port()
    start(f"""server {{ listen localhost:{two} bind; listen 127.0.0.1:{first}-{first + 3};
                        return 200 "$server_addr:$server_port"; }}""", cls=cls)
    assert [fetch(p, "/").body.decode() for p in range(first, first + 4)] == [f"127.0.0.1:{p}" for p in range(first, first + 4)]
    names = {a[4][0] for a in socket.getaddrinfo("localhost", two, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)}
    assert "127.0.0.1" in names
    for name in names:
        with socket.create_connection((name, two), 5) as c:
            c.sendall(build("GET", "/"))
            assert name.encode() in c.recv(4000)
