"""Fixtures of the policy tests: the `opa` program, the shipped bundle, engines on it."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker.adapters.opa_server import OpaServerEngine
from broker.adapters.opa_wasm import WasmEngine
from broker.adapters.policy_files import load_bundle
from broker.core.bundle import Bundle
from broker.shipped import policies_dir

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def opa() -> str:
    """Path of the opa program, built where there is none."""
    return subprocess.check_output([ROOT / "scripts" / "tool.sh", "opa"], text=True).strip()


@pytest.fixture(scope="session")
def shipped() -> Bundle:
    """The bundle that the package carries."""
    return load_bundle(policies_dir() / "bundle.tar.gz")


@pytest.fixture(scope="session")
def wasm(shipped: Bundle) -> Iterator[WasmEngine]:
    """The shipped policy in process."""
    engine = WasmEngine(shipped, timeout_s=5)
    yield engine
    asyncio.run(engine.close())


@pytest.fixture
async def server(opa: str, shipped: Bundle) -> AsyncIterator[OpaServerEngine]:
    """The shipped policy on a real OPA server."""
    engine = await OpaServerEngine.spawn(opa, shipped, timeout_s=10)
    yield engine
    await engine.close()
