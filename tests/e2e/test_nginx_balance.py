# SPDX-License-Identifier: BSD-2-Clause
"""Who is asked, in which order: the same groups in nginx and sluice, with one worker each."""
import collections
import contextlib

import harness
import pytest
from harness import Conn, free_port, until
from scripted import Scripted

FOREVER = "fail_timeout=1h"
# Groups whose order is compared: name, lines, how many requests.
SEQUENCES = [
    ("rr2", "server @b0@; server @b1@;", 5),
    ("rr3", "server @b0@; server @b1@; server @b2@;", 7),
    ("rr5", "server @b0@; server @b1@; server @b2@; server @b3@; server @b4@;", 11),
    ("w5-1-1", "server @b0@ weight=5; server @b1@; server @b2@;", 14),
    ("w1-5-1", "server @b0@; server @b1@ weight=5; server @b2@;", 14),
    ("w3-2", "server @b0@ weight=3; server @b1@ weight=2;", 10),
    ("w7-5-2-1", "server @b0@ weight=7; server @b1@ weight=5; server @b2@ weight=2; server @b3@;", 30),
    ("w100-99", "server @b0@ weight=100; server @b1@ weight=99;", 20),
    ("twice the same", "server @b0@; server @b1@; server @b0@;", 9),
    ("down", "server @b0@; server @b1@ down; server @b2@;", 6),
    ("down with weights", "server @b0@ weight=2; server @b1@ weight=9 down; server @b2@;", 9),
    ("all down", "server @b0@ down; server @b1@ down;", 2),
    ("single", "server @b0@;", 3),
    ("single down", "server @b0@ down;", 2),
    ("single and one down", "server @b0@; server @b1@ down;", 3),
    ("backup unused", "server @b0@; server @b1@ backup;", 3),
    ("backups", f"server @dead@ {FOREVER}; server @b0@ backup; server @b1@ backup;", 6),
    ("weighted backups", f"server @dead@ {FOREVER}; server @b0@ backup weight=3; server @b1@ backup;", 10),
    ("backup with primary down", "server @b0@ down; server @b1@ backup; server @b2@ backup;", 5),
    ("backup down", f"server @dead@ {FOREVER}; server @b0@ backup down; server @b1@ backup;", 4),
    ("only the backup left", f"server @dead@ {FOREVER}; server @dead2@ {FOREVER}; server @b1@ backup;", 4),
    ("backups first in the file", "server @b0@ backup; server @b1@; server @b2@;", 5),
    ("one dead", f"server @dead@ {FOREVER}; server @b0@; server @b1@;", 7),
    ("one dead, weights", f"server @dead@ {FOREVER} weight=4; server @b0@ weight=2; server @b1@;", 9),
    ("one dead, never out", "server @dead@ max_fails=0; server @b0@; server @b1@;", 9),
    ("one dead, never out, weights", "server @dead@ max_fails=0 weight=5; server @b0@ weight=3; server @b1@;", 12),
    ("one dead, max_fails", f"server @dead@ max_fails=3 {FOREVER}; server @b0@; server @b1@;", 14),
    ("max_fails and weight", f"server @dead@ max_fails=3 weight=9 {FOREVER}; server @b0@; server @b1@;", 14),
    ("max_fails over weight", f"server @dead@ max_fails=5 weight=3 {FOREVER}; server @b0@; server @b1@;", 18),
    ("two dead", f"server @dead@ {FOREVER}; server @dead2@ {FOREVER}; server @b0@;", 5),
    ("all dead", f"server @dead@ {FOREVER}; server @dead2@ {FOREVER};", 4),
    ("all dead, never out", "server @dead@ max_fails=0; server @dead2@ max_fails=0;", 4),
    ("single dead", f"server @dead@ {FOREVER};", 3),
    ("dead with dead backup", f"server @dead@ {FOREVER}; server @dead2@ backup {FOREVER};", 3),
    ("least_conn", "least_conn; server @b0@; server @b1@; server @b2@;", 8),
    ("least_conn, weights", "least_conn; server @b0@ weight=3; server @b1@; server @b2@;", 12),
    ("least_conn, down", "least_conn; server @b0@; server @b1@ down; server @b2@;", 5),
    ("least_conn, dead", f"least_conn; server @dead@ {FOREVER}; server @b1@; server @b2@;", 7),
    ("least_conn, backup", f"least_conn; server @dead@ {FOREVER}; server @b1@ backup; server @b2@ backup;", 6),
    ("least_conn, never out", "least_conn; server @dead@ max_fails=0; server @b1@; server @b2@;", 8),
    ("least_conn behind", "server @b0@; server @b1@ weight=2; least_conn;", 6),
    ("hash without a key", "hash $arg_none; server @b0@; server @b1@; server @b2@;", 4),
    ("ring without a key", "hash $arg_none consistent; server @b0@; server @b1@; server @b2@;", 4),
    ("hash of a constant", "hash always; server @b0@; server @b1@;", 3),
    ("ring of one", "hash $arg_k consistent; server @b0@;", 3),
    ("ip_hash of one", "ip_hash; server @b0@;", 3),
    ("hash, all down", "hash $uri; server @b0@ down; server @b1@ down;", 2),
    ("ring, all down", "hash $uri consistent; server @b0@ down; server @b1@ down;", 2),
    ("ip_hash, all down", "ip_hash; server @b0@ down; server @b1@ down;", 2),
    ("hash, all dead", f"hash $uri; server @dead@ {FOREVER}; server @dead2@ {FOREVER};", 3),
    ("hash with a backup behind", f"server @dead@ {FOREVER}; server @b0@ backup; server @b1@ backup; hash $uri;", 4),
    ("hash with a zone", "zone z 64k; hash $uri; server @b0@; server @b1@;", 3),
    ("zone", "zone z2 64k; server @b0@ weight=2; server @b1@;", 6),
    ("least_conn with a zone", "zone z2; least_conn; server @b0@ weight=2; server @b1@;", 6),
]
FIVE = "server @b0@; server @b1@; server @b2@; server @b3@; server @b4@;"
WEIGHTS = "server @b0@ weight=3; server @b1@ weight=1; server @b2@ weight=5; server @b3@; server @b4@ weight=2;"
DOWN = "server @b0@; server @b1@ down; server @b2@; server @b3@ down; server @b4@;"
DEAD = f"server @b0@; server @dead@ {FOREVER}; server @b2@; server @dead2@ max_fails=0; server @b4@ weight=2;"
TWICE = "server @b0@; server @b1@; server @b0@; server @b2@;"
# Groups whose mapping of keys is compared.
MAPPINGS = [(f"{name}, {what}", f"{method} {servers}")
            for name, method in (("hash", "hash $arg_k;"), ("ring", "hash $arg_k consistent;"),
                                 ("hash of two", "hash $host$arg_k;"))
            for what, servers in (("five", FIVE), ("weights", WEIGHTS), ("down", DOWN), ("dead", DEAD), ("twice", TWICE))]
