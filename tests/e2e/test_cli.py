# SPDX-License-Identifier: BSD-2-Clause
"""The command line as nginx has it, and what a bad configuration is told."""
import os
import pathlib
import re
import signal
import subprocess

import harness
import pytest
from harness import Conn, Sluice, fetch, free_port, run_sluice, temp_dir, until

EVENTS = "events { }\n"


def in_http(text):
    return EVENTS + "http {\n" + text + "\n}\n"


def in_server(text):
    return in_http("server {\nlisten 127.0.0.1:8099;\n" + text + "\n}")


def in_location(text):
    return in_server("location / {\n" + text + "\n}")


# What is broken: (text of the file, line of the error, a word that must be in the message).
BROKEN = {
    "unknown-directive": (EVENTS + "foo bar;", 2, r'unknown directive "foo"'),
    "unknown-in-location": (in_location("no_such_thing on;"), 6, r'unknown directive "no_such_thing"'),
    "wrong-context": (EVENTS + "proxy_pass http://127.0.0.1;", 2, r'"proxy_pass" directive is not allowed here'),
    "server-in-main": (EVENTS + "server { }", 2, r'"server".* not allowed here'),
    "location-in-http": (in_http("location / { }"), 3, r'"location" directive is not allowed here'),
    "too-few-arguments": (in_location("proxy_set_header Host;"), 6,
                          r'invalid number of arguments in "proxy_set_header"'),
    "too-many-arguments": (in_http("keepalive_requests 1 2;"), 3,
                           r'invalid number of arguments in "keepalive_requests"'),
    "no-arguments": (in_server("server_name;"), 5, r'invalid number of arguments in "server_name"'),
    "duplicate": (in_http("keepalive_requests 1;\nkeepalive_requests 2;"), 4, r'"keepalive_requests".*duplicate'),
    "duplicate-proxy-pass": (in_location("proxy_pass http://127.0.0.1:1;\nproxy_pass http://127.0.0.1:2;"), 7,
                             r'"proxy_pass".*duplicate'),
    "bad-size": (in_http("client_max_body_size 10x;"), 3, r'"client_max_body_size"'),
    "bad-time": (in_http("client_header_timeout 5q;"), 3, r'client_header_timeout'),
    "negative-time": (in_http("send_timeout -1s;"), 3, r'send_timeout'),
    "bad-flag": (in_location("proxy_buffering maybe;"), 6, r'"maybe"|"proxy_buffering"'),
    "bad-number": (EVENTS + "worker_processes many;", 2, r'worker_processes|many'),
    "zero-connections": ("events {\nworker_connections 0;\n}\n", 2, r'worker_connections'),
    "missing-semicolon": (in_location("return 200"), 7, r'unexpected "}"|";"'),
    "missing-brace": (EVENTS + "http {\nserver { listen 127.0.0.1:8099; }\n", 4, r'unexpected end of file'),
    "extra-brace": (EVENTS + "http { }\n}\n", 3, r'unexpected "}"'),
    "open-quote": (in_location('return 200 "abc;'), None, r'unexpected end of file|quote'),
    "unknown-variable": (in_location("return 200 $no_such_variable;"), 6, r'unknown "no_such_variable" variable'),
    "variable-in-log": (in_http("log_format a '$what_is_this';"), 3, r'unknown "what_is_this" variable'),
    "missing-include": (EVENTS + "include /nonexistent/file.conf;", 2, r'/nonexistent/file\.conf'),
    "missing-certificate": (in_http("server { listen 127.0.0.1:8099 ssl;\n"
                                    "ssl_certificate /nonexistent/cert.pem;\n"
                                    "ssl_certificate_key /nonexistent/key.pem; }"), None, r'/nonexistent/cert\.pem'),
    "ssl-without-certificate": (in_http("server {\nlisten 127.0.0.1:8099 ssl;\n}"), None, r'ssl_certificate'),
    "bad-listen": (in_http("server {\nlisten 127.0.0.1:99999;\n}"), 4, r'99999|invalid port'),
    "listen-parameter": (in_http("server {\nlisten 127.0.0.1:8099 nonsense;\n}"), 4, r'"nonsense"'),
    "two-defaults": (in_http("server { listen 127.0.0.1:8099 default_server; }\n"
                             "server { listen 127.0.0.1:8099 default_server; }"), 4, r'duplicate default server'),
    "same-listen-twice": (in_http("server {\nlisten 127.0.0.1:8099;\nlisten 127.0.0.1:8099;\n}"), 5, r'duplicate'),
    "duplicate-location": (in_server("location /a { }\nlocation /a { }"), 6, r'duplicate location "/a"'),
    "location-modifier": (in_server("location ! /a { }"), 5, r'invalid location modifier "!"'),
    "return-code": (in_location("return 99999;"), 6, r'invalid return code "99999"'),
    "unknown-upstream-parameter": (in_http("upstream u {\nserver 127.0.0.1:1 colour=red;\n}"), 4, r'colour=red'),
    "empty-upstream": (in_http("upstream u {\n}\nserver { listen 127.0.0.1:8099; "
                               "location / { proxy_pass http://u; } }"), None, r'no servers are inside upstream'),
    "duplicate-upstream": (in_http("upstream u { server 127.0.0.1:1; }\nupstream u { server 127.0.0.1:2; }"), 4,
                           r'duplicate upstream "u"'),
    "bad-weight": (in_http("upstream u {\nserver 127.0.0.1:1 weight=0;\n}"), 4, r'weight=0'),
    "proxy-pass-scheme": (in_location("proxy_pass ftp://127.0.0.1;"), 6, r'invalid URL prefix'),
    "unknown-zone": (in_location("limit_req zone=nowhere;"), None, r'nowhere'),
    "bad-rate": (in_http("limit_req_zone $remote_addr zone=z:1m rate=fast;"), 3, r'rate=fast'),
    "small-zone": (in_http("limit_req_zone $remote_addr zone=z:1k rate=1r/s;"), 3, r'zone|small'),
    "next-upstream-condition": (in_location("proxy_next_upstream error sometimes;"), 6, r'"sometimes"'),
    "ssl-protocol": (in_http("ssl_protocols TLSv9;"), 3, r'TLSv9'),
    "ban-parameter": (in_http("ban on=limit_req after=1 within=1s;"), 3, r'for'),
    "ban-event": (in_http("ban on=full_moon after=1 within=1s for=1s;"), 3, r'on=full_moon'),
    "xdp-address": (EVENTS + "xdp {\ninterface lo;\nallow 10.0.0.0/99;\n}\n", 4, r'10\.0\.0\.0/99'),
    "xdp-mode": (EVENTS + "xdp {\ninterface lo;\nmode sideways;\n}\n", 4, r'sideways'),
    "admin-tcp-without-token": (EVENTS + "admin {\nlisten 127.0.0.1:9901;\n}\n", None, r'token_file'),
    "log-format-twice": (in_http("log_format a 'x';\nlog_format a 'y';"), 4, r'duplicate "log_format"|"a".*duplicate'),
    "unknown-log-format": (in_http("access_log /dev/null nowhere;"), 3, r'unknown log format "nowhere"'),
    "log-level": (EVENTS + "error_log stderr loud;", 2, r'loud'),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_configuration(name):
    text, line, expected = BROKEN[name]
    with temp_dir() as folder:
        path = folder / "sluice.conf"
        path.write_text(text)
        code, out = run_sluice("-t", "-p", folder, "-c", path)
        assert code == 1, out
        assert re.search(expected, out), out
        where = f"{path}:{line}" if line else f"{path}:\\d+"
        assert re.search(rf"in {where}\b", out), out
        assert "sluice: [emerg] " in out
        # The same file does not start either, and leaves no trace of a start.
        assert run_sluice("-p", folder, "-c", path, "-g", f"pid {folder}/pid; daemon off;")[0] == 1
        assert not (folder / "pid").exists()


def test_unknown_directive_says_it_as_nginx_does():
    with temp_dir() as folder:
        path = folder / "sluice.conf"
        path.write_text("events { }\nfoo on;\n")
        code, out = run_sluice("-t", "-c", path, "-p", folder)
        assert code == 1
        assert out.splitlines()[0] == f'sluice: [emerg] unknown directive "foo" in {path}:2'
        assert out.splitlines()[-1].endswith(f"configuration file {path} test failed")


def test_error_in_an_included_file_names_that_file():
    with temp_dir() as folder:
        (folder / "conf.d").mkdir()
        (folder / "conf.d/b.conf").write_text("# fine\nserver_tokens maybe maybe;\n\n")
        (folder / "conf.d/a.conf").write_text("keepalive_requests 5;\n")
        path = folder / "sluice.conf"
        path.write_text(in_http("include conf.d/*.conf;"))
        code, out = run_sluice("-t", "-c", path, "-p", folder)
        assert code == 1
        assert f"in {folder}/conf.d/b.conf:2" in out
        (folder / "conf.d/b.conf").unlink()
        assert run_sluice("-t", "-c", path, "-p", folder)[0] == 0
        path.write_text(in_http("include conf.d/*.none;"))
        assert run_sluice("-t", "-c", path, "-p", folder)[0] == 0, "a glob without a match is no error"


@pytest.mark.privileged
def test_unknown_user():
    with temp_dir() as folder:
        path = folder / "sluice.conf"
        path.write_text("user no-such-user-here;\n" + EVENTS)
        code, out = run_sluice("-t", "-p", folder)
        assert code == 1 and "no-such-user-here" in out and f"in {path}:1" in out


def test_include_of_itself_is_refused():
    with temp_dir() as folder:
        path = folder / "sluice.conf"
        path.write_text(EVENTS + "include sluice.conf;\n")
        code, out = run_sluice("-t", "-c", path, "-p", folder)
        assert code == 1 and "in " + str(path) in out


GOOD = in_http("""
    # a comment; with "quotes" and { braces }
    log_format main '$remote_addr "$request" '
                    "it's $status";
    limit_req_zone $binary_remote_addr zone=one:10m rate=30r/m;
    client_max_body_size 10m;
    keepalive_timeout 1h30m;
    large_client_header_buffers 4 4k;
    ssl_session_timeout 1d;
    proxy_read_timeout 86400s;
    upstream backend { server 127.0.0.1:8081 weight=5 max_fails=3 fail_timeout=30s; server 127.0.0.1:8082 backup; }
    server {
        listen 127.0.0.1:8099;
        server_name 'a.test' *.b.test;
        location = /exact { return 200 "quoted \\"text\\" \\n"; }
        location ^~ /static { return 204; }
        location / { limit_req zone=one burst=5 nodelay; proxy_pass http://backend/api$request_uri; }
    }
""")


@pytest.fixture
def good():
    with temp_dir() as folder:
        (folder / "sluice.conf").write_text(GOOD)
        yield folder


def test_t_says_ok(good):
    code, out = run_sluice("-t", "-p", good)
    assert code == 0, out
    path = good / "sluice.conf"
    assert f"the configuration file {path} syntax is ok" in out
    assert f"configuration file {path} test is successful" in out


def test_t_opens_nothing(good):
    before = sorted(p.name for p in good.iterdir())
    assert run_sluice("-t", "-p", good)[0] == 0
    assert sorted(p.name for p in good.iterdir()) == before


def test_q_is_silent_when_all_is_well(good):
    assert run_sluice("-tq", "-p", good) == (0, "")
    (good / "sluice.conf").write_text("nonsense;\n")
    code, out = run_sluice("-t", "-q", "-p", good)
    assert code == 1 and 'unknown directive "nonsense"' in out


def test_T_dumps_every_file(good):
    (good / "extra.conf").write_text("# extra: here\nsend_timeout 5s;\n")
    (good / "sluice.conf").write_text(GOOD.replace("http {", "http { include extra.conf;", 1))
    code, out = run_sluice("-T", "-p", good)
    assert code == 0
    assert f"# configuration file {good}/sluice.conf:" in out
    assert f"# configuration file {good}/extra.conf:" in out
    assert "# extra: here" in out and "location ^~ /static" in out


def test_versions_and_help():
    code, out = run_sluice("-v")
    assert code == 0 and re.fullmatch(r"sluice version: sluice/\d+\.\d+\.\d+\S*\n", out)
    code, out = run_sluice("-V")
    assert code == 0 and "OpenSSL 3" in out and out.startswith("sluice version: sluice/")
    for flag in ("-h", "-?"):
        code, out = run_sluice(flag)
        assert code == 0
        for option in ("-t", "-T", "-q", "-s signal", "-p prefix", "-c filename", "-g directives", "-v", "-V"):
            assert option in out


@pytest.mark.parametrize("args", [["-x"], ["-s"], ["-c"], ["-s", "dance"], ["word"], ["-t", "-p"]])
def test_bad_flags(args):
    code, out = run_sluice(*args)
    assert code == 1 and "option" in out


def test_missing_configuration_file():
    with temp_dir() as folder:
        code, out = run_sluice("-t", "-p", folder)
        assert code == 1
        assert f"{folder}/sluice.conf" in out and "No such file" in out


def test_g_counts_as_directives_of_main(good):
    assert run_sluice("-t", "-p", good, "-g", f"pid {good}/x.pid; worker_processes 2;")[0] == 0
    code, out = run_sluice("-t", "-p", good, "-g", "nonsense on;")
    assert code == 1 and 'unknown directive "nonsense" in command line' in out


def test_directives_are_documented():
    code, out = run_sluice("--directives")
    assert code == 0
    for name in ("proxy_pass", "limit_req_zone", "ssl_certificate", "ban", "xdp", "worker_processes", "access_log"):
        assert re.search(rf"\b{name}\b", out), name


SERVE = 'server { listen 127.0.0.1:@http@; location / { return 200 "here"; } }'


def test_signals_by_s(start):
    s = start(SERVE)
    assert fetch(s.port).status == 200
    before = s.workers()
    assert run_sluice("-p", s.dir, "-s", "reload") == (0, "")
    until(lambda: s.workers() and not set(s.workers()) & set(before), 10, "new workers alone")
    assert fetch(s.port).status == 200
    (s.dir / "access.log").rename(s.dir / "access.log.1")
    assert run_sluice("-p", s.dir, "-s", "reopen") == (0, "")
    until(lambda: (s.dir / "access.log").exists(), what="another access.log")
    assert run_sluice("-p", s.dir, "-s", "quit") == (0, "")
    assert s.proc.wait(10) == 0
    assert not s.pid_path.exists()


def test_s_stop_ends_at_once(start, mock):
    s = start("server { listen 127.0.0.1:@http@; location / { proxy_pass http://@mock@; } }", {"mock": mock.addr})
    with Conn(s.port) as c:
        c.send(harness.build("GET", "/bytes/100000", {"X-Mock-Fault": "stall-in-body"}))
        assert c.head().status == 200
        assert run_sluice("-p", s.dir, "-s", "stop") == (0, "")
        assert s.proc.wait(5 * harness.SLOW) == 0


def test_s_without_a_running_sluice(good):
    code, out = run_sluice("-p", good, "-g", f"pid {good}/none.pid;", "-s", "stop")
    assert code == 1 and "none.pid" in out and "No such file" in out


def test_reload_by_s_refuses_a_bad_file(start):
    s = start(SERVE)
    s.expected.append("nonsense|not taken")
    s.conf_path.write_text("nonsense;\n")
    code, out = run_sluice("-p", s.dir, "-s", "reload")
    assert code == 1 and 'unknown directive "nonsense"' in out
    assert fetch(s.port).status == 200


def test_daemon_on():
    """The starter comes back when the daemon serves, with its exit code."""
    port = free_port()
    with temp_dir() as folder:
        conf = in_http(SERVE.replace("@http@", str(port)) + f"\naccess_log {folder}/a.log;")
        (folder / "sluice.conf").write_text(
            f"pid {folder}/pid;\nerror_log {folder}/error.log info;\ndaemon on;\n" + conf)
        code, out = run_sluice("-p", folder)
        assert code == 0, out
        try:
            assert fetch(port).status == 200
            pid = int((folder / "pid").read_text())
            assert os.getsid(pid) == pid
            for fd in (0, 1, 2):
                assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
            # A second one of the same file can't have the port, and says so.
            code, out = run_sluice("-p", folder)
            assert code == 1 and "Address already in use" in out and f":{port}" in out
            assert int((folder / "pid").read_text()) == pid
        finally:
            run_sluice("-p", folder, "-s", "stop")
        until(lambda: not harness.is_alive(pid), what="the end")
        assert not (folder / "pid").exists()


def test_master_process_off(start):
    s = Sluice(SERVE, {"http": free_port()}, main="master_process off;")
    s.children_ready = lambda: True
    with s:
        assert fetch(s.values["http"]).status == 200
        assert not harness.children(s.pid)


def test_worker_processes(start):
    s = start(SERVE, main="worker_processes 3;")
    until(lambda: len(s.workers()) == 3, what="three workers")
    s = start(SERVE, main="worker_processes auto;")
    until(lambda: len(s.workers()) == os.cpu_count(), what="a worker a CPU")
    s = start(SERVE)
    assert len(s.workers()) == 1


def test_port_in_use(start):
    s = start(SERVE)
    with temp_dir() as folder:
        (folder / "sluice.conf").write_text(in_http(SERVE.replace("@http@", str(s.port))))
        code, out = run_sluice("-p", folder, "-g", f"daemon off; pid {folder}/pid;")
        assert code == 1
        assert re.search(rf"\[emerg\] bind\(\) to 127\.0\.0\.1:{s.port} failed \(98: Address already in use\)", out)


@pytest.mark.privileged
def test_ordinary_user_gets_clear_warnings():
    """Without any privilege: works on high ports, and says once what does not."""
    s = Sluice(SERVE, {"http": free_port()}, main="user daemon;\nxdp { interface lo; }", uid=65534)
    with s:
        assert fetch(s.values["http"]).status == 200
        for pid in [s.pid, *s.workers()]:
            status = harness.status_of(pid)
            assert status["Uid"].split() == ["65534"] * 4
            assert int(status["CapEff"], 16) == 0
        text = s.stderr_text()
        assert len(re.findall(r'\[warn\].*"user" directive makes sense only if', text)) == 1
        assert len(re.findall(r"\[warn\].*no guard in the kernel.*userspace", text)) == 1


@pytest.mark.privileged
def test_low_port_as_an_ordinary_user():
    limit = int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if limit <= 80:
        pytest.fail(f"every port is free for all here (ip_unprivileged_port_start is {limit})")
    with temp_dir() as folder:
        os.chown(folder, 65534, 65534)
        (folder / "sluice.conf").write_text(in_http(SERVE.replace("@http@", "81")))
        p = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(harness.SLUICE), "-p",
                            str(folder), "-g", f"daemon off; pid {folder}/pid; error_log stderr;"],
                           capture_output=True, text=True, timeout=20)
        assert p.returncode == 1
        assert re.search(r"\[emerg\] bind\(\) to 127\.0\.0\.1:81 failed \(13: Permission denied\).*"
                         r"(root|CAP_NET_BIND_SERVICE)", p.stderr)


