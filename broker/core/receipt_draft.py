"""Say in a receipt what became of a call.

Nothing that could be guessed from a digest or that is personal goes in (contract §7): content is
named by the digests of salted documents alone, people by pseudonyms, lists by their counts, and no
word that the agent or the tool chose is repeated, an unknown tool's name included.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from broker.core.call import Call, Evaluation, Vote
from broker.core.canonical import JsonObject, JsonValue
from broker.core.decision import Obligations
from broker.core.identity import Role
from broker.core.ids import Pseudonym, Sha256
from broker.core.instant import rfc3339
from broker.core.receipt import ReceiptDraft
from broker.core.sandbox import Enforced, Report, Stream

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@+-]{0,127}")
_OTHER_NAME = "(not a name)"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFacts:
    """What a receipt says of the broker that made it.

    Args:
        key_id: Of the key that will sign.
        development: Whether the key and the certificates are the development set.
        sandbox_engine: As the engine describes itself (`SandboxEngine.check`).
    """

    version: str
    key_id: Sha256
    development: bool
    sandbox_engine: Mapping[str, str]


def draft(
    call: Call,
    *,
    broker: BrokerFacts,
    roles: frozenset[Role],
    owner: Pseudonym | None,
    enforced: Enforced | None,
    report: Report | None,
    rule: str | None = None,
) -> ReceiptDraft:
    """Draft the receipt of a call that has ended.

    Args:
        roles: The agent's, when the call was received.
        owner: Pseudonym of the human who answers for the agent; None where nobody is named.
        enforced: The container's settings as read back; None where none was made.
        report: How the run ended; None where nothing ran, or nobody knows how it ended.
        rule: What ended the call, where that is not the last evaluation's rule.

    Raises:
        ValueError: The call has not ended, or has a result document without a report.
    """
    if not call.state.is_final:
        raise ValueError("a call gets its receipt when it ends")
    if (report is None) != (call.result_sha256 is None):
        raise ValueError("a run has a report with a result document, or neither")
    subjects = [("request", call.request_sha256)]
    if call.result_sha256 is not None:
        subjects.append(("result", call.result_sha256))
    last_rule = call.evaluations[-1].rule if call.evaluations else None
    predicate: JsonObject = {
        "identity": {"receipt": f"receipts/{call.id}", "call": call.name},
        "broker": {"version": broker.version},
        "key_id": broker.key_id,
        "development": broker.development,
        "agent": {
            "id": call.agent,
            "roles": sorted(role.value for role in roles),
            "owner": owner,
        },
        "request": _request(call),
        "decision": {"evaluations": [_evaluation(entry) for entry in call.evaluations]},
        "obligations": _obligations(call.obligations, enforced, report),
        "approvals": _approvals(call),
        "sandbox": _sandbox(enforced, broker.sandbox_engine),
        "result": _result(call, report),
        "usage": _usage(call),
        "outcome": {
            "state": call.state.value,
            "cause": call.cause.value if call.cause else None,
            "rule": _name(rule or last_rule),
        },
        "times": _times(call),
    }
    return ReceiptDraft(subjects=tuple(subjects), predicate=predicate)


def _request(call: Call) -> JsonObject:
    # Without an image the catalogue does not know the tool: its name is then the agent's text.
    tool: JsonObject | None = None
    if call.image:
        tool = {"name": call.tool, "version": call.tool_version, "image": call.image}
    return {
        "sha256": call.request_sha256,
        "tool": tool,
        "parent": f"calls/{call.parent}" if call.parent else None,
        "input_files": len(call.inputs),
    }


def _evaluation(entry: Evaluation) -> JsonObject:
    return {
        "at": rfc3339(entry.at),
        "effect": entry.effect.value,
        "rule": _name(entry.rule),
        "risk": entry.risk,
        "engine": entry.engine,
        "bundle_sha256": entry.bundle_sha256 or None,
        "bundle_revision": entry.bundle_revision,
        "policy_input_sha256": entry.policy_input_sha256 or None,
        "decision_sha256": entry.decision_sha256 or None,
    }


# Fact of the sandbox that shows an obligation enforced by the Engine, by the limit's name.
_READ_BACK = ("cpu_millicores", "memory_bytes", "pids")


def _obligations(
    obligations: Obligations | None, enforced: Enforced | None, report: Report | None
) -> list[JsonValue]:
    """List each obligation with whether it was enforced; values stand in the documents."""
    if obligations is None:
        return []
    ran = report is not None
    facts: JsonObject = enforced.facts if enforced else {}
    listed: list[JsonValue] = [
        {"name": "runtime", "enforced": facts.get("runtime") == obligations.runtime}
    ]
    for name, demanded in obligations.limits.by_name().items():
        # An adapter hands out no sandbox whose settings differ from what was demanded; those that
        # can be read back are compared once more here.
        read_back = name not in _READ_BACK or facts.get(name) == demanded
        held = enforced is not None and read_back and (ran or name in _READ_BACK)
        listed.append({"name": f"limits.{name}", "enforced": held})
    # No network, and no other way out than sockets behind which exactly this list is let through.
    count = len(obligations.egress)
    held_in = facts.get("network") == "none" and facts.get("egress_destinations", 0) == count
    listed.append({"name": "egress", "count": count, "enforced": held_in})
    given = report is not None and set(report.secrets) == set(obligations.secrets)
    listed.append({"name": "secrets", "count": len(obligations.secrets), "enforced": given})
    # Documents of such a call stay out of what is exported; what is logged has no content at all.
    listed.append({"name": "redact", "count": len(obligations.redact), "enforced": ran})
    return listed


def _approvals(call: Call) -> list[JsonValue]:
    votes = (*call.past_votes, *(call.hold.votes if call.hold else ()))
    return [_vote(vote) for vote in votes]


def _vote(vote: Vote) -> JsonObject:
    # Groups stay out: a small one would tell who stands behind the pseudonym.
    return {
        "at": rfc3339(vote.at),
        "person": vote.voter,
        "role": Role.APPROVER.value,
        "verdict": vote.verdict.value,
        "authenticated_by": vote.authenticated_by,
        "hold_number": vote.hold_number,
        "view_sha256": vote.view_sha256,
    }


def _sandbox(enforced: Enforced | None, engine: Mapping[str, str]) -> JsonObject | None:
    if enforced is None:
        return None
    facts = {name: as_text(value) for name, value in enforced.facts.items()}
    return {
        "container": enforced.container_id,
        "seccomp_sha256": enforced.seccomp_sha256,
        "engine": dict(engine),
        "facts": facts,
    }


def as_text(value: JsonValue) -> JsonValue:
    """Write numbers in a value as strings: what the Engine counts in is 64 bits wide."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        return {key: as_text(item) for key, item in value.items()}
    return [as_text(item) for item in value]


