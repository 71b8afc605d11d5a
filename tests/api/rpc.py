"""Speak to a broker by its stubs; read the whole of what it answers, refusals included."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status

from broker.adapters.pki import KeyPair
from broker.v1 import (
    admin_pb2_grpc,
    approval_pb2_grpc,
    call_pb2,
    execution_pb2,
    execution_pb2_grpc,
    receipt_pb2,
    receipt_pb2_grpc,
    tool_pb2_grpc,
    workspace_pb2,
    workspace_pb2_grpc,
)
from tests.broker_process import Served

TIMEOUT_S = 60.0
CHUNK = 1 << 16
RICH = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How an RPC failed."""

    code: grpc.StatusCode
    message: str
    reason: str
    domain: str
    fields: tuple[str, ...]
    quotas: tuple[str, ...]
    preconditions: tuple[str, ...]
    retry_s: float | None
    raw: bytes


class Rpc:
    """The stubs of one identity."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.execution = execution_pb2_grpc.ExecutionServiceStub(channel)
        self.workspace = workspace_pb2_grpc.WorkspaceServiceStub(channel)
        self.tools = tool_pb2_grpc.ToolServiceStub(channel)
        self.approvals = approval_pb2_grpc.ApprovalServiceStub(channel)
        self.receipts = receipt_pb2_grpc.ReceiptServiceStub(channel)
        self.admin = admin_pb2_grpc.AdminServiceStub(channel)

    @classmethod
    def of(cls, served: Served, pair: KeyPair | str = "agent") -> "Rpc":
        """Connect by a pair, or as an identity by name."""
        return cls(served.channel(pair))

    def execute(self, tool: str, arguments: object = None, **fields: Any) -> call_pb2.Call:
        """Call a tool."""
        request = wish(tool, arguments, **fields)
        return self.execution.ExecuteTool(request, timeout=TIMEOUT_S).call

    def put(self, path: str, data: bytes, **fields: Any) -> call_pb2.Call:
        """Upload a file, in chunks of 64 KiB."""
        parts = upload(path, data, **fields)
        return self.workspace.PutFile(iter(parts), timeout=TIMEOUT_S).call

    def fetch(self, path: str, **fields: Any) -> tuple[workspace_pb2.GetFileHead, bytes]:
        """Download a file; give its head with its bytes."""
        request = workspace_pb2.GetFileRequest(path=path, **_durations(fields))
        head, *parts = self.workspace.GetFile(request, timeout=TIMEOUT_S)
        assert head.WhichOneof("part") == "head"
        return head.head, b"".join(part.chunk for part in parts)

    def get(self, call: str) -> call_pb2.Call:
        """Read a call."""
        request = execution_pb2.GetCallRequest(call=call)
        return self.execution.GetCall(request, timeout=TIMEOUT_S).call

    def wait(self, call: str) -> call_pb2.Call:
        """Wait until a call is final."""
        request = execution_pb2.WaitCallRequest(call=call, timeout=seconds(60))
        return self.execution.WaitCall(request, timeout=TIMEOUT_S * 2).call

    def inclusion_proof(self, call: call_pb2.Call) -> receipt_pb2.GetInclusionProofResponse:
        """Ask for the proof that a call's receipt is in the log."""
        request = receipt_pb2.GetInclusionProofRequest(call=call.name)
        return self.receipts.GetInclusionProof(request, timeout=TIMEOUT_S)

    def raw(self, method: str, request: bytes = b"", *, timeout_s: float = TIMEOUT_S) -> bytes:
        """Call a unary method with the bytes of a request."""
        answer: bytes = self.channel.unary_unary(method)(request, timeout=timeout_s)
        return answer

    def raw_stream(self, method: str, request: bytes = b"", *, timeout_s: float = TIMEOUT_S) -> Any:
        """Call a method that streams with the bytes of a request."""
        return self.channel.unary_stream(method)(request, timeout=timeout_s)

    def reflected(self) -> ProtoReflectionDescriptorDatabase:
        """Ask the broker what it serves."""
        return ProtoReflectionDescriptorDatabase(self.channel)


def wish(tool: str, arguments: object = None, **fields: Any) -> execution_pb2.ExecuteToolRequest:
    """Write a request; arguments that are text go as they are."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return execution_pb2.ExecuteToolRequest(tool=tool, arguments_json=text, **_durations(fields))


def upload(path: str, data: bytes, **fields: Any) -> list[workspace_pb2.PutFileRequest]:
    """Write the messages of an upload."""
    head = workspace_pb2.PutFileHead(path=path, **_durations(fields))
    chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    return [
        workspace_pb2.PutFileRequest(head=head),
        *(workspace_pb2.PutFileRequest(chunk=chunk) for chunk in chunks),
    ]


def _durations(fields: dict[str, Any]) -> dict[str, Any]:
    numbers = {
        name for name in ("timeout", "hold_wait") if isinstance(fields.get(name), int | float)
    }
    return fields | {name: seconds(fields[name]) for name in numbers}


def seconds(value: float) -> Duration:
    """Write a duration."""
    duration = Duration()
    duration.FromMilliseconds(int(value * 1000))
    return duration


def state(call: call_pb2.Call) -> str:
    """Name a call's state."""
    return call_pb2.CallState.Name(call.state).removeprefix("CALL_STATE_")


def rules(call: call_pb2.Call) -> list[str]:
    """Name the rules that decided."""
    return [reason.rule for reason in call.decision.reasons]


def fresh(prefix: str = "t") -> str:
    """Draw a name that no other test has."""
    return f"{prefix}-{uuid.uuid4().hex[:16]}"


def failure(attempt: Callable[[], object]) -> Failure:
    """Make an attempt that must fail; tell how it did."""
    try:
        answer = attempt()
    except grpc.RpcError as error:
        return read_failure(error)
    raise AssertionError(f"it succeeded: {answer!r}")


def read_failure(error: grpc.RpcError) -> Failure:
    """Read everything that a refusal says."""
    info, fields, quotas, preconditions = error_details_pb2.ErrorInfo(), [], [], []
    retry_s = None
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        bad, quota = error_details_pb2.BadRequest(), error_details_pb2.QuotaFailure()
        condition, retry = (
            error_details_pb2.PreconditionFailure(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(bad):
            fields += [violation.field for violation in bad.field_violations]
        elif detail.Unpack(quota):
            quotas += [violation.subject for violation in quota.violations]
        elif detail.Unpack(condition):
            preconditions += [violation.type for violation in condition.violations]
        elif detail.Unpack(retry):
            retry_s = retry.retry_delay.ToTimedelta().total_seconds()
        else:
            assert detail.Unpack(info)
    return Failure(
        code=error.code(),
        message=error.details() or "",
        reason=info.reason,
        domain=info.domain,
        fields=tuple(fields),
        quotas=tuple(quotas),
        preconditions=tuple(preconditions),
        retry_s=retry_s,
        raw=status.SerializeToString() if status else b"",
    )
