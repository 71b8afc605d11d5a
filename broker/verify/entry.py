"""Verify one entry of a log by itself, whatever its kind.

A receipt goes through the steps of `receipt`, any other entry through those of them that do not
speak of receipts, with its own payload type, schema and place. What entries must be together is
`walk`'s to say. So any process can take any entry, in any order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.core.dsse import IN_TOTO
from broker.core.ids import Sha256, sha256_hex
from broker.core.log_leaf import PAYLOAD_TYPES, LeafKind
from broker.core.merkle import leaf_hash
from broker.core.trust_root import TrustRoot
from broker.errors import ReceiptInvalid
from broker.verify.evidence import Evidence, group
from broker.verify.receipt import COUNTS, SIGNED, STEPS, judge, receipt_index
from broker.verify.run_facts import RunFacts, facts_of_intent, facts_of_receipt
from broker.verify.shape import leaf_fault
from broker.verify.verdict import Indeterminate, Logged, Validity

_KINDS = {payload_type: kind for kind, payload_type in PAYLOAD_TYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What one entry was found to be; what it says counts only where it is not invalid.

    Args:
        step: The one that failed; None where all passed.
        leaf: Its leaf hash, 32 bytes.
        sha256: Of its exact bytes.
        sequence: Of a receipt, or of the event that a leaf is about; 0 of a batch.
        previous: What a receipt names as the one before it.
        call: The call of a receipt or an intent, its name; empty where there is none.
        started_at: When a receipt says that the call began; None where it did not.
        run: What an intent, or the receipt of a call that began, says of the run.
        index: The place that it names.
        is_placed: Whether it names it by itself, as all do since the log holds more than receipts.
        first: Event that a batch covers first.
        last: Event that a batch covers last.
        since: Time of the first.
        counts: How many entries a batch says to stand before it, by kind.
    """

    validity: Validity
    step: str | None
    message: str
    leaf: bytes
    sha256: Sha256
    kind: LeafKind = LeafKind.RECEIPT
    installation: str = ""
    epoch: int = 0
    sequence: int = 0
    previous: str = ""
    call: str = ""
    started_at: str | None = None
    run: RunFacts | None = None
    index: int = 0
    is_placed: bool = True
    first: int = 0
    last: int = 0
    since: str = ""
    counts: Mapping[str, str] = field(default_factory=dict)


def judge_entry(entry: bytes, trust_root: TrustRoot, logged: Logged) -> Judged:
    """Verify an entry at its place; never raises for anything that it is given to verify.

    Args:
        logged: The place, which the log's tree shows in the end.
    """
    leaf, sha256 = leaf_hash(entry), sha256_hex(entry)
    evidence = Evidence(
        text=entry,
        trust_root=trust_root,
        request=None,
        result=None,
        proof=None,
        quorum=0,
        logged=logged,
    )
    try:
        SIGNED[0](evidence)
        if evidence.wrapped.payload_type == IN_TOTO:
            return _receipt(evidence, leaf, sha256)
        return _leaf(evidence, leaf, sha256)
    except ReceiptInvalid as error:
        return Judged(
            validity=Validity.INVALID,
            step=error.step,
            message=error.description,
            leaf=leaf,
            sha256=sha256,
        )


def _receipt(evidence: Evidence, leaf: bytes, sha256: Sha256) -> Judged:
    verdict = judge(evidence, STEPS[1:])
    if verdict.validity is Validity.INVALID:
        raise ReceiptInvalid(verdict.step or "receipt", verdict.message)
    identity = group(verdict.predicate, "identity")
    started_at = group(verdict.predicate, "times")["started_at"]
    return Judged(
        validity=verdict.validity,
        step=verdict.step,
        message=verdict.message,
        leaf=leaf,
        sha256=sha256,
        installation=str(identity["installation"]),
        epoch=int(str(identity["epoch"])),
        sequence=int(str(identity["sequence"])),
        previous=str(identity["previous"]),
        call=str(identity["call"]),
        started_at=None if started_at is None else str(started_at),
        run=None if started_at is None else facts_of_receipt(verdict.predicate),
        index=receipt_index(identity),
        is_placed="index" in identity,
    )


def _leaf(evidence: Evidence, leaf: bytes, sha256: Sha256) -> Judged:
    kind = _KINDS.get(evidence.wrapped.payload_type)
    if kind is None:
        raise ReceiptInvalid("type", "the payload type is none that an entry of the log has")
    for step in SIGNED[1:]:
        step(evidence)
    said = evidence.said
    if fault := leaf_fault(kind, said):
        raise ReceiptInvalid("shape", fault)
    if said["key_id"] != evidence.key.key_id:
        raise ReceiptInvalid("key", "key_id names another key than the one that signed")
    validity, failed, message = Validity.VALID, None, "genuine"
    try:
        COUNTS(evidence)
    except Indeterminate as error:
        validity, failed, message = Validity.INDETERMINATE, error.step, error.message
    broker, body = group(said, "broker"), group(said, kind.value)
    is_batch = kind is LeafKind.BATCH
    return Judged(
        validity=validity,
        step=failed,
        message=message,
        leaf=leaf,
        sha256=sha256,
        kind=kind,
        installation=str(broker["installation"]),
        epoch=int(str(broker["epoch"])),
        index=int(str(said["index"])),
        sequence=0 if is_batch else int(str(group(said, "event")["sequence"])),
        call=str(body.get("call") or ""),
        run=facts_of_intent(body) if kind is LeafKind.INTENT else None,
        first=int(str(body["first"])) if is_batch else 0,
        last=int(str(body["last"])) if is_batch else 0,
        since=str(body["since"]) if is_batch else "",
        counts={name: str(count) for name, count in group(body, "entries").items()}
        if is_batch
        else {},
    )
