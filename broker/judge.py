"""Ask policy about a call, fail closed."""

from dataclasses import dataclass
from datetime import datetime

from broker.core.call import Evaluation
from broker.core.canonical import JsonObject
from broker.core.clamp import clamp
from broker.core.decision import RUNTIMES, Decision, Effect, Limits, Obligations, denial
from broker.core.decision_reader import read_decision
from broker.core.document import SALT_BYTES, Document, DocumentKind
from broker.core.identity import Identity
from broker.core.ids import CallId, Sha256
from broker.core.label import MOST_LABELS
from broker.core.policy_input import History, PolicySession, policy_input
from broker.core.toolbox import BoundTool
from broker.core.workspace import Tree
from broker.errors import CanonicalError, PolicyError, PolicyInvalid
from broker.freshness import PolicyFreshness
from broker.ports import Clock, Entropy, PolicyAnswer, PolicyEngine, Telemetry

_REFUSAL = "broker.refusal/v1"
_NO_DECISION = "policy could not decide, so nothing was run: retry later, or tell the operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that policy may know of a call."""

    call: CallId
    identity: Identity
    session_id: str
    purpose: str
    tool: BoundTool
    arguments: JsonObject
    arguments_sha256: Sha256
    tree: Tree
    history: History
    labels: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The bundle that was asked; when it is known to give no answer another may be active."""

    bundle_sha256: Sha256
    bundle_revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Policy's answer to one case, with the documents that prove it.

    Args:
        obligations: None where the call is denied.
        labels_seen: What policy was told that the agent is labelled with.
    """

    decision: Decision
    obligations: Obligations | None
    evaluation: Evaluation
    labels_seen: frozenset[str]
    documents: tuple[Document, ...]


class Judge:
    """Turn a case into a judgement: whatever goes wrong is a denial with its own rule.

    Args:
        freshness: Asked before policy is; None where nothing could confirm a bundle.
    """

    def __init__(
        self,
        engine: PolicyEngine,
        clock: Clock,
        entropy: Entropy,
        telemetry: Telemetry,
        ceilings: Limits,
        runtimes: tuple[str, ...] = RUNTIMES,
        *,
        freshness: PolicyFreshness | None = None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._entropy = entropy
        self._telemetry = telemetry
        self._ceilings = ceilings
        self._runtimes = runtimes
        self._freshness = freshness

    @property
    def bundle_sha256(self) -> Sha256:
        """Digest of the bundle that decides now."""
        return self._engine.bundle_sha256

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Give the order of isolation that is decided by, the weakest first."""
        return self._runtimes

    async def ask(self, case: Case) -> Judgement:
        """Evaluate policy on a case."""
        now = self._clock.now()
        asked = self._seal(DocumentKind.POLICY_INPUT, self._input(case, now))
        begun_s = self._clock.monotonic_s()
        by: PolicyAnswer | _Asked = self._active()
        try:
            if self._freshness is not None:
                self._freshness.check()
            by = answer = await self._engine.evaluate(asked.body_text)
            decision = read_decision(answer.output, case.tool.tool.limits, self._runtimes)
            _check_labels(decision, case.labels)
            obligations = self._obligations(case.tool, decision)
            judgement = self._judgement(asked, decision, obligations, now, by, case.labels)
        except PolicyError as error:
            self._telemetry.alarm("policy gave no decision", error)
            decision = denial(error.rule, error.message, _NO_DECISION, severity="high")
            judgement = self._judgement(asked, decision, None, now, by, case.labels)
        self._telemetry.decided(self._engine.name, self._clock.monotonic_s() - begun_s)
        return judgement

    def refuse(self, rule: str, message: str, tool: str) -> Judgement:
        """Deny a call without asking policy; a note of the tool stands for the policy input."""
        asked = self._seal(DocumentKind.POLICY_INPUT, {"schema": _REFUSAL, "tool": tool})
        return self._judgement(
            asked, denial(rule, message, message), None, self._clock.now(), self._active()
        )

    def overrule(self, judgement: Judgement, rule: str, message: str) -> Judgement:
        """Turn a judgement into a denial of the broker's own, keeping what policy was shown."""
        asked, _ = judgement.documents
        by = judgement.evaluation
        refusal, now = denial(rule, message, message), self._clock.now()
        return self._judgement(asked, refusal, None, now, by, judgement.labels_seen)

    def _input(self, case: Case, now: datetime) -> JsonObject:
        return policy_input(
            call=case.call,
            now=now,
            identity=case.identity,
            session=PolicySession(id=case.session_id, labels=case.labels, purpose=case.purpose),
            tool=case.tool.for_policy,
            arguments=case.arguments,
            arguments_sha256=case.arguments_sha256,
            tree_sha256=case.tree.sha256,
            paths=tuple(case.tree.files),
            history=case.history,
            runtimes=self._runtimes,
        )

    def _active(self) -> _Asked:
        engine = self._engine
        return _Asked(bundle_sha256=engine.bundle_sha256, bundle_revision=engine.bundle_revision)

    def _obligations(self, tool: BoundTool, decision: Decision) -> Obligations | None:
        """Clamp what policy allows.

        Raises:
            PolicyInvalid: It names a runtime of unknown isolation.
        """
        if decision.effect is Effect.DENY:
            return None
        return clamp(decision, tool.obligations, self._ceilings, self._runtimes)

    def _judgement(
        self,
        asked: Document,
        decision: Decision,
        obligations: Obligations | None,
        now: datetime,
        by: PolicyAnswer | Evaluation | _Asked,
        labels_seen: frozenset[str] = frozenset(),
    ) -> Judgement:
        """Put a decision beside the document that it answers.

        Raises:
            PolicyInvalid: It cannot be written down.
        """
        try:
            answered = self._seal(DocumentKind.DECISION, decision.output)
        except CanonicalError as error:
            # What a package on trial would list is unchecked: it may be what JSON cannot say.
            raise PolicyInvalid(f"policy's answer cannot be recorded: {error.message}") from error
        return Judgement(
            decision=decision,
            obligations=obligations,
            evaluation=Evaluation(
                at=now,
                effect=decision.effect,
                policy_input_sha256=asked.sha256,
                decision_sha256=answered.sha256,
                bundle_sha256=by.bundle_sha256,
                bundle_revision=by.bundle_revision,
                engine=self._engine.name,
                risk=decision.risk,
                rule=decision.reasons[0].rule,
                labels=decision.labels,
                label_version=len(labels_seen),
            ),
            labels_seen=labels_seen,
            documents=(asked, answered),
        )

    def _seal(self, kind: DocumentKind, body: JsonObject) -> Document:
        return Document.seal(kind, body, salt=self._entropy.random_bytes(SALT_BYTES))


def _check_labels(decision: Decision, held: frozenset[str]) -> None:
    """Refuse a call that would take its agent over the labels that one may have.

    Raises:
        PolicyInvalid: Policy, which sees all of an agent's labels, would be shown ever more.
    """
    new = set(decision.labels) - held
    if decision.effect is not Effect.DENY and new and len(held) + len(new) > MOST_LABELS:
        raise PolicyInvalid(
            f"with {', '.join(sorted(new))} the agent would have more than {MOST_LABELS} labels: "
            "label by kinds of content, of which there are few"
        )
