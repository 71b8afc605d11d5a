"""End a call: result, receipt, last event in one commit."""

from dataclasses import dataclass, replace

from broker.core.call import Call, Cause
from broker.core.canonical import JsonObject
from broker.core.document import Document, DocumentKind
from broker.core.egress import event_of
from broker.core.lifecycle import Step, after
from broker.core.outcome import Outcome, read_report, result_body
from broker.core.room import Room
from broker.core.sandbox import Enforced, Report
from broker.errors import PremiseChanged, QuotaSpent, StoreError
from broker.judge import Judgement
from broker.keep import fit_outputs, room_of, stage_ahead
from broker.ports import File, WorkspaceUpdate
from broker.world import World

_FULL = "nothing was changed: the workspace would hold more than it may; delete files first"
_NO_ROOM = "nothing was changed: you would keep more bytes of files than an agent may"
_CONFLICT = "changed by another call meanwhile, left as it is: read it, then call again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a call that got its container leaves behind."""

    enforced: Enforced
    report: Report | None = None
    result: Document | None = None
    documents: tuple[Document, ...] = ()
    files: tuple[File, ...] = ()
    workspace: WorkspaceUpdate | None = None


async def finish(
    world: World,
    call: Call,
    step: Step,
    cause: Cause | None = None,
    *,
    judgement: Judgement | None = None,
    ran: Ran | None = None,
    before: tuple[tuple[Step, JsonObject], ...] = (),
    also: tuple[Document, ...] = (),
) -> Call:
    """Take a call's last step, with its receipt; return the call as it ended.

    Args:
        before: Steps that `call` has taken in memory, to be written in the same commit.
        also: Documents that come with them.

    Raises:
        StoreError: Nothing was written; the call is as it was.
    """
    ended = replace(call, state=after(call.state, step), ended_at=world.clock.now(), cause=cause)
    documents = also
    if judgement is not None:
        documents = (*documents, *judgement.documents)
        ended = replace(ended, evaluations=(*call.evaluations, judgement.evaluation))
    report = ran.report if ran else None
    if report is not None:
        ended = replace(ended, usage=report.usage, exit_code=report.exit_code)
    if ran is not None and ran.result is not None:
        ended = replace(ended, result_sha256=ran.result.sha256)
        documents = (*documents, ran.result, *ran.documents)
    written, _ = await world.ledger.record(
        ended,
        [*before, (step, _event_data(ended))],
        documents=documents,
        files=ran.files if ran else (),
        most_file_bytes=world.settings.files.agent_bytes if ran and ran.files else None,
        receipt=world.notary.draft(ended, enforced=ran.enforced if ran else None, report=report),
        workspace=ran.workspace if ran else None,
        notes=[event_of(visit) for visit in report.egress.visits]
        if report is not None and report.egress is not None
        else (),
    )
    if step is Step.DENY:
        # Only now: counted at each attempt, one denial would give back the budget of several calls.
        world.admission.count_denied(call.agent, world.clock.now())
    return written


async def deny(world: World, call: Call, rule: str, message: str) -> None:
    """Deny a call that policy had let through, by a rule of the broker's own."""
    judgement = world.judge.refuse(rule, message, call.tool)
    await finish(world, call, Step.DENY, judgement=judgement)


async def expire(world: World, call: Call) -> bool:
    """End a queued call whose time to begin is over; tell whether it was."""
    now = world.clock.now()
    run_by = call.hold.run_by if call.hold else None
    if run_by is not None and now >= run_by:
        await finish(world, call, Step.EXPIRE, Cause.RUN_BY_PASSED)
    elif now >= call.start_by:
        await finish(world, call, Step.EXPIRE, Cause.START_BY_PASSED)
    else:
        return False
    return True


async def end_run(world: World, call: Call, enforced: Enforced, report: Report) -> None:
    """Write how a run ended; everything in its container is dead.

    A workspace that another call moved meanwhile is merged anew, path by path; where other files
    came first, the quota is looked at again.

    Raises:
        StoreUnavailable: The outcome is not written yet; the caller keeps it, tries again.
    """
    outcome = read_report(report)
    while True:
        try:
            await _write_end(world, call, enforced, report, outcome)
            return
        except (PremiseChanged, QuotaSpent):
            continue


async def _write_end(
    world: World, call: Call, enforced: Enforced, report: Report, outcome: Outcome
) -> None:
    room = await room_of(world, call, outcome)
    applied = await _apply(world, call, outcome, room)
    if applied.trouble is not None:
        # The tool did its work, the workspace did not take it: a success would mislead.
        outcome = replace(outcome, step=Step.FAIL, notes=(*outcome.notes, *applied.notes))
    outcome, report = fit_outputs(outcome, report, applied.room or room)
    files = _kept(outcome, applied.changed)
    await stage_ahead(world, call, files)
    body = result_body(report, outcome, applied.changed)
    ran = Ran(
        enforced=enforced,
        report=report,
        result=world.seal(DocumentKind.RESULT, body),
        documents=(applied.tree,) if applied.tree else (),
        files=files,
        workspace=applied.update,
    )
    try:
        await finish(world, call, outcome.step, applied.trouble or report.cause, ran=ran)
    except StoreError:
        # Whether the workspace moved is in the record alone.
        world.sessions.forget(call.agent, call.session_id)
        raise
    if applied.tree is not None:
        world.sessions.moved(call.agent, call.session_id, applied.tree)


def _kept(outcome: Outcome, changed: tuple[str, ...]) -> tuple[File, ...]:
    """Pick the files that something names: what the workspace refused fills no disk."""
    entries = [entry for _, entry in outcome.outputs]
    entries += [entry for path in changed if (entry := outcome.changes[path])]
    return tuple(
        File(sha256=sha256, data=outcome.files[sha256])
        for sha256 in dict.fromkeys(entry.sha256 for entry in entries)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Applied:
    """What a call's changes do to its session's workspace; `room` is what they leave of it."""

    changed: tuple[str, ...] = ()
    tree: Document | None = None
    update: WorkspaceUpdate | None = None
    trouble: Cause | None = None
    notes: tuple[str, ...] = ()
    room: Room | None = None


async def _apply(world: World, call: Call, outcome: Outcome, room: Room) -> _Applied:
    if not outcome.changes:
        return _Applied()
    seen = await world.sessions.tree(call.tree_sha256)
    merged, tree, update = await world.sessions.apply(
        call.agent, call.session_id, seen, outcome.changes
    )
    settings = world.settings
    if not merged.fits(most_files=settings.workspace_files, most_bytes=settings.workspace_bytes):
        return _Applied(trouble=Cause.WORKSPACE_FULL, notes=(_FULL,))
    conflicts = tuple(f"{path}: {_CONFLICT}" for path in merged.conflicts)
    trouble = Cause.WORKSPACE_CONFLICT if conflicts else None
    if not merged.changed:
        return _Applied(trouble=trouble, notes=conflicts)
    left = room.take(entry for path in merged.changed if (entry := outcome.changes[path]))
    if left is None:
        return _Applied(trouble=Cause.WORKSPACE_FULL, notes=(*conflicts, _NO_ROOM))
    return _Applied(
        room=left,
        changed=merged.changed,
        tree=tree,
        update=update,
        trouble=trouble,
        notes=conflicts,
    )


def _event_data(call: Call) -> JsonObject:
    return {
        "cause": call.cause.value if call.cause else "",
        "rule": call.evaluations[-1].rule,
    }
