# SPDX-License-Identifier: BSD-2-Clause
"""TLS, both sides of it: one file, Debian's nginx and sluice, and both must answer alike."""
import contextlib
import json
import re
import socket
import ssl
import subprocess
import threading

import harness
import pytest
from harness import Conn, build, client_tls, free_port, openssl

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

CONF = r"""
    default_type text/plain;
    ssl_session_cache shared:all:1m;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate @site.crt@;
    ssl_certificate_key @site.key@;

    # --- what variables say
    server {
        listen 127.0.0.1:@http@ ssl default_server;
        server_name plain.test;
        ssl_verify_client optional_no_ca;
        ssl_client_certificate @ca@;
        location /var/ { return 200 "$ssl_protocol|$ssl_cipher|$ssl_server_name|$ssl_session_reused|$ssl_early_data|$ssl_alpn_protocol|$scheme|$https|"; }
        location /curve { return 200 "$ssl_curve|$ssl_curves|$ssl_ciphers"; }
        location /client { return 200 "$ssl_client_verify|$ssl_client_s_dn|$ssl_client_i_dn|$ssl_client_s_dn_legacy|$ssl_client_i_dn_legacy|$ssl_client_serial|$ssl_client_fingerprint|$ssl_client_v_start|$ssl_client_v_end|$ssl_client_v_remain|"; }
        location /raw { return 200 "$ssl_client_raw_cert"; }
        location /cert { return 200 "$ssl_client_cert"; }
        location /escaped { return 200 "$ssl_client_escaped_cert"; }
        location /upstream { proxy_set_header X-Cert $ssl_client_escaped_cert; proxy_set_header X-Dn $ssl_client_s_dn; proxy_set_header X-Verify $ssl_client_verify; proxy_pass http://@mock@/echo; }
    }
    server {
        listen 127.0.0.1:@http@ ssl;
        server_name on.test;
        ssl_verify_client on;
        ssl_client_certificate @ca@;
        ssl_verify_depth 1;
        return 200 "on $ssl_client_verify";
    }
    server {
        listen 127.0.0.1:@http@ ssl;
        server_name optional.test;
        ssl_verify_client optional;
        ssl_client_certificate @ca@;
        return 200 "optional $ssl_client_verify";
    }
    server {
        listen 127.0.0.1:@http@ ssl;
        server_name noca.test;
        ssl_verify_client optional_no_ca;
        return 200 "noca $ssl_client_verify";
    }
    server {
        listen 127.0.0.1:@http@ ssl;
        server_name off.test;
        ssl_verify_client off;
        return 200 "off $ssl_client_verify";
    }
    server {
        listen 127.0.0.1:@http@ ssl;
        server_name crl.test;
        ssl_verify_client on;
        ssl_client_certificate @ca@;
        ssl_crl @crl@;
        return 200 "crl $ssl_client_verify";
    }
    server {
        listen 127.0.0.1:@http@ ssl;
        server_name trusted.test;
        ssl_verify_client optional;
        ssl_client_certificate @other.ca@;
        ssl_trusted_certificate @ca@;
        return 200 "trusted $ssl_client_verify";
    }
    server {
        listen 127.0.0.1:@http@ ssl;
        server_name deep.test;
        ssl_verify_client on;
        ssl_client_certificate @ca@;
        ssl_verify_depth 2;
        return 200 "deep $ssl_client_verify";
    }
    server {
        listen 127.0.0.1:@http@ ssl;
        server_name shallow.test;
        ssl_verify_client on;
        ssl_client_certificate @ca@;
        ssl_verify_depth 0;
        return 200 "shallow $ssl_client_verify";
    }
    server {
        listen 127.0.0.1:@http@ ssl;
        server_name rejects.test;
        ssl_reject_handshake on;
    }
    server {
        listen 127.0.0.1:@http@ ssl;
        server_name v12.test;
        ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;
        return 200 "v12";
    }

    # --- a default server that verifies
    server {
        listen 127.0.0.1:@strict@ ssl;
        server_name strict.test;
        ssl_verify_client on;
        ssl_client_certificate @ca@;
        return 200 "strict $ssl_client_verify";
    }
    server {
        listen 127.0.0.1:@strict@ ssl;
        server_name open.test;
        return 200 "open $ssl_client_verify";
    }

    # --- a default server that rejects
    server {
        listen 127.0.0.1:@reject@ ssl default_server;
        ssl_reject_handshake on;
    }
    server {
        listen 127.0.0.1:@reject@ ssl;
        server_name known.test;
        return 200 "known";
    }

    # --- the statuses that are for error_page alone
    server {
        listen 127.0.0.1:@pages@ ssl;
        server_name pages.test;
        ssl_verify_client optional;
        ssl_client_certificate @ca@;
        error_page 495 /bad;
        error_page 496 =403 /none;
        error_page 497 https://$host:443$request_uri;
        location / { return 200 "fine $ssl_client_verify"; }
        location = /bad { return 200 "bad: $ssl_client_verify $ssl_client_s_dn"; }
    }
    server {
        listen 127.0.0.1:@pages@ ssl;
        server_name must.test;
        ssl_verify_client on;
        ssl_client_certificate @ca@;
        error_page 495 =200 /bad;
        error_page 496 =403 /none;
        error_page 497 =200 /plain;
        error_page 421 =200 /other;
        location / { return 200 "fine $ssl_client_verify"; }
        location = /bad { return 200 "bad: $ssl_client_verify"; }
        location = /none { return 200 "none: $ssl_client_verify $uri $request_uri"; }
        location = /plain { return 200 "plain: $scheme $uri $request_uri"; }
        location = /other { return 200 "other: $uri"; }
    }
    server {
        listen 127.0.0.1:@pages@ ssl;
        server_name named.test;
        ssl_verify_client on;
        ssl_client_certificate @ca@;
        error_page 495 496 497 @page;
        location / { return 200 fine; }
        location @page { return 402 "page: $scheme $ssl_client_verify $status"; }
    }

    # --- contexts with commands
    server {
        listen 127.0.0.1:@command@ ssl;
        ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;
        ssl_conf_command Options PrioritizeChaCha;
        return 200 "$ssl_protocol $ssl_cipher";
    }
    server {
        listen 127.0.0.1:@v13@ ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_ecdh_curve secp384r1;
        ssl_conf_command MinProtocol TLSv1.3;
        return 200 "$ssl_protocol $ssl_curve";
    }
    server {
        listen 127.0.0.1:@dh@ ssl;
        ssl_certificate @rsa.crt@;
        ssl_certificate_key @rsa.key@;
        ssl_certificate @site.crt@;
        ssl_certificate_key @site.key@;
        ssl_dhparam @dhparam@;
        ssl_protocols TLSv1.2;
        ssl_ciphers DHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256;
        ssl_prefer_server_ciphers on;
        return 200 "$ssl_cipher";
    }
    server {
        listen 127.0.0.1:@locked@ ssl;
        ssl_certificate @site.crt@;
        ssl_certificate_key @locked.key@;
        ssl_password_file @passwords@;
        ssl_buffer_size 1400;
        location / { return 200 "unlocked"; }
        location /bytes/ { proxy_pass http://@mock@; }
    }
    server {
        listen 127.0.0.1:@keys@ ssl;
        ssl_session_cache off;
        ssl_session_ticket_key @key80@;
        ssl_session_ticket_key @key48@;
        return 200 "$ssl_session_reused";
    }
    server {
        listen 127.0.0.1:@keys2@ ssl;
        ssl_session_cache off;
        ssl_session_ticket_key @key48@;
        ssl_session_ticket_key @key80@;
        return 200 "$ssl_session_reused";
    }
"""

