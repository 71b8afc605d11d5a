"""End a container: everything in it dead, what it used counted."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar, cast

from docker import APIClient

from broker.adapters.docker_engine.cgroup import Spent
from broker.adapters.docker_engine.connection import EngineConnection, EngineFault
from broker.adapters.docker_engine.container import Container
from broker.adapters.docker_engine.ending import Exit, Stop, is_alone, tells_exit
from broker.adapters.docker_engine.last_resort import kill_processes
from broker.adapters.docker_engine.wire import called_off
from broker.core.frames import EndWord, Frame, FrameKind

T = TypeVar("T")

# What lives in a cgroup longer than this after the first process is nobody's of the call.
_LEAVING_S = 1.0
_LOOK_S = 0.001
_LEAVE = Frame(kind=FrameKind.LEAVE, payload=b"").encode()


class Departure:
    """The way out of one container: it leaves by itself, or is killed.

    Args:
        grace_s: How long each step may take before the next, harder one.
    """

    def __init__(
        self, container: Container, connection: EngineConnection, *, grace_s: float
    ) -> None:
        self._container = container
        self._connection = connection
        self._grace_s = grace_s

    async def end(self, stop: Stop, word: EndWord | None) -> tuple[Spent, Exit | None]:
        """See to it that everything is dead; read what it used while its cgroup is there.

        Args:
            word: The launcher's last, where it said one.

        Returns:
            What was used, with how all came to be dead: None where nobody can say that it is.
        """
        if stop is Stop.SILENT:
            return Spent(), await self._exit(by_us=False) or await self._killed()
        spent = await self._spent()
        stands = stop is Stop.ENDED and word is not None and tells_exit(word, spent)
        proven = word if stands else None
        if proven is not None and is_alone(spent):
            # The Engine would say the same, 20 to 50 ms later.
            await self._say_leave()
            return spent, _left(proven)
        draining = asyncio.create_task(self._container.wire.drain())
        try:
            return spent, await self._leave(stop, proven)
        finally:
            await called_off(draining)

    async def kill(self) -> None:
        """Kill everything in it; whether that was done shows in what the Engine says next."""
        await self._quietly(
            self._connection.call(
                "kill a container",
                lambda client: client.kill(self._container.id, "SIGKILL"),
                deadline_s=self._grace_s,
            )
        )

    async def _leave(self, stop: Stop, proven: EndWord | None) -> Exit | None:
        if proven is not None and self._container.first_process.is_held:
            return await self._deserted(proven)
        return await self._told() if stop is Stop.ENDED else await self._killed()

    async def _deserted(self, proven: EndWord) -> Exit | None:
        """Let the launcher leave; its word stands where the kernel says that nobody is left."""
        await self._say_leave()
        if await self._is_deserted():
            # The Engine would say the same when the runtime's own clearing is done.
            return _left(proven)
        return await self._exit(by_us=False) or await self._killed()

    async def _told(self) -> Exit | None:
        """Let the launcher leave; the Engine tells how."""
        # The wait is under way before the launcher may leave: its answer comes at once.
        leaving = asyncio.create_task(self._exit(by_us=False))
        await asyncio.sleep(0)
        await self._say_leave()
        return await leaving or await self._killed()

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

    async def _killed(self) -> Exit | None:
        """Kill everything, where need be past the Engine; the Engine tells that it is dead."""
        await self.kill()
        exit_state = await self._exit(by_us=True)
        if exit_state is None and await asyncio.to_thread(kill_processes, self._container.id) > 0:
            # Its runtime hung, not the Engine: that tells the end now.
            exit_state = await self._exit(by_us=True)
        return exit_state

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
