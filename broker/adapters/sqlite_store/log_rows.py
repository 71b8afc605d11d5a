"""Keep the log: its entries, their nodes, its checkpoints."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import TypeVar

from broker.adapters.sqlite_store.call_record import (
    from_microseconds,
    load_call,
    to_microseconds,
)
from broker.adapters.sqlite_store.chronicle import Chronicle
from broker.adapters.sqlite_store.queries import EVENT_COLUMNS, events, read_event
from broker.adapters.sqlite_store.rows import insert
from broker.core.log_leaf import LeafKind
from broker.core.merkle import Node, ReadNodes, stored_count, stored_place
from broker.errors import StaleLog, StoreUnavailable
from broker.ports import EventRange, LogEntry, LogHead

T = TypeVar("T")

# So that a log which was behind for long does not hold all of it in memory.
_MANY_EVENTS = 20_000
_EVENT = ", ".join(f"events.{name}" for name in EVENT_COLUMNS.split(", "))


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
    """Read entries from an index on, up to the first whose bytes are still to be made."""
    rows = connection.execute(
        """SELECT coalesce(receipts.envelope, log_leaves.leaf) FROM log_entries
        LEFT JOIN receipts ON kind = 'receipt' AND receipts.sequence = reference
        LEFT JOIN log_leaves ON log_leaves.place = log_entries.place
        WHERE log_entries.place >= ? ORDER BY log_entries.place LIMIT ?""",
        (start, limit),
    )
    return list(takewhile(lambda entry: entry is not None, (entry for (entry,) in rows)))


def sources(connection: sqlite3.Connection, start: int, limit: int) -> list[LogEntry]:
    """Read what entries are made from, from an index on, up to a batch that makes them many."""
    rows = connection.execute(
        f"""SELECT log_entries.place, kind, receipts.envelope, calls.record, {_EVENT}
        FROM log_entries
        LEFT JOIN receipts ON kind = 'receipt' AND receipts.sequence = reference
        LEFT JOIN events ON kind NOT IN ('receipt', 'batch') AND events.sequence = reference
        LEFT JOIN calls ON kind = 'intent' AND calls.id = events.call
        WHERE log_entries.place >= ? ORDER BY log_entries.place LIMIT ?""",  # noqa: S608 - made of constants
        (start, limit),
    )
    found: list[LogEntry] = []
    held = 0
    for place, name, envelope, record, *event in rows.fetchall():
        batch = _batch(connection, place) if name == LeafKind.BATCH.value else None
        found.append(
            LogEntry(
                index=place,
                kind=LeafKind(name),
                receipt=envelope,
                event=None if event[0] is None else read_event(tuple(event)),
                call=None if record is None else load_call(record),
                batch=batch,
            )
        )
        held += len(batch.events) if batch else 0
        if held > _MANY_EVENTS:
            break
    return found


def index_of(connection: sqlite3.Connection, receipt: int) -> int:
    """Give the index of a receipt."""
    row = connection.execute(
        "SELECT coalesce(place, sequence - 1) FROM receipts WHERE sequence = ?", (receipt,)
    ).fetchone()
    if row is None:
        raise StoreUnavailable(
            "the store lacks a receipt that it gave: keep the file for inquiry, restore the"
            " latest backup",
            reason="STORE_DAMAGED",
        )
    return int(row[0])


def close_batch(chronicle: Chronicle, salt: bytes) -> bool:
    """Append a batch of the events that none covers, where there are any."""
    connection = chronicle.connection
    row = connection.execute("SELECT last FROM log_batches ORDER BY place DESC LIMIT 1").fetchone()
    row = (
        row
        or connection.execute(
            "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'events_before_batches'"
        ).fetchone()
    )
    first, last = row[0] + 1, chronicle.head.events
    if last < first:
        return False
    chronicle.append_batch(first, last, salt)
    return True


def _batch(connection: sqlite3.Connection, place: int) -> EventRange:
    first, last, salt = connection.execute(
        "SELECT first, last, salt FROM log_batches WHERE place = ?", (place,)
    ).fetchone()
    counts = connection.execute(
        """SELECT kind, count(*) FROM log_entries WHERE place < ?1 AND place > (
            SELECT coalesce(max(place), -1) FROM log_batches WHERE place < ?1
        ) AND place >= (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'receipts_alone')
        GROUP BY kind""",
        (place,),
    )
    return EventRange(
        events=events(connection, first - 1, last - first + 1, None),
        salt=salt,
        entries={LeafKind(kind): count for kind, count in counts},
    )


def count_entries(connection: sqlite3.Connection) -> int:
    """Count the entries, those included that no checkpoint covers."""
    row = connection.execute("SELECT coalesce(max(place), -1) + 1 FROM log_entries").fetchone()
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
    connection: sqlite3.Connection,
    expected: LogHead | None,
    hashes: Sequence[bytes],
    to: LogHead,
    leaves: Mapping[int, bytes],
) -> None:
    """Append leaves and nodes with the checkpoint that covers them, if the log stands as expected.

    Raises:
        StaleLog: It stands elsewhere.
    """
    found = head(connection, None)
    if found != expected:
        raise StaleLog("the log has another head than the one this was made from: read it again")
    size = 0 if expected is None else expected.size
    place = stored_count(size)
    if place + len(hashes) != stored_count(to.size):
        raise ValueError(f"{len(hashes)} nodes do not make a log of {to.size} entries")
    due = connection.execute(
        "SELECT place FROM log_entries WHERE place >= ? AND place < ? AND kind <> 'receipt'"
        " ORDER BY place",
        (size, to.size),
    )
    if sorted(leaves) != [index for (index,) in due]:
        raise ValueError("a head brings the bytes of each new entry that is no receipt")
    insert(connection, "INSERT INTO log_leaves VALUES", sorted(leaves.items()))
    rows = [(at, each) for at, each in enumerate(hashes, start=place)]
    insert(connection, "INSERT INTO log_nodes VALUES", rows)
    connection.execute(
        "INSERT INTO log_checkpoints VALUES (?, ?, ?)",
        (to.size, to_microseconds(to.at), to.checkpoint),
    )