PORTS = ("http", "pages", "strict", "reject", "command", "v13", "dh", "locked", "keys", "keys2")


class Files:
    """Certificates, lists, keys: what the configuration names."""

    def __init__(self, folder, ca, wrong_ca):
        self.values = {"ca": ca.ca, "other.ca": wrong_ca.ca}
        names = ["plain.test", "on.test", "localhost"]
        self.add("site", ca.make("site", names))
        self.add("rsa", ca.make("site-rsa", names, kind="rsa"))
        self.clients = {
            "none": None,
            "good": ca.make("good", ["client.test"], subject="/C=DE/O=Good Co./CN=client good"),
            "wrong": wrong_ca.make("wrong", ["client.test"]),
            "expired": ca.make("expired", ["client.test"], expired=True),
            "revoked": ca.make("revoked", ["client.test"]),
            "self": self.self_signed(folder),
            "odd": ca.make("odd", ["client.test"], subject='/C=DE/O=A "B", C;<D>/CN=client odd/emailAddress=a@b.test'),
            "deep": self.deep(folder, ca),
        }
        self.values["crl"] = self.crl(folder, ca, self.clients["revoked"])
        self.values["dhparam"] = folder / "dh.pem"
        self.values["dhparam"].write_text(DH)
        self.values["locked.key"] = folder / "locked.key"
        openssl("pkey", "-in", self.values["site.key"], "-out", self.values["locked.key"], "-aes128", "-passout",
                "pass:third one")
        self.values["passwords"] = folder / "passwords"
        self.values["passwords"].write_text("first\n\nsecond\r\nthird one\nfourth")
        for n in (48, 80):
            self.values[f"key{n}"] = folder / f"ticket{n}"
            self.values[f"key{n}"].write_bytes(bytes((i * 7 + n) % 256 for i in range(n)))

    def add(self, name, cert):
        self.values[f"{name}.crt"], self.values[f"{name}.key"] = cert.chain, cert.key

    def self_signed(self, folder):
        out = harness.Cert(folder / "self.pem", folder / "self.key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", out.key,
                "-out", out.chain, "-days", "9", "-subj", "/CN=client self")
        return out

    def deep(self, folder, ca):
        """A client of an authority between."""
        mid = ca.make("between", ["between"])
        ext = folder / "mid.ext"
        ext.write_text("basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign,cRLSign\n")
        csr, crt = folder / "mid.csr", folder / "mid.pem"
        openssl("req", "-new", "-key", mid.key, "-subj", "/CN=between", "-out", csr)
        openssl("x509", "-req", "-in", csr, "-CA", ca.ca, "-CAkey", ca.ca_key, "-CAcreateserial", "-days", "9", "-out", crt,
                "-extfile", ext)
        key, csr, leaf = folder / "deep.key", folder / "deep.csr", folder / "deep.pem"
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", csr,
                "-subj", "/CN=client deep", "-addext", "subjectAltName=DNS:deep.test")
        openssl("x509", "-req", "-in", csr, "-CA", crt, "-CAkey", mid.key, "-CAcreateserial", "-days", "9", "-out", leaf,
                "-copy_extensions", "copy")
        leaf.write_text(leaf.read_text() + crt.read_text())
        return harness.Cert(leaf, key)

    def crl(self, folder, ca, revoked):
        conf, index, out = folder / "crl.conf", folder / "index", folder / "crl.pem"
        index.write_text("")
        conf.write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={index}\ndefault_md=sha256\ndefault_crl_days=9\n"
                        f"crlnumber={folder}/crlnumber\n")
        (folder / "crlnumber").write_text("01\n")
        args = ["ca", "-config", conf, "-cert", ca.ca, "-keyfile", ca.ca_key]
        openssl(*args, "-revoke", revoked.chain)
        openssl(*args, "-gencrl", "-out", out)
        return out


