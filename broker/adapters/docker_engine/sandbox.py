"""Run one job in one started container."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from secrets import token_bytes
from typing import Any, TypeVar, cast

from docker import APIClient

from broker.adapters.docker_engine.cgroup import Cgroup, Spent
from broker.adapters.docker_engine.connection import EngineConnection, EngineFault
from broker.adapters.docker_engine.ending import Exit, Stop, is_alone, judge, tells_exit
from broker.adapters.docker_engine.first_process import FirstProcess
from broker.adapters.docker_engine.last_resort import kill_processes
from broker.adapters.docker_engine.report import report_of
from broker.adapters.docker_engine.wire import Wire
from broker.core.call import Cause
from broker.core.collect import Harvest
from broker.core.egress import EgressReport
from broker.core.frames import (
    KEY_BYTES,
    EndWord,
    Frame,
    FrameError,
    FrameKind,
    check_paths,
    job_frames,
)
from broker.core.output import OutputSink
from broker.core.redact import Redaction
from broker.core.sandbox import Enforced, Job, Report
from broker.errors import SandboxError
from broker.ports import Outlet

T = TypeVar("T")

_FRAMES_A_TURN = 256
# What lives in a cgroup longer than this after the first process is nobody's of the call.
_LEAVING_S = 1.0
_LOOK_S = 0.001
_LEAVE = Frame(kind=FrameKind.LEAVE, payload=b"").encode()


class _Phase(Enum):
    FRESH = "fresh"
    USED = "used"
    ENDING = "ending"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A started container as `prepare` hands it over."""

    id: str
    slot: str
    wire: Wire
    cgroup: Cgroup
    enforced: Enforced
    outlet: Outlet | None
    first_process: FirstProcess


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
        self._connection = connection
        self._grace_s = grace_s
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
        spent, exit_state = await self._finish(stop, harvest.end)
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
            await asyncio.gather(self._close_outlet(), self._kill_container())

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
            await _cancelled(sending)
            await _cancelled(listening)
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

    async def _finish(self, stop: Stop, word: EndWord | None) -> tuple[Spent, Exit | None]:
        """See to it that everything is dead; read what it used while its cgroup is there."""
        if stop is Stop.SILENT:
            exit_state = await self._exit(by_us=False)
            return Spent(), exit_state or await self._killed_exit()
        spent = await self._spent()
        if stop is not Stop.ENDED or word is None or not tells_exit(word, spent):
            word = None
        if word is not None and is_alone(spent):
            # The Engine would say the same, 20 to 50 ms later.
            await self._say_leave()
            return spent, _left(word)
        draining = asyncio.create_task(self._container.wire.drain())
        try:
            if word is not None and self._container.first_process.is_held:
                exit_state = await self._last_exit(word)
            elif stop is Stop.ENDED:
                exit_state = await self._told_exit()
            else:
                exit_state = await self._killed_exit()
        finally:
            await _cancelled(draining)
        return spent, exit_state

    async def _last_exit(self, word: EndWord) -> Exit | None:
        """Let the launcher leave; its word stands where the kernel says that nobody is left."""
        await self._say_leave()
        if await self._is_deserted():
            # The Engine would say the same when the runtime's own clearing is done.
            return _left(word)
        return await self._exit(by_us=False) or await self._killed_exit()

    async def _told_exit(self) -> Exit | None:
        """Let the launcher leave; the Engine tells how."""
        # The wait is under way before the launcher may leave: its answer comes at once.
        leaving = asyncio.create_task(self._exit(by_us=False))
        await asyncio.sleep(0)
        await self._say_leave()
        return await leaving or await self._killed_exit()

    async def _is_deserted(self) -> bool:
        """Wait until the host's kernel says that all in the container are dead; not for long."""
        try:
            async with asyncio.timeout(_LEAVING_S):
                await self._container.first_process.ended()
                # In the older kind of cgroup the kernel has no event for the last one's death.
                while not self._container.cgroup.is_empty():  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            return False
        return True

    async def _say_leave(self) -> None:
        try:
            await self._container.wire.send(_LEAVE)
        except OSError:
            return

    async def _killed_exit(self) -> Exit | None:
        await self._kill_container()
        exit_state = await self._exit(by_us=True)
        if exit_state is None and await asyncio.to_thread(kill_processes, self._container.id) > 0:
            # Its runtime hung, not the Engine: that tells the end now.
            exit_state = await self._exit(by_us=True)
        return exit_state

    async def _kill_container(self) -> None:
        await self._quietly(
            self._connection.call(
                "kill a container",
                lambda client: client.kill(self._container.id, "SIGKILL"),
                deadline_s=self._grace_s,
            )
        )

    async def _exit(self, *, by_us: bool) -> Exit | None:
        """Wait for the container's end as the Engine sees it; None where it does not say so."""

        def wait(client: APIClient) -> dict[str, Any]:
            client.wait(self._container.id, timeout=max(1, int(self._grace_s)))
            return cast("dict[str, Any]", client.inspect_container(self._container.id))

        inspection = await self._quietly(
            self._connection.call("wait for a container's end", wait, deadline_s=self._grace_s)
        )
        if inspection is None or inspection["State"]["Running"]:
            return None
        state = inspection["State"]
        return Exit(code=state["ExitCode"], oom_killed=state["OOMKilled"], by_us=by_us)

    async def _spent(self) -> Spent:
        # Read here, not in a thread: the kernel answers from memory, sooner than a thread begins.
        if seen := self._container.cgroup.read():
            return seen
        told = self._connection.call(
            "read a container's usage", self._engine_stats, deadline_s=self._grace_s
        )
        return await self._quietly(told) or Spent()

    def _engine_stats(self, client: APIClient) -> Spent:
        stats = cast("Any", client).stats(self._container.id, stream=False, one_shot=True)
        memory = stats.get("memory_stats") or {}
        if not memory:
            # The Engine answers zeros for a container that has ended.
            return Spent()
        return Spent(
            cpu_ms=stats["cpu_stats"]["cpu_usage"]["total_usage"] // 1_000_000,
            max_memory_bytes=memory.get("max_usage"),
            source="engine",
        )

    @staticmethod
    async def _quietly(answer: Awaitable[T]) -> T | None:
        try:
            return await answer
        except EngineFault:
            # Whatever the Engine did not do shows in its next answer, or in there being none.
            return None


def _left(word: EndWord) -> Exit:
    return Exit(code=word.exit_code, oom_killed=False, by_us=False, source="launcher")


async def _cancelled(task: "asyncio.Task[Any]") -> None:
    """Cancel a task, then wait until it is out of the stream."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
