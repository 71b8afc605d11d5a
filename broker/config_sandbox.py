"""Define the settings of what tools run in."""

from pathlib import Path

from pydantic import Field, model_validator

from broker.config_sections import Section
from broker.config_types import Cidr, EngineUrl, FilePath, OptionalPath, RuntimeName
from broker.core.decision import RUNTIMES
from broker.core.sandbox import UIDS

# What a Docker Engine takes for a user: 31 bits.
_MAX_UID = 2**31 - 1


class SandboxSection(Section):
    """Where tools run."""

    docker_url: EngineUrl = Field(
        default="unix:///var/run/docker.sock", description="The Docker Engine's address."
    )
    images_lock: FilePath = Field(
        default=Path("images.lock.json"),
        description="Ids of the tools' images; `serve` runs no others.",
    )
    tools_dir: OptionalPath = Field(
        default=None, description="Folder of tool definitions; empty: the shipped tools."
    )
    max_running: int = Field(
        default=4, ge=1, le=1024, description="How many containers may run at the same time."
    )
    running_per_agent: int = Field(
        default=0,
        ge=0,
        le=1024,
        description=(
            "How many of them one agent may have, so that long calls of one leave others room; "
            "0: all but one."
        ),
    )
    runtimes: tuple[RuntimeName, ...] = Field(
        default=RUNTIMES,
        description=(
            "Container runtimes from the weakest isolation to the strongest; policy and tools may "
            "demand these. Put others of the Engine's in their places, take none of these out."
        ),
    )

    first_uid: int = Field(
        default=UIDS.start,
        ge=1000,
        le=_MAX_UID,
        description=(
            "The first of the user ids that containers get, each its own. Nobody else on the "
            "Engine's machine may have them, nor another broker there."
        ),
    )
    uid_count: int = Field(
        default=len(UIDS),
        ge=4096,
        le=_MAX_UID,
        description="How many there are; one is used again after all the others.",
    )

    @property
    def uids(self) -> range:
        """The user ids that containers get."""
        return range(self.first_uid, self.first_uid + self.uid_count)

    @model_validator(mode="after")
    def _within_an_engines_reach(self) -> "SandboxSection":
        if self.uids[-1] > _MAX_UID:
            raise ValueError(f"first_uid with uid_count must not go past {_MAX_UID}")
        return self

    @model_validator(mode="after")
    def _one_order(self) -> "SandboxSection":
        if len(set(self.runtimes)) != len(self.runtimes):
            raise ValueError("runtimes must name each runtime once")
        # A changed order of these would turn "higher isolation" around for every rule there is.
        if tuple(name for name in self.runtimes if name in RUNTIMES) != RUNTIMES:
            raise ValueError(f"runtimes must have {', '.join(RUNTIMES)} in this order")
        return self


class PoolSection(Section):
    """Containers that are started before calls ask for them, each used once."""

    containers: int = Field(
        default=8,
        ge=0,
        le=1024,
        description=(
            "How many may wait at the same time, besides those that run; 0: none. Which ones wait "
            "follows the calls of the last minutes."
        ),
    )
    memory_bytes: int = Field(
        default=2 * 1024**3,
        ge=0,
        description="The most that their memory limits may come to together.",
    )


class EgressSection(Section):
    """How a container without a network reaches the places that policy lists for its call."""

    state_dir: FilePath = Field(
        default=Path("egress"),
        description=(
            "Folder of the sockets that go into containers, on the Engine's machine; made with "
            "mode 0700, the broker's own."
        ),
    )
    allow_cidrs: frozenset[Cidr] = Field(
        default=frozenset(),
        description=(
            "Networks that listed names may lead to although they are private, loopback or "
            'otherwise not public, such as ["10.20.0.0/24"].'
        ),
    )
    ca_file: OptionalPath = Field(
        default=None,
        description="PEM of further certificate authorities for tools; empty: the public ones.",
    )
    connections_per_call: int = Field(
        default=16, ge=1, le=1000, description="Connections of one call at the same time."
    )
    bytes_per_call: int = Field(
        default=64 * 1024**2,
        ge=1024,
        le=1024**4,
        description="Bytes that one call may send, and that it may receive.",
    )
    connect_timeout_s: float = Field(
        default=10, gt=0, le=300, description="For lookup with connection, in seconds."
    )
    idle_timeout_s: float = Field(
        default=60, gt=0, le=3600, description="A connection without a byte ends, in seconds."
    )


class CeilingsSection(Section):
    """What no call gets more of, whatever its tool and policy say."""

    cpu_millicores: int = Field(
        default=2000, ge=10, le=1_000_000, description="Processor time: 1000 is one core."
    )
    memory_bytes: int = Field(
        default=1024**3, ge=16 * 1024**2, le=1024**4, description="Memory without swap, in bytes."
    )
    pids: int = Field(default=256, ge=4, le=100_000, description="Processes with threads.")
    timeout_s: int = Field(
        default=300, ge=1, le=86_400, description="Running time of the tool, in seconds."
    )
    output_bytes: int = Field(
        default=32 * 1024**2,
        ge=1024,
        le=1024**3,
        description="Output that is kept of each stream, and files that come back, in bytes.",
    )
    tmp_bytes: int = Field(
        default=256 * 1024**2,
        ge=1024**2,
        le=64 * 1024**3,
        description="Size of each of the tool's scratch folders, in bytes.",
    )