# RFC 7919's ffdhe2048.
DH = """-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""


class Both:
    def __init__(self, stack, conf, files, ports=("http",), **values):
        self.mock = harness.Mock()
        stack.callback(self.mock.stop)
        self.servers = []
        for cls in (harness.Nginx, harness.Sluice):
            own = {p: free_port() for p in ports}
            s = cls(conf, {**files.values, **values, "mock": self.mock.addr, **own}, log="info")
            stack.enter_context(s)
            s.ports = own
            self.servers.append(s)


@pytest.fixture(scope="module")
def files(ca, wrong_ca):
    with harness.temp_dir() as folder:
        yield Files(folder, ca, wrong_ca)


@pytest.fixture(scope="module")
def both(files):
    with contextlib.ExitStack() as stack:
        b = Both(stack, CONF, files, PORTS)
        b.clients = files.clients
        yield b


def context(client=None, version=None, **kw):
    out = client_tls(low=version, high=version, **kw)
    if client:
        out.load_cert_chain(client.chain, client.key)
    return out


def seen(s, raw):
    """The answer in a form in which two can be compared: its own errors by their status alone."""
    r = raw
    body = b"(error)" if r.status >= 400 and b"PORT" not in r.body else r.body
    body = re.sub(rb"nginx/[\d.]+|sluice(/[\d.]+)?", b"(server)", body)
    return r.status, (r.header("Connection") or "").lower(), body.replace(str(s.ports["http"]).encode(), b"PORT")


def ask(s, port, tls, path="/", host="plain.test", sni="plain.test", **kw):
    try:
        with Conn(s.ports[port], tls=tls, sni=sni) as c:
            return seen(s, c.request("GET", path, host=host, **kw))
    except ssl.SSLError as e:
        return "handshake", e.reason
    except (harness.Closed, ConnectionError) as e:
        return "closed", type(e).__name__


def alike(both, *args, client=None, version=None, tls=None, **kw):
    nginx, sluice = (ask(s, *args[:1], context(client, version, **(tls or {})), *args[1:], **kw) for s in both.servers)
    assert sluice == nginx
    return nginx


VERIFIED = ("on.test", "optional.test", "noca.test", "off.test", "crl.test", "trusted.test", "deep.test",
            "shallow.test", "plain.test")
CLIENTS = ("none", "good", "wrong", "expired", "revoked", "self", "deep")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("host", VERIFIED)
def test_verification(both, host, client):
    """Which certificates which server takes."""
    got = alike(both, "http", "/client", host, host, client=both.clients[client])
    assert got[0] in (200, 400)
    if client == "none":
        assert got[0] == (400 if host in ("on.test", "crl.test", "deep.test", "shallow.test") else 200)


@pytest.mark.parametrize("client", CLIENTS)
def test_verification_by_older_tls(both, client):
    for host in VERIFIED[:4]:
        alike(both, "http", "/client", host, host, client=both.clients[client], version=V12)


@pytest.mark.parametrize("client", ["none", "good", "wrong", "self", "odd", "deep", "expired"])
@pytest.mark.parametrize("path", ["/client", "/raw", "/cert", "/escaped"])
def test_what_certificates_say(both, path, client):
    status, _, body = alike(both, "http", path, client=both.clients[client])
    if client in ("good", "self", "wrong", "odd", "deep"):
        assert status == 200 and len(body) > 100


def test_certificates_to_upstream(both):
    def fields(s):
        with Conn(s.ports["http"], tls=context(both.clients["good"]), sni="plain.test") as c:
            seen_there = c.request("GET", "/upstream", host="plain.test").json()["headers"]
            return {k.lower(): v for k, v in seen_there if k.lower() in ("x-cert", "x-dn", "x-verify")}
    nginx, sluice = map(fields, both.servers)
    assert sluice == nginx and sluice["x-cert"].startswith("-----BEGIN%20CERT") and sluice["x-verify"] == "SUCCESS"


@pytest.mark.parametrize("version", [V12, V13], ids=["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("path", ["/var/", "/curve"])
@pytest.mark.parametrize("sni", ["plain.test", "on.test", "unknown.test", None])
def test_variables(both, path, version, sni):
    alike(both, "http", path, sni=sni, version=version)


@pytest.mark.parametrize("alpn", [["http/1.1"], ["http/1.0", "http/1.1"], ["http/1.0"], ["http/0.9"], None])
def test_alpn(both, alpn):
    alike(both, "http", "/var/", tls={"alpn": alpn})


HOSTS = [("off.test", "on.test"), ("on.test", "off.test"), ("on.test", "optional.test"), ("plain.test", "noca.test"),
         ("off.test", "plain.test"), ("unknown.test", "off.test"), ("unknown.test", "on.test"), (None, "off.test"),
         (None, "on.test"), (None, "optional.test"), ("unknown.test", "optional.test"), ("on.test", "ON.test"),
         ("ON.TEST", "on.test"), ("on.test", "on.test."), ("on.test", "on.test:1234"), ("on.test", "unknown.test"),
         ("off.test", "unknown.test")]


@pytest.mark.parametrize("sni,host", HOSTS)
def test_host_other_than_sni(both, sni, host):
    alike(both, "http", "/client", host, sni)


@pytest.mark.parametrize("sni,host", [h for h in HOSTS if h[0] not in (None, "unknown.test")])
def test_host_other_than_sni_with_a_certificate(both, sni, host):
    alike(both, "http", "/client", host, sni, client=both.clients["good"])


# Not the default server's own name: nginx refuses that too, though nothing differs.
@pytest.mark.parametrize("sni", ["on.test", "off.test", "unknown.test", None])
def test_no_host_at_all(both, sni):
    """HTTP/1.0 without Host: that is the default server, whatever the handshake asked for."""
    got = []
    for s in both.servers:
        with Conn(s.ports["http"], tls=context(both.clients["good"]), sni=sni) as c:
            c.send("GET /client HTTP/1.0\r\n\r\n")
            got.append(seen(s, c.response()))
    assert got[1] == got[0]


def test_a_certificate_shown_to_nobody_in_particular(both):
    """sluice alone refuses a certificate that was checked by the default server's rules for another server."""
    nginx, sluice = (ask(s, "http", context(both.clients["good"]), "/", "on.test", None) for s in both.servers)
    assert nginx[0] == 200 and sluice[0] == 421


