"""Make calls that ended in every way, with their receipts."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from broker.adapters.file_signer import FileSigner, generate_key
from broker.core.call import Call, Cause, Evaluation, Hold, Run, Usage, Verdict, Vote
from broker.core.decision import Effect, Limits, Obligations, Requirement
from broker.core.document import Document, DocumentKind
from broker.core.identity import Role
from broker.core.ids import AgentId, CallId, Pseudonym, Sha256, sha256_hex
from broker.core.lifecycle import CallState
from broker.core.receipt import FIRST_PREVIOUS, Position, ReceiptDraft, seal
from broker.core.receipt_draft import BrokerFacts, draft
from broker.core.sandbox import Enforced, FileChange, Report, Stream
from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot
from broker.ports import Signer

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
INSTALLATION = "7f3b9c"
LIMITS = Limits(
    cpu_millicores=1000,
    memory_bytes=268_435_456,
    pids=64,
    timeout_s=60,
    output_bytes=1_048_576,
    tmp_bytes=67_108_864,
)
OBLIGATIONS = Obligations(runtime="runc", limits=LIMITS, egress=(), secrets=(), redact=())
ENFORCED = Enforced(
    container_id="c" * 64,
    seccomp_sha256=Sha256("5" * 64),
    facts={
        "runtime": "runc",
        "network": "none",
        "read_only_root": True,
        "cap_drop": ["ALL"],
        "memory_bytes": 268_435_456,
        "memory_swap_bytes": 268_435_456,
        "cpu_millicores": 1000,
        "pids": 64,
        "mounts": [],
    },
)
REQUEST = Document.seal(
    DocumentKind.REQUEST,
    {"tool": "python_run", "arguments": {"code": "print('the secret word')"}},
    salt=b"\x01" * 16,
)
RESULT = Document.seal(DocumentKind.RESULT, {"stdout_text": "the secret word\n"}, salt=b"\x02" * 16)
VIEW = Sha256("6" * 64)


def new_signer(path: Path, algorithm: str = "ed25519") -> FileSigner:
    generate_key(path, algorithm=algorithm)
    return FileSigner(f"file:{path}")


def trust(*signers: Signer, **changed: object) -> TrustRoot:
    keys = [TrustedKey.from_pem(KeyRole.RECEIPT, signer.public_key_pem) for signer in signers]
    return TrustRoot(version=1, keys=tuple(replace(key, **changed) for key in keys))


def evaluation(effect: Effect, rule: str = "default.rule") -> Evaluation:
    return Evaluation(
        at=AT,
        effect=effect,
        policy_input_sha256=Sha256("7" * 64),
        decision_sha256=Sha256("8" * 64),
        bundle_sha256=Sha256("9" * 64),
        bundle_revision="r1",
        engine="wasm",
        risk=10,
        rule=rule,
        labels=("a-label",),
        label_version=3,
    )


def vote(verdict: Verdict) -> Vote:
    return Vote(
        at=AT,
        verdict=verdict,
        voter=Pseudonym("p-4f1c"),
        groups=("a-group-of-one",),
        view_sha256=VIEW,
        vote_sha256=Sha256("d" * 64),
        authenticated_by="mtls",
        hold_number=1,
    )


def hold(*verdicts: Verdict) -> Hold:
    return Hold(
        number=1,
        opened_at=AT,
        decide_by=AT + timedelta(hours=1),
        run_within_s=60,
        run_by=None,
        requirements=(Requirement(group="", count=1),),
        view_sha256=VIEW,
        votes=tuple(map(vote, verdicts)),
    )


CALL = Call(
    id=CallId("01JABCDEFGHJKMNPQRSTVWXYZ0"),
    short_id="K7Q2M9XA",
    version=3,
    state=CallState.DENIED,
    agent=AgentId("spiffe://toolwarrant.dev/agent"),
    session_id="a session that the agent named",
    request_id="a request id that the agent named",
    parent=None,
    tool="python_run",
    tool_version="1.0.0",
    tool_sha256=Sha256("3" * 64),
    image="sha256:" + "1" * 64,
    request_sha256=REQUEST.sha256,
    tree_sha256=Sha256("e" * 64),
    inputs=(),
    evaluations=(evaluation(Effect.DENY),),
    obligations=None,
    hold=None,
    past_votes=(),
    received_at=AT,
    start_by=AT + timedelta(minutes=10),
    ended_at=AT + timedelta(seconds=2),
)
RAN = {
    "evaluations": (evaluation(Effect.ALLOW),),
    "obligations": OBLIGATIONS,
    "queued_at": AT,
    "started_at": AT + timedelta(seconds=1),
    "run": Run(slot="s-1", boot="b-1"),
    "usage": Usage(
        wall_ms=812, cpu_ms=40, max_memory_bytes=9_000_000_000, max_pids=4, files_bytes=3
    ),
    "result_sha256": RESULT.sha256,
}
NEVER_RAN = {"evaluations": (evaluation(Effect.ALLOW),), "obligations": OBLIGATIONS}
HELD = {"evaluations": (evaluation(Effect.HOLD),), "obligations": OBLIGATIONS}


def report(cause: Cause, exit_code: int | None) -> Report:
    return Report(
        cause=cause,
        exit_code=exit_code,
        stdout=Stream(data=b"the secret word\n", size_bytes=16, truncated=False),
        stderr=Stream(data=b"", size_bytes=0, truncated=False),
        outputs=(FileChange(path="secret-plan.txt", data=b"x"),),
        changes=(),
        limits_hit=("memory",) if cause is Cause.MEMORY else (),
        notes=("a link named secret-link",),
        usage=Usage(
            wall_ms=812, cpu_ms=40, max_memory_bytes=9_000_000_000, max_pids=4, files_bytes=3
        ),
        sources=(("exit_code", "engine"), ("stdout", "tool"), ("usage", "cgroup")),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A call at its end, with what the run left of it."""

    call: Call
    enforced: Enforced | None = None
    report: Report | None = None
    rule: str | None = None

    def draft(self, signer: Signer, *, development: bool = False) -> ReceiptDraft:
        return draft(
            self.call,
            broker=BrokerFacts(
                version="0.1.0",
                key_id=signer.key_id,
                development=development,
                sandbox_engine={"version": "20.10.24", "cgroup": "1"},
            ),
            roles=frozenset({Role.AGENT}),
            owner=Pseudonym("p-9a20"),
            enforced=self.enforced,
            report=self.report,
            rule=self.rule,
        )


