"""The way out of a sandbox that is gVisor's: the same sockets, the same lists."""

from tests.egress import test_http_fetch, test_sandbox
from tests.egress.conftest import names, places, root, tls, way_out
from tests.egress.test_http_fetch import fetch, tool
from tests.egress.test_sandbox import bench, networked, run

__all__ = [
    "bench",
    "fetch",
    "names",
    "networked",
    "places",
    "root",
    "run",
    "tls",
    "tool",
    "way_out",
]


class TestProfile(test_sandbox.TestProfile):
    """What egress adds to a container, on runsc."""


class TestEnd(test_sandbox.TestEnd):
    """No connection outlives its call, on runsc."""


class TestRow(test_sandbox.TestRow):
    """What must not work, on runsc."""


class TestRefusals(test_http_fetch.TestRefusals):
    """What http_fetch refuses or is refused, on runsc."""


class TestAnswer(test_http_fetch.TestAnswer):
    """http_fetch, on runsc."""
