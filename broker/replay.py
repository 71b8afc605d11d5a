"""Ask a policy again about what was decided."""

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Final, assert_never

from broker.core.decision import Effect
from broker.core.replay import (
    Author,
    Likeness,
    Outcome,
    Recorded,
    Replay,
    Replayed,
    recorded_outcome,
    replayed,
)
from broker.errors import PolicyError
from broker.ports import PolicyEngine

_AT_ONCE: Final = 64


async def replay(engine: PolicyEngine, recorded: Iterable[Recorded]) -> Replay:
    """Replay decisions; nothing is written anywhere.

    Args:
        engine: Evaluates the bundle to try.
        recorded: Read as it goes, some at a time.
    """
    found, waiting = Replay(), iter(recorded)
    # Some at a time: an engine that evaluates on threads is never idle while the next is read.
    while some := list(islice(waiting, _AT_ONCE)):
        kept = [decision for decision in some if _is_replayed(decision, found)]
        answers = await asyncio.gather(*(_ask(engine, decision) for decision in kept))
        for decision, answer in zip(kept, answers, strict=True):
            assert decision.answered is not None
            was = recorded_outcome(decision.answered.body)
            found.compare(decision, was, answer)
    return found


def _is_replayed(recorded: Recorded, found: Replay) -> bool:
    """Tell whether a decision can be asked for again; count it where not."""
    if recorded.asked is None or recorded.answered is None:
        found.erased += 1
        return False
    match recorded.author:
        case Author.BROKER:
            found.not_policys += 1
        case Author.NOBODY:
            found.failed += 1
        case Author.POLICY:
            return True
        case unknown:
            assert_never(unknown)
    return False


async def _ask(engine: PolicyEngine, recorded: Recorded) -> Replayed:
    assert recorded.asked is not None
    try:
        answer = await engine.evaluate(recorded.asked.body_text)
        return replayed(answer.output, recorded)
    except PolicyError as error:
        # As the broker would have it: what is no decision is a denial.
        would_be = Outcome(effect=Effect.DENY, rules=(error.rule,))
        return Replayed(outcome=would_be, likeness=Likeness.NONE)
