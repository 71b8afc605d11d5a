"""Our policy host against OPA: a server that somebody else runs, and a child of ours."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from broker.adapters.opa_server import OpaServerEngine
from broker.adapters.opa_wasm import WasmEngine
from broker.adapters.policy_files import load_bundle
from broker.core.bundle import Bundle
from broker.core.canonical import JsonObject
from broker.shipped import policies_dir
from tests.policy.hostile import inputs, pack_inputs
from tests.policy.samples import compiled, compiled_packs
from tests.policy.test_differential import differences, trial_sources

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = policies_dir() / "bundle.tar.gz"
INPUTS = 500 if os.environ.get("SHORT") else 3_000
_ATTEMPTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A bundle with the inputs that it is asked about."""

    bundle: Bundle
    asked: list[JsonObject]


@pytest.fixture(scope="module")
def opa() -> str:
    """Path of the opa program."""
    return subprocess.check_output([ROOT / "scripts" / "tool.sh", "opa"], text=True).strip()


@pytest.fixture(scope="module", params=["shipped", "packs", "modes"])
def policy(
    request: pytest.FixtureRequest, opa: str, tmp_path_factory: pytest.TempPathFactory
) -> Policy:
    """The bundle that the package carries; others of the packs, and of packages in each mode."""
    if request.param == "shipped":
        return Policy(bundle=load_bundle(BUNDLE), asked=list(inputs(INPUTS, seed=411)))
    if request.param == "modes":
        bundle = compiled(tmp_path_factory.mktemp("modes") / "policy", opa, trial_sources())
        return Policy(bundle=bundle, asked=list(inputs(INPUTS, seed=413)))
    bundle = compiled_packs(tmp_path_factory.mktemp("packs") / "policy", opa)
    return Policy(bundle=bundle, asked=list(pack_inputs(INPUTS, seed=412)))


@contextmanager
def external_opa(opa: str, bundle: Path) -> Iterator[str]:
    """Give the URL of an OPA server on loopback, started as its operator would start it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    arguments = ["run", "--server", "--addr", address, "--bundle", str(bundle)]
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


async def differences_of_three(policy: Policy, url: str, opa: str) -> list[str]:
    """Ask all three engines every input."""
    wasm = WasmEngine(policy.bundle, timeout_s=5)
    server = await OpaServerEngine.connect(url, policy.bundle, timeout_s=10)
    child = await OpaServerEngine.spawn(opa, policy.bundle, timeout_s=10)
    try:
        return [
            *await differences(wasm, server, policy.asked),
            *await differences(wasm, child, policy.asked),
        ]
    finally:
        for engine in (wasm, server, child):
            await engine.close()


class TestEngines:
    """The embedded engine, an external server over HTTP, a child on a unix socket."""

    @pytest.mark.timeout(900)
    def test_decide_alike_to_the_byte(self, policy: Policy, opa: str, tmp_path: Path) -> None:
        """Every input, most of them hostile, gets the same canonical bytes from all three."""
        file = tmp_path / "bundle.tar.gz"
        file.write_bytes(policy.bundle.archive)
        with external_opa(opa, file) as url:
            found = asyncio.run(differences_of_three(policy, url, opa))
        assert found == []
