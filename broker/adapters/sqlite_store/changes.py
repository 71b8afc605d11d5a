"""Write changes inside a transaction."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from broker.adapters.sqlite_store import file_rows
from broker.adapters.sqlite_store.call_record import dump_call, to_microseconds
from broker.adapters.sqlite_store.chronicle import Chronicle
from broker.adapters.sqlite_store.halts import refuse_halted
from broker.adapters.sqlite_store.labels import label_agent
from broker.adapters.sqlite_store.rows import insert
from broker.core.call import Call
from broker.core.ids import Pseudonym, sha256_hex
from broker.core.lifecycle import CallState, Step, after
from broker.errors import DuplicateRequest, PremiseChanged, ShortIdTaken, StaleCall
from broker.ports import Change, EventDraft, StoredReceipt, WorkspaceUpdate

PERSON = "person"


class Entangled(Exception):
    """Two changes of one group touch the same call or workspace, so their order matters."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A change with its call's record, the JSON that the row keeps."""

    change: Change
    record: str

    @classmethod
    def of(cls, change: Change) -> "Recorded":
        """Check a change, then write its record.

        Raises:
            ValueError: No state of the store could make it right: a bug of its author.
        """
        call = change.call
        if call.version < 1:
            raise ValueError("a change's call has a version of at least 1")
        if not change.events:
            raise ValueError("a change carries one event per step, at least one")
        if call.state.is_final != (change.receipt is not None):
            raise ValueError(
                f"a receipt if and only if the state is final, not in {call.state.name}"
            )
        if change.workspace is not None and (
            change.workspace.agent != call.agent or change.workspace.session_id != call.session_id
        ):
            raise ValueError("a change moves no workspace but that of its call's session")
        return cls(change, dump_call(call))


def write_changes(chronicle: Chronicle, recorded: Sequence[Recorded]) -> list[StoredReceipt | None]:
    """Write changes in their order, all of them or, where one is refused, none.

    Whoever calls undoes what was written when this raises. Each table gets the rows of all
    changes in one statement: each statement gives up the interpreter's lock, and under load the
    writer would wait for it a dozen times a change.

    Raises:
        StoreError: One of them is refused.
        Entangled: They cannot be written together; alone each can.
    """
    connection, changes = chronicle.connection, [each.change for each in recorded]
    _refuse_entangled(changes)
    for each in recorded:
        _check(chronicle, each.change)
    _write_calls(connection, recorded)
    _write_content(connection, changes)
    places = chronicle.append_events(
        [(event, change.call) for change in changes for event in (*change.notes, *change.events)]
    )
    return chronicle.append_receipts([(change.receipt, change.call) for change in changes], places)


def write_premise(chronicle: Chronicle, name: str, value: str, event: EventDraft) -> None:
    """Set a premise with the event that says so."""
    chronicle.connection.execute(
        "INSERT INTO premises VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        (name, value),
    )
    chronicle.append_events([(event, None)])


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


def _refuse_entangled(changes: Sequence[Change]) -> None:
    if len(changes) == 1:
        return
    touched: list[object] = [change.call.id for change in changes]
    touched += [(c.call.agent, c.call.session_id) for c in changes if c.workspace is not None]
    if len(set(touched)) < len(touched):
        raise Entangled


def _check(chronicle: Chronicle, change: Change) -> None:
    """Compare what a change was made from with what stands in the store."""
    connection = chronicle.connection
    if change.call.version == 1:
        # Nothing is looked up: a call that is there already breaks its row's primary key.
        _check_steps(None, change)
    else:
        _check_version(connection, change)
    _check_premises(connection, change.premises)
    if change.starts:
        chronicle.refuse_late(change.call)
        refuse_halted(connection, change.call)
        label_agent(connection, change.call)
    if change.workspace is not None:
        _move_workspace(connection, change.workspace)


def _check_version(connection: sqlite3.Connection, change: Change) -> None:
    call = change.call
    stored = connection.execute(
        "SELECT version, state, short_id, agent, session_id, request_id FROM calls WHERE id = ?",
        (call.id,),
    ).fetchone()
    version = 0 if stored is None else stored[0]
    if call.version != version + 1:
        raise _stale(call, version)
    _check_steps(CallState(stored[1]), change)
    if stored[2:] != (call.short_id, call.agent, call.session_id, call.request_id):
        raise ValueError(f"{call.name} keeps its names for life")


def _stale(call: Call, version: int) -> StaleCall:
    return StaleCall(
        f"{call.name} stands at version {version}, the change was made from"
        f" {call.version - 1}: read it again and decide again"
    )


def _check_steps(state: CallState | None, change: Change) -> None:
    for event in change.events:
        state = after(state, Step(event.type))
    if state is not change.call.state:
        raise ValueError(f"the events lead to {state}, the call says {change.call.state}")


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


def _write_calls(connection: sqlite3.Connection, recorded: Sequence[Recorded]) -> None:
    new = [each for each in recorded if each.change.call.version == 1]
    try:
        insert(connection, "INSERT INTO calls VALUES", [_row(each) for each in new])
    except sqlite3.IntegrityError as error:
        if len(new) > 1:
            # Which of them it is, each tells when it is written alone.
            raise Entangled from error
        raise _refusal(connection, new[0].change.call) from error
    for each in recorded:
        call = each.change.call
        if call.version > 1:
            connection.execute(
                "UPDATE calls SET state = ?, version = ?, record = ? WHERE id = ?",
                (call.state.value, call.version, each.record, call.id),
            )


def _row(recorded: Recorded) -> tuple[str | int, ...]:
    call = recorded.change.call
    return (
        call.id,
        call.short_id,
        call.agent,
        call.session_id,
        call.request_id,
        call.tool,
        call.state.value,
        call.version,
        to_microseconds(call.received_at),
        recorded.record,
    )


def _refusal(connection: sqlite3.Connection, call: Call) -> Exception:
    """Say why a new call's row was refused."""
    stored = connection.execute("SELECT version FROM calls WHERE id = ?", (call.id,)).fetchone()
    if stored is not None:
        return _stale(call, stored[0])
    known = connection.execute(
        "SELECT 1 FROM calls WHERE agent = ? AND request_id = ? AND request_id <> ''",
        (call.agent, call.request_id),
    ).fetchone()
    if known is not None:
        return DuplicateRequest(
            f"request_id {call.request_id!r} is recorded already: read the call it made"
        )
    return ShortIdTaken(f"short id {call.short_id} is taken: draw another")


def _write_content(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
    rows: list[tuple[str | bytes, ...]] = []
    for change in changes:
        agent, call = change.call.agent, change.call.id
        rows += [(d.sha256, d.kind.value, agent, call, d.text) for d in change.documents]
    insert(
        connection,
        "INSERT INTO content (sha256, kind, subject, call, bytes) VALUES",
        rows,
        unless="ON CONFLICT DO NOTHING",
    )
    for change in changes:
        file_rows.add(connection, change.call, change.files, change.most_file_bytes)
