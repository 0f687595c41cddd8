# SPDX-License-Identifier: BSD-2-Clause
"""Static files: nginx and sluice on the same folder, root, alias, index, try_files, types, conditions, ranges."""
import contextlib
import gzip
import os
import pathlib
import re
import socket
import subprocess
import time

import harness
import pytest
from alike import Both, on, plain, raw, refused_alike
from harness import Conn, build, client_tls, until

MTIME = 1577836800   # 2020-01-01
LM, BEFORE, AFTER = ("Wed, 01 Jan 2020 00:00:00 GMT", "Tue, 31 Dec 2019 00:00:00 GMT", "Thu, 02 Jan 2020 00:00:00 GMT")
TEN = "0123456789"
ETAG = '"5e0be100-a"'   # of ten bytes
BIG = bytes(range(256)) * 40000   # 10 MB

CONF = r"""
    default_type application/x-unknown;
    proxy_http_version 1.1;
    etag on;
    server {
        listen 127.0.0.1:@http@ @ssl@;
        server_name first.test;
        root @dir@/site;
        location / { }
        location /types/ { types { text/x-one one; text/x-two two TWO three; image/png png; } }
        location /types/none/ { types { } default_type a/b; }
        location /types/in/ { default_type c/d; }
        location /noetag/ { etag off; alias @dir@/site/; }
        location /alias/ { alias @dir@/other/; }
        location /aliasnoslash { alias @dir@/other; }
        location /aliasslash { alias @dir@/other/; }
        location = /one { alias @dir@/other/a.txt; }
        location /alias/deep/ { alias @dir@/site/sub/; location /alias/deep/er/ { } }
        location ~ ^/re/([a-z]+)/(.*)$ { alias @dir@/$1/$2; }
        location ~ ^/renamed/(?<what>.+)$ { alias @dir@/other/$what; }
        location /var/ { root @dir@/$arg_r; }
        location /relative/ { root site; }
        location /rooted/ { root @dir@/site/; }
        location @dir@/ { root /; }
        location /idx/ { alias @dir@/site/; index none.html b.html a.txt; }
        location /idxabs/ { alias @dir@/other/; index none.html /sub/b.html; }
        location /idxvar/ { alias @dir@/site/; index $arg_i.html; }
        location /idxtwo/ { alias @dir@/site/; index none.html; index a.txt; }
        location /idxdir/ { alias @dir@/site/; index sub; }
        location /quiet/ { log_not_found off; alias @dir@/site/; }
        location /ranges0/ { max_ranges 0; alias @dir@/site/; }
        location /ranges2/ { max_ranges 2; alias @dir@/site/; }
        location /ims/off/ { if_modified_since off; alias @dir@/site/; }
        location /ims/exact/ { if_modified_since exact; alias @dir@/site/; }
        location /ims/before/ { if_modified_since before; alias @dir@/site/; }
        location /ret.html { return 200 typed; }
        location /ret.one { types { text/x-one one; } return 200 typed; }
        location /ret.none { return 200 typed; }
        location /gz/ { gzip on; gzip_types *; gzip_min_length 1; alias @dir@/site/; }
        location /add/ { add_header X-A 1; add_header X-B 2 always; expires 1h; alias @dir@/site/; }
        location /trailer/ { add_trailer X-T t; alias @dir@/site/; }
        location /page/ { error_page 404 /ten.txt; error_page 403 =200 /ten.txt; error_page 405 @named; error_page 416 /sub/b.html; error_page 412 = /sub/b.html;
                          alias @dir@/site/; }
        location /vars/ { add_header X-Root $document_root; add_header X-File $request_filename; add_header X-Real $realpath_root; alias @dir@/link/; }
        location @named { return 200 "named $uri $args"; }

        location /t/one/ { try_files $uri /ten.txt; }
        location /t/args/ { try_files $uri /sub/b.html?x=$arg_x; }
        location /t/dir/ { try_files $uri $uri/ =404; }
        location /t/code/ { try_files $uri =410; }
        location /t/403/ { try_files $uri =403; }
        location /t/204/ { try_files $uri =204; }
        location /t/named/ { try_files $uri @named; }
        location /t/nobody/ { try_files $uri @nobody; }
        location /t/const/ { try_files /none.txt /a.html =404; }
        location /t/many/ { try_files /none.txt $uri.html $uri/b.html /sub/ =404; }
        location /t/last/ { try_files /none.txt $arg_to; }
        location /t/alias/ { alias @dir@/site/; try_files $uri $uri/ =404; }
        location /t/alias2/ { alias @dir@/site/; try_files a.html =404; }
        location ~ ^/t/re/(.*)$ { alias @dir@/site/$1; try_files "" @named; }
        location /t/loop/ { try_files /none /t/loop/x; }
        location /t/proxy/ { try_files $uri /none.txt =404; proxy_pass http://@mock@/echo; }
        location /t/found/ { try_files /t/found/ten.txt =404; proxy_pass http://@mock@/echo/; }
        location /t/uri/ { try_files $uri /t/uri2$uri; }
        location /t/uri2/ { return 200 "$uri|$request_uri|$args"; }
        location /t/root/ { root @dir@/other; try_files $uri /a.txt =404; }
        location /up/ { proxy_pass http://@mock@/echo; }
        location /forced/ { proxy_force_ranges on; proxy_pass http://@mock@/bytes/; }
        location /unforced/ { proxy_pass http://@mock@/bytes/; }
        location /gzs/on/ { gzip_static on; alias @dir@/zipped/; }
        location /gzs/vary/ { gzip_static on; gzip_vary on; alias @dir@/zipped/; }
        location /gzs/always/ { gzip_static always; gzip_vary on; alias @dir@/zipped/; }
        location /gzs/both/ { gzip_static on; gzip on; gzip_vary on; gzip_min_length 1; gzip_types *; alias @dir@/zipped/; }
    }
    server {
        listen 127.0.0.1:@http@ @ssl@;
        server_name send.test;
        root @dir@/site;
        location / { sendfile on; }
        location /plain/ { sendfile off; alias @dir@/site/; }
        location /push/ { sendfile on; tcp_nopush on; alias @dir@/site/; }
        location /rate/ { sendfile on; limit_rate 5m; alias @dir@/site/; }
        location /timed/ { sendfile on; send_timeout 700ms; alias @dir@/site/; }
        location /timed/plain/ { sendfile off; send_timeout 700ms; alias @dir@/site/; }
    }
    server {
        listen 127.0.0.1:@http@ @ssl@;
        server_name tried.test;
        root @dir@/site;
        try_files /ten.txt =404;
        location /in/ { }
    }
"""