def test_env_and_unknown_signals_do_no_harm(start):
    s = start(SERVE, main="env SLUICE_TEST=yes;\nenv HOME;")
    worker = s.workers()[0]
    text = pathlib.Path(f"/proc/{worker}/environ")
    assert text.exists()
    for sig in (signal.SIGUSR2, signal.SIGWINCH, signal.SIGHUP):
        os.kill(worker, sig)
    assert fetch(s.port).status == 200
    assert worker in s.workers()


@pytest.mark.parametrize("guarded", [False, True])
def test_the_configuration_that_is_installed(tmp_path, guarded):
    """As it stands, and with all that is commented out in its xdp block."""
    text = (harness.REPO / "conf/sluice.conf").read_text()
    if guarded:
        begin = text.index("\n#xdp {")
        end = text.index("\n#}\n", begin) + 4
        text = text[:begin] + re.sub(r"\n( *)#(?=[ }\w])", r"\n\1", re.sub(r"\n#", "\n", text[begin:end])) + text[end:]
        (tmp_path / "denied").write_text("203.0.113.0/24 until=2099-01-01  # so\n")
    for a, b in (("/etc/sluice/denied", tmp_path / "denied"), ("/var/log/sluice", tmp_path), ("/run/sluice", tmp_path)):
        text = text.replace(str(a), str(b))
    assert guarded == ("\n    dry_run on;" in text) == ("\n    deny_file" in text)
    (tmp_path / "sluice.conf").write_text(text)
    code, out = run_sluice("-t", "-c", tmp_path / "sluice.conf")
    assert code == 0 and "is successful" in out and "emerg" not in out, out


