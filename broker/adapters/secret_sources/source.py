"""Say what a source of one secret is."""

from typing import Protocol


class Unreadable(Exception):
    """A source gives no value now; the message says what to do, and nothing of the value."""


class Source(Protocol):
    """Where one secret's value is kept. Blocking; safe from several threads."""

    def read(self) -> bytes:
        """Give the value as somebody wrote it there.

        Raises:
            Unreadable: It cannot be had now.
        """


class Nowhere:
    """A source that has no value, for a reason known at the start."""

    def __init__(self, why: str) -> None:
        self._why = why

    def read(self) -> bytes:
        """Say why.

        Raises:
            Unreadable: Always.
        """
        raise Unreadable(self._why)
