"""A store's decisions, read while a broker writes on."""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from broker.adapters.sqlite_store import recorded_decisions
from broker.adapters.sqlite_store.recorded import PAGE
from broker.core.call import Call
from broker.core.replay import Recorded
from tests.ports.samples import START, first, new_call
from tests.ports.shelf import SqliteShelf


@pytest.fixture
def shelf(tmp_path: Path) -> SqliteShelf:
    """Give an empty place for a store."""
    return SqliteShelf(tmp_path / "store.db")


async def keep(shelf: SqliteShelf, calls: Sequence[Call]) -> None:
    """Record calls."""
    store = await shelf.open()
    await asyncio.gather(*(store.commit(first(call)) for call in calls))
    await store.close()


def ids(read: Iterator[list[Recorded]]) -> list[str]:
    """Name the calls that are given, each as often as it is."""
    return [decision.call for decisions in read for decision in decisions]


class TestByCall:
    async def test_no_read_is_open_while_a_decision_is_evaluated(self, shelf):
        """A writer gets its whole WAL back meanwhile, so that the file does not grow."""
        await keep(shelf, [new_call(number) for number in range(PAGE + 2)])
        with recorded_decisions(shelf.path, START) as kept:
            read = kept.by_call()
            for _ in range(PAGE + 1):
                next(read)
                with closing(sqlite3.connect(shelf.path, isolation_level=None)) as writer:
                    writer.execute("PRAGMA busy_timeout = 0")
                    writer.execute("UPDATE calls SET tool = tool || 'x'")
                    (busy, *_), *_ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    assert busy == 0

    @pytest.mark.parametrize("number", [0, 1, PAGE, PAGE + 1, 2 * PAGE + 3])
    async def test_each_call_is_given_once_in_order(self, shelf, number):
        """By time, then by id: calls of one moment are on both sides of a page's end."""
        calls = [new_call(n, received_at=START) for n in range(1, number)]
        calls += [new_call(number)][:number]
        await keep(shelf, calls[::-1])
        with recorded_decisions(shelf.path, START) as kept:
            assert kept.count_calls() == number
            assert ids(kept.by_call()) == [call.id for call in calls]

    async def test_what_comes_meanwhile_is_not_followed(self, shelf):
        """A replay beside a busy broker ends: it goes to the last call that there was."""
        calls = [new_call(number) for number in range(PAGE + 1)]
        await keep(shelf, calls)
        with recorded_decisions(shelf.path, START) as kept:
            read = kept.by_call()
            next(read)
            await keep(shelf, [new_call(number) for number in range(PAGE + 1, PAGE + 3)])
            assert ids(read) == [call.id for call in calls[1:]]