KEYS = ["a", "b", "c", "d", "e", "0", "1", "42", "user-1", "user-2", "user-3", "sk-proj-abcdefghijklmnopqrstuvwxyz",
        "%20", "%C3%A9", "A", "aa", "aaa", "x" * 300, "key/with/slashes", "10.0.0.1"]
ADDRS = [f"127.{a}.{b}.{c}" for a, b, c in ((0, 0, 1), (0, 0, 2), (0, 1, 1), (1, 0, 1), (2, 3, 4), (9, 9, 9), (100, 1, 1),
                                            (200, 200, 200), (255, 255, 254), (77, 88, 99), (12, 34, 56), (64, 0, 1))]
IP_GROUPS = [("ip five", "ip_hash; " + FIVE), ("ip weights", "ip_hash; " + WEIGHTS), ("ip down", "ip_hash; " + DOWN),
             ("ip dead", "ip_hash; " + DEAD)]
HELD = [
    ("held rr", "server @b0@; server @b1@; server @b2@;"),
    ("held least_conn", "least_conn; server @b0@; server @b1@; server @b2@;"),
    ("held least_conn weights", "least_conn; server @b0@ weight=3; server @b1@ weight=2; server @b2@;"),
    ("held max_conns", "server @b0@ max_conns=2; server @b1@ max_conns=1; server @b2@;"),
    ("held max_conns backup", "server @b0@ max_conns=2; server @b1@ max_conns=1; server @b2@ backup max_conns=2;"),
    ("held max_conns of one", "server @b0@ max_conns=2;"),
    ("held least_conn max_conns", "least_conn; server @b0@ max_conns=1; server @b1@; server @b2@ max_conns=3;"),
    ("held hash max_conns", "hash $arg_k; server @b0@ max_conns=2; server @b1@ max_conns=2; server @b2@ max_conns=2;"),
    ("held ring max_conns",
     "hash $arg_k consistent; server @b0@ max_conns=2; server @b1@ max_conns=2; server @b2@ max_conns=2;"),
    ("held ip_hash max_conns", "ip_hash; server @b0@ max_conns=2; server @b1@ max_conns=2; server @b2@ max_conns=2;"),
]
GROUPS = [(n, s) for n, s, _ in SEQUENCES] + MAPPINGS + IP_GROUPS + HELD
INDEX = {name: i for i, (name, _) in enumerate(GROUPS)}


