# SPDX-License-Identifier: BSD-2-Clause
"""Being written (scale): taken by the helper for guard, nginx, limits, scale and admin."""
from harness import fetch


def test_answers(start):
    assert fetch(start("server { listen 127.0.0.1:@http@; location / { return 200 ok; } }").port).body == b"ok"