@pytest.mark.parametrize("client", ["none", "good", "wrong"])
@pytest.mark.parametrize("sni,host", [("strict.test", "strict.test"), ("open.test", "open.test"), (None, "open.test"),
                                      ("strict.test", "open.test"), ("open.test", "strict.test"), (None, "strict.test"),
                                      ("none.test", "none.test")])
def test_a_default_server_that_verifies(both, sni, host, client):
    alike(both, "strict", "/", host, sni, client=both.clients[client])


@pytest.mark.parametrize("version", [V12, V13], ids=["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("port,sni,ok", [("http", "rejects.test", False), ("reject", "known.test", True), ("reject", None, False),
                                         ("reject", "other.test", False)])
def test_reject_handshake(both, port, sni, ok, version):
    got = alike(both, port, "/", sni, sni, version=version) if ok else \
        alike(both, port, "/", sni or "x", sni, version=version)
    assert got[0] == 200 if ok else got == ("handshake", "TLSV1_UNRECOGNIZED_NAME")


def test_commands(both):
    assert alike(both, "command")[2] == b"TLSv1.3 TLS_CHACHA20_POLY1305_SHA256"
    assert alike(both, "v13")[2] == b"TLSv1.3 secp384r1"
    assert alike(both, "v13", version=V12)[0] == "handshake"


