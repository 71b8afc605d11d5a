"""Hold a call's content as salted canonical documents, which the log names by digest alone."""

from dataclasses import dataclass
from enum import Enum
from typing import Self

from broker.core.canonical import JsonObject, canonical_json
from broker.core.ids import Sha256, sha256_hex

SALT_BYTES = 16
_OPENING = b'{"body":'


class DocumentKind(Enum):
    """Which part of a call a document holds; the value is its schema id."""

    REQUEST = "broker.request/v1"
    POLICY_INPUT = "broker.policy-input/v1"
    DECISION = "broker.decision-record/v1"
    VIEW = "broker.view/v1"
    VOTE = "broker.vote/v1"
    RESULT = "broker.result/v1"
    HALT = "broker.halt/v1"
    TREE = "broker.workspace-tree/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One piece of erasable content, in its exact bytes.

    The salt makes the digest useless for guessing the body: a dictionary of likely bodies cannot
    be tried against the log (contract §7).
    """

    kind: DocumentKind
    body: JsonObject
    text: bytes
    sha256: Sha256

    @classmethod
    def seal(cls, kind: DocumentKind, body: JsonObject, *, salt: bytes) -> Self:
        """Make the canonical text `{schema, salt, body}`.

        Args:
            salt: Exactly 16 random bytes, drawn for this document alone.
        """
        if len(salt) != SALT_BYTES:
            raise ValueError("a document's salt is 16 bytes")
        # The three names are in canonical order, so the body is canonicalised once, for the
        # document as for those who get the body alone.
        text = b"".join((_OPENING, canonical_json(body), _closing(kind, salt.hex())))
        return cls(kind=kind, body=body, text=text, sha256=sha256_hex(text))

    @property
    def body_text(self) -> bytes:
        """Give the canonical text of the body alone: what policy, tool and renderer see."""
        return self.text[len(_OPENING) : -len(_closing(self.kind, "0" * 2 * SALT_BYTES))]


def _closing(kind: DocumentKind, salt: str) -> bytes:
    return f',"salt":"{salt}","schema":"{kind.value}"}}'.encode()
