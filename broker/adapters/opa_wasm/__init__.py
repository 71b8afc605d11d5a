"""Evaluate policy in process."""

from broker.adapters.opa_wasm.engine import WasmEngine

__all__ = ["WasmEngine"]
