"""Serve the auditors' API."""

from broker.api.edge import Context
from broker.api.identity import caller
from broker.api.wire import filter_terms, page_size, timestamp
from broker.core.identity import Role
from broker.errors import InvalidArgument, NotFound
from broker.read import Reader
from broker.v1 import receipt_pb2, receipt_pb2_grpc

_FILTERS = frozenset({"after"})


class ReceiptService(receipt_pb2_grpc.ReceiptServiceServicer):
    """Give out receipts with what they name."""

    def __init__(self, reader: Reader, trust_root_json: str) -> None:
        self._reader = reader
        self._trust_root_json = trust_root_json

    async def GetReceipt(  # noqa: N802
        self, request: receipt_pb2.GetReceiptRequest, context: Context
    ) -> receipt_pb2.GetReceiptResponse:
        """Give a call's receipt, to its agent and to auditors."""
        call = await self._reader.find(caller(), request.call)
        if not self._reader.may_see_content(caller(), call):
            raise NotFound(f"call: there is no receipt of {request.call!r} for you")
        async with self._reader.turns.of(caller().id):
            receipt, request_document, result = await self._reader.receipt(call)
            return receipt_pb2.GetReceiptResponse(
                receipt=receipt.envelope.decode(),
                request_document=request_document.text.decode() if request_document else "",
                result_document=result.text.decode() if result else "",
            )

    async def ListReceipts(  # noqa: N802
        self, request: receipt_pb2.ListReceiptsRequest, context: Context
    ) -> receipt_pb2.ListReceiptsResponse:
        """List receipts by sequence; an agent sees those of its own calls."""
        size = page_size(request.page_size)
        terms = filter_terms(request.filter, _FILTERS)
        after = _sequence("page_token", request.page_token or terms.get("after", "0"))
        own = None if Role.AUDITOR in caller().roles else caller().id
        async with self._reader.turns.of(caller().id):
            receipts = await self._reader.receipts(own, after=after, limit=size)
        return receipt_pb2.ListReceiptsResponse(
            receipts=[
                receipt_pb2.Receipt(
                    sequence=receipt.sequence,
                    call=f"calls/{receipt.call}",
                    receipt=receipt.envelope.decode(),
                    at=timestamp(receipt.at),
                )
                for receipt in receipts
            ],
            next_page_token=str(receipts[-1].sequence) if len(receipts) == size else "",
        )

    async def GetTrustRoot(  # noqa: N802
        self, request: receipt_pb2.GetTrustRootRequest, context: Context
    ) -> receipt_pb2.GetTrustRootResponse:
        """Give the trust root as this broker knows it."""
        return receipt_pb2.GetTrustRootResponse(trust_root_json=self._trust_root_json)


def _sequence(field: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidArgument(field, "send the sequence of a receipt")
    return int(text)
