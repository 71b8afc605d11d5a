"""Read recorded decisions out of a store that a broker may be writing."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from broker.adapters.sqlite_store import queries
from broker.adapters.sqlite_store.call_record import load_call, to_microseconds
from broker.core.call import Call
from broker.core.replay import Recorded
from broker.errors import ConfigurationError

_BUSY_S: Final = 10.0
PAGE: Final = 64
"""Calls that are read at once."""
_LAST: Final = "SELECT received_at_us, id FROM calls ORDER BY received_at_us DESC, id DESC LIMIT 1"
_PAGE_AFTER: Final = """SELECT received_at_us, id, record FROM calls
    WHERE (received_at_us, id) > (?, ?) AND (received_at_us, id) <= (?, ?)
    ORDER BY received_at_us, id LIMIT ?"""
_BEFORE_EVERY_ID: Final = ""


class RecordedDecisions:
    """The decisions on calls that were received since a time, oldest first.

    Args:
        connection: One that can only read.
    """

    def __init__(self, connection: sqlite3.Connection, since: datetime) -> None:
        self._connection = connection
        self._since_us = to_microseconds(since)

    def count_calls(self) -> int:
        """Count the calls."""
        text = "SELECT count(*) FROM calls WHERE received_at_us >= ?"
        return int(self._connection.execute(text, (self._since_us,)).fetchone()[0])

    def by_call(self) -> Iterator[list[Recorded]]:
        """Give the decisions of each call, one call after the other.

        Up to the last call that there is at the first; what comes meanwhile is not followed.
        """
        # Whole pages: a read left open while policy is asked would keep the WAL of a broker that
        # writes on from being used again.
        last = self._connection.execute(_LAST).fetchone()
        after = (self._since_us, _BEFORE_EVERY_ID)
        while last and (page := self._page(after, last)):
            received_at_us, call, _ = page[-1]
            after = (received_at_us, call)
            for _, _, record in page:
                yield self._decisions(load_call(record))

    def _page(self, after: tuple[int, str], last: tuple[int, str]) -> list[tuple[int, str, str]]:
        return self._connection.execute(_PAGE_AFTER, (*after, *last, PAGE)).fetchall()

    def _decisions(self, call: Call) -> list[Recorded]:
        return [
            Recorded(
                call=call.id,
                tool=call.tool,
                agent=call.agent,
                asked=queries.document(self._connection, evaluation.policy_input_sha256),
                answered=queries.document(self._connection, evaluation.decision_sha256),
            )
            for evaluation in call.evaluations
        ]


@contextmanager
def recorded_decisions(path: Path, since: datetime) -> Iterator[RecordedDecisions]:
    """Open a store to read its decisions; it is neither locked nor changed.

    Raises:
        ConfigurationError: It cannot be read, or is no store of this version.
    """
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, timeout=_BUSY_S
        )
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    try:
        connection.execute("PRAGMA query_only = ON")
        yield RecordedDecisions(connection, since)
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    finally:
        connection.close()


def _unreadable(path: Path, error: sqlite3.Error) -> ConfigurationError:
    return ConfigurationError(
        str(path), None, f"cannot be read as a store ({error}): name its configuration by --config"
    )
