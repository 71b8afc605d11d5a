"""Say what the store is given to write, and gives back."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType

from broker.core.call import Call
from broker.core.canonical import JsonObject
from broker.core.document import Document
from broker.core.ids import AgentId, CallId, Sha256
from broker.core.lifecycle import CallState, Step
from broker.core.receipt import ReceiptDraft

BUNDLE_PREMISE = "policy.bundle"
"""Names the digest of the policy bundle that is active; what starts was decided by it."""

HALTS_PREMISE = "halts"
"""Names what `PremiseChanged` says of a start that a halt forbids."""

CLOCK_PREMISE = "clock"
"""Names what `PremiseChanged` says of a start while the machine's time is not believed."""

START_BY_PREMISE = "start_by"
"""Names what `PremiseChanged` says of a start that comes too late."""

LABELS_PREMISE = "labels"
"""Names what `PremiseChanged` says of a start that was decided before its agent's last label."""

RESTORED_PREMISE = "store.restored"
"""Names the ids that a restored store had, parted by spaces, while calls of theirs are open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the only history. `data` holds no content, only names, digests and numbers.

    Args:
        epoch: The broker's life that wrote it, from 1.
    """

    sequence: int
    at: datetime
    epoch: int
    type: str
    call: CallId | None
    agent: AgentId | None
    data: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDraft:
    """An event before the store has given it its sequence; the call is the change's."""

    type: str
    at: datetime
    data: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceUpdate:
    """Move a session's workspace from one tree to the next.

    `expected_sha256` is None where the session has no tree yet; another tree in the store raises
    PremiseChanged("workspace").
    """

    agent: AgentId
    session_id: str
    expected_sha256: Sha256 | None
    tree_sha256: Sha256


StagedFile = NewType("StagedFile", str)
"""Names a file that is being staged; random."""

PIECE_BYTES = 256 * 1024
"""Largest piece of a file: what one commit writes of it, what one read gives of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """The bytes of one workspace or output file; its digest is its name among its agent's."""

    sha256: Sha256
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Everything that one transaction writes about one call.

    Args:
        call: The call as it shall stand; `call.version` is the version it was read at plus 1, so
            1 inserts.
        events: One per step, in order.
        documents: New content of this call; its data subject is the call's agent.
        files: New file content of this call's agent; one that is there already is left alone, and
            expires no more.
        most_file_bytes: What the agent may keep, if the files are new ones; None: no check.
        receipt: Sealed and appended with the next sequence, if and only if the state is final.
        premises: Name with the value it must have; see `Store.set_premise`.
        workspace: Moves the session's tree.
        notes: Events of the call that are no steps; they come before those of the steps.
    """

    call: Call
    events: tuple[EventDraft, ...]
    documents: tuple[Document, ...] = ()
    files: tuple[File, ...] = ()
    most_file_bytes: int | None = None
    receipt: ReceiptDraft | None = None
    premises: tuple[tuple[str, str], ...] = ()
    workspace: WorkspaceUpdate | None = None
    notes: tuple[EventDraft, ...] = ()

    @property
    def starts(self) -> bool:
        """Tell whether the call goes over the point of no return with this change."""
        return any(event.type == Step.START.value for event in self.events)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReceipt:
    """A sealed receipt: the exact envelope text with its place in the broker's sequence.

    Args:
        is_past: Whether it is of the installation that the store was before it was restored, so of
            another sequence and another log.
    """

    sequence: int
    call: CallId
    envelope: bytes
    at: datetime
    is_past: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls a list wants; None and the empty set mean any."""

    agent: AgentId | None = None
    states: frozenset[CallState] = frozenset()
    session_id: str | None = None
    tool: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBundle:
    """The last policy bundle with a number that was active: what a restart goes on with.

    Args:
        number: At least 1; see `broker.core.bundle.Bundle`.
        archive: Its bytes, as `read_bundle` takes them.
    """

    number: int
    revision: str
    sha256: Sha256
    archive: bytes = field(repr=False)
