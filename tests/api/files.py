"""Make files, look for them, send them slowly."""

import hashlib
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from threading import Event
from typing import Any

from broker.v1 import workspace_pb2
from tests.api.rpc import TIMEOUT_S, Rpc
from tests.broker_process import Served

MIB = 1 << 20
_PATIENCE_S = 60.0


def noise(size_bytes: int, seed: int = 1) -> bytes:
    """Give bytes of every value that no two seeds share."""
    return random.Random(seed).randbytes(size_bytes)


def sha256(data: bytes) -> str:
    """Digest bytes."""
    return hashlib.sha256(data).hexdigest()


def listed(rpc: Rpc, session: str, **fields: Any) -> workspace_pb2.ListFilesResponse:
    """List a session's files."""
    request = workspace_pb2.ListFilesRequest(session_id=session, **fields)
    return rpc.workspace.ListFiles(request, timeout=TIMEOUT_S)


def rows(served: Served, question: str, *values: object) -> list[tuple[Any, ...]]:
    """Ask the broker's store behind its back."""
    with closing(sqlite3.connect(f"file:{served.folder.store}?mode=ro", uri=True)) as store:
        return store.execute(question, values).fetchall()


def staged_rows(served: Served) -> int:
    """Count what is being staged, or dropped, in the store."""
    return int(rows(served, "SELECT count(*) FROM content WHERE kind = 'staging'")[0][0])


def wait_for(holds: Callable[[], bool]) -> None:
    """Return when something holds; the store has no event for it."""
    until_s = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < until_s, "it never held"
        time.sleep(0.01)


class Slowly:
    """A client's stream that stops after some messages until it is let go.

    Args:
        last: What is sent after that.
    """

    def __init__(
        self,
        parts: Sequence[workspace_pb2.PutFileRequest],
        last: Sequence[workspace_pb2.PutFileRequest] = (),
    ) -> None:
        self._parts = parts
        self._last = last
        self._going_on = Event()

    def __iter__(self) -> Iterator[workspace_pb2.PutFileRequest]:
        yield from self._parts
        self._going_on.wait(_PATIENCE_S)
        yield from self._last

    def go_on(self) -> None:
        """Send the rest, then end."""
        self._going_on.set()
