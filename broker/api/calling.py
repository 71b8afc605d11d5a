"""Make a call on behalf of an RPC."""

from datetime import timedelta

from broker.answer import Answer
from broker.core.identity import Identity
from broker.core.order import Wish
from broker.execute import Executor
from broker.read import Reader
from broker.tasks import Tasks

_HOLD_WAIT_MOST_S = 3_600.0


class Calling:
    """Admit wishes, wait for what becomes of them: the one way from an RPC into the story."""

    def __init__(self, executor: Executor, reader: Reader) -> None:
        self._executor = executor
        self._reader = reader
        self._admissions = Tasks()

    async def call(
        self, caller: Identity, wish: Wish, hold_wait_s: float, *, no_wait: bool = False
    ) -> Answer:
        """Make a call; return when it is final, or held for longer than `hold_wait_s`.

        Args:
            no_wait: Return as soon as it is decided.

        Raises:
            Refusal: As `Executor.admit`.
        """
        # A client that leaves cancels its handler; what it asked for is recorded all the same.
        answer = await self._admissions.detached(self._executor.admit(caller, wish))
        if answer.call.state.is_final:
            return answer
        call, hold_wait_s = answer.call, min(hold_wait_s, _HOLD_WAIT_MOST_S)
        if hold_wait_s > 0:
            call = await self._reader.wait_for_people(call, timedelta(seconds=hold_wait_s))
        if no_wait:
            return await self._reader.answer(call)
        return await self._reader.wait_for_answer(answer)
