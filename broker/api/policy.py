"""Serve the security team's API."""

from broker.activation import Activation, Activator
from broker.api.edge import Context
from broker.api.freshness import confirmed, freshness_value
from broker.api.identity import caller
from broker.api.wire import timestamp
from broker.core.document import Document
from broker.core.rule_index import RuleSource
from broker.core.team_modes import team_modes
from broker.explain import ExplainedReason, ExplainedTrial, Explainer, Explanation
from broker.freshness import PolicyFreshness
from broker.ports import PolicyEngine
from broker.v1 import call_pb2, policy_pb2, policy_pb2_grpc


class PolicyService(policy_pb2_grpc.PolicyServiceServicer):
    """Show which policy decides, let another decide, say why it decided as it did."""

    def __init__(
        self,
        explainer: Explainer,
        engine: PolicyEngine,
        activation: Activation,
        freshness: PolicyFreshness | None = None,
    ) -> None:
        self._explainer = explainer
        self._engine = engine
        self._activation = activation
        self._freshness = freshness

    async def GetPolicy(  # noqa: N802
        self, request: policy_pb2.GetPolicyRequest, context: Context
    ) -> policy_pb2.GetPolicyResponse:
        """Show the active policy with its rules."""
        return policy_pb2.GetPolicyResponse(
            revision=self._engine.bundle_revision,
            bundle_sha256=self._engine.bundle_sha256,
            engine=self._engine.name,
            rules=map(_rule, self._explainer.rules),
            modes=team_modes(self._explainer.bundle.rego, self._explainer.bundle.data),
            number=self._explainer.bundle.number,
            bundle_source=self._freshness.source if self._freshness else "",
            freshness=freshness_value(self._freshness),
            confirmed_at=confirmed(self._freshness),
        )

    async def ActivateBundle(  # noqa: N802
        self, request: policy_pb2.ActivateBundleRequest, context: Context
    ) -> policy_pb2.ActivateBundleResponse:
        """Let another bundle decide."""
        by = Activator(identity=caller().id)
        done = await self._activation.activate(request.bundle, by=by)
        return policy_pb2.ActivateBundleResponse(
            revision=done.revision,
            number=done.number,
            bundle_sha256=done.sha256,
            is_new=done.is_new,
            previous_revision=done.previous_revision,
            previous_number=done.previous_number,
            previous_sha256=done.previous_sha256,
        )

    async def ExplainCall(  # noqa: N802
        self, request: policy_pb2.ExplainCallRequest, context: Context
    ) -> policy_pb2.ExplainCallResponse:
        """Say which rules decided a call."""
        call, explanations = await self._explainer.explain(caller(), request.call)
        return policy_pb2.ExplainCallResponse(
            call=call.name, explanations=map(_explanation, explanations)
        )


def _explanation(found: Explanation) -> policy_pb2.Explanation:
    evaluation = found.evaluation
    return policy_pb2.Explanation(
        at=timestamp(evaluation.at),
        effect=call_pb2.Effect.Value(f"EFFECT_{evaluation.effect.value.upper()}"),
        reasons=map(_reason, found.reasons),
        requirements=[
            call_pb2.Requirement(group=requirement.group, count=requirement.count)
            for requirement in found.requirements
        ],
        remedies=found.remedies,
        policy_revision=evaluation.bundle_revision,
        bundle_sha256=evaluation.bundle_sha256,
        is_active_bundle=found.is_active_bundle,
        engine=evaluation.engine,
        policy_input_document=_text(found.asked),
        decision_document=_text(found.answered),
        trials=map(_trial, found.trials),
    )


def _trial(found: ExplainedTrial) -> policy_pb2.Trial:
    trial = found.trial
    return policy_pb2.Trial(
        package=trial.package,
        mode=trial.mode.value,
        effect=call_pb2.Effect.Value(f"EFFECT_{trial.effect.value.upper()}"),
        reasons=map(_reason, found.reasons),
        own_rules=[*trial.rules.deny, *trial.rules.hold, *trial.rules.allow],
        changes=found.changes,
    )


def _reason(reason: ExplainedReason) -> policy_pb2.ExplainedReason:
    return policy_pb2.ExplainedReason(
        rule=reason.rule,
        severity=reason.severity,
        message=reason.message,
        agent_message=reason.agent_message,
        source=_rule(reason.source) if reason.source else None,
        also_at=map(_rule, reason.also_at),
    )


def _rule(rule: RuleSource) -> policy_pb2.PolicyRule:
    return policy_pb2.PolicyRule(
        rule=rule.rule,
        package=rule.package,
        file=rule.file,
        line=rule.line,
        head=rule.head,
        title=rule.title,
        description=rule.description,
        controls=rule.controls,
        used_at=rule.used_at,
    )


def _text(document: Document | None) -> str:
    return document.text.decode() if document else ""
