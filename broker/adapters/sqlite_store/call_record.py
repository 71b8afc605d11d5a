"""Write a call as the JSON of its row, to be read back equal."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

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
from broker.core.decision import Effect, Limits, Obligations, Requirement
from broker.core.lifecycle import CallState

# Written out by hand: dataclasses.asdict takes ten times as long, and a record outlives the
# names of today's attributes.
_Record = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_dump = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def to_microseconds(at: datetime) -> int:
    """Count microseconds since 1970 of an aware time, exactly."""
    return (at - _EPOCH) // _MICROSECOND


def from_microseconds(at_us: int) -> datetime:
    """Give the aware UTC time."""
    return _EPOCH + timedelta(microseconds=at_us)


def dump_call(call: Call) -> str:
    """Write a call as one line of JSON."""
    return _dump(
        {
            "id": call.id,
            "short_id": call.short_id,
            "version": call.version,
            "state": call.state.value,
            "agent": call.agent,
            "session_id": call.session_id,
            "request_id": call.request_id,
            "parent": call.parent,
            "tool": call.tool,
            "tool_version": call.tool_version,
            "tool_sha256": call.tool_sha256,
            "image": call.image,
            "request_sha256": call.request_sha256,
            "tree_sha256": call.tree_sha256,
            "inputs": [[i.argument, i.sha256, i.size_bytes] for i in call.inputs],
            "evaluations": [_from_evaluation(e) for e in call.evaluations],
            "obligations": _from_obligations(call.obligations) if call.obligations else None,
            "hold": _from_hold(call.hold) if call.hold else None,
            "past_votes": [_from_vote(vote) for vote in call.past_votes],
            "received_at": to_microseconds(call.received_at),
            "start_by": to_microseconds(call.start_by),
            "queued_at": _from_time(call.queued_at),
            "started_at": _from_time(call.started_at),
            "ended_at": _from_time(call.ended_at),
            "run": {"slot": call.run.slot, "boot": call.run.boot} if call.run else None,
            "usage": _from_usage(call.usage) if call.usage else None,
            "exit_code": call.exit_code,
            "cause": call.cause.value if call.cause else None,
            "result_sha256": call.result_sha256,
        }
    )


def load_call(text: str) -> Call:
    """Read a call back from its row."""
    record: _Record = json.loads(text)
    return Call(
        id=record["id"],
        short_id=record["short_id"],
        version=record["version"],
        state=CallState(record["state"]),
        agent=record["agent"],
        session_id=record["session_id"],
        request_id=record["request_id"],
        parent=record["parent"],
        tool=record["tool"],
        tool_version=record["tool_version"],
        tool_sha256=record["tool_sha256"],
        image=record["image"],
        request_sha256=record["request_sha256"],
        tree_sha256=record["tree_sha256"],
        inputs=tuple(
            InputFile(argument=argument, sha256=sha256, size_bytes=size_bytes)
            for argument, sha256, size_bytes in record["inputs"]
        ),
        evaluations=tuple(map(_to_evaluation, record["evaluations"])),
        obligations=_to_obligations(record["obligations"]) if record["obligations"] else None,
        hold=_to_hold(record["hold"]) if record["hold"] else None,
        past_votes=tuple(map(_to_vote, record["past_votes"])),
        received_at=from_microseconds(record["received_at"]),
        start_by=from_microseconds(record["start_by"]),
        queued_at=_to_time(record["queued_at"]),
        started_at=_to_time(record["started_at"]),
        ended_at=_to_time(record["ended_at"]),
        run=Run(**record["run"]) if record["run"] else None,
        usage=Usage(**record["usage"]) if record["usage"] else None,
        exit_code=record["exit_code"],
        cause=Cause(record["cause"]) if record["cause"] else None,
        result_sha256=record["result_sha256"],
    )


def _from_time(at: datetime | None) -> int | None:
    return None if at is None else to_microseconds(at)


def _to_time(at_us: int | None) -> datetime | None:
    return None if at_us is None else from_microseconds(at_us)


def _from_evaluation(evaluation: Evaluation) -> _Record:
    return {
        "at": to_microseconds(evaluation.at),
        "effect": evaluation.effect.value,
        "policy_input_sha256": evaluation.policy_input_sha256,
        "decision_sha256": evaluation.decision_sha256,
        "bundle_sha256": evaluation.bundle_sha256,
        "bundle_revision": evaluation.bundle_revision,
        "engine": evaluation.engine,
        "risk": evaluation.risk,
        "rule": evaluation.rule,
        "labels": evaluation.labels,
        "label_version": evaluation.label_version,
    }


def _to_evaluation(record: _Record) -> Evaluation:
    return Evaluation(
        at=from_microseconds(record["at"]),
        effect=Effect(record["effect"]),
        policy_input_sha256=record["policy_input_sha256"],
        decision_sha256=record["decision_sha256"],
        bundle_sha256=record["bundle_sha256"],
        bundle_revision=record["bundle_revision"],
        engine=record["engine"],
        risk=record["risk"],
        rule=record["rule"],
        # A record of before there were labels: its agent had none.
        labels=tuple(record.get("labels", ())),
        label_version=record.get("label_version", 0),
    )


def _from_obligations(obligations: Obligations) -> _Record:
    limits = obligations.limits
    return {
        "runtime": obligations.runtime,
        "limits": {
            "cpu_millicores": limits.cpu_millicores,
            "memory_bytes": limits.memory_bytes,
            "pids": limits.pids,
            "timeout_s": limits.timeout_s,
            "output_bytes": limits.output_bytes,
            "tmp_bytes": limits.tmp_bytes,
        },
        "egress": obligations.egress,
        "secrets": obligations.secrets,
        "redact": obligations.redact,
    }


def _to_obligations(record: _Record) -> Obligations:
    return Obligations(
        runtime=record["runtime"],
        limits=Limits(**record["limits"]),
        egress=tuple(record["egress"]),
        secrets=tuple(record["secrets"]),
        redact=tuple(record["redact"]),
    )


def _from_hold(hold: Hold) -> _Record:
    return {
        "number": hold.number,
        "opened_at": to_microseconds(hold.opened_at),
        "decide_by": to_microseconds(hold.decide_by),
        "run_within_s": hold.run_within_s,
        "run_by": _from_time(hold.run_by),
        "requirements": [[wanted.group, wanted.count] for wanted in hold.requirements],
        "view_sha256": hold.view_sha256,
        "votes": [_from_vote(vote) for vote in hold.votes],
    }


def _to_hold(record: _Record) -> Hold:
    return Hold(
        number=record["number"],
        opened_at=from_microseconds(record["opened_at"]),
        decide_by=from_microseconds(record["decide_by"]),
        run_within_s=record["run_within_s"],
        run_by=_to_time(record["run_by"]),
        requirements=tuple(
            Requirement(group=group, count=count) for group, count in record["requirements"]
        ),
        view_sha256=record["view_sha256"],
        votes=tuple(map(_to_vote, record["votes"])),
    )


def _from_vote(vote: Vote) -> _Record:
    return {
        "at": to_microseconds(vote.at),
        "verdict": vote.verdict.value,
        "voter": vote.voter,
        "groups": vote.groups,
        "view_sha256": vote.view_sha256,
        "vote_sha256": vote.vote_sha256,
        "authenticated_by": vote.authenticated_by,
        "hold_number": vote.hold_number,
    }


def _to_vote(record: _Record) -> Vote:
    return Vote(
        at=from_microseconds(record["at"]),
        verdict=Verdict(record["verdict"]),
        voter=record["voter"],
        groups=tuple(record["groups"]),
        view_sha256=record["view_sha256"],
        vote_sha256=record["vote_sha256"],
        authenticated_by=record["authenticated_by"],
        hold_number=record["hold_number"],
    )


def _from_usage(usage: Usage) -> _Record:
    return {
        "wall_ms": usage.wall_ms,
        "cpu_ms": usage.cpu_ms,
        "max_memory_bytes": usage.max_memory_bytes,
        "max_pids": usage.max_pids,
        "files_bytes": usage.files_bytes,
    }
