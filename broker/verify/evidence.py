"""Hold what is verified of an entry of the log, with what the steps have made of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker.core.canonical import JsonObject, JsonValue
from broker.core.dsse import Envelope
from broker.core.log_proof import LogProof
from broker.core.trust_root import TrustedKey, TrustRoot
from broker.errors import ReceiptInvalid
from broker.verify.log import SignedCheckpoint
from broker.verify.verdict import Logged


@dataclass(slots=True, kw_only=True)
class Evidence:
    """What is verified, with what the steps have made of it so far."""

    text: bytes
    trust_root: TrustRoot
    request: bytes | None
    result: bytes | None
    proof: bytes | None
    quorum: int
    envelope: Envelope | None = None
    signer: TrustedKey | None = None
    statement: JsonObject | None = None
    log_proof: LogProof | None = None
    signed: SignedCheckpoint | None = None
    logged: Logged | None = None

    @property
    def wrapped(self) -> Envelope:
        """Give the envelope that step 0 read."""
        if self.envelope is None:
            raise ReceiptInvalid("envelope", "it was not read")
        return self.envelope

    @property
    def key(self) -> TrustedKey:
        """Give the key that step 2 found."""
        if self.signer is None:
            raise ReceiptInvalid("signature", "it was not verified")
        return self.signer

    @property
    def said(self) -> JsonObject:
        """Give the Statement that step 3 read."""
        if self.statement is None:
            raise ReceiptInvalid("canonical", "it was not read")
        return self.statement

    @property
    def predicate(self) -> JsonObject:
        """Give the predicate, whose shape step 5 checked."""
        return group(self.said, "predicate")

    @property
    def subjects(self) -> list[tuple[str, str]]:
        """List the subjects' names with their digests."""
        return [
            (str(entry["name"]), str(group(entry, "digest")["sha256"]))
            for entry in listed(self.said, "subject")
        ]


Step = Callable[[Evidence], None]
"""Takes evidence further, or raises what is wrong with it."""


def _mapping(value: JsonValue) -> JsonObject:
    # What was parsed is a dict, which is told at once; any other kind of mapping is not.
    return value if type(value) is dict or isinstance(value, Mapping) else {}


def group(value: JsonObject, name: str) -> JsonObject:
    """Give an object within an object; an empty one where there is another value."""
    return _mapping(value[name])


def listed(value: JsonObject, name: str) -> list[JsonObject]:
    """Give the objects of a list within an object."""
    entries = value[name]
    return [_mapping(entry) for entry in entries] if isinstance(entries, list) else []
