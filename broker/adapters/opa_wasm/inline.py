"""Evaluate policy on the caller's own thread, as long as it is quick."""

import threading
import time
from collections.abc import Callable
from typing import Final

from broker.adapters.opa_wasm.instance import Compiled, Instance
from broker.core.canonical import JsonObject, JsonValue
from broker.errors import PolicyError, PolicyInvalid, PolicyTimeout, PolicyUndefined

_TICK_S: Final = 0.01
_TICKS: Final = 2
_PAUSE_S: Final = 10.0
_LARGEST_INPUT_BYTES: Final = 32_768


class Inline:
    """One instance, used on the thread of the event loop.

    An evaluation takes a tenth of a millisecond; taking it to another thread and back costs more
    than that. What may take longer must not stop the loop: a large input is refused, an
    evaluation is stopped after 10 to 20 ms, and after any that did not end well there are none
    here for 10 s, so that no caller can stop the loop again and again.

    Args:
        compiled: What is evaluated; the engine is this instance's alone.
        data: The bundle's.

    Raises:
        PolicyUnavailable: The bundle cannot be run.
    """

    def __init__(self, compiled: Compiled, data: JsonObject) -> None:
        self._compiled = compiled
        self._data = data
        self._instance: Instance | None = Instance(self._compiled, self._data)
        self._paused_until_s = 0.0
        self._watch = _Watch(self._compiled.engine.increment_epoch)

    def evaluate(self, policy_input: bytes) -> JsonValue:
        """Ask for the entry point's value.

        Raises:
            PolicyTimeout: It is, or may be, not quick: ask another way.
            PolicyError: As `Instance.evaluate`.
        """
        if len(policy_input) > _LARGEST_INPUT_BYTES or time.monotonic() < self._paused_until_s:
            raise PolicyTimeout("policy is not evaluated inline now")
        instance = self._instance or Instance(self._compiled, self._data)
        self._instance = None
        try:
            with self._watch:
                output = instance.evaluate(policy_input, lambda: False, epochs=_TICKS)
        except PolicyUndefined:
            self._instance = instance
            raise
        except PolicyError:
            self._paused_until_s = time.monotonic() + _PAUSE_S
            raise
        except Exception as error:
            # The adapter's edge: whatever the foreign engine raises must become a denial.
            self._paused_until_s = time.monotonic() + _PAUSE_S
            raise PolicyInvalid(f"the policy engine failed: {type(error).__name__}") from error
        self._instance = instance
        return output

    def close(self) -> None:
        """Stop the watch."""
        self._watch.close()


class _Watch:
    """A thread that raises the epoch every 10 ms while something is evaluated, else sleeps."""

    def __init__(self, raise_epoch: Callable[[], None]) -> None:
        self._raise_epoch = raise_epoch
        self._is_evaluating = False
        self._closed = threading.Event()
        self._wake = threading.Event()
        threading.Thread(target=self._serve, name="policy-watch", daemon=True).start()

    def __enter__(self) -> None:
        # In this order: whoever finds the event set finds the flag set.
        self._is_evaluating = True
        if not self._wake.is_set():
            self._wake.set()

    def __exit__(self, *_: object) -> None:
        self._is_evaluating = False

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._wake.set()

    def _serve(self) -> None:
        while not self._closed.is_set():
            self._wake.wait()
            # Before the flag is read: an evaluation that begins after it was read wakes us again.
            self._wake.clear()
            while not self._closed.wait(_TICK_S):
                self._raise_epoch()
                if not self._is_evaluating:
                    break
