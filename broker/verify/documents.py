"""Check the documents that a reader has against the receipt that names them."""

import json

from broker.core.canonical import canonical_json
from broker.core.document import SALT_BYTES, DocumentKind
from broker.core.ids import sha256_hex
from broker.errors import CanonicalError, ReceiptInvalid
from broker.verify.evidence import Evidence


def check_documents(evidence: Evidence) -> None:
    """9: the documents that the reader has are those that it names."""
    subjects = dict(evidence.subjects)
    for name, text, kind in (
        ("request", evidence.request, DocumentKind.REQUEST),
        ("result", evidence.result, DocumentKind.RESULT),
    ):
        if text is None:
            continue
        if name not in subjects:
            raise ReceiptInvalid("documents", f"the receipt names no {name} document")
        if sha256_hex(text) != subjects[name]:
            raise ReceiptInvalid("documents", f"this is not the {name} document of the receipt")
        if not _is_document(text, kind):
            raise ReceiptInvalid("documents", f"the {name} document has another form")


def _is_document(text: bytes, kind: DocumentKind) -> bool:
    try:
        document = json.loads(text)
        if canonical_json(document) != text or not isinstance(document, dict):
            return False
    except (ValueError, RecursionError, CanonicalError):
        return False
    return (
        set(document) == {"schema", "salt", "body"}
        and document["schema"] == kind.value
        and isinstance(document["salt"], str)
        and len(document["salt"]) == 2 * SALT_BYTES
        and isinstance(document["body"], dict)
    )
