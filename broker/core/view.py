"""Show a held call to its reviewer as plain text.

Theory of operation. The reviewer decides on this text alone, so it is complete: nothing is cut or
summed up. What others wrote passes `visible`, and stands on lines that begin with `| `; the
headings, which do not, are the broker's, so that no argument can draw a heading. A text of several
lines is shown line by line, each behind one more mark, `> `, which no other line carries: an
argument cannot draw another argument either. Every step can be undone, hence two different calls
never have the same view.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.core.call import InputFile
from broker.core.canonical import JsonObject, JsonValue, canonical_json
from broker.core.decision import Decision, Obligations
from broker.core.ids import AgentId, CallId, Sha256
from broker.core.instant import rfc3339
from broker.core.visible import visible

_MARK = "| "
_NONE = "(none)"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCall:
    """Everything that a reviewer is shown.

    Args:
        owner: The human who answers for the agent; empty where nobody is named.
        session_labels: What the agent is labelled with, in this session as in each of its others.
        purpose: In the agent's words; empty where it gave none.
        arguments: As parsed from their canonical text.
        inputs: Files that arguments name (`from_output`).
        workspace_paths: The whole tree that the call will see.
        obligations: As they will be enforced, after the broker's clamp.
    """

    call: CallId
    short_id: str
    hold_number: int
    tool: str
    tool_version: str
    tool_sha256: Sha256 | None
    image: str
    agent: AgentId
    owner: str
    session_id: str
    session_labels: tuple[str, ...]
    purpose: str
    arguments: JsonObject
    arguments_sha256: Sha256
    inputs: tuple[InputFile, ...]
    workspace_sha256: Sha256
    workspace_paths: tuple[str, ...]
    decision: Decision
    obligations: Obligations
    policy_revision: str
    received_at: datetime
    decide_by: datetime

    def __post_init__(self) -> None:
        if self.decision.approval is None:
            raise ValueError("only a decision that asks for approval has a view")


def render_view(held: HeldCall) -> tuple[str, JsonObject]:
    """Make the text to read, with the body of the VIEW document that it stands in."""
    text = "".join(f"{line}\n" for line in _lines(held))
    return text, {"text": text, **_facts(held)}


def _lines(held: HeldCall) -> Iterator[str]:
    yield "A HELD CALL WAITS FOR YOUR DECISION"
    yield 'Lines that begin with "|" are facts or what others wrote; \\u{..} escapes a character.'
    yield from _section("CALL", _fields(_call_facts(held)))
    yield from _section(
        "LABELS (of what its agent was given so far)", map(_quoted, held.session_labels)
    )
    yield from _section("PURPOSE (the agent's own claim)", _text(held.purpose))
    yield from _section("ARGUMENTS (complete)", _value(held.arguments, "", ""))
    yield from _section("INPUT FILES", map(_input_line, held.inputs))
    yield from _section(
        f"WORKSPACE ({len(held.workspace_paths)} files)", map(_quoted, held.workspace_paths)
    )
    yield from _section("POLICY SAID", _decision_lines(held))
    yield from _section("IT WOULD RUN UNDER", _obligation_lines(held.obligations))
    yield from _section("APPROVAL NEEDS", _approval_lines(held))
    yield ""
    yield "END OF THE VIEW"


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield ""
    yield title
    empty = True
    for line in lines:
        empty = False
        yield _MARK + line
    if empty:
        yield _MARK + _NONE


def _fields(facts: Mapping[str, str]) -> Iterator[str]:
    for name, value in facts.items():
        yield f"{name}: {visible(value) or _NONE}"


def _call_facts(held: HeldCall) -> dict[str, str]:
    return {
        "call": f"calls/{held.call}",
        "short id": held.short_id,
        "hold": str(held.hold_number),
        "tool": f"{held.tool} {held.tool_version}",
        "definition SHA-256": held.tool_sha256 or "",
        "image": held.image,
        "agent": held.agent,
        "owner": held.owner,
        "session": held.session_id,
        "received": rfc3339(held.received_at),
        "arguments SHA-256": held.arguments_sha256,
        "workspace SHA-256": held.workspace_sha256,
    }


def _text(text: str) -> Iterator[str]:
    if text:
        yield from (f"> {visible(line)}" for line in text.split("\n"))


def _value(value: JsonValue, indent: str, name: str, end: str = "") -> Iterator[str]:
    """Write a JSON value as its pretty-printed text, but lines of long texts as lines."""
    if isinstance(value, str) and "\n" in value:
        lines = value.split("\n")
        yield f"{indent}{name}text of {len(lines)} lines{end}"
        yield from (f"{indent}  > {visible(line)}" for line in lines)
    elif isinstance(value, Mapping) and value:
        yield f"{indent}{name}{{"
        for place, key in enumerate(sorted(value), start=1):
            comma = "," if place < len(value) else ""
            yield from _value(value[key], f"{indent}  ", f"{_quoted(key)}: ", comma)
        yield f"{indent}}}{end}"
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        yield f"{indent}{name}["
        for place, item in enumerate(value, start=1):
            yield from _value(item, f"{indent}  ", "", "," if place < len(value) else "")
        yield f"{indent}]{end}"
    else:
        yield f"{indent}{name}{_quoted(value)}{end}"


def _quoted(value: JsonValue) -> str:
    if isinstance(value, str):
        return visible(json.dumps(value, ensure_ascii=False))
    return canonical_json(value).decode()


def _input_line(file: InputFile) -> str:
    return f"{_quoted(file.argument)}: {file.size_bytes} bytes, SHA-256 {file.sha256}"


def _decision_lines(held: HeldCall) -> Iterator[str]:
    decision = held.decision
    yield from _fields(
        {
            "effect": decision.effect.value,
            "risk": f"{decision.risk} of 100",
            "revision": held.policy_revision,
        }
    )
    for reason in decision.reasons:
        yield f"rule {visible(reason.rule)}, severity {visible(reason.severity)}"
        yield from (f"  {line}" for line in _text(reason.message))
    for label in decision.labels:
        yield f"label for its agent: {_quoted(label)}"


def _obligation_lines(obligations: Obligations) -> Iterator[str]:
    yield f"runtime: {visible(obligations.runtime)}"
    yield from (f"{name}: {limit}" for name, limit in obligations.limits.by_name().items())
    for name, entries in (
        ("egress", obligations.egress),
        ("secret", obligations.secrets),
        ("redact", obligations.redact),
    ):
        yield f"{name}: {_NONE if not entries else len(entries)}"
        yield from (f"  {_quoted(entry)}" for entry in entries)


def _approval_lines(held: HeldCall) -> Iterator[str]:
    approval = held.decision.approval
    if approval is None:
        return
    for requirement in approval.requirements:
        group = requirement.group
        of_whom = f"of group {_quoted(group)}" if group else "of all who are eligible"
        yield f"{requirement.count} {of_whom}"
    yield f"decide by: {rfc3339(held.decide_by)}"
    yield f"then run within: {approval.run_within_s} s"


def _facts(held: HeldCall) -> dict[str, JsonValue]:
    """Give the same facts to programs."""
    decision, approval = held.decision, held.decision.approval
    limits = held.obligations.limits.by_name()
    return {
        "call": f"calls/{held.call}",
        "short_id": held.short_id,
        "hold_number": held.hold_number,
        "tool": held.tool,
        "tool_version": held.tool_version,
        "tool_sha256": held.tool_sha256,
        "image": held.image,
        "agent": held.agent,
        "owner": held.owner,
        "session_id": held.session_id,
        "session_labels": list(held.session_labels),
        "purpose": held.purpose,
        "arguments": held.arguments,
        "arguments_sha256": held.arguments_sha256,
        "inputs": [
            {"argument": file.argument, "sha256": file.sha256, "size_bytes": str(file.size_bytes)}
            for file in held.inputs
        ],
        "workspace_sha256": held.workspace_sha256,
        "workspace_paths": list(held.workspace_paths),
        "policy": {
            "effect": decision.effect.value,
            "risk": decision.risk,
            "revision": held.policy_revision,
            "labels": list(decision.labels),
            "reasons": [
                {"rule": reason.rule, "message": reason.message, "severity": reason.severity}
                for reason in decision.reasons
            ],
        },
        "obligations": {
            "runtime": held.obligations.runtime,
            "limits": {name: str(limit) for name, limit in limits.items()},
            "egress": list(held.obligations.egress),
            "secrets": list(held.obligations.secrets),
            "redact": list(held.obligations.redact),
        },
        "approval": {
            "requirements": [
                {"group": requirement.group, "count": requirement.count}
                for requirement in (approval.requirements if approval else ())
            ],
            "run_within_s": approval.run_within_s if approval else None,
        },
        "received_at": rfc3339(held.received_at),
        "decide_by": rfc3339(held.decide_by),
    }
