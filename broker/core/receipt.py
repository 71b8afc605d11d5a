"""Make the receipt of a call: an in-toto Statement in a DSSE envelope."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker.core.canonical import JsonObject, JsonValue, canonical_json
from broker.core.dsse import IN_TOTO, envelope, pae
from broker.core.ids import Sha256

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:toolwarrant:execution-receipt:v1"
FIRST_PREVIOUS = Sha256("0" * 64)
"""What the first receipt of an installation names as the one before it."""
MAX_STATEMENT_BYTES = 65_535
_MAX_NUMBER = 2**31 - 1
_NO_NUMBERS = frozenset({str, bool, type(None)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptDraft:
    """A receipt before the store has given it its place.

    Args:
        subjects: Name (`request`, `result`) with the digest of that document's exact bytes.
        predicate: The groups of the predicate (contract §7); its group `identity` still lacks
            what `Position` adds.
    """

    subjects: tuple[tuple[str, Sha256], ...]
    predicate: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A receipt's place in its broker's chain.

    Args:
        sequence: From 1, without gaps, running through restarts.
        previous: SHA-256 of the preceding envelope's exact bytes; 64 zeros for the first.
        index: Its one place in the log, from 0; None for receipts from when the log held no other
            entries, whose place is one less than their sequence.
    """

    installation: str
    epoch: int
    sequence: int
    previous: Sha256
    index: int | None = None

    def __post_init__(self) -> None:
        if self.sequence < 1 or self.epoch < 1:
            raise ValueError("sequence and epoch count from 1")
        if (self.previous == FIRST_PREVIOUS) != (self.sequence == 1):
            raise ValueError("the first receipt, and no other, has no previous one")
        if self.index is not None and self.index < self.sequence - 1:
            raise ValueError("every earlier receipt has a place of its own before this one's")


def statement(draft: ReceiptDraft, position: Position) -> bytes:
    """Write the canonical in-toto Statement of a receipt.

    Raises:
        ValueError: Larger than 65,535 bytes, or a number in the predicate that some reader would
            round: a float, or one beyond 32 bits that is not a string.
        CanonicalError: It has no canonical form.
    """
    identity = draft.predicate.get("identity", {})
    if not isinstance(identity, Mapping):
        raise ValueError("the predicate's group `identity` is not an object")
    placed = {
        **identity,
        "installation": position.installation,
        "epoch": str(position.epoch),
        "sequence": str(position.sequence),
        "previous": position.previous,
    }
    if position.index is not None:
        placed["index"] = str(position.index)
    predicate = {**draft.predicate, "identity": placed}
    _check_numbers(predicate, "predicate")
    text = canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": name, "digest": {"sha256": sha256}} for name, sha256 in draft.subjects
            ],
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
    )
    if len(text) > MAX_STATEMENT_BYTES:
        raise ValueError(f"the statement has {len(text)} bytes, at most {MAX_STATEMENT_BYTES} fit")
    return text


def seal(draft: ReceiptDraft, position: Position, sign: Callable[[bytes], bytes]) -> bytes:
    """Sign a receipt at its place; give the exact envelope.

    Args:
        sign: Signs with the key that the predicate names.

    Raises:
        ValueError: As `statement`, or the envelope is larger than 65,535 bytes.
    """
    payload = statement(draft, position)
    return envelope(payload, sign(pae(IN_TOTO, payload)))


def _check_numbers(value: JsonValue, path: str) -> None:
    # No call for what most values are, as every receipt comes by here in the store's one writer.
    if type(value) is dict or isinstance(value, Mapping):
        for key, item in value.items():
            if type(item) not in _NO_NUMBERS:
                _check_numbers(item, f"{path}/{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            if type(item) not in _NO_NUMBERS:
                _check_numbers(item, path)
    elif isinstance(value, float):
        raise ValueError(f"{path} is a float")
    elif isinstance(value, int) and abs(value) > _MAX_NUMBER:
        raise ValueError(f"{path} is beyond 32 bits: write it as a string")
