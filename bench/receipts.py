"""Measure how many receipts become durable in a second on one core, with how long each takes.

Theory of operation. A process of its own, on one core, has what a broker has between a call's end
and its answer: the ledger that records, the notary's draft, the store that seals, signs and commits
in groups with every file synced, the log that is published each second. Clients, policy and
containers are not there. Calls are made before the clock runs, their documents included.

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
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Self

import uvloop

from bench.figure import RESULTS, Figure, quantiles
from broker.adapters.log_files import LogFolder
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
from broker.verify import log_folder
from broker.verify.audit import verify_log
from broker.verify.log import open_checkpoint
from broker.verify.verdict import Validity
from tests.ports.samples import call_id
from tests.verify.log_vectors import new_keys, trusted
from tests.verify.receipts import CALL

WANTED_EACH_S = 3_000
WANTED_P99_MS = 25.0
_AT_ONCE = 32
CALLERS = f"{_AT_ONCE} callers"
RATES = (2_000, 3_000)
"""A second, at which calls are handed over, whether the store keeps up or not."""
BARE = "a bare sync"
_SYNCS = 200
_GROUP_BYTES = 256 << 10
_WARM_UP = 500
_FOUND = "found.json"
_SHOWN = 30
_DENIED = "default.credential_path"

Made = tuple[Call, tuple[Document, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
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


def measure(*, receipts: int, rounds: int) -> list[Figure]:
    """Measure all loads on one core, then write where the time goes.

    Args:
        receipts: How many each load of a round makes.
        rounds: How often all are measured in turns; one more is profiled.
    """
    with tempfile.TemporaryDirectory(prefix="toolwarrant-bench-receipts-") as place:
        command = [sys.executable, "-m", "bench.receipts", place, str(receipts), str(rounds)]
        # As a broker's, its log goes to a file.
        with (Path(place) / "log").open("w") as told:
            subprocess.run(command, stderr=told, check=True)
        loads = [_Load(**each) for each in json.loads((Path(place) / _FOUND).read_text())]
    names = dict.fromkeys(each.name for each in loads)
    conditions = f"{rounds} x {receipts} denied calls with 3 documents, one core, publishing"
    return [
        figure
        for name in names
        for figure in _figures(conditions, [each for each in loads if each.name == name])
    ]


def _figures(conditions: str, loads: Sequence[_Load]) -> Iterator[Figure]:
    name = loads[0].name
    rates = [each.each_s for each in loads]
    waits_ms = [wait for each in loads for wait in each.waits_ms]
    share = sum(each.cpu_share for each in loads) / len(loads)
    if name == CALLERS:
        yield Figure(
            name=f"receipts: durable, {name}, /s against {WANTED_EACH_S:,}",
            unit="/s",
            ours=statistics.median(rates),
            theirs=float(WANTED_EACH_S),
            bound=1.0,
            at_most=False,
            conditions=f"{conditions}; {min(rates):.0f} to {max(rates):.0f}; {share:.0%} CPU",
        )
    yield Figure(
        name=f"receipts: p99 {'of' if name == BARE else 'to durable,'} {name}",
        unit="ms",
        ours=sorted(waits_ms)[len(waits_ms) * 99 // 100],
        theirs=WANTED_P99_MS,
        # Of the disk alone: no receipt is durable sooner than what it stands in.
        bound=None if name == BARE else 1.0,
        conditions=f"{conditions}; {statistics.median(rates):.0f}/s; {quantiles(waits_ms)}",
    )


# --- the process on one core --------------------------------------------------------------


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
            LogFolder(place / "tlog"),
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
    shown = log_folder.LogFolder(folder)
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

    def write(self, path: Path, calls: int) -> None:
        """Write the functions that took most of each thread."""
        lines = [f"# {calls} denied calls made durable, {_AT_ONCE} callers, one core"]
        for thread, profile in self.of.items():
            lines += ["", f"# {thread}", "   own us  total us    times  of CPU a call, profiled"]
            stats = pstats.Stats(profile)
            rows = [
                (own, total, count, f"{Path(file).name}:{line} {name}")
                for (file, line, name), (_, count, own, total, _) in stats.stats.items()  # type: ignore[attr-defined]
            ]
            lines += [
                f"{own * 1e6 / calls:9.1f} {total * 1e6 / calls:9.1f} {count / calls:8.2f}  {where}"
                for own, total, count, where in sorted(rows, reverse=True)[:_SHOWN]
            ]
        path.write_text("\n".join(lines) + "\n")


async def _run(place: Path, receipts: int, rounds: int) -> list[_Load]:
    profiles = _Profiles()
    found: list[_Load] = []
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
    RESULTS.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    profiles.write(RESULTS / f"{stamp}.receipts.profile.txt", receipts)
    return found


def _bare_syncs(path: Path) -> _Load:
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
    return _Load(name=BARE, each_s=each_s, cpu_share=0, waits_ms=waits_ms)


async def _load(
    name: str, made: list[Made], hand_over: Callable[[list[Made]], Awaitable[list[float]]]
) -> _Load:
    begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
    waits_ms = await hand_over(made)
    took_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - begun_cpu_s
    return _Load(name=name, each_s=len(made) / took_s, cpu_share=cpu_s / took_s, waits_ms=waits_ms)


def main(place: str, receipts: int, rounds: int) -> None:
    """Keep to one core; leave what was measured in a file."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    configure_logs("info", "json")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(_run(Path(place), receipts, rounds))
    (Path(place) / _FOUND).write_text(json.dumps([asdict(each) for each in found]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