def conf():
    text = "proxy_connect_timeout 5s; @logs@\n"
    for i, (_, lines) in enumerate(GROUPS):
        text += f"upstream g{i} {{ {lines} }}\n"
    text += "server { listen 127.0.0.1:@http@; add_header X-Up \"$upstream_addr|$upstream_status\" always;\n"
    for i in range(len(GROUPS)):
        text += f"location /g{i}/ {{ proxy_pass http://g{i}; }}\n"
    return text + "}\n"


@pytest.fixture(scope="module")
def servers():
    with contextlib.ExitStack() as stack:
        back = stack.enter_context(Scripted(5))
        values = {**back.values(), "dead": f"127.0.0.1:{free_port()}", "dead2": f"127.0.0.1:{free_port()}", "logs": ""}
        made = []
        for cls in (harness.Nginx, harness.Sluice):
            port = free_port()
            s = cls(conf(), {**values, "http": port}, main="worker_processes 1;")
            s.port = port
            s.back = back
            made.append(stack.enter_context(s))
        yield made


def ask(s, name, query="", source=None):
    with Conn(s.port, source=source) as c:
        r = c.request("GET", f"/g{INDEX[name]}/{query}", {"Connection": "close"})
        return r.status, r.body if r.status == 200 else b"", r.header("X-Up")


@pytest.mark.parametrize("name,n", [(n, k) for n, _, k in SEQUENCES], ids=[n for n, *_ in SEQUENCES])
def test_order_alike(servers, name, n):
    nginx, sluice = ([ask(s, name, f"?k={i}") for i in range(n)] for s in servers)
    assert sluice == nginx


@pytest.mark.parametrize("name", [n for n, _ in MAPPINGS])
def test_keys_map_alike(servers, name):
    for key in KEYS:
        nginx, sluice = ([ask(s, name, f"?k={key}") for _ in range(2)] for s in servers)
        assert sluice == nginx, key


def test_keys_spread(servers):
    """The comparison is not of one server with itself."""
    for name, _ in MAPPINGS:
        n = collections.Counter(ask(servers[1], name, f"?k={key}")[1] for key in KEYS)
        assert len(n) >= 3, (name, n)


@pytest.mark.parametrize("name", [n for n, _ in IP_GROUPS])
def test_addresses_map_alike(servers, name):
    seen = set()
    for source in ADDRS:
        nginx, sluice = ([ask(s, name, source=source) for _ in range(2)] for s in servers)
        assert sluice == nginx, source
        seen.add(nginx[1][1])
    assert len(seen) >= 3


def hold(s, name, n):
    """N requests one after the other, none of which gets its answer before all have come."""
    back, conns, order = s.back, [], []
    back.release.clear()
    back.take_seen()
    try:
        for k in range(n):
            c = Conn(s.port)
            conns.append(c)
            c.send(harness.build("GET", f"/g{INDEX[name]}/?k={k}", {"Script": ",".join(["hold"] * 5)}))
            c.sock.settimeout(0.02)
            until(lambda: back.seen or is_answered(c), 5, "the request at a back end")
            order += [i for i, *_ in back.take_seen()] or [is_answered(c)]
            c.sock.settimeout(10 * harness.SLOW)
    finally:
        back.release.set()
    for c in conns:
        c.response()
        c.close()
    return order


def is_answered(c):
    """The status of an answer that came at once."""
    with contextlib.suppress(TimeoutError):
        c.fill()
    return int(c.buf.split()[1]) if b"\r\n" in c.buf else 0


@pytest.mark.parametrize("name", [n for n, _ in HELD])
def test_requests_under_way_alike(servers, name):
    nginx, sluice = (hold(s, name, 9) for s in servers)
    assert sluice == nginx


@pytest.mark.parametrize("method,expected", [
    ("random;", {0: 0.5, 1: 0.25, 2: 0.25}), ("random two;", None), ("random two least_conn;", None)],
    ids=["random", "two", "two least_conn"])
