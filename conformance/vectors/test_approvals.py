"""Approvals that others bound and broke (`approval-binding`): ours bind what theirs bind.

An approval of theirs is a held call of ours with a vote on its view; the use that it is shown for
is the call that wants to run. What theirs binds by fields, ours binds by the one call and its view.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from broker.approve import Ballot
from broker.core.call import Call, Verdict
from broker.core.canonical import canonical_json
from broker.core.identity import Identity
from broker.core.lifecycle import CallState
from broker.errors import Refusal
from conformance.vectors.outside import cases, corpus, read
from tests.story.stage import ADMIN, AGENT, AGENT2, APPROVER, HELD, Stage

BOUND = ("event", "phase", "tool", "target")
_HOLD_S = 3600
"""How long the stage's holds wait; their approvals last 600 s."""

NOT_TOLD: Mapping[str, str] = {
    "contract-id-missing": "their format's own name",
    "contract-id-unknown": "their format's own name",
    "used-before-issued": "before a call is held there is no view to vote on",
    "release-first-served-after-decision": "policy is asked anew at release, whatever its age",
    "release-retired-beyond-grace": "policy is asked anew at release, whatever its age",
}
"""What cannot be said in our terms, and why."""

REASONS: Mapping[str, set[str]] = {
    "bound": {"SUCCEEDED"},
    "approval_id_ambiguous": {"VIEW_CHANGED"},
    "approval_replayed": {"CALL_NOT_HELD"},
    "key_not_bound": {"NOT_FOUND", "OWN_CALL"},
    "principal_mismatch": {"VIEW_CHANGED"},
    "event_phase_mismatch": {"VIEW_CHANGED"},
    "payload_mismatch": {"VIEW_CHANGED"},
    "approval_outside_validity": {"CALL_NOT_HELD"},
    "comparison_unavailable": {"DENIED"},
}
"""Their reasons, with the refusal of ours, or the state in which the call ends."""


async def held(stage: Stage, said: Mapping[str, str], payload_sha256: str) -> Call:
    """Make the call that is meant: its arguments hold all that theirs binds but the principal."""
    bound = canonical_json([*(said[name] for name in BOUND), payload_sha256])
    agent = AGENT if said["principal"] == "user:alice" else AGENT2
    return await stage.call(HELD, agent=agent, path=hashlib.sha256(bound).hexdigest())


def voter_of(record: Mapping[str, Any]) -> Identity:
    """Say who votes: the approver where the key is bound to them; the agent where it approves."""
    approval = record["approval"]
    if approval["approver"].startswith("agent:"):
        return AGENT
    is_bound = record["trustedKeys"].get(approval["approver"]) == approval["keyId"]
    return APPROVER if is_bound else ADMIN


def seconds(later: str, earlier: str) -> float:
    """Count the seconds between two times."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


async def decide(place: Path) -> str:
    """Play a case; give how the call ended, or why the vote was refused."""
    record = read(place / "record.json")
    approval, use = record["approval"], record["use"]
    payload_sha256 = hashlib.sha256((place / "payload.bin").read_bytes()).hexdigest()
    stage = Stage()
    await stage.start()
    approved = await held(stage, approval, approval["payloadSha256"])
    facts = [(each["principal"], *(each[name] for name in BOUND)) for each in (approval, use)]
    is_same = facts[0] == facts[1] and payload_sha256 == approval["payloadSha256"]
    used = approved if is_same else await held(stage, use, payload_sha256)
    view = await _view(stage, record, approved)
    lasts_s = seconds(approval["expiresAt"], approval["issuedAt"])
    await stage.pass_time(
        seconds(use["usedAt"], approval["issuedAt"]) / lasts_s * _HOLD_S,
    )
    stage.policy.is_there = record["policyRelease"]["lookup"] == "ok"
    ballot = Ballot(verdict=Verdict.APPROVE, view_sha256=view, reason="as theirs")
    is_spent = approval["approvalId"] in record["consumedApprovalIds"]
    try:
        for _ in range(1 + is_spent):
            shown = await stage.read(used.id)
            await stage.life.approvals.vote(voter_of(record), shown, ballot)
            await stage.settle()
    except Refusal as error:
        ran = CallState.SUCCEEDED if is_spent else None
        assert is_spent or stage.stored(used.id).state in {CallState.HELD, CallState.EXPIRED}
        assert ran is None or stage.stored(used.id).state is ran
        return error.reason
    await stage.check()
    return stage.stored(used.id).state.value


async def _view(stage: Stage, record: Mapping[str, Any], approved: Call) -> str:
    """Give the view that the vote names: of other content, where one id was used for two."""
    for other in record["presentedApprovals"]:
        if other["approvalId"] == record["approval"]["approvalId"] and other != record["approval"]:
            approved = await held(stage, other, other["payloadSha256"])
    hold = stage.stored(approved.id).hold
    assert hold is not None
    return hold.view_sha256


def test_each_case() -> None:
    """Of the 23 cases all that can be said in our terms end as they say, for their reason."""
    found = cases(corpus("approval-binding"))
    assert len(found) == 23
    told = {name: case for name, case in found.items() if name not in NOT_TOLD}
    ended = {name: asyncio.run(decide(place)) for name, (place, _, _) in told.items()}
    wrong = {
        name: (ended[name], decision, reason)
        for name, (_, decision, reason) in told.items()
        if ended[name] not in REASONS[reason]
        or (decision == "allow") != (ended[name] == CallState.SUCCEEDED.value)
    }
    assert wrong == {}
