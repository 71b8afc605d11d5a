"""Compare what is enforced with what packages on trial would have made of it."""

from collections.abc import Iterator, Mapping
from typing import Final

from broker.core.canonical import JsonObject, JsonValue, canonical_json
from broker.core.decision import Effect, Mode, Reason, Trial
from broker.core.decision_reader import read_effect, read_reasons, read_trials

_STRICTNESS: Final = {Effect.ALLOW: 0, Effect.HOLD: 1, Effect.DENY: 2}


def enforced_part(output: JsonObject) -> JsonObject:
    """Leave out what packages on trial would have made of a decision."""
    return {name: value for name, value in output.items() if name != "trials"}


def warnings(output: JsonObject) -> list[Reason]:
    """List what an agent is warned of: why packages in mode warn would deny or hold its call.

    Each package's own reasons alone, where it would not loosen and no enforced rule says the same;
    nothing of packages in mode shadow. What the broker says of a broken package is not for agents.

    Args:
        output: Of the entry point, or the body of a decision document.
    """
    if "trials" not in output:
        return []
    effect, reasons = read_effect(output), read_reasons(output)
    found: dict[Reason, None] = {}
    for trial in read_trials(output):
        if trial.mode is Mode.WARN and _STRICTNESS[trial.effect] >= _STRICTNESS[effect]:
            found |= dict.fromkeys(reason for reason in _refusals(trial) if reason not in reasons)
    return list(found)


def _refusals(trial: Trial) -> Iterator[Reason]:
    own = {
        Effect.ALLOW: (),
        Effect.HOLD: trial.rules.hold,
        Effect.DENY: trial.rules.deny,
    }[trial.effect]
    return (reason for reason in trial.reasons if reason.rule in own)


def changes(output: JsonObject, would_be: JsonObject) -> list[str]:
    """Say a line each which fields of a decision would be others, effect and reasons apart."""
    was, new = dict(_flat(output)), dict(_flat(would_be))
    return [
        f"{name}: {_text(was.get(name))} would be {_text(new.get(name))}"
        for name in sorted({*was, *new})
        if was.get(name) != new.get(name)
    ]


def _flat(output: JsonObject) -> Iterator[tuple[str, JsonValue]]:
    for group in ("obligations", "approval"):
        fields = output.get(group)
        if isinstance(fields, Mapping):
            yield from ((f"{group}.{name}", value) for name, value in fields.items())
    yield "labels", output.get("labels")


def _text(value: JsonValue) -> str:
    return "nothing" if value is None else canonical_json(value).decode()
