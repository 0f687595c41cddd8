# SPDX-License-Identifier: BSD-2-Clause
"""`geo`: sluice and Debian's nginx on the same file."""
import contextlib

import harness
import pytest
from alike import Both, case, refused_alike

CONF = r"""
    default_type text/plain;
    proxy_http_version 1.1;
    @logs@
    geo $mine { default far; 127.0.0.0/8 loop; 127.0.0.1 me; 10.0.0.0/8 ten; }
    geo $remote_addr $same { 127.0.0.1/32 "the same"; }
    geo $arg_ip $by_arg {
        default none;
        10.0.0.0/8 ten;
        10.1.0.0/16 ten-one;
        10.1.2.3 host;
        192.168.0.0/16 gone;
        delete 192.168.0.0/16;
        172.16.0.0/12 first;
        172.16.0.0/12 second;
        255.255.255.255 broadcast;
        2001:db8::/32 six;
        2001:db8::1 six-one;
        ::1 own;
        include @dir@/more.geo;
    }
    geo $arg_ip $limited { default 1; 10.0.0.0/8 0; }
    map $limited $limit_key { 0 ""; 1 $binary_remote_addr; }
    limit_req_zone $limit_key zone=l:1m rate=1r/m;
    server {
        listen 127.0.0.1:@http@ default_server;
        location / { return 200 "[$mine] [$same] [$by_arg]"; }
        location /if { if ($limited) { return 200 limited; } return 200 free; }
        location /limit { limit_req zone=l; proxy_pass http://@mock@/echo; }
    }
"""
CASES = [case(f"geo {ip}", f"/?ip={ip}") for ip in (
    "", "10.0.0.1", "10.1.0.1", "10.1.2.3", "10.1.2.4", "11.0.0.0", "192.168.1.1", "172.16.0.1", "172.31.255.255", "172.32.0.0",
    "255.255.255.255", "2001:db8::1", "2001:db8::2", "2001:db9::", "::1", "::ffff:10.1.2.3", "nothing", "10.0.0", "10.0.0.1:80",
    "[::1]", "1.2.3.4", "1.2.3.5")]
CASES += [case("geo without", "/"), case("geo in if", "/if?ip=10.0.0.1"), case("geo in if else", "/if?ip=9.9.9.9"),
          case("geo limits nobody", "/limit?ip=10.0.0.1"), case("geo limits nobody again", "/limit?ip=10.0.0.1")]
REFUSED = {
    "bad network": ("geo $x { 10.0.0.0/33 a; }", 'invalid network "10.0.0.0/33"'),
    "no network": ("geo $x { localhost a; }", 'invalid network "localhost"'),
    "no value": ("geo $x { 10.0.0.0/8; }", "invalid number of the geo parameters"),
    "known name": ("geo $uri { 10.0.0.0/8 a; }", 'the duplicate "uri" variable'),
    "no dollar": ("geo x { 10.0.0.0/8 a; }", 'invalid variable name "x"'),
    "no dollar in front": ("geo x $y { 10.0.0.0/8 a; }", 'invalid variable name "x"'),
}


@pytest.fixture(scope="module")
def both():
    with contextlib.ExitStack() as stack:
        yield make_both(stack, CONF)


def make_both(stack, conf):
    folder = stack.enter_context(harness.temp_dir())
    (folder / "more.geo").write_text("1.2.3.4 included;\n")
    return Both(stack, conf.replace("@dir@/more.geo", str(folder / "more.geo")))


@pytest.mark.parametrize("c", CASES, ids=[c.id for c in CASES])
def test_alike(both, c):
    nginx, sluice = both.ask(c)
    assert sluice == nginx


@pytest.mark.parametrize("name", REFUSED)
def test_refused_alike(tmp_path, name):
    refused_alike(tmp_path, *REFUSED[name])
