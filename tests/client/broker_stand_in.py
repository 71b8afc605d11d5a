"""Answer a client's requests one by one over grpcio-testing's fake channel."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

import grpc
import grpc_testing
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from broker.client import Client
from broker.v1 import (
    admin_pb2,
    approval_pb2,
    execution_pb2,
    receipt_pb2,
    tool_pb2,
    workspace_pb2,
)

_FILES = (execution_pb2, workspace_pb2, tool_pb2, approval_pb2, receipt_pb2, admin_pb2)
_SERVICES = tuple(
    service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
)
_METHODS = {method.name: method for service in _SERVICES for method in service.methods}
T = TypeVar("T")
RICH = "grpc-status-details-bin"


class StandIn:
    """The far end of a fake channel, driven by the test, with the client at its near end."""

    def __init__(self) -> None:
        self._channel = grpc_testing.channel(_SERVICES, grpc_testing.strict_real_time())
        self.pauses_s: list[float] = []
        self.client = Client(self._channel, target="broker:7443", sleep=self.pauses_s.append)

    def begin(self, request: Callable[[], T]) -> "Future[T]":
        """Start a blocking request of the client; one that is never answered ends with pytest."""
        pending: Future[T] = Future()

        def run() -> None:
            try:
                pending.set_result(request())
            except BaseException as error:  # whatever it is belongs to the test that waits
                pending.set_exception(error)

        Thread(target=run, daemon=True).start()
        return pending

    def answer(self, method: str, response: Message) -> Message:
        """Take the next request of a method, answer it, return it."""
        _, request, rpc = self._channel.take_unary_unary(_METHODS[method])
        rpc.terminate(response, (), grpc.StatusCode.OK, "")
        return request

    def refuse(
        self,
        method: str,
        code: grpc.StatusCode,
        message: str = "no",
        *,
        reason: str = "",
        retry_after_s: float | None = None,
        rich_code: int | None = None,
    ) -> Message:
        """Take the next request of a method, refuse it, return it.

        Args:
            rich_code: What the details say the code is, where it shall differ.
        """
        _, request, rpc = self._channel.take_unary_unary(_METHODS[method])
        trailers = _trailers(rich_code or code.value[0], message, reason, retry_after_s)
        rpc.terminate(None, trailers, code, message)
        return request

    def take_stream(self, method: str) -> tuple[Message, grpc_testing.UnaryStreamChannelRpc]:
        """Take the next request of a streaming method; the test answers it."""
        _, request, rpc = self._channel.take_unary_stream(_METHODS[method])
        return request, rpc


def methods() -> dict[str, MethodDescriptor]:
    """Every method of the API by its name."""
    return _METHODS


def _trailers(
    code: int, message: str, reason: str, retry_after_s: float | None
) -> tuple[tuple[str, bytes], ...]:
    details: list[Message] = []
    if reason:
        details.append(error_details_pb2.ErrorInfo(reason=reason, domain="toolwarrant"))
    if retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(round(retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if not details:
        return ()
    packed = []
    for detail in details:
        holder = Any()
        holder.Pack(detail)
        packed.append(holder)
    status = status_pb2.Status(code=code, message=message, details=packed)
    return ((RICH, status.SerializeToString()),)
