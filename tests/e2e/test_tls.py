# SPDX-License-Identifier: BSD-2-Clause
"""TLS towards clients: certificates by name and by key type, protocols, sessions, and where sluice listens."""
import re
import socket
import ssl
import subprocess
import threading

import harness
import pytest
from harness import Conn, build, client_tls, fetch, free_port, mock_bytes, run_sluice, temp_dir, until

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def certs(ca):
    class Certs:
        one = ca.make("one.test", ["one.test"])
        wild = ca.make("wild", ["*.wild.test"])
        other = ca.make("other.test", ["other.test"])
        ec = ca.make("both-ec", ["both.test"])
        rsa = ca.make("both-rsa", ["both.test"], kind="rsa")
    return Certs


def pair(cert):
    return f"ssl_certificate {cert.chain}; ssl_certificate_key {cert.key};"


@pytest.fixture
def tls(start, ca):
    """tls(more of the server): one TLS server for localhost that says what was negotiated."""
    def make(more="", http="", cert=None, text="$ssl_protocol|$ssl_cipher|$ssl_server_name|$scheme", **kw):
        return start(f"{http}\nserver {{ listen 127.0.0.1:@http@ ssl; {pair(cert or ca.server)} {more} "
                     f"location / {{ return 200 '{text}'; }} }}", **kw)
    return make


def cert_of(port, name, ca, **kw):
    """The subject's name in the certificate that a client gets who asks for NAME (None: for none)."""
    context = client_tls(**kw)
    with Conn(port, tls=context, sni=name) as c:
        der = c.sock.getpeercert(binary_form=True)
    p = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-subject", "-nameopt", "RFC2253"], input=der,
                       capture_output=True)
    return p.stdout.decode().strip().removeprefix("subject=CN=")


def test_sni(start, ca, certs):
    s = start(f"""
server {{ listen 127.0.0.1:@http@ ssl; server_name one.test; {pair(certs.one)} location / {{ return 200 one; }} }}
server {{ listen 127.0.0.1:@http@ ssl; server_name *.wild.test; {pair(certs.wild)} location / {{ return 200 wild; }} }}
server {{ listen 127.0.0.1:@http@ ssl default_server; server_name _; {pair(certs.other)}
          location / {{ return 200 default; }} }}
""")
    for name, subject, body in (("one.test", "one.test", b"one"), ("ONE.test", "one.test", b"one"),
                                ("a.wild.test", "wild", b"wild"), ("a.b.wild.test", "wild", b"wild"),
                                ("nobody.test", "other.test", b"default"), (None, "other.test", b"default")):
        assert cert_of(s.port, name, ca) == subject, name
        r = fetch(s.port, tls=client_tls(), sni=name, host=name or "x")
        assert r.body == body, name
    # The names are in the certificate, so verification by a real client holds too.
    assert fetch(s.port, tls=client_tls(ca.ca), sni="one.test", host="one.test").body == b"one"
    with pytest.raises(ssl.SSLCertVerificationError):
        Conn(s.port, tls=client_tls(ca.ca), sni="nobody.test")


def test_both_key_types(tls, ca, certs):
    s = tls(pair(certs.rsa), cert=certs.ec)
    assert cert_of(s.port, "both.test", ca) == "both-ec"
    assert cert_of(s.port, "both.test", ca, high=V12, ciphers="aRSA") == "both-rsa"
    assert cert_of(s.port, "both.test", ca, high=V12, ciphers="aECDSA") == "both-ec"


def test_protocols(tls):
    s = tls("ssl_protocols TLSv1.2;")
    assert fetch(s.port, tls=client_tls()).body.startswith(b"TLSv1.2|")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        Conn(s.port, tls=client_tls(low=V13))
    s = tls("ssl_protocols TLSv1.3;")
    assert fetch(s.port, tls=client_tls()).body.startswith(b"TLSv1.3|TLS_")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        Conn(s.port, tls=client_tls(high=V12))
    s.expected.append("handshak")
    s = tls()
    assert fetch(s.port, tls=client_tls(high=V12)).body.startswith(b"TLSv1.2|")
    assert fetch(s.port, tls=client_tls()).body.startswith(b"TLSv1.3|")


