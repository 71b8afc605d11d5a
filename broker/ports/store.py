"""Name what keeps the record."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from broker.core.call import Call
from broker.core.document import Document
from broker.core.halt import Halt
from broker.core.ids import AgentId, CallId, HaltId, Pseudonym, Sha256
from broker.ports.record import (
    CallFilter,
    Change,
    Event,
    EventDraft,
    KeptBundle,
    StagedFile,
    StoredReceipt,
)


class Store(Protocol):
    """Keep the record. Safe from one event loop; one broker process at a time owns it.

    Every method that writes is durable on return (fsynced), is all or nothing, and raises
    StoreUnavailable when the disk, a lock or a closed store stops it. Nobody retries inside, and
    what failed is not written later: a read after it tells whether it was.
    """

    @property
    def installation(self) -> str:
        """Random id of this store, drawn when it was made; labels of containers carry it."""

    @property
    def epoch(self) -> int:
        """Counts the lives of the broker on this store, from 1."""

    async def commit(self, change: Change) -> StoredReceipt | None:
        """Write one change by compare-and-set; return the receipt where one was sealed.

        One that starts a call labels the call's agent with `call.labels`.

        Raises:
            StaleCall: The stored version is not `call.version - 1`.
            PremiseChanged: A premise or the workspace's tree differs, or the change starts a call
                that an active halt covers (`HALTS_PREMISE`), or whose agent has another number of
                labels than its last evaluation says (`LABELS_PREMISE`), or while the machine's time
                is not believed (`CLOCK_PREMISE`), or when its `start_by` has come
                (`START_BY_PREMISE`).
            DuplicateRequest: Another call has this agent's request_id.
            ShortIdTaken: Another call has this short id.
            QuotaSpent: Its new files take the agent over `most_file_bytes`.
        """

    async def append_event(self, draft: EventDraft) -> None:
        """Record an event that belongs to no call (start, stop, a refused connection)."""

    async def set_premise(self, name: str, value: str, event: EventDraft) -> None:
        """Set what decisions rest on, such as `policy.bundle`, with the event that says so."""

    async def premise(self, name: str) -> str | None:
        """Read a premise; None where nobody set it."""

    async def keep_bundle(self, bundle: KeptBundle, event: EventDraft) -> None:
        """Keep the bundle that becomes active, set `BUNDLE_PREMISE` to its digest, with the event.

        One bundle is kept; it takes the place of the one before.

        Raises:
            StaleBundle: The kept one has this number or a higher one.
        """

    async def kept_bundle(self) -> KeptBundle | None:
        """Read the bundle that was kept last; None where none ever was."""

    async def set_halt(self, halt: Halt, reason: Document, event: EventDraft) -> None:
        """Record an active halt; one that is there already is left as it is, with no new event.

        Args:
            reason: Content whose data subject is who set the halt.
        """

    async def lift_halt(self, halt: HaltId, event: EventDraft) -> None:
        """Remove a halt; where there is none nothing is written, the event neither."""

    async def halts(self) -> Sequence[Halt]:
        """List active halts, oldest first."""

    async def labels(self) -> Mapping[AgentId, frozenset[str]]:
        """List what every agent is labelled with; one that is not named has no label."""

    async def get_call(self, call: CallId) -> Call | None:
        """Read one call."""

    async def find_by_request_id(self, agent: AgentId, request_id: str) -> Call | None:
        """Find the call that this agent made under this request_id."""

    async def find_by_short_id(self, prefix: str, agent: AgentId | None) -> Sequence[Call]:
        """Find up to 2 calls whose short id starts so, of this agent or of any."""

    async def list_calls(
        self, wanted: CallFilter, *, limit: int, before: CallId | None
    ) -> Sequence[Call]:
        """List calls, newest first, strictly older than `before`."""

    async def open_calls(self) -> Sequence[Call]:
        """List every call that has not ended, oldest first."""

    async def recent_calls(self, since: datetime) -> Sequence[Call]:
        """List the calls received since then, oldest first (to rebuild histories at start)."""

    async def latest_at(self) -> datetime | None:
        """Give the time of the last event; None in a new store."""

    async def document(self, sha256: Sha256) -> Document | None:
        """Read one document; None where it was erased or never was."""

    async def file(self, agent: AgentId, sha256: Sha256) -> bytes | None:
        """Read one file of an agent, checked against its digest."""

    async def file_piece(self, agent: AgentId, sha256: Sha256, number: int) -> bytes | None:
        """Read one piece of a file, from 0; None behind the last, and where there is no file.

        Every piece but the last is as long as the others; the reader checks the digest.
        """

    async def file_size(self, agent: AgentId, sha256: Sha256, at: datetime) -> int | None:
        """Give the size of a file; None where there is none, or it expires by then."""

    async def file_bytes(self, agent: AgentId) -> int:
        """Sum up the sizes of an agent's files, each content once; staged ones do not count."""

    async def begin_file(self, agent: AgentId, first: bytes) -> StagedFile:
        """Begin to stage a file by its first piece; give the name to go on with.

        Nobody reads it before `keep_file`; the next life of the broker removes what is not kept.
        """

    async def extend_file(self, staged: StagedFile, piece: bytes) -> None:
        """Add the next piece, at most PIECE_BYTES, to a file that is being staged."""

    async def keep_file(
        self,
        staged: StagedFile,
        *,
        sha256: Sha256,
        expires_at: datetime | None,
        most_bytes: int,
    ) -> None:
        """Make a staged file one of its agent's, which readers find by this digest.

        Where the agent has that file already the staged one goes, and the longer time counts.

        Args:
            sha256: Digest of all pieces, as the author worked it out.
            expires_at: When `drop_expired_files` may take it; None: never.
            most_bytes: What the agent may keep, this file included.

        Raises:
            QuotaSpent: It would keep more; the file is still staged.
        """

    async def drop_file(self, staged: StagedFile) -> None:
        """Remove a file that is being staged, in commits that hold up nobody.

        One that is not staged, or kept by now, is left alone.
        """

    async def drop_expired_files(self, before: datetime) -> int:
        """Remove files that expired before then, unless an open call names them; count them."""

    async def workspace_tree(self, agent: AgentId, session_id: str) -> Sha256 | None:
        """Name the TREE document of a session's current workspace."""

    async def receipt(self, call: CallId) -> StoredReceipt | None:
        """Read the receipt of a call."""

    async def list_receipts(
        self, *, after: int, limit: int, agent: AgentId | None = None
    ) -> Sequence[StoredReceipt]:
        """List receipts by sequence, strictly after one, of one agent's calls or of all."""

    async def events(
        self, *, after: int, limit: int, call: CallId | None = None
    ) -> Sequence[Event]:
        """List events by sequence, strictly after one."""

    async def pseudonym(self, person: str, fresh: Pseudonym) -> Pseudonym:
        """Give the person's pseudonym; record `fresh` as it where there is none yet."""

    async def close(self) -> None:
        """Finish what was begun, then release the store."""