@pytest.mark.parametrize("ciphers", ["DHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256",
                                     "ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA", "DEFAULT"])
def test_dhparam_and_two_key_types(both, ciphers):
    alike(both, "dh", version=V12, tls={"ciphers": ciphers})


def test_password_file(both):
    assert alike(both, "locked")[2] == b"unlocked"


def records(s, n):
    """Lengths of the TLS 1.3 records in which a body of N bytes comes."""
    left, right = socket.socketpair()
    del left, right
    obj_in, obj_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    obj = context(version=V13).wrap_bio(obj_in, obj_out, server_hostname="x")
    with socket.create_connection(("127.0.0.1", s.ports["locked"]), 10) as sock:
        raw, data, asked = b"", b"", False
        while len(data) < n:
            try:
                obj.do_handshake() if not asked else None
                if not asked:
                    asked = True
                    obj.write(build("GET", f"/bytes/{n}", {"Connection": "close"}))
                data += obj.read(65536)
                continue
            except ssl.SSLWantReadError:
                pass
            if obj_out.pending:
                sock.sendall(obj_out.read())
            got = sock.recv(65536)
            assert got
            raw += got
            obj_in.write(got)
    out = []
    while len(raw) >= 5:
        size = int.from_bytes(raw[3:5], "big")
        out.append(size - 17)
        raw = raw[5 + size:]
    return out


def test_buffer_size(both):
    for s in both.servers:
        assert max(records(s, 100000)[4:]) == 1400, s.name


@pytest.mark.parametrize("version", [V12, V13], ids=["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("first,second", [("keys", "keys"), ("keys", "keys2"), ("keys2", "keys"), ("keys", "locked")])
def test_ticket_keys(both, first, second, version):
    """A ticket of one key opens wherever that key is, whoever sealed it: nginx's open in sluice and the other way."""
    def ticket(s, port, tls, session=None):
        with socket.create_connection(("127.0.0.1", s.ports[port]), 10) as raw:
            with tls.wrap_socket(raw, server_hostname="x", session=session) as c:
                c.sendall(build("GET", "/", {"Connection": "close"}))
                while c.recv(65536):
                    pass
                return c.session_reused, c.session
    for a in both.servers:
        for b in both.servers:
            tls = context(version=version)
            _, session = ticket(a, first, tls)
            assert ticket(b, second, tls, session)[0] == (second != "locked"), (a.name, b.name)


def test_plain_http_on_a_tls_port(both):
    for request in (build("GET", "/"), build("GET", "/", version="1.0")):
        got = []
        for s in both.servers:
            with Conn(s.ports["http"]) as c:
                c.send(request)
                got.append((c.head().status, c.end()[0]))
        assert got[0] == got[1]


@pytest.mark.parametrize("client", ["none", "good", "wrong", "expired"])
@pytest.mark.parametrize("sni,host", [("pages.test", "pages.test"), ("must.test", "must.test"), ("named.test", "named.test"),
                                      ("must.test", "named.test"), ("pages.test", "must.test")])
def test_error_pages(both, sni, host, client):
    alike(both, "pages", "/a/path?with=args", host, sni, client=both.clients[client])


@pytest.mark.parametrize("host", ["pages.test", "must.test", "named.test", "other.test"])
def test_error_pages_of_plain_http(both, host):
    got = []
    for s in both.servers:
        with Conn(s.ports["pages"]) as c:
            r = c.request("GET", "/a/path?with=args", host=host)
            got.append((seen(s, r), r.header("Location"), c.end()[0]))
    assert got[1] == got[0]
    assert got[0][0][0] in (302, 200, 400, 402)


def renegotiates(s, version):
    """What openssl says when it asks for another handshake on an open connection."""
    p = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{s.ports['http']}", version, "-legacy_renegotiation"],
                       input=b"R\n", capture_output=True, timeout=30)
    return b"renegotiation" in p.stderr.lower() and p.returncode != 0


def test_no_renegotiation(both):
    assert [renegotiates(s, "-tls1_2") for s in both.servers] == [True, True]


# --- towards upstreams --------------------------------------------------------------------------------

class TlsUpstream:
    """A TLS server that answers with what it saw of its client; ASK: wants a certificate."""

    def __init__(self, cert, ca=None, ask=False, plain=False):
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(cert.chain, cert.key)
        if ask:
            self.tls.verify_mode = ssl.CERT_OPTIONAL
            self.tls.load_verify_locations(ca)
        self.names, self.plain = {}, plain
        self.tls.sni_callback = lambda sock, name, _: self.names.__setitem__(sock, name)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, raw):
        with contextlib.suppress(OSError):
            raw.settimeout(20)
            if self.plain:
                raw.recv(100)
                raw.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                raw.close()
                return
            c = self.tls.wrap_socket(raw, server_side=True)
            data = b""
            while b"\r\n\r\n" not in data:
                data += c.recv(65536)
            subject = c.getpeercert() and dict(x[0] for x in c.getpeercert()["subject"])
            saw = [c.version(), self.names.pop(c, None), c.session_reused, c.cipher()[0], subject]
            body = json.dumps(saw).encode()
            c.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            c.unwrap()
            c.close()


