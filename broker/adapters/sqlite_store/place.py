"""Say how far the log of a store has come that no broker runs on."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from broker.adapters.sqlite_store import log_rows
from broker.adapters.sqlite_store.ownership import Ownership
from broker.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    """Where a log stands.

    Args:
        entries: How many there are, with those that no head covers yet.
        covered: How many the latest head covers.
    """

    entries: int
    covered: int


@contextmanager
def resting_log(path: Path) -> Iterator[LogPlace]:
    """Keep brokers from a store, and say where its log stands; one that is not there has no entry.

    Raises:
        StoreUnavailable: A broker owns it.
        ConfigurationError: It cannot be read, or is no store.
    """
    if not path.exists():
        yield LogPlace(entries=0, covered=0)
        return
    ownership = Ownership.take(path)
    try:
        yield _read(path)
    finally:
        ownership.release()


def _read(path: Path) -> LogPlace:
    try:
        connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
        try:
            head = log_rows.head(connection, None)
            return LogPlace(
                entries=log_rows.count_entries(connection), covered=head.size if head else 0
            )
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise ConfigurationError(
            str(path), None, f"cannot be read as a store ({error}): name its configuration"
        ) from error