def test_ciphers_and_who_prefers(tls):
    names = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"
    asked = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    s = tls(f"ssl_ciphers {names}; ssl_prefer_server_ciphers on;")
    assert b"AES256-GCM" in fetch(s.port, tls=client_tls(high=V12, ciphers=asked)).body
    s = tls(f"ssl_ciphers {names}; ssl_prefer_server_ciphers off;")
    assert b"AES128-GCM" in fetch(s.port, tls=client_tls(high=V12, ciphers=asked)).body
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        Conn(s.port, tls=client_tls(high=V12, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305"))


def test_variables(tls):
    s = tls()
    protocol, cipher, name, scheme = fetch(s.port, tls=client_tls(), sni="localhost").body.decode().split("|")
    assert protocol == "TLSv1.3" and cipher.startswith("TLS_") and name == "localhost" and scheme == "https"


def test_alpn(tls):
    s = tls()
    for asked, got in ((["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"), (None, None)):
        with Conn(s.port, tls=client_tls(alpn=asked)) as c:
            assert c.sock.selected_alpn_protocol() == got
            assert c.request("GET", "/").status == 200
    # RFC 7301 3.2: with nothing in common the handshake ends.
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        Conn(s.port, tls=client_tls(alpn=["nonsense"]))


def resumed(s, context, session):
    with socket.create_connection(("127.0.0.1", s.port), 10) as raw:
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as c:
            c.sendall(build("GET", "/", {"Connection": "close"}))
            while c.recv(65536):
                pass
            return c.session_reused, c.session


@pytest.mark.parametrize("version", [V12, V13], ids=["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("more", ["", "ssl_session_cache shared:S:1m; ssl_session_tickets off;",
                                  "ssl_session_cache shared:S:1m;"], ids=["tickets", "cache", "both"])
def test_resumption_across_workers(tls, version, more):
    s = tls(more, main="worker_processes 2;")
    until(lambda: len(s.workers()) == 2, what="two workers")
    context = client_tls(low=version, high=version)
    was, session = resumed(s, context, None)
    assert not was
    for _ in range(20):  # whichever of the two takes it
        was, newer = resumed(s, context, session)
        assert was
        session = newer if version == V13 else session
    # Tickets and cached sessions outlive a reload.
    s.reload()
    was, _ = resumed(s, context, session)
    assert was


def test_no_resumption_where_it_is_off(tls):
    s = tls("ssl_session_cache off; ssl_session_tickets off;")
    context = client_tls(high=V12)
    _, session = resumed(s, context, None)
    assert not resumed(s, context, session)[0]


def test_plain_http_to_a_tls_port(tls):
    s = tls()
    with Conn(s.port) as c:
        r = c.request("GET", "/")
        assert r.status == 400 and b"plain HTTP request was sent to HTTPS port" in r.body
        assert c.end()[0] != "open"
    s.wait_log("client sent plain HTTP request to HTTPS port")
    for junk in (b"\x00" * 300, b"\x16\x03\x01", b"hello\r\n", b"\x80" * 100):
        with Conn(s.port) as c:
            c.send(junk)
            c.sock.shutdown(socket.SHUT_WR)
            assert c.end()[0] != "open"
    assert fetch(s.port, tls=client_tls()).status == 200


def test_a_handshake_that_never_ends(tls):
    s = tls(http="client_header_timeout 600ms;")
    with Conn(s.port) as c:
        c.send(b"\x16\x03\x01\x02\x00")
        assert c.end(4)[0] != "open"


def test_large_bodies(start, mock, ca):
    s = start(f"client_max_body_size 0;\nserver {{ listen 127.0.0.1:@http@ ssl; {pair(ca.server)} "
              "location / { proxy_pass http://@mock@; } }", {"mock": mock.addr})
    body = mock_bytes(10000000)
    with Conn(s.port, tls=client_tls(), timeout=30) as c:
        assert c.request("GET", "/bytes/10000000").body == body
        assert c.request("GET", "/chunked/3000001").body == body[:3000001]
        assert c.request("POST", "/upload", body=body).json()["sha256"] == harness.sha256(body)
        c.send(build("GET", "/bytes/5") + build("GET", "/bytes/6"))
        assert c.response().body == body[:5] and c.response().body == body[:6]


def test_the_end_is_told(start, mock, ca):
    """close_notify ends a whole answer; a cut one has none, so that nobody takes it for whole."""
    s = start(f"server {{ listen 127.0.0.1:@http@ ssl; {pair(ca.server)} location / {{ proxy_pass http://@mock@; }} }}",
              {"mock": mock.addr})
    with Conn(s.port, tls=client_tls()) as c:
        c.send(build("GET", "/bytes/100", {"Connection": "close"}))
        how, data = c.end()
        assert how == "fin" and data.endswith(mock_bytes(100))
    with Conn(s.port, tls=client_tls()) as c:
        c.send(build("GET", "/chunked/100000", {"X-Mock-Fault": "close-in-body"}, version="1.0"))
        assert c.end()[0] in ("cut", "reset")


def test_ssl_and_plain_beside_each_other(start, ca):
    other = free_port()
    s = start(f"server {{ listen 127.0.0.1:@http@; listen 127.0.0.1:@tls@ ssl; {pair(ca.server)} "
              "location / { return 200 $scheme; } }", {"tls": other})
    assert fetch(s.port).body == b"http" and fetch(other, tls=client_tls()).body == b"https"


def test_ipv6_and_unix(start, ca):
    six = free_port(host="::1")
    with temp_dir() as folder:
        s = start(f"server {{ listen 127.0.0.1:@http@; listen [::1]:@six@ ssl; listen unix:@folder@/s.sock; "
                  f"{pair(ca.server)} location / {{ return 200 '$remote_addr $scheme'; }} }}",
                  {"six": six, "folder": folder})
        assert fetch(s.port).body == b"127.0.0.1 http"
        with Conn(six, "::1", tls=client_tls(ca.ca), sni="::1") as c:
            assert c.request("GET", "/").body == b"::1 https"
        path = folder / "s.sock"
        with Conn(0, unix=path) as c:
            assert c.request("GET", "/").body == b"unix: http"
        s.reload()
        with Conn(0, unix=path) as c:
            assert c.request("GET", "/").status == 200
        s.stop()
        assert not path.exists()
        s.expected.append("the master process is gone")
        s.start()  # and once more, after a crash left it behind
        s.kill()
        assert path.exists()
        s.start()
        with Conn(0, unix=path) as c:
            assert c.request("GET", "/").status == 200


def test_ipv6_wildcard_is_apart_from_ipv4(start):
    s = start("server { listen @http@; listen [::]:@http@; location / { return 200 $remote_addr; } }")
    assert fetch(s.port).body == b"127.0.0.1"
    with Conn(s.port, "::1") as c:
        assert c.request("GET", "/").body == b"::1"


@pytest.mark.parametrize("what", ["missing", "garbage", "mismatch", "no-key"])
def test_bad_certificates_are_told(what, ca, certs):
    with temp_dir() as folder:
        chain, key = certs.one.chain, certs.one.key
        if what == "missing":
            chain = folder / "none.pem"
        elif what == "garbage":
            chain = folder / "garbage.pem"
            chain.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        elif what == "mismatch":
            key = certs.other.key
        text = f"ssl_certificate {chain};\n" + (f"ssl_certificate_key {key};\n" if what != "no-key" else "")
        path = folder / "sluice.conf"
        path.write_text("events { }\nhttp {\nserver {\nlisten 127.0.0.1:8443 ssl;\n" + text + "}\n}\n")
        code, out = run_sluice("-t", "-p", folder)
        assert code == 1 and re.search(rf"\[emerg\].*(certificate|key).* in {path}:\d+", out), out


def test_new_certificate_after_a_reload(start, ca, certs):
    with temp_dir() as folder:
        chain, key = folder / "c.pem", folder / "k.pem"
        chain.write_bytes(certs.one.chain.read_bytes())
        key.write_bytes(certs.one.key.read_bytes())
        s = start(f"server {{ listen 127.0.0.1:@http@ ssl; ssl_certificate {chain}; ssl_certificate_key {key}; "
                  "location / { return 200 x; } }")
        assert cert_of(s.port, "x", ca) == "one.test"
        chain.write_bytes(certs.other.chain.read_bytes())
        key.write_bytes(certs.other.key.read_bytes())
        assert cert_of(s.port, "x", ca) == "one.test"
        s.reload()
        until(lambda: cert_of(s.port, "x", ca) == "other.test", what="the new certificate")


def test_many_handshakes_at_once(tls):
    s = tls(main="worker_processes 2;")
    bad = []

    def work():
        try:
            for _ in range(10):
                assert fetch(s.port, tls=client_tls(), timeout=30).status == 200
        except Exception as e:  # noqa: BLE001 - into the list, whatever it is
            bad.append(repr(e))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not bad


# --- early data -------------------------------------------------------------------------------------

class Recorder:
    """A TCP relay in front of PORT that keeps what the client sent, connection by connection."""

    def __init__(self, port):
        self.to, self.sent = port, []
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                a, _ = self.sock.accept()
            except OSError:
                return
            b = socket.create_connection(("127.0.0.1", self.to))
            self.sent.append(b"")
            threading.Thread(target=self.copy, args=(a, b, len(self.sent) - 1), daemon=True).start()
            threading.Thread(target=self.copy, args=(b, a, None), daemon=True).start()

    def copy(self, a, b, kept):
        try:
            while data := a.recv(65536):
                if kept is not None:
                    self.sent[kept] += data
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def s_client(port, *args, request=b"", timeout=20):
    p = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", "-ign_eof",
                        *map(str, args)], input=request, capture_output=True, timeout=timeout * harness.SLOW)
    return p.stdout.decode(errors="replace") + p.stderr.decode(errors="replace")


@pytest.fixture
def early(tls, mock):
    def make(more="", **kw):
        return tls(more + f"ssl_early_data on; location /up {{ proxy_pass http://{mock.addr}/echo; "
                   "proxy_set_header Early-Data $ssl_early_data; }", text="early=$ssl_early_data|", **kw)
    return make


def early_request(path, folder, n=0):
    data = folder / "early"
    data.write_bytes(build("GET", path, {"Connection": "close", **({"X-Pad": "x" * n} if n else {})}))
    return data


@pytest.mark.parametrize("size", [0, 900, 6000])
def test_early_data(early, mock, size):
    s = early()
    with temp_dir() as folder:
        out = s_client(s.port, "-sess_out", folder / "s", request=build("GET", "/", {"Connection": "close"}))
        assert "early=|" in out and "Max Early Data: 16384" in out
        out = s_client(s.port, "-sess_in", folder / "s", "-early_data",
                       early_request("/", folder, size))
        assert "Early data was accepted" in out and "early=1|" in out
        out = s_client(s.port, "-sess_in", folder / "s", "-early_data", early_request("/up", folder, size))
        assert "Early data was accepted" in out and '["early-data", "1"]' in out.lower().replace('","', '", "')
        # After the handshake the rest is as ever.
        out = s_client(s.port, "-sess_in", folder / "s", request=build("GET", "/", {"Connection": "close"}))
        assert "early=|" in out


def test_early_data_is_taken_once(early, mock):
    """Whoever replays what a client sent early gets nothing done a second time, by whichever worker."""
    s = early(main="worker_processes 2;")
    relay = Recorder(s.port)
    with temp_dir() as folder:
        s_client(s.port, "-sess_out", folder / "s", request=build("GET", "/", {"Connection": "close"}))
        out = s_client(relay.port, "-sess_in", folder / "s", "-early_data", early_request("/up", folder))
        assert "Early data was accepted" in out
    assert mock.requests() == 1
    for _ in range(6):
        with Conn(s.port) as c:
            c.send(relay.sent[0])
            c.sock.shutdown(socket.SHUT_WR)
            c.end()
    s.reload()
    with Conn(s.port) as c:
        c.send(relay.sent[0])
        c.sock.shutdown(socket.SHUT_WR)
        c.end()
    assert mock.requests() == 1
    relay.sock.close()


def test_early_data_is_off(tls):
    s = tls()
    with temp_dir() as folder:
        out = s_client(s.port, "-sess_out", folder / "s", request=build("GET", "/", {"Connection": "close"}))
        assert "Max Early Data: 0" in out
        assert fetch(s.port, tls=client_tls()).status == 200