def test_what_is_installed(tmp_path):
    """Every page that a page names is there, and the configuration says where it is."""
    make = ["make", "-s", "-C", harness.REPO, "-o", "all", "install", f"BUILD={harness.BUILD}", f"DESTDIR={tmp_path}",
            "PREFIX=/opt/sl", "SYSCONFDIR=/opt/conf"]
    p = subprocess.run(make, capture_output=True, text=True)
    assert p.returncode == 0, p.stdout + p.stderr
    doc = tmp_path / "opt/sl/share/doc/sluice"
    pages = [*doc.rglob("*.md")]
    assert len(pages) > 8
    for page in pages:
        for to in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / to).exists(), (page, to)
    assert "/etc/sluice" not in (tmp_path / "opt/conf/sluice.conf").read_text()
    assert "/opt/sl/sbin/sluice" in (tmp_path / "opt/sl/lib/systemd/system/sluice.service").read_text()


def test_completion_of_sluicectl():
    """bash offers each command and option that the usage names."""
    usage = subprocess.run([harness.CTL, "--help"], capture_output=True, text=True, check=True).stdout
    lines = re.findall(r"^  ([a-z]+) +(.*)$", usage, re.M)
    assert len(lines) >= 10

    def offered(*words):
        script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sluicectl; printf "%s\\n" "${COMPREPLY[@]}"')
        return subprocess.run(["bash", "-c", script, "bash", harness.REPO / "conf/sluicectl.bash-completion", "sluicectl", *words],
                              capture_output=True, text=True, check=True).stdout.split()
    assert {name for name, _ in lines} <= set(offered(""))
    for name, rest in lines:
        options = set(re.findall(r"--\w+", rest))
        assert options | {"--json"} <= set(offered(name, "--")), name
    assert offered("bans", "--export", str(harness.REPO / "Make")) == [str(harness.REPO / "Makefile")]


