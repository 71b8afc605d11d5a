"""Hold a container's first process, so that the kernel tells of its death at once."""

import asyncio
import os
import select

from broker.adapters.docker_engine.process import process_of


class FirstProcess:
    """A descriptor of the process with which everything in its container ends.

    The Engine tells of a death 20 to 50 ms after it, and what is sent to the container meanwhile
    vanishes without an error.

    Args:
        held: A pidfd; None where the process cannot be seen from here.
    """

    def __init__(self, held: int | None) -> None:
        self._held = held

    @property
    def has_ended(self) -> bool:
        """Whether the kernel says that it is dead; where it says nothing, it may live."""
        if self._held is None:
            return False
        death = select.poll()
        death.register(self._held, select.POLLIN)
        return death.poll(0) != []

    @property
    def is_held(self) -> bool:
        """Whether the kernel of this machine tells of its death at all."""
        return self._held is not None

    async def ended(self) -> None:
        """Return when the kernel says that it is dead; never where it cannot say."""
        loop = asyncio.get_running_loop()
        death: asyncio.Future[None] = loop.create_future()
        held = self._held
        if held is None:
            await death
            return

        def tell() -> None:
            # Told again at each turn of the loop until nobody reads.
            if not death.done():
                death.set_result(None)

        loop.add_reader(held, tell)
        try:
            await death
        finally:
            loop.remove_reader(held)

    def close(self) -> None:
        """Let go of it. Idempotent."""
        if self._held is not None:
            os.close(self._held)
            self._held = None


def hold(pid: int, container_id: str) -> FirstProcess:
    """Take hold of the process that the Engine names as a container's first."""
    try:
        held = os.pidfd_open(pid)
    except OSError:
        return FirstProcess(None)
    # Looked at when it is held: its number can no longer become another process's.
    if process_of(pid, container_id) is None:
        os.close(held)
        return FirstProcess(None)
    return FirstProcess(held)
