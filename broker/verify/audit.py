"""Verify a whole log: every entry, their chain, the tree that its checkpoint signs.

Steps that a refusal names, besides those of a receipt and of a checkpoint: `kept` (the log went
back behind, or is another one than, the checkpoint that the reader kept), `chain`, `tiles`, `tree`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from broker.core.checkpoint import is_another_log
from broker.core.ids import Sha256
from broker.core.merkle import EMPTY_ROOT, Frontier, leaf_hash
from broker.core.trust_root import TrustRoot
from broker.errors import ReceiptInvalid
from broker.verify.chain import Tip
from broker.verify.log import SignedCheckpoint, check_quorum, open_checkpoint, witnesses_of
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Indeterminate, Logged, Validity


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerdict:
    """What was found of a whole log.

    Args:
        step: The one that failed; None where all passed.
        entries: How many were good, from the first.
        broken_at: Index of the entry that is wrong, from 0; None where it is no single one.
        head: SHA-256 of the last good envelope.
        signed: The checkpoint; None where it is not good.
        witnesses: Key ids of those that cosigned it.
    """

    validity: Validity
    step: str | None
    message: str
    entries: int
    broken_at: int | None
    installation: str
    head: Sha256
    signed: SignedCheckpoint | None
    witnesses: tuple[Sha256, ...]


@dataclass(slots=True, kw_only=True)
class _Walk:
    """How far a log was found good."""

    trust_root: TrustRoot
    tip: Tip
    tree: Frontier
    signed: SignedCheckpoint | None = None
    kept: SignedCheckpoint | None = None
    witnesses: tuple[Sha256, ...] = ()
    undecided: str = ""
    is_in_entry: bool = False

    @property
    def size(self) -> int:
        """Give the size that the checkpoint signs."""
        return self.signed.checkpoint.size if self.signed else 0

    def place(self, index: int) -> Logged | None:
        """Say that an entry is at this place in the log, which its tree shows in the end."""
        if self.signed is None:
            return None
        return Logged(index=index, checkpoint=self.signed.checkpoint, witnesses=self.witnesses)


def verify_log(
    checkpoint: bytes,
    entries: Iterable[bytes],
    trust_root: TrustRoot,
    *,
    leaves: Iterable[bytes] | None = None,
    kept: bytes | None = None,
    quorum: int = 0,
) -> AuditVerdict:
    """Verify a log from its first entry to the last that its checkpoint covers.

    Args:
        entries: In order; those behind what the checkpoint covers are not looked at.
        leaves: The leaf hashes that the log's tiles have, where there are tiles.
        kept: A checkpoint of the same log that the reader kept from earlier.
        quorum: How many witnesses must have cosigned the checkpoint.
    """
    walk = _Walk(trust_root=trust_root, tip=Tip(), tree=Frontier.empty())
    try:
        _open(walk, checkpoint, kept, quorum)
        for entry, leaf in _with_leaves(walk.size, entries, leaves):
            _take(walk, entry, leaf)
        _close(walk)
    except ReceiptInvalid as error:
        message = str(error).removeprefix(f"{error.step}: ")
        return _verdict(walk, Validity.INVALID, error.step, message)
    except Indeterminate as error:
        return _verdict(walk, Validity.INDETERMINATE, error.step, error.message)
    if walk.undecided:
        return _verdict(walk, Validity.INDETERMINATE, "validity", walk.undecided)
    return _verdict(walk, Validity.VALID, None, f"whole: {walk.size} entries, as signed")


def _open(walk: _Walk, checkpoint: bytes, kept: bytes | None, quorum: int) -> None:
    signed = open_checkpoint(checkpoint, walk.trust_root)
    walk.witnesses = witnesses_of(signed, walk.trust_root)
    check_quorum(walk.witnesses, quorum)
    walk.signed = signed
    if kept is None:
        return
    walk.kept = open_checkpoint(kept, walk.trust_root)
    older, newer = walk.kept.checkpoint, signed.checkpoint
    if older.origin != newer.origin:
        raise ReceiptInvalid("kept", f"the checkpoint that was kept is of {older.origin}")
    if older.size > newer.size:
        raise ReceiptInvalid(
            "kept", f"the log went back: it had {older.size} entries, now it has {newer.size}"
        )
    _compare_kept(walk)


def _with_leaves(
    size: int, entries: Iterable[bytes], leaves: Iterable[bytes] | None
) -> Iterator[tuple[bytes, bytes | None]]:
    tiles = iter(leaves) if leaves is not None else None
    for _, entry in zip(range(size), entries, strict=False):
        yield entry, next(tiles, None) if tiles is not None else None


def _take(walk: _Walk, entry: bytes, leaf: bytes | None) -> None:
    """Verify the next entry: genuine, in its place in the chain, as the tiles have it."""
    walk.is_in_entry = True
    index = walk.tree.size
    verdict = verify_receipt(entry, walk.trust_root, logged=walk.place(index))
    if verdict.validity is Validity.INVALID:
        raise ReceiptInvalid(verdict.step or "receipt", verdict.message)
    if verdict.validity is Validity.INDETERMINATE:
        walk.undecided = walk.undecided or f"entry {index}: {verdict.message}"
    fault, tip = walk.tip.link(entry, verdict)
    if fault:
        raise ReceiptInvalid("chain", fault)
    if walk.signed and is_another_log(walk.signed.checkpoint.origin, tip.installation):
        raise ReceiptInvalid("chain", "it is another installation's than the log's, by its origin")
    found = leaf_hash(entry)
    if leaf is not None and leaf != found:
        raise ReceiptInvalid("tiles", "the tile of its hash has another one")
    walk.tip, (walk.tree, _) = tip, walk.tree.extended([found])
    walk.is_in_entry = False
    _compare_kept(walk)


def _compare_kept(walk: _Walk) -> None:
    kept = walk.kept and walk.kept.checkpoint
    if kept and kept.size == walk.tree.size and kept.root != walk.tree.root:
        raise ReceiptInvalid(
            "kept", f"its first {kept.size} entries are not those of the checkpoint that was kept"
        )


def _close(walk: _Walk) -> None:
    if walk.tree.size < walk.size:
        raise ReceiptInvalid(
            "tree", f"cut off: its checkpoint covers {walk.size} entries, {walk.tree.size} are here"
        )
    root = walk.tree.root if walk.size else EMPTY_ROOT
    if walk.signed and walk.signed.checkpoint.root != root:
        raise ReceiptInvalid("tree", "the entries are genuine, but not those that were signed")


def _verdict(walk: _Walk, validity: Validity, step: str | None, message: str) -> AuditVerdict:
    broken_at = walk.tree.size if walk.is_in_entry and validity is Validity.INVALID else None
    return AuditVerdict(
        validity=validity,
        step=step,
        message=message if broken_at is None else f"entry {broken_at}: {message}",
        entries=walk.tip.entries,
        broken_at=broken_at,
        installation=walk.tip.installation,
        head=walk.tip.head,
        signed=walk.signed,
        witnesses=walk.witnesses,
    )
