"""Ask a policy again about what was decided."""

from collections.abc import Iterable

from broker.core.canonical import canonical_json
from broker.core.decision import Effect
from broker.core.replay import Outcome, Recorded, Replay, outcome_of, recorded_outcome
from broker.errors import PolicyError
from broker.ports import PolicyEngine


async def replay(engine: PolicyEngine, recorded: Iterable[Recorded]) -> Replay:
    """Replay decisions, one by one; nothing is written anywhere.

    Args:
        engine: Evaluates the bundle to try.
    """
    found = Replay()
    for decision in recorded:
        await _replay_one(engine, decision, found)
    return found


async def _replay_one(engine: PolicyEngine, recorded: Recorded, found: Replay) -> None:
    if recorded.asked is None or recorded.answered is None:
        found.erased += 1
        return
    if not recorded.is_of_policy:
        found.not_policys += 1
        return
    was = recorded_outcome(recorded.answered.body)
    try:
        answer = await engine.evaluate(recorded.asked.body_text)
        would_be = outcome_of(answer.output, recorded.asked.body)
    except PolicyError as error:
        # As the broker would have it: what is no decision is a denial.
        failed = Outcome(effect=Effect.DENY, rules=(error.rule,))
        found.compare(recorded, was, failed, same=False)
        return
    same = canonical_json(answer.output) == recorded.answered.body_text
    found.compare(recorded, was, would_be, same=same)
