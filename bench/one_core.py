"""Be the process on one core that makes receipts durable, for `bench.receipts`.

    python -m bench.one_core PLACE RECEIPTS ROUNDS

It has what a broker has between a call's end and its answer: the ledger that records, the notary's
draft, the store that seals, signs and commits in groups with every file synced, the log that is
published each second. Clients, policy and containers are not there. Calls are made before the clock
runs, their documents included.

Loads, one after the other in rounds: bare syncs of a file, for what the disk takes; callers that
each hand over their next call when the last one is durable, as fast as the core goes; then calls
handed over one by one at a rate, whether the store keeps up or not, each waiting from when it was
due.
"""

import asyncio
import cProfile
import json
import os
import pstats
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Self

import uvloop

from bench.profiles import functions, keep
from broker.adapters.log_files import ShownLog
from broker.adapters.sqlite_store import SqliteStore
from broker.adapters.system import SystemClock, SystemEntropy
from broker.adapters.telemetry import Telemetry, configure_logs
from broker.board import Board
from broker.core.call import Call
from broker.core.checkpoint import log_origin
from broker.core.document import Document, DocumentKind
from broker.core.identity import Role
from broker.core.ids import Pseudonym
from broker.core.lifecycle import Step
from broker.core.receipt import Position, ReceiptDraft, seal
from broker.core.receipt_draft import BrokerFacts, draft
from broker.core.trust_root import KeyRole, TrustRoot
from broker.labels import Labels
from broker.leaves import Leaves
from broker.ledger import Ledger
from broker.log import Log
from broker.tasks import Tasks
from broker.verify.audit import verify_log
from broker.verify.log import open_checkpoint
from broker.verify.log_folder import LogFolder
from broker.verify.verdict import Validity
from tests.ports.samples import call_id
from tests.verify.log_vectors import new_keys, trusted
from tests.verify.receipts import CALL

_AT_ONCE = 32
CALLERS = f"{_AT_ONCE} callers"
BARE = "a bare sync"
FOUND = "found.json"
"""Holds the loads of a run, in its folder."""
RATES = (2_000, 3_000)
"""A second, at which calls are handed over, whether the store keeps up or not."""
_SYNCS = 200
_GROUP_BYTES = 256 << 10
_WARM_UP = 500
_DENIED = "default.credential_path"

