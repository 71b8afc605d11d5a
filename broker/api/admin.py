"""Serve the administrators' API."""

from dataclasses import dataclass

from broker.api.edge import Context
from broker.api.halting import Halting
from broker.api.identity import caller
from broker.engine_health import EngineHealth
from broker.execute import Executor
from broker.ports import PolicyEngine
from broker.v1 import admin_pb2, admin_pb2_grpc
from broker.world import Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What this broker is, as far as it stays so."""

    version: str
    installation: str
    epoch: int
    policy_engine: str
    receipt_key_id: str
    development: bool
    engine: dict[str, str]


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """Say what the broker is; drain it; halt calls."""

    def __init__(
        self,
        facts: ServerFacts,
        policy: PolicyEngine,
        health: EngineHealth,
        gate: Gate,
        executor: Executor,
        halting: Halting,
    ) -> None:
        self._facts = facts
        self._policy = policy
        self._health = health
        self._gate = gate
        self._executor = executor
        self._halting = halting

    async def GetServerInfo(  # noqa: N802
        self, request: admin_pb2.GetServerInfoRequest, context: Context
    ) -> admin_pb2.GetServerInfoResponse:
        """Say what this broker is."""
        facts = self._facts
        return admin_pb2.GetServerInfoResponse(
            version=facts.version,
            installation=facts.installation,
            epoch=facts.epoch,
            policy_engine=facts.policy_engine,
            policy_revision=self._policy.bundle_revision,
            policy_sha256=self._policy.bundle_sha256,
            receipt_key_id=facts.receipt_key_id,
            development=facts.development,
            draining=self._gate.draining,
            engine=facts.engine,
            policy_fault=await self._health.fault(),
        )

    async def Drain(  # noqa: N802
        self, request: admin_pb2.DrainRequest, context: Context
    ) -> admin_pb2.DrainResponse:
        """Take no new calls from now on."""
        self._gate.draining = True
        return admin_pb2.DrainResponse(running=self._executor.running)

    async def Halt(  # noqa: N802
        self, request: admin_pb2.HaltRequest, context: Context
    ) -> admin_pb2.HaltResponse:
        """Stop everything in a scope now."""
        return await self._halting.halt(caller(), request)

    async def Resume(  # noqa: N802
        self, request: admin_pb2.ResumeRequest, context: Context
    ) -> admin_pb2.ResumeResponse:
        """Lift a halt, or all."""
        return await self._halting.resume(caller(), request)

    async def ListHalts(  # noqa: N802
        self, request: admin_pb2.ListHaltsRequest, context: Context
    ) -> admin_pb2.ListHaltsResponse:
        """List active halts, oldest first."""
        return self._halting.list(request)
