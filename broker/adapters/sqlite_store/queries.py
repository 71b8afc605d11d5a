"""Read the record."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from broker.adapters.sqlite_store.call_record import (
    from_microseconds,
    load_call,
    to_microseconds,
)
from broker.core.call import Call
from broker.core.document import Document, DocumentKind
from broker.core.ids import AgentId, CallId, Sha256
from broker.core.lifecycle import OPEN_STATES
from broker.ports import CallFilter, Event, StoredReceipt

T = TypeVar("T")

_FILTER = """
    AND id < :before
    AND (:session_id IS NULL OR session_id = :session_id)
    AND (:tool IS NULL OR tool = :tool)
    AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
    ORDER BY id DESC LIMIT :limit
"""
# One text per index, which each names: a list of the few open calls must not walk all calls.
_OPEN_LIST = f"""SELECT record FROM calls INDEXED BY calls_open
    WHERE state IN ('RECEIVED', 'HELD', 'QUEUED', 'RUNNING')
    AND (:agent IS NULL OR agent = :agent) {_FILTER}"""  # noqa: S608 - made of constants
_AGENT_LIST = f"""SELECT record FROM calls INDEXED BY calls_agent
    WHERE agent = :agent {_FILTER}"""  # noqa: S608 - made of constants
_WHOLE_LIST = f"""SELECT record FROM calls
    WHERE :agent IS NULL {_FILTER}"""  # noqa: S608 - made of constants
_AFTER_EVERY_ID = "~"
EVENT_COLUMNS = "sequence, at_us, epoch, type, call, agent, data"


def premise(connection: sqlite3.Connection, name: str) -> str | None:
    """Read a premise."""
    row = connection.execute("SELECT value FROM premises WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def get_call(connection: sqlite3.Connection, call: CallId) -> Call | None:
    """Read one call."""
    rows = connection.execute("SELECT record FROM calls WHERE id = ?", (call,))
    return _first(_calls(rows))


def find_by_request_id(
    connection: sqlite3.Connection, agent: AgentId, request_id: str
) -> Call | None:
    """Find the call of this request_id; the empty one names none."""
    rows = connection.execute(
        "SELECT record FROM calls WHERE agent = ? AND request_id = ? AND request_id <> ''",
        (agent, request_id),
    )
    return _first(_calls(rows))


def find_by_short_id(
    connection: sqlite3.Connection, prefix: str, agent: AgentId | None
) -> list[Call]:
    """Find up to 2 calls whose short id starts so."""
    # A range instead of LIKE: it uses the index, and no character of the prefix is a wildcard.
    rows = connection.execute(
        "SELECT record FROM calls"
        " WHERE short_id >= :prefix AND short_id < :prefix || char(0x10FFFF)"
        " AND (:agent IS NULL OR agent = :agent) ORDER BY short_id LIMIT 2",
        {"prefix": prefix, "agent": agent},
    )
    return _calls(rows)


def list_calls(
    connection: sqlite3.Connection, wanted: CallFilter, limit: int, before: CallId | None
) -> list[Call]:
    """List calls, newest first."""
    text = _WHOLE_LIST if wanted.agent is None else _AGENT_LIST
    if wanted.states and wanted.states <= OPEN_STATES:
        text = _OPEN_LIST
    states = sorted(state.value for state in wanted.states)
    rows = connection.execute(
        text,
        {
            "agent": wanted.agent,
            "before": before or _AFTER_EVERY_ID,
            "session_id": wanted.session_id,
            "tool": wanted.tool,
            "states": json.dumps(states) if states else None,
            "limit": limit,
        },
    )
    return _calls(rows)


def open_calls(connection: sqlite3.Connection) -> list[Call]:
    """List every call that has not ended, oldest first."""
    rows = connection.execute(
        "SELECT record FROM calls INDEXED BY calls_open"
        " WHERE state IN ('RECEIVED', 'HELD', 'QUEUED', 'RUNNING') ORDER BY id"
    )
    return _calls(rows)


def recent_calls(connection: sqlite3.Connection, since: datetime) -> list[Call]:
    """List the calls received at that time or later, oldest first."""
    rows = connection.execute(
        "SELECT record FROM calls WHERE received_at_us >= ? ORDER BY received_at_us, id",
        (to_microseconds(since),),
    )
    return _calls(rows)


def latest_at(connection: sqlite3.Connection) -> datetime | None:
    """Give the time of the last event."""
    row = connection.execute("SELECT at_us FROM events ORDER BY sequence DESC LIMIT 1").fetchone()
    return from_microseconds(row[0]) if row else None


def document(connection: sqlite3.Connection, sha256: Sha256) -> Document | None:
    """Read one document."""
    row = connection.execute(
        "SELECT kind, bytes FROM content WHERE sha256 = ? AND kind NOT IN ('file', 'person')",
        (sha256,),
    ).fetchone()
    if row is None:
        return None
    body = json.loads(row[1])["body"]
    return Document(kind=DocumentKind(row[0]), body=body, text=row[1], sha256=sha256)


def workspace_tree(
    connection: sqlite3.Connection, agent: AgentId, session_id: str
) -> Sha256 | None:
    """Name the TREE document of a session's current workspace."""
    row = connection.execute(
        "SELECT tree_sha256 FROM workspaces WHERE agent = ? AND session_id = ?",
        (agent, session_id),
    ).fetchone()
    return None if row is None else Sha256(row[0])


