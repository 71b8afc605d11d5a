"""Name what the story needs of the world; each adapter is one of these."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NewType, Protocol

from broker.core.address import Address
from broker.core.call import Call, Cause
from broker.core.canonical import JsonObject
from broker.core.document import Document
from broker.core.egress import Egress, EgressReport
from broker.core.halt import Halt
from broker.core.ids import AgentId, CallId, HaltId, Pseudonym, Sha256
from broker.core.lifecycle import CallState, Step
from broker.core.output import OutputSink
from broker.core.receipt import ReceiptDraft
from broker.core.sandbox import Enforced, Job, Profile, Report
from broker.core.secret import Secret

HALTS_PREMISE = "halts"
"""Names what `PremiseChanged` says of a start that a halt forbids."""

LABELS_PREMISE = "labels"
"""Names what `PremiseChanged` says of a start that was decided before its agent's last label."""


class Clock(Protocol):
    """Tell the time. Thread-safe."""

    def now(self) -> datetime:
        """Give the broker's time, aware UTC; it never goes back within one life of the broker."""

    @property
    def is_trusted(self) -> bool:
        """Tell whether the machine's time is believed.

        Where it is not, nothing is approved, begun or expired until it is again (contract §5).
        """

    def go_on_at(self, at: datetime) -> None:
        """Go on from this time, whatever the machine's clock says; trusted until that jumps."""

    def machine_time(self) -> datetime:
        """Give what the machine's clock says, believed or not."""

    def monotonic_s(self) -> float:
        """Give seconds from an arbitrary start, unaffected by the wall clock."""

    async def sleep_until(self, at: datetime) -> None:
        """Return when `now()` has reached `at`."""


class Entropy(Protocol):
    """Give unpredictable bytes. Thread-safe."""

    def random_bytes(self, size: int) -> bytes:
        """Draw `size` bytes from a cryptographic source."""


class Telemetry(Protocol):
    """Tell people how the broker does; never raises, never waits, gets no content."""

    def recorded(self, call: Call, steps: Sequence[Step]) -> None:
        """Note a durable commit: the steps that it took, the call as it stands after the last."""

    def taken_up(self, call: Call) -> None:
        """Note an open call of an earlier life."""

    def decided(self, engine: str, seconds: float) -> None:
        """Note how long policy took to answer."""

    def refused(self, rpc: str, reason: str) -> None:
        """Note an RPC that ended in an error."""

    def halted(self, halt: Halt, active: int) -> None:
        """Note a halt that was set, or found at start, and how many are active with it."""

    def resumed(self, halt: Halt, active: int) -> None:
        """Note a halt that was lifted, and how many are still active."""

    def sandbox_taken(self, *, was_waiting: bool) -> None:
        """Note a container that a call gets, and whether it was there before the call."""

    def sandboxes_waiting(self, containers: int) -> None:
        """Note how many containers wait for calls."""

    def stopping(self, running: int) -> None:
        """Note that the broker stops, and how many calls it lets end first."""

    def alarm(self, what: str, error: BaseException) -> None:
        """Note a fault that an operator has to look at."""


class Signer(Protocol):
    """Sign with one key whose private part never leaves the adapter. Thread-safe."""

    @property
    def key_id(self) -> Sha256:
        """SHA-256 of the public key's SPKI DER."""

    @property
    def public_key_pem(self) -> str:
        """SPKI PEM of the public key."""

    def sign(self, message: bytes) -> bytes:
        """Sign a message (Ed25519 raw, or ECDSA P-256 with SHA-256 in DER)."""


class SecretProvider(Protocol):
    """Give the values of secrets. Safe from one event loop; blocking reads have their threads."""

    async def read(self, names: Sequence[str]) -> tuple[Secret, ...]:
        """Read the values that these secrets have now, in the order of the names.

        Bounded in time; nobody retries.

        Raises:
            SecretUnavailable: One is not configured, or cannot be read, or is no secret.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyAnswer:
    """What an engine answered, unchecked."""

    output: JsonObject
    bundle_sha256: Sha256
    bundle_revision: str


class PolicyEngine(Protocol):
    """Evaluate the entry point `data.broker.decision.result`. Safe from one event loop."""

    @property
    def name(self) -> str:
        """`wasm` or `opa`."""

    @property
    def bundle_sha256(self) -> Sha256:
        """Digest of the active bundle."""

    @property
    def bundle_revision(self) -> str:
        """Revision of the active bundle, from its manifest."""

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Ask policy about one input, within the engine's own deadline; no retries needed.

        Args:
            policy_input: One canonical JSON document.

        Raises:
            PolicyError: No usable answer; the subclass says why. Never another exception.
        """

    async def close(self) -> None:
        """Stop the engine; evaluations under way end in PolicyUnavailable."""


