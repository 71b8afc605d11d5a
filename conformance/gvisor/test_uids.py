"""Who a container runs as, in gVisor."""

from tests.sandbox.test_uids import (
    test_each_runs_as_somebody_else,
    test_one_container_takes_nothing_from_another,
)

__all__ = ["test_each_runs_as_somebody_else", "test_one_container_takes_nothing_from_another"]
