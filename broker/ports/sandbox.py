"""Name what makes and runs sandboxes."""

from collections.abc import Mapping
from typing import Protocol

from broker.core.call import Cause
from broker.core.output import OutputSink
from broker.core.sandbox import Enforced, Job, Profile, Report


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
            SandboxError: The tool certainly never got anything of the job.
        """

    async def kill(self, cause: Cause) -> None:
        """End everything in the container now; `run` then returns with this cause.

        A run that is ending already ends as it was. Never raises for what the Engine does.
        """

    async def discard(self) -> None:
        """Kill what is left, remove the container. Idempotent; never raises; retried by sweep."""


class SandboxEngine(Protocol):
    """Make sandboxes. Safe from one event loop; blocking work happens in its own threads."""

    async def prepare(self, profile: Profile, *, slot: str) -> Sandbox:
        """Create and start a fresh container by exactly this profile; verify it by reading back.

        Raises:
            SandboxError: It could not be made, or was not made as demanded; nothing is left.
        """

    def at_hand(self, profile: Profile) -> Sandbox | None:
        """Hand out a started container of exactly this profile; None where none waits."""

    def renew(self) -> None:
        """Let no call have a container that waits now, or is just being made to wait."""

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
