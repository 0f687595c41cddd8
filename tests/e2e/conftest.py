# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the end-to-end tests. What they are made of is in harness.py."""
import contextlib
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import guard_net  # noqa: E402
import harness  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "privileged: needs root, namespaces or the kernel's BPF")
    config.addinivalue_line("markers", "kernel: kernels may differ in it: `make test-vm` runs it on Debian's own")
    config.addinivalue_line("markers", "vm: works on Debian's own kernel, maybe not on this one: `make test-vm` alone")
    config.addinivalue_line("markers", "alone: measures time or memory so closely that no other test runs beside it")


@pytest.fixture
def stack():
    """Ends, in reverse order, what a test started."""
    with contextlib.ExitStack() as s:
        yield s


@pytest.fixture
def start(stack):
    """start(conf, ...): a running sluice with one port for listen @http@; see harness.Sluice."""
    def make(conf, values=None, cls=harness.Sluice, **kw):
        values = {"http": harness.free_port(), **(values or {})}
        sluice = cls(conf, values, **kw)
        stack.enter_context(sluice)
        sluice.port = values["http"]
        return sluice
    return make


@pytest.fixture
def mocks(stack):
    """mocks(...): a running mock-llm; see harness.Mock."""
    def make(*args, **kw):
        mock = harness.Mock(*args, **kw)
        stack.callback(mock.stop)
        return mock
    return make


@pytest.fixture
def mock(mocks):
    return mocks()


@pytest.fixture
def net(stack):
    """Two clients and a server, each in a namespace of its own; see guard_net.GuardNet."""
    return stack.enter_context(guard_net.GuardNet())


@pytest.fixture
def pins(stack):
    """A folder of pins of this test's own."""
    return stack.enter_context(guard_net.Pins())


@pytest.fixture(scope="session")
def ca():
    """The certificate authority of all tests; ca.server is for localhost."""
    with harness.temp_dir() as folder:
        maker = harness.CertMaker(folder)
        maker.server = maker.make("localhost", ["localhost", "127.0.0.1", "::1"])
        yield maker


@pytest.fixture(scope="session")
def wrong_ca():
    with harness.temp_dir() as folder:
        yield harness.CertMaker(folder, "wrong")


@pytest.fixture
def small_disk(stack):
    """small_disk(path, size): a full file system is soon had there."""
    def make(path, size="64k"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", path], check=True)
        stack.callback(subprocess.run, ["umount", "-l", str(path)], check=True)
    return make
