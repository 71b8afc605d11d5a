"""Serve the agents' API."""

from collections.abc import AsyncIterator
from datetime import timedelta

from broker.api.calling import Calling
from broker.api.edge import Context
from broker.api.identity import caller
from broker.api.watching import Endings, event_message, output_message
from broker.api.wire import call_message, filter_terms, page_size, seconds
from broker.core.call import Call
from broker.core.identity import Identity, Role
from broker.core.ids import AgentId, CallId, is_call_id
from broker.core.lifecycle import CallState
from broker.core.order import Wish
from broker.core.output import Place
from broker.errors import InvalidArgument, NotFound
from broker.execute import Executor
from broker.ports import CallFilter
from broker.read import Reader
from broker.v1 import call_pb2, execution_pb2, execution_pb2_grpc
from broker.watch import Wrote

_WAIT_DEFAULT_S = 30.0
_WAIT_MOST_S = 300.0
_FILTERS = frozenset({"state", "tool", "session", "agent"})


class ExecutionService(execution_pb2_grpc.ExecutionServiceServicer):
    """Run tools for agents."""

    def __init__(self, executor: Executor, reader: Reader, calling: Calling) -> None:
        self._executor = executor
        self._reader = reader
        self._calling = calling
        self._endings = Endings(self._message)

    async def ExecuteTool(  # noqa: N802
        self, request: execution_pb2.ExecuteToolRequest, context: Context
    ) -> execution_pb2.ExecuteToolResponse:
        """Admit the call, then wait for its end as long as this RPC may."""
        wish = Wish(
            tool=request.tool,
            arguments_json=request.arguments_json,
            request_id=request.request_id,
            session_id=request.session_id,
            parent_call=request.parent_call,
            purpose=request.purpose,
            timeout_s=seconds("timeout", request.timeout) if request.HasField("timeout") else None,
        )
        hold_wait_s = seconds("hold_wait", request.hold_wait)
        answer = await self._calling.call(caller(), wish, hold_wait_s, no_wait=request.no_wait)
        return execution_pb2.ExecuteToolResponse(call=call_message(answer))

    async def GetCall(  # noqa: N802
        self, request: execution_pb2.GetCallRequest, context: Context
    ) -> execution_pb2.GetCallResponse:
        """Read a call."""
        call = await self._reader.find(caller(), request.call)
        return execution_pb2.GetCallResponse(call=await self._shown(call))

    async def ListCalls(  # noqa: N802
        self, request: execution_pb2.ListCallsRequest, context: Context
    ) -> execution_pb2.ListCallsResponse:
        """List calls, an agent's own or, for auditors, everybody's."""
        size = page_size(request.page_size)
        if request.page_token and not is_call_id(request.page_token):
            raise InvalidArgument("page_token", "send the token of the answer before")
        calls = await self._reader.list_calls(
            _wanted(request.filter, caller()),
            limit=size,
            before=CallId(request.page_token) if request.page_token else None,
        )
        return execution_pb2.ListCallsResponse(
            calls=[await self._message(call, content=False) for call in calls],
            next_page_token=calls[-1].id if len(calls) == size else "",
        )

    async def WaitCall(  # noqa: N802
        self, request: execution_pb2.WaitCallRequest, context: Context
    ) -> execution_pb2.WaitCallResponse:
        """Wait until a call is final, or the time is over."""
        wanted_s = seconds("timeout", request.timeout)
        within_s = min(wanted_s if request.HasField("timeout") else _WAIT_DEFAULT_S, _WAIT_MOST_S)
        call = await self._reader.find(caller(), request.call)
        call = await self._reader.wait(call, timedelta(seconds=within_s))
        return execution_pb2.WaitCallResponse(call=await self._shown(call))

    async def WatchCall(  # noqa: N802
        self, request: execution_pb2.WatchCallRequest, context: Context
    ) -> AsyncIterator[execution_pb2.WatchCallResponse]:
        """Stream the events of a call with its output."""
        after, place = _place(request)
        call = await self._reader.find(caller(), request.call)
        seen = self._reader.watch(
            caller(), call, after=after, place=place, events_only=request.events_only
        )
        async for item in seen:
            if isinstance(item, Wrote):
                yield output_message(item, after)
                continue
            after = item.event.sequence
            message = event_message(item.event)
            if item.call is not None:
                content = self._reader.may_see_content(caller(), item.call)
                message.call.CopyFrom(await self._endings.message(item.call, content))
            yield message

    async def CancelCall(  # noqa: N802
        self, request: execution_pb2.CancelCallRequest, context: Context
    ) -> execution_pb2.CancelCallResponse:
        """Cancel a call of the caller's own."""
        call = await self._reader.find(caller(), request.call, whole=True)
        if call.agent != caller().id:
            raise NotFound(f"call: there is no call {request.call!r} of yours")
        call = await self._executor.cancel(call)
        return execution_pb2.CancelCallResponse(call=await self._shown(call))

    async def _shown(self, call: Call) -> call_pb2.Call:
        return await self._message(call, self._reader.may_see_content(caller(), call))

    async def _message(self, call: Call, content: bool) -> call_pb2.Call:
        async with self._reader.turns.of(caller().id):
            return call_message(await self._reader.answer(call, content=content), content=content)


def _place(request: execution_pb2.WatchCallRequest) -> tuple[int, Place]:
    for field in ("after_sequence", "stdout_offset", "stderr_offset"):
        if getattr(request, field) < 0:
            raise InvalidArgument(field, "send 0, or what the stream said before it was cut")
    place = Place(stdout=request.stdout_offset, stderr=request.stderr_offset)
    return request.after_sequence, place


def _wanted(text: str, reader: Identity) -> CallFilter:
    terms = filter_terms(text, _FILTERS)
    sees_all = Role.AUDITOR in reader.roles
    agent = terms.get("agent")
    if agent is not None and agent != reader.id and not sees_all:
        raise InvalidArgument("filter", "agent=... is for auditors: you see your own calls")
    try:
        states = frozenset({CallState(terms["state"].upper())} if "state" in terms else set())
    except ValueError:
        known = ", ".join(state.value for state in CallState)
        raise InvalidArgument("filter", f"state=... is one of {known}") from None
    return CallFilter(
        agent=AgentId(agent) if agent else (None if sees_all else reader.id),
        states=states,
        session_id=terms.get("session"),
        tool=terms.get("tool"),
    )
