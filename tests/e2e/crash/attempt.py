"""Call a tool once, without the client's patience."""

import json

import grpc

from broker.client_errors import ClientError, client_error
from broker.v1 import call_pb2, execution_pb2, execution_pb2_grpc
from tests.broker_process import Served

DENIED = ("workspace_read", json.dumps({"path": ".env"}))
QUICK = ("python_run", json.dumps({"code": "print(1)"}))


def attempt(
    served: Served, tool: str, arguments_json: str, request_id: str = ""
) -> tuple[call_pb2.Call | None, ClientError | None]:
    """Give the call, or the error that was the answer to the one attempt."""
    request = execution_pb2.ExecuteToolRequest(
        tool=tool, arguments_json=arguments_json, request_id=request_id
    )
    with grpc.secure_channel(served.target, served.credentials("agent")) as channel:
        stub = execution_pb2_grpc.ExecutionServiceStub(channel)
        try:
            return stub.ExecuteTool(request, timeout=120).call, None
        except grpc.RpcError as error:
            return None, client_error(error, served.target)
