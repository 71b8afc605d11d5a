"""Hold what the broker knows of one call, content apart."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from broker.core.decision import Effect, Obligations, Requirement
from broker.core.ids import AgentId, CallId, Pseudonym, Sha256
from broker.core.lifecycle import CallState


class Cause(Enum):
    """Why a run or a call ended as it did, in the broker's own words."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMEOUT = "timeout"
    OUTPUT_CAP = "output_cap"
    MEMORY = "memory"
    CANCELLED = "cancelled"
    HALTED = "halted"
    ENGINE_LOST = "engine_lost"
    BROKER_RESTARTED = "broker_restarted"
    BROKER_STOPPED = "broker_stopped"
    """It ran on when the time was over that a stopping broker gives."""
    STORE_RESTORED = "store_restored"
    """The store was put back from a backup, in which the call was open: it may have run since."""
    DECIDE_BY_PASSED = "decide_by_passed"
    RUN_BY_PASSED = "run_by_passed"
    START_BY_PASSED = "start_by_passed"
    NOT_BEGUN = "not_begun"
    RUNTIME_MISSING = "runtime_missing"
    """The Engine lacks the runtime that was demanded; a weaker one is never taken instead."""
    SECRET_UNAVAILABLE = "secret_unavailable"  # noqa: S105 (a cause)
    """A secret that the tool needs could not be read, so nothing was begun."""
    WORKSPACE_CONFLICT = "workspace_conflict"
    """Another call changed a path meanwhile, which was left as it is."""
    WORKSPACE_FULL = "workspace_full"
    """The workspace would hold more than it may, so nothing of it was changed."""


class Verdict(Enum):
    """What a reviewer says of a held call."""

    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One question to policy with its answer, by the digests of the two documents."""

    at: datetime
    effect: Effect
    policy_input_sha256: Sha256
    decision_sha256: Sha256
    bundle_sha256: Sha256
    bundle_revision: str
    engine: str
    risk: int
    rule: str
    labels: tuple[str, ...]
    """What policy labels the call with."""
    label_version: int
    """How many labels its agent had when policy was asked: they only grow in number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One reviewer's verdict on exactly the view that they saw."""

    at: datetime
    verdict: Verdict
    voter: Pseudonym
    groups: tuple[str, ...]
    view_sha256: Sha256
    vote_sha256: Sha256
    """Digest of the document that holds the reason in the voter's words."""
    authenticated_by: str
    hold_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A call that waits for people; bound to the view shown with the outcome of policy.

    `number` counts the holds of this call from 1: a stricter answer at release opens a new one.
    """

    number: int
    opened_at: datetime
    decide_by: datetime
    run_within_s: int
    run_by: datetime | None
    requirements: tuple[Requirement, ...]
    view_sha256: Sha256
    votes: tuple[Vote, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file that an argument names (`from_output`), resolved when the call was recorded."""

    argument: str
    sha256: Sha256
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Which container was bound to the call, in which life of the broker."""

    slot: str
    boot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the run used, read outside the sandbox; None where it could not be read."""

    wall_ms: int
    cpu_ms: int | None
    max_memory_bytes: int | None
    max_pids: int | None = None
    """Most processes and threads at one time, the launcher among them."""
    files_bytes: int = 0
    """Of the files that came back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call as the store keeps it: everything but content, which stands in documents.

    `version` counts the commits that changed the call, from 1; every change names the version it
    was made from.
    """

    id: CallId
    short_id: str
    version: int
    state: CallState
    agent: AgentId
    session_id: str
    request_id: str
    """Empty where the agent gave none."""
    parent: CallId | None
    tool: str
    tool_version: str
    tool_sha256: Sha256 | None
    """Digest of the tool's definition; None for an unknown tool."""
    image: str
    """The Engine's image id; empty for an unknown tool."""
    request_sha256: Sha256
    tree_sha256: Sha256
    """Names the TREE document: the workspace as the call saw it."""
    inputs: tuple[InputFile, ...]
    evaluations: tuple[Evaluation, ...]
    obligations: Obligations | None
    """What was decided after the clamp; None where the call was denied."""
    hold: Hold | None
    past_votes: tuple[Vote, ...]
    """Votes on earlier holds of this call."""
    received_at: datetime
    start_by: datetime
    queued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    run: Run | None = None
    usage: Usage | None = None
    exit_code: int | None = None
    cause: Cause | None = None
    result_sha256: Sha256 | None = None

    @property
    def labels(self) -> frozenset[str]:
        """Give what its agent is labelled with once it begins: whatever any answer said."""
        return frozenset(label for entry in self.evaluations for label in entry.labels)

    @property
    def name(self) -> str:
        """Give the resource name, `calls/<ULID>`."""
        return f"calls/{self.id}"