def _result(call: Call, report: Report | None) -> JsonObject | None:
    if report is None:
        return None
    egress: JsonObject = {} if report.egress is None else {"egress": report.egress.totals}
    return {
        **egress,
        "sha256": call.result_sha256,
        "exit_code": call.exit_code,
        "stdout": _stream(report.stdout),
        "stderr": _stream(report.stderr),
        "outputs": len(report.outputs),
        "changes": len(report.changes),
        "limits_hit": list(report.limits_hit),
        "sources": dict(report.sources),
    }


def _stream(stream: Stream) -> JsonObject:
    return {"size_bytes": str(stream.size_bytes), "truncated": stream.truncated}


def _usage(call: Call) -> JsonObject | None:
    if call.usage is None:
        return None
    usage = call.usage
    return {
        "wall_ms": str(usage.wall_ms),
        "cpu_ms": _number(usage.cpu_ms),
        "max_memory_bytes": _number(usage.max_memory_bytes),
        "max_pids": _number(usage.max_pids),
        "files_bytes": str(usage.files_bytes),
    }


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def _times(call: Call) -> JsonObject:
    times = {
        "received_at": call.received_at,
        "start_by": call.start_by,
        "queued_at": call.queued_at,
        "started_at": call.started_at,
        "ended_at": call.ended_at,
    }
    return {name: None if at is None else rfc3339(at) for name, at in times.items()}


def _name(rule: str | None) -> str | None:
    """Pass a rule's id, which the security team chose; a rule that computes text gets no say."""
    if not rule:
        return None
    return rule if _NAME.fullmatch(rule) else _OTHER_NAME
