# SPDX-License-Identifier: BSD-2-Clause
"""testssl.sh (Debian's package) on the TLS of conf/ai-proxy.conf as it is shipped: nothing above LOW."""
import concurrent.futures
import json
import subprocess

import harness
import pytest
from harness import free_port, temp_dir

SCAN_S = 600 * harness.SLOW  # a minute where nobody else computes
SECTIONS = [["--protocols", "--std", "--fs", "--server-preference"], ["--server-defaults", "--headers"],
            ["--vulnerable"]]
FINE = {"OK", "INFO", "LOW"}
# What the tool says of itself, not of the server.
OWN = {"local OpenSSL", "connect problem"}
LOOKED_AT = {"TLS1", "TLS1_1", "TLS1_2", "TLS1_3", "cipher_order", "cert_chain_of_trust", "cipherlist_NULL", "heartbleed", "ROBOT",
             "BREACH", "secure_renego", "X-Content-Type-Options", "PFS", "OCSP_stapling"}


def findings(report):
    """All findings in a report, wherever they stand."""
    if isinstance(report, list):
        return [f for x in report for f in findings(x)]
    if not isinstance(report, dict):
        return []
    if "severity" in report:
        return [report]
    return [f for x in report.values() for f in findings(x)]


def shipped(cert, port, h2, folder):
    """conf/ai-proxy.conf with this machine's paths and port."""
    text = (harness.REPO / "conf/ai-proxy.conf").read_text()
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl; listen 127.0.0.1:{h2} ssl http2;")
    text = text.replace("listen [::]:443 ssl;", "").replace("user www-data;", f"daemon off; pid {folder}/sluice.pid;")
    text = text.replace("/etc/sluice/ai.example.com.pem", str(cert.chain)).replace("/etc/sluice/ai.example.com.key",
                                                                                  str(cert.key))
    text = text.replace("/var/log/sluice", str(folder)).replace("/run/sluice/admin.sock", f"{folder}/admin.sock")
    assert "/etc/" not in text and "/var/" not in text
    return text


def scan(port, sections, ca, out):
    p = subprocess.run(["testssl", "--quiet", "--fast", "--warnings", "off", "--color", "0", "--add-ca", str(ca),
                        "--jsonfile-pretty", str(out), "--ip", "127.0.0.1", *sections, f"localhost:{port}"],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SCAN_S)
    assert out.exists(), p.stdout + p.stderr


@pytest.mark.timeout(SCAN_S + 60)
def test_nothing_above_low(start, stack, ca):
    folder = stack.enter_context(temp_dir())
    cert = ca.make("localhost.testssl", ["localhost"], days=300, more="keyUsage=digitalSignature\n"
                   "extendedKeyUsage=serverAuth\nauthorityInfoAccess=OCSP;URI:http://127.0.0.1:1\n")
    cert.chain.write_text(cert.chain.read_text() + ca.ca.read_text())
    port, h2 = free_port(), free_port()
    start(shipped(cert, port, h2, folder), whole=True, folder=folder)
    runs = [(port, sections) for sections in SECTIONS] + [(h2, SECTIONS[0][:1])]
    reports = [folder / f"report-{i}.json" for i in range(len(runs))]
    with concurrent.futures.ThreadPoolExecutor(len(runs)) as pool:
        list(pool.map(lambda run, out: scan(*run, ca.ca, out), runs, reports))
    found = [f for r in reports for f in findings(json.loads(r.read_text()))]
    # It looked at all of this.
    ids = {f["id"]: f["finding"] for f in found}
    assert not LOOKED_AT - set(ids)
    assert ids["TLS1_3"].startswith("offered") and ids["TLS1_2"].startswith("offered"), ids
    bad = [f"{f['severity']}: {f['id']}: {f['finding']}" for f in found if f["severity"] not in FINE and
           not any(o in f["finding"] for o in OWN)]
    assert not bad, "\n".join(bad)
