"""A broker in a process of its own, with a bundle server that is down, comes and goes."""

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from broker.adapters.pki import DevelopmentAuthority
from broker.v1 import admin_pb2, admin_pb2_grpc, call_pb2, policy_pb2
from tests.activation.bundles import PROBE, Key, variant
from tests.adapters.bundle_sources.bundle_server import StandingServer, certify, gives
from tests.broker_process import AS_SHIPPED, Folder, Served
from tests.e2e.policies import compile_policy

TOKEN = "t0ken-of-the-broker"
FRESH = policy_pb2.POLICY_FRESHNESS_FRESH
REFUSING = policy_pb2.POLICY_FRESHNESS_REFUSING


@pytest.fixture(scope="module")
def compiled(opa: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The shipped policy with a package that denies what its data says, by a real opa."""
    return compile_policy(PROBE, tmp_path_factory.mktemp("probe"), opa).read_bytes()


@pytest.fixture
def port() -> int:
    """A port where nobody listens yet."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@pytest.fixture
def folder_of(development_folder: Folder, tmp_path: Path, port: int) -> Folder:
    """A broker's folder that names a server under a private authority, with a token."""
    certify(tmp_path / "pair", DevelopmentAuthority(datetime.now(UTC)), "127.0.0.1")
    folder = development_folder.copy(tmp_path / "dev", AS_SHIPPED)
    (folder.path / "token").write_text(TOKEN)
    (folder.path / "token").chmod(0o600)
    folder.set(
        {
            "bundles": {
                "url": f"https://127.0.0.1:{port}/bundles/broker.tar.gz",
                "token": "file:token",
                "ca_file": str(tmp_path / "pair" / "ca.crt"),
                "interval_s": 0.1,
                "refuse_after_s": 3600,
            }
        }
    )
    return folder


def call(broker: Served) -> tuple[str, str]:
    """Make a call that the new bundle denies; give state with rule."""
    made = broker.client().call("python_run", {"code": "print(1)"}, purpose="probe")
    return call_pb2.CallState.Name(made.state), made.decision.reasons[0].rule


def serving(broker: Served, service: str) -> str:
    """Ask how a service is."""
    health = health_pb2_grpc.HealthStub(broker.channel("agent"))
    status = health.Check(health_pb2.HealthCheckRequest(service=service)).status
    return health_pb2.HealthCheckResponse.ServingStatus.Name(status)


async def until(
    broker: Served,
    server: StandingServer,
    holds: Callable[[policy_pb2.GetPolicyResponse], bool],
) -> None:
    """Ask a broker for its policy, after each of its looks, until that is as wanted."""
    client = broker.client("policy")
    while not holds(await asyncio.to_thread(client.policy)):
        await server.looked()


async def test_server_comes_and_goes(
    folder_of: Folder, tmp_path: Path, port: int, compiled: bytes
) -> None:
    """Nothing is decided before a first answer; then the newest bundle is, whatever comes after."""
    key = Key.of(folder_of.path / "keys" / "policy.key")
    with await asyncio.to_thread(Served, folder_of) as broker:
        # Down at start: it starts all the same, says so, and denies.
        policy = await asyncio.to_thread(broker.client("policy").policy)
        assert policy.bundle_source == f"https://127.0.0.1:{port}/bundles/broker.tar.gz"
        assert (policy.number, policy.freshness) == (0, REFUSING)
        assert not policy.HasField("confirmed_at")
        assert call(broker) == ("CALL_STATE_DENIED", "broker.policy_stale")
        assert serving(broker, "broker.v1.ExecutionService") == "NOT_SERVING"
        assert serving(broker, "") == "SERVING"
        for reason in ("BUNDLE_SOURCE_UNAVAILABLE", "POLICY_UNCONFIRMED"):
            assert f'"reason":"{reason}"' in broker.words()

        async with StandingServer(tmp_path / "pair", port) as server:
            newest = key.sign(variant(compiled, 7, {"rule": "probe.from_server"}))
            server.answers = [gives(newest, '"7"')]
            await until(broker, server, lambda policy: policy.number == 7)
            assert call(broker) == ("CALL_STATE_DENIED", "probe.from_server")
            await until(
                broker, server, lambda _: serving(broker, "broker.v1.ExecutionService") == "SERVING"
            )
            await until(broker, server, lambda _: "If-None-Match" in server.asked[-1])
            assert server.asked[-1]["Authorization"] == f"Bearer {TOKEN}"

            # What is refused is told once, however often it is offered.
            server.answers = [gives(variant(compiled, 8), '"8"')]
            seen = len(server.asked)
            await until(broker, server, lambda _: len(server.asked) > seen + 3)
            assert broker.words().count('"reason":"BUNDLE_UNSIGNED"') == 1
            policy = await asyncio.to_thread(broker.client("policy").policy)
            assert (policy.number, policy.freshness) == (7, FRESH)
            confirmed_at = policy.confirmed_at.ToDatetime(UTC)

        # Down at the next start: the bundle that was active last, as fresh as it was.
        await asyncio.to_thread(broker.restart)
        policy = await asyncio.to_thread(broker.client("policy").policy)
        assert (policy.number, policy.freshness) == (7, FRESH)
        assert policy.confirmed_at.ToDatetime(UTC) == confirmed_at
        assert call(broker) == ("CALL_STATE_DENIED", "probe.from_server")
        assert TOKEN not in broker.words()
        info = admin_pb2_grpc.AdminServiceStub(broker.channel("admin")).GetServerInfo(
            admin_pb2.GetServerInfoRequest()
        )
        assert info.policy_freshness == FRESH
        assert info.policy_confirmed_at.ToDatetime(UTC) == confirmed_at

        # There at a start: its newest bundle decides from the first call on.
        await asyncio.to_thread(broker.stop)
        folder_of.set({"bundles": {"interval_s": 800}})
        async with StandingServer(tmp_path / "pair", port) as server:
            server.answers = [gives(key.sign(variant(compiled, 9, {"rule": "probe.at_once"})))]
            await asyncio.to_thread(broker.start)
            assert call(broker) == ("CALL_STATE_DENIED", "probe.at_once")
            assert len(server.asked) == 1