def make_site(root):
    site, other = root / "site", root / "other"
    for folder in (site / "sub" / "deep", site / "empty", site / "types" / "none", site / "types" / "in", site / "idx", other / "sub", site / "t" / "dir" / "d",
                   site / "t" / "one", site / "a b", site / "t" / "alias", site / "t" / "found", site / "relative", site / "rooted", other / "t" / "root", site / "t" / "uri"):
        folder.mkdir(parents=True, exist_ok=True)
    texts = {"ten.txt": TEN, "a.html": "<a>", "b.html": "<b>", "a.txt": "text", "sub/index.html": "<index>", "sub/b.html": "<sub b>", "noext": "n", ".hidden": "h",
             ".hidden.html": "h", "x.tar.gz": "z", "UP.HTML": "u", "two.": "t", "a b/c d.txt": "space", "q?.txt": "q", "p%.txt": "p", "a+b.txt": "plus",
             "empty.txt": "", "sub/deep/f.gif": "GIF", "caf\xe9.txt": "e", "semi;colon.txt": "s", "types/a.one": "1", "types/a.two": "2", "types/a.TWO": "2",
             "types/a.html": "h", "types/none/a.html": "h", "types/in/a.one": "1", "t/one/here.txt": "here", "t/dir/d/index.html": "<d>", "relative/a.txt": "r",
             "rooted/a.txt": "r", "t/uri/x.txt": "x", "t/found/ten.txt": TEN, "types/a.png": "p"}
    for name, text in texts.items():
        (site / name).write_text(text)
    for name, text in {"a.txt": "other a", "sub/b.html": "other b", "t/root/a.txt": "other ta", "index.html": "<other>"}.items():
        (other / name).write_text(text)
    (site / "big.bin").write_bytes(BIG)
    (root / "secret.txt").write_text("secret")
    (root / "othersecret.txt").write_text("secret")
    (site / "closed.txt").write_text("x")
    (site / "closed").mkdir(exist_ok=True)
    (site / "closed" / "x.txt").write_text("x")
    (site / "noindex").mkdir(exist_ok=True)
    (site / "noindex" / "index.html").write_text("x")
    zipped = root / "zipped"
    (zipped / "d.txt.gz").mkdir(parents=True)
    for name in ("a.txt", "a.html", "none.txt", "d.txt", "f.txt"):
        (zipped / name).write_text("plain")
    for name in ("a.txt.gz", "a.html.gz", "only.txt.gz"):
        (zipped / name).write_bytes(gzip.compress(b"zipped", mtime=0))
    os.mkfifo(zipped / "f.txt.gz")
    os.mkfifo(site / "fifo")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
        s.bind(str(site / "sock"))
    (site / "good").symlink_to("ten.txt")
    (site / "out").symlink_to("../secret.txt")
    (site / "dead").symlink_to("nothing")
    (site / "loop").symlink_to("loop")
    (site / "null").symlink_to("/dev/null")
    (site / "dirlink").symlink_to("sub")
    (root / "link").symlink_to("site")
    for path in [site, other, zipped, *site.rglob("*"), *other.rglob("*"), *zipped.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, (MTIME, MTIME))
    (site / "closed.txt").chmod(0)
    (site / "closed").chmod(0)
    (site / "noindex" / "index.html").chmod(0)


