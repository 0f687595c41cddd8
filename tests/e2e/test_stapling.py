# SPDX-License-Identifier: BSD-2-Clause
"""OCSP stapling: openssl's responder behind sluice, openssl's client in front; nginx on the same file beside it."""
import contextlib
import re
import socket
import subprocess
import threading

import harness
import pytest
from harness import Dns, client_tls, fetch, free_port, temp_dir, until


class Responder:
    """openssl ocsp: says of each certificate what STATES has for it."""

    def __init__(self, ca, folder, port, signer=None, days=1):
        self.ca, self.dir, self.port, self.signer, self.days = ca, folder, port, signer, days
        self.index, self.proc = folder / f"index-{port}", None
        self.index.write_text("")

    def set(self, cert, revoked=False):
        p = harness.openssl("x509", "-in", cert.chain, "-noout", "-serial", "-subject", "-nameopt", "compat")
        serial, subject = re.search(r"serial=(\w+)", p)[1], re.search(r"subject=\s*(.*)", p)[1]
        state = "R\t351231235959Z\t251101000000Z" if revoked else "V\t351231235959Z\t"
        self.index.write_text(self.index.read_text() + f"{state}\t{serial}\tunknown\t{subject}\n")
        if self.proc:   # it reads its list at its start
            self.__exit__()
            self.__enter__()

    def __enter__(self):
        signer = self.signer or harness.Cert(self.ca.ca, self.ca.ca_key)
        args = ["openssl", "ocsp", "-port", str(self.port), "-index", self.index, "-CA", self.ca.ca, "-rsigner", signer.chain,
                "-rkey", signer.key, "-ndays", str(self.days), "-text"]
        self.log = open(self.dir / f"ocsp-{self.port}", "wb")
        self.proc = subprocess.Popen(args, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        until(self.is_up, 10, "the OCSP responder")
        return self

    def text(self):
        return (self.dir / f"ocsp-{self.port}").read_text(errors="replace")

    def is_up(self):
        """Not by a connection: it would wait for a request on that one."""
        assert self.proc.poll() is None, self.text()
        return "waiting for OCSP client connections" in self.text()

    def __exit__(self, *exc):
        self.proc.kill()
        self.proc.wait()
        self.log.close()

    def n_asked(self):
        return self.text().count("Received request")


class Fake:
    """A responder that answers with ANSWER, or hangs when there is none."""

    def __init__(self, answer=None):
        self.answer, self.requests = answer, []
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.held = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                c.settimeout(5)
                self.requests.append(c.recv(65536))
                if self.answer is None:
                    self.held.append(c)
                    continue
                c.sendall(self.answer)
                c.close()

    def close(self):
        self.sock.close()
        for c in self.held:
            c.close()


@pytest.fixture
def folder():
    with temp_dir() as f:
        yield f


@pytest.fixture
def site(ca, folder):
    """site(port of a responder, ...): a certificate that names it, with its authority behind it."""
    count = iter(range(100))

    def make(port=None, kind="ec", url=None, chain=True):
        url = url or port and f"http://127.0.0.1:{port}"
        cert = ca.make(f"site{folder.name}{next(count)}", ["localhost", "127.0.0.1"], kind=kind,
                       more=f"authorityInfoAccess=OCSP;URI:{url}\n" if url else "")
        if chain:
            cert.chain.write_text(cert.chain.read_text() + ca.ca.read_text())
        return cert
    return make


def block(cert, more="", verify=True):
    return (f"server {{ listen 127.0.0.1:@http@ ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {cert.chain};\n"
            f"ssl_certificate_key {cert.key};\n"
            f"ssl_stapling on; {'ssl_stapling_verify on;' if verify else ''} {more}\n"
            "location / { return 200 hello; } }")


def status(port, *args, ca=None):
    """What a client is told of the certificate: "good", "revoked", None without a staple."""
    p = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", "-status",
                        *(["-CAfile", ca] if ca else []), *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                       timeout=30 * harness.SLOW)
    assert "Server certificate" in p.stdout, p.stdout + p.stderr
    m = re.search(r"Cert Status: (\w+)", p.stdout)
    assert bool(m) != ("OCSP response: no response sent" in p.stdout), p.stdout
    return m and m[1]


def stapled(s, *args, timeout_s=10):
    return until(lambda: status(s.port, *args), timeout_s, "a staple")


@pytest.mark.parametrize("verify", [True, False], ids=["verified", "not verified"])
def test_good(start, ca, site, folder, verify):
    port = free_port()
    cert = site(port)
    with Responder(ca, folder, port) as r:
        r.set(cert)
        for cls in (harness.Nginx, harness.Sluice):
            s = start(block(cert, verify=verify), cls=cls)
            assert stapled(s) == "good", s.name
        assert status(s.port, "-tls1_2") == "good"
        assert fetch(s.port, tls=client_tls(ca.ca)).body == b"hello"
        # Who does not ask gets none, and all is well.
        assert not re.search(r"\[(warn|error|crit)\]", s.log()), s.log()


