"""Call one function of a module without wasmtime's conversions."""

from ctypes import byref

# Not of wasmtime's public interface: the lock file pins it, and the canary calls it at each start.
from wasmtime import Func, Store, WasmtimeError
from wasmtime import _ffi as ffi
from wasmtime._func import enter_wasm


class Entry:
    """A function from i32 to i32, called with arguments that stand ready.

    `Func.__call__` asks the engine for each argument's type again: 65 foreign calls for `opa_eval`,
    each of which gives up the interpreter's lock, that all threads of the broker contend for.

    Args:
        parameters: How many it takes.
    """

    def __init__(self, function: Func, *, parameters: int) -> None:
        self._function = function
        self._arguments = (ffi.wasmtime_val_t * parameters)()
        self._result = (ffi.wasmtime_val_t * 1)()
        for argument in self._arguments:
            argument.kind = ffi.WASMTIME_I32

    def __call__(self, store: Store, *values: int) -> int:
        """Call it.

        Raises:
            Trap: The module trapped, or its epoch was raised.
            WasmtimeError: The call could not be made.
        """
        for argument, value in zip(self._arguments, values, strict=True):
            argument.of.i32 = value
        with enter_wasm(store) as trap:
            error = ffi.wasmtime_func_call(
                store._context(),  # noqa: SLF001
                byref(self._function._func),  # noqa: SLF001
                self._arguments,
                len(self._arguments),
                self._result,
                1,
                trap,
            )
            if error:  # type: ignore[truthy-bool]  # a null pointer is false
                raise WasmtimeError._from_ptr(error)  # noqa: SLF001
        return self._result[0].of.i32
