"""Commit in a loop, printing what is durable, to be killed at any moment.

A line is the number of a call with its version, or of a large file with 0.
"""

import asyncio
import itertools
import sys
from pathlib import Path

from broker.core.document import DocumentKind
from broker.core.ids import AgentId, Sha256, sha256_hex
from broker.core.lifecycle import CallState, Step
from broker.ports import PIECE_BYTES, File, Store, WorkspaceUpdate
from broker.staging import Staging
from broker.tasks import Tasks
from tests.ports import samples
from tests.ports.samples import first, following, new_call
from tests.ports.shelf import SqliteShelf

WORKERS = 8
LABELLED = AgentId("spiffe://example.test/labelled")


async def work(store: Store, numbers: "itertools.count[int]", session: str) -> None:
    """Take calls through their lives, denied ones and ones that succeed in turn."""
    tree: Sha256 | None = await store.workspace_tree(samples.AGENT, session)
    for number in numbers:
        call = new_call(number, CallState.QUEUED, session_id=session, request_id=f"r{number}")
        if number % 2:
            call = new_call(number, CallState.DENIED, session_id=session)
        following_tree = samples.document(f"tree {number}", DocumentKind.TREE)
        await store.commit(
            first(
                call,
                documents=(samples.document(f"request {number}"), following_tree),
                files=(samples.file(f"file {number}"),),
                workspace=WorkspaceUpdate(
                    agent=samples.AGENT,
                    session_id=session,
                    expected_sha256=tree,
                    tree_sha256=following_tree.sha256,
                ),
            )
        )
        tree = following_tree.sha256
        print(number, call.version, flush=True)
        for step in (Step.START, Step.SUCCEED) if call.state is CallState.QUEUED else ():
            change = following(call, step)
            await store.commit(change)
            call = change.call
            print(number, call.version, flush=True)


async def label(store: Store, numbers: "itertools.count[int]") -> None:
    """Start calls one by one that each bring their agent one more label."""
    version = len((await store.labels()).get(LABELLED, ()))
    for number in numbers:
        call = samples.labelled(number, f"label-{number}", version=version, agent=LABELLED)
        documents = (samples.document(f"request {number}"),)
        await store.commit(
            first(call, documents=documents, files=(samples.file(f"file {number}"),))
        )
        start = following(call, Step.START)
        await store.commit(start)
        version += 1
        print(number, start.call.version, flush=True)


def large(number: int) -> File:
    """Give a file of some pieces, always the same for a number."""
    data = number.to_bytes(8) * (5 * PIECE_BYTES // 16)
    return File(sha256=sha256_hex(data), data=data)


async def stage(store: Store, numbers: "itertools.count[int]") -> None:
    """Stage large files one by one, each twice: what is there already goes again."""
    for number in numbers:
        for _ in range(2):
            staging = Staging(store, samples.AGENT2, Tasks())
            await staging.add(large(number).data)
            await staging.keep(expires_at=samples.START, most_bytes=1 << 40)
        print(number, 0, flush=True)


async def main(path: Path, start: int) -> None:
    """Commit for ever, from a first number."""
    store = await SqliteShelf(path).open()
    numbers = itertools.count(start)
    workers = [work(store, numbers, f"session-{w}") for w in range(WORKERS)]
    await asyncio.gather(*workers, label(store, numbers), stage(store, itertools.count(start)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
