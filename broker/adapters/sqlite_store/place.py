"""Say how far the log of a store has come, from its file."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from broker.adapters.sqlite_store import log_rows
from broker.adapters.sqlite_store.ownership import Ownership
from broker.errors import ConfigurationError
from broker.ports import LogHead


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    """Where a log stands.

    Args:
        entries: How many there are, with those that no head covers yet.
        covered: How many the latest head covers.
    """

    entries: int
    covered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedLog:
    """What a store says of its log.

    Args:
        installation: The store's id; empty where no broker ever ran on it.
        latest: The head that it signed last; None before the first.
        asked: The head of the size that was asked for; None where it has none.
    """

    installation: str
    latest: LogHead | None
    asked: LogHead | None


def recorded_log(path: Path, size: int) -> RecordedLog:
    """Read what a store says of its log, also while a broker runs on it; nothing is changed.

    Args:
        size: Of a head that readers were shown.

    Raises:
        ConfigurationError: It cannot be read, or is no store of this version's.
    """
    try:
        with closing(look_into(path)) as connection:
            found = connection.execute("SELECT value FROM meta WHERE name = 'installation'")
            row = found.fetchone()
            return RecordedLog(
                installation=str(row[0]) if row else "",
                latest=log_rows.head(connection, None),
                asked=log_rows.head(connection, size),
            )
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error


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
        with closing(_connected(path)) as connection:
            head = log_rows.head(connection, None)
            return LogPlace(
                entries=log_rows.count_entries(connection), covered=head.size if head else 0
            )
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)


def look_into(path: Path) -> sqlite3.Connection:
    """Open a store to read what is in it, whether or not a broker runs on it.

    It leaves no file beside it: one of another user's, as of root's, would keep the broker out.
    """
    if path.with_name(f"{path.name}-wal").exists():
        return _connected(path)
    # A reader would make the WAL's files.
    return sqlite3.connect(f"file:{quote(str(path.resolve()))}?immutable=1", uri=True)


def _unreadable(path: Path, error: sqlite3.Error) -> ConfigurationError:
    return ConfigurationError(
        str(path), None, f"cannot be read as a store ({error}): name its configuration"
    )
