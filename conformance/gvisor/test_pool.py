"""Containers that wait, in gVisor."""

from tests.pool import test_containers
from tests.pool.test_containers import pool, told

__all__ = ["pool", "told"]


class TestWaiting(test_containers.TestWaiting):
    """What they are, whom they serve, what is left, on runsc."""
