"""Say why policy decided a call as it did."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from broker.core.bundle import Bundle
from broker.core.call import Call, Evaluation
from broker.core.canonical import JsonObject
from broker.core.decision import LACKS_ALLOW, Effect, Reason, Requirement, Trial
from broker.core.decision_reader import read_reasons, read_trials
from broker.core.document import Document
from broker.core.identity import Identity, Role
from broker.core.ids import Sha256
from broker.core.replay import outcome_of
from broker.core.rule_index import RuleSource, read_rules
from broker.core.trial import changes
from broker.errors import PolicyInvalid
from broker.ports import Store
from broker.read import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedReason:
    """One reason of a decision.

    Args:
        source: None where its rule does not stand in the bundle.
        also_at: Further rules of the bundle with the same id: the decision tells none from another.
    """

    rule: str
    severity: str
    message: str
    agent_message: str
    source: RuleSource | None
    also_at: tuple[RuleSource, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedTrial:
    """What one package on trial would have made of a decision.

    Args:
        changes: Fields that would be others, reasons apart; that it would be no decision.
    """

    trial: Trial
    reasons: tuple[ExplainedReason, ...]
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One question to policy with its answer; a document is None where it was erased."""

    evaluation: Evaluation
    reasons: tuple[ExplainedReason, ...]
    requirements: tuple[Requirement, ...]
    remedies: tuple[str, ...]
    is_active_bundle: bool
    trials: tuple[ExplainedTrial, ...]
    asked: Document | None
    answered: Document | None


class Explainer:
    """Explain decisions by the sources of the active bundle.

    Args:
        active: Gives that bundle, which may be another one each time.
    """

    def __init__(self, reader: Reader, store: Store, active: Callable[[], Bundle]) -> None:
        self._reader = reader
        self._store = store
        self._active = active
        self._indexed: tuple[Sha256, Sequence[RuleSource]] | None = None

    @property
    def bundle(self) -> Bundle:
        """Give the active bundle."""
        return self._active()

    @property
    def rules(self) -> Sequence[RuleSource]:
        """Give the rules of the active bundle."""
        bundle = self._active()
        if self._indexed is None or self._indexed[0] != bundle.sha256:
            self._indexed = bundle.sha256, read_rules(bundle.rego)
        return self._indexed[1]

    async def explain(self, reader: Identity, reference: str) -> tuple[Call, list[Explanation]]:
        """Explain each decision on a call, the first first.

        Args:
            reader: Of the security team or an auditor: it sees every call.

        Raises:
            NotFound: No such call, or more than one.
            InvalidArgument: The reference has no form that names a call.
        """
        everybody = replace(reader, roles=reader.roles | {Role.AUDITOR})
        call = await self._reader.find(everybody, reference)
        async with self._reader.turns.of(reader.id):
            return call, [await self._one(evaluation) for evaluation in call.evaluations]

    async def _one(self, evaluation: Evaluation) -> Explanation:
        answered = await self._store.document(evaluation.decision_sha256)
        asked = await self._store.document(evaluation.policy_input_sha256)
        body: JsonObject = answered.body if answered else {}
        reasons = tuple(map(self._reason, read_reasons(body) if answered else ()))
        requirements = tuple(_requirements(body))
        trials = read_trials(body)
        return Explanation(
            evaluation=evaluation,
            reasons=reasons,
            requirements=requirements,
            remedies=tuple(self._remedies(evaluation.effect, reasons, requirements, trials)),
            is_active_bundle=evaluation.bundle_sha256 == self.bundle.sha256,
            trials=tuple(self._trial(trial, body, asked) for trial in trials),
            asked=asked,
            answered=answered,
        )

    def _reason(self, reason: Reason) -> ExplainedReason:
        sources = tuple(source for source in self.rules if source.rule == reason.rule)
        return ExplainedReason(
            rule=reason.rule,
            severity=reason.severity,
            message=reason.message,
            agent_message=reason.agent_message,
            source=sources[0] if sources else None,
            also_at=sources[1:],
        )

    def _trial(self, trial: Trial, body: JsonObject, asked: Document | None) -> ExplainedTrial:
        return ExplainedTrial(
            trial=trial,
            reasons=tuple(map(self._reason, trial.reasons)),
            changes=(*changes(body, trial.would_be), *_faults(trial, asked)),
        )

    def _remedies(
        self,
        effect: Effect,
        reasons: Sequence[ExplainedReason],
        requirements: Sequence[Requirement],
        trials: Sequence[Trial],
    ) -> Iterator[str]:
        """Say what would have to be different, as far as the decision itself tells."""
        rules = ", ".join(reason.rule for reason in reasons)
        if any(reason.rule in LACKS_ALLOW for reason in reasons):
            # What a package on trial allows does not count.
            idle = {trial.package for trial in trials}
            allowing = [
                rule for rule in self.rules if rule.head == "allow" and rule.package not in idle
            ]
            places = ", ".join(f"{rule.rule} ({rule.file}:{rule.line})" for rule in allowing)
            yield f"a rule that allows has to apply; there are: {places or 'none'}"
        elif effect is Effect.DENY and reasons:
            yield (
                f"none of these may apply: {rules}; only then do holds count, and whether a rule "
                "allows it"
            )
        for requirement in requirements:
            group = f"of group {requirement.group}" if requirement.group else "of any group"
            yield f"{requirement.count} approver(s) {group} have to agree"
        if effect is Effect.HOLD:
            yield f"or none of these may apply: {rules}"
        for reason in reasons:
            if effect is not Effect.ALLOW:
                yield f"{reason.rule} tells the agent: {reason.agent_message}"


def _faults(trial: Trial, asked: Document | None) -> Iterator[str]:
    """Say of what policy would have answered that the broker would refuse it."""
    if asked is None:
        return
    try:
        outcome_of(trial.would_be, asked.body)
    except PolicyInvalid as error:
        yield f"it would be no decision, and so a denial: {error.message}"


def _requirements(body: JsonObject) -> Iterator[Requirement]:
    approval = body.get("approval")
    for entry in _objects(approval.get("requirements") if isinstance(approval, Mapping) else None):
        count = entry["count"]
        assert isinstance(count, int)
        yield Requirement(group=str(entry["group"]), count=count)


def _objects(value: object) -> list[JsonObject]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
