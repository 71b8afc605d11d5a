"""Judge a queued call once more before it starts (contract §5, release)."""

from collections.abc import Mapping
from dataclasses import replace

from broker.core.call import Call
from broker.core.canonical import JsonObject
from broker.core.clamp import stricter
from broker.core.decision import Approval, Effect, Requirement
from broker.core.hold import hold_met
from broker.core.ids import Sha256
from broker.core.lifecycle import Step
from broker.decide import open_hold
from broker.errors import StoreUnavailable
from broker.finish import deny, finish
from broker.judge import Case, Judgement
from broker.world import World

_NEW_HOLDS = 2
_DECIDE_WITHIN_S = 3_600
_RUN_WITHIN_S = 600


async def judge_again(world: World, call: Call) -> Judgement | None:
    """Ask policy about a queued call with fresh time and history.

    Returns None where the call may not start as it was decided: it was denied, or held anew.
    """
    judgement = await _ask(world, call)
    if judgement.decision.effect is Effect.DENY:
        await finish(world, call, Step.DENY, judgement=judgement)
        world.admission.count_denied(call.agent, world.clock.now())
        return None
    if _is_covered(world, call, judgement):
        return judgement
    if _new_holds(call) >= _NEW_HOLDS:
        await deny(
            world,
            call,
            "broker.unsettled",
            "policy wanted more after each approval: ask the operators, then call again",
        )
        return None
    await _hold_again(world, call, judgement)
    return None


def _new_holds(call: Call) -> int:
    """Count the holds that a release opened, the first decision's own apart."""
    number = call.hold.number if call.hold else 0
    return number - (call.evaluations[0].effect is Effect.HOLD)


async def _ask(world: World, call: Call) -> Judgement:
    tool, caller = world.toolbox.find(call.tool), world.people.identity(call.agent)
    if tool is None or caller is None:
        return world.judge.refuse(
            "broker.agent_unknown",
            "this agent is no longer known to the broker: ask its operator",
            {"schema": "broker.refusal/v1", "tool": call.tool},
        )
    request = await request_body(world, call)
    arguments = request["arguments"]
    assert isinstance(arguments, Mapping)
    return await world.judge.ask(
        Case(
            call=call.id,
            identity=caller,
            session_id=call.session_id,
            purpose=str(request["purpose"]),
            tool=tool,
            arguments=arguments,
            arguments_sha256=Sha256(str(request["arguments_sha256"])),
            tree=await world.sessions.tree(call.tree_sha256),
            history=world.admission.history(call.agent, call.session_id, world.clock.now()),
        )
    )


def _is_covered(world: World, call: Call, judgement: Judgement) -> bool:
    """Tell whether what was decided, or approved, covers what policy asks for now."""
    assert judgement.obligations is not None
    assert call.obligations is not None
    fresh = replace(judgement.decision, obligations=judgement.obligations)
    approved = call.hold.requirements if call.hold else ()
    if stricter(fresh, call.obligations, approved):
        return False
    # Today's approvers: the vote of one who lost the role since is void.
    return call.hold is None or hold_met(call.hold, world.people.eligible(call))


async def _hold_again(world: World, call: Call, judgement: Judgement) -> None:
    """Ask people about what policy asks for now; earlier votes stand in the record only."""
    if judgement.decision.approval is None:
        # Policy allows it, but under tighter obligations than people approved.
        approval = Approval(
            requirements=call.hold.requirements if call.hold else (_ANYBODY,),
            decide_within_s=_DECIDE_WITHIN_S,
            run_within_s=call.hold.run_within_s if call.hold else _RUN_WITHIN_S,
        )
        judgement = replace(judgement, decision=replace(judgement.decision, approval=approval))
    caller = world.people.identity(call.agent)
    assert caller is not None
    tree = await world.sessions.tree(call.tree_sha256)
    request = await request_body(world, call)
    call = replace(call, evaluations=(*call.evaluations, judgement.evaluation))
    held, view = open_hold(world, call, judgement, request, caller, tree)
    assert held.hold is not None
    await world.ledger.record(
        held,
        [(Step.HOLD, {"rule": judgement.evaluation.rule, "number": held.hold.number})],
        documents=(*judgement.documents, view),
    )


_ANYBODY = Requirement(group="", count=1)


async def request_body(world: World, call: Call) -> JsonObject:
    """Read what the agent asked for.

    Raises:
        StoreUnavailable: It was erased, so the call cannot go on.
    """
    document = await world.store.document(call.request_sha256)
    if document is None:
        raise StoreUnavailable("the request of this call was erased")
    return document.body
