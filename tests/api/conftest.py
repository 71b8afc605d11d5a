"""Identities of the shared broker."""

import pytest

from tests.api.rpc import Rpc
from tests.broker_process import Served


@pytest.fixture(scope="session")
def agent(served: Served) -> Rpc:
    """The stubs of `agent`."""
    return Rpc.of(served, "agent")


@pytest.fixture(scope="session")
def agent2(served: Served) -> Rpc:
    """The stubs of `agent2`."""
    return Rpc.of(served, "agent2")


@pytest.fixture(scope="session")
def approver(served: Served) -> Rpc:
    """The stubs of `approver`."""
    return Rpc.of(served, "approver")


@pytest.fixture(scope="session")
def auditor(served: Served) -> Rpc:
    """The stubs of `auditor`."""
    return Rpc.of(served, "auditor")


@pytest.fixture(scope="session")
def admin(served: Served) -> Rpc:
    """The stubs of `admin`."""
    return Rpc.of(served, "admin")