def receipt(connection: sqlite3.Connection, call: CallId) -> StoredReceipt | None:
    """Read the receipt of a call."""
    rows = connection.execute(
        "SELECT sequence, call, envelope, at_us FROM receipts WHERE call = ?", (call,)
    )
    return _first(_receipts(rows)) or _past_receipt(connection, call)


def _past_receipt(connection: sqlite3.Connection, call: CallId) -> StoredReceipt | None:
    rows = connection.execute(
        "SELECT sequence, call, envelope, at_us FROM past_receipts WHERE call = ?", (call,)
    )
    found = _first(_receipts(rows))
    return found and replace(found, is_past=True)


def list_receipts(
    connection: sqlite3.Connection, after: int, limit: int, agent: AgentId | None
) -> list[StoredReceipt]:
    """List receipts by sequence, of one agent's calls or of all."""
    if agent is None:
        rows = connection.execute(
            "SELECT sequence, call, envelope, at_us FROM receipts WHERE sequence > ?"
            " ORDER BY sequence LIMIT ?",
            (after, limit),
        )
    else:
        rows = connection.execute(
            "SELECT sequence, call, envelope, at_us FROM receipts"
            " WHERE agent = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            (agent, after, limit),
        )
    return _receipts(rows)


def events(
    connection: sqlite3.Connection, after: int, limit: int, call: CallId | None
) -> list[Event]:
    """List events by sequence, of one call or of all."""
    if call is None:
        rows = connection.execute(
            f"SELECT {EVENT_COLUMNS} FROM events WHERE sequence > ?"  # noqa: S608 - made of constants
            " ORDER BY sequence LIMIT ?",
            (after, limit),
        )
    else:
        rows = connection.execute(
            f"SELECT {EVENT_COLUMNS} FROM events"  # noqa: S608 - made of constants
            " WHERE call = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            (call, after, limit),
        )
    return [read_event(row) for row in rows]


def read_event(row: tuple[int, int, int, str, CallId | None, AgentId | None, str]) -> Event:
    """Read an event from its `EVENT_COLUMNS`."""
    sequence, at_us, epoch, kind, call, agent, data = row
    return Event(
        sequence=sequence,
        at=from_microseconds(at_us),
        epoch=epoch,
        type=kind,
        call=call,
        agent=agent,
        data=json.loads(data),
    )


def _calls(rows: Iterable[tuple[str]]) -> list[Call]:
    return [load_call(record) for (record,) in rows]


def _receipts(rows: Iterable[tuple[int, CallId, bytes, int]]) -> list[StoredReceipt]:
    return [
        StoredReceipt(sequence=sequence, call=call, envelope=envelope, at=from_microseconds(at_us))
        for sequence, call, envelope, at_us in rows
    ]


def _first(found: list[T]) -> T | None:
    return found[0] if found else None