# --- the command line as nginx's ---------------------------------------------------------------------

def both_say(*args):
    """(exit code, stdout and stderr without who says it and when) of nginx and sluice."""
    out = []
    for program in ("/usr/sbin/nginx", harness.SLUICE):
        p = subprocess.run([str(program), *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           timeout=30 * harness.SLOW)
        text = re.sub(r"(?m)^(nginx|sluice): |^[\d/]+ [\d:]+ (?=\[)|\d+#\d+: ", "", p.stdout + p.stderr)
        # A hint of sluice's stands behind nginx's words; it shows how to call it when an option is wrong.
        text = re.sub(r"(?ms)^sluice version: .*", "", text)
        out.append((p.returncode, re.sub(r": is sluice running\?", "", text)))
    return out


@pytest.mark.parametrize("args", [
    ["-x"], ["x"], ["-s"], ["-c"], ["-p"], ["-e"], ["-g"], ["-s", "foo"], ["-t", "-q"], ["-tq"], ["-T"], ["-Tq"], ["-t", "-c", "/nope"],
    ["-t", "-c", "nope"], ["-c", "/nope"], ["-t", "-g", "foo"], ["-t", "-g", "foo;"], ["-t", "-g", "worker_processes 2; worker_processes 3;"],
    ["-t", "-g", "timer_resolution 1s"], ["-t", "-e", "stderr"], ["-e", "stderr", "-t", "-g", "foo;"], ["-t", "-s", "stop"]], ids=" ".join)
def test_command_line_as_nginx(args):
    with temp_dir() as folder:
        (folder / "conf.d").mkdir()
        (folder / "conf.d/a.conf").write_text("# a\n")
        conf = folder / "t.conf"
        conf.write_text(f"pid {folder}/pid;\n" + in_http("access_log off;\ninclude conf.d/*.conf;"))
        whole = ["-p", folder, *(() if "-c" in args else ["-c", conf])]
        if "-e" not in args:
            whole += ["-e", "stderr"]
        # An option that lacks its argument has to stand at the end.
        nginx, sluice = both_say(*whole, *args) if len(args) == 1 else both_say(*args, *whole)
        assert sluice == nginx


def test_error_log_of_the_command_line():
    """-e: what is wrong with the file is told there too, and it is the error log where no other is set; relative to -p."""
    with temp_dir() as folder:
        conf = folder / "sluice.conf"
        conf.write_text(in_http("foo;"))
        code, out = run_sluice("-t", "-e", "early.log", "-p", folder, "-c", conf)
        assert code == 1 and 'unknown directive "foo"' in out
        assert f'[emerg] 1#0: unknown directive "foo" in {conf}:3' in re.sub(r"\d+#", "1#", (folder / "early.log").read_text())
        code, out = run_sluice("-t", "-e", "/nope/early.log", "-p", folder, "-c", conf)
        assert 'could not open error log file: open() "/nope/early.log" failed (2: No such file or directory)' in out
        conf.write_text(EVENTS)
        (folder / "early.log").unlink()
        port = free_port()
        conf.write_text(in_http(f"server {{ listen 127.0.0.1:{port}; root /nowhere; }}"))
        args = [*map(str, Sluice.program), "-e", "early.log", "-p", str(folder), "-c", str(conf), "-g", f"pid {folder}/pid; daemon off;"]
        p = subprocess.Popen(args, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: (folder / "pid").exists() and (folder / "pid").read_text().endswith("\n"), 10, "the start")
            with Conn(port) as c:
                c.send(harness.build("GET", "/missing"))
                assert c.response().status == 404
            until(lambda: "/nowhere/missing" in (folder / "early.log").read_text(), 5, "the error in the log of -e")
            os.kill(p.pid, signal.SIGHUP)
            until(lambda: len(harness.children(p.pid)) > 0, 5, "a worker")
        finally:
            p.terminate()
            assert p.wait(20) == 0
