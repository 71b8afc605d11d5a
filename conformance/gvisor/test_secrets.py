"""Secrets in a sandbox that is gVisor's."""

from tests.sandbox import test_secrets


class TestDelivery(test_secrets.TestDelivery):
    """What the tool finds, on runsc."""


class TestEngine(test_secrets.TestEngine):
    """What the Docker Engine is told, on runsc."""


class TestReturn(test_secrets.TestReturn):
    """What comes back, on runsc."""
