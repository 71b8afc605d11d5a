"""Describe what a sandbox must be, what it was, what came out of it."""

from dataclasses import dataclass
from enum import Enum

from broker.core.call import Cause, Usage
from broker.core.canonical import JsonObject
from broker.core.egress import NO_EGRESS, Egress, EgressReport
from broker.core.ids import Sha256
from broker.core.secret import Secret


class Collect(Enum):
    """What is brought back from the container when everything in it is dead."""

    OUTPUTS = "outputs"
    """Files below /out, as the call's outputs."""
    CHANGES = "changes"
    """Changes below /workspace against the tree that was put in, and files below /out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Everything a container is created with. Equal profiles are interchangeable containers."""

    image: str
    """The Engine's image id."""
    command: tuple[str, ...]
    starts_ahead: bool = False
    """Whether the command is started with the container, rather than by the job."""
    runtime: str
    cpu_millicores: int
    memory_bytes: int
    pids: int
    tmp_bytes: int
    egress: Egress = NO_EGRESS
    """Where any: a folder of sockets, of this container's own, is its one mount."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one run gets, and how far it may go."""

    arguments: bytes
    """The call's canonical arguments, one JSON document, for the tool's stdin."""
    workspace: tuple[tuple[str, bytes], ...]
    """Path below /workspace with the file's bytes."""
    inputs: tuple[tuple[str, bytes], ...]
    """Argument name with the bytes of the file it names; put at /in/<argument>."""
    timeout_s: float
    output_bytes: int
    """Cap on stdout, on stderr and on the sum of collected files, each."""
    collect: Collect
    secrets: tuple[Secret, ...] = ()
    """What the tool's own process finds in its environment, and nobody in what comes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One of the tool's output streams, its secrets redacted.

    `data` is what was kept, `size_bytes` what the tool wrote as far as it was read.
    """

    data: bytes
    size_bytes: int
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A path below the workspace that the run changed; `data` is None where it was deleted."""

    path: str
    data: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a run ended: the tool's word (streams, files) beside what was seen from outside."""

    cause: Cause
    """EXITED, SIGNALLED, TIMEOUT, OUTPUT_CAP, MEMORY, CANCELLED, HALTED, BROKER_STOPPED or
    ENGINE_LOST."""
    exit_code: int | None
    """Of the tool's own process, 128 and more for a signal, or of the container that had to be
    killed; None where it is unknown."""
    stdout: Stream
    stderr: Stream
    outputs: tuple[FileChange, ...]
    changes: tuple[FileChange, ...]
    limits_hit: tuple[str, ...]
    """Limits that struck, such as `memory`, `pids`, `files`, `quota`; sorted."""
    notes: tuple[str, ...]
    """What was refused on collection, in plain words: a symlink, a name too long."""
    usage: Usage
    sources: tuple[tuple[str, str], ...]
    """Result field with who says it: `engine`, `launcher`, `cgroup`, `broker`, `tool`, `nobody`."""
    secrets: tuple[str, ...] = ()
    """Names of the secrets that were sent to the tool."""
    redactions: int = 0
    """How often a secret's name stands where its value was."""
    egress: EgressReport | None = None
    """What went through the container's sockets; None where it had none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforced:
    """The container's settings as read back from the Engine after it was started.

    `facts` is JSON of strings, booleans, numbers and lists, for the receipt: runtime, network,
    read_only_root, cap_drop, no_new_privileges, user, memory_bytes, memory_swap_bytes,
    cpu_millicores, pids, seccomp_sha256, ipc, mounts, image, egress_destinations, kernel_confirmed;
    in gVisor kernel, host_pids, sentry_confirmed, ignored_by_runtime besides.
    """

    container_id: str
    seccomp_sha256: Sha256
    facts: JsonObject
