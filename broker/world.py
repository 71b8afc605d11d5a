"""Name the parts that the story of a call is told with."""

from dataclasses import dataclass
from datetime import timedelta

from broker.board import Board
from broker.core.admission import Admission
from broker.core.canonical import JsonObject
from broker.core.document import SALT_BYTES, Document, DocumentKind
from broker.core.ids import CallId, ulid
from broker.core.order import JsonCaps
from broker.core.toolbox import Toolbox
from broker.errors import Unavailable
from broker.halts import Halts
from broker.judge import Judge
from broker.labels import Labels
from broker.ledger import Ledger
from broker.notary import Notary
from broker.outputs import Outputs
from broker.people import People
from broker.ports import Clock, Entropy, SandboxEngine, SecretProvider, Store, Telemetry
from broker.sessions import Sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLimits:
    """What the operator decided about agents' files.

    Args:
        upload_bytes: Size of one uploaded file.
        uploads: Uploads of one agent at one time, at least 1.
        upload_within_s: How long one may take.
        upload_idle_s: How long the next bytes of one may take.
        keep_uploads: How long a file is kept that no call took.
        agent_bytes: What one agent may keep, each content counted once.
    """

    upload_bytes: int
    uploads: int
    upload_within_s: float
    upload_idle_s: float
    keep_uploads: timedelta
    agent_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator decided about calls.

    Args:
        boot: Names this life of the broker in the records of its runs.
        start_within: How long an allowed or approved call may wait for a sandbox.
        max_running: Sandboxes at one time, at least 1.
        running_per_agent: How many of them one agent may have, at least 1.
        workspace_files: Files that a session's workspace may hold.
        workspace_bytes: Sum of their sizes.
        files: What agents may keep and upload.
    """

    boot: str
    caps: JsonCaps
    start_within: timedelta
    max_running: int
    running_per_agent: int
    workspace_files: int
    workspace_bytes: int
    files: FileLimits


_DRAINING_RETRY_S = 5.0


@dataclass(slots=True)
class Gate:
    """Whether the broker takes on anything new; what is under way goes on either way."""

    draining: bool = False

    def check(self) -> None:
        """Refuse what would start something new.

        Raises:
            Unavailable: The broker is draining.
        """
        if self.draining:
            raise Unavailable(
                "this broker is draining: ask another, or this one after its restart",
                retry_after_s=_DRAINING_RETRY_S,
                reason="DRAINING",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that the story touches, behind its ports."""

    settings: Settings
    gate: Gate
    store: Store
    ledger: Ledger
    halts: Halts
    labels: Labels
    board: Board
    outputs: Outputs
    clock: Clock
    entropy: Entropy
    telemetry: Telemetry
    judge: Judge
    notary: Notary
    people: People
    sandboxes: SandboxEngine
    secrets: SecretProvider
    sessions: Sessions
    admission: Admission
    toolbox: Toolbox

    def seal(self, kind: DocumentKind, body: JsonObject) -> Document:
        """Seal content under a salt of its own."""
        return Document.seal(kind, body, salt=self.entropy.random_bytes(SALT_BYTES))

    def draw_call_id(self) -> CallId:
        """Draw the id of a call that comes now."""
        return ulid(int(self.clock.now().timestamp() * 1000), self.entropy.random_bytes(10))
