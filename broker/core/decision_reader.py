"""Read policy's output, strictly: what is not a whole decision is no decision."""

from collections.abc import Mapping, Sequence
from typing import Final

from broker.core.canonical import JsonObject, JsonValue
from broker.core.decision import (
    LIMIT_NAMES,
    RUNTIMES,
    Approval,
    Decision,
    Effect,
    Limits,
    Mode,
    Obligations,
    OwnRules,
    Reason,
    Requirement,
    Trial,
)
from broker.core.destination import read_destination
from broker.core.label import is_label
from broker.errors import PolicyInvalid

_FIELDS: Final = frozenset({"effect", "reasons", "risk", "obligations", "labels"})
_OPTIONAL: Final = frozenset({"approval", "trials"})
_TRIAL: Final = frozenset({"package", "mode", "rules", "would_be"})
_OWN_RULES: Final = frozenset({"allow", "hold", "deny"})
_REASON: Final = frozenset({"rule", "message", "agent_message", "severity"})
_OBLIGATIONS: Final = frozenset({"runtime", "limits", "egress", "secrets", "redact"})
_APPROVAL: Final = frozenset({"requirements", "decide_within_s", "run_within_s"})
_REQUIREMENT: Final = frozenset({"group", "count"})
_SEVERITIES: Final = frozenset({"low", "medium", "high", "critical"})
_EFFECTS: Final = {effect.value: effect for effect in Effect}
_MODES: Final = {mode.value: mode for mode in Mode}
_LARGEST: Final = 2**53 - 1
_MOST_VOTES: Final = 100
# A call can be held three times, and all its votes stand in one receipt of at most 64 KiB.
_MOST_VOTES_IN_ALL: Final = 50
_LONGEST_S: Final = 366 * 86_400


def read_decision(output: JsonValue, tool: Limits, runtimes: Sequence[str] = RUNTIMES) -> Decision:
    """Check every field of policy's output.

    Args:
        output: Value of the entry point, as schema `broker.decision/v1`.
        tool: The tool's own limits, which stand where policy sets none.
        runtimes: Those that have a place in the order of isolation.

    Raises:
        PolicyInvalid: Names the field.
    """
    fields = _object(output, "result", _FIELDS, optional=_OPTIONAL)
    effect = _effect(fields["effect"])
    if ("approval" in fields) != (effect is Effect.HOLD):
        raise _invalid("approval", "stands if and only if the effect is hold")
    return Decision(
        effect=effect,
        reasons=_reasons(fields["reasons"]),
        risk=_integer(fields["risk"], "risk", least=0, most=100),
        obligations=_obligations(fields["obligations"], tool, runtimes),
        approval=_approval(fields["approval"]) if effect is Effect.HOLD else None,
        labels=_labels(fields["labels"]),
        trials=read_trials(fields),
        output=fields,
    )


def read_trials(output: JsonObject) -> tuple[Trial, ...]:
    """Check what packages on trial would have made of a decision; none where it names none.

    Only what the broker's own rules write of it: what a package contributed to obligations,
    approval or labels stays unchecked, or a package on trial could make the decision none.

    Args:
        output: Value of the entry point, or the body of a decision document.

    Raises:
        PolicyInvalid: Names the field.
    """
    if "trials" not in output:
        return ()
    trials = tuple(
        _trial(item, f"trials/{index}")
        for index, item in enumerate(_list(output["trials"], "trials"))
    )
    if not trials or len({trial.package for trial in trials}) != len(trials):
        raise _invalid("trials", "names one package at least, and none twice")
    return trials


def read_effect(output: JsonObject) -> Effect:
    """Read the effect of a decision, of whose other fields nothing is asked.

    Raises:
        PolicyInvalid: It is none.
    """
    return _effect(output.get("effect"))


def read_reasons(output: JsonObject) -> tuple[Reason, ...]:
    """Read the reasons of a decision, of whose other fields nothing is asked.

    Raises:
        PolicyInvalid: Names the field.
    """
    return _reasons(output.get("reasons"))


def _trial(value: JsonValue, path: str) -> Trial:
    fields = _object(value, path, _TRIAL)
    mode = _MODES.get(fields["mode"]) if isinstance(fields["mode"], str) else None
    if mode is None:
        raise _invalid(f"{path}/mode", "is warn or shadow")
    rules = _object(fields["rules"], f"{path}/rules", _OWN_RULES)
    would_be = _object(
        fields["would_be"], f"{path}/would_be", _FIELDS, optional=frozenset({"approval"})
    )
    return Trial(
        package=_name(fields["package"], f"{path}/package"),
        mode=mode,
        rules=OwnRules(**{kind: _names(rules[kind], f"{path}/rules") for kind in _OWN_RULES}),
        effect=_effect(would_be["effect"]),
        reasons=_reasons(would_be["reasons"]),
        would_be=would_be,
    )


def _effect(value: JsonValue) -> Effect:
    effect = _EFFECTS.get(value) if isinstance(value, str) else None
    if effect is None:
        raise _invalid("effect", "is allow, hold or deny")
    return effect


def _reasons(value: JsonValue) -> tuple[Reason, ...]:
    reasons = tuple(
        _reason(item, f"reasons/{index}") for index, item in enumerate(_list(value, "reasons"))
    )
    if not reasons:
        raise _invalid("reasons", "has at least one entry")
    return reasons


