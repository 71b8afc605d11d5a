"""Our policy host against an OPA server that somebody else runs."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from broker.adapters.opa_server import OpaServerEngine
from broker.adapters.opa_wasm import WasmEngine
from broker.adapters.policy_files import load_bundle
from broker.core.bundle import Bundle
from broker.shipped import policies_dir
from tests.policy.hostile import inputs
from tests.policy.test_differential import differences

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = policies_dir() / "bundle.tar.gz"
INPUTS = 500 if os.environ.get("SHORT") else 3_000
_ATTEMPTS = 200


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The bundle that the package carries."""
    return load_bundle(BUNDLE)


@pytest.fixture(scope="module")
def external_opa() -> Iterator[str]:
    """URL of an OPA server on loopback, started as its operator would start it."""
    opa = subprocess.check_output([ROOT / "scripts" / "tool.sh", "opa"], text=True).strip()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    arguments = ["run", "--server", "--addr", address, "--bundle", str(BUNDLE)]
    quiet = ["--log-level", "error", "--skip-version-check"]
    with subprocess.Popen([opa, *arguments, *quiet]) as server:
        try:
            asyncio.run(_healthy(f"http://{address}"))
            yield f"http://{address}"
        finally:
            server.terminate()


async def _healthy(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(_ATTEMPTS):
            try:
                async with session.get(f"{url}/health?bundles") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
    raise AssertionError("the OPA server did not become healthy")


class TestExternalServer:
    """The embedded engine against an external server over HTTP."""

    @pytest.mark.timeout(600)
    async def test_decides_to_the_byte_as_the_embedded_engine(
        self, external_opa: str, bundle: Bundle
    ) -> None:
        """Every input, most of them hostile, gets the same canonical bytes from both."""
        wasm = WasmEngine(bundle, timeout_s=5)
        server = await OpaServerEngine.connect(external_opa, bundle, timeout_s=10)
        try:
            found = await differences(wasm, server, list(inputs(INPUTS, seed=411)))
        finally:
            await wasm.close()
            await server.close()
        assert found == []
