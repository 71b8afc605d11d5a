"""Write one change inside a transaction."""

import sqlite3
from collections.abc import Iterable

from broker.adapters.sqlite_store import file_rows
from broker.adapters.sqlite_store.call_record import to_microseconds
from broker.adapters.sqlite_store.chronicle import Chronicle
from broker.core.call import Call
from broker.core.document import Document
from broker.core.ids import Pseudonym, sha256_hex
from broker.core.lifecycle import CallState, Step, after
from broker.errors import DuplicateRequest, PremiseChanged, ShortIdTaken, StaleCall
from broker.ports import Change, EventDraft, StoredReceipt, WorkspaceUpdate

PERSON = "person"


def check_change(change: Change) -> None:
    """Refuse a change that no state of the store could make right: a bug of its author.

    Raises:
        ValueError: Says which rule the change breaks.
    """
    call = change.call
    if call.version < 1:
        raise ValueError("a change's call has a version of at least 1")
    if not change.events:
        raise ValueError("a change carries one event per step, at least one")
    if call.state.is_final != (change.receipt is not None):
        raise ValueError(f"a receipt if and only if the state is final, not in {call.state.name}")
    if change.workspace is not None and (
        change.workspace.agent != call.agent or change.workspace.session_id != call.session_id
    ):
        raise ValueError("a change moves no workspace but that of its call's session")


def write_change(chronicle: Chronicle, change: Change, record: str) -> StoredReceipt | None:
    """Write a change that `check_change` let pass; the caller's savepoint undoes it on an error.

    Args:
        record: The JSON of `change.call`.
    """
    connection, call = chronicle.connection, change.call
    _write_call(connection, change, record)
    _check_premises(connection, change.premises)
    if change.workspace is not None:
        _move_workspace(connection, change.workspace)
    _add_documents(connection, call, change.documents)
    file_rows.add(connection, call, change.files, change.most_file_bytes)
    for event in change.events:
        chronicle.append_event(event, call=call.id, agent=call.agent)
    if change.receipt is None:
        return None
    return chronicle.append_receipt(change.receipt, call=call.id, agent=call.agent)


def write_premise(chronicle: Chronicle, name: str, value: str, event: EventDraft) -> None:
    """Set a premise with the event that says so."""
    chronicle.connection.execute(
        "INSERT INTO premises VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        (name, value),
    )
    chronicle.append_event(event)


def write_pseudonym(chronicle: Chronicle, person: str, fresh: Pseudonym) -> Pseudonym:
    """Give the person's pseudonym, which is `fresh` where there was none."""
    connection, name = chronicle.connection, person.encode()
    row = find_pseudonym(connection, person)
    if row is not None:
        return row
    cursor = connection.execute(
        "INSERT INTO content (sha256, kind, subject, call, bytes) VALUES (?, ?, ?, NULL, ?)",
        (sha256_hex(name), PERSON, fresh, name),
    )
    connection.execute("INSERT INTO people VALUES (?, ?)", (fresh, cursor.lastrowid))
    return fresh


def find_pseudonym(connection: sqlite3.Connection, person: str) -> Pseudonym | None:
    """Look up a person's pseudonym."""
    row = connection.execute(
        "SELECT subject FROM content WHERE kind = 'person' AND sha256 = ?",
        (sha256_hex(person.encode()),),
    ).fetchone()
    return None if row is None else Pseudonym(row[0])


def _write_call(connection: sqlite3.Connection, change: Change, record: str) -> None:
    call = change.call
    stored = connection.execute(
        "SELECT version, state, short_id, agent, session_id, request_id FROM calls WHERE id = ?",
        (call.id,),
    ).fetchone()
    version = 0 if stored is None else stored[0]
    if call.version != version + 1:
        raise StaleCall(
            f"{call.name} stands at version {version}, the change was made from"
            f" {call.version - 1}: read it again and decide again"
        )
    _check_steps(None if stored is None else CallState(stored[1]), change)
    if stored is None:
        _insert_call(connection, call, record)
        return
    if stored[2:] != (call.short_id, call.agent, call.session_id, call.request_id):
        raise ValueError(f"{call.name} keeps its names for life")
    connection.execute(
        "UPDATE calls SET state = ?, version = ?, record = ? WHERE id = ?",
        (call.state.value, call.version, record, call.id),
    )


def _check_steps(state: CallState | None, change: Change) -> None:
    for event in change.events:
        state = after(state, Step(event.type))
    if state is not change.call.state:
        raise ValueError(f"the events lead to {state}, the call says {change.call.state}")


def _insert_call(connection: sqlite3.Connection, call: Call, record: str) -> None:
    try:
        connection.execute(
            "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                call.id,
                call.short_id,
                call.agent,
                call.session_id,
                call.request_id,
                call.tool,
                call.state.value,
                call.version,
                to_microseconds(call.received_at),
                record,
            ),
        )
    except sqlite3.IntegrityError as error:
        if _is_request_known(connection, call):
            raise DuplicateRequest(
                f"request_id {call.request_id!r} is recorded already: read the call it made"
            ) from error
        raise ShortIdTaken(f"short id {call.short_id} is taken: draw another") from error


def _is_request_known(connection: sqlite3.Connection, call: Call) -> bool:
    found = connection.execute(
        "SELECT 1 FROM calls WHERE agent = ? AND request_id = ? AND request_id <> ''",
        (call.agent, call.request_id),
    )
    return found.fetchone() is not None


def _check_premises(connection: sqlite3.Connection, premises: Iterable[tuple[str, str]]) -> None:
    for name, value in premises:
        row = connection.execute("SELECT value FROM premises WHERE name = ?", (name,)).fetchone()
        if row is None or row[0] != value:
            raise PremiseChanged(name)


def _move_workspace(connection: sqlite3.Connection, update: WorkspaceUpdate) -> None:
    row = connection.execute(
        "SELECT tree_sha256 FROM workspaces WHERE agent = ? AND session_id = ?",
        (update.agent, update.session_id),
    ).fetchone()
    if (None if row is None else row[0]) != update.expected_sha256:
        raise PremiseChanged("workspace")
    connection.execute(
        "INSERT INTO workspaces VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET tree_sha256 = excluded.tree_sha256",
        (update.agent, update.session_id, update.tree_sha256),
    )


def _add_documents(
    connection: sqlite3.Connection, call: Call, documents: Iterable[Document]
) -> None:
    connection.executemany(
        "INSERT INTO content (sha256, kind, subject, call, bytes) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        [(d.sha256, d.kind.value, call.agent, call.id, d.text) for d in documents],
    )
