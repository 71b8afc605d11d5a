"""Keep files in pieces, counted by agent."""

import hashlib
import secrets
import sqlite3
from collections.abc import Iterable

from broker.core.call import Call
from broker.core.ids import AgentId, Sha256
from broker.errors import QuotaSpent, StoreUnavailable
from broker.ports import PIECE_BYTES, File, StagedFile

FILE = "file"
STAGING = "staging"
_DROPPED_AT_ONCE = 16

# An open call may still run with the upload that it names.
_EXPIRED = """SELECT files.content FROM files INDEXED BY files_expiring
    JOIN content ON content.id = files.content
    WHERE files.expires_at_us < :before AND NOT EXISTS (
        SELECT 1 FROM calls INDEXED BY calls_open, json_each(calls.record, '$.inputs') AS input
        WHERE calls.state IN ('RECEIVED', 'HELD', 'QUEUED', 'RUNNING')
        AND calls.agent = files.agent AND json_extract(input.value, '$[1]') = content.sha256
    ) LIMIT 1"""


def begin(connection: sqlite3.Connection, agent: AgentId, first: bytes) -> StagedFile:
    """Write the first piece of a file that no reader finds yet; give its name meanwhile."""
    staged = _draw_name()
    _insert(connection, (staged, STAGING, agent, None, first))
    return staged


def extend(connection: sqlite3.Connection, staged: StagedFile, piece: bytes) -> None:
    """Write the next piece of a file that is being staged."""
    content = _find_staged(connection, staged)
    if content is None:
        raise ValueError("a file that is not being staged takes no piece")
    _append(connection, content[0], piece)


def keep(
    connection: sqlite3.Connection,
    staged: StagedFile,
    *,
    sha256: Sha256,
    expires_at_us: int | None,
    most_bytes: int,
) -> bool:
    """Give a staged file its name; tell whether its agent had no file of this name yet.

    Raises:
        QuotaSpent: The agent would keep more than this; the file is staged as before.
    """
    found = _find_staged(connection, staged)
    if found is None:
        raise ValueError("a file that is not being staged cannot be kept")
    content, agent = found
    known = _find(connection, agent, sha256)
    if known is not None:
        _prolong(connection, known, expires_at_us)
        return False
    connection.execute(
        "UPDATE content SET kind = 'file', sha256 = ? WHERE id = ?", (sha256, content)
    )
    connection.execute(
        "INSERT INTO files SELECT id, subject, length(bytes) + (SELECT"
        " coalesce(sum(length(bytes)), 0) FROM pieces WHERE file = content.id), ?"
        " FROM content WHERE id = ?",
        (expires_at_us, content),
    )
    _check_quota(connection, agent, most_bytes)
    return True


def drop_some(connection: sqlite3.Connection, staged: StagedFile) -> bool:
    """Remove some pieces of a file that no reader finds; tell whether it is gone."""
    found = _find_staged(connection, staged)
    if found is None:
        return True
    removed = connection.execute(
        "DELETE FROM pieces WHERE rowid IN (SELECT rowid FROM pieces WHERE file = ? LIMIT ?)",
        (found[0], _DROPPED_AT_ONCE),
    )
    if removed.rowcount == _DROPPED_AT_ONCE:
        return False
    connection.execute("DELETE FROM content WHERE id = ?", found[:1])
    return True


def hide_expired(connection: sqlite3.Connection, before_us: int) -> StagedFile | None:
    """Take one expired file out of every reader's sight; give its name, to be dropped by."""
    row: tuple[int] | None = connection.execute(_EXPIRED, {"before": before_us}).fetchone()
    if row is None:
        return None
    hidden = _draw_name()
    connection.execute("DELETE FROM files WHERE content = ?", row)
    connection.execute(
        "UPDATE content SET kind = 'staging', sha256 = ? WHERE id = ?", (hidden, *row)
    )
    return hidden


def drop_unfinished(connection: sqlite3.Connection) -> None:
    """Remove what an earlier life was staging or dropping when it ended."""
    connection.execute("DELETE FROM content WHERE kind = 'staging'")


def add(
    connection: sqlite3.Connection, call: Call, files: Iterable[File], most_bytes: int | None
) -> None:
    """Keep the files of a change; those that are there already stay, and expire no more.

    Raises:
        QuotaSpent: New ones take the agent over `most_bytes`.
    """
    is_new = False
    for file in files:
        known = _find(connection, call.agent, file.sha256)
        if known is not None:
            _prolong(connection, known, None)
            continue
        is_new = True
        data = file.data
        row = (file.sha256, FILE, call.agent, call.id, data[:PIECE_BYTES])
        content = _insert(connection, row)
        for start in range(PIECE_BYTES, len(data), PIECE_BYTES):
            _append(connection, content, data[start : start + PIECE_BYTES])
        connection.execute(
            "INSERT INTO files VALUES (?, ?, ?, NULL)", (content, call.agent, len(data))
        )
    if is_new and most_bytes is not None:
        _check_quota(connection, call.agent, most_bytes)


