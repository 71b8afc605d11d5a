"""Evaluate policy in process: OPA's Wasm under wasmtime."""

import asyncio
import contextlib
import queue
import threading
from typing import Final

from broker.adapters.opa_wasm.instance import Compiled, Instance, compile_bundle
from broker.core.bundle import Bundle
from broker.core.canary import CANARY, check_canary
from broker.core.canonical import JsonObject, JsonValue
from broker.core.ids import Sha256
from broker.errors import PolicyError, PolicyInvalid, PolicyTimeout, PolicyUnavailable
from broker.ports import PolicyAnswer

_Job = tuple[bytes, "asyncio.Future[JsonValue]"]


class WasmEngine:
    """Policy in this process, on threads of its own; implements `PolicyEngine`.

    Each thread has one instance at a time. An evaluation past its deadline is interrupted by the
    thread's epoch, its instance thrown away; waiting for a free thread counts towards the deadline.

    Args:
        bundle: What is evaluated, for the life of the engine.
        timeout_s: Deadline of one evaluation, in seconds.
        threads: How many evaluations run at once.

    Raises:
        PolicyUnavailable: The bundle cannot be run, or answers the canary wrongly.
    """

    name: Final = "wasm"

    def __init__(self, bundle: Bundle, *, timeout_s: float = 0.25, threads: int = 2) -> None:
        self._bundle = bundle
        self._timeout_s = timeout_s
        self._workers = [_Worker(bundle, number) for number in range(threads)]
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()
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
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        worker = await self._take(deadline)
        if self._closed:
            self._idle.put_nowait(worker)
            raise PolicyUnavailable("the policy engine is closed")
        answer: asyncio.Future[JsonValue] = loop.create_future()
        timer = loop.call_at(deadline, worker.interrupt)
        answer.add_done_callback(lambda _: self._release(worker, timer))
        worker.submit(policy_input, answer)
        # Shielded: a caller that leaves must not free the worker while it still evaluates.
        output = await asyncio.shield(answer)
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
        await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in self._workers))

    async def _take(self, deadline: float) -> "_Worker":
        try:
            return self._idle.get_nowait()
        except asyncio.QueueEmpty:
            pass
        try:
            async with asyncio.timeout_at(deadline):
                return await self._idle.get()
        except TimeoutError as error:
            raise PolicyTimeout("every policy thread was busy until the deadline") from error

    def _release(self, worker: "_Worker", timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        self._idle.put_nowait(worker)


class _Worker:
    """One thread with its instance; takes one job at a time."""

    def __init__(self, bundle: Bundle, number: int) -> None:
        self._compiled: Compiled = compile_bundle(bundle)
        self._data: JsonObject = bundle.data
        self._instance: Instance | None = Instance(self._compiled, self._data)
        check_canary(self._try_canary())
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._stopping = False
        self._interrupted = False
        # A daemon: a wedged evaluation must not keep a broker that ends from ending.
        self._thread = threading.Thread(target=self._serve, name=f"policy-{number}", daemon=True)
        self._thread.start()

    def submit(self, policy_input: bytes, answer: "asyncio.Future[JsonValue]") -> None:
        """Have one input evaluated; the answer is set on its own event loop."""
        self._interrupted = self._stopping
        self._jobs.put((policy_input, answer))

    def interrupt(self) -> None:
        """End the evaluation that was submitted, begun or not."""
        # First the flag: an evaluation that begins after the epoch was raised sees it.
        self._interrupted = True
        self._compiled.engine.increment_epoch()

    def stop(self) -> None:
        """End the thread with what it evaluates."""
        self._stopping = True
        self._jobs.put(None)
        self.interrupt()
        self._thread.join(timeout=_JOIN_TIMEOUT_S)

    def _try_canary(self) -> JsonValue:
        assert self._instance is not None
        try:
            return self._instance.evaluate(CANARY, lambda: False)
        except PolicyError as error:
            raise PolicyUnavailable(f"the policy fails its canary: {error.message}") from error

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            policy_input, answer = job
            try:
                output = self._evaluate(policy_input)
            except PolicyError as error:
                self._tell(answer, None, error)
            else:
                self._tell(answer, output, None)

    def _evaluate(self, policy_input: bytes) -> JsonValue:
        instance = self._instance or Instance(self._compiled, self._data)
        self._instance = None
        try:
            output = instance.evaluate(policy_input, lambda: self._interrupted)
        except PolicyTimeout as error:
            if self._stopping:
                raise PolicyUnavailable("the policy engine is closed") from error
            raise
        except PolicyError:
            raise
        except Exception as error:
            # The adapter's edge: whatever the foreign engine raises must become a denial.
            raise PolicyInvalid(f"the policy engine failed: {type(error).__name__}") from error
        self._instance = instance
        return output

    @staticmethod
    def _tell(
        answer: "asyncio.Future[JsonValue]", output: JsonValue, error: PolicyError | None
    ) -> None:
        def tell() -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(output)
            else:
                answer.set_exception(error)

        # A closed loop refuses: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            answer.get_loop().call_soon_threadsafe(tell)


_JOIN_TIMEOUT_S: Final = 2.0
