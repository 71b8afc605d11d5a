"""OPA itself asks a bundle server for the same as the broker does."""

import asyncio
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from broker.adapters.bundle_sources import Bearer, BundleServer
from broker.adapters.pki import DevelopmentAuthority
from broker.adapters.secret_sources import ConfiguredSecrets
from broker.shipped import policies_dir
from tests.adapters.bundle_sources.bundle_server import StandingServer, certify, gives

ROOT = Path(__file__).resolve().parents[1]
ARCHIVE = (policies_dir() / "bundle.tar.gz").read_bytes()
TOKEN = "t0ken-of-the-broker"


@pytest.fixture(scope="module")
def opa() -> str:
    """Path of the opa program."""
    return subprocess.check_output([ROOT / "scripts" / "tool.sh", "opa"], text=True).strip()


def what_decides(server: StandingServer) -> list[tuple[str, str]]:
    """Give what each request says that the answer hangs on."""
    return [
        (headers.get("Authorization", ""), headers.get("If-None-Match", ""))
        for headers in server.asked
    ]


async def asked_by_opa(opa: str, folder: Path, server: StandingServer, times: int) -> None:
    """Let an OPA look at a server until it has asked so often."""
    answer = gives(ARCHIVE, '"7"')
    enough = asyncio.Event()

    async def counted(request: web.Request) -> web.StreamResponse:
        if len(server.asked) >= times:
            enough.set()
        return await answer(request)

    server.answers = [counted]
    url, _, resource = server.url.partition("/bundles/")
    service = {
        "url": url,
        "credentials": {"bearer": {"token": TOKEN}},
        "tls": {"ca_cert": str(folder / "ca.crt")},
    }
    polling = {"min_delay_seconds": 1, "max_delay_seconds": 1}
    bundle = {"service": "s", "resource": f"bundles/{resource}", "polling": polling}
    (folder / "opa.json").write_text(
        json.dumps({"services": {"s": service}, "bundles": {"b": bundle}})
    )
    argv = [opa, "run", "--server", "--addr", f"unix://{folder / 'opa.sock'}"]
    argv += ["--config-file", str(folder / "opa.json"), "--skip-version-check"]
    process = await asyncio.create_subprocess_exec(*argv)
    try:
        await enough.wait()
    finally:
        process.kill()
        await process.wait()


async def test_asked_alike(opa: str, tmp_path: Path) -> None:
    """Token, tag and authority go the same way, so a server for OPAs serves brokers."""
    pair = certify(tmp_path / "pair", DevelopmentAuthority(datetime.now(UTC)), "127.0.0.1")
    async with StandingServer(pair) as server:
        await asked_by_opa(opa, pair, server, 3)
        theirs = what_decides(server)[:3]
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    secrets = ConfiguredSecrets({"bundle_token": f"file:{tmp_path / 'token'}"}, {})
    async with StandingServer(pair) as server:
        server.answers = [gives(ARCHIVE, '"7"')]
        source = BundleServer(
            server.url,
            bearer=Bearer(secrets=secrets, name="bundle_token"),
            ca_file=pair / "ca.crt",
            timeout_s=20,
            most_bytes=len(ARCHIVE),
        )
        looks = [await source.look() for _ in range(3)]
        assert looks == [ARCHIVE, None, None]
        assert what_decides(server) == theirs
    secrets.close()
