"""Verify that receipts form one broker's unbroken chain."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from broker.core.ids import Sha256, sha256_hex
from broker.core.receipt import FIRST_PREVIOUS
from broker.core.trust_root import TrustRoot
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainVerdict:
    """What was found of a whole export.

    Args:
        entries: How many receipts were good, from the first.
        broken_at: Which entry broke the chain, from 1; None where none did.
        installation: Of the first receipt; empty where there is none.
        head: SHA-256 of the last good envelope. What was cut off behind it does not show: compare
            it with a head that was kept elsewhere.
    """

    validity: Validity
    entries: int
    broken_at: int | None
    message: str
    installation: str
    head: Sha256


def verify_chain(envelopes: Iterable[bytes], trust_root: TrustRoot) -> ChainVerdict:
    """Verify every receipt of an export with its place: first to last, nothing left out.

    Each must be genuine, of the first one's installation, one further in sequence, of the same or
    a later epoch, and name the one before it by its digest.
    """
    tip = Tip()
    undecided = ""
    for entry, envelope in enumerate(envelopes, start=1):
        verdict = verify_receipt(envelope, trust_root)
        fault, tip = tip.link(envelope, verdict)
        if fault:
            return _chain_verdict(Validity.INVALID, tip, f"entry {entry}: {fault}", entry)
        if verdict.validity is Validity.INDETERMINATE:
            undecided = undecided or f"entry {entry}: {verdict.message}"
    if tip.entries == 0:
        undecided = "there is no receipt in it"
    if undecided:
        return _chain_verdict(Validity.INDETERMINATE, tip, undecided, None)
    message = f"unbroken from the first receipt to number {tip.entries}"
    return _chain_verdict(Validity.VALID, tip, message, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tip:
    """How far a chain is good."""

    entries: int = 0
    installation: str = ""
    epoch: int = 1
    head: Sha256 = FIRST_PREVIOUS

    def link(self, envelope: bytes, verdict: Verdict) -> tuple[str, "Tip"]:
        """Name what is wrong with the next receipt, or give the chain that is longer by it.

        Args:
            verdict: On this envelope.
        """
        place = verdict.predicate.get("identity")
        if not isinstance(place, Mapping):
            return f"{verdict.step}: {verdict.message}", self
        return self.follow(
            installation=str(place["installation"]),
            epoch=int(str(place["epoch"])),
            sequence=int(str(place["sequence"])),
            previous=str(place["previous"]),
            head=sha256_hex(envelope),
        )

    def follow(
        self, *, installation: str, epoch: int, sequence: int, previous: str, head: Sha256
    ) -> tuple[str, "Tip"]:
        """Name what is wrong with the next receipt's place, or give the chain longer by it.

        Args:
            head: SHA-256 of the receipt's envelope.
        """
        entry = self.entries + 1
        if entry > 1 and installation != self.installation:
            return "it is another installation's", self
        if sequence != entry:
            return _gap(sequence, entry), self
        if previous != self.head:
            return "it names another receipt as the one before it", self
        if epoch < self.epoch:
            return "its epoch goes back", self
        return "", Tip(entries=entry, installation=installation, epoch=epoch, head=head)


def _gap(sequence: int, entry: int) -> str:
    said = f"its sequence is {sequence}, not {entry}"
    return f"{said}: put the export of those before it in front" if entry == 1 else said


def _chain_verdict(
    validity: Validity, tip: Tip, message: str, broken_at: int | None
) -> ChainVerdict:
    return ChainVerdict(
        validity=validity,
        entries=tip.entries,
        broken_at=broken_at,
        message=message,
        installation=tip.installation,
        head=tip.head,
    )
