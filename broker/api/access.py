"""Say which role may use which RPC, in one table; what is not in it is refused."""

from broker.core.identity import Identity, Role
from broker.errors import PermissionDenied

_ANY = frozenset(Role)
_AGENT = frozenset({Role.AGENT})
_READERS = frozenset({Role.AGENT, Role.AUDITOR, Role.APPROVER})
_RECORDS = frozenset({Role.AGENT, Role.AUDITOR})
_AUDITORS = frozenset({Role.AUDITOR})
_APPROVERS = frozenset({Role.APPROVER})
_REVIEWERS = frozenset({Role.APPROVER, Role.AUDITOR})
_POLICY = frozenset({Role.AUDITOR, Role.POLICY})
_POLICY_MAKERS = frozenset({Role.POLICY})
_ADMIN = frozenset({Role.ADMIN})

TABLE: dict[str, frozenset[Role]] = {
    "/broker.v1.ExecutionService/ExecuteTool": _AGENT,
    "/broker.v1.ExecutionService/GetCall": _READERS,
    "/broker.v1.ExecutionService/ListCalls": _RECORDS,
    "/broker.v1.ExecutionService/WaitCall": _READERS,
    "/broker.v1.ExecutionService/WatchCall": _READERS,
    "/broker.v1.ExecutionService/CancelCall": _AGENT,
    "/broker.v1.WorkspaceService/PutFile": _AGENT,
    "/broker.v1.WorkspaceService/GetFile": _AGENT,
    "/broker.v1.WorkspaceService/ListFiles": _AGENT,
    "/broker.v1.ToolService/ListTools": _ANY,
    "/broker.v1.ToolService/GetTool": _ANY,
    "/broker.v1.ToolService/CheckCall": _AGENT,
    "/broker.v1.ApprovalService/ListHolds": _APPROVERS,
    "/broker.v1.ApprovalService/WatchHolds": _APPROVERS,
    "/broker.v1.ApprovalService/GetHold": _REVIEWERS,
    "/broker.v1.ApprovalService/ApproveCall": _APPROVERS,
    "/broker.v1.ApprovalService/RejectCall": _APPROVERS,
    "/broker.v1.ReceiptService/GetReceipt": _RECORDS,
    "/broker.v1.ReceiptService/ListReceipts": _RECORDS,
    "/broker.v1.ReceiptService/GetCheckpoint": _AUDITORS,
    "/broker.v1.ReceiptService/GetInclusionProof": _RECORDS,
    "/broker.v1.ReceiptService/GetConsistencyProof": _AUDITORS,
    "/broker.v1.ReceiptService/GetTrustRoot": _ANY,
    "/broker.v1.PolicyService/GetPolicy": _POLICY,
    "/broker.v1.PolicyService/ActivateBundle": _POLICY_MAKERS,
    "/broker.v1.PolicyService/ExplainCall": _POLICY,
    "/broker.v1.AdminService/GetServerInfo": _ANY,
    "/broker.v1.AdminService/Drain": _ADMIN,
    "/broker.v1.AdminService/Halt": _ADMIN,
    "/broker.v1.AdminService/Resume": _ADMIN,
    "/broker.v1.AdminService/ListHalts": _ADMIN,
    "/grpc.health.v1.Health/Check": _ANY,
    "/grpc.health.v1.Health/Watch": _ANY,
    "/grpc.health.v1.Health/List": _ANY,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _ANY,
}


def authorise(identity: Identity, method: str) -> None:
    """Check that an identity may use an RPC.

    Raises:
        PermissionDenied: None of its roles may; names those that do.
    """
    roles = TABLE.get(method, frozenset())
    if not roles & identity.roles:
        wanted = ", ".join(sorted(role.value for role in roles)) or "none"
        raise PermissionDenied(f"{method} is for the roles: {wanted}")
