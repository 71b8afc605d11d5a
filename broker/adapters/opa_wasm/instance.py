"""Host one instance of a policy module, by OPA's Wasm ABI 1.2."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

from wasmtime import (
    Caller,
    Config,
    Engine,
    Func,
    FuncType,
    Limits,
    Memory,
    MemoryType,
    Module,
    Store,
    Trap,
    TrapCode,
    WasmtimeError,
)
from wasmtime import Instance as WasmInstance

from broker.adapters.opa_wasm.entry import Entry, Window, set_epoch_deadline
from broker.core.bundle import ENTRYPOINT, Bundle
from broker.core.canonical import JsonObject, JsonValue, canonical_json
from broker.core.sprintf import sprintf
from broker.errors import PolicyInvalid, PolicyTimeout, PolicyUnavailable, PolicyUndefined

MEMORY_BYTES: Final = 256 * 2**20
"""Most memory of one instance; an evaluation that needs more aborts."""

_PAGE_BYTES: Final = 2**16
_CHUNK_BYTES: Final = 4096
_ALIGNMENT: Final = 8
_JSON: Final = 0
_EVAL_PARAMETERS: Final = 7
_EXPORTS: Final = (
    "builtins",
    "entrypoints",
    "opa_eval",
    "opa_heap_ptr_get",
    "opa_json_dump",
    "opa_json_parse",
    "opa_malloc",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A module with its engine; an epoch is the engine's, so each thread has an engine.

    Args:
        data_bytes: What its static data takes at most.
    """

    engine: Engine
    module: Module
    data_bytes: int

    def for_another_thread(self) -> "Compiled":
        """Give the same code with an engine of its own: compiling takes a quarter of a second."""
        engine = _engine()
        module = Module.deserialize(engine, self.module.serialize())
        return Compiled(engine=engine, module=module, data_bytes=self.data_bytes)


def _engine() -> Engine:
    config = Config()
    config.epoch_interruption = True
    return Engine(config)


def compile_bundle(bundle: Bundle) -> Compiled:
    """Compile a bundle's module.

    Raises:
        PolicyUnavailable: It is no Wasm module.
    """
    engine = _engine()
    try:
        module = Module(engine, bundle.wasm)
    except WasmtimeError as error:
        raise PolicyUnavailable(f"the bundle's policy.wasm does not compile: {error}") from error
    return Compiled(engine=engine, module=module, data_bytes=len(bundle.wasm))


@dataclass(slots=True)
class _Host:
    """What the module's imports need; holds no store, so that a store can be freed."""

    memory: Memory
    window: Window
    builtins: dict[int, str] = field(default_factory=dict)
    exports: dict[str, Func] = field(default_factory=dict)
    complaint: str = ""

    def text(self, store: Store | Caller, address: int) -> bytes:
        """Read a text up to its NUL."""
        view = self.window.view(store)
        found = b""
        for start in range(address, len(view), _CHUNK_BYTES) if address > 0 else ():
            chunk, nul, _ = bytes(view[start : start + _CHUNK_BYTES]).partition(b"\0")
            found += chunk
            if nul:
                return found
        raise PolicyInvalid("the policy module points outside its memory")

    def abort(self, caller: Caller, address: int) -> None:
        """Import `opa_abort`: rules in conflict, or no memory left."""
        raise self._complain(
            f"the policy aborts: {self.text(caller, address).decode(errors='replace')}"
        )

    def call_builtin(self, caller: Caller, builtin: int, _context: int, *operands: int) -> int:
        """Import `opa_builtin0` to `opa_builtin4`: `sprintf` alone is not in the module."""
        name = self.builtins.get(builtin, str(builtin))
        if name != "sprintf" or len(operands) != 2:
            raise self._complain(f"the policy calls {name}, which the broker does not offer")
        template, values = (self.load(caller, operand) for operand in operands)
        if not isinstance(template, str) or not isinstance(values, list):
            raise self._complain("sprintf takes a text with a list")
        try:
            text = sprintf(template, values)
        except ValueError as error:
            raise self._complain(str(error)) from error
        return self.put(caller, json.dumps(text).encode())

    def put(self, store: Store | Caller, text: bytes) -> int:
        """Parse JSON into a value of the module."""
        address = self.exports["opa_malloc"](store, len(text))
        self.window.view(store)[address : address + len(text)] = text
        return cast("int", self.exports["opa_json_parse"](store, address, len(text)))

    def load(self, store: Store | Caller, value: int) -> object:
        """Read a value of the module."""
        return json.loads(self.text(store, self.exports["opa_json_dump"](store, value)))

    def _complain(self, complaint: str) -> PolicyInvalid:
        # Kept, since wasmtime has one slot per process for an exception of a callback: of two
        # that fall at once in two threads, each might get the other's.
        self.complaint = complaint
        return PolicyInvalid(complaint)


