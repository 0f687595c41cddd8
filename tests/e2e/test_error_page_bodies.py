# SPDX-License-Identifier: BSD-2-Clause
"""Request bodies that are still coming in, or have gone out in part, when an error page takes over."""
import pytest
from harness import Conn, build, free_port, mock_bytes, sha256

CONF = """
    client_body_buffer_size 16k;
    server {
        listen 127.0.0.1:@http@;
        client_max_body_size 10m;
        location /dead { proxy_request_buffering @buffering@; error_page 502 = @other; proxy_pass http://127.0.0.1:@dead@; }
        location /resets { proxy_request_buffering @buffering@; error_page 502 504 = @other; proxy_read_timeout 500ms; proxy_pass http://@mock@/upload; }
        location /get { proxy_request_buffering @buffering@; error_page 502 504 =201 /page; proxy_read_timeout 500ms; proxy_pass http://@mock@/upload; }
        location = /page { return 200 page; }
        location /small { client_max_body_size 1k; error_page 413 = @other; proxy_request_buffering @buffering@; proxy_pass http://@mock@; }
        location @other { rewrite ^ /echo break; proxy_request_buffering @buffering@; proxy_set_header X-Mock-Fault ""; proxy_pass http://@mock@; }
        location /denied { deny all; error_page 403 = @other; proxy_pass http://@mock@; }
        location / { return 200 fine; }
    }
"""


@pytest.fixture(params=["on", "off"])
def sluice(start, mocks, request):
    s = start(CONF, {"mock": mocks().addr, "dead": free_port(), "buffering": request.param})
    s.buffers = request.param == "on"
    return s


def post(s, path, body, fault=None, pieces=False, chunked=False):
    fields = [("X-Mock-Fault", fault)] if fault else []
    with Conn(s.port) as c:
        if chunked:
            fields.append(("Transfer-Encoding", "chunked"))
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        data = build("POST", path, fields, body)
        try:
            if pieces:
                for at in range(0, len(data), 10000):
                    c.send(data[at:at + 10000])
            else:
                c.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return c.response("POST")


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize("n", [10, 10000, 1000000])
def test_a_body_that_nobody_took_goes_to_the_named_location(sluice, n, chunked):
    body = mock_bytes(n)
    for path in ("/dead", "/denied"):
        r = post(sluice, path, body, chunked=chunked)
        assert r.status == 200
        seen = r.json()
        assert (seen["method"], seen["body_length"], seen["body_sha256"]) == ("POST", n, sha256(body))


@pytest.mark.parametrize("fault", ["reset-before-head", "stall-before-head", "close-before-head"])
@pytest.mark.parametrize("n", [10, 1000000])
def test_a_body_that_went_out_in_part_is_whole_or_none(sluice, fault, n):
    body = mock_bytes(n)
    assert post(sluice, "/get", body, fault, pieces=True).status == 201
    r = post(sluice, "/resets", body, fault, pieces=True)
    assert r.status == 200
    assert r.json()["body_length"] in ((n,) if sluice.buffers else (n, 0))
    with Conn(sluice.port) as c:
        assert c.request("GET", "/").body == b"fine"


def test_a_body_that_is_too_large_goes_nowhere(sluice):
    for chunked in (False, True):
        r = post(sluice, "/small/echo", mock_bytes(5000), chunked=chunked)
        assert (r.status, r.header("Connection"), r.json()["body_length"]) == (200, "close", 0)
