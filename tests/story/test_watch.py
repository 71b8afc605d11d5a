"""Watch calls on fakes: who comes early, late or in the middle, is cut off, is slow."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from broker.core.call import Call
from broker.core.identity import Identity, Role
from broker.core.ids import AgentId, CallId
from broker.core.lifecycle import CallState
from broker.core.output import OutputSink, Place, Source
from broker.errors import NotFound
from broker.ports import CallFilter, Event
from broker.read import Reader
from broker.watch import Happened, Wrote
from tests.ports.fake_sandbox import SLEEP
from tests.story.stage import AGENT, AGENT2, APPROVER, HELD, Stage

WRITES = (
    (Source.STDOUT, b"one "),
    (Source.STDERR, b"two "),
    (Source.STDOUT, b"three "),
    (Source.STDOUT, "vier \u00e9 ".encode()),
    (Source.STDERR, b"\xff\xfe"),
)
OUT = "one three vier \u00e9 ".encode()
ERR = b"two \xff\xfe"
AUDITOR = Identity(
    id=AgentId("auditor"),
    person="auditor-person",
    roles=frozenset({Role.AUDITOR}),
    groups=frozenset(),
    owner="",
    attributes={},
    expires_at=None,
)
Item = Happened | Wrote


class Running:
    """A call whose tool writes what the test says."""

    def __init__(self, stage: Stage, call: Call, sink: OutputSink) -> None:
        self.stage = stage
        self.call = call
        self.sink = sink

    @classmethod
    async def begin(cls, stage: Stage) -> "Running":
        """Start a tool that goes on until it is ended."""
        call = await stage.call(code=SLEEP)
        await stage.settle()
        call = await stage.read(call.id)
        assert call.run is not None
        return cls(stage, call, stage.life.sandboxes.sinks[call.run.slot])

    def write(self, *writes: tuple[Source, bytes]) -> None:
        """Let the tool write."""
        for source, data in writes:
            self.sink.take(source, data)

    async def end(self) -> None:
        """End it, by its agent."""
        await self.stage.life.executor.cancel(await self.stage.read(self.call.id))
        await self.stage.settle()

    def watch(
        self,
        reader: Identity = AGENT,
        *,
        after: int = 0,
        out: int = 0,
        err: int = 0,
        events_only: bool = False,
    ) -> AsyncIterator[Item]:
        """Watch it from a place."""
        return Reader(self.stage.life.world).watch(
            reader,
            self.call,
            after=after,
            place=Place(stdout=out, stderr=err),
            events_only=events_only,
        )


class Follower:
    """Somebody who reads everything as it comes."""

    def __init__(self, stage: Stage, items: AsyncIterator[Item]) -> None:
        self.seen: list[Item] = []
        self._task: asyncio.Task[None] = asyncio.create_task(self._read(items))
        stage.actors.add(self._task)

    async def _read(self, items: AsyncIterator[Item]) -> None:
        async for item in items:
            self.seen.append(item)

    @property
    def has_ended(self) -> bool:
        """Whether the stream is over."""
        return self._task.done() and self._task.exception() is None


async def everything(items: AsyncIterator[Item]) -> list[Item]:
    """Read a stream to its end."""
    return [item async for item in items]


def output(items: list[Item]) -> list[Wrote]:
    """The pieces of output."""
    return [item for item in items if isinstance(item, Wrote)]


def joined(items: list[Item], source: Source) -> bytes:
    """The bytes of one stream."""
    return b"".join(item.chunk.data for item in output(items) if item.chunk.source is source)


def kinds(items: list[Item]) -> list[str]:
    """What comes, in order; neighbouring pieces of output as one."""
    named = [item.event.type if isinstance(item, Happened) else "output" for item in items]
    return [
        name for index, name in enumerate(named) if name != "output" or named[index - 1] != name
    ]


@pytest.fixture
async def stage() -> Stage:
    """A broker on fakes."""
    stage = Stage()
    await stage.start()
    return stage


class TestOrder:
    async def test_early_late_and_in_the_middle(self, stage: Stage) -> None:
        """Whoever comes, and whenever, gets the same events and bytes, output before the end."""
        running = await Running.begin(stage)
        early = Follower(stage, running.watch())
        running.write(*WRITES[:2])
        await stage.pass_time(1)
        middle = Follower(stage, running.watch())
        running.write(*WRITES[2:])
        await stage.pass_time(1)
        await running.end()
        late = await everything(running.watch())
        for seen in (early.seen, middle.seen, late):
            assert kinds(seen) == [
                "call.received",
                "call.allowed",
                "run.starting",
                "output",
                "call.cancelled",
            ]
            assert (joined(seen, Source.STDOUT), joined(seen, Source.STDERR)) == (OUT, ERR)
        assert early.has_ended
        assert middle.has_ended

    async def test_pieces_come_as_they_were_written(self, stage: Stage) -> None:
        """A reader who waits gets each write at once, the two streams in their order."""
        running = await Running.begin(stage)
        follower = Follower(stage, running.watch())
        for write in WRITES:
            running.write(write)
            await stage.pass_time(1)
        assert [(each.chunk.source, each.chunk.data) for each in output(follower.seen)] == list(
            WRITES
        )
        assert all(each.is_live for each in output(follower.seen))

    async def test_last_words_keep_their_order(self, stage: Stage) -> None:
        """What a tool writes right before its end comes in its order too, while it is live."""
        running = await Running.begin(stage)
        follower = Follower(stage, running.watch())
        await stage.settle()
        running.write(*WRITES)
        await running.end()
        assert [each.chunk.source for each in output(follower.seen)] == [
            Source.STDOUT,
            Source.STDERR,
            Source.STDOUT,
            Source.STDERR,
        ]

    async def test_streamed_is_what_is_stored(self, stage: Stage) -> None:
        """The bytes of a live stream are those of the result that the receipt names."""
        running = await Running.begin(stage)
        follower = Follower(stage, running.watch())
        running.write(*WRITES)
        await stage.settle()
        assert stage.stored(running.call.id).state is CallState.RUNNING
        assert joined(follower.seen, Source.STDOUT) == OUT
        await running.end()
        stored = await everything(running.watch())
        assert not any(each.is_live for each in output(stored))
        for source in Source:
            assert joined(stored, source) == joined(follower.seen, source)

    async def test_an_end_that_memory_does_not_know_yet(self, stage: Stage) -> None:
        """Who reads the end in the record, before its writer has heard of it, misses nothing."""
        running = await Running.begin(stage)
        running.write(*WRITES)
        await running.end()
        ended = await stage.read(running.call.id)
        ledger = stage.life.world.ledger
        # As between the commit of the end and the moment when its writer goes on.
        ledger._remember(running.call)
        follower = Follower(stage, running.watch())
        await stage.settle()
        last = follower.seen[-1]
        assert joined(follower.seen, Source.STDOUT) == OUT
        assert isinstance(last, Happened)
        assert last.call == ended
        ledger._remember(ended)
        stage.life.world.board.publish(ended.id)
        await stage.settle()
        assert follower.has_ended

    async def test_an_end_between_two_reads(self, stage: Stage, monkeypatch) -> None:
        """A call that ends after its events were read, and before it is read, shows its end."""
        running = await Running.begin(stage)
        store = stage.life.world.store
        events = store.events
        follower = Follower(stage, running.watch(events_only=True))
        await stage.settle()
        ended = asyncio.Event()

        async def late(*, after: int, limit: int, call: CallId | None = None) -> Sequence[Event]:
            found = await events(after=after, limit=limit, call=call)
            await ended.wait()
            return found

        monkeypatch.setattr(store, "events", late)
        stage.life.world.board.publish(running.call.id)
        await stage.pass_time(1)
        await running.end()
        ended.set()
        await stage.settle()
        assert kinds(follower.seen)[-1] == "call.cancelled"
        assert follower.has_ended

    async def test_the_last_event_comes_with_the_final_call(self, stage: Stage) -> None:
        """The call that comes with the end has ended."""
        running = await Running.begin(stage)
        follower = Follower(stage, running.watch())
        await stage.settle()
        await running.end()
        last = follower.seen[-1]
        assert isinstance(last, Happened)
        assert last.call is not None
        assert last.call.state is CallState.CANCELLED


class TestResume:
    async def test_at_every_place(self, stage: Stage) -> None:
        """From each place that a cut leaves, during the run as after it, the rest comes once."""
        running = await Running.begin(stage)
        running.write(*WRITES)
        places = [(out, err) for out in range(len(OUT) + 1) for err in range(len(ERR) + 1)]
        live = [Follower(stage, running.watch(out=out, err=err)) for out, err in places]
        await stage.settle()
        # What has come so far came while it ran; the beginnings of characters are still out.
        await running.end()
        for (out, err), follower in zip(places, live, strict=True):
            late = await everything(running.watch(out=out, err=err))
            for seen in (follower.seen, late):
                assert joined(seen, Source.STDOUT) == OUT[out:]
                assert joined(seen, Source.STDERR) == ERR[err:]

    async def test_after_each_item(self, stage: Stage) -> None:
        """A stream that is cut after any item and taken up there gives every item once."""
        running = await Running.begin(stage)
        running.write(*WRITES)
        await running.end()
        whole = await everything(running.watch())
        after, place = 0, Place()
        for index, item in enumerate(whole):
            if isinstance(item, Wrote):
                place = place.after(item.chunk)
            else:
                after = item.event.sequence
            rest = await everything(running.watch(after=after, out=place.stdout, err=place.stderr))
            assert rest == whole[index + 1 :]

    async def test_beyond_what_there_is(self, stage: Stage) -> None:
        """A place behind the end gives no output, and ends with the call."""
        running = await Running.begin(stage)
        running.write(*WRITES)
        follower = Follower(stage, running.watch(out=1000, err=1000))
        await running.end()
        assert output(follower.seen) == []
        assert follower.has_ended


class TestSlowReaders:
    async def test_an_idle_reader_holds_up_nobody(self, stage: Stage) -> None:
        """One who stopped reading in the middle keeps neither the tool, the call nor others."""
        running = await Running.begin(stage)
        async with aclosing(running.watch()) as idle:  # type: ignore[type-var]
            assert isinstance(await anext(idle), Happened)
            follower = Follower(stage, running.watch())
            running.write(*WRITES)
            await running.end()
            assert follower.has_ended
            rest = [item async for item in idle]
        assert joined(rest, Source.STDOUT) == OUT

    async def test_nothing_is_kept_when_the_call_has_ended(self, stage: Stage) -> None:
        """The buffer goes with the run, though a reader has not read it yet."""
        running = await Running.begin(stage)
        outputs = stage.life.world.outputs
        idle = running.watch()
        await anext(idle)
        running.write(*WRITES)
        assert outputs.next_chunk(running.call.id, Place(), 64) is not None
        await running.end()
        assert outputs.next_chunk(running.call.id, Place(), 64) is None
        assert joined(await everything(idle), Source.STDERR) == ERR

    async def test_small_writes_are_gathered(self, stage: Stage) -> None:
        """Many writes within the pace come as few pieces, however small each is."""
        running = await Running.begin(stage)
        follower = Follower(stage, running.watch())
        await stage.settle()
        for _ in range(1000):
            running.write((Source.STDOUT, b"x"))
            await asyncio.sleep(0)
        await stage.pass_time(1)
        pieces = output(follower.seen)
        assert joined(follower.seen, Source.STDOUT) == b"x" * 1000
        assert len(pieces) == 2


class TestRestart:
    async def test_interrupted(self, stage: Stage) -> None:
        """A call whose broker died ends INTERRUPTED for who watches on: no output is made up."""
        running = await Running.begin(stage)
        running.write(*WRITES)
        before = Follower(stage, running.watch())
        await stage.settle()
        assert joined(before.seen, Source.STDOUT) == OUT
        events = [item.event.sequence for item in before.seen if isinstance(item, Happened)]
        await stage.restart()
        await stage.settle()
        rest = await everything(running.watch(after=events[-1], out=len(OUT), err=len(ERR)))
        assert kinds(rest) == ["call.interrupted"]
        assert isinstance(rest[-1], Happened)
        assert rest[-1].call is not None
        assert rest[-1].call.state is CallState.INTERRUPTED


class TestWhoSees:
    async def test_content(self, stage: Stage) -> None:
        """Output is for the agent and for auditors; others who may read the call see events."""
        running = await Running.begin(stage)
        running.write(*WRITES)
        await running.end()
        for reader, sees in ((AGENT, True), (AUDITOR, True), (APPROVER, False), (AGENT2, False)):
            seen = await everything(running.watch(reader))
            assert bool(output(seen)) is sees, reader.id
        assert output(await everything(running.watch(events_only=True))) == []

    async def test_other_agents(self, stage: Stage) -> None:
        """To another agent the call does not exist."""
        running = await Running.begin(stage)
        with pytest.raises(NotFound):
            await Reader(stage.life.world).find(AGENT2, running.call.name)
        await running.end()

    async def test_held(self, stage: Stage) -> None:
        """A held call is watched without output until it runs, then with it."""
        call = await stage.call(HELD)
        items = Reader(stage.life.world).watch(
            AGENT, call, after=0, place=Place(), events_only=False
        )
        follower = Follower(stage, items)
        await stage.settle()
        assert kinds(follower.seen) == ["call.received", "call.held"]
        await stage.vote(call.id)
        await stage.settle()
        assert kinds(follower.seen)[-3:] == ["run.starting", "output", "call.succeeded"]
        assert joined(follower.seen, Source.STDOUT) == b"done\n"
        assert follower.has_ended
        assert len(await stage.life.world.store.list_calls(CallFilter(), limit=9, before=None)) == 1
