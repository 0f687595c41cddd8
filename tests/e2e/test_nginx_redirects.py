# SPDX-License-Identifier: BSD-2-Clause
"""What a redirect names (absolute_redirect and its kin), and slashes that are merged or not: nginx and sluice alike."""
import contextlib

import pytest
from alike import Both, case, on

PARTS = """
        location /rel { return 302 /local/path?x=$arg_x; }
        location /abs { return 301 http://else.test/; }
        location /bare { return 307 local; }
        location /slash/ { proxy_pass http://@mock@/echo/; }
        location /page { error_page 404 =308 https://else.test$uri; return 404; }
        location /host { return 303 http://$host:$server_port/; }
        location /empty { return 301; }
        location /query { return 302 ?only=args; }
        location /scheme { return $scheme://$http_host/x; }
        location / { return 200 "$uri\\n"; }
"""

SERVERS = {
    "default.test": "",
    "relative.test": "absolute_redirect off;",
    "noport.test": "port_in_redirect off;",
    "named.test": "server_name_in_redirect on;",
    "namedrel.test": "server_name_in_redirect on; absolute_redirect off;",
    "namednoport.test": "server_name_in_redirect on; port_in_redirect off;",
}

CONF = "    default_type text/plain;\n    proxy_http_version 1.1;\n" + "".join(
    f"    server {{ listen 127.0.0.1:@http@; server_name {name} alias.{name}; {own} {PARTS} }}\n" for name, own in SERVERS.items()) + """
    server { listen 127.0.0.1:@two@ default_server; server_name off.test; merge_slashes off;
             location / { return 200 "$uri|$request_uri\\n"; } location /a/b { return 200 "ab $uri\\n"; } location //x { return 200 "xx $uri\\n"; }
             location /up/ { proxy_pass http://@mock@/echo/; } location /raw/ { proxy_pass http://@mock@; } }
    server { listen 127.0.0.1:@two@; server_name on.test; merge_slashes on;
             location / { return 200 "on $uri\\n"; } location /a/b { return 200 "on ab $uri\\n"; } }
"""

PATHS = ("/rel?x=1", "/abs", "/bare", "/slash", "/slash?a=b", "/page/x", "/host", "/empty", "/query", "/scheme", "/other")
CASES = [c for name in SERVERS for c in on(name, [(p, p) for p in PATHS])]
CASES += [c for name in SERVERS for c in on(f"alias.{name}", [(f"{name} alias {p}", p) for p in ("/rel", "/slash")])]
CASES += [c for name in ("default.test", "named.test", "noport.test") for c in on(f"{name}:1234", [(f"{name} port {p}", p) for p in ("/rel", "/slash", "/scheme")])]
CASES += [case(f"1.0 {p}", p, None, version="1.0") for p in ("/rel", "/slash", "/host")]
CASES += [case(f"HEAD {p}", p, "default.test", method="HEAD") for p in ("/rel", "/slash")]
CASES += [case(f"POST {p}", p, "default.test", method="POST", body="abc") for p in ("/rel", "/slash", "/page/x")]
SLASHES = [case(f"slashes {host} {p}", p, host) for host in ("off.test", "on.test") for p in (
    "/a/b", "//a/b", "/a//b", "/a///b", "/a/./b", "/a//../b", "//x", "/x", "///x", "/a//b/../c", "/%2f/x", "/a%2f%2fb", "/up//y", "/up/a//b/", "/raw//y//z",
    "/raw/%2f/z", "//", "/a//", "/..//a")]


@pytest.fixture(scope="module")
def both():
    with contextlib.ExitStack() as stack:
        yield Both(stack, CONF)


@pytest.mark.parametrize("c", CASES + SLASHES, ids=[c.id for c in CASES + SLASHES])
def test_alike(both, c):
    (*nginx, _), (*sluice, _) = both.ask(c, (lambda s: s.two) if c in SLASHES else None)
    if "/empty" in c.id:
        assert nginx[0]["fields"].pop("location") == [""]   # docs/nginx.md: no Location is sent without a URL
    assert sluice == nginx
