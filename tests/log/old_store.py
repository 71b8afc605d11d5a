"""Make the store of a broker from when its log held receipts alone."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from broker.adapters.sqlite_store import schema
from broker.core.ids import sha256_hex
from broker.core.merkle import Frontier, leaf_hash
from tests.ports import samples

_FIRST_WITH_ENTRIES = 7


def make_old_store(
    path: Path, receipts: Sequence[bytes], heads: Sequence[tuple[int, bytes]], installation: str
) -> None:
    """Write a store by the migrations and the rule of that time.

    Args:
        receipts: By sequence; the entry of index n is that of sequence n + 1.
        heads: Sizes with their signed checkpoints, the smaller first.
    """
    shipped = [each for each in schema._shipped_migrations() if each[0] < _FIRST_WITH_ENTRIES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "_shipped_migrations", lambda: shipped)
        schema.open_for_writing(path, lambda: samples.START, 5).close()
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("INSERT INTO meta VALUES ('installation', ?), ('epoch', '1')", (installation,))
        for sequence, receipt in enumerate(receipts, start=1):
            call = samples.call_id(sequence)
            for at, event in enumerate(("call.received", "call.ended"), start=2 * sequence - 1):
                old.execute(
                    "INSERT INTO events VALUES (?, ?, 1, ?, NULL, NULL, '{}')", (at, at, event)
                )
            old.execute(
                "INSERT INTO receipts VALUES (?, ?, 'agent', 0, ?, ?)",
                (sequence, call, sha256_hex(receipt), receipt),
            )
        _write_heads(old, receipts, heads)


def _write_heads(
    old: sqlite3.Connection, receipts: Sequence[bytes], heads: Sequence[tuple[int, bytes]]
) -> None:
    frontier, place = Frontier.empty(), 0
    for size, note in heads:
        frontier, hashes = frontier.extended(map(leaf_hash, receipts[frontier.size : size]))
        for node in hashes:
            old.execute("INSERT INTO log_nodes VALUES (?, ?)", (place, node))
            place += 1
        old.execute("INSERT INTO log_checkpoints VALUES (?, 0, ?)", (size, note))
