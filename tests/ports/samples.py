"""Make valid calls with the changes that carry them through their lives."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from broker.core.call import (
    Call,
    Cause,
    Evaluation,
    Hold,
    InputFile,
    Run,
    Usage,
    Verdict,
    Vote,
)
from broker.core.canonical import canonical_json
from broker.core.decision import Effect, Limits, Obligations, Requirement
from broker.core.document import Document, DocumentKind
from broker.core.ids import AgentId, CallId, Pseudonym, Sha256, sha256_hex, short_id, ulid
from broker.core.lifecycle import CallState, Step, after
from broker.core.receipt import Position, ReceiptDraft
from broker.ports import Change, Event, EventDraft, File, KeptBundle, LogHead

START = datetime(2026, 11, 2, 9, 0, 0, 123457, tzinfo=UTC)
AGENT = AgentId("spiffe://example.test/agent")
AGENT2 = AgentId("spiffe://example.test/agent2")


def digest(name: str) -> Sha256:
    """Give some digest, always the same for a name."""
    return sha256_hex(name.encode())


def call_id(number: int) -> CallId:
    """Give the id of the sample call of this number; greater numbers are newer."""
    return ulid(1_793_610_000_000 + number, number.to_bytes(10))


def number_of(call: Call) -> int:
    """Give the number that a sample call was made of."""
    return (call.received_at - START) // timedelta(seconds=1)


def new_call(number: int, state: CallState = CallState.QUEUED, **fields: object) -> Call:
    """Give a call as its first commit records it."""
    at = START + timedelta(seconds=number)
    call = Call(
        id=call_id(number),
        short_id=short_id(number.to_bytes(5)),
        version=1,
        state=state,
        agent=AGENT,
        session_id="session-1",
        request_id="",
        parent=None,
        tool="python_run",
        tool_version="1.0.0",
        tool_sha256=digest("tool"),
        image="sha256:" + digest("image"),
        request_sha256=digest(f"request {number}"),
        tree_sha256=digest("tree"),
        inputs=(),
        evaluations=(evaluation(at, Effect.ALLOW),),
        obligations=OBLIGATIONS if state is not CallState.DENIED else None,
        hold=hold(at) if state is CallState.HELD else None,
        past_votes=(),
        received_at=at,
        start_by=at + timedelta(minutes=10),
        ended_at=at if state.is_final else None,
    )
    return replace(call, **fields)  # type: ignore[arg-type]


def full_call(number: int) -> Call:
    """Give a call that has a value in every field, each different from its neighbours'."""
    at = START + timedelta(seconds=number)
    return new_call(
        number,
        version=7,
        state=CallState.FAILED,
        request_id="retry-1",
        parent=call_id(number + 1_000_000),
        inputs=(InputFile(argument="from_output", sha256=digest("input"), size_bytes=12),),
        evaluations=(
            replace(evaluation(at, Effect.HOLD), labels=("a", "b"), label_version=7),
            evaluation(at, Effect.ALLOW),
        ),
        hold=replace(hold(at), number=2, run_by=at + timedelta(hours=1), votes=(vote(at, 2),)),
        past_votes=(vote(at, 1), replace(vote(at, 1), verdict=Verdict.REJECT)),
        queued_at=at + timedelta(microseconds=1),
        started_at=at + timedelta(microseconds=2),
        ended_at=at + timedelta(days=400, microseconds=3),
        run=Run(slot="slot-1", boot="boot-1"),
        usage=Usage(wall_ms=12, cpu_ms=None, max_memory_bytes=4096),
        exit_code=0,
        cause=Cause.EXITED,
        result_sha256=digest("result"),
    )


def labelled(number: int, *labels: str, version: int = 0, **fields: object) -> Call:
    """Give a queued call that labels its agent, decided when that had so many labels."""
    call = new_call(number, **fields)  # type: ignore[arg-type]
    (entry,) = call.evaluations
    return replace(call, evaluations=(replace(entry, labels=labels, label_version=version),))


OBLIGATIONS = Obligations(
    runtime="runc",
    limits=Limits(
        cpu_millicores=1000,
        memory_bytes=64 * 1024 * 1024,
        pids=32,
        timeout_s=10,
        output_bytes=65536,
        tmp_bytes=1024 * 1024,
    ),
    egress=("example.test:443",),
    secrets=("token",),
    redact=("/arguments/code",),
)


