"""Reach into a module without wasmtime's conversions."""

import ctypes
from ctypes import POINTER, byref, c_size_t, c_ubyte, c_uint64, c_void_p

# Not of wasmtime's public interface: the lock file pins it, and the canary calls it at each start.
from wasmtime import Caller, Func, Memory, Store, WasmtimeError
from wasmtime import _ffi as ffi
from wasmtime._func import enter_wasm

# Calls through `PyDLL` keep the interpreter's lock. wasmtime's own give it up, which for what takes
# a microsecond means to stand in line behind every other thread of the broker, again and again.
_quick = ctypes.PyDLL(str(ffi.filename))
_memory_data = _quick.wasmtime_memory_data
_memory_data.argtypes = [POINTER(ffi.wasmtime_context_t), POINTER(ffi.wasmtime_memory_t)]
_memory_data.restype = c_void_p
_memory_data_size = _quick.wasmtime_memory_data_size
_memory_data_size.argtypes = _memory_data.argtypes
_memory_data_size.restype = c_size_t
_set_epoch_deadline = _quick.wasmtime_context_set_epoch_deadline
_set_epoch_deadline.argtypes = [POINTER(ffi.wasmtime_context_t), c_uint64]
_set_epoch_deadline.restype = None


class Entry:
    """A function from i32 to i32, called with arguments that stand ready.

    `Func.__call__` asks the engine for each argument's type again: 65 foreign calls for `opa_eval`.
    This is the one call that gives up the interpreter's lock: it may take long, and what ends it
    then is another thread.

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


class Window:
    """A module's memory as bytes, without a copy.

    Memory that grows may move: a view is good until the module runs again.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._place = (0, 0)
        self._view = memoryview(b"")

    def view(self, store: Store | Caller) -> memoryview:
        """Give the whole memory as it is now."""
        context, memory = store._context(), byref(self._memory._memory)  # noqa: SLF001
        place = (_memory_data(context, memory), _memory_data_size(context, memory))
        if place != self._place:
            address, size_bytes = self._place = place
            self._view = memoryview((c_ubyte * size_bytes).from_address(address)).cast("B")
        return self._view


def set_epoch_deadline(store: Store, epochs: int) -> None:
    """Let what is called next be ended when the engine's epoch was raised so often."""
    _set_epoch_deadline(store._context(), epochs)  # noqa: SLF001
