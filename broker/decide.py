"""Decide a new call: denied, held or queued, before anything of it is recorded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from broker.answer import Answer, answer_at_hand
from broker.core.call import Call, Hold
from broker.core.canonical import JsonObject
from broker.core.decision import Effect
from broker.core.document import Document, DocumentKind
from broker.core.identity import Identity
from broker.core.ids import CallId, short_id
from broker.core.lifecycle import CallState, Step, after
from broker.core.order import Order, RecordedRequest
from broker.core.policy_input import History
from broker.core.view import HeldCall, render_view
from broker.core.workspace import Tree
from broker.errors import ShortIdTaken, Unavailable
from broker.judge import Case, Judgement
from broker.world import World

_HALTED = (
    "an operator has halted calls like this one: nothing was run. Stop, and tell whoever you work "
    "for; the same call can go through once the halt is lifted"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A new call as its first commit is to record it, with what comes beside."""

    call: Call
    request: RecordedRequest
    steps: tuple[tuple[Step, JsonObject], ...]
    documents: tuple[Document, ...]


async def decide(world: World, caller: Identity, order: Order, call_id: CallId) -> Decided:
    """Snapshot what the decision rests on, then decide; nothing is written.

    Raises:
        StoreError: What it rests on cannot be read.
        NotFound: An argument names a file that the agent does not have.
    """
    tree = await world.sessions.current(caller.id, order.session_id)
    inputs = await world.sessions.resolve(caller.id, order.arguments, world.clock.now())
    now = world.clock.now()
    request = world.seal(DocumentKind.REQUEST, order.request_body(caller.id))
    history = world.admission.history(caller.id, order.session_id, now)
    # Counted before the first wait: of two calls at once, the second sees the first.
    world.admission.count(caller.id, order.session_id, order.tool_name, now)
    judgement = await judge_order(world, caller, order, call_id, tree, history)
    judgement = _cap_holds(world, caller, judgement, call_id)
    call = Call(
        id=call_id,
        short_id=short_id(world.entropy.random_bytes(5)),
        version=0,
        state=CallState.RECEIVED,
        agent=caller.id,
        session_id=order.session_id,
        request_id=order.wish.request_id,
        parent=order.parent,
        tool=order.tool_name,
        tool_version=order.tool.tool.version if order.tool else "",
        tool_sha256=order.tool.sha256 if order.tool else None,
        image=order.tool.image if order.tool else "",
        request_sha256=request.sha256,
        tree_sha256=tree.sha256,
        inputs=inputs,
        evaluations=(judgement.evaluation,),
        obligations=judgement.obligations,
        hold=None,
        past_votes=(),
        received_at=now,
        start_by=now + world.settings.start_within,
    )
    recorded = RecordedRequest.read(request)
    call, step, shown = _take_step(world, call, judgement, recorded, caller, tree)
    return Decided(
        call=call,
        request=recorded,
        steps=(
            (Step.RECEIVE, {"tool": call.tool, "version": call.tool_version}),
            (step, {"rule": judgement.evaluation.rule}),
        ),
        documents=(request, *judgement.documents, *shown),
    )


def _take_step(
    world: World,
    call: Call,
    judgement: Judgement,
    request: RecordedRequest,
    caller: Identity,
    tree: Tree,
) -> tuple[Call, Step, tuple[Document, ...]]:
    """Take a call that was just received on by what was decided; a hold comes with its view."""
    now = call.received_at
    match judgement.decision.effect:
        case Effect.DENY:
            world.admission.count_denied(caller.id, now)
            denied = replace(call, state=after(call.state, Step.DENY), ended_at=now)
            return denied, Step.DENY, ()
        case Effect.HOLD:
            held, view = open_hold(world, call, judgement, request, caller, tree)
            return held, Step.HOLD, (view,)
        case Effect.ALLOW:
            queued = replace(call, state=after(call.state, Step.ALLOW), queued_at=now)
            return queued, Step.ALLOW, ()