def file_bytes(connection: sqlite3.Connection, agent: AgentId) -> int:
    """Sum up what an agent keeps."""
    row: tuple[int] | None = connection.execute(
        "SELECT file_bytes FROM storage WHERE agent = ?", (agent,)
    ).fetchone()
    return row[0] if row else 0


def size(connection: sqlite3.Connection, agent: AgentId, sha256: Sha256, at_us: int) -> int | None:
    """Give the size of a file that has not expired by then."""
    row: tuple[int] | None = connection.execute(
        "SELECT size_bytes FROM content JOIN files ON files.content = content.id"
        " WHERE subject = ? AND sha256 = ? AND kind = 'file'"
        " AND coalesce(expires_at_us > ?, TRUE)",
        (agent, sha256, at_us),
    ).fetchone()
    return row[0] if row else None


def piece(
    connection: sqlite3.Connection, agent: AgentId, sha256: Sha256, number: int
) -> bytes | None:
    """Read one piece of a file, from 0."""
    row: tuple[bytes] | None
    if number == 0:
        row = connection.execute(
            "SELECT bytes FROM content WHERE subject = ? AND sha256 = ? AND kind = 'file'",
            (agent, sha256),
        ).fetchone()
    else:
        row = connection.execute(
            "SELECT pieces.bytes FROM content JOIN pieces ON pieces.file = content.id"
            " WHERE subject = ? AND sha256 = ? AND kind = 'file' AND number = ?",
            (agent, sha256, number),
        ).fetchone()
    return row[0] if row else None


def whole(connection: sqlite3.Connection, agent: AgentId, sha256: Sha256) -> bytes | None:
    """Read a file, checked against its name.

    Raises:
        StoreUnavailable: Its bytes are not those that were kept.
    """
    # One view of the file: it may be dropped between its pieces.
    connection.execute("BEGIN")
    try:
        content = _find(connection, agent, sha256)
        if content is None:
            return None
        (first,) = connection.execute(
            "SELECT bytes FROM content WHERE id = ?", (content,)
        ).fetchone()
        rows = connection.execute(
            "SELECT bytes FROM pieces WHERE file = ? ORDER BY number", (content,)
        )
        data = b"".join([first, *(row[0] for row in rows)])
    finally:
        connection.execute("COMMIT")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StoreUnavailable(
            "a file in the store is not the one that was kept: its disk, or whoever changed it, "
            "has to be looked at; restore a backup",
            reason="STORE_DAMAGED",
        )
    return data


def _insert(
    connection: sqlite3.Connection, row: tuple[str, str, AgentId, str | None, bytes]
) -> int:
    cursor = connection.execute(
        "INSERT INTO content (sha256, kind, subject, call, bytes) VALUES (?, ?, ?, ?, ?)", row
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _append(connection: sqlite3.Connection, content: int, piece: bytes) -> None:
    connection.execute(
        "INSERT INTO pieces SELECT :content, coalesce(max(number), 0) + 1, :piece"
        " FROM pieces WHERE file = :content",
        {"content": content, "piece": piece},
    )


def _draw_name() -> StagedFile:
    # Random, not the row's id: SQLite gives an id again, so a late drop could hit another file.
    return StagedFile(secrets.token_hex(32))


def _find_staged(connection: sqlite3.Connection, staged: StagedFile) -> tuple[int, AgentId] | None:
    row: tuple[int, AgentId] | None = connection.execute(
        "SELECT id, subject FROM content"
        " WHERE sha256 = ? AND kind NOT IN ('file', 'person') AND kind = 'staging'",
        (staged,),
    ).fetchone()
    return row


def _find(connection: sqlite3.Connection, agent: AgentId, sha256: Sha256) -> int | None:
    row: tuple[int] | None = connection.execute(
        "SELECT id FROM content WHERE subject = ? AND sha256 = ? AND kind = 'file'",
        (agent, sha256),
    ).fetchone()
    return row[0] if row else None


def _prolong(connection: sqlite3.Connection, content: int, expires_at_us: int | None) -> None:
    """Let a file expire later, or, with None, never; sooner it does not."""
    # max() with a null is null: what is kept for good stays so.
    connection.execute(
        "UPDATE files SET expires_at_us = max(expires_at_us, ?) WHERE content = ?",
        (expires_at_us, content),
    )


def _check_quota(connection: sqlite3.Connection, agent: AgentId, most_bytes: int) -> None:
    if file_bytes(connection, agent) > most_bytes:
        raise QuotaSpent(f"{agent} would keep more than {most_bytes} bytes of files")
