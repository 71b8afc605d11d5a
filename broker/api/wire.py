"""Write what the broker knows as protobuf messages."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf import duration_pb2, timestamp_pb2

from broker.answer import Answer
from broker.core.call import Call, Cause, Hold, Usage, Verdict
from broker.core.canonical import JsonObject, JsonValue
from broker.core.decision import Reason
from broker.core.lifecycle import CallState
from broker.core.trial import warnings
from broker.errors import InvalidArgument
from broker.v1 import call_pb2

PAGE = 50
PAGE_MOST = 200
# What google.protobuf.Duration may hold.
_DURATION_MOST_S = 315_576_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_NEXT = {
    CallState.HELD: "waits for people; WaitCall tells when it is decided",
    CallState.QUEUED: "waits for a sandbox; WaitCall tells when it has ended",
    CallState.RUNNING: "is running; WaitCall tells when it has ended",
    CallState.FAILED: "it failed: see cause, exit_code, stderr, notes",
    CallState.DENIED: "policy refused it: see decision.reasons",
    CallState.REJECTED: "a reviewer refused it",
    CallState.EXPIRED: "its time to begin passed; it did not run: call again",
    CallState.TIMED_OUT: "its running time was over: ask for less work, or a longer timeout",
    CallState.KILLED: "it was ended while it ran: see cause",
    CallState.INTERRUPTED: "it began, its outcome is unknown: check what it did before you retry",
    CallState.SANDBOX_ERROR: "no sandbox could be had; it did not run: call again later",
}

_NO_RUNTIME = (
    "it needs a runtime that this broker's Engine does not have; it did not run: tell the operator"
)
_UNREADABLE = (
    "a secret that the tool needs cannot be read; it did not run: tell the broker's operator, then "
    "call again"
)
_HALTED = "an operator has halted it: it waits, and goes on or expires by itself"
_CUT_OFF = (
    "the broker was stopped while it ran, and ended it: check what it did before you call again"
)
_RESTORED = (
    "the broker's store was put back from a backup, since which it may have run: check what it did "
    "before you call again"
)
_KILLED_BY_HALT = "an operator halted it while it ran: check what it did before you call again"


def call_message(answer: Answer, *, content: bool = True) -> call_pb2.Call:
    """Write a call.

    Args:
        content: Whether the reader may see the result with the receipt.
    """
    call = answer.call
    message = call_pb2.Call(
        name=call.name,
        short_id=call.short_id,
        state=call_pb2.CallState.Value(f"CALL_STATE_{call.state.value}"),
        tool=call.tool,
        tool_version=call.tool_version,
        image_digest=call.image,
        arguments_sha256=_text(answer.request, "arguments_sha256"),
        agent=call.agent,
        session_id=call.session_id,
        request_id=call.request_id,
        parent_call=f"calls/{call.parent}" if call.parent else "",
        decision=decision_message(call, answer.decision),
        hold=_hold(call.hold) if call.hold else None,
        usage=_usage(call.usage) if call.usage else None,
        cause=call.cause.value if call.cause else "",
        received_at=timestamp(call.received_at),
        decided_at=timestamp(call.evaluations[-1].at),
        queued_at=timestamp(call.queued_at),
        started_at=timestamp(call.started_at),
        ended_at=timestamp(call.ended_at),
        start_by=timestamp(call.start_by),
        message=_next(answer),
        halted=answer.is_halted,
    )
    if content and answer.result is not None:
        message.result.CopyFrom(_result(answer.result))
    if content and answer.receipt is not None:
        message.receipt = answer.receipt.decode()
    return message


def _next(answer: Answer) -> str:
    if answer.is_halted:
        return _HALTED
    if answer.call.cause is Cause.HALTED:
        return _KILLED_BY_HALT
    if answer.call.cause is Cause.BROKER_STOPPED:
        return _CUT_OFF
    if answer.call.cause is Cause.STORE_RESTORED:
        return _RESTORED
    if answer.call.cause is Cause.SECRET_UNAVAILABLE:
        return _UNREADABLE
    if answer.call.cause is Cause.RUNTIME_MISSING:
        return _NO_RUNTIME
    return _NEXT.get(answer.call.state, "")


def decision_message(call: Call, decision: JsonObject | None) -> call_pb2.Decision:
    """Write the last answer of policy as the agent may know it."""
    last = call.evaluations[-1]
    return effect_message(last.effect.value, last.bundle_revision, decision)


def effect_message(effect: str, revision: str, decision: JsonObject | None) -> call_pb2.Decision:
    """Write a decision from its document."""
    return call_pb2.Decision(
        effect=call_pb2.Effect.Value(f"EFFECT_{effect.upper()}"),
        policy_revision=revision,
        reasons=[
            call_pb2.Reason(
                rule=_text(reason, "rule"),
                agent_message=_text(reason, "agent_message"),
                severity=_text(reason, "severity"),
            )
            for reason in _objects(decision, "reasons")
        ],
        warnings=map(_warning, warnings(decision) if decision else ()),
    )


def _warning(reason: Reason) -> call_pb2.Reason:
    return call_pb2.Reason(
        rule=reason.rule, agent_message=reason.agent_message, severity=reason.severity
    )


def _hold(hold: Hold) -> call_pb2.Hold:
    return call_pb2.Hold(
        number=hold.number,
        opened_at=timestamp(hold.opened_at),
        decide_by=timestamp(hold.decide_by),
        run_by=timestamp(hold.run_by),
        requirements=[
            call_pb2.Requirement(group=requirement.group, count=requirement.count)
            for requirement in hold.requirements
        ],
        approvals=sum(vote.verdict is Verdict.APPROVE for vote in hold.votes),
    )


def _usage(usage: Usage) -> call_pb2.Usage:
    return call_pb2.Usage(
        wall_ms=usage.wall_ms,
        cpu_ms=usage.cpu_ms,
        max_memory_bytes=usage.max_memory_bytes,
        max_pids=usage.max_pids,
        files_bytes=usage.files_bytes,
    )


def _result(result: JsonObject) -> call_pb2.Result:
    stdout, stderr = _object(result, "stdout"), _object(result, "stderr")
    code = result.get("exit_code")
    return call_pb2.Result(
        exit_code=code if isinstance(code, int) else None,
        stdout_text=_text(stdout, "text"),
        stdout=base64.b64decode(_text(stdout, "base64")),
        stderr_text=_text(stderr, "text"),
        stderr=base64.b64decode(_text(stderr, "base64")),
        stdout_size_bytes=_number(stdout, "size_bytes"),
        stderr_size_bytes=_number(stderr, "size_bytes"),
        stdout_truncated=stdout.get("truncated") is True,
        stderr_truncated=stderr.get("truncated") is True,
        outputs=[
            call_pb2.Output(
                path=_text(output, "path"),
                size_bytes=_number(output, "size_bytes"),
                sha256=_text(output, "sha256"),
            )
            for output in _objects(result, "outputs")
        ],
        limits_hit=_texts(result, "limits_hit"),
        changed_paths=_texts(result, "changed_paths"),
        notes=_texts(result, "notes"),
        sources={field: str(who) for field, who in _object(result, "sources").items()},
        redactions=_number(result, "redactions"),
    )


def timestamp(at: datetime | None) -> timestamp_pb2.Timestamp | None:
    """Write a time; unset stays unset."""
    if at is None:
        return None
    # By hand: FromDatetime takes ten times as long, and a call has six times.
    since = at - _EPOCH
    whole_s = since.days * 86_400 + since.seconds
    return timestamp_pb2.Timestamp(seconds=whole_s, nanos=since.microseconds * 1000)


def seconds(field: str, duration: duration_pb2.Duration) -> float:
    """Read a duration.

    Raises:
        InvalidArgument: It is negative, or none that a Duration may hold.
    """
    # Not ToTimedelta, which fails on what the wire can carry but a Duration may not.
    value = duration.seconds + duration.nanos / 1_000_000_000
    if value < 0 or duration.seconds > _DURATION_MOST_S or abs(duration.nanos) >= 1_000_000_000:
        raise InvalidArgument(field, "send a duration of at least 0, at most 10,000 years")
    return value


def page_size(wanted: int) -> int:
    """Read the size of a page: 0 means 50, at most 200.

    Raises:
        InvalidArgument: It is negative.
    """
    if wanted < 0:
        raise InvalidArgument("page_size", "send 0 to 200")
    return min(wanted or PAGE, PAGE_MOST)


def filter_terms(text: str, known: frozenset[str]) -> dict[str, str]:
    """Read `name=value` terms, joined by spaces.

    Raises:
        InvalidArgument: A term has another form, or a name that this list does not know.
    """
    terms: dict[str, str] = {}
    for term in text.split():
        name, equals, value = term.partition("=")
        if not equals or name not in known or name in terms:
            wanted = ", ".join(f"{name}=..." for name in sorted(known))
            raise InvalidArgument("filter", f"send each of these once at most: {wanted}")
        terms[name] = value
    return terms


def _object(value: Mapping[str, JsonValue] | None, key: str) -> Mapping[str, JsonValue]:
    item = value.get(key) if value else None
    return item if isinstance(item, Mapping) else {}


def _objects(value: Mapping[str, JsonValue] | None, key: str) -> Sequence[Mapping[str, JsonValue]]:
    items = value.get(key) if value else None
    if not isinstance(items, Sequence):
        return ()
    return [item for item in items if isinstance(item, Mapping)]


def _text(value: Mapping[str, JsonValue] | None, key: str) -> str:
    item = value.get(key) if value else None
    return item if isinstance(item, str) else ""


def _texts(value: Mapping[str, JsonValue], key: str) -> list[str]:
    items = value.get(key)
    return [str(item) for item in items] if isinstance(items, Sequence) else []


def _number(value: Mapping[str, JsonValue], key: str) -> int:
    item = value.get(key)
    return item if isinstance(item, int) else 0