async def record_new(
    world: World, new: Decided, *, premises: Sequence[tuple[str, str]] = ()
) -> Answer:
    """Write a new call, all in one commit.

    Raises:
        StoreError: Nothing was recorded.
        PremiseChanged: Nothing was recorded: a premise does not hold any more.
        Unavailable: No short id was free: nothing was recorded.
    """
    receipt = world.notary.draft(new.call) if new.call.state.is_final else None
    try:
        call, sealed = await world.ledger.record(
            new.call, new.steps, documents=new.documents, receipt=receipt, premises=premises
        )
    except ShortIdTaken as error:
        # One in 10^12 a call kept. The view shows the id, so the call is decided anew with another.
        raise Unavailable("the short id drawn is taken: retry") from error
    return answer_at_hand(call, new.documents, sealed)


async def judge_order(
    world: World,
    caller: Identity,
    order: Order,
    call_id: CallId,
    tree: Tree,
    history: History,
) -> Judgement:
    """Ask policy about an order; what is halted, or no tool of the catalogue, is denied unasked."""
    if world.halts.covers(caller.id, order.session_id, order.tool_name):
        return world.judge.refuse("broker.halted", _HALTED, order.tool_name)
    if order.tool is None:
        return world.judge.refuse(
            "broker.tool_unknown",
            f"there is no tool {order.wish.tool!r}: ListTools names those that there are",
            order.wish.tool,
        )
    return await world.judge.ask(
        Case(
            call=call_id,
            identity=caller,
            session_id=order.session_id,
            purpose=order.wish.purpose,
            tool=order.tool,
            arguments=order.arguments,
            arguments_sha256=order.arguments_sha256,
            tree=tree,
            history=history,
            labels=world.labels.of(caller.id),
        )
    )


def _cap_holds(world: World, caller: Identity, judgement: Judgement, call_id: CallId) -> Judgement:
    if judgement.decision.effect is not Effect.HOLD:
        return judgement
    if world.admission.may_hold(caller.id):
        # Taken before the next wait, so that calls at once count each other.
        world.admission.settle(caller.id, call_id, is_open=True, is_held=True)
        return judgement
    return world.judge.overrule(
        judgement,
        "broker.too_many_holds",
        "as many of your calls wait for people as may: cancel one, or wait for a decision",
    )


def open_hold(
    world: World,
    call: Call,
    judgement: Judgement,
    request: RecordedRequest,
    caller: Identity,
    tree: Tree,
) -> tuple[Call, Document]:
    """Open a hold on a call, in memory; the view document is what people will judge."""
    approval = judgement.decision.approval
    assert approval is not None
    assert judgement.obligations is not None
    now = world.clock.now()
    decide_by = now + timedelta(seconds=approval.decide_within_s)
    number = call.hold.number + 1 if call.hold else 1
    shown = HeldCall(
        call=call.id,
        short_id=call.short_id,
        hold_number=number,
        tool=call.tool,
        tool_version=call.tool_version,
        tool_sha256=call.tool_sha256,
        image=call.image,
        agent=call.agent,
        owner=caller.owner,
        session_id=call.session_id,
        session_labels=tuple(sorted(judgement.labels_seen)),
        purpose=request.purpose,
        arguments=request.arguments,
        arguments_sha256=request.arguments_sha256,
        inputs=call.inputs,
        workspace_sha256=tree.sha256,
        workspace_paths=tuple(tree.files),
        decision=judgement.decision,
        obligations=judgement.obligations,
        policy_revision=judgement.evaluation.bundle_revision,
        received_at=call.received_at,
        decide_by=decide_by,
    )
    _, body = render_view(shown)
    view = world.seal(DocumentKind.VIEW, body)
    hold = Hold(
        number=number,
        opened_at=now,
        decide_by=decide_by,
        run_within_s=approval.run_within_s,
        run_by=None,
        requirements=approval.requirements,
        view_sha256=view.sha256,
        votes=(),
    )
    held = replace(
        call,
        state=after(call.state, Step.HOLD),
        hold=hold,
        past_votes=(*call.past_votes, *(call.hold.votes if call.hold else ())),
        start_by=decide_by,
        obligations=judgement.obligations,
    )
    return held, view
