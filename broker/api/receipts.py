"""Serve the auditors' API."""

import base64

from broker.api.edge import Context
from broker.api.identity import caller
from broker.api.wire import filter_terms, page_size, timestamp
from broker.core.call import Call
from broker.core.identity import Role
from broker.errors import InvalidArgument, NotFound
from broker.log import Log
from broker.read import Reader
from broker.v1 import receipt_pb2, receipt_pb2_grpc
from broker.witnessing import Witnessing

_FILTERS = frozenset({"after"})


class ReceiptService(receipt_pb2_grpc.ReceiptServiceServicer):
    """Give out receipts with what they name."""

    def __init__(
        self, reader: Reader, log: Log, witnessing: Witnessing, trust_root_json: str
    ) -> None:
        self._reader = reader
        self._log = log
        self._witnessing = witnessing
        self._trust_root_json = trust_root_json

    async def GetReceipt(  # noqa: N802
        self, request: receipt_pb2.GetReceiptRequest, context: Context
    ) -> receipt_pb2.GetReceiptResponse:
        """Give a call's receipt, to its agent and to auditors."""
        call = await self._find(request.call)
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

    async def GetCheckpoint(  # noqa: N802
        self, request: receipt_pb2.GetCheckpointRequest, context: Context
    ) -> receipt_pb2.GetCheckpointResponse:
        """Give the latest head of the log, or the latest that enough witnesses cosigned."""
        ask = self._witnessing.witnessed if request.witnessed else self._witnessing.latest
        found = await ask()
        return receipt_pb2.GetCheckpointResponse(
            checkpoint=found.head.checkpoint.decode(),
            tree_size=found.head.size,
            verifier_key=self._log.verifier_key,
            witnessed=found.is_witnessed,
        )

    async def GetInclusionProof(  # noqa: N802
        self, request: receipt_pb2.GetInclusionProofRequest, context: Context
    ) -> receipt_pb2.GetInclusionProofResponse:
        """Prove that a call's receipt is in the log, to its agent and to auditors."""
        call = await self._find(request.call)
        # No document, and no turn while the log is waited for: that may take ten seconds.
        async with self._reader.turns.of(caller().id):
            receipt = await self._reader.receipt_alone(call)
        index, size, proof, is_witnessed = await self._witnessing.inclusion_proof(
            receipt, unwitnessed=request.unwitnessed
        )
        return receipt_pb2.GetInclusionProofResponse(
            proof=proof.decode(), index=index, tree_size=size, witnessed=is_witnessed
        )

    async def GetConsistencyProof(  # noqa: N802
        self, request: receipt_pb2.GetConsistencyProofRequest, context: Context
    ) -> receipt_pb2.GetConsistencyProofResponse:
        """Prove that the log only grew from one size to another."""
        first, second = request.first_size, request.second_size
        second = second or (await self._log.head()).size
        hashes = await self._log.consistency_proof(first, second)
        return receipt_pb2.GetConsistencyProofResponse(
            hashes=[base64.b64encode(each).decode() for each in hashes],
            first_size=first,
            second_size=second,
        )

    async def GetTrustRoot(  # noqa: N802
        self, request: receipt_pb2.GetTrustRootRequest, context: Context
    ) -> receipt_pb2.GetTrustRootResponse:
        """Give the trust root as this broker knows it."""
        return receipt_pb2.GetTrustRootResponse(trust_root_json=self._trust_root_json)

    async def _find(self, reference: str) -> Call:
        """Find a call whose content the caller may see.

        Raises:
            NotFound: There is none.
        """
        call = await self._reader.find(caller(), reference)
        if not self._reader.may_see_content(caller(), call):
            raise NotFound(f"call: there is no receipt of {reference!r} for you")
        return call


def _sequence(field: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidArgument(field, "send the sequence of a receipt")
    return int(text)
