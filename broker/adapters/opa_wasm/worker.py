"""Evaluate policy on a thread of its own, one input at a time."""

import asyncio
import contextlib
import queue
import threading
from typing import Final

from broker.adapters.opa_wasm.instance import Compiled, Instance
from broker.core.canary import CANARY, check_canary
from broker.core.canonical import JsonObject, JsonValue
from broker.errors import CanaryWrong, PolicyError, PolicyInvalid, PolicyTimeout, PolicyUnavailable

_Job = tuple[bytes, "asyncio.Future[JsonValue]"]


class Worker:
    """One thread with its instance; takes one job at a time.

    Args:
        compiled: What is evaluated; the engine is this thread's alone.
        data: The bundle's.
        number: Names the thread.
        canary_s: How long the canary may take, in seconds.

    Raises:
        PolicyUnavailable: The bundle cannot be run, or answers the canary wrongly.
    """

    def __init__(
        self, compiled: Compiled, data: JsonObject, number: int, *, canary_s: float
    ) -> None:
        self._compiled = compiled
        self._data = data
        self._instance: Instance | None = Instance(self._compiled, self._data)
        check_canary(self._try_canary(canary_s))
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

    def _try_canary(self, canary_s: float) -> JsonValue:
        assert self._instance is not None
        # A policy that computes for ever would keep whoever loads it for ever.
        timer = threading.Timer(canary_s, self._compiled.engine.increment_epoch)
        timer.start()
        try:
            return self._instance.evaluate(CANARY, lambda: False)
        except PolicyError as error:
            raise CanaryWrong(f"the policy fails its canary: {error.message}") from error
        finally:
            timer.cancel()

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
        instance, self._instance = self._instance, None
        try:
            instance = instance or self._renewed()
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

    def _renewed(self) -> Instance:
        """Make an instance in the place of one that is used up.

        Raises:
            PolicyTimeout: The deadline passed meanwhile, which stops the making too.
        """
        try:
            return Instance(self._compiled, self._data)
        except PolicyUnavailable as error:
            if self._interrupted:
                raise PolicyTimeout("policy did not answer in time and was stopped") from error
            raise

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
