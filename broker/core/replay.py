"""Compare what policy would decide with what it decided."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from broker.core.canonical import JsonObject, JsonValue, canonical_json
from broker.core.decision import RUNTIMES, Effect, Limits
from broker.core.decision_reader import read_decision, read_trials
from broker.core.document import Document
from broker.core.ids import AgentId, CallId
from broker.core.trial import enforced_part

REFUSALS: Final = frozenset(
    {
        "broker.agent_unknown",
        "broker.halted",
        "broker.too_many_holds",
        "broker.tool_changed",
        "broker.tool_unknown",
        "broker.unsettled",
    }
)
"""The rules by which the broker denies a call without policy, or in its place."""
FAILURES: Final = frozenset(
    {
        "broker.policy_invalid",
        "broker.policy_stale",
        "broker.policy_timeout",
        "broker.policy_unavailable",
        "broker.policy_undefined",
    }
)
"""The rules by which it denies one for which policy gave no decision."""


class Author(Enum):
    """Who gave an answer that was recorded."""

    POLICY = "policy"
    BROKER = "broker"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One question that was put to policy, with what was answered.

    Args:
        asked: The policy_input document; None where it was erased.
        answered: The decision document, likewise.
    """

    call: CallId
    tool: str
    agent: AgentId
    asked: Document | None
    answered: Document | None

    @property
    def author(self) -> Author:
        """Tell who gave the answer: what the broker says itself has one reason, by its whole id."""
        assert self.answered is not None
        match rules_of(self.answered.body):
            case (rule,) if rule in REFUSALS:
                return Author.BROKER
            case (rule,) if rule in FAILURES:
                return Author.NOBODY
            case _:
                return Author.POLICY


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What counts of one decision when it is compared."""

    effect: Effect
    rules: tuple[str, ...]


class Likeness(Enum):
    """How far an answer is the recorded one, to the byte."""

    WHOLE = "whole"
    ENFORCED = "enforced"
    """But for what packages on trial would have made of it: nothing changes for anybody."""
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What another bundle makes of a recorded question.

    Args:
        trials: Packages on trial in it that would make a decision another, with its effect then.
    """

    outcome: Outcome
    likeness: Likeness
    trials: tuple[tuple[str, Effect], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One decision that would be another.

    `was` and `would_be` may have the same effect and rules: then obligations, messages or what is
    asked of people differ.
    """

    call: CallId
    tool: str
    agent: AgentId
    was: Outcome
    would_be: Outcome


@dataclass(slots=True, kw_only=True)
class Replay:
    """What a replay came to, filled decision by decision.

    Args:
        decisions: Replayed ones.
        not_policys: Left out, since the broker decided without policy, or in its place.
        failed: Left out, since the engine gave no decision.
        erased: Left out, since their content is gone.
        trials_differ: Replayed ones for which packages on trial alone would have said otherwise.
        by_trial: Decisions that a package on trial in the new bundle would make others, by package,
            their effect, and their effect then.
        were_held: Calls with a decision that held them.
        would_be_held: Likewise, by the new bundle.
    """

    decisions: int = 0
    not_policys: int = 0
    failed: int = 0
    erased: int = 0
    trials_differ: int = 0
    by_trial: Counter[tuple[str, Effect, Effect]] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)
    were_held: set[CallId] = field(default_factory=set)
    would_be_held: set[CallId] = field(default_factory=set)

    def compare(self, recorded: Recorded, was: Outcome, replayed: Replayed) -> None:
        """Count one decision."""
        self.decisions += 1
        would_be = replayed.outcome
        for package, effect in replayed.trials:
            self.by_trial[package, would_be.effect, effect] += 1
        if was.effect is Effect.HOLD:
            self.were_held.add(recorded.call)
        if would_be.effect is Effect.HOLD:
            self.would_be_held.add(recorded.call)
        if replayed.likeness is Likeness.ENFORCED:
            self.trials_differ += 1
        if replayed.likeness is Likeness.NONE:
            self.changes.append(
                Change(
                    call=recorded.call,
                    tool=recorded.tool,
                    agent=recorded.agent,
                    was=was,
                    would_be=would_be,
                )
            )

    @property
    def by_effect(self) -> Counter[tuple[Effect, Effect]]:
        """Count the changes by what was and what would be."""
        return Counter((change.was.effect, change.would_be.effect) for change in self.changes)

    @property
    def by_tool(self) -> Counter[str]:
        """Count the changes by tool."""
        return Counter(change.tool for change in self.changes)

    @property
    def by_agent(self) -> Counter[str]:
        """Count the changes by agent."""
        return Counter(change.agent for change in self.changes)

    @property
    def no_longer(self) -> Counter[str]:
        """Count the changed decisions for which a rule is no reason any more."""
        return Counter(
            rule for change in self.changes for rule in _without(change.was, change.would_be)
        )

    @property
    def newly(self) -> Counter[str]:
        """Count the changed decisions for which a rule becomes a reason."""
        return Counter(
            rule for change in self.changes for rule in _without(change.would_be, change.was)
        )


def outcome_of(output: JsonObject, asked: JsonObject) -> Outcome:
    """Read what an engine answered about a recorded question, as the broker would.

    Raises:
        PolicyInvalid: It is no decision.
    """
    tool, runtimes = asked["tool"], asked.get("runtimes")
    assert isinstance(tool, dict)
    limits = Limits(**tool["limits"])
    order = tuple(map(str, runtimes)) if isinstance(runtimes, list) else RUNTIMES
    decision = read_decision(output, limits, order)
    return Outcome(effect=decision.effect, rules=tuple(reason.rule for reason in decision.reasons))


def replayed(output: JsonObject, recorded: Recorded) -> Replayed:
    """Compare what an engine answered about a recorded question with what was answered then.

    Raises:
        PolicyInvalid: It is no decision.
    """
    assert recorded.asked is not None
    assert recorded.answered is not None
    return Replayed(
        outcome=outcome_of(output, recorded.asked.body),
        likeness=_likeness(output, recorded.answered),
        trials=tuple(
            (trial.package, trial.effect)
            for trial in read_trials(output)
            if trial.would_be != enforced_part(output)
        ),
    )


def _likeness(output: JsonObject, answered: Document) -> Likeness:
    if canonical_json(output) == answered.body_text:
        return Likeness.WHOLE
    same = canonical_json(enforced_part(output)) == canonical_json(enforced_part(answered.body))
    return Likeness.ENFORCED if same else Likeness.NONE


def recorded_outcome(body: JsonObject) -> Outcome:
    """Read a decision document of this broker's own."""
    return Outcome(effect=Effect(body["effect"]), rules=rules_of(body))


def rules_of(body: JsonObject) -> tuple[str, ...]:
    """Name the rules of a decision document, the gravest first."""
    reasons: JsonValue = body["reasons"]
    assert isinstance(reasons, Sequence)
    return tuple(str(reason["rule"]) for reason in reasons if isinstance(reason, dict))


def _without(one: Outcome, other: Outcome) -> set[str]:
    return set(one.rules) - set(other.rules)
