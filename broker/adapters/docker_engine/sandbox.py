"""Run one job in one started container."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from enum import Enum
from secrets import token_bytes
from typing import Any

from broker.adapters.docker_engine.connection import EngineConnection
from broker.adapters.docker_engine.container import Container
from broker.adapters.docker_engine.departure import Departure
from broker.adapters.docker_engine.ending import Stop, judge
from broker.adapters.docker_engine.report import report_of
from broker.adapters.docker_engine.wire import called_off
from broker.core.call import Cause
from broker.core.collect import Harvest
from broker.core.egress import EgressReport
from broker.core.frames import (
    KEY_BYTES,
    FrameError,
    check_paths,
    job_frames,
)
from broker.core.output import OutputSink
from broker.core.redact import Redaction
from broker.core.sandbox import Enforced, Job, Report
from broker.errors import SandboxError

_FRAMES_A_TURN = 256


class _Phase(Enum):
    FRESH = "fresh"
    USED = "used"
    ENDING = "ending"
    DISCARDED = "discarded"


class DockerSandbox:
    """One started container, used once (see `broker.ports.Sandbox`).

    Args:
        grace_s: How long each step of an ending may take before the next, harder one.
        remove: Removes the container by its id, retrying as long as it is sensible.
    """

    def __init__(
        self,
        container: Container,
        connection: EngineConnection,
        *,
        grace_s: float,
        remove: Callable[[str], Awaitable[None]],
    ) -> None:
        self._container = container
        self._departure = Departure(container, connection, grace_s=grace_s)
        self._remove = remove
        self._phase = _Phase.FRESH
        self._was_sent = False
        self._killed: asyncio.Future[Cause] = asyncio.get_running_loop().create_future()

    @property
    def slot(self) -> str:
        """Name of the slot, as in the container's labels."""
        return self._container.slot

    @property
    def enforced(self) -> Enforced:
        """Its settings as read back from the Engine."""
        return self._container.enforced

    @property
    def is_fresh(self) -> bool:
        """Whether it still waits for its job: a launcher that waits says nothing, and is there."""
        return (
            self._phase is _Phase.FRESH
            and self._container.wire.is_quiet
            and not self._container.first_process.has_ended
        )

    async def run(self, job: Job, sink: OutputSink | None = None) -> Report:
        """Send the job, then wait until everything in the container is dead.

        Raises:
            SandboxError: The tool certainly never began.
        """
        if self._phase is not _Phase.FRESH:
            raise SandboxError("this sandbox was used before: prepare a fresh one")
        self._phase = _Phase.USED
        try:
            check_paths(job)
        except FrameError as error:
            raise SandboxError(f"the job cannot be sent: {error}") from error
        key = token_bytes(KEY_BYTES)
        harvest = Harvest(
            output_bytes=job.output_bytes,
            collect=job.collect,
            workspace=frozenset(path for path, _ in job.workspace),
            key=key,
            sink=sink,
            redaction=Redaction.of(job.secrets),
        )
        started_s = time.monotonic()
        stop = await self._converse(job, key, harvest)
        # Before anybody is told that the container is dead: nothing may go out after that.
        went_out = await self._close_outlet()
        self._phase = _Phase.ENDING
        wall_ms = int((time.monotonic() - started_s) * 1000)
        harvest.close()
        spent, exit_state = await self._departure.end(stop, harvest.end)
        if harvest.not_begun is not None:
            raise SandboxError(f"the tool could not be started: {harvest.not_begun}")
        given = tuple(secret.name for secret in job.secrets) if self._was_sent else ()
        ending = judge(
            stop,
            asked=self._killed.result() if self._killed.done() else Cause.CANCELLED,
            has_begun=harvest.has_begun,
            word=harvest.end,
            exit_state=exit_state,
            spent=spent,
            files_capped=harvest.files_capped,
            last_words=harvest.redacted(self._container.wire.last_words.encode()),
        )
        if went_out is not None and job.secrets:
            went_out = went_out.without_refused_hosts()
        return report_of(
            harvest, ending, exit_state, spent, wall_ms=wall_ms, secrets=given, egress=went_out
        )

    async def kill(self, cause: Cause) -> None:
        """End everything in the container now; `run` then returns with this cause."""
        if not self._killed.done():
            self._killed.set_result(cause)
        # A run that is ending already ends as it was; a kill would only blur the exit code.
        if self._phase in (_Phase.FRESH, _Phase.USED):
            await asyncio.gather(self._close_outlet(), self._departure.kill())

    async def discard(self) -> None:
        """Kill what is left, remove the container."""
        if self._phase is _Phase.DISCARDED:
            return
        self._phase = _Phase.DISCARDED
        self._container.wire.close()
        self._container.first_process.close()
        await self._close_outlet()
        await self._remove(self._container.id)

    async def _close_outlet(self) -> EgressReport | None:
        outlet = self._container.outlet
        return await outlet.close() if outlet else None

    async def _converse(self, job: Job, key: bytes, harvest: Harvest) -> Stop:
        """Send the job while listening, until there is a reason to stop."""
        if self._killed.done():
            return Stop.KILLED
        if self._container.first_process.has_ended:
            # Of what is sent now the Engine would not say that it went nowhere.
            raise SandboxError("the sandbox died while it waited: nothing of the call was sent")
        pieces = job_frames(job, key)
        try:
            await self._container.wire.send(next(pieces))
        except OSError as error:
            raise SandboxError(f"the sandbox's stream is closed: {error}") from error
        listening = asyncio.create_task(self._listen(harvest))
        sending = asyncio.create_task(self._send(pieces))
        try:
            waits: set[asyncio.Future[Any]] = {listening, self._killed}
            done, _ = await asyncio.wait(
                waits,
                timeout=job.timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            await called_off(sending)
            await called_off(listening)
        if not done:
            return Stop.TIMEOUT
        # A run that came to its end before the kill did is what it is.
        return listening.result() if listening in done else Stop.KILLED

    async def _send(self, pieces: Iterator[bytes]) -> None:
        try:
            for piece in pieces:
                await self._container.wire.send(piece)
        except OSError:
            # The container is gone; the listener sees the end of the stream.
            return
        self._was_sent = True

    async def _listen(self, harvest: Harvest) -> Stop:
        try:
            while (frames := await self._container.wire.receive()) is not None:
                for number, frame in enumerate(frames):
                    if number % _FRAMES_A_TURN == _FRAMES_A_TURN - 1:
                        # Thousands of tiny frames may come at once: others get their turn.
                        await asyncio.sleep(0)
                    harvest.feed(frame)
                    if harvest.over_cap:
                        return Stop.OVER_CAP
                if harvest.is_over:
                    return Stop.ENDED
        except FrameError:
            return Stop.BROKEN
        return Stop.SILENT
