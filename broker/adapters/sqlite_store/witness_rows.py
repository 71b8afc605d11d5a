"""Keep what witnesses signed under heads of the log."""

import json
import sqlite3
from collections.abc import Sequence

from broker.adapters.sqlite_store import log_rows
from broker.core.ids import Sha256
from broker.core.signed_note import NoteSignature
from broker.core.witness import Cosignature
from broker.ports import LogHead


def add(connection: sqlite3.Connection, size: int, cosignature: Cosignature) -> None:
    """Keep a cosignature, unless the key's is there."""
    line = cosignature.signature
    connection.execute(
        "INSERT INTO log_cosignatures VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (size, cosignature.witness, line.name, line.key_id, line.signature),
    )


def read(connection: sqlite3.Connection, size: int) -> list[Cosignature]:
    """Read the cosignatures of the head of a size."""
    rows = connection.execute(
        "SELECT witness, name, note_key_id, signature FROM log_cosignatures WHERE size = ?"
        " ORDER BY witness",
        (size,),
    )
    return [
        Cosignature(
            witness=Sha256(witness),
            signature=NoteSignature(name=name, key_id=key_id, signature=signature),
        )
        for witness, name, key_id, signature in rows
    ]


def largest(connection: sqlite3.Connection, witness: Sha256) -> int:
    """Give the largest size that a key cosigned."""
    (size,) = connection.execute(
        "SELECT coalesce(max(size), 0) FROM log_cosignatures WHERE witness = ?", (witness,)
    ).fetchone()
    return int(size)


def witnessed(
    connection: sqlite3.Connection, witnesses: Sequence[Sha256], quorum: int
) -> LogHead | None:
    """Read the latest head that enough of these keys cosigned."""
    row = connection.execute(
        "SELECT size FROM log_cosignatures WHERE witness IN (SELECT value FROM json_each(?))"
        " GROUP BY size HAVING count(*) >= ? ORDER BY size DESC LIMIT 1",
        (json.dumps([*witnesses]), quorum),
    ).fetchone()
    return log_rows.head(connection, row[0]) if row else None