def _reason(value: JsonValue, path: str) -> Reason:
    fields = _object(value, path, _REASON)
    severity = _name(fields["severity"], f"{path}/severity")
    if severity not in _SEVERITIES:
        raise _invalid(f"{path}/severity", "is low, medium, high or critical")
    return Reason(
        rule=_name(fields["rule"], f"{path}/rule"),
        message=_name(fields["message"], f"{path}/message"),
        agent_message=_name(fields["agent_message"], f"{path}/agent_message"),
        severity=severity,
    )


def _obligations(value: JsonValue, tool: Limits, runtimes: Sequence[str]) -> Obligations:
    fields = _object(value, "obligations", _OBLIGATIONS)
    runtime = fields["runtime"]
    if not isinstance(runtime, str) or runtime not in runtimes:
        raise _invalid("obligations/runtime", f"is one of {', '.join(runtimes)}")
    redact = _names(fields["redact"], "obligations/redact")
    for pointer in redact:
        if not f"{pointer}/".startswith(("/arguments/", "/result/")):
            raise _invalid("obligations/redact", "points into /arguments or /result")
    return Obligations(
        runtime=runtime,
        limits=_limits(fields["limits"], tool),
        egress=_places(fields["egress"], "obligations/egress"),
        secrets=_names(fields["secrets"], "obligations/secrets"),
        redact=redact,
    )


def _places(value: JsonValue, path: str) -> tuple[str, ...]:
    places = _names(value, path)
    for place in places:
        try:
            normal = str(read_destination(place))
        except ValueError as error:
            raise _invalid(path, "lists host:port") from error
        if normal != place:
            raise _invalid(path, "lists hosts in lower case, without a final dot, as A-labels")
    return places


def _labels(value: JsonValue) -> tuple[str, ...]:
    labels = _names(value, "labels")
    if not all(map(is_label, labels)):
        raise _invalid("labels", "are words of at most 64 of a-z, 0-9, `_`, `.`, `:`, `-`")
    return labels


def _limits(value: JsonValue, tool: Limits) -> Limits:
    known = frozenset(LIMIT_NAMES)
    fields = _object(value, "obligations/limits", frozenset(), optional=known)
    asked = {name: _integer(limit, f"obligations/limits/{name}") for name, limit in fields.items()}
    return Limits(**{**tool.by_name(), **asked})


def _approval(value: JsonValue) -> Approval:
    fields = _object(value, "approval", _APPROVAL)
    requirements = tuple(
        _requirement(item, f"approval/requirements/{index}")
        for index, item in enumerate(_list(fields["requirements"], "approval/requirements"))
    )
    if not requirements:
        raise _invalid("approval/requirements", "has at least one entry")
    if sum(requirement.count for requirement in requirements) > _MOST_VOTES_IN_ALL:
        raise _invalid(
            "approval/requirements", f"asks for at most {_MOST_VOTES_IN_ALL} votes in all"
        )
    return Approval(
        requirements=requirements,
        decide_within_s=_clock(fields["decide_within_s"], "approval/decide_within_s"),
        run_within_s=_clock(fields["run_within_s"], "approval/run_within_s"),
    )


def _requirement(value: JsonValue, path: str) -> Requirement:
    fields = _object(value, path, _REQUIREMENT)
    group = fields["group"]
    if not isinstance(group, str):
        raise _invalid(f"{path}/group", "is a string")
    count = _integer(fields["count"], f"{path}/count", most=_MOST_VOTES)
    return Requirement(group=group, count=count)


def _clock(value: JsonValue, path: str) -> int:
    # What no calendar holds would be no denial but a fault, when the hold is opened or approved.
    return _integer(value, path, most=_LONGEST_S)


def _object(
    value: JsonValue, path: str, wanted: frozenset[str], optional: frozenset[str] = frozenset()
) -> JsonObject:
    if not isinstance(value, Mapping):
        raise _invalid(path, "is an object")
    if missing := wanted - value.keys():
        raise _invalid(path, f"lacks {', '.join(sorted(missing))}")
    if unknown := value.keys() - wanted - optional:
        raise _invalid(path, f"has unknown fields: {', '.join(sorted(map(repr, unknown)))}")
    return value


def _list(value: JsonValue, path: str) -> list[JsonValue]:
    if not isinstance(value, list):
        raise _invalid(path, "is a list")
    return value


def _names(value: JsonValue, path: str) -> tuple[str, ...]:
    names = tuple(_name(item, path) for item in _list(value, path))
    if len(set(names)) != len(names):
        raise _invalid(path, "lists nothing twice")
    return names


def _name(value: JsonValue, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise _invalid(path, "is a text that is not empty")
    return value


def _integer(value: JsonValue, path: str, *, least: int = 1, most: int = _LARGEST) -> int:
    # bool is an int in Python, NaN and 1.5 are floats: type() lets none of them pass.
    if type(value) is not int or not least <= value <= most:
        raise _invalid(path, f"is an integer from {least} to {most}")
    return value


def _invalid(path: str, rule: str) -> PolicyInvalid:
    return PolicyInvalid(f"policy's answer is not a decision: {path} {rule}")
