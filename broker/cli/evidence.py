"""Write receipts for strangers, with all that it takes to check them without us.

DIR/VERIFY.md                        what to type, with programs of others
DIR/trust-root.json                  whom the writer trusts; DIR/keys has its keys one by one
DIR/checkpoint                       the log's signed head
DIR/receipts/NUMBER-ULID.json        the envelope, as the log has it
DIR/proofs/NUMBER-ULID.tlog-proof    that it is in the log
DIR/bundles/NUMBER-ULID.sigstore.json
DIR/documents/NUMBER-ULID.request.json, .result.json   where they were not erased

What policy masks (`redact`) may be in no export, and a masked document would have another digest:
a call with redactions, a denied one included, has its receipt here, and none of its documents. Nor
has one for which policy was not asked, as nobody knows what it would have masked.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from broker.cli.masking import is_masked
from broker.cli.new_file import write_new
from broker.client import Client
from broker.core.dsse import read_envelope
from broker.core.ids import is_call_id
from broker.core.signed_note import ED25519, verifier_key
from broker.core.sigstore import sigstore_bundle
from broker.core.trust_root import KeyRole, TrustRoot, read_trust_root
from broker.errors import ConfigurationError

_FOLDERS = ("keys", "receipts", "proofs", "bundles", "documents")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What an envelope says of itself; nobody has verified it here.

    Args:
        name: Of its files: sequence with ULID, so that they sort as the chain does.
        key_id: Of the key that signed.
        state: How it ended.
        redactions: How many policy wanted; None where no obligations are listed, as of a denial.
    """

    name: str
    call: str
    key_id: str
    state: str
    redactions: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How many receipts were written, and how many of them without their documents."""

    receipts: int
    masked: int


def write_evidence(
    target: Path, broker: Client, *, calls: Sequence[str], after: int, trust_root: Path | None
) -> Written:
    """Write the receipts of some calls, or all of them, to a new folder.

    Args:
        calls: Their names; none for every call whose receipt comes after a sequence.
        trust_root: The writer's own; None takes the broker's word, which readers must compare.

    Raises:
        ConfigurationError: The folder is there, a file cannot be written, or the broker sent what
            is no receipt.
        ReceiptInvalid: The trust root is none.
    """
    root_text = trust_root.read_text("utf-8") if trust_root else broker.trust_root()
    root = read_trust_root(root_text.encode())
    _make_folders(target)
    write_new(target / "trust-root.json", root_text)
    checkpoint = broker.checkpoint().checkpoint
    write_new(target / "checkpoint", checkpoint)
    _write_keys(target / "keys", root, origin=checkpoint.partition("\n")[0])
    count = masked = 0
    for envelope in _envelopes(broker, calls, after):
        facts = _facts(envelope)
        hides = is_masked(broker, facts.call, state=facts.state, redactions=facts.redactions)
        _write_receipt(target, broker, envelope, facts, with_documents=not hides)
        count += 1
        masked += hides
    page = (files("broker") / "cli" / "VERIFY.md").read_text("utf-8")
    write_new(target / "VERIFY.md", page)
    return Written(receipts=count, masked=masked)


def _envelopes(broker: Client, calls: Sequence[str], after: int) -> Iterator[str]:
    if calls:
        yield from (broker.receipt(call).receipt for call in calls)
    else:
        yield from (receipt.receipt for receipt in broker.receipts(after=after))


def _make_folders(target: Path) -> None:
    try:
        target.mkdir(mode=0o700, parents=True)
        for name in _FOLDERS:
            (target / name).mkdir(mode=0o700)
    except OSError as error:
        raise ConfigurationError(
            str(target), None, f"cannot be made: {error.strerror}; name a folder that is not there"
        ) from error


def _write_keys(folder: Path, root: TrustRoot, *, origin: str) -> None:
    """Write each key as other programs take it, under its id: our own trust root is ours alone."""
    for key in root.of_role(KeyRole.RECEIPT):
        write_new(folder / f"{key.key_id}.pem", key.public_key_pem)
    for key in root.of_role(KeyRole.LOG):
        if key.ed25519_key:
            text = verifier_key(origin, ED25519, key.ed25519_key)
            write_new(folder / f"{key.key_id}.vkey", f"{text}\n")


def _write_receipt(
    target: Path, broker: Client, envelope: str, facts: _Facts, *, with_documents: bool
) -> None:
    documents = broker.receipt(facts.call)
    request, result = documents.request_document, documents.result_document
    if not with_documents:
        request = result = ""
    proof = broker.inclusion_proof(facts.call).proof
    bundle = sigstore_bundle(envelope.encode(), facts.key_id).decode()
    for folder, ending, text in (
        ("receipts", "json", envelope),
        ("proofs", "tlog-proof", proof),
        ("bundles", "sigstore.json", bundle),
        ("documents", "request.json", request),
        ("documents", "result.json", result),
    ):
        if text:
            write_new(target / folder / f"{facts.name}.{ending}", text)


def _facts(envelope: str) -> _Facts:
    try:
        predicate = json.loads(read_envelope(envelope.encode()).payload)["predicate"]
        identity = predicate["identity"]
        call, sequence = str(identity["call"]), int(identity["sequence"])
        key_id = str(predicate["key_id"])
        state = str(predicate["outcome"]["state"])
        counts = {each["name"]: int(each.get("count", 0)) for each in predicate["obligations"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError("the broker", None, "sent a receipt that is none") from error
    ulid = call.removeprefix("calls/")
    # The call's name comes over the network and becomes a path.
    if not is_call_id(ulid):
        raise ConfigurationError("the broker", None, f"{call!r} is no call's name")
    return _Facts(
        name=f"{sequence:010d}-{ulid}",
        call=call,
        key_id=key_id,
        state=state,
        redactions=counts.get("redact"),
    )