PATHS = ("/", "/ten.txt", "/a.html", "/noext", "/.hidden", "/.hidden.html", "/x.tar.gz", "/UP.HTML", "/two.", "/a%20b/c%20d.txt", "/q%3F.txt", "/p%25.txt",
         "/a+b.txt", "/empty.txt", "/sub", "/sub/", "/sub/deep", "/sub/deep/", "/sub/deep/f.gif", "/empty", "/empty/", "/sub?a=b", "/sub/?a=b", "/ten.txt?a=b",
         "/ten.txt/", "/ten.txt/x", "/none", "/none/", "/none/x", "/a%20b", "/a%20b?x=%20y", "/caf%C3%A9.txt", "/semi;colon.txt", "/closed.txt", "/closed",
         "/closed/", "/closed/x.txt", "/noindex/", "/noindex/index.html", "/fifo", "/sock", "/good", "/out", "/dead", "/loop", "/null", "/dirlink", "/dirlink/",
         "/sub/../ten.txt", "/sub/./b.html", "//ten.txt", "/sub//b.html", "/../secret.txt", "/sub/%2e%2e/ten.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt",
         "/" + "n" * 300, "/" + "d/" * 2000 + "x", "/TEN.TXT",
         "/types/a.one", "/types/a.two", "/types/a.TWO", "/types/a.html", "/types/a.png", "/types/none/a.html", "/types/in/a.one", "/noetag/ten.txt",
         "/alias/a.txt", "/alias/", "/alias", "/alias/none", "/alias/sub/", "/alias/sub", "/alias/../secret.txt", "/alias/deep/b.html", "/alias/deep/er/",
         "/alias/deep/er/f.gif", "/aliasnoslash/a.txt", "/aliasnoslash", "/aliasnoslashsecret.txt", "/aliasnoslash/", "/aliasslasha.txt", "/aliasslash/a.txt",
         "/aliasslash", "/one", "/one/", "/re/site/ten.txt", "/re/other/a.txt", "/re/other/none", "/re/other/sub", "/re/other/", "/renamed/a.txt", "/renamed/sub",
         "/var/x?r=site", "/relative/a.txt", "/rooted/a.txt", "/idx/", "/idxabs/", "/idxvar/?i=a", "/idxvar/?i=zz", "/idxtwo/", "/idxdir/", "/idx/sub/",
         "/quiet/none", "/ret.html", "/ret.one", "/ret.none", "/add/ten.txt", "/add/none", "/trailer/ten.txt", "/page/none", "/page/empty/", "/page/closed.txt",
         "/vars/ten.txt", "/vars/sub/b.html", "/gz/ten.txt", "/sub/index.html", "/dev", "/dev/", "/null/x")
TRIES = ("/t/one/here.txt", "/t/one/none", "/t/one/", "/t/args/none?x=5", "/t/dir/d", "/t/dir/d/", "/t/dir/none", "/t/dir/", "/t/code/none", "/t/403/none", "/t/204/none",
         "/t/named/none?a=b", "/t/nobody/x", "/t/const/x", "/t/many/none", "/t/many/sub", "/t/last/?to=/ten.txt", "/t/last/?to=/none.txt", "/t/last/?to=@named",
         "/t/last/", "/t/last/?to=/sub/", "/t/alias/ten.txt", "/t/alias/sub", "/t/alias/sub/", "/t/alias/none", "/t/alias/", "/t/alias2/x", "/t/re/ten.txt", "/t/re/none",
         "/t/re/sub", "/t/loop/", "/t/proxy/none", "/t/proxy/x?a=b", "/t/found/x", "/t/uri/x.txt", "/t/uri/y.txt?a=b", "/t/uri/a%20b", "/t/root/a.txt", "/t/root/none")
