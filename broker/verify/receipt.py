"""Verify one receipt, offline.

Steps, in order; the first that fails is named:

 0. envelope   The text is one DSSE envelope in exactly the form that a broker writes.
 1. type       It says that it carries an in-toto Statement.
 2. signature  A trusted key of role `receipt` signed it.
 3. canonical  The payload is I-JSON in its one canonical form (RFC 8785).
 4. statement  It is an in-toto Statement v1 about an execution receipt v1.
 5. shape      Every field is as the published schema says; so the outcome is a known one.
 6. key        The key that it names is the key that signed it.
 7. subjects   Its subjects are the documents that its predicate names.
 8. outcome    What it says of the run can be true together.
 9. documents  The documents that the reader has are those that it names.
10. proof      Where the reader has a proof: it is one C2SP tlog-proof.
11. checkpoint The log signed the checkpoint in it.
12. inclusion  The envelope is an entry of that checkpoint's tree, at the proof's index, which is
               the one place that the receipt names, in the log of its own installation.
13. witnesses  As many witnesses as the reader wants cosigned the checkpoint.
14. validity   The key counts at the receipt's place in the log, or wherever it stands.

Nothing of the payload is believed, nor shown, before step 2.
"""

from collections.abc import Sequence

from broker.core.canonical import JsonObject
from broker.core.checkpoint import is_another_log
from broker.core.dsse import IN_TOTO, MAX_ENVELOPE_BYTES, pae, read_envelope
from broker.core.log_proof import read_log_proof
from broker.core.receipt import PREDICATE_TYPE, STATEMENT_TYPE
from broker.core.strict_json import parse_object, read_canonical
from broker.core.trust_root import KeyRole, Standing, TrustRoot
from broker.errors import InvalidArgument, ReceiptInvalid
from broker.verify.claims import check_outcome, check_subjects
from broker.verify.documents import check_documents
from broker.verify.evidence import Evidence, Step, group
from broker.verify.log import check_quorum, open_checkpoint, place_in_log
from broker.verify.shape import shape_fault
from broker.verify.signature import is_signed
from broker.verify.verdict import Indeterminate, Logged, Validity, Verdict

_MAX_DEPTH = 32


def _envelope(evidence: Evidence) -> None:
    """0: one DSSE envelope, in exactly the form that a broker writes."""
    if len(evidence.text) > MAX_ENVELOPE_BYTES:
        raise ReceiptInvalid("envelope", f"longer than {MAX_ENVELOPE_BYTES} bytes")
    evidence.envelope = read_envelope(evidence.text)


def _type(evidence: Evidence) -> None:
    """1: it says that it carries an in-toto Statement."""
    if evidence.wrapped.payload_type != IN_TOTO:
        raise ReceiptInvalid("type", f"the payload type is not {IN_TOTO}")


def _signature(evidence: Evidence) -> None:
    """2: a trusted key of role `receipt` signed it.

    All of them are tried: the key that the payload names is not believed before this.
    """
    keys = evidence.trust_root.of_role(KeyRole.RECEIPT)
    if not keys:
        raise ReceiptInvalid("signature", "the trust root names no key of role receipt")
    wrapped = evidence.wrapped
    message = pae(wrapped.payload_type, wrapped.payload)
    evidence.signer = next(
        (key for key in keys if is_signed(key, message, wrapped.signature)), None
    )
    if evidence.signer is None:
        raise ReceiptInvalid("signature", "no receipt key of the trust root signed this payload")


def _canonical(evidence: Evidence) -> None:
    """3: the payload is I-JSON in its one canonical form."""
    payload = evidence.wrapped.payload
    try:
        evidence.statement = read_canonical(payload, field="payload", max_depth=_MAX_DEPTH)
        if evidence.statement is not None:
            return
        parsed = parse_object(payload, field="payload", max_depth=_MAX_DEPTH)
    except InvalidArgument as error:
        raise ReceiptInvalid("canonical", str(error)) from error
    evidence.statement = parsed.value
    if parsed.canonical != payload:
        raise ReceiptInvalid("canonical", "the payload is not its canonical form (RFC 8785)")


def _statement(evidence: Evidence) -> None:
    """4: an in-toto Statement v1 about an execution receipt v1."""
    said = evidence.said
    if said.get("_type") != STATEMENT_TYPE:
        raise ReceiptInvalid("statement", f"_type is not {STATEMENT_TYPE}")
    if said.get("predicateType") != PREDICATE_TYPE:
        raise ReceiptInvalid("statement", f"predicateType is not {PREDICATE_TYPE}")


def _shape(evidence: Evidence) -> None:
    """5: every field is as the published schema says."""
    if fault := shape_fault(evidence.said):
        raise ReceiptInvalid("shape", fault)


def _key(evidence: Evidence) -> None:
    """6: the key that it names is the key that signed it."""
    if evidence.predicate["key_id"] != evidence.key.key_id:
        raise ReceiptInvalid("key", "key_id names another key than the one that signed")


def _proof(evidence: Evidence) -> None:
    """10: where the reader has a proof, it is one C2SP tlog-proof."""
    if evidence.proof is not None:
        evidence.log_proof = read_log_proof(evidence.proof)


def _checkpoint(evidence: Evidence) -> None:
    """11: the log signed the checkpoint in the proof."""
    if evidence.log_proof is not None:
        evidence.signed = open_checkpoint(evidence.log_proof.checkpoint, evidence.trust_root)


