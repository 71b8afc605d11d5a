"""Try a policy engine on a call whose answer is known."""

from typing import Final

from broker.core.canonical import JsonValue, canonical_json
from broker.core.decision import LIMIT_NAMES, Effect, Limits
from broker.core.decision_reader import read_decision
from broker.errors import CanaryWrong, PolicyError

CANARY: Final = canonical_json({"schema": "broker.policy-input/v1"})
"""A call of nobody to nothing: every policy that is worth its name denies it."""

_ANY_LIMITS: Final = Limits(**dict.fromkeys(LIMIT_NAMES, 1))


def check_canary(output: JsonValue) -> None:
    """Check the answer to the canary.

    Raises:
        CanaryWrong: No decision, or one that lets a call of nobody pass.
    """
    try:
        decision = read_decision(output, _ANY_LIMITS)
    except PolicyError as error:
        raise CanaryWrong(f"the policy engine fails its canary: {error.message}") from error
    if decision.effect is not Effect.DENY:
        raise CanaryWrong(
            f"the policy answers {decision.effect.value} to a call without agent or tool: "
            "guard that rule by agent and tool"
        )