class Instance:
    """One instance with the bundle's data loaded. Of one thread at a time.

    After an error the instance is used up: its memory is in an unknown state.

    Raises:
        PolicyUnavailable: The module is not one that this host can run.
    """

    def __init__(self, compiled: Compiled, data: JsonObject) -> None:
        self._store = Store(compiled.engine)
        self._store.set_epoch_deadline(1)
        try:
            memory = _memory(self._store, compiled)
            self._host = _Host(memory=memory, window=Window(memory))
            self._bind(compiled.module)
            self._entrypoint = self._find_entrypoint()
            self._data = self._host.put(self._store, canonical_json(data))
            heap: int = self._host.exports["opa_heap_ptr_get"](self._store)
        except (WasmtimeError, Trap, KeyError, ValueError, PolicyInvalid) as error:
            raise PolicyUnavailable(
                f"the bundle's policy.wasm cannot be hosted: {self._complaint(error)}"
            ) from error
        self._eval = Entry(self._host.exports["opa_eval"], parameters=_EVAL_PARAMETERS)
        # Everything above is free for each evaluation; what is below, data included, stays.
        self._heap = -(-heap // _ALIGNMENT) * _ALIGNMENT

    def evaluate(
        self, policy_input: bytes, interrupted: Callable[[], bool], *, epochs: int = 1
    ) -> JsonValue:
        """Ask for the entry point's value.

        Args:
            interrupted: Tells whether the epoch was raised for this evaluation already.
            epochs: How often it must be raised to end the evaluation.

        Raises:
            PolicyUndefined: It has none for this input.
            PolicyInvalid: The policy aborted or trapped, or the input is no object.
            PolicyTimeout: The engine's epoch was raised meanwhile.
        """
        # The module takes what is not JSON for no input at all, which only a careful policy denies.
        if policy_input[:1] != b"{" or policy_input[-1:] != b"}":
            raise PolicyInvalid("policy's input is not a JSON object")
        try:
            return self._value(json.loads(self._evaluate(policy_input, interrupted, epochs)))
        except Trap as trap:
            if trap.trap_code is TrapCode.INTERRUPT:
                raise PolicyTimeout("policy did not answer in time and was stopped") from trap
            raise PolicyInvalid(f"policy failed: {self._complaint(trap)}") from trap
        except (WasmtimeError, IndexError, ValueError, RecursionError) as error:
            raise PolicyInvalid(f"policy failed: {self._complaint(error)}") from error

    def _evaluate(self, policy_input: bytes, interrupted: Callable[[], bool], epochs: int) -> bytes:
        store = self._store
        set_epoch_deadline(store, epochs)
        if interrupted():
            raise PolicyTimeout("policy did not answer in time and was stopped")
        end = self._heap + len(policy_input)
        view = self._host.window.view(store)
        if (lacking := end + _ALIGNMENT - len(view)) > 0:
            self._host.memory.grow(store, -(-lacking // _PAGE_BYTES))
            view = self._host.window.view(store)
        view[self._heap : end] = policy_input
        heap = -(-end // _ALIGNMENT) * _ALIGNMENT
        answer = self._eval(
            store, 0, self._entrypoint, self._data, self._heap, len(policy_input), heap, _JSON
        )
        return self._host.text(store, answer)

    @staticmethod
    def _value(results: object) -> JsonValue:
        match results:
            case [{"result": value}]:
                return cast("JsonValue", value)
            case []:
                raise PolicyUndefined("policy has no value for this call")
            case _:
                raise PolicyInvalid("the policy module gave another form of answer")

    def _bind(self, module: Module) -> None:
        offered: dict[str, Memory | Func] = {"memory": self._host.memory}
        for wanted in module.imports:
            if isinstance(wanted.type, FuncType) and wanted.name:
                offered[wanted.name] = self._function(wanted.name, wanted.type)
        instance = WasmInstance(
            self._store, module, [offered[wanted.name or ""] for wanted in module.imports]
        )
        exports = instance.exports(self._store)
        for name in _EXPORTS:
            self._host.exports[name] = cast("Func", exports[name])
        self._host.builtins = {number: name for name, number in self._table("builtins").items()}

    def _function(self, name: str, kind: FuncType) -> Func:
        callback = self._host.abort if name == "opa_abort" else self._host.call_builtin
        return Func(self._store, kind, callback, access_caller=True)

    def _table(self, name: str) -> dict[str, int]:
        address = self._host.exports[name](self._store)
        return cast("dict[str, int]", self._host.load(self._store, address))

    def _find_entrypoint(self) -> int:
        entrypoints = self._table("entrypoints")
        if ENTRYPOINT not in entrypoints:
            raise PolicyInvalid(f"it has no entry point {ENTRYPOINT}")
        return entrypoints[ENTRYPOINT]

    def _complaint(self, error: Exception) -> str:
        return self._host.complaint or str(error).partition("\n")[0]


def _memory(store: Store, compiled: Compiled) -> Memory:
    """Make the memory that the module imports, with our ceiling."""
    for wanted in compiled.module.imports:
        if isinstance(wanted.type, MemoryType):
            # OPA asks for a page too few where the static data ends just past one (seen with
            # 1.22.2), and data that does not fit traps before anything runs.
            least = wanted.type.limits.min + -(-compiled.data_bytes // _PAGE_BYTES)
            return Memory(store, MemoryType(Limits(least, MEMORY_BYTES // _PAGE_BYTES)))
    raise PolicyInvalid("it imports no memory")
