"""Stand before every RPC: who calls, whether they may, what an error becomes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_status import rpc_status

from broker.api.access import authorise
from broker.api.identity import authenticate, enter
from broker.api.status import internal_status, status_of
from broker.errors import BrokerError, InvalidArgument
from broker.people import People
from broker.ports import Clock, Telemetry

# gRPC's own types are open here: handlers and contexts are generic over every message.
if TYPE_CHECKING:
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
    Context: TypeAlias = aio.ServicerContext[Any, Any]
else:
    # The classes are generic for the type checker alone.
    Handler, Context = grpc.RpcMethodHandler, aio.ServicerContext


class Edge(aio.ServerInterceptor):
    """Authenticate, authorise, translate errors: for every method alike, streams included."""

    def __init__(self, people: People, clock: Clock, telemetry: Telemetry) -> None:
        self._people = people
        self._clock = clock
        self._telemetry = telemetry
        self._guarded: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the method's handler, once."""
        method = str(handler_call_details.method)
        guarded = self._guarded.get(method)
        if guarded is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return handler
            guarded = self._guarded[method] = self._guard(method, handler)
        return guarded

    def _guard(self, method: str, handler: Handler) -> Handler:
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        inner = next(
            behaviour
            for behaviour in (
                handler.unary_unary,
                handler.unary_stream,
                handler.stream_unary,
                handler.stream_stream,
            )
            if behaviour is not None
        )
        # A stream that writes through its context, as the health service's, is awaited.
        behaviour = self._stream if isasyncgenfunction(inner) else self._unary
        return make(
            behaviour(method, inner),
            request_deserializer=_reading(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _unary(self, method: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        async def answer(request: Any, context: Context) -> Any:
            try:
                self._admit(method, context)
                return await inner(_well_formed(request), context)
            except aio.AbortError:
                raise
            except Exception as error:  # the RPC edge: every error becomes a status here
                await self._abort(method, context, error)

        return answer

    def _stream(self, method: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        async def answers(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                self._admit(method, context)
                async for message in inner(_well_formed(request), context):
                    yield message
            except aio.AbortError:
                raise
            except Exception as error:  # the RPC edge: every error becomes a status here
                await self._abort(method, context, error)

        return answers

    def _admit(self, method: str, context: Context) -> None:
        identity = authenticate(context.auth_context(), self._people, self._clock.now())
        authorise(identity, method)
        enter(identity)

    async def _abort(self, method: str, context: Context, error: Exception) -> None:
        if isinstance(error, BrokerError):
            status = status_of(error)
            self._telemetry.refused(method, error.reason)
        else:
            status = internal_status()
            self._telemetry.alarm(f"{method} met a fault of the broker", error)
        await context.abort_with_status(rpc_status.to_status(status))


class _Malformed:
    """Stands for a request whose bytes are no message of its method."""


def _reading(deserialise: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    # gRPC itself would answer UNKNOWN, before the edge has seen who asks.
    if deserialise is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return deserialise(data)
        except DecodeError:
            return _Malformed()

    return read


def _well_formed(request: Any) -> Any:
    if isinstance(request, AsyncIterator):
        return _each_well_formed(request)
    if isinstance(request, _Malformed):
        raise InvalidArgument(
            "request", "is no message of this method: send one by its protos, text in UTF-8"
        )
    return request


async def _each_well_formed(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _well_formed(request)
