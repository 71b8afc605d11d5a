"""Fit a run's files into what its agent may keep."""

from collections.abc import Sequence
from dataclasses import replace

from broker.core.call import Call
from broker.core.outcome import Outcome
from broker.core.room import Room
from broker.core.sandbox import Report
from broker.ports import File
from broker.staging import stage_large
from broker.world import World

_LEFT_BEHIND = "left behind: with it you would keep more bytes of files than an agent may"
_QUOTA = "quota"


async def room_of(world: World, call: Call, outcome: Outcome) -> Room:
    """Find out what of a run's files the agent may keep besides what it keeps."""
    if not outcome.files:
        return Room(left_bytes=0)
    left_bytes = world.settings.files.agent_bytes - await world.store.file_bytes(call.agent)
    if sum(map(len, outcome.files.values())) <= left_bytes:
        return Room(left_bytes=left_bytes)
    now = world.clock.now()
    sizes = {name: await world.store.file_size(call.agent, name, now) for name in outcome.files}
    known = {name for name, size in sizes.items() if size is not None}
    return Room(left_bytes=left_bytes, known=known)


def fit_outputs(outcome: Outcome, report: Report, room: Room) -> tuple[Outcome, Report]:
    """Leave behind the outputs that go over the agent's quota, each with a note."""
    outputs, notes = [], []
    for path, entry in outcome.outputs:
        smaller = room.take([entry])
        if smaller is None:
            notes.append(f"{path}: {_LEFT_BEHIND}")
            continue
        room = smaller
        outputs.append((path, entry))
    if not notes:
        return outcome, report
    kept = {path for path, _ in outputs}
    # The receipt counts what the result document lists.
    report = replace(
        report,
        outputs=tuple(output for output in report.outputs if output.path in kept),
        limits_hit=tuple(sorted({*report.limits_hit, _QUOTA})),
    )
    return replace(outcome, outputs=tuple(outputs), notes=(*outcome.notes, *notes)), report


async def stage_ahead(world: World, call: Call, files: Sequence[File]) -> None:
    """Write large files before the commit that ends the call.

    Raises:
        QuotaSpent: Other files came first: look at the room again.
    """
    limits, now = world.settings.files, world.clock.now()
    await stage_large(
        world.store,
        call.agent,
        files,
        now=now,
        expires_at=now + limits.keep_uploads,
        most_bytes=limits.agent_bytes,
    )
