"""Write, lift, list halts; refuse the start of what one covers."""

import sqlite3

from broker.adapters.sqlite_store.call_record import from_microseconds, to_microseconds
from broker.adapters.sqlite_store.chronicle import Chronicle
from broker.core.call import Call
from broker.core.document import Document
from broker.core.halt import Halt, Scope, halted_by
from broker.core.ids import HaltId
from broker.errors import PremiseChanged
from broker.ports import HALTS_PREMISE, EventDraft


def write_halt(chronicle: Chronicle, halt: Halt, reason: Document, event: EventDraft) -> None:
    """Add a halt with its reason and event; one that is there already is left as it is."""
    connection, scope = chronicle.connection, halt.scope
    if connection.execute("SELECT 1 FROM halts WHERE id = ?", (halt.id,)).fetchone():
        return
    connection.execute(
        "INSERT INTO content (sha256, kind, subject, call, bytes) VALUES (?, ?, ?, NULL, ?)",
        (reason.sha256, reason.kind.value, halt.set_by, reason.text),
    )
    connection.execute(
        "INSERT INTO halts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            halt.id,
            scope.kind,
            scope.agent,
            scope.session_id,
            scope.tool,
            halt.set_by,
            to_microseconds(halt.set_at),
            halt.reason_sha256,
        ),
    )
    chronicle.append_events([(event, None)])


def lift_halt(chronicle: Chronicle, halt: HaltId, event: EventDraft) -> None:
    """Remove a halt with the event that says so; nothing is done where there is none."""
    removed = chronicle.connection.execute("DELETE FROM halts WHERE id = ?", (halt,))
    if removed.rowcount:
        chronicle.append_events([(event, None)])


def list_halts(connection: sqlite3.Connection) -> list[Halt]:
    """List active halts, oldest first."""
    rows = connection.execute("SELECT * FROM halts ORDER BY set_at_us, id")
    return [
        Halt(
            id=name,
            scope=Scope(everything=kind == "all", agent=agent, session_id=session_id, tool=tool),
            set_by=set_by,
            set_at=from_microseconds(set_at_us),
            reason_sha256=reason_sha256,
        )
        for name, kind, agent, session_id, tool, set_by, set_at_us, reason_sha256 in rows
    ]


def refuse_halted(connection: sqlite3.Connection, call: Call) -> None:
    """Refuse to start a call under a halt.

    Raises:
        PremiseChanged: An active halt covers it.
    """
    if halted_by(list_halts(connection), call) is not None:
        raise PremiseChanged(HALTS_PREMISE)
