# SPDX-License-Identifier: BSD-2-Clause
"""Requests that are malformed, or that two programs could read in two ways.

Each gets an error answer, the connection ends, and no byte of it reaches the upstream: what the upstream
counted stays the same. The rules are RFC 9112 (and 9110 for names and hosts); each case says which.
"""
import harness
import pytest
from harness import Conn, Mock, Sluice, build, fetch, free_port, mock_bytes, until

H = "Host: a\r\n"
OK = "GET /echo HTTP/1.1\r\n" + H + "\r\n"
POST = "POST /upload HTTP/1.1\r\n" + H

# (what is wrong, the bytes, statuses that are right)
BAD_REQUEST = (400,)
CASES = [
    # the request line
    ("no version", "GET /echo\r\n" + H + "\r\n", BAD_REQUEST),
    ("no target", "GET HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("empty method", " /echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("only a word", "hello\r\n\r\n", BAD_REQUEST),
    ("two spaces", "GET  /echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("two spaces before the version", "GET /echo  HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("trailing space", "GET /echo HTTP/1.1 \r\n" + H + "\r\n", BAD_REQUEST),
    ("tab for space", "GET\t/echo\tHTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("space in the target", "GET /echo /b HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("method with a colon", "GE:T /echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("method with a slash", "GE/T /echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("method with a brace", "G{T /echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("method with a high byte", "G\xe9T /echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("method with NUL", "GE\0T /echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("no protocol name", "GET /echo 1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("lower-case protocol", "GET /echo http/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("other protocol", "GET /echo HTTQ/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("one-number version", "GET /echo HTTP/1\r\n" + H + "\r\n", BAD_REQUEST),
    ("version with letters", "GET /echo HTTP/1.x\r\n" + H + "\r\n", BAD_REQUEST),
    ("two-digit version", "GET /echo HTTP/1.10\r\n" + H + "\r\n", (400, 505)),
    ("version 01.1", "GET /echo HTTP/01.1\r\n" + H + "\r\n", (400, 505)),
    ("version 2.0", "GET /echo HTTP/2.0\r\n" + H + "\r\n", (505, 400)),
    ("version 3.0", "GET /echo HTTP/3.0\r\n" + H + "\r\n", (505, 400)),
    ("version 0.9", "GET /echo HTTP/0.9\r\n" + H + "\r\n", (505, 400)),
    ("version with a space", "GET /echo HTTP/ 1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (505, 400)),
    ("TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", BAD_REQUEST),
    ("bare LF after the request line", "GET /echo HTTP/1.1\n" + H + "\r\n", BAD_REQUEST),
    ("bare LF everywhere", "GET /echo HTTP/1.1\nHost: a\n\n", BAD_REQUEST),
    ("bare CR in the request line", "GET /echo\r HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("CR CR LF", "GET /echo HTTP/1.1\r\r\n" + H + "\r\n", BAD_REQUEST),
    ("space before the request line", " GET /echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    # the target
    ("target without a slash", "GET echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("NUL in the target", "GET /ec\0ho HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("control byte in the target", "GET /ec\x01ho HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("DEL in the target", "GET /ec\x7fho HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("percent without digits", "GET /echo%zz HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("percent at the end", "GET /echo% HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("percent with one digit", "GET /echo%4 HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("encoded NUL", "GET /echo%00 HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("above the root", "GET /../echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("above the root, encoded", "GET /%2e%2e/echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("above the root, later", "GET /a/../../echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("asterisk for GET", "GET * HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("absolute without a host", "GET http:///echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("absolute with user", "GET http://u:p@a/echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    ("absolute, other scheme", "GET ftp://a/echo HTTP/1.1\r\n" + H + "\r\n", BAD_REQUEST),
    # fields
    ("no host", "GET /echo HTTP/1.1\r\n\r\n", BAD_REQUEST),
    ("two hosts", "GET /echo HTTP/1.1\r\n" + H + "Host: b\r\n\r\n", BAD_REQUEST),
    ("the same host twice", "GET /echo HTTP/1.1\r\n" + H + H + "\r\n", BAD_REQUEST),
    ("host with a space", "GET /echo HTTP/1.1\r\nHost: a b\r\n\r\n", BAD_REQUEST),
    ("host with a slash", "GET /echo HTTP/1.1\r\nHost: a/b\r\n\r\n", BAD_REQUEST),
    ("host with a comma", "GET /echo HTTP/1.1\r\nHost: a,b\r\n\r\n", BAD_REQUEST),
    ("host with user", "GET /echo HTTP/1.1\r\nHost: u@a\r\n\r\n", BAD_REQUEST),
    ("host with a bad port", "GET /echo HTTP/1.1\r\nHost: a:8x\r\n\r\n", BAD_REQUEST),
    ("host with an open bracket", "GET /echo HTTP/1.1\r\nHost: [::1\r\n\r\n", BAD_REQUEST),
    ("host of NUL", "GET /echo HTTP/1.1\r\nHost: a\0b\r\n\r\n", BAD_REQUEST),
    ("space before the colon", "GET /echo HTTP/1.1\r\n" + H + "X-A : 1\r\n\r\n", BAD_REQUEST),
    ("tab before the colon", "GET /echo HTTP/1.1\r\n" + H + "X-A\t: 1\r\n\r\n", BAD_REQUEST),
    ("space before the colon of Host", "GET /echo HTTP/1.1\r\nHost : a\r\n\r\n", BAD_REQUEST),
    ("space before the colon of Content-Length", POST + "Content-Length : 3\r\n\r\nabc", BAD_REQUEST),
    ("space before the colon of Transfer-Encoding", POST + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
     BAD_REQUEST),
    ("space within a name", "GET /echo HTTP/1.1\r\n" + H + "X A: 1\r\n\r\n", BAD_REQUEST),
    ("no colon", "GET /echo HTTP/1.1\r\n" + H + "X-A 1\r\n\r\n", BAD_REQUEST),
    ("empty name", "GET /echo HTTP/1.1\r\n" + H + ": 1\r\n\r\n", BAD_REQUEST),
    ("name with NUL", "GET /echo HTTP/1.1\r\n" + H + "X\0A: 1\r\n\r\n", BAD_REQUEST),
    ("name with a high byte", "GET /echo HTTP/1.1\r\n" + H + "X\xe9A: 1\r\n\r\n", BAD_REQUEST),
    ("name with parentheses", "GET /echo HTTP/1.1\r\n" + H + "X(A): 1\r\n\r\n", BAD_REQUEST),
    ("name with a control byte", "GET /echo HTTP/1.1\r\n" + H + "X\x08A: 1\r\n\r\n", BAD_REQUEST),
    ("value with NUL", "GET /echo HTTP/1.1\r\n" + H + "X-A: a\0b\r\n\r\n", BAD_REQUEST),
    ("value with a bare CR", "GET /echo HTTP/1.1\r\n" + H + "X-A: a\rb\r\n\r\n", BAD_REQUEST),
    ("value with a bare CR that hides a field", "GET /echo HTTP/1.1\r\n" + H + "X-A: a\rX-B: b\r\n\r\n", BAD_REQUEST),
    ("bare LF after a field", "GET /echo HTTP/1.1\r\n" + H + "X-A: a\nX-B: b\r\n\r\n", BAD_REQUEST),
    ("bare LF at the end of the head", "GET /echo HTTP/1.1\r\n" + H + "\n", BAD_REQUEST),
    ("folded line", "GET /echo HTTP/1.1\r\n" + H + "X-A: a\r\n b\r\n\r\n", BAD_REQUEST),
    ("folded line with a tab", "GET /echo HTTP/1.1\r\n" + H + "X-A: a\r\n\tb\r\n\r\n", BAD_REQUEST),
    ("folded Transfer-Encoding", POST + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", BAD_REQUEST),
    ("space before the first field", "GET /echo HTTP/1.1\r\n " + H + "\r\n", BAD_REQUEST),
    ("space before a later field", "GET /echo HTTP/1.1\r\n" + H + " X-A: a\r\n\r\n", BAD_REQUEST),
    ("65 options in Connection", "GET /echo HTTP/1.1\r\n" + H + "Connection: " + "a," * 60 + "\r\nConnection:" + "b," * 5 + "\r\n\r\n",
     BAD_REQUEST),
    # lengths
    ("length with letters", POST + "Content-Length: 3a\r\n\r\nabc", BAD_REQUEST),
    ("empty length", POST + "Content-Length:\r\n\r\n", BAD_REQUEST),
    ("negative length", POST + "Content-Length: -3\r\n\r\nabc", BAD_REQUEST),
    ("length with a plus", POST + "Content-Length: +3\r\n\r\nabc", BAD_REQUEST),
    ("hexadecimal length", POST + "Content-Length: 0x3\r\n\r\nabc", BAD_REQUEST),
    ("length with a dot", POST + "Content-Length: 3.0\r\n\r\nabc", BAD_REQUEST),
    ("length in quotes", POST + 'Content-Length: "3"\r\n\r\nabc', BAD_REQUEST),
    ("length with a space", POST + "Content-Length: 1 3\r\n\r\nabc", BAD_REQUEST),
    ("list of lengths", POST + "Content-Length: 3, 3\r\n\r\nabc", BAD_REQUEST),
    ("list of unlike lengths", POST + "Content-Length: 3, 4\r\n\r\nabc", BAD_REQUEST),
    ("two lengths", POST + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", BAD_REQUEST),
    ("the same length twice", POST + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", BAD_REQUEST),
    ("length beyond 64 bits", POST + "Content-Length: 18446744073709551619\r\n\r\nabc", (400, 413)),
    ("length beyond 63 bits", POST + "Content-Length: 9223372036854775808\r\n\r\nabc", (400, 413)),
    ("length of many digits", POST + "Content-Length: " + "9" * 100 + "\r\n\r\nabc", (400, 413)),
    ("length with NUL", POST + "Content-Length: 3\0\r\n\r\nabc", BAD_REQUEST),
    # codings
    ("length and chunks", POST + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD_REQUEST),
    ("chunks and length", POST + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", BAD_REQUEST),
    ("two codings", POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD_REQUEST),
    ("chunked twice", POST + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", (400, 501)),
    ("chunked not last", POST + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", (400, 501)),
    ("gzip, chunked", POST + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", (501, 400)),
    ("gzip alone", POST + "Transfer-Encoding: gzip\r\n\r\nabc", (501, 400)),
    ("identity", POST + "Transfer-Encoding: identity\r\n\r\n", (501, 400)),
    ("xchunked", POST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", (501, 400)),
    ("chunked with NUL", POST + "Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n", BAD_REQUEST),
    ("chunked after vertical tab", POST + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", (400, 501)),
    ("chunked in quotes", POST + 'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', (400, 501)),
    ("chunked with a parameter", POST + "Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", (400, 501)),
    ("empty coding", POST + "Transfer-Encoding:\r\n\r\n0\r\n\r\n", (400, 501)),
    ("comma alone", POST + "Transfer-Encoding: ,\r\n\r\n0\r\n\r\n", (400, 501)),
    ("chunks in HTTP/1.0", "POST /upload HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400, 501)),
    # chunks
    ("chunk size with letters", POST + "Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n", BAD_REQUEST),
    ("empty chunk size", POST + "Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", BAD_REQUEST),
    ("chunk size 0x3", POST + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", BAD_REQUEST),
    ("chunk size +3", POST + "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", BAD_REQUEST),
    ("chunk size -1", POST + "Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n", BAD_REQUEST),
    ("space before a chunk size", POST + "Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n", BAD_REQUEST),
    ("space in a chunk size", POST + "Transfer-Encoding: chunked\r\n\r\n3 3\r\nabc\r\n0\r\n\r\n", BAD_REQUEST),
    ("chunk size beyond 64 bits", POST + "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
     (400, 413)),
    ("chunk size of all ones", POST + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n0\r\n\r\n",
     (400, 413)),
    ("chunk longer than it says", POST + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", BAD_REQUEST),
    ("chunk without its line end", POST + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n", BAD_REQUEST),
    ("chunk size with a bare LF", POST + "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", BAD_REQUEST),
    ("chunk data with a bare LF", POST + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", BAD_REQUEST),
    ("last chunk with a bare LF", POST + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\n\r\n", BAD_REQUEST),
    ("bare LF after the last chunk", POST + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\n", BAD_REQUEST),
    ("bare LF in a chunk extension", POST + "Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
     BAD_REQUEST),
    ("NUL in a chunk extension", POST + "Transfer-Encoding: chunked\r\n\r\n3;a\0b\r\nabc\r\n0\r\n\r\n", BAD_REQUEST),
    ("chunk extension without an end", POST + "Transfer-Encoding: chunked\r\n\r\n3;" + "a" * 100000, (400, 413)),
    ("trailer without a colon", POST + "Transfer-Encoding: chunked\r\n\r\n0\r\nabc\r\n\r\n", BAD_REQUEST),
    ("folded trailer", POST + "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n", BAD_REQUEST),
    ("trailers without an end", POST + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + "A: b\r\n" * 50000,
     (400, 413, 431)),
    # sizes
    ("target of 100 KB", "GET /" + "a" * 100000 + " HTTP/1.1\r\n" + H + "\r\n", (414,)),
    ("line without an end", "G" * 200000, (400, 414)),
    ("field of 100 KB", "GET /echo HTTP/1.1\r\n" + H + "X-A: " + "a" * 100000 + "\r\n\r\n", (400, 431, 494)),
    ("name of 100 KB", "GET /echo HTTP/1.1\r\n" + H + "X" * 100000 + ": a\r\n\r\n", (400, 431, 494)),
    ("fields of 1 MB", "GET /echo HTTP/1.1\r\n" + H + ("X-A: " + "a" * 1000 + "\r\n") * 1000 + "\r\n",
     (400, 431, 494)),
    ("100,000 fields", "GET /echo HTTP/1.1\r\n" + H + "a:b\r\n" * 100000 + "\r\n", (400, 431, 494)),
]


@pytest.fixture(scope="module")
def pair():
    """One sluice and one mock for all cases: that they live on is part of the test."""
    mock = Mock()
    conf = ("server { listen 127.0.0.1:@http@; location / { proxy_pass http://@mock@; } }")
    port = free_port()
    with Sluice(conf, {"http": port, "mock": mock.addr}) as s:
        s.port = port
        yield s, mock
    mock.stop()


def test_there_are_enough_cases():
    assert len(CASES) > 110 and len({c[0] for c in CASES}) == len(CASES)


@pytest.mark.parametrize("name,data,right", CASES, ids=[c[0].replace(" ", "-") for c in CASES])
def test_malformed(pair, name, data, right):
    s, mock = pair
    before = mock.requests()
    with Conn(s.port) as c:
        try:
            # What follows must never be read as a request of its own.
            c.send(data.encode("latin-1") + b"GET /echo/smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            assert len(data) > 10000
        how, answer = c.end()
    assert how != "open", answer
    if answer or len(data) < 10000:
        assert answer.startswith(b"HTTP/1.1 "), answer
        assert int(answer[9:12]) in right, answer[:200]
        assert answer.count(b"HTTP/1.1 ") == 1, "one answer, then the end"
        head = answer.split(b"\r\n\r\n")[0].lower()
        assert b"\r\nconnection: close" in head, head
    assert mock.requests() == before
    assert mock.stats()["bad_requests"] == 0


@pytest.mark.parametrize("data", ["TRACE /echo HTTP/1.1\r\n" + H + "\r\n",
                                  "CONNECT a:443 HTTP/1.1\r\n" + H + "\r\n"], ids=["TRACE", "CONNECT"])
def test_methods_that_are_refused(pair, data):
    s, mock = pair
    before = mock.requests()
    with Conn(s.port) as c:
        c.send(data)
        assert c.response().status in (400, 405)
    assert mock.requests() == before


# Unusual, and right: RFC 9110 and 9112 let them be.
FINE = [
    ("token characters in a name", "GET /echo HTTP/1.1\r\n" + H + "!#$%&'*+-.^`|~0: v\r\n\r\n"),
    ("no space after the colon", "GET /echo HTTP/1.1\r\nHost:a\r\nX-A:v\r\n\r\n"),
    ("spaces around a value", "GET /echo HTTP/1.1\r\nHost: \t a \t \r\nX-A:  v  \r\n\r\n"),
    ("empty value", "GET /echo HTTP/1.1\r\n" + H + "X-A:\r\n\r\n"),
    ("high bytes in a value", "GET /echo HTTP/1.1\r\n" + H + "X-A: caf\xe9\r\n\r\n"),
    ("tab in a value", "GET /echo HTTP/1.1\r\n" + H + "X-A: a\tb\r\n\r\n"),
    ("an unknown method", "MKCALENDAR /echo HTTP/1.1\r\n" + H + "\r\n"),
    ("an IPv6 Host", "GET /echo HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
    ("HTTP/1.0 without Host", "GET /echo HTTP/1.0\r\n\r\n"),
    ("leading zeros in a length", POST + "Content-Length: 0003\r\n\r\nabc"),
    ("chunked in capitals", POST + "Transfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    ("chunk size with zeros", POST + "Transfer-Encoding: chunked\r\n\r\n0003\r\nabc\r\n000\r\n\r\n"),
    ("chunk extensions", POST + 'Transfer-Encoding: chunked\r\n\r\n3;a=b;c="d;e"\r\nabc\r\n0;x\r\n\r\n'),
    ("trailers", POST + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: v\r\n\r\n"),
    ("64 options in Connection", "GET /echo HTTP/1.1\r\n" + H + "Connection: " + "a,," * 60 + "\r\nConnection:b,c,d,e\r\na: 1\r\n\r\n"),
    ("encoded letters in the path", "GET /%65cho HTTP/1.1\r\n" + H + "\r\n"),
    ("dots in the path", "GET /x/.././echo HTTP/1.1\r\n" + H + "\r\n"),
    ("anything in the query", "GET /echo?a=b?c/../d%zz&[]{}|\\^\"<> HTTP/1.1\r\n" + H + "\r\n"),
]


@pytest.mark.parametrize("name,data", FINE, ids=[c[0].replace(" ", "-") for c in FINE])
def test_unusual_but_right(pair, name, data):
    s, mock = pair
    with Conn(s.port) as c:
        c.send(data)
        r = c.response()
    assert r.status == 200 or (r.status == 404 and "path" in name), r
    assert mock.stats()["bad_requests"] == 0


@pytest.mark.parametrize("name,data,right", [c for c in CASES if c[0] in
                                             ("two lengths", "length and chunks", "no host", "folded line",
                                              "space before the colon", "chunk size with letters")])
def test_malformed_after_a_good_request(pair, name, data, right):
    """What went before is answered; nothing after it is."""
    s, mock = pair
    with Conn(s.port) as c:
        c.send(build("GET", "/bytes/10") + data.encode("latin-1") + build("GET", "/bytes/11"))
        assert c.response().body == mock_bytes(10)
        assert c.response().status in right
        assert c.end()[0] != "open" and not c.buf


def test_a_trailer_becomes_no_field(pair):
    s, _ = pair
    with Conn(s.port) as c:
        c.send("POST /echo HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
               "Authorization: Bearer forged\r\nContent-Length: 7\r\nHost: b\r\n\r\n")
        seen = c.response().json()
    assert not any(k.lower() == "authorization" or v in ("7", "b") for k, v in seen["headers"])
    assert seen["body"] == "abc"


def test_field_names_of_other_characters_are_not_passed_on(pair):
    """As nginx: only letters, digits and - go on, since others may be folded into them later."""
    s, _ = pair
    seen = fetch(s.port, "/echo", headers={"X_Under": "1", "X.Dot": "2", "X-Good": "3"}).json()
    names = {k.lower() for k, _ in seen["headers"]}
    assert "x-good" in names and not names & {"x_under", "x.dot"}


def test_the_log_tells(pair):
    s, _ = pair
    fetch(s.port, "/echo", headers=[("Content-Length", "1"), ("Content-Length", "2")])
    s.wait_log(r"\[info\].*client sent invalid.*client: 127\.0\.0\.1")


def test_malformed_requests_leak_nothing(pair):
    """10,000 of them do not make the worker grow."""
    s, _ = pair

    def burst():
        for _ in range(20):
            for name, data, _ in CASES:
                if len(data) < 10000:
                    with Conn(s.port) as c:
                        c.send(data)

    burst()
    worker = s.workers()[0]
    before = harness.pss_kb(worker)
    room_kb = 300000 if harness.IS_ASAN else 1500  # ASan keeps what was freed for a while
    for _ in range(3):
        burst()
    until(lambda: harness.pss_kb(worker) < before + room_kb, 5, "the worker's size")
    assert s.workers() == [worker]
