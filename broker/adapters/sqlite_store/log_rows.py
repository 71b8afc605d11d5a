"""Keep the nodes of the log with its checkpoints."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from broker.adapters.sqlite_store.call_record import from_microseconds, to_microseconds
from broker.adapters.sqlite_store.rows import insert
from broker.core.merkle import Node, ReadNodes, stored_count, stored_place
from broker.errors import StaleLog, StoreUnavailable
from broker.ports import LogHead

T = TypeVar("T")


def head(connection: sqlite3.Connection, size: int | None) -> LogHead | None:
    """Read the checkpoint of a size, or the latest."""
    where = "" if size is None else "WHERE size = :size"
    row = connection.execute(
        f"SELECT size, at_us, note FROM log_checkpoints {where}"  # noqa: S608 - made of constants
        " ORDER BY size DESC LIMIT 1",
        {"size": size},
    ).fetchone()
    return row and LogHead(size=row[0], at=from_microseconds(row[1]), checkpoint=row[2])


def entries(connection: sqlite3.Connection, start: int, limit: int) -> list[bytes]:
    """Read entries from an index on."""
    rows = connection.execute(
        "SELECT envelope FROM receipts WHERE sequence > ? ORDER BY sequence LIMIT ?",
        (start, limit),
    )
    return [envelope for (envelope,) in rows]


def count_entries(connection: sqlite3.Connection) -> int:
    """Count the entries, those included that no checkpoint covers."""
    row = connection.execute("SELECT coalesce(max(sequence), 0) FROM receipts").fetchone()
    return int(row[0])


def fold(connection: sqlite3.Connection, work: Callable[[ReadNodes], T]) -> T:
    """Do work that reads nodes."""

    def read(nodes: Sequence[Node]) -> list[bytes]:
        places = [stored_place(node) for node in nodes]
        # As JSON: one statement, prepared once, however many they are.
        rows = connection.execute(
            "SELECT place, hash FROM log_nodes WHERE place IN (SELECT value FROM json_each(?))",
            (json.dumps(places),),
        )
        found = dict(rows.fetchall())
        if len(found) < len(set(places)):
            raise StoreUnavailable(
                "the store lacks hashes of its log: keep the file for inquiry, restore the latest"
                " backup",
                reason="STORE_DAMAGED",
            )
        return [found[place] for place in places]

    return work(read)


def advance(
    connection: sqlite3.Connection, expected: LogHead | None, hashes: Sequence[bytes], to: LogHead
) -> None:
    """Append nodes with the checkpoint that covers them, if the log stands as expected.

    Raises:
        StaleLog: It stands elsewhere.
    """
    found = head(connection, None)
    if found != expected:
        raise StaleLog("the log has another head than the one this was made from: read it again")
    place = stored_count(0 if expected is None else expected.size)
    if place + len(hashes) != stored_count(to.size):
        raise ValueError(f"{len(hashes)} nodes do not make a log of {to.size} entries")
    rows = [(at, each) for at, each in enumerate(hashes, start=place)]
    insert(connection, "INSERT INTO log_nodes VALUES", rows)
    connection.execute(
        "INSERT INTO log_checkpoints VALUES (?, ?, ?)",
        (to.size, to_microseconds(to.at), to.checkpoint),
    )