FILES = on("first.test", [(t[:60], t) for t in PATHS + TRIES])
FILES += on("tried.test", [(t, t) for t in ("/", "/x", "/a.html", "/in/none", "/sub/")])
FILES += on("first.test", [(f"{m} {t}", t, {"method": m, **({"body": "x=1"} if m in ("POST", "PUT") else {})})
                           for m in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH") for t in ("/ten.txt", "/none", "/sub", "/sub/", "/empty/", "/page/ten.txt", "/fifo")])
FILES += on("first.test", [("1.0", "/ten.txt", {"version": "1.0"}), ("GET with a body", "/ten.txt", {"body": "x" * 1000})])
FILES += [raw("first two on a connection", f"GET /ten.txt HTTP/1.1\r\nHost: first.test\r\n\r\nGET /none HTTP/1.1\r\nHost: first.test\r\n\r\n", n=2)]

TAGS = [ETAG, f"W/{ETAG}", '"x"', f'"x", {ETAG}', f'"x",{ETAG},"y"', "*", "", ETAG[:-1], ETAG + "x", f'W/"x", W/{ETAG}', "x", ETAG.strip('"'), f"{ETAG} ", "W/"]
CONDITIONS = [(k, v) for k in ("If-None-Match", "If-Match") for v in TAGS]
CONDITIONS += [(k, v) for k in ("If-Modified-Since", "If-Unmodified-Since") for v in (
    LM, BEFORE, AFTER, "x", "", "Wednesday, 01-Jan-20 00:00:00 GMT", "Wed Jan  1 00:00:00 2020", "Wed, 01 Jan 2020 00:00:00", "Wed, 1 Jan 2020 00:00:00 GMT",
    "0", "Wed, 01 Jan 2020 00:00:00 +0100")]
COND = on("first.test", [(f"{k}: {v}", "/ten.txt", {"headers": {k: v}}) for k, v in CONDITIONS])
COND += on("first.test", [(f"{p} {v}", f"/ims/{p}/ten.txt", {"headers": {"If-Modified-Since": v}}) for p in ("off", "exact", "before") for v in (LM, BEFORE, AFTER, "x")])
COND += on("first.test", [(f"{a} {b}", "/ten.txt", {"headers": {"If-None-Match": a, "If-Modified-Since": b}}) for a in (ETAG, '"x"') for b in (LM, BEFORE)])
COND += on("first.test", [(f"{p} {k}", p, {"headers": {k: v}}) for p in ("/noetag/ten.txt", "/gz/ten.txt", "/add/ten.txt", "/page/ten.txt", "/sub/", "/page/none") for k, v in (
    ("If-None-Match", ETAG), ("If-Match", '"x"'), ("If-Modified-Since", LM), ("If-Unmodified-Since", BEFORE))])
COND += on("first.test", [("HEAD 304", "/ten.txt", {"method": "HEAD", "headers": {"If-None-Match": ETAG}}), ("HEAD 412", "/ten.txt", {"method": "HEAD", "headers": {"If-Match": '"x"'}}),
                          ("gzip 304", "/gz/ten.txt", {"headers": {"If-None-Match": f"W/{ETAG}", "Accept-Encoding": "gzip"}})])

RANGES = ["bytes=0-0", "bytes=0-4", "bytes=5-", "bytes=-3", "bytes=-0", "bytes=-100", "bytes=0-", "bytes=0-9", "bytes=0-100", "bytes=9-9", "bytes=10-", "bytes=10-20",
          "bytes=100-200", "bytes=5-2", "bytes=", "bytes=x", "bytes=-", "bytes=1", "bytes=1-x", "bytes=0-1,3-4", "bytes=0-1, 3-4 ,6-", "bytes=0-1,100-", "bytes=100-,0-1",
          "bytes=3-4,0-1", "bytes=0-1,0-1", "bytes=0-9,0-9", "bytes=0-5,3-9", "bytes=-1,-2", "Bytes=0-1", "BYTES=0-1", "bytes =0-1", "bytes= 0-1", "bytes=0 -1", "bytes=0- 1",
          "bytes=0-1 ", "items=0-1", "0-1", "bytes=0-1,", "bytes=,0-1", "bytes=0-1,,3-4", "bytes=99999999999999999999-", "bytes=0-99999999999999999999",
          "bytes=9223372036854775807-", "bytes=0-9223372036854775807", "bytes=-9223372036854775807", "bytes=0-1;q", "bytes=0-0,2-2,4-4,6-6", "bytes=+1-2", "bytes=0x1-2"]
RANGE = on("first.test", [(f"range {r}", "/ten.txt", {"headers": {"Range": r}}) for r in RANGES])
RANGE += on("first.test", [(f"{p} {r}", p, {"headers": {"Range": r}}) for p in ("/empty.txt", "/ranges0/ten.txt", "/ranges2/ten.txt", "/noext", "/gz/ten.txt", "/add/ten.txt",
                                                                             "/trailer/ten.txt", "/page/ten.txt", "/page/none", "/ret.html", "/sub/", "/up/x")
                           for r in ("bytes=0-1", "bytes=0-0,1-1,2-2", "bytes=50-", "bytes=-1")])
RANGE += on("first.test", [(f"If-Range {v}", "/ten.txt", {"headers": {"Range": "bytes=0-1", "If-Range": v}}) for v in (
    ETAG, f"W/{ETAG}", '"x"', LM, BEFORE, AFTER, "x", '"', "", "Wed Jan  1 00:00:00 2020")])
RANGE += on("first.test", [("HEAD range", "/ten.txt", {"method": "HEAD", "headers": {"Range": "bytes=0-1"}}), ("HEAD 416", "/ten.txt", {"method": "HEAD", "headers": {"Range": "bytes=50-"}}),
                           ("1.0 range", "/ten.txt", {"version": "1.0", "headers": {"Range": "bytes=0-1"}}), ("POST range", "/ten.txt", {"method": "POST", "body": "", "headers": {"Range": "bytes=0-1"}}),
                           ("gzip and range", "/gz/ten.txt", {"headers": {"Range": "bytes=0-1", "Accept-Encoding": "gzip"}}),
                           ("304 and range", "/ten.txt", {"headers": {"Range": "bytes=0-1", "If-None-Match": ETAG}}),
                           ("412 and range", "/ten.txt", {"headers": {"Range": "bytes=0-1", "If-Match": '"x"'}})])
SENT = on("send.test", [(f"{p} {r}", f"{p}big.bin", {"headers": {"Range": r} if r else {}}) for p in ("/", "/plain/", "/push/", "/rate/") for r in (
    "", "bytes=1000000-8999999", "bytes=-5", "bytes=0-9,9000000-9000009,100-199999")])
SENT += on("send.test", [("HEAD", "/big.bin", {"method": "HEAD"}), ("1.0", "/big.bin", {"version": "1.0"}), ("small", "/ten.txt"), ("empty", "/empty.txt")])
FORCED = on("first.test", [(f"{p} {m} {r}", f"/{p}/1000", {"method": m, "headers": {"Range": r} if r else {}}) for p in ("forced", "unforced") for m in ("GET", "HEAD")
                           for r in ("", "bytes=0-9", "bytes=990-", "bytes=-5", "bytes=500-599", "bytes=0-1,5-6", "bytes=1000-", "bytes=x", "bytes=0-")])
FORCED += on("first.test", [("forced big", "/forced/1000000", {"headers": {"Range": "bytes=30000-900000"}}), ("forced If-Range", "/forced/1000", {"headers": {
    "Range": "bytes=0-1", "If-Range": '"x"'}})])
ZIPPED = on("first.test", [(f"{p} {f} {m} {ae}", f"/gzs/{p}/{f}", {"method": m, "headers": {"Accept-Encoding": ae} if ae else {}}) for p in ("on", "vary", "always", "both")
                           for f in ("a.txt", "a.html", "none.txt", "only.txt", "d.txt", "f.txt", "nothing") for m in ("GET", "HEAD") for ae in ("", "gzip")])
ZIPPED += on("first.test", [("POST to a zipped file", "/gzs/on/a.txt", {"method": "POST", "body": "x", "headers": {"Accept-Encoding": "gzip"}}),
                            ("range of a zipped file", "/gzs/on/a.txt", {"headers": {"Range": "bytes=0-1", "Accept-Encoding": "gzip"}}),
                            ("zipped file for a proxy", "/gzs/on/a.txt", {"headers": {"Via": "x", "Accept-Encoding": "gzip"}})])
CASES = FILES + COND + RANGE + SENT + FORCED + ZIPPED

# Where sluice differs on purpose, see docs/nginx.md: (the status, why).
OTHERWISE = {f"first /{p}/ten.txt bytes=50-": (416, "nginx adds the fields of the answer that it did not send to those of the error")
             for p in ("add", "trailer", "page")}
OTHERWISE |= {f"first forced {m} {r}": (416, "the same, of an upstream's answer") for m in ("GET", "HEAD") for r in ("bytes=1000-", "bytes=x")}
OTHERWISE |= {f"first vary {f} {m} {ae}": (404, "nginx says Vary of the error too") for f, ae in (("only.txt", ""), ("f.txt", "gzip")) for m in ("GET", "HEAD")}


def below_root(both, name):
    return f"{both.servers[0].values['site']}/site/{name}"


class Sites(Both):
    def __init__(self, stack, **values):
        folder = stack.enter_context(harness.temp_dir())
        make_site(folder)
        super().__init__(stack, CONF.replace("@dir@", str(folder)), site=folder, **values)


@pytest.fixture(scope="module")
def both():
    with contextlib.ExitStack() as stack:
        yield Sites(stack, ssl="")


def ask(s, c, **conn):
    with Conn(s.port, **conn) as k:
        k.send(c.raw)
        out = []
        for method in c.method:
            r = k.response(method)
            boundary = re.fullmatch("multipart/byteranges; boundary=(.+)", r.header("Content-Type") or "")
            if boundary:
                assert len(boundary[1]) == 20
                r.body = r.body.replace(boundary[1].encode(), b"(boundary)")
                r.headers = [(n, v.replace(boundary[1], "(boundary)")) for n, v in r.headers]
            if r.header("Content-Encoding") == "gzip" and r.body:
                r.body = gzip.decompress(r.body)
            a = plain(s, r)
            fields = a["fields"]
            if "expires" in fields:
                fields["expires"] = ["(in time)"]
            out.append(a)
        return out


@pytest.mark.parametrize("c", CASES, ids=[c.id for c in CASES])
def test_alike(both, c):
    nginx, sluice = (ask(s, c) for s in both.servers)
    if c.id in OTHERWISE:
        assert sluice[0]["status"] == nginx[0]["status"] == OTHERWISE[c.id][0]
        assert sluice[0]["fields"].get("content-range") == nginx[0]["fields"].get("content-range")
    else:
        assert sluice == nginx


@pytest.mark.parametrize("path,line", [
    ("/none", 'open() "@/none" failed (2: No such file or directory)'), ("/closed.txt", 'open() "@/closed.txt" failed (13: Permission denied)'),
    ("/empty/", 'directory index of "@/empty/" is forbidden'), ("/none/", '"@/none/index.html" is not found (2: No such file or directory)|"@/none/" is not found'),
    ("/fifo", '"@/fifo" is not a regular file'), ("/ten.txt/x", 'open() "@/ten.txt/x" failed (20: Not a directory)'), ("/loop", 'open() "@/loop" failed (40: '),
    ("/sock", 'open() "@/sock" failed (6: No such device or address)'), ("/noindex/index.html", "(13: Permission denied)"), ("/closed/", "forbidden|denied"),
    ("/quiet/none", None), ("/t/code/none", None), ("/t/nobody/x", 'could not find named location "@nobody"')])
def test_log_words_alike(both, path, line):
    """What the error log says of a file, behind time, process and level, up to who asked."""
    said = []
    for s in both.servers:
        log = s.dir / "error.log"
        before = len(log.read_text().splitlines())
        with Conn(s.port) as c:
            c.request("GET", path, host="first.test")

        def lines():
            new = [re.sub(r"^.*? \[(\w+)\] [\d#]+: \*\d+ ", r"\1: ", x).split(", client")[0] for x in log.read_text().splitlines()[before:] if "client: " in x]
            return [x for x in new if "keepalive" not in x]
        if line is not None:
            until(lines, 5, "a line in the log")
        else:
            time.sleep(0.1)
        said.append(lines())
    nginx, sluice = said
    assert sluice == nginx
    if line is not None:
        assert any(w.replace("@/", f"{both.servers[0].values['site']}/site/") in sluice[0] for w in line.split("|")), sluice


@pytest.mark.parametrize("conf,words", [
    ("server { root /a; root /b; }", '"root" directive is duplicate'), ("server { location / { root /a; alias /b; } }", '"alias" directive is duplicate, "root" directive was specified earlier'),
    ("server { location / { alias /a; root /b; } }", '"root" directive is duplicate, "alias" directive was specified earlier'),
    ("server { alias /a; }", '"alias" directive is not allowed here'), ("server { location @x { alias /a; } }", 'the "alias" directive cannot be used inside the named location'),
    ("server { root $document_root; }", "variable cannot be used in the"), ("server { root ${realpath_root}/x; }", "variable cannot be used in the"),
    ("server { try_files x; }", "invalid number of arguments"), ("server { try_files $uri =x; }", 'invalid code "=x"'), ("server { try_files $uri =1000; }", 'invalid code "=1000"'),
    ("server { try_files a b; try_files c d; }", '"try_files" directive is duplicate'), ("server { index; }", "invalid number of arguments"), ("server { index ''; }", "is invalid"),
    ("server { types { text/html; } }", ""), ("server { types { a/b c; a/d c; } }", ""), ("server { sendfile maybe; }", "it must be"), ("server { index a b; index c; }", ""),
    ("server { etag x; }", "it must be"), ("server { types x { } }", "invalid number of arguments"), ("server { root a; location / { root b; } }", "")])
def test_errors_alike(tmp_path, conf, words):
    refused_alike(tmp_path, conf, words)


def test_mime_types_of_ours(tmp_path):
    """The file that is installed is read without a warning, by nginx too."""
    path = harness.REPO / "conf" / "mime.types"
    refused_alike(tmp_path, f"include {path};", "")
    code, out = harness.run_sluice("-t", "-c", tmp_path / "alike.conf")
    assert not code and "duplicate" not in out


# --- how a file goes out ---

@pytest.fixture(scope="module")
def tls():
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(harness.temp_dir())
        cert = harness.CertMaker(folder).make("files", ["localhost"])
        yield Sites(stack, ssl=f"ssl; ssl_certificate {cert.chain}; ssl_certificate_key {cert.key}")


@pytest.mark.parametrize("c", SENT, ids=[c.id for c in SENT])
def test_over_tls_alike(tls, c):
    nginx, sluice = (ask(s, c, tls=client_tls()) for s in tls.servers)
    assert sluice == nginx


def worker_calls(s, path, **conn):
    """System calls of the worker during one request, as strace counts them."""
    worker = harness.children(s.proc.pid)[0]
    out = s.dir / "strace.out"
    tracer = subprocess.Popen(["strace", "-f", "-p", str(worker), "-o", str(out)], stderr=subprocess.PIPE, text=True)
    try:
        assert "attached" in tracer.stderr.readline()
        with Conn(s.port, **conn) as c:
            r = c.request("GET", path, host="send.test")
            assert r.body == BIG
    finally:
        tracer.terminate()
        tracer.communicate()
    return re.findall(r"^\d+ +(\w+)\(", out.read_text(), re.M)


@pytest.mark.privileged
def test_sendfile_copies_nothing(both):
    sluice = both.servers[1]
    assert "pread64" not in worker_calls(sluice, "/big.bin") and "sendfile" in worker_calls(sluice, "/push/big.bin")
    assert "sendfile" not in worker_calls(sluice, "/plain/big.bin")


@pytest.mark.parametrize("path", ["/big.bin", "/plain/big.bin", "/push/big.bin"])
def test_a_client_that_reads_slowly(both, path):
    """It gets all; meanwhile others are served and no file is held in memory."""
    sluice = both.servers[1]
    worker = harness.children(sluice.proc.pid)[0]
    before = harness.pss_kb(worker)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Conn(sluice.port, rcvbuf=4096)) for _ in range(20)]
        for c in slow:
            c.send(build("GET", path, host="send.test"))
            c.head()
        time.sleep(0.3)
        assert harness.pss_kb(worker) - before < 8 * 1024
        with Conn(sluice.port) as c:
            assert c.request("GET", "/ten.txt", host="send.test").body == TEN.encode()
        c = slow[0]
        assert c.take(len(BIG)) == BIG
        c.send(build("GET", "/ten.txt", host="send.test"))
        assert c.response().body == TEN.encode()


