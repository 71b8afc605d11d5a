"""Make sandboxes in memory, as the real engine makes them."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum

from broker.core.call import Cause, Usage
from broker.core.output import OutputBuffer, OutputSink, Source
from broker.core.sandbox import Collect, Enforced, FileChange, Job, Profile, Report, Stream
from broker.core.secret import Secret
from broker.errors import SandboxError
from broker.ports import Clock
from tests.ports import samples

SLEEP = "import time; time.sleep(600)"
"""The program that goes on until somebody ends it; every other one prints `done`, then ends."""


class Trouble(Enum):
    """What goes wrong with the next sandbox; the value is when."""

    NOT_MADE = "prepare: the engine refuses"
    BROKEN_MAKER = "prepare: a bug of the adapter"
    SLOW_MAKER = "prepare: the engine takes ten seconds"
    NOT_BEGUN = "run: certainly not begun"
    BROKEN = "run: a bug of the adapter, after the tool began"
    ENGINE_LOST = "run: the engine does not confirm the end"
    KILL_HANGS = "kill: the engine does not return"
    SLOW_REMOVAL = "discard: the engine takes ten seconds"


@dataclass
class ContainerHost:
    """What outlives a broker: its containers, with what tools did.

    Args:
        containers: Slot with the boot that made it.
        began: Exact arguments with how often a tool began with them.
        given: Exact arguments with the secrets that the tool got.
        changes: What a tool with these exact arguments changes in the workspace.
        keeps_some: Whether a container waits for whatever is asked for.
    """

    containers: dict[str, str] = field(default_factory=dict)
    began: Counter[bytes] = field(default_factory=Counter)
    given: dict[bytes, tuple[Secret, ...]] = field(default_factory=dict)
    changes: dict[bytes, tuple[FileChange, ...]] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    is_reachable: bool = True
    keeps_some: bool = False

    def strikes(self, *troubles: Trouble) -> bool:
        """Tell whether one of these is the next trouble; it is then over."""
        if self.troubles and self.troubles[0] in troubles:
            self.troubles.pop(0)
            return True
        return False


class FakeSandbox:
    """One container in memory, used once."""

    def __init__(self, engine: "FakeSandboxEngine", slot: str, enforced: Enforced) -> None:
        self._engine = engine
        self._slot = slot
        self._enforced = enforced
        self._is_used = False
        self._killed: asyncio.Future[Cause] = asyncio.get_running_loop().create_future()

    @property
    def slot(self) -> str:
        """Name of the slot."""
        return self._slot

    @property
    def enforced(self) -> Enforced:
        """What it was made with."""
        return self._enforced

    @property
    def is_fresh(self) -> bool:
        """Whether it still waits for its job."""
        return not self._is_used and self._slot in self._engine.host.containers

    async def run(self, job: Job, sink: OutputSink | None = None) -> Report:
        """Do the job."""
        host = self._engine.host
        sink = OutputBuffer(job.output_bytes) if sink is None else sink
        self._engine.sinks[self._slot] = sink
        if self._is_used or self._slot not in host.containers:
            raise SandboxError("this sandbox was used before")
        self._is_used = True
        await asyncio.sleep(0)
        if self._killed.done():
            return _report(self._killed.result(), None, sink)
        if host.strikes(Trouble.NOT_BEGUN):
            raise SandboxError("the stream is closed")
        host.began[job.arguments] += 1
        host.given[job.arguments] = job.secrets
        if host.strikes(Trouble.BROKEN):
            raise RuntimeError("a bug of the adapter")
        if host.strikes(Trouble.ENGINE_LOST):
            return _report(Cause.ENGINE_LOST, None, sink)
        await asyncio.sleep(0)
        if json.loads(job.arguments).get("code") == SLEEP:
            return _report(await self._outlive(job.timeout_s), 137, sink)
        if self._killed.done():
            return _report(self._killed.result(), 137, sink)
        sink.take(Source.STDOUT, b"done\n")
        report = _report(Cause.EXITED, 0, sink, host.changes.get(job.arguments, ()), job.collect)
        return replace(report, secrets=tuple(secret.name for secret in job.secrets))

    async def kill(self, cause: Cause) -> None:
        """End it now."""
        if self._engine.host.strikes(Trouble.KILL_HANGS):
            await asyncio.Event().wait()
        if not self._killed.done():
            self._killed.set_result(cause)

    async def discard(self) -> None:
        """Remove it."""
        await asyncio.sleep(0)
        if self._engine.host.strikes(Trouble.SLOW_REMOVAL):
            await self._engine.dawdle()
        if not self._engine.is_dead:
            self._engine.host.containers.pop(self._slot, None)

    async def _outlive(self, timeout_s: float) -> Cause:
        clock = self._engine.clock
        until = clock.now() + timedelta(seconds=timeout_s)
        over = asyncio.ensure_future(clock.sleep_until(until))
        try:
            await asyncio.wait({over, self._killed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
        return self._killed.result() if self._killed.done() else Cause.TIMEOUT


class FakeSandboxEngine:
    """A `SandboxEngine` on a `ContainerHost`; `is_dead` once its broker was killed."""

    def __init__(self, host: ContainerHost, clock: Clock, *, boot: str) -> None:
        self.host = host
        self.clock = clock
        self.is_dead = False
        self.sinks: dict[str, OutputSink] = {}
        """Slot with where its tool writes: a test writes there for it."""
        self._boot = boot
        self._kept = 0

    async def prepare(self, profile: Profile, *, slot: str) -> FakeSandbox:
        """Start a fresh container."""
        await asyncio.sleep(0)
        self._check()
        if self.host.strikes(Trouble.NOT_MADE):
            raise SandboxError("the engine refuses")
        if self.host.strikes(Trouble.BROKEN_MAKER):
            raise RuntimeError("a bug of the adapter")
        made = self._made(profile, slot)
        if self.host.strikes(Trouble.SLOW_MAKER):
            await self.dawdle()
        return made

    def renew(self) -> None:
        """Do nothing: what this host keeps, it makes when it is asked for."""

    def at_hand(self, profile: Profile) -> FakeSandbox | None:
        """Hand out a container, where this host keeps some."""
        if not self.host.keeps_some:
            return None
        self._kept += 1
        return self._made(profile, f"{self._boot}-kept-{self._kept}")

    def _made(self, profile: Profile, slot: str) -> FakeSandbox:
        if not self.is_dead:
            self.host.containers[slot] = self._boot
        facts = {"image": profile.image, "runtime": profile.runtime, "pids": profile.pids}
        enforced = Enforced(
            container_id=f"container-{slot}", seccomp_sha256=samples.digest("seccomp"), facts=facts
        )
        return FakeSandbox(self, slot, enforced)

    async def dawdle(self) -> None:
        """Let ten seconds pass."""
        await self.clock.sleep_until(self.clock.now() + timedelta(seconds=10))

    async def sweep(self) -> int:
        """Remove what earlier boots left."""
        await asyncio.sleep(0)
        self._check()
        old = [slot for slot, boot in self.host.containers.items() if boot != self._boot]
        for slot in old:
            del self.host.containers[slot]
        return len(old)

    async def check(self) -> Mapping[str, str]:
        """Describe it."""
        await asyncio.sleep(0)
        self._check()
        return {"version": "fake"}

    async def close(self) -> None:
        """Remove every container of this boot."""
        for slot in [slot for slot, boot in self.host.containers.items() if boot == self._boot]:
            del self.host.containers[slot]

    def _check(self) -> None:
        if not self.host.is_reachable:
            raise SandboxError("the engine does not answer")


def _report(
    cause: Cause,
    exit_code: int | None,
    sink: OutputSink,
    changes: tuple[FileChange, ...] = (),
    collect: Collect = Collect.OUTPUTS,
) -> Report:
    sink.end()
    streams = {
        source: Stream(data=sink.kept(source), size_bytes=len(sink.kept(source)), truncated=False)
        for source in Source
    }
    return Report(
        cause=cause,
        exit_code=exit_code,
        stdout=streams[Source.STDOUT],
        stderr=streams[Source.STDERR],
        outputs=(),
        changes=changes if collect is Collect.CHANGES else (),
        limits_hit=(),
        notes=(),
        usage=Usage(wall_ms=1, cpu_ms=1, max_memory_bytes=4096),
        sources=(("cause", "broker"), ("exit_code", "engine"), ("stdout", "tool")),
    )