def evaluation(at: datetime, effect: Effect) -> Evaluation:
    """Give an evaluation with this effect."""
    return Evaluation(
        at=at,
        effect=effect,
        policy_input_sha256=digest("policy input"),
        decision_sha256=digest("decision"),
        bundle_sha256=digest("bundle"),
        bundle_revision="rev-1",
        engine="wasm",
        risk=10,
        rule="python_run.allowed",
        labels=(),
        label_version=0,
    )


def hold(at: datetime) -> Hold:
    """Give a fresh hold."""
    return Hold(
        number=1,
        opened_at=at,
        decide_by=at + timedelta(hours=1),
        run_within_s=600,
        run_by=None,
        requirements=(
            Requirement(group="security", count=1),
            Requirement(group="", count=2),
        ),
        view_sha256=digest("view"),
        votes=(),
    )


def vote(at: datetime, hold_number: int) -> Vote:
    """Give an approval of the hold of this number."""
    return Vote(
        at=at,
        verdict=Verdict.APPROVE,
        voter=Pseudonym("person-1"),
        groups=("security", "staff"),
        view_sha256=digest("view"),
        vote_sha256=digest("vote"),
        authenticated_by="mtls",
        hold_number=hold_number,
    )


def document(name: str, kind: DocumentKind = DocumentKind.REQUEST) -> Document:
    """Give a document, always the same for a name."""
    return Document.seal(kind, {"name": name}, salt=bytes.fromhex(digest(name))[:16])


def file(text: str) -> File:
    """Give a file that holds this text."""
    return File(sha256=digest(text), data=text.encode())


def bundle(number: int) -> KeptBundle:
    """Give a policy bundle to keep."""
    archive = f"bundle {number}".encode()
    return KeptBundle(
        number=number,
        revision=f"policy-{number}",
        sha256=sha256_hex(archive),
        archive=archive,
    )


def event(step: Step | str, at: datetime = START, **data: str | int) -> EventDraft:
    """Give the event of a step."""
    return EventDraft(type=step.value if isinstance(step, Step) else step, at=at, data=data)


FIRST_STEP = {
    CallState.QUEUED: Step.ALLOW,
    CallState.HELD: Step.HOLD,
    CallState.DENIED: Step.DENY,
}


def first(call: Call, **parts: object) -> Change:
    """Give the change that records a new call with its first decision."""
    change = Change(
        call=call,
        events=(
            event(Step.RECEIVE, call.received_at, tool=call.tool),
            event(FIRST_STEP[call.state], call.received_at, rule="python_run.allowed"),
        ),
        receipt=receipt(call) if call.state.is_final else None,
    )
    return replace(change, **parts)  # type: ignore[arg-type]


def following(call: Call, step: Step, **parts: object) -> Change:
    """Give the change that takes a call one step further."""
    state = after(call.state, step)
    moved = replace(call, state=state, version=call.version + 1)
    change = Change(
        call=moved,
        events=(event(step, call.received_at),),
        receipt=receipt(moved) if state.is_final else None,
    )
    return replace(change, **parts)  # type: ignore[arg-type]


def receipt(call: Call) -> ReceiptDraft:
    """Give the draft of a call's receipt."""
    return ReceiptDraft(
        subjects=(("request", call.request_sha256),),
        predicate={"call": call.name, "outcome": call.state.value},
    )


def log_head(size: int) -> LogHead:
    """Give a head of the log, which nobody signed."""
    return LogHead(size=size, at=START, checkpoint=b"checkpoint of %d" % size)


def seal(draft: ReceiptDraft, position: Position) -> bytes:
    """Put a receipt at its place, unsigned; `receipt_place` reads it."""
    return canonical_json(
        {
            "installation": position.installation,
            "epoch": position.epoch,
            "sequence": position.sequence,
            "previous": position.previous,
            "subjects": [list(subject) for subject in draft.subjects],
            "predicate": draft.predicate,
        }
    )


def steps_of(events: Sequence[Event]) -> Mapping[CallId, list[Step]]:
    """Collect each call's steps in order."""
    steps: dict[CallId, list[Step]] = {}
    for entry in events:
        if entry.call is not None:
            steps.setdefault(entry.call, []).append(Step(entry.type))
    return steps


def receipt_place(envelope: bytes) -> tuple[int, str]:
    """Read the sequence with the digest of the preceding envelope from what `seal` made."""
    place = json.loads(envelope)
    return place["sequence"], place["previous"]