UPSTREAM_CONF = r"""
    proxy_ssl_protocols TLSv1.2 TLSv1.3;
    proxy_ssl_server_name on;
    proxy_ssl_name localhost;
    proxy_ssl_session_reuse off;   # nginx would resume sessions of other locations
    upstream tries { server 127.0.0.1:@bad@ max_fails=0; server 127.0.0.1:@up@ backup; }
    upstream wrong { server 127.0.0.1:@wrong@ max_fails=0; server 127.0.0.1:@up@ backup; }
    server {
        listen 127.0.0.1:@http@;
        add_header X-Tries "$upstream_status|$upstream_addr";
        location = /plain { proxy_pass https://127.0.0.1:@up@; }
        location = /name { proxy_pass https://127.0.0.1:@up@; proxy_ssl_name other.test; }
        location = /variable { proxy_pass https://127.0.0.1:@up@; proxy_ssl_name $arg_name; }
        location = /port { proxy_pass https://127.0.0.1:@up@; proxy_ssl_name name.test:1234; }
        location = /address { proxy_pass https://127.0.0.1:@up@; proxy_ssl_name 127.0.0.1; }
        location = /nosni { proxy_pass https://127.0.0.1:@up@; proxy_ssl_server_name off; }
        location = /v12 { proxy_pass https://127.0.0.1:@up@; proxy_ssl_protocols TLSv1.2; }
        location = /v13 { proxy_pass https://127.0.0.1:@up@; proxy_ssl_protocols TLSv1.3; }
        location = /ciphers { proxy_pass https://127.0.0.1:@up@; proxy_ssl_protocols TLSv1.2; proxy_ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256; }
        location = /noshared { proxy_pass https://127.0.0.1:@up@; proxy_ssl_protocols TLSv1.2; proxy_ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256; }
        location = /cert { proxy_pass https://127.0.0.1:@up@; proxy_ssl_certificate @client.crt@; proxy_ssl_certificate_key @client.key@; }
        location = /locked { proxy_pass https://127.0.0.1:@up@; proxy_ssl_certificate @site.crt@; proxy_ssl_certificate_key @locked.key@; proxy_ssl_password_file @passwords@; }
        location = /command { proxy_pass https://127.0.0.1:@up@; proxy_ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256; proxy_ssl_conf_command MinProtocol TLSv1.3; }
        location = /tries { proxy_pass https://tries; }
        location = /tries/off { proxy_pass https://tries; proxy_next_upstream off; }
        location = /plain/upstream { proxy_pass https://127.0.0.1:@bad@; }
        location = /reuse { proxy_pass https://127.0.0.1:@up@; proxy_ssl_session_reuse on; }
        location = /noreuse { proxy_pass https://127.0.0.1:@up@; }
        location /verify/ {
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate @ca@;
            location = /verify/ok { proxy_pass https://127.0.0.1:@up@; }
            location = /verify/name { proxy_pass https://127.0.0.1:@up@; proxy_ssl_name other.test; }
            location = /verify/authority { proxy_pass https://127.0.0.1:@wrong@; }
            location = /verify/expired { proxy_pass https://127.0.0.1:@expired@; }
            location = /verify/revoked { proxy_pass https://127.0.0.1:@revoked@; proxy_ssl_crl @crl@; proxy_ssl_name client.test; }
            location = /verify/unrevoked { proxy_pass https://127.0.0.1:@up@; proxy_ssl_crl @crl@; }
            location = /verify/deep { proxy_pass https://127.0.0.1:@deep@; proxy_ssl_name deep.test; }
            location = /verify/shallow { proxy_pass https://127.0.0.1:@deep@; proxy_ssl_name deep.test; proxy_ssl_verify_depth 0; }
            location = /verify/tries { proxy_pass https://wrong; }
            location = /verify/not { proxy_pass https://127.0.0.1:@wrong@; proxy_ssl_verify off; }
        }
    }
"""