def ended(state: CallState, cause: Cause | None, **fields: object) -> Ended:
    return Ended(call=replace(CALL, state=state, cause=cause, **fields))


def ran(state: CallState, cause: Cause, exit_code: int | None, **fields: object) -> Ended:
    call = replace(CALL, state=state, cause=cause, exit_code=exit_code, **{**RAN, **fields})
    return Ended(call=call, enforced=ENFORCED, report=report(cause, exit_code))


_S = CallState

ENDINGS: dict[str, Ended] = {
    "succeeded": ran(_S.SUCCEEDED, Cause.EXITED, 0),
    "succeeded_after_approval": ran(
        _S.SUCCEEDED,
        Cause.EXITED,
        0,
        evaluations=(evaluation(Effect.HOLD), evaluation(Effect.HOLD)),
        hold=hold(Verdict.APPROVE),
    ),
    "failed": ran(_S.FAILED, Cause.EXITED, 3),
    "failed_by_signal": ran(_S.FAILED, Cause.SIGNALLED, 139),
    "failed_with_code_0": ran(_S.FAILED, Cause.SIGNALLED, 0),
    "denied": ended(_S.DENIED, None),
    "denied_unknown_tool": Ended(
        call=replace(CALL, tool="a tool that the agent named", image="", evaluations=()),
        rule="broker.tool_unknown",
    ),
    "rejected": ended(_S.REJECTED, None, hold=hold(Verdict.REJECT), **HELD),
    "expired": ended(_S.EXPIRED, Cause.DECIDE_BY_PASSED, hold=hold(), **HELD),
    "cancelled_before": ended(_S.CANCELLED, Cause.CANCELLED, **NEVER_RAN),
    "cancelled_during": ran(_S.CANCELLED, Cause.CANCELLED, 137),
    "timed_out": ran(_S.TIMED_OUT, Cause.TIMEOUT, 137),
    "killed": ran(_S.KILLED, Cause.MEMORY, 137),
    "interrupted": ended(
        _S.INTERRUPTED, Cause.BROKER_RESTARTED, **{**RAN, "usage": None, "result_sha256": None}
    ),
    "sandbox_error": ended(_S.SANDBOX_ERROR, Cause.NOT_BEGUN, **NEVER_RAN),
    "secret_unavailable": ended(_S.SANDBOX_ERROR, Cause.SECRET_UNAVAILABLE, **NEVER_RAN),
}


def position(sequence: int = 1, previous: Sha256 = FIRST_PREVIOUS, **changed: object) -> Position:
    place = Position(installation=INSTALLATION, epoch=1, sequence=sequence, previous=previous)
    return replace(place, **changed)


def sealed(
    name: str,
    signer: Signer,
    *,
    development: bool = False,
    sequence: int = 1,
    index: int | None = None,
) -> bytes:
    """Make the receipt of one ending, alone: the one before it, if any, is made up."""
    ending = ENDINGS[name].draft(signer, development=development)
    previous = FIRST_PREVIOUS if sequence == 1 else Sha256("f" * 64)
    return seal(ending, position(sequence, previous, index=index), signer.sign)


def chain(signer: Signer) -> list[bytes]:
    """Make one receipt of each ending, chained in order."""
    envelopes: list[bytes] = []
    previous = FIRST_PREVIOUS
    for sequence, ending in enumerate(ENDINGS.values(), start=1):
        place = position(sequence, previous)
        envelopes.append(seal(ending.draft(signer), place, signer.sign))
        previous = sha256_hex(envelopes[-1])
    return envelopes