def test_random(start, stack, method, expected):
    """By chance, so only the shares can be compared: with the weights, and nobody else's."""
    back = stack.enter_context(Scripted(4))
    text = f"""upstream g {{ {method} server @b0@ weight=2; server @b1@; server @b2@; server @b3@ down; }}
    server {{ listen 127.0.0.1:@http@; location / {{ proxy_pass http://g; }} }}"""
    for cls in (harness.Nginx, harness.Sluice):
        s = start(text, back.values(), cls=cls, main="worker_processes 1;")
        n = collections.Counter()
        with Conn(s.port) as c:
            for _ in range(400):
                n[int(c.request("GET", "/").body.split()[0])] += 1
        assert set(n) == {0, 1, 2}, cls.name
        for i, share in (expected or {}).items():
            assert abs(n[i] / 400 - share) < 0.13, (cls.name, n)


@pytest.mark.parametrize("lines,said", [
    ("hash $arg_a consistently; server 127.0.0.1:1;", 'invalid parameter "consistently"'),
    ("hash; server 127.0.0.1:1;", 'invalid number of arguments in "hash" directive'),
    ("hash $a $b $c; server 127.0.0.1:1;", 'invalid number of arguments in "hash" directive'),
    ("hash $no_such_variable; server 127.0.0.1:1;", 'unknown "no_such_variable" variable'),
    ("ip_hash on; server 127.0.0.1:1;", 'invalid number of arguments in "ip_hash" directive'),
    ("least_conn 2; server 127.0.0.1:1;", 'invalid number of arguments in "least_conn" directive'),
    ("random three; server 127.0.0.1:1;", 'invalid parameter "three"'),
    ("random two most_conn; server 127.0.0.1:1;", 'invalid parameter "most_conn"'),
    ("ip_hash; server 127.0.0.1:1; server 127.0.0.1:2 backup;",
     'balancing method does not support parameter "backup"'),
    ("hash $uri; server 127.0.0.1:1; server 127.0.0.1:2 backup;",
     'balancing method does not support parameter "backup"'),
    ("hash $uri consistent; server 127.0.0.1:1 backup; server 127.0.0.1:2;",
     'balancing method does not support parameter "backup"'),
    ("random; server 127.0.0.1:1; server 127.0.0.1:2 backup;",
     'balancing method does not support parameter "backup"'),
    ("zone; server 127.0.0.1:1;", 'invalid number of arguments in "zone" directive'),
    ("zone z 1k; server 127.0.0.1:1;", 'zone "z" is too small'),
    ("zone z xk; server 127.0.0.1:1;", 'invalid zone size "xk"'),
    ("zone z; server 127.0.0.1:1;", 'zero size shared memory zone "z"'),
    ('zone "" 64k; server 127.0.0.1:1;', 'invalid zone name ""'),
    ("server 127.0.0.1:1 backup;", 'no servers in upstream "g"'),
    ("", "no servers are inside upstream"),
    ("server 127.0.0.1:1 weight=0;", 'invalid parameter "weight=0"'),
    ("server 127.0.0.1:1 max_fails=-1;", 'invalid parameter "max_fails=-1"'),
    ("server 127.0.0.1:1 max_conns=x;", 'invalid parameter "max_conns=x"'),
    ("server 127.0.0.1:1 fail_timeout=x;", 'invalid parameter "fail_timeout=x"'),
    ("least_conn; ip_hash; server 127.0.0.1:1;", "load balancing method redefined"),
    ("server 127.0.0.1:1 backups;", 'invalid parameter "backups"'),
    ("fair; server 127.0.0.1:1;", 'unknown directive "fair"'),
])
def test_configuration_errors_alike(stack, lines, said):
    text = f"upstream g {{ {lines} }}\nserver {{ listen 127.0.0.1:@http@; location / {{ proxy_pass http://g; }} }}"
    codes = []
    for cls in (harness.Nginx, harness.Sluice):
        s = cls(text, {"http": free_port()})
        stack.callback(s.stack.close)
        p = harness.subprocess.run(s.command("-t"), capture_output=True, text=True, timeout=30 * harness.SLOW)
        codes.append(p.returncode)
        assert said in p.stderr + p.stdout, (cls.name, p.stderr)
    assert codes[0] == codes[1]


@pytest.mark.parametrize("method", ["least_time header;", "least_time last_byte;", "random two least_time=header;"])
def test_the_fast_one_is_asked(start, stack, method):
    back = stack.enter_context(Scripted(2))
    s = start(f"upstream u {{ {method} server @b0@; server @b1@; }} "
              "server { listen 127.0.0.1:@http@; location / { proxy_pass http://u; } }", back.values(), main="worker_processes 1;")
    back.answers[0] = "late"
    assert sum(harness.fetch(s.port, "/").body.startswith(b"1") for _ in range(20)) >= 18