def test_a_client_that_leaves(both):
    sluice = both.servers[1]
    worker = harness.children(sluice.proc.pid)[0]
    fds = len(os.listdir(f"/proc/{worker}/fd"))
    for path in ("/big.bin", "/plain/big.bin", "/rate/big.bin") * 5:
        with Conn(sluice.port, rcvbuf=4096) as c:
            c.send(build("GET", path, host="send.test"))
            c.head()
            c.reset()
    until(lambda: len(os.listdir(f"/proc/{worker}/fd")) <= fds, 5, "files closed")


@pytest.mark.parametrize("path", ["/shrinks.bin", "/plain/shrinks.bin"])
def test_a_file_that_becomes_shorter(both, path):
    """What was promised does not come: the connection ends, nobody takes it for whole."""
    sluice = both.servers[1]
    sluice.expected.append("it is shorter than it was")
    file = pathlib.Path(sluice.values["site"]) / "site" / "shrinks.bin"
    file.write_bytes(BIG)
    file.chmod(0o644)
    with Conn(sluice.port, rcvbuf=4096) as c:
        c.send(build("GET", path, host="send.test"))
        c.head()
        os.truncate(file, 1000)
        with pytest.raises((harness.Closed, ConnectionError)):
            c.take(len(BIG))


def test_pipelined_files(both):
    for s in both.servers:
        with Conn(s.port) as c:
            c.send(build("GET", "/big.bin", host="send.test") + build("GET", "/ten.txt", host="send.test") + build("GET", "/plain/big.bin", host="send.test"))
            assert [len(c.response().body) for _ in range(3)] == [len(BIG), 10, len(BIG)]


