"""What is left of a request to a Docker Engine that died."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import pytest
from docker import APIClient

from broker.adapters.docker_engine.connection import EngineConnection, EngineFault

VERSION = b'{"ApiVersion": "1.41"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


class Held:
    """Stands for a connection."""


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No cycle is found while the test runs."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def _engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say its version, as often as it is asked."""
    with suppress(asyncio.IncompleteReadError):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ANSWER % (len(VERSION), VERSION))
    writer.close()


@pytest.mark.usefixtures("uncollected")
async def test_what_a_fault_came_from_is_let_go_at_once(tmp_path: Path) -> None:
    """Frames of the SDK that hold their own error keep no connection, once nobody has the fault."""
    held: list[weakref.ref[Held]] = []

    def fail(_: APIClient) -> None:
        connection = Held()
        held.append(weakref.ref(connection))
        try:
            raise ConnectionResetError("the Engine is gone")
        except ConnectionResetError as error:
            # As urllib3 does.
            kept = error
            raise OSError("no answer") from kept

    address = tmp_path / "docker.sock"
    connection = EngineConnection(f"unix://{address}", workers=1, request_timeout_s=5)
    async with await asyncio.start_unix_server(_engine, address):
        with pytest.raises(EngineFault, match="no answer"):
            await connection.call("ask", fail, deadline_s=5)
    connection.close()
    # The task's own last frames go with the next turns of the loop.
    for _ in range(5):
        await asyncio.sleep(0)
    assert [each() for each in held] == [None]


async def test_what_came_too_late_holds_up_nobody(tmp_path: Path) -> None:
    """A result that is there just as its wait is given up is undone, in a thread of its own."""
    undone: Future[tuple[str, int]] = Future()

    def undo(_: APIClient, made: str) -> None:
        undone.set_result((made, threading.get_ident()))

    address = tmp_path / "docker.sock"
    connection = EngineConnection(f"unix://{address}", workers=1, request_timeout_s=5)
    async with await asyncio.start_unix_server(_engine, address):
        await connection.call("ask", lambda _: None, deadline_s=5)
        before = set(threading.enumerate())
        waiting = asyncio.create_task(
            connection.call("make", lambda _: "made", deadline_s=5, late=undo)
        )
        await asyncio.sleep(0)
        # Joined here, in the loop's own thread: so the loop has not heard of the result yet.
        for worker in set(threading.enumerate()) - before:
            worker.join()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        made, thread = await asyncio.wrap_future(undone)
    connection.close()
    assert made == "made"
    assert thread != threading.get_ident()
    assert connection.abandoned == 0
