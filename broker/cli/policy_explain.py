"""`toolwarrant policy explain`: say why policy decided a call as it did."""

from broker.cli.calls import CallArgument
from broker.cli.documents import enum_name, plain, time_text
from broker.cli.options import AddressOption, AsOption, ConfigOption, Output, OutputOption, connect
from broker.cli.terminal import document, lines, note, say
from broker.v1 import call_pb2, policy_pb2

_POLICY = "policy"


def explain_call(
    call: CallArgument,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say which rules decided a call, and where they stand.

    Says what would have to be different, too. For auditors and the security team. With -o json,
    policy's input and answer come along in their exact text.
    """
    with connect(config, identity or _POLICY, address) as broker:
        found = broker.explain(call)
    if output is Output.JSON:
        document(plain(found))
        return
    say(lines(found.call))
    for explanation in found.explanations:
        _tell(explanation)


def _tell(found: policy_pb2.Explanation) -> None:
    effect = enum_name(call_pb2.Effect.DESCRIPTOR, found.effect).lower()
    say(lines(f"{time_text(found.at)}  {effect}  by {found.policy_revision} ({found.engine})"))
    for reason in found.reasons:
        _tell_reason(reason)
    if found.remedies:
        say("  what would have to be different:")
    for remedy in found.remedies:
        say(lines(f"    - {remedy}"))
    for trial in found.trials:
        _tell_trial(trial)
    if not found.decision_document:
        note("  policy's answer was erased, so no reason can be given")
    elif not found.is_active_bundle:
        note("  decided by another bundle than the active one: places may have moved")


def _tell_trial(trial: policy_pb2.Trial) -> None:
    effect = enum_name(call_pb2.Effect.DESCRIPTOR, trial.effect).lower()
    own = ", ".join(trial.own_rules) or "none"
    say(lines(f"  on trial: {trial.package} ({trial.mode}) would make it {effect}"))
    say(lines(f"    its own rules that apply: {own}"))
    for reason in trial.reasons:
        if reason.rule in trial.own_rules:
            _tell_reason(reason)
    for change in trial.changes:
        say(lines(f"    {change}"))


def _tell_reason(reason: policy_pb2.ExplainedReason) -> None:
    say(lines(f"  {reason.rule} [{reason.severity}]: {reason.message}"))
    if reason.HasField("source"):
        _tell_source(reason.source)
    for other in reason.also_at:
        _tell_source(other)


def _tell_source(rule: policy_pb2.PolicyRule) -> None:
    title = f"  {rule.title}" if rule.title else ""
    say(lines(f"    {rule.file}:{rule.line} ({rule.package}, {rule.head}){title}"))
    if rule.used_at:
        say(lines(f"    used at {', '.join(rule.used_at)}"))
    if rule.controls:
        say(lines(f"    controls: {', '.join(rule.controls)}"))
