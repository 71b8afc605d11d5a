"""Decide held calls from Python."""

from collections.abc import Iterator

import grpc

from broker.client_connection import Connection, listed
from broker.client_errors import client_error
from broker.v1 import approval_pb2, call_pb2


class ApprovalClient(Connection):
    """What approvers ask of a broker."""

    def holds(self, filter: str = "", *, limit: int | None = None) -> list[call_pb2.Call]:  # noqa: A002
        """List open holds that this identity may decide, oldest first."""

        def page(size: int, token: str) -> tuple[list[call_pb2.Call], str]:
            request = approval_pb2.ListHoldsRequest(page_size=size, page_token=token, filter=filter)
            answer = self._attempts.repeated(self._approval.ListHolds, request)
            return list(answer.calls), answer.next_page_token

        return list(listed(page, limit))

    def watch_holds(self, filter: str = "") -> Iterator[call_pb2.Call]:  # noqa: A002
        """Follow open holds: those there are, then each as it opens, changes or closes."""
        try:
            for answer in self._approval.WatchHolds(approval_pb2.WatchHoldsRequest(filter=filter)):
                yield answer.call
        except grpc.RpcError as error:
            raise client_error(error, self._target) from error

    def hold(self, call: str) -> approval_pb2.GetHoldResponse:
        """Show a hold as it has to be judged, with the digest that a vote must name."""
        return self._attempts.repeated(
            self._approval.GetHold, approval_pb2.GetHoldRequest(call=call)
        )

    def approve(self, call: str, view_sha256: str, reason: str) -> call_pb2.Call:
        """Vote to approve exactly the view that was seen.

        Args:
            call: Its name, its ULID or its whole short id.
            view_sha256: From `hold`.
            reason: Why; kept with the record.
        """
        request = approval_pb2.ApproveCallRequest(call=call, view_sha256=view_sha256, reason=reason)
        return self._attempts.once(self._approval.ApproveCall, request).call

    def reject(self, call: str, view_sha256: str, reason: str) -> call_pb2.Call:
        """Reject a held call for good; arguments as for `approve`."""
        request = approval_pb2.RejectCallRequest(call=call, view_sha256=view_sha256, reason=reason)
        return self._attempts.once(self._approval.RejectCall, request).call