CLIMBING = """
    server {
        listen 127.0.0.1:@http@;
        root @dir@/site;
        location /name/ { try_files $arg_f =404; }
        location /last/ { try_files /none $arg_f; }
        location /index/ { alias @dir@/site/; index $arg_f; }
        location /root/ { root @dir@/$arg_f; }
        location /alias/ { alias @dir@/site/$arg_f/; }
        location /constant/ { alias @dir@/site/../other/; }
        location /rewritten { rewrite .* $arg_f last; }
    }
"""


@pytest.fixture
def climbing():
    with harness.temp_dir() as folder:
        make_site(folder)
        with harness.Sluice(CLIMBING.replace("@dir@", str(folder)), {"http": harness.free_port()}) as s:
            yield s


@pytest.mark.parametrize("path", ["/name/?f=/../secret.txt", "/name/?f=../secret.txt", "/name/?f=/sub/../../secret.txt", "/last/?f=/../secret.txt", "/last/?f=/sub/../../secret.txt",
                                  "/index/?f=../secret.txt", "/index/?f=sub/../../secret.txt", "/root/secret.txt?f=site/..", "/alias/secret.txt?f=..",
                                  "/alias/secret.txt?f=sub/../..", "/rewritten?f=/../secret.txt"])
def test_a_variable_does_not_lead_out(climbing, path):
    """nginx would follow it."""
    with Conn(climbing.values["http"]) as c:
        r = c.request("GET", path)
        assert r.status in (403, 404) and b"secret" not in r.body
        assert c.request("GET", "/constant/a.txt").body == b"other a"
        assert c.request("GET", "/name/?f=/..ten.txt").status == 404 and c.request("GET", "/name/?f=/ten.txt").body == TEN.encode()


def test_the_root_of_all(both):
    """`root /;` is no empty name."""
    for s in both.servers:
        with Conn(s.port) as c:
            assert c.request("GET", below_root(both, "ten.txt"), host="first.test").body == TEN.encode()
            assert c.request("GET", below_root(both, "none"), host="first.test").status == 404


@pytest.mark.parametrize("path", ["/timed/big.bin", "/timed/plain/big.bin"])
def test_send_timeout_alike(both, path):
    """A client that takes nothing more is let go."""
    def n_timeouts(s):
        return len(re.findall(r"client timed out.*while sending", (s.dir / "error.log").read_text()))
    for s in both.servers:
        before = n_timeouts(s)
        with Conn(s.port, rcvbuf=4096) as c:
            c.send(build("GET", path, host="send.test"))
            c.head()
            until(lambda s=s, n=before: n_timeouts(s) > n, 8, s.name)
            with pytest.raises((harness.Closed, ConnectionError)):
                c.take(len(BIG))
