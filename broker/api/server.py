"""Build the gRPC server: mTLS, limits, every service behind the edge."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from broker.api.admin import AdminService
from broker.api.approvals import ApprovalService
from broker.api.edge import Edge
from broker.api.execution import ExecutionService
from broker.api.policy import PolicyService
from broker.api.receipts import ReceiptService
from broker.api.tools import ToolService
from broker.api.workspace import WorkspaceService
from broker.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    approval_pb2,
    approval_pb2_grpc,
    execution_pb2,
    execution_pb2_grpc,
    policy_pb2,
    policy_pb2_grpc,
    receipt_pb2,
    receipt_pb2_grpc,
    tool_pb2,
    tool_pb2_grpc,
    workspace_pb2,
    workspace_pb2_grpc,
)

_STREAMS_A_CONNECTION = 1_000
_KEEPALIVE_MS = 30_000
_KEEPALIVE_TIMEOUT_MS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The server's certificate chain with its key, and the authority of its clients; PEM."""

    certificate: bytes
    private_key: bytes
    client_ca: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What is served."""

    execution: ExecutionService
    workspace: WorkspaceService
    tools: ToolService
    approvals: ApprovalService
    receipts: ReceiptService
    policy: PolicyService
    admin: AdminService


def build_server(
    services: Services, edge: Edge, *, max_message_bytes: int
) -> tuple[aio.Server, HealthServicer]:
    """Build a server that knows its services but does not listen yet."""
    server = aio.server(
        interceptors=[edge],
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_concurrent_streams", _STREAMS_A_CONNECTION),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
            # Two brokers on one port would share its connections by chance.
            ("grpc.so_reuseport", 0),
        ],
    )
    execution_pb2_grpc.add_ExecutionServiceServicer_to_server(services.execution, server)
    workspace_pb2_grpc.add_WorkspaceServiceServicer_to_server(services.workspace, server)
    tool_pb2_grpc.add_ToolServiceServicer_to_server(services.tools, server)
    approval_pb2_grpc.add_ApprovalServiceServicer_to_server(services.approvals, server)
    receipt_pb2_grpc.add_ReceiptServiceServicer_to_server(services.receipts, server)
    policy_pb2_grpc.add_PolicyServiceServicer_to_server(services.policy, server)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(services.admin, server)
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection(_service_names(), server)
    return server, health


def listen(server: aio.Server, address: str, tls: Tls) -> int:
    """Bind the server to an address under mTLS; returns the port.

    Raises:
        RuntimeError: The address is taken or not of this machine.
    """
    credentials = grpc.ssl_server_credentials(
        [(tls.private_key, tls.certificate)],
        root_certificates=tls.client_ca,
        require_client_auth=True,
    )
    return server.add_secure_port(address, credentials)


async def set_serving(health: HealthServicer, *, serving: bool) -> None:
    """Say of every service whether it takes calls."""
    known = health_pb2.HealthCheckResponse
    status = known.SERVING if serving else known.NOT_SERVING
    for name in ("", *_service_names()):
        await health.set(name, status)


async def set_deciding(health: HealthServicer, *, deciding: bool) -> None:
    """Say of the services that take calls whether these are decided, rather than all denied."""
    known = health_pb2.HealthCheckResponse
    for file in (execution_pb2, workspace_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            await health.set(service.full_name, known.SERVING if deciding else known.NOT_SERVING)


def _service_names() -> Sequence[str]:
    files = (
        execution_pb2,
        workspace_pb2,
        tool_pb2,
        approval_pb2,
        receipt_pb2,
        policy_pb2,
        admin_pb2,
        health_pb2,
    )
    names = [
        service.full_name for file in files for service in file.DESCRIPTOR.services_by_name.values()
    ]
    return (*names, reflection.SERVICE_NAME)