@pytest.fixture(scope="module")
def upstreams(files, ca, wrong_ca):
    with contextlib.ExitStack() as stack:
        site = harness.Cert(files.values["site.crt"], files.values["site.key"])
        made = {"up": TlsUpstream(site, ca.ca, ask=True), "bad": TlsUpstream(site, plain=True),
                "wrong": TlsUpstream(wrong_ca.make("localhost", ["localhost"])),
                "expired": TlsUpstream(ca.make("localhost-expired", ["localhost"], expired=True)),
                "revoked": TlsUpstream(files.clients["revoked"]), "deep": TlsUpstream(files.clients["deep"])}
        for u in made.values():
            stack.callback(u.sock.close)
        client = files.clients["good"]
        values = {"client.crt": client.chain, "client.key": client.key, **{k: u.port for k, u in made.items()}}
        b = Both(stack, UPSTREAM_CONF, files, **values)
        b.made = made
        yield b


def to_upstream(s, path):
    with Conn(s.ports["http"]) as c:
        r = c.request("GET", path, {"Connection": "close"})
        return r.status, r.header("X-Tries"), json.loads(r.body) if r.status == 200 else None


# What both must say, and what both log.
UPSTREAM_CASES = {
    "/plain": (200, None), "/name": (200, None), "/variable?name=var.test": (200, None), "/port": (200, None),
    "/address": (200, None), "/nosni": (200, None), "/v12": (200, None), "/v13": (200, None), "/ciphers": (200, None),
    "/noshared": (502, r"SSL_do_handshake\(\) failed \(SSL: error:.*handshake failure.*\) while SSL handshaking to upstream"),
    "/cert": (200, None), "/locked": (200, None), "/command": (200, None),
    "/plain/upstream": (502, r"SSL_do_handshake\(\) failed \(SSL: error:.*wrong version number.*\) while SSL handshaking to upstream"),
    "/verify/ok": (200, None), "/verify/not": (200, None), "/verify/unrevoked": (200, None),
    "/verify/name": (502, r'upstream SSL certificate does not match "other.test" while SSL handshaking to upstream'),
    "/verify/authority": (502, r"upstream SSL certificate verify error: \(2[01]:unable to "),
    "/verify/expired": (502, r"upstream SSL certificate verify error: \(10:certificate has expired\)"),
    "/verify/revoked": (502, r"upstream SSL certificate verify error: \(23:certificate revoked\)"),
    "/verify/deep": (200, None),
    "/verify/shallow": (502, r"upstream SSL certificate verify error: \(2[02]:"),
}


@pytest.mark.parametrize("path", UPSTREAM_CASES)
def test_upstream(upstreams, path):
    status, logged = UPSTREAM_CASES[path]
    got = []
    for s in upstreams.servers:
        n = len(s.log())
        got.append(to_upstream(s, path))
        if logged:
            harness.until(lambda s=s, n=n: re.search(logged, s.log()[n:]), 3, f"{logged} in {s.name}'s log")
    for _, _, saw in got:
        if saw:
            saw[2] = None   # whether a session was there to be resumed
    assert got[1] == got[0] and got[0][0] == status


@pytest.mark.parametrize("path", ["/tries", "/verify/tries"])
def test_failed_handshakes_are_tried_elsewhere(upstreams, path):
    for s in upstreams.servers:
        status, tries, _ = to_upstream(s, path)
        port = upstreams.made["up"].port
        assert status == 200 and tries.startswith("502, 200|") and tries.endswith(f", 127.0.0.1:{port}"), (s.name, tries)
    for s in upstreams.servers:
        assert to_upstream(s, "/tries/off")[0] == 502


