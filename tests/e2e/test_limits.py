# SPDX-License-Identifier: BSD-2-Clause
"""limit_req in all its forms, and its zones' life."""
from harness import fetch


def test_rejects_over_the_rate(start):
    s = start("limit_req_zone $binary_remote_addr zone=z:1m rate=1r/s;\n"
              "server { listen 127.0.0.1:@http@; limit_req zone=z; location / { return 200 ok; } }")
    assert [fetch(s.port).status for _ in range(3)] == [200, 503, 503]
