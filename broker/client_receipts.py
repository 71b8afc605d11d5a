"""Read receipts with their log from Python."""

from collections.abc import Iterator

from broker.client_connection import Connection, listed
from broker.v1 import receipt_pb2


class ReceiptClient(Connection):
    """What auditors ask of a broker."""

    def receipt(self, call: str) -> receipt_pb2.GetReceiptResponse:
        """Read the receipt of a call, with the documents that it names."""
        return self._attempts.repeated(
            self._receipts.GetReceipt, receipt_pb2.GetReceiptRequest(call=call)
        )

    def receipts(
        self, *, after: int = 0, limit: int | None = None
    ) -> Iterator[receipt_pb2.Receipt]:
        """List receipts by sequence, strictly after one."""

        def page(size: int, token: str) -> tuple[list[receipt_pb2.Receipt], str]:
            request = receipt_pb2.ListReceiptsRequest(
                page_size=size, page_token=token, filter=f"after={after}" if after else ""
            )
            answer = self._attempts.repeated(self._receipts.ListReceipts, request)
            return list(answer.receipts), answer.next_page_token

        return listed(page, limit)

    def checkpoint(self, *, witnessed: bool = False) -> receipt_pb2.GetCheckpointResponse:
        """Read the latest signed head of the receipts' log, or the latest witnessed one."""
        request = receipt_pb2.GetCheckpointRequest(witnessed=witnessed)
        return self._attempts.repeated(self._receipts.GetCheckpoint, request)

    def inclusion_proof(
        self, call: str, *, unwitnessed: bool = False
    ) -> receipt_pb2.GetInclusionProofResponse:
        """Read the proof that a call's receipt is in the log; it holds offline.

        Args:
            unwitnessed: Take the latest head rather than the latest that its witnesses cosigned.
        """
        request = receipt_pb2.GetInclusionProofRequest(call=call, unwitnessed=unwitnessed)
        return self._attempts.repeated(self._receipts.GetInclusionProof, request)

    def consistency_proof(
        self, first_size: int, second_size: int = 0
    ) -> receipt_pb2.GetConsistencyProofResponse:
        """Read the proof that the log only grew between two sizes; 0 means the latest."""
        request = receipt_pb2.GetConsistencyProofRequest(
            first_size=first_size, second_size=second_size
        )
        return self._attempts.repeated(self._receipts.GetConsistencyProof, request)

    def trust_root(self) -> str:
        """Read the broker's own trust root. To verify, use one that you got elsewhere."""
        request = receipt_pb2.GetTrustRootRequest()
        return self._attempts.repeated(self._receipts.GetTrustRoot, request).trust_root_json
