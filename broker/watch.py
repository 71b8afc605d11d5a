"""Follow a call: its events, with what its tool writes, in order, from any place.

A follower has its place and nothing else: events come from the record, output from the one buffer
of the run, and once that is gone from the result. So one that is slow, or never reads, costs the
same as one that has left; one whose stream was cut goes on where it was.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta

from broker.core.call import Call
from broker.core.canonical import JsonObject, JsonValue
from broker.core.lifecycle import LAST_STEPS, CallState
from broker.core.output import Chunk, OutputBuffer, Place, Source
from broker.ports import Event
from broker.tasks import first
from broker.world import World

_PAGE = 200
_LIVE_BYTES = 1 << 16
# The result is read again for each piece, so that nobody who is slow keeps it in memory.
_STORED_BYTES = 1 << 17
# One reader gets so many pieces in a row, then none for as long as they may cost: a tool that
# writes byte by byte, on both its streams, would else keep the broker busy with telling.
_BURST = 64
_PIECE_COSTS = timedelta(milliseconds=20)
_SHORTEST_PAUSE = timedelta(milliseconds=100)
_ENDS = frozenset(step.value for step in LAST_STEPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An event of the call; the last one known comes with the call as it stands."""

    event: Event
    call: Call | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrote:
    """A piece of output; live where no receipt stands for it yet."""

    chunk: Chunk
    is_live: bool


async def watch(
    world: World,
    call: Call,
    turn: AbstractAsyncContextManager[None],
    *,
    after: int,
    place: Place,
    with_output: bool,
) -> AsyncIterator[Happened | Wrote]:
    """Give what happened to a call and what its tool wrote, until the call has ended.

    All output stands between the event of the start and the one of the end.

    Args:
        turn: The reader's, taken for each piece that is read from the record.
        after: Sequence of the last event already seen.
        place: How much of the output was already seen.
        with_output: Whether the reader may see, and wants, what the tool writes.
    """
    has_all = not with_output
    had_ended = False
    with world.board.listen(call.id) as bell:
        while True:
            bell.clear()
            events = await world.store.events(after=after, limit=_PAGE, call=call.id)
            # Only what was read after the end holds the end: it may come between two reads.
            if had_ended and not events:
                return
            # After the events: what comes with the last of them is never older than it.
            fresh = await _fresh(world, call, events)
            for event in events:
                if not has_all and event.type in _ENDS:
                    async for wrote in _stored(world, fresh, place, turn):
                        place = place.after(wrote.chunk)
                        yield wrote
                after = event.sequence
                yield Happened(event=event, call=fresh if event is events[-1] else None)
            had_ended = fresh.state.is_final
            if events or had_ended:
                continue
            if not has_all and fresh.state is CallState.RUNNING:
                async for wrote in _live(world, call, place, bell):
                    place = place.after(wrote.chunk)
                    yield wrote
                has_all = world.outputs.is_all(call.id, place)
            await bell.wait()


async def _fresh(world: World, call: Call, events: Sequence[Event]) -> Call:
    fresh = await world.ledger.reread(call)
    if fresh.state.is_final or not any(event.type in _ENDS for event in events):
        return fresh
    # The end is durable, but who wrote it has not gone on yet: memory is behind the record.
    return await world.store.get_call(call.id) or fresh


async def _live(
    world: World, call: Call, place: Place, bell: asyncio.Event
) -> AsyncIterator[Wrote]:
    """Give output as it comes, until the bell rings; once the tool is dead, all of it first."""
    outputs, in_a_row = world.outputs, 0
    with outputs.listen(call.id) as written:
        while True:
            written.clear()
            chunk = outputs.next_chunk(call.id, place, _LIVE_BYTES)
            if bell.is_set() and (chunk is None or outputs.is_growing(call.id)):
                return
            if chunk is not None:
                yield Wrote(chunk=chunk, is_live=True)
                place = place.after(chunk)
                in_a_row += 1
            if in_a_row >= (_BURST if chunk else 1) and outputs.is_growing(call.id):
                pause = max(_SHORTEST_PAUSE, in_a_row * _PIECE_COSTS)
                await first(bell.wait(), world.clock.sleep_until(world.clock.now() + pause))
                in_a_row = 0
            elif chunk is None:
                await first(bell.wait(), written.wait())


async def _stored(
    world: World, call: Call, place: Place, turn: AbstractAsyncContextManager[None]
) -> AsyncIterator[Wrote]:
    """Give the rest from the result; nothing where there is none, or it was erased."""
    while True:
        async with turn:
            chunk = await _stored_chunk(world, call, place)
        if chunk is None:
            return
        yield Wrote(chunk=chunk, is_live=False)
        place = place.after(chunk)


async def _stored_chunk(world: World, call: Call, place: Place) -> Chunk | None:
    """Cut the next piece out of the result, of which nothing else outlives this function."""
    if call.result_sha256 is None:
        return None
    document = await world.store.document(call.result_sha256)
    return _buffer(document.body).next_chunk(place, _STORED_BYTES) if document else None


def _buffer(result: JsonObject) -> OutputBuffer:
    streams = {source: _bytes(result.get(source.value)) for source in Source}
    buffer = OutputBuffer(max(map(len, streams.values())))
    for source, data in streams.items():
        buffer.take(source, data)
    buffer.end()
    return buffer


def _bytes(stream: JsonValue) -> bytes:
    """Read a stream of a result: text where it is UTF-8, else base64."""
    if not isinstance(stream, Mapping):
        return b""
    text, encoded = stream.get("text"), stream.get("base64")
    if isinstance(text, str):
        return text.encode()
    return base64.b64decode(encoded) if isinstance(encoded, str) else b""
