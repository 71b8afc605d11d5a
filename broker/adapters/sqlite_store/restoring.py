"""Let a store that was put back from a backup go on as a new installation."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from broker.adapters.sqlite_store import log_rows, queries, schema
from broker.adapters.sqlite_store.call_record import to_microseconds
from broker.adapters.sqlite_store.changes import write_pseudonym
from broker.adapters.sqlite_store.chronicle import Chronicle
from broker.adapters.sqlite_store.halts import write_halt
from broker.adapters.sqlite_store.ownership import Ownership
from broker.adapters.sqlite_store.writer import unavailable
from broker.core.document import Document
from broker.core.halt import Halt
from broker.core.ids import Pseudonym
from broker.errors import ConfigurationError
from broker.ports import RESTORED_PREMISE, EventDraft, LogHead

_BUSY_TIMEOUT_S = 5.0
# In this order: rows that others name go last.
_OF_THE_LOG = (
    "log_cosignatures",
    "log_checkpoints",
    "log_nodes",
    "log_leaves",
    "log_batches",
    "log_entries",
    "receipts",
)
# So that the new log says which keys sign it.
_TOLD_ANEW = ("key.receipt", "key.log")


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What a restored store goes on with.

    Args:
        installation: Its new id.
        maker: Who is named as the halt's maker, with a pseudonym for one that is not known yet.
        fresh: That pseudonym.
        halt: Makes the halt of everything, its reason and the event that says so.
        forgotten: Premises that do not hold for the new log, besides which keys sign.
    """

    installation: str
    maker: str
    fresh: Pseudonym
    halt: Callable[[Pseudonym], tuple[Halt, Document, EventDraft]]
    forgotten: tuple[str, ...] = ()


class RestingStore:
    """A store that no broker runs on, until the end of `resting_store`."""

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], datetime]) -> None:
        self._connection = connection
        self._now = now

    @property
    def installation(self) -> str:
        """Give the store's id."""
        (found,) = self._connection.execute(
            "SELECT value FROM meta WHERE name = 'installation'"
        ).fetchone()
        return str(found)

    @property
    def head(self) -> LogHead | None:
        """Give the latest head of its log."""
        return log_rows.head(self._connection, None)

    @property
    def latest_at(self) -> datetime | None:
        """Give the time of its last event."""
        return queries.latest_at(self._connection)

    @property
    def is_just_restored(self) -> bool:
        """Tell whether it was restored, and no broker has started on it since."""
        found = self._connection.execute(
            "SELECT 1 FROM premises WHERE name = ? AND value <> ''", (RESTORED_PREMISE,)
        )
        return found.fetchone() is not None

    def has_been(self, installation: str) -> bool:
        """Tell whether it had this id before it was restored."""
        found = self._connection.execute(
            "SELECT 1 FROM past_logs WHERE installation = ?", (installation,)
        )
        return found.fetchone() is not None

    def renew(self, renewal: Renewal) -> None:
        """Begin a new installation with an empty log, halted; all or nothing.

        Calls, events, documents and files stay; receipts stand apart from those to come. What makes
        the old log up goes: who wants it has its files, or the backup.
        """
        connection, before = self._connection, self.installation
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(
                "INSERT INTO past_logs VALUES (?, ?)", (before, to_microseconds(self._now()))
            )
            connection.execute(
                "INSERT INTO past_receipts SELECT call, ?, sequence, at_us, envelope FROM receipts",
                (before,),
            )
            self._empty_log()
            self._rename(before, renewal)
            self._halt(renewal)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _empty_log(self) -> None:
        connection = self._connection
        for table in _OF_THE_LOG:
            # Nothing but this may delete from it: the trigger is there again before the commit.
            name = f"{table}_delete"
            found = connection.execute(
                "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?", (name,)
            ).fetchone()
            if found:
                connection.execute(f"DROP TRIGGER {name}")
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - a constant
            if found:
                connection.execute(found[0])

    def _rename(self, before: str, renewal: Renewal) -> None:
        connection = self._connection
        connection.execute(
            "UPDATE meta SET value = ? WHERE name = 'installation'", (renewal.installation,)
        )
        connection.execute(
            "UPDATE meta SET value = (SELECT CAST(coalesce(max(sequence), 0) AS TEXT) FROM events)"
            " WHERE name = 'events_before_batches'"
        )
        connection.execute("UPDATE meta SET value = '0' WHERE name = 'receipts_alone'")
        connection.executemany(
            "DELETE FROM premises WHERE name = ?",
            [(name,) for name in (*_TOLD_ANEW, *renewal.forgotten)],
        )
        # Restored twice without a start in between, both are still to be cleared away.
        connection.execute(
            "INSERT INTO premises VALUES (?, ?) ON CONFLICT DO UPDATE"
            " SET value = trim(value || ' ' || excluded.value)",
            (RESTORED_PREMISE, before),
        )

    def _halt(self, renewal: Renewal) -> None:
        (epoch,) = self._connection.execute(
            "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'epoch'"
        ).fetchone()
        chronicle = Chronicle(
            self._connection,
            installation=renewal.installation,
            epoch=epoch,
            seal=_seals_nothing,
            now=self._now,
            # No call starts here.
            is_clock_trusted=lambda: False,
        )
        maker = write_pseudonym(chronicle, renewal.maker, renewal.fresh)
        write_halt(chronicle, *renewal.halt(maker))


@contextmanager
def resting_store(path: Path, *, now: Callable[[], datetime]) -> Iterator[RestingStore]:
    """Keep brokers from a store, migrated where need be, to change what it is.

    Raises:
        StoreUnavailable: A broker owns it, or it is damaged, foreign or too new.
        ConfigurationError: There is none, or no broker ever ran on it.
    """
    path = path.resolve()
    if not path.exists():
        raise ConfigurationError(str(path), None, "there is no store: put the backup there first")
    ownership = Ownership.take(path)
    try:
        connection = schema.open_for_writing(path, now, _BUSY_TIMEOUT_S)
        try:
            if not connection.execute("SELECT 1 FROM meta WHERE name = 'installation'").fetchone():
                raise ConfigurationError(str(path), None, "is an empty store, no backup of one")
            yield RestingStore(connection, now)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise unavailable(error) from error
    finally:
        ownership.release()


def _seals_nothing(*_: object) -> NoReturn:
    raise AssertionError("no call ends while a store rests")