Made = tuple[Call, tuple[Document, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What calls were handed over, and what became of it.

    Args:
        name: How they came.
        each_s: Receipts a second that became durable.
        cpu_share: Of the core, what this process used.
        waits_ms: From hand-over to durable, of each.
    """

    name: str
    each_s: float
    cpu_share: float
    waits_ms: list[float]


@dataclass(slots=True, kw_only=True)
class _Bench:
    """The part of a broker that makes receipts durable, with calls to end."""

    ledger: Ledger
    facts: BrokerFacts
    made: int = 0

    @classmethod
    async def open(cls, place: Path, profiles: "_Profiles", stack: AsyncExitStack) -> Self:
        """Open a store with its log, published from now on."""
        keys = new_keys(place)
        root = TrustRoot(
            version=1, keys=(trusted(KeyRole.RECEIPT, keys.receipt), trusted(KeyRole.LOG, keys.log))
        )

        def sealed(receipt: ReceiptDraft, position: Position) -> bytes:
            profiles.here("the store's writer")
            return seal(receipt, position, keys.receipt.sign)

        clock, telemetry = SystemClock(), Telemetry()
        store = await SqliteStore.open(place / "store.db", seal=sealed, now=clock.now)
        stack.push_async_callback(store.close)
        facts = BrokerFacts(
            version="0.1.0",
            key_id=keys.receipt.key_id,
            development=True,
            sandbox_engine={"version": "20.10.24"},
        )
        leaves = Leaves(
            installation=store.installation,
            key_id=keys.receipt.key_id,
            development=True,
            sign=keys.receipt.sign,
        )
        log = Log(
            store,
            ShownLog(place / "tlog"),
            keys.log,
            origin=log_origin(store.installation),
            write=leaves.write,
            clock=clock,
            entropy=SystemEntropy(),
            telemetry=telemetry,
        )
        await log.open()
        stack.callback(_verify, place / "tlog", root)
        stack.push_async_callback(log.catch_up)
        tasks = Tasks()
        stack.push_async_callback(tasks.cancel)
        tasks.start(log.run())
        ledger = Ledger(store, Labels(store), Board(), clock, telemetry)
        return cls(ledger=ledger, facts=facts)

    def calls(self, count: int) -> list[Made]:
        """Make calls that policy denied, as they are before their first commit."""
        self.made += count
        return [_denied(number) for number in range(self.made - count, self.made)]

    async def end(self, call: Call, documents: tuple[Document, ...]) -> float:
        """Hand a call over; give the milliseconds until its receipt is durable."""
        begun_s = time.perf_counter()
        receipt = draft(
            call,
            broker=self.facts,
            roles=frozenset({Role.AGENT}),
            owner=Pseudonym("p-9a20"),
            enforced=None,
            report=None,
        )
        steps = [
            (Step.RECEIVE, {"tool": call.tool, "version": call.tool_version}),
            (Step.DENY, {"cause": "", "rule": _DENIED}),
        ]
        _, sealed = await self.ledger.record(call, steps, documents=documents, receipt=receipt)
        assert sealed is not None, "a denied call has a receipt"
        return (time.perf_counter() - begun_s) * 1000

    async def at_once(self, made: list[Made]) -> list[float]:
        """End calls by callers that wait for each; give the milliseconds of each."""
        calls, waits_ms = iter(made), []

        async def caller() -> None:
            for call, documents in calls:
                waits_ms.append(await self.end(call, documents))

        await asyncio.gather(*(caller() for _ in range(_AT_ONCE)))
        return waits_ms

    async def at_rate(self, made: list[Made], each_s: int) -> list[float]:
        """Hand calls over at a rate; give the milliseconds of each from when it was due."""
        waits: list[asyncio.Task[float]] = []
        begun_s = time.perf_counter()
        late_ms: list[float] = []
        for number, (call, documents) in enumerate(made):
            due_s = begun_s + number / each_s
            await asyncio.sleep(max(due_s - time.perf_counter(), 0))
            # What the loop is late by is waiting, too.
            late_ms.append((time.perf_counter() - due_s) * 1000)
            waits.append(asyncio.create_task(self.end(call, documents)))
        took_ms = await asyncio.gather(*waits)
        return [late + took for late, took in zip(late_ms, took_ms, strict=True)]


def _denied(number: int) -> Made:
    """Make a call with documents of the sizes that a denied call has."""
    salt = number.to_bytes(16)
    documents = tuple(
        Document.seal(kind, {"call": str(number), "text": "x" * size}, salt=salt)
        for kind, size in (
            (DocumentKind.REQUEST, 300),
            (DocumentKind.POLICY_INPUT, 2_000),
            (DocumentKind.DECISION, 600),
        )
    )
    request, policy_input, decision = documents
    (evaluation,) = CALL.evaluations
    at = datetime.now(UTC)
    call = replace(
        CALL,
        id=call_id(number),
        short_id=f"{number:08d}",
        request_id="",
        version=0,
        request_sha256=request.sha256,
        received_at=at,
        start_by=at + timedelta(minutes=10),
        ended_at=at,
        evaluations=(
            replace(
                evaluation,
                policy_input_sha256=policy_input.sha256,
                decision_sha256=decision.sha256,
            ),
        ),
    )
    return call, documents


def _verify(folder: Path, root: TrustRoot) -> None:
    """See that all of it is in the log, genuine and signed."""
    shown = LogFolder(folder)
    head = shown.checkpoint()
    size = open_checkpoint(head, root).checkpoint.size
    verdict = verify_log(head, shown.entries(size), root)
    assert verdict.validity is Validity.VALID, verdict.message


@dataclass(slots=True, kw_only=True)
class _Profiles:
    """Profiles of threads, made where they are wanted: a profiler sees its own thread alone."""

    wanted: bool = False
    of: dict[str, cProfile.Profile] = field(default_factory=dict)

    def here(self, thread: str) -> None:
        """Profile the thread that calls, from now on, if that is wanted."""
        if self.wanted and thread not in self.of:
            self.of[thread] = cProfile.Profile(time.thread_time)
            self.of[thread].enable()

    def keep(self, calls: int) -> None:
        """Keep the functions that took most of each thread."""
        lines = [f"# {calls} denied calls made durable, {_AT_ONCE} callers, one core"]
        for thread, profile in self.of.items():
            lines += ["", *functions(pstats.Stats(profile), calls, thread)]
        keep("receipts.profile", "\n".join(lines) + "\n")


async def _run(place: Path, receipts: int, rounds: int) -> list[Load]:
    profiles = _Profiles()
    found: list[Load] = []
    async with AsyncExitStack() as stack:
        bench = await _Bench.open(place, profiles, stack)
        await bench.at_once(bench.calls(_WARM_UP))
        for _ in range(rounds):
            found.append(_bare_syncs(place / "synced"))
            found.append(await _load(CALLERS, bench.calls(receipts), bench.at_once))
            for each_s in RATES:
                at_rate = partial(bench.at_rate, each_s=each_s)
                found.append(await _load(f"{each_s:,}/s given", bench.calls(receipts), at_rate))
        made = bench.calls(receipts)
        profiles.wanted = True
        profiles.here("the event loop")
        await bench.at_once(made)
        profiles.of["the event loop"].disable()
    profiles.keep(receipts)
    return found


def _bare_syncs(path: Path) -> Load:
    """Write as many bytes as a group has, sync them, again and again: what the disk takes."""
    waits_ms = []
    with path.open("wb") as file:
        for _ in range(_SYNCS):
            file.write(bytes(_GROUP_BYTES))
            file.flush()
            begun_s = time.perf_counter()
            os.fdatasync(file.fileno())
            waits_ms.append((time.perf_counter() - begun_s) * 1000)
    each_s = _SYNCS * 1000 / sum(waits_ms)
    return Load(name=BARE, each_s=each_s, cpu_share=0, waits_ms=waits_ms)


async def _load(
    name: str, made: list[Made], hand_over: Callable[[list[Made]], Awaitable[list[float]]]
) -> Load:
    begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
    waits_ms = await hand_over(made)
    took_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - begun_cpu_s
    return Load(name=name, each_s=len(made) / took_s, cpu_share=cpu_s / took_s, waits_ms=waits_ms)


def main(place: str, receipts: int, rounds: int) -> None:
    """Keep to one core; leave what was measured in a file."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    configure_logs("info", "json")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(_run(Path(place), receipts, rounds))
    (Path(place) / FOUND).write_text(json.dumps([asdict(each) for each in found]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