@pytest.mark.parametrize("path,expected", [("/reuse", True), ("/noreuse", False)])
def test_upstream_sessions(upstreams, path, expected):
    for s in upstreams.servers:
        for _ in range(3):
            saw = to_upstream(s, path)[2]
        assert saw[2] == expected, s.name


def test_upstream_key_of_another_certificate(files):
    """sluice refuses at once what nginx would only find out when it starts to speak."""
    text = ("server { listen 127.0.0.1:@http@; location / { proxy_pass https://127.0.0.1:1; proxy_ssl_certificate @site.crt@; "
            "proxy_ssl_certificate_key @rsa.key@; } }")
    s = harness.Sluice(text, {**files.values, "http": free_port()})
    with s.stack:
        p = subprocess.run(s.command("-t"), capture_output=True, text=True, timeout=60)
        assert p.returncode == 1 and "does not match certificate" in p.stderr


# --- mistakes -----------------------------------------------------------------------------------------

MISTAKES = {
    "verify without authorities": "ssl_verify_client on;",
    "optional without authorities": "ssl_verify_client optional;",
    "verify what": "ssl_verify_client maybe;",
    "no such authorities": "ssl_verify_client on; ssl_client_certificate /nonexistent.pem;",
    "no such list": "ssl_verify_client on; ssl_client_certificate @ca@; ssl_crl /nonexistent.pem;",
    "list that is none": "ssl_verify_client on; ssl_client_certificate @ca@; ssl_crl @site.key@;",
    "no such trusted": "ssl_trusted_certificate /nonexistent.pem;",
    "trusted that are none": "ssl_trusted_certificate @site.key@;",
    "depth": "ssl_verify_depth deep;",
    "no such ticket key": "ssl_session_ticket_key /nonexistent;",
    "ticket key of another size": "ssl_session_ticket_key @ca@;",
    "command": "ssl_conf_command Nonsense x;",
    "value of a command": "ssl_conf_command Ciphersuites nonsense;",
    "command without a value": "ssl_conf_command Ciphersuites;",
    "dhparam": "ssl_dhparam @site.crt@;",
    "no dhparam": "ssl_dhparam /nonexistent;",
    "ciphers": "ssl_ciphers nonsense;",
    "curve": "ssl_ecdh_curve nonsense;",
    "early": "ssl_early_data maybe;",
    "buffer": "ssl_buffer_size lots;",
    "no password file": "ssl_password_file /nonexistent;",
    "twice": "ssl_client_certificate @ca@; ssl_client_certificate @ca@;",
    "proxy: no such certificate": "location / { proxy_pass https://127.0.0.1:1; proxy_ssl_certificate /nonexistent; proxy_ssl_certificate_key /nonexistent; }",
    "proxy: no key": "location / { proxy_pass https://127.0.0.1:1; proxy_ssl_certificate @site.crt@; }",
    "proxy: locked key": "location / { proxy_pass https://127.0.0.1:1; proxy_ssl_certificate @site.crt@; proxy_ssl_certificate_key @locked.key@; proxy_ssl_password_file @ca@; }",
    "proxy: command": "location / { proxy_pass https://127.0.0.1:1; proxy_ssl_conf_command Nonsense x; }",
    "proxy: protocol": "location / { proxy_pass https://127.0.0.1:1; proxy_ssl_protocols TLSv9; }",
    "proxy: ciphers": "location / { proxy_pass https://127.0.0.1:1; proxy_ssl_ciphers nonsense; }",
    "proxy: list": "location / { proxy_pass https://127.0.0.1:1; proxy_ssl_verify on; proxy_ssl_trusted_certificate @ca@; proxy_ssl_crl /nonexistent; }",
    "proxy: trusted": "location / { proxy_pass https://127.0.0.1:1; proxy_ssl_verify on; proxy_ssl_trusted_certificate /nonexistent; }",
}


@pytest.mark.parametrize("text", MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes(files, text):
    """What nginx -t refuses, sluice -t refuses, with the place."""
    said = []
    for cls in (harness.Nginx, harness.Sluice):
        s = cls("server { listen 127.0.0.1:@http@ ssl; ssl_certificate @site.crt@; ssl_certificate_key @site.key@;\n" +
                text + "\n}", {**files.values, "http": free_port()})
        with s.stack:
            p = subprocess.run(s.command("-t"), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
            said.append(p.stderr)
            assert p.returncode == 1, (s.name, p.stderr)
            assert "[emerg]" in p.stderr
            assert "PRIVATE" not in p.stderr
    assert re.search(r" in \S+sluice\.conf:\d+", said[1]), said[1]
