"""Judge a queued call once more before it starts (contract §5, release)."""

from dataclasses import replace

from broker.answer import read_request
from broker.core.call import Call
from broker.core.clamp import stricter
from broker.core.decision import Approval, Effect, Requirement
from broker.core.hold import hold_met
from broker.core.identity import Identity
from broker.core.lifecycle import Step
from broker.core.order import RecordedRequest
from broker.core.workspace import Tree
from broker.decide import open_hold
from broker.finish import deny, finish
from broker.judge import Case, Judgement
from broker.world import World

_NEW_HOLDS = 2
_DECIDE_WITHIN_S = 3_600
_RUN_WITHIN_S = 600
_ANYBODY = Requirement(group="", count=1)


async def judge_again(world: World, call: Call) -> Judgement | None:
    """Ask policy about a queued call with fresh time and history.

    Returns None where the call may not start as it was decided: it was denied, or held anew.
    """
    tool, caller = world.toolbox.find(call.tool), world.people.identity(call.agent)
    if tool is None or caller is None:
        message = "this agent is no longer known to the broker: ask its operator"
        await deny(world, call, "broker.agent_unknown", message)
        return None
    request = await read_request(world.store, call)
    tree = await world.sessions.tree(call.tree_sha256)
    judgement = await world.judge.ask(
        Case(
            call=call.id,
            identity=caller,
            session_id=call.session_id,
            purpose=request.purpose,
            tool=tool,
            arguments=request.arguments,
            arguments_sha256=request.arguments_sha256,
            tree=tree,
            history=world.admission.history(call.agent, call.session_id, world.clock.now()),
            labels=world.labels.of(call.agent),
        )
    )
    if judgement.decision.effect is Effect.DENY:
        await finish(world, call, Step.DENY, judgement=judgement)
    elif _is_covered(world, call, judgement):
        return judgement
    elif _new_holds(call) >= _NEW_HOLDS:
        message = "policy wanted more after each approval: ask the operators, then call again"
        await deny(world, call, "broker.unsettled", message)
    else:
        await _hold_again(world, call, judgement, request, caller, tree)
    return None


def _new_holds(call: Call) -> int:
    """Count the holds that a release opened, the first decision's own apart."""
    number = call.hold.number if call.hold else 0
    return number - (call.evaluations[0].effect is Effect.HOLD)


def _is_covered(world: World, call: Call, judgement: Judgement) -> bool:
    """Tell whether what was decided, or approved, covers what policy asks for now."""
    assert judgement.obligations is not None
    assert call.obligations is not None
    fresh = replace(judgement.decision, obligations=judgement.obligations)
    approved = call.hold.requirements if call.hold else ()
    if stricter(fresh, call.obligations, approved, world.judge.runtimes):
        return False
    # Today's approvers: the vote of one who lost the role since is void.
    return call.hold is None or hold_met(call.hold, world.people.eligible(call))


async def _hold_again(
    world: World,
    call: Call,
    judgement: Judgement,
    request: RecordedRequest,
    caller: Identity,
    tree: Tree,
) -> None:
    """Ask people about what policy asks for now; earlier votes stand in the record only."""
    if judgement.decision.approval is None:
        # Policy allows it, but under tighter obligations than people approved.
        approval = Approval(
            requirements=call.hold.requirements if call.hold else (_ANYBODY,),
            decide_within_s=_DECIDE_WITHIN_S,
            run_within_s=call.hold.run_within_s if call.hold else _RUN_WITHIN_S,
        )
        judgement = replace(judgement, decision=replace(judgement.decision, approval=approval))
    call = replace(call, evaluations=(*call.evaluations, judgement.evaluation))
    held, view = open_hold(world, call, judgement, request, caller, tree)
    assert held.hold is not None
    await world.ledger.record(
        held,
        [(Step.HOLD, {"rule": judgement.evaluation.rule, "number": held.hold.number})],
        documents=(*judgement.documents, view),
    )
