"""Read the content that a call's record names by digest."""

from dataclasses import dataclass

from broker.core.call import Call
from broker.core.canonical import JsonObject
from broker.core.document import Document, DocumentKind
from broker.core.order import RecordedRequest
from broker.errors import StoreUnavailable
from broker.ports import Store, StoredReceipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A call with the content that its record names; None where content was erased.

    `is_halted` says that a halt keeps the call from beginning.
    """

    call: Call
    request: JsonObject | None
    decision: JsonObject | None
    result: JsonObject | None
    receipt: bytes | None
    is_halted: bool = False


async def read_answer(store: Store, call: Call, *, content: bool = True) -> Answer:
    """Collect a call's content from the store.

    Args:
        content: Whether result and receipt are wanted: they may be megabytes, times a page.
    """
    decision = call.evaluations[-1].decision_sha256
    result = call.result_sha256 if content else None
    receipt = await store.receipt(call.id) if content and call.state.is_final else None
    return Answer(
        call=call,
        request=_body(await store.document(call.request_sha256)),
        decision=_body(await store.document(decision)),
        result=_body(await store.document(result) if result else None),
        receipt=receipt.envelope if receipt else None,
    )


def answer_at_hand(
    call: Call, documents: tuple[Document, ...], receipt: StoredReceipt | None
) -> Answer:
    """Build the answer from what was just written, without asking the store for it again."""
    bodies = {document.kind: document.body for document in documents}
    return Answer(
        call=call,
        request=bodies.get(DocumentKind.REQUEST),
        decision=bodies.get(DocumentKind.DECISION),
        result=bodies.get(DocumentKind.RESULT),
        receipt=receipt.envelope if receipt else None,
    )


async def read_request(store: Store, call: Call) -> RecordedRequest:
    """Read what the agent asked for, to go on with the call.

    Raises:
        StoreUnavailable: It was erased, so the call cannot go on.
    """
    document = await store.document(call.request_sha256)
    if document is None:
        raise StoreUnavailable("the request of this call was erased")
    return RecordedRequest.read(document)


def _body(document: Document | None) -> JsonObject | None:
    return document.body if document else None