class Sandbox(Protocol):
    """One started container, blocked on its attached stream; used once. Safe from one loop."""

    @property
    def slot(self) -> str:
        """Name of the slot, as in the container's labels."""

    @property
    def enforced(self) -> Enforced:
        """Its settings as read back from the Engine."""

    @property
    def is_fresh(self) -> bool:
        """Whether it still waits for its job: false once it was used, or is known to be gone."""

    async def run(self, job: Job, sink: OutputSink | None = None) -> Report:
        """Send the job, then wait until everything in the container is dead.

        Returns a report however the run ended, a kill or a lost Engine included; returns within
        the job's timeout plus a fixed grace. Call it once.

        Args:
            sink: Gets the tool's output as it comes, its end as soon as nothing more can come, and
                says what the report has of it. None: a buffer of the job's cap.

        Raises:
            SandboxError: The tool certainly never began.
        """

    async def kill(self, cause: Cause) -> None:
        """End everything in the container now; `run` then returns with this cause.

        A run that is ending already ends as it was. Never raises for what the Engine does.
        """

    async def discard(self) -> None:
        """Kill what is left, remove the container. Idempotent; never raises; retried by sweep."""


class Resolver(Protocol):
    """Look up names. Safe from one event loop; blocking work happens in its own threads."""

    async def addresses(self, host: str) -> Sequence[Address]:
        """Give every address of a name, in the order to try them; empty where there is none.

        Args:
            host: A name in normal form, never an address.
        """


class Outlet(Protocol):
    """The way out of one container: a folder of sockets behind which a proxy listens."""

    @property
    def folder(self) -> Path:
        """The folder on this machine, to be mounted into the one container."""

    async def close(self) -> EgressReport:
        """Close every socket and connection, remove the folder; say what went through.

        Idempotent, never raises: each further call gives the same report.
        """


class EgressGateway(Protocol):
    """Let containers reach listed places. Safe from one event loop."""

    async def open(self, slot: str, egress: Egress) -> Outlet:
        """Listen for one container, on sockets of its own.

        Raises:
            SandboxError: The folder or a socket cannot be made; nothing is left.
        """

    async def sweep(self, slots: Collection[str]) -> None:
        """Remove what containers in no such slot left: of an earlier life, or of a lost one.

        Args:
            slots: Those in use, each from before its `open` on; read after looking, so hand over
                what changes with them, not a copy.

        Raises:
            SandboxError: Something cannot be removed.
        """

    async def close(self) -> None:
        """Close every outlet that is still open."""


class SandboxEngine(Protocol):
    """Make sandboxes. Safe from one event loop; blocking work happens in its own threads."""

    async def prepare(self, profile: Profile, *, slot: str) -> Sandbox:
        """Create and start a fresh container by exactly this profile; verify it by reading back.

        Raises:
            SandboxError: It could not be made, or was not made as demanded; nothing is left.
        """

    def at_hand(self, profile: Profile) -> Sandbox | None:
        """Hand out a started container of exactly this profile; None where none waits."""

    async def sweep(self) -> int:
        """Remove this installation's containers of earlier boots; return how many.

        Those of this boot go too that nobody has: they came late, or resisted their removal.

        Raises:
            SandboxError: The Engine does not answer.
        """

    async def check(self) -> Mapping[str, str]:
        """Describe the Engine (version, runtimes, cgroup version) for receipts and GetServerInfo.

        Raises:
            SandboxError: The Engine does not answer.
        """

    async def close(self) -> None:
        """Discard every container of this boot, then stop the threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the only history. `data` holds no content, only names, digests and numbers."""

    sequence: int
    at: datetime
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
    """A sealed receipt: the exact envelope text with its place in the broker's sequence."""

    sequence: int
    call: CallId
    envelope: bytes
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls a list wants; None and the empty set mean any."""

    agent: AgentId | None = None
    states: frozenset[CallState] = frozenset()
    session_id: str | None = None
    tool: str | None = None


class Store(Protocol):
    """Keep the record. Safe from one event loop; one broker process at a time owns it.

    Every method that writes is durable on return (fsynced), is all or nothing, and raises
    StoreUnavailable when the disk, a lock or a closed store stops it. Nobody retries inside.
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
                labels than its last evaluation says (`LABELS_PREMISE`).
            DuplicateRequest: Another call has this agent's request_id.
            ShortIdTaken: Another call has this short id.
            QuotaSpent: Its new files take the agent over `most_file_bytes`.
        """

    async def append_event(self, draft: EventDraft) -> None:
        """Record an event that belongs to no call (start, stop, a refused connection)."""

    async def set_premise(self, name: str, value: str, event: EventDraft) -> None:
        """Set what decisions rest on, such as `policy.bundle`, with the event that says so."""

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
