"""Bound what policy allows by the ceilings of tool and broker."""

from collections.abc import Iterable, Sequence

from broker.core.decision import (
    LIMIT_NAMES,
    RUNTIMES,
    Decision,
    Effect,
    Limits,
    Obligations,
    Requirement,
    persons_wanted,
)
from broker.core.destination import ANY_DESTINATION
from broker.errors import PolicyInvalid


def clamp(
    decision: Decision, tool: Obligations, broker: Limits, runtimes: Sequence[str] = RUNTIMES
) -> Obligations:
    """Give the obligations that the run gets.

    Limits are the smallest of the three, lists stay within the tool's own, and isolation is the
    higher of policy's and the tool's.

    Args:
        tool: What the tool's definition sets.
        broker: The broker's own ceilings, from its configuration.
        runtimes: From the weakest isolation to the strongest.

    Raises:
        PolicyInvalid: The tool's runtime has no known place in the order of isolation.
    """
    asked = decision.obligations
    return Obligations(
        runtime=max(asked.runtime, tool.runtime, key=lambda name: _isolation(name, runtimes)),
        limits=_smallest(asked.limits, tool.limits, broker),
        egress=tuple(sorted(asked.egress))
        if ANY_DESTINATION in tool.egress
        else _within(asked.egress, tool.egress),
        secrets=_within(asked.secrets, tool.secrets),
        redact=tuple(sorted({*asked.redact, *tool.redact})),
    )


def stricter(
    new: Decision,
    obligations: Obligations,
    requirements: Iterable[Requirement],
    runtimes: Sequence[str] = RUNTIMES,
) -> bool:
    """Tell whether a new answer asks for more than what was approved (contract §5).

    A denial is another matter and is not asked about here.

    Args:
        new: The answer at release, clamped.
        obligations: What the reviewers saw.
        requirements: What they had to meet.
        runtimes: From the weakest isolation to the strongest.
    """
    fresh = new.obligations
    return (
        _tighter(fresh.limits, obligations.limits)
        or not set(fresh.egress) >= set(obligations.egress)
        or not set(fresh.secrets) >= set(obligations.secrets)
        or not set(fresh.redact) <= set(obligations.redact)
        or _isolates_more(fresh.runtime, obligations.runtime, runtimes)
        or (new.effect is Effect.HOLD and _asks_more(new, requirements))
    )


def _isolation(runtime: str, runtimes: Sequence[str]) -> int:
    try:
        return runtimes.index(runtime)
    except ValueError:
        raise PolicyInvalid(
            f"runtime {runtime!r} has no place in the order of isolation: use one of "
            f"{', '.join(runtimes)}, or name it in [sandbox] runtimes"
        ) from None


def _isolates_more(new: str, old: str, runtimes: Sequence[str]) -> bool:
    # The order may have lost the old one since: then nobody can say that the new one is weaker.
    if new == old:
        return False
    return old not in runtimes or _isolation(new, runtimes) > runtimes.index(old)


def _smallest(*ceilings: Limits) -> Limits:
    return Limits(
        **{name: min(getattr(limits, name) for limits in ceilings) for name in LIMIT_NAMES}
    )


def _within(asked: Iterable[str], own: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(asked) & set(own)))


def _tighter(new: Limits, old: Limits) -> bool:
    return any(getattr(new, name) < getattr(old, name) for name in LIMIT_NAMES)


def _asks_more(new: Decision, approved: Iterable[Requirement]) -> bool:
    """Tell whether votes that met the old requirements might not meet the new ones.

    A group's votes count for that group; what is left over counts for "any eligible".
    """
    wanted = persons_wanted(new.approval.requirements if new.approval else ())
    given = persons_wanted(approved)
    anyone = wanted.pop("", 0)
    if any(count > given[group] for group, count in wanted.items()):
        return True
    return anyone > given.total() - wanted.total()
