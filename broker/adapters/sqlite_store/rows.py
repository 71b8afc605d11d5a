"""Insert many rows by few statements."""

import sqlite3
from collections.abc import Sequence
from itertools import chain

# Powers of two, so that few different texts are prepared, and all of them stay prepared.
_COUNTS = (64, 32, 16, 8, 4, 2, 1)


def insert(
    connection: sqlite3.Connection,
    into: str,
    rows: Sequence[tuple[str | int | bytes | None, ...]],
    *,
    unless: str = "",
) -> None:
    """Insert rows in their order.

    Args:
        into: The statement up to `VALUES`.
        rows: All of the same length.
        unless: What stands behind the rows, such as `ON CONFLICT DO NOTHING`.
    """
    start = 0
    for count in _COUNTS:
        while len(rows) - start >= count:
            chunk = rows[start : start + count]
            places = f"({','.join('?' * len(chunk[0]))})"
            statement = f"{into} {','.join([places] * count)} {unless}"
            connection.execute(statement, [*chain(*chunk)])
            start += count