def test_all_workers_staple_and_one_fetches(start, ca, site, folder):
    port = free_port()
    cert = site(port)
    with Responder(ca, folder, port) as r:
        r.set(cert)
        s = start(block(cert), main="worker_processes 3;")
        stapled(s)
        assert [status(s.port) for _ in range(12)] == ["good"] * 12
        s.reload()
        assert [status(s.port) for _ in range(6)] == ["good"] * 6
        assert r.n_asked() == 1
    # The responder is gone now; what was fetched is kept over a reload and a worker's death.
    s.reload()
    assert status(s.port) == "good"


def test_two_certificates(start, ca, site, folder):
    port = free_port()
    ec, rsa = site(port), site(port, kind="rsa")
    with Responder(ca, folder, port) as r:
        r.set(ec)
        r.set(rsa)
        s = start(block(ec, f"ssl_certificate {rsa.chain}; ssl_certificate_key {rsa.key};"))
        assert stapled(s, "-tls1_2", "-cipher", "aRSA") == "good"
        assert stapled(s, "-tls1_2", "-cipher", "aECDSA") == "good"


def test_revoked_is_not_stapled(start, ca, site, folder):
    port = free_port()
    cert = site(port)
    with Responder(ca, folder, port) as r:
        r.set(cert, revoked=True)
        s = start(block(cert))
        s.wait_log(r'\[error\].*certificate status 1 "revoked" in the OCSP response while requesting certificate status')
        assert status(s.port) is None


def test_unknown_is_not_stapled(start, ca, site, folder):
    port = free_port()
    with Responder(ca, folder, port):
        s = start(block(site(port)))
        s.wait_log(r'"unknown" in the OCSP response')
        assert status(s.port) is None


def test_a_responder_of_its_own_key(start, ca, site, folder):
    """Delegated: the authority has signed the responder's certificate. sluice trusts it by the authority alone."""
    port = free_port()
    cert = site(port)
    signer = ca.make("ocsp-signer", ["ocsp"], more="extendedKeyUsage=OCSPSigning\n")
    with Responder(ca, folder, port, signer) as r:
        r.set(cert)
        s = start(block(cert))
        assert stapled(s) == "good"
        s = start(block(cert, f"ssl_trusted_certificate {ca.ca};"), cls=harness.Nginx)
        assert stapled(s) == "good"


@pytest.mark.parametrize("what", ["another authority", "no responder's certificate"])
def test_wrong_signers(start, ca, wrong_ca, site, folder, what):
    port = free_port()
    cert = site(port)
    signer = wrong_ca.make("ocsp", ["ocsp"], more="extendedKeyUsage=OCSPSigning\n") if what == "another authority" else \
        ca.make("no-signer", ["no"])
    with Responder(ca, folder, port, signer) as r:
        r.set(cert)
        s = start(block(cert))
        s.wait_log(r"\[error\].*OCSP_basic_verify\(\) failed.* while requesting certificate status")
        assert status(s.port) is None
        s = start(block(cert, verify=False))
        assert stapled(s) == "good"


def test_responder_and_trusted_of_the_configuration(start, ca, site, folder):
    """The certificate names no responder and comes without its authority."""
    port = free_port()
    cert = site(chain=False)
    with Responder(ca, folder, port) as r:
        r.set(cert)
        more = f"ssl_stapling_responder http://127.0.0.1:{port}/; ssl_trusted_certificate {ca.ca};"
        for cls in (harness.Sluice, harness.Nginx):
            assert stapled(start(block(cert, more), cls=cls)) == "good"


def test_responder_by_name(start, ca, site, folder):
    port = free_port()
    cert = site(url=f"http://ocsp.test:{port}")
    with Responder(ca, folder, port) as r, Dns() as dns:
        r.set(cert)
        s = start(block(cert, f"resolver 127.0.0.1:{dns.port} ipv6=off;"))
        s.wait_log(r"OCSP responder could not be resolved \(.*\) while requesting certificate status, responder: "
                   rf"http://ocsp.test:{port}, certificate: ")
        assert status(s.port) is None
        dns.names["ocsp.test"] = ["127.0.0.1"]
        assert stapled(s, timeout_s=20) == "good"


def test_a_responder_that_comes_later(start, ca, site, folder):
    port = free_port()
    cert = site(port)
    s = start(block(cert))
    s.wait_log(r"\[error\].*connect\(\) to OCSP responder failed \(Connection refused\)")
    assert status(s.port) is None
    with Responder(ca, folder, port) as r:
        r.set(cert)
        assert stapled(s, timeout_s=30) == "good"


