"""Serve the operators' API."""

from collections.abc import AsyncIterator

from broker.api.edge import Context
from broker.api.identity import caller
from broker.api.wire import call_message, filter_terms, page_size
from broker.approve import Approvals, Ballot
from broker.core.call import Call, Verdict
from broker.core.identity import Identity
from broker.errors import InvalidArgument
from broker.read import Reader
from broker.v1 import approval_pb2, approval_pb2_grpc, call_pb2

_FILTERS = frozenset({"tool", "agent"})


class ApprovalService(approval_pb2_grpc.ApprovalServiceServicer):
    """Let people decide held calls."""

    def __init__(self, approvals: Approvals, reader: Reader) -> None:
        self._approvals = approvals
        self._reader = reader

    async def ListHolds(  # noqa: N802
        self, request: approval_pb2.ListHoldsRequest, context: Context
    ) -> approval_pb2.ListHoldsResponse:
        """List open holds that the caller may decide, oldest first."""
        size = page_size(request.page_size)
        terms = filter_terms(request.filter, _FILTERS)
        holds = [
            call
            for call in self._reader.holds(caller())
            if call.id > request.page_token and _matches(call, terms)
        ]
        return approval_pb2.ListHoldsResponse(
            calls=[await self._shown(call) for call in holds[:size]],
            next_page_token=holds[size - 1].id if len(holds) > size else "",
        )

    async def WatchHolds(  # noqa: N802
        self, request: approval_pb2.WatchHoldsRequest, context: Context
    ) -> AsyncIterator[approval_pb2.WatchHoldsResponse]:
        """Stream open holds, then each as it opens, changes, closes."""
        terms = filter_terms(request.filter, _FILTERS)
        async for call in self._reader.watch_holds(caller()):
            if _matches(call, terms):
                yield approval_pb2.WatchHoldsResponse(call=await self._shown(call))

    async def GetHold(  # noqa: N802
        self, request: approval_pb2.GetHoldRequest, context: Context
    ) -> approval_pb2.GetHoldResponse:
        """Show a hold as it has to be judged."""
        async with self._reader.turns.of(caller().id):
            shown = await self._reader.show_hold(caller(), request.call)
        return approval_pb2.GetHoldResponse(
            call=await self._shown(shown.call),
            view_text=str(shown.view.body["text"]),
            view_document=shown.view.text.decode(),
            view_sha256=shown.view.sha256,
        )

    async def ApproveCall(  # noqa: N802
        self, request: approval_pb2.ApproveCallRequest, context: Context
    ) -> approval_pb2.ApproveCallResponse:
        """Count a vote to approve."""
        if request.signature:
            raise InvalidArgument("signature", "this broker checks no signatures yet: send none")
        ballot = Ballot(
            verdict=Verdict.APPROVE, view_sha256=request.view_sha256, reason=request.reason
        )
        call = await self._vote(caller(), request.call, ballot)
        return approval_pb2.ApproveCallResponse(call=call)

    async def RejectCall(  # noqa: N802
        self, request: approval_pb2.RejectCallRequest, context: Context
    ) -> approval_pb2.RejectCallResponse:
        """Reject the call."""
        ballot = Ballot(
            verdict=Verdict.REJECT, view_sha256=request.view_sha256, reason=request.reason
        )
        call = await self._vote(caller(), request.call, ballot)
        return approval_pb2.RejectCallResponse(call=call)

    async def _vote(self, voter: Identity, reference: str, ballot: Ballot) -> call_pb2.Call:
        call = await self._reader.find(voter, reference, whole=True)
        return await self._shown(await self._approvals.vote(voter, call, ballot))

    async def _shown(self, call: Call) -> call_pb2.Call:
        # Approvers judge the view; results belong to the agent with its auditors.
        return call_message(await self._reader.answer(call, content=False), content=False)


def _matches(call: Call, terms: dict[str, str]) -> bool:
    return terms.get("tool", call.tool) == call.tool and terms.get("agent", call.agent) == (
        call.agent
    )
