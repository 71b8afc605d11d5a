"""Evaluate policy in process: OPA's Wasm under wasmtime."""

import asyncio
from typing import Final

from broker.adapters.opa_wasm.inline import Inline
from broker.adapters.opa_wasm.instance import compile_bundle
from broker.adapters.opa_wasm.worker import Worker
from broker.core.bundle import Bundle
from broker.core.canonical import JsonValue
from broker.core.ids import Sha256
from broker.errors import PolicyInvalid, PolicyTimeout, PolicyUnavailable
from broker.ports import PolicyAnswer


class WasmEngine:
    """Policy in this process; implements `PolicyEngine`.

    An evaluation that is quick, as nearly all are, happens at once on the event loop's own thread
    (`Inline`); one that turns out not to be is begun anew on a thread of its own (`Worker`). Each
    has one instance at a time. An evaluation past its deadline is interrupted by the epoch, its
    instance thrown away; waiting for a free thread counts towards the deadline.

    Args:
        bundle: What is evaluated, for the life of the engine.
        timeout_s: Deadline of one evaluation, in seconds.
        threads: How many evaluations that are not quick run at once.

    Raises:
        PolicyUnavailable: The bundle cannot be run, or answers the canary wrongly.
    """

    name: Final = "wasm"

    def __init__(self, bundle: Bundle, *, timeout_s: float = 0.25, threads: int = 2) -> None:
        self._bundle = bundle
        self._timeout_s = timeout_s
        compiled = compile_bundle(bundle)
        self._inline = Inline(compiled, bundle.data)
        self._workers = [
            Worker(compiled.for_another_thread(), bundle.data, number) for number in range(threads)
        ]
        self._idle: asyncio.LifoQueue[Worker] = asyncio.LifoQueue()
        for worker in self._workers:
            self._idle.put_nowait(worker)
        self._closed = False

    @property
    def bundle_sha256(self) -> Sha256:
        """Digest of the bundle."""
        return self._bundle.sha256

    @property
    def bundle_revision(self) -> str:
        """Revision of the bundle."""
        return self._bundle.revision

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Ask policy about one input; see `PolicyEngine`."""
        if self._closed:
            raise PolicyUnavailable("the policy engine is closed")
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            output = self._inline.evaluate(policy_input)
        except PolicyTimeout:
            output = await self._evaluate_on_a_thread(policy_input, deadline)
        if not isinstance(output, dict):
            raise PolicyInvalid("policy's answer is not an object")
        return PolicyAnswer(
            output=output,
            bundle_sha256=self._bundle.sha256,
            bundle_revision=self._bundle.revision,
        )

    async def close(self) -> None:
        """Stop the threads; evaluations under way end in PolicyUnavailable."""
        self._closed = True
        self._inline.close()
        await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in self._workers))

    async def _evaluate_on_a_thread(self, policy_input: bytes, deadline: float) -> JsonValue:
        loop = asyncio.get_running_loop()
        worker = await self._take(deadline)
        if self._closed:
            self._idle.put_nowait(worker)
            raise PolicyUnavailable("the policy engine is closed")
        answer: asyncio.Future[JsonValue] = loop.create_future()
        timer = loop.call_at(deadline, worker.interrupt)
        answer.add_done_callback(lambda _: self._release(worker, timer))
        worker.submit(policy_input, answer)
        # Shielded: a caller that leaves must not free the worker while it still evaluates.
        return await asyncio.shield(answer)

    async def _take(self, deadline: float) -> "Worker":
        try:
            return self._idle.get_nowait()
        except asyncio.QueueEmpty:
            pass
        try:
            async with asyncio.timeout_at(deadline):
                return await self._idle.get()
        except TimeoutError as error:
            raise PolicyTimeout("every policy thread was busy until the deadline") from error

    def _release(self, worker: "Worker", timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        self._idle.put_nowait(worker)
