"""Find the recorded calls that lack nothing but an allow."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.core.canonical import JsonObject, JsonValue
from broker.core.decision import LACKS_ALLOW, Effect, Trial
from broker.core.decision_reader import read_effect, read_trials
from broker.core.ids import AgentId, CallId
from broker.core.policy_input import SCHEMA
from broker.core.replay import Author, Recorded, rules_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a rule may be drafted from: one call as policy was shown it."""

    call: CallId
    agent: AgentId
    tool: str
    version: str
    arguments: Mapping[str, JsonValue]
    derived: Mapping[str, Mapping[str, JsonValue]]


@dataclass(slots=True, kw_only=True)
class Observations:
    """Recorded calls, sorted by whether they want an allow.

    Args:
        wanting: They do, and nothing else refuses them.
        allowed: Some rule allows them, be it one on trial.
        refused: A deny refused them, be it one on trial: no allow may stand against it.
        not_policys: Policy gave no decision on them, or was not asked.
        erased: Their content is gone.
    """

    wanting: dict[CallId, Observed] = field(default_factory=dict)
    allowed: int = 0
    refused: int = 0
    not_policys: int = 0
    erased: int = 0

    def add(self, recorded: Recorded, team: str) -> None:
        """Sort one decision in.

        Args:
            team: Whose own allow is asked for while its package is on trial; empty for any.
        """
        if recorded.asked is None or recorded.answered is None:
            self.erased += 1
            return
        asked, body = recorded.asked.body, recorded.answered.body
        if recorded.author is not Author.POLICY or asked.get("schema") != SCHEMA:
            self.not_policys += 1
            return
        trials = {trial.package: trial for trial in read_trials(body)}
        if _is_refused(body) or any(_is_refused(trial.would_be) for trial in trials.values()):
            self.refused += 1
        elif _is_allowed(body, trials, f"teams.{team}"):
            self.allowed += 1
        else:
            self.wanting.setdefault(recorded.call, _observed(recorded, asked))


def _is_refused(body: JsonObject) -> bool:
    return read_effect(body) is Effect.DENY and not LACKS_ALLOW.issuperset(rules_of(body))


def _is_allowed(body: JsonObject, trials: Mapping[str, Trial], package: str) -> bool:
    # On trial, a package may be meant to stand without what others allow as yet.
    if package in trials:
        return bool(trials[package].rules.allow)
    return read_effect(body) is not Effect.DENY or any(
        trial.rules.allow for trial in trials.values()
    )


def _observed(recorded: Recorded, asked: JsonObject) -> Observed:
    tool, derived = asked["tool"], asked["derived"]
    assert isinstance(tool, Mapping)
    assert isinstance(derived, Mapping)
    arguments = tool["arguments"]
    assert isinstance(arguments, Mapping)
    return Observed(
        call=recorded.call,
        agent=recorded.agent,
        tool=recorded.tool,
        version=str(tool["version"]),
        arguments=arguments,
        derived={name: part for name, part in derived.items() if isinstance(part, Mapping)},
    )