def _inclusion(evidence: Evidence) -> None:
    """12: the envelope is an entry of the checkpoint's tree, where the receipt says to stand.

    A receipt that stood elsewhere, too, would have the key's bounds judged by a place of choice.
    """
    proof, signed = evidence.log_proof, evidence.signed
    if proof is None or signed is None:
        return
    logged = place_in_log(evidence.text, proof, signed, evidence.trust_root)
    identity, origin = group(evidence.predicate, "identity"), logged.checkpoint.origin
    if is_another_log(origin, str(identity["installation"])):
        raise ReceiptInvalid("inclusion", f"it is another installation's than the log's, {origin}")
    if (place := receipt_index(identity)) != logged.index:
        raise ReceiptInvalid("inclusion", f"its place is index {place}, not {logged.index}")
    evidence.logged = logged


def receipt_index(identity: JsonObject) -> int:
    """Give the one place in the log that a receipt names, whose shape was checked.

    A receipt without an index is from when the log held receipts alone.
    """
    if "index" in identity:
        return int(str(identity["index"]))
    return int(str(identity["sequence"])) - 1


def _witnesses(evidence: Evidence) -> None:
    """13: as many witnesses as the reader wants cosigned the checkpoint."""
    check_quorum(evidence.logged.witnesses if evidence.logged else (), evidence.quorum)


def _validity(evidence: Evidence) -> None:
    """14: the key counts at the receipt's place in the log, or wherever it stands.

    A withdrawn key may have signed this long before, and a bounded one outside its bounds: only
    the receipt's index in the log can tell, never a clock.
    """
    key, logged = evidence.key, evidence.logged
    standing = key.standing(logged.index if logged else None)
    if standing is Standing.VALID:
        return
    if logged is None:
        raise Indeterminate(
            "validity",
            "the key ended, has bounds or is withdrawn, and the receipt is not shown to be in the "
            "log: only its place there tells whether the key was valid, so give its proof",
        )
    if standing is Standing.INVALID:
        raise ReceiptInvalid("validity", f"the key is not valid at index {logged.index} of the log")
    raise Indeterminate(
        "validity", "the key is withdrawn, and the trust root does not say from which index on"
    )


STEPS: tuple[Step, ...] = (
    _envelope,
    _type,
    _signature,
    _canonical,
    _statement,
    _shape,
    _key,
    check_subjects,
    check_outcome,
    check_documents,
    _proof,
    _checkpoint,
    _inclusion,
    _witnesses,
    _validity,
)


def verify_receipt(
    envelope: bytes,
    trust_root: TrustRoot,
    *,
    request: bytes | None = None,
    result: bytes | None = None,
    proof: bytes | None = None,
    quorum: int = 0,
    logged: Logged | None = None,
    steps: Sequence[Step] = STEPS,
) -> Verdict:
    """Verify one receipt; never raises for anything that it is given to verify.

    Args:
        envelope: The exact bytes.
        trust_root: From elsewhere than the broker that made the receipt.
        request: Exact text of the request document, where the reader has it.
        result: Exact text of the result document, where the reader has it.
        proof: A C2SP tlog-proof that the receipt is in the log, where the reader has one.
        quorum: How many witnesses of the trust root must have cosigned the proof's checkpoint.
        logged: The receipt's place, where the whole log is verified with it.
        steps: For tests: every step is needed.
    """
    return judge(
        Evidence(
            text=envelope,
            trust_root=trust_root,
            request=request,
            result=result,
            proof=proof,
            quorum=quorum,
            logged=logged,
        ),
        steps,
    )


SIGNED: tuple[Step, ...] = (_envelope, _signature, _canonical)
"""What every entry of the log goes through, whatever it carries."""
COUNTS: Step = _validity
"""Whether the key that signed an entry counts at its place."""


def judge(evidence: Evidence, steps: Sequence[Step]) -> Verdict:
    """Take evidence through steps; never raises for anything that is in it."""
    try:
        for step in steps:
            step(evidence)
    except ReceiptInvalid as error:
        return _verdict(Validity.INVALID, error.step, error.description, evidence)
    except Indeterminate as error:
        return _verdict(Validity.INDETERMINATE, error.step, error.message, evidence)
    return _verdict(Validity.VALID, None, "the receipt is genuine", evidence)


def _verdict(validity: Validity, step: str | None, message: str, evidence: Evidence) -> Verdict:
    if validity is Validity.INVALID:
        return Verdict(validity=validity, step=step, message=message, predicate={}, notes=())
    notes = _log_notes(evidence)
    if evidence.predicate["development"]:
        notes.append("signed with a development key: it proves nothing about production")
    given = {"request": evidence.request, "result": evidence.result}
    notes += [
        f"the {name} document was not given: not compared"
        for name, _ in evidence.subjects
        if given.get(name) is None
    ]
    return Verdict(
        validity=validity,
        step=step,
        message=message,
        predicate=evidence.predicate,
        notes=tuple(notes),
        logged=evidence.logged,
    )


def _log_notes(evidence: Evidence) -> list[str]:
    """Say what was not shown of the receipt's place in the log."""
    if evidence.logged is None:
        return ["not shown to be in the log"]
    if not evidence.logged.witnesses:
        return ["no witness cosigned: a log that shows others another tree would not be noticed"]
    return []
