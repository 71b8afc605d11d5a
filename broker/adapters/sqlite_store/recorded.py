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
from broker.core.replay import Recorded
from broker.errors import ConfigurationError

_BUSY_S: Final = 10.0


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
        """Give the decisions of each call, one call after the other."""
        rows = self._connection.execute(
            "SELECT record FROM calls WHERE received_at_us >= ? ORDER BY received_at_us, id",
            (self._since_us,),
        )
        for (record,) in rows:
            call = load_call(record)
            yield [
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
