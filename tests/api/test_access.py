"""Which role may use which RPC: every served method, found by reflection."""

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from broker.api.access import TABLE
from tests.api.rpc import Rpc, read_failure
from tests.broker_process import Served

ROLES = ("agent", "approver", "auditor", "policy", "admin")
# Written down a second time, from what each role is for; a change of the table needs both.
WANTED = {
    "broker.v1.ExecutionService": {
        "ExecuteTool": {"agent"},
        "GetCall": {"agent", "approver", "auditor"},
        "ListCalls": {"agent", "auditor"},
        "WaitCall": {"agent", "approver", "auditor"},
        "WatchCall": {"agent", "approver", "auditor"},
        "CancelCall": {"agent"},
    },
    "broker.v1.WorkspaceService": {
        "PutFile": {"agent"},
        "GetFile": {"agent"},
        "ListFiles": {"agent"},
    },
    "broker.v1.ToolService": {
        "ListTools": set(ROLES),
        "GetTool": set(ROLES),
        "CheckCall": {"agent"},
    },
    "broker.v1.ApprovalService": {
        "ListHolds": {"approver"},
        "WatchHolds": {"approver"},
        "GetHold": {"approver", "auditor"},
        "ApproveCall": {"approver"},
        "RejectCall": {"approver"},
    },
    "broker.v1.ReceiptService": {
        "GetReceipt": {"agent", "auditor"},
        "ListReceipts": {"agent", "auditor"},
        "GetCheckpoint": {"auditor"},
        "GetInclusionProof": {"agent", "auditor"},
        "GetConsistencyProof": {"auditor"},
        "GetTrustRoot": set(ROLES),
    },
    "broker.v1.PolicyService": {
        "GetPolicy": {"auditor", "policy"},
        "ActivateBundle": {"policy"},
        "ExplainCall": {"auditor", "policy"},
    },
    "broker.v1.AdminService": {
        "GetServerInfo": set(ROLES),
        "Drain": {"admin"},
        "Halt": {"admin"},
        "Resume": {"admin"},
        "ListHalts": {"admin"},
    },
    "grpc.health.v1.Health": {"Check": set(ROLES), "Watch": set(ROLES), "List": set(ROLES)},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": set(ROLES)},
}


def methods(rpc: Rpc) -> Iterator[MethodDescriptor]:
    """Give the descriptor of every method that the broker says it serves."""
    database = rpc.reflected()
    pool = DescriptorPool(database)
    for service in database.get_services():
        yield from pool.FindServiceByName(service).methods


def path(method: MethodDescriptor) -> str:
    """Give the path of a method's HTTP/2 request."""
    return f"/{method.containing_service.full_name}/{method.name}"


def refusal(rpc: Rpc, method: MethodDescriptor) -> str:
    """Call a method with an empty request; give the reason of the refusal, or "" where it came in.

    A stream that says nothing came in: a refusal is the first thing that is said.
    """
    kind = ("stream" if method.client_streaming else "unary") + (
        "_stream" if method.server_streaming else "_unary"
    )
    request = iter([b""]) if method.client_streaming else b""
    make = getattr(rpc.channel, kind)
    code, found = grpc.StatusCode.OK, None
    try:
        answer = make(path(method))(request, timeout=2 if method.server_streaming else 30)
        if method.server_streaming:
            next(answer, None)
            answer.cancel()
    except grpc.RpcError as error:
        code, found = error.code(), read_failure(error)
    assert code is not grpc.StatusCode.UNIMPLEMENTED
    return found.reason if found and code in REFUSED else ""


REFUSED = {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}


@pytest.fixture(scope="module")
def served_methods(served: Served) -> list[MethodDescriptor]:
    """Every method, as an auditor sees them."""
    return list(methods(Rpc.of(served, "auditor")))


class TestTable:
    def test_has_exactly_the_served_methods(self, served_methods):
        """The access table has a row for each served method, and no other row."""
        assert set(TABLE) == {path(method) for method in served_methods}

    def test_says_what_is_wanted(self):
        """Each row names exactly the roles that the method is for."""
        found = {row: {role.value for role in roles} for row, roles in TABLE.items()}
        assert found == {
            f"/{service}/{method}": roles
            for service, rows in WANTED.items()
            for method, roles in rows.items()
        }


class TestRoles:
    @pytest.mark.parametrize("role", ROLES)
    def test_every_method(self, serve_for_access, served_methods, role):
        """Each role comes into the methods of its rows, and is refused at every other."""
        rpc = Rpc.of(serve_for_access, role)
        found = {path(method): refusal(rpc, method) for method in served_methods}
        wanted = {
            path(method): ""
            if role in {each.value for each in TABLE[path(method)]}
            else "ROLE_REQUIRED"
            for method in served_methods
        }
        assert found == wanted

    def test_a_stranger(self, served, served_methods):
        """Who is not configured is refused at every method, health and reflection included."""
        pair = served.folder.authority.issue_client("x", "spiffe://toolwarrant.dev/stranger")
        rpc = Rpc.of(served, pair)
        found = {path(method): refusal(rpc, method) for method in served_methods}
        assert found == {path(method): "IDENTITY_UNKNOWN" for method in served_methods}


@pytest.fixture(scope="module")
def serve_for_access(development_folder, tmp_path_factory) -> Iterator[Served]:
    """A broker of its own: the administrator's row drains it."""
    folder = development_folder.copy(tmp_path_factory.mktemp("access") / "dev")
    with Served(folder) as running:
        yield running