def test_file(start, ca, site, folder):
    cert, answer = site(), folder / "answer.der"
    with Responder(ca, folder, free_port()) as r:
        r.set(cert)
        harness.openssl("ocsp", "-issuer", ca.ca, "-cert", cert.chain, "-url", f"http://127.0.0.1:{r.port}", "-respout",
                        answer, "-noverify")
    for cls in (harness.Nginx, harness.Sluice):
        s = start(block(cert, f"ssl_stapling_file {answer};"), cls=cls)
        assert status(s.port) == "good", s.name
    for path in ("/nonexistent", cert.key):
        for cls in (harness.Nginx, harness.Sluice):
            s = cls(block(cert, f"ssl_stapling_file {path};"), {"http": free_port()})
            with s.stack:
                p = subprocess.run(s.command("-t"), capture_output=True, text=True, timeout=30)
                assert p.returncode == 1 and "[emerg]" in p.stderr


IGNORED = {
    "nobody's": (lambda site, ca: site(1, chain=False), "issuer certificate not found"),
    "signed by itself": (lambda site, ca: harness.Cert(ca.ca, ca.ca_key), "issuer certificate not found"),
    "without a responder": (lambda site, ca: site(), "no OCSP responder URL in the certificate"),
    "with one by TLS": (lambda site, ca: site(url="https://ocsp.test/"), "OCSP responder \"https://ocsp.test/\" in the certificate"),
    "with one that is none": (lambda site, ca: site(url="ldap://ocsp.test/"), "OCSP responder \"ldap://"),
}


@pytest.mark.parametrize("make,text", IGNORED.values(), ids=IGNORED.keys())
def test_ignored(start, ca, site, make, text):
    """Certificates for which nothing can be stapled: a warning, and all goes on."""
    cert = make(site, ca)
    for cls in (harness.Nginx, harness.Sluice):
        s = start(block(cert), cls=cls)
        assert '[warn]' in s.stderr_text() + s.log()
        assert f'"ssl_stapling" ignored, ' in s.stderr_text() + s.log() and text in s.stderr_text() + s.log(), s.name
        assert status(s.port) is None
        assert fetch(s.port, tls=client_tls()).body == b"hello"


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\n"
BAD = {
    "rubbish": (b"rubbish\r\n\r\n", "invalid response"),
    "nothing": (b"", "prematurely closed connection"),
    "half a head": (b"HTTP/1.1 200 OK\r\nConte", "prematurely closed connection"),
    "500": (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "unexpected status"),
    "a page": (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", "Content-Type"),
    "no DER": (OK + b"Content-Length: 5\r\n\r\nhello", "d2i_OCSP_RESPONSE\\(\\) failed"),
    "cut": (OK + b"Content-Length: 500\r\n\r\nhello", "prematurely closed connection"),
    "empty": (OK + b"\r\n", "d2i_OCSP_RESPONSE\\(\\) failed"),
    "try later": (OK + b"\r\n\x30\x03\x0a\x01\x03", "not successful \\(3: trylater\\)"),
    "huge": (OK + b"\r\n" + b"x" * 300000, "too large|reset"),
    "endless head": (b"HTTP/1.1 200 OK\r\n" + b"X-Pad: y\r\n" * 30000, "invalid response|reset"),
    "chunked": (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "chunked"),
}


@pytest.mark.parametrize("answer,text", BAD.values(), ids=BAD.keys())
def test_bad_responders(start, site, answer, text):
    fake = Fake(answer)
    s = start(block(site(fake.port)))
    s.wait_log(rf"\[error\].*({text}).* while requesting certificate status", 10)
    assert status(s.port) is None and len(s.workers()) == 1
    assert fetch(s.port, tls=client_tls()).body == b"hello"
    fake.close()


def test_a_responder_that_hangs_delays_nobody(start, site):
    fake = Fake()
    s = start(block(site(fake.port)))
    until(lambda: fake.requests, 5, "a request")
    assert re.fullmatch(rb"GET /[A-Za-z0-9%]+ HTTP/1\.0\r\nHost: 127\.0\.0\.1:\d+\r\n\r\n", fake.requests[0])
    assert status(s.port) is None
    assert fetch(s.port, tls=client_tls()).body == b"hello"
    s.reload()
    s.stop()
    fake.close()


def test_unreachable_in_test_mode(site):
    """-t asks nobody."""
    fake = Fake(b"")
    s = harness.Sluice(block(site(fake.port)), {"http": free_port()})
    with s.stack:
        p = subprocess.run(s.command("-t"), capture_output=True, text=True, timeout=30)
        assert p.returncode == 0 and not fake.requests, p.stderr
    fake.close()
