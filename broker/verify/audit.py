"""Verify a whole log: every entry, what they are together, the tree that its checkpoint signs.

Steps that a refusal names, besides those of a receipt and of a checkpoint: `kept` (the log went
back behind, or is another one than, the checkpoint that the reader kept), `chain` (receipts,
installation, epoch), `place`, `intents`, `batches`, `tiles`, `tree`, `state` (the log begins
otherwise than the one of which an earlier audit's state was kept).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice

from broker.core.ids import Sha256
from broker.core.merkle import EMPTY_ROOT, Frontier
from broker.core.trust_root import TrustRoot
from broker.errors import ReceiptInvalid
from broker.verify.audit_state import BEGIN_ANEW, StateUnusable, read_state, write_state
from broker.verify.log import SignedCheckpoint, check_quorum, open_checkpoint, witnesses_of
from broker.verify.log_folder import TileRun
from broker.verify.spread import Judges
from broker.verify.verdict import Indeterminate, Validity
from broker.verify.walk import Walk

_SAVED_EACH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditVerdict:
    """What was found of a whole log.

    Args:
        step: The one that failed; None where all passed.
        entries: How many were good, from the first.
        broken_at: Index of the entry that is wrong, from 0; None where it is no single one.
        head: SHA-256 of the last good receipt's envelope.
        kinds: How many good entries there are, by kind.
        open_intents: Calls that began without an end, each with the index of its intent. In the
            log of a live broker these are the calls that run.
        excused: How many receipts are of calls that began before the log held intents.
        unbatched: How many entries stand behind the last batch.
        signed: The checkpoint; None where it is not good.
        witnesses: Key ids of those that cosigned it.
        resumed_at: How many entries an earlier audit had found good.
    """

    validity: Validity
    step: str | None
    message: str
    entries: int
    broken_at: int | None
    installation: str
    head: Sha256
    kinds: Mapping[str, int]
    open_intents: tuple[tuple[str, int], ...]
    excused: int
    unbatched: int
    signed: SignedCheckpoint | None
    witnesses: tuple[Sha256, ...]
    resumed_at: int


@dataclass(slots=True, kw_only=True)
class _Audit:
    """What is verified, and how far it came."""

    trust_root: TrustRoot
    walk: Walk
    signed: SignedCheckpoint | None = None
    kept: SignedCheckpoint | None = None
    witnesses: tuple[Sha256, ...] = ()
    before: Frontier | None = None
    next_save: int = 0

    @property
    def resumed_at(self) -> int:
        """Give how many entries an earlier audit had found good."""
        return self.before.size if self.before else 0

    @property
    def size(self) -> int:
        """Give the size that the checkpoint signs."""
        return self.signed.checkpoint.size if self.signed else 0

    @property
    def origin(self) -> str:
        """Give the log's name."""
        return self.signed.checkpoint.origin if self.signed else ""


def verify_log(
    checkpoint: bytes,
    entries: Iterable[bytes],
    trust_root: TrustRoot,
    *,
    leaves: Iterable[bytes] | None = None,
    kept: bytes | None = None,
    quorum: int = 0,
    workers: int = 1,
    state: bytes | None = None,
    save: Callable[[bytes], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> AuditVerdict:
    """Verify a log from its first entry to the last that its checkpoint covers.

    Args:
        entries: In order, from the first; those behind what the checkpoint covers are not looked
            at.
        leaves: The leaf hashes that the log's tiles have, where there are tiles.
        kept: A checkpoint of the same log that the reader kept from earlier.
        quorum: How many witnesses must have cosigned the checkpoint.
        workers: How many processes verify entries.
        state: What `save` was given last, by an earlier audit of this log; the entries that were
            good then are not read again, but for the tree, which they are still to be part of.
        save: Is given, now and then, how far the log was good.
        progress: Is told how many entries were good.

    Raises:
        StateUnusable: `state` is not one of this log under this trust root, or is ahead of it.
    """
    audit = _Audit(trust_root=trust_root, walk=Walk(origin=""))
    try:
        _open(audit, checkpoint, kept, quorum)
        if state is not None:
            _resume(audit, state, leaves)
        _follow(audit, entries, leaves, workers, save, progress)
        _close(audit)
        _keep(audit, save)
    except ReceiptInvalid as error:
        return _verdict(audit, Validity.INVALID, error.step, error.description)
    except Indeterminate as error:
        return _verdict(audit, Validity.INDETERMINATE, error.step, error.message)
    if doubt := audit.walk.doubt:
        step = "validity" if audit.walk.undecided else "intents"
        return _verdict(audit, Validity.INDETERMINATE, step, doubt)
    return _verdict(audit, Validity.VALID, None, f"whole: {audit.size} entries, as signed")


def _open(audit: _Audit, checkpoint: bytes, kept: bytes | None, quorum: int) -> None:
    signed = open_checkpoint(checkpoint, audit.trust_root)
    audit.witnesses = witnesses_of(signed, audit.trust_root)
    check_quorum(audit.witnesses, quorum)
    audit.signed, audit.walk = signed, Walk(origin=signed.checkpoint.origin)
    if kept is None:
        return
    audit.kept = _open_kept(kept, audit.trust_root)
    older, newer = audit.kept.checkpoint, signed.checkpoint
    if older.origin != newer.origin:
        raise ReceiptInvalid(
            "kept",
            f"the checkpoint that was kept is of {older.origin}, another log: name one of this "
            "log's; a broker whose store was put back from a backup began another",
        )
    if older.size > newer.size:
        raise ReceiptInvalid(
            "kept", f"the log went back: it had {older.size} entries, now it has {newer.size}"
        )
    _compare_kept(audit)


def _open_kept(kept: bytes, trust_root: TrustRoot) -> SignedCheckpoint:
    try:
        return open_checkpoint(kept, trust_root)
    except ReceiptInvalid as error:
        # The step is that of the log's own checkpoint, too: the message tells them apart.
        message = str(error).removeprefix(f"{error.step}: ")
        raise ReceiptInvalid(error.step, f"of the checkpoint that was kept: {message}") from error


def _resume(audit: _Audit, state: bytes, leaves: Iterable[bytes] | None) -> None:
    walk = read_state(state, origin=audit.origin, trust_root=audit.trust_root)
    if walk.size > audit.size:
        raise StateUnusable(
            f"it came to entry {walk.size}, the log has {audit.size}: the log went back, or this "
            "is an older copy of it. Keep the file, as it may be all that shows it; audit the log "
            "by itself with another --state"
        )
    if audit.kept and audit.kept.checkpoint.size < walk.size:
        raise StateUnusable(f"it is past the checkpoint that was kept: {BEGIN_ANEW}")
    if isinstance(leaves, TileRun):
        _check_beginning(walk.tree, leaves)
    audit.walk, audit.before = walk, walk.tree
    audit.next_save = _next_save(walk.size)
    _compare_kept(audit)


def _check_beginning(before: Frontier, leaves: TileRun) -> None:
    """Check that a log begins with the entries that an earlier audit found good.

    It takes a hash for each, a thousandth of what verifying takes, and must come first: a state
    that is written over with what a fork has shows nothing any more.
    """
    tree, first = Frontier.empty(), islice(leaves, before.size)
    while chunk := tuple(islice(first, _SAVED_EACH)):
        tree, _ = tree.extended(chunk)
    if tree != before:
        raise ReceiptInvalid(
            "state",
            f"its first {before.size} entries are not those of the log that the state was kept of: "
            "it was forked or rewritten since, or the state is another's. Keep the state with this "
            "log as it is, as the two show it; audit the log by itself with another --state",
        )


def _follow(
    audit: _Audit,
    entries: Iterable[bytes],
    leaves: Iterable[bytes] | None,
    workers: int,
    save: Callable[[bytes], None] | None,
    progress: Callable[[int], None] | None,
) -> None:
    if audit.signed is None:
        return
    start, size = audit.walk.size, audit.size
    tiles = iter(()) if leaves is None else _between(leaves, start, size)
    with Judges(audit.trust_root, audit.signed.checkpoint, workers) as judges:
        for found in judges.judge(entries, start, size):
            audit.walk.take(found, next(tiles, None))
            _compare_kept(audit)
            if audit.walk.size % _SAVED_EACH == 0 or audit.walk.size == size:
                _tell(audit, save, progress)


def _next_save(size: int) -> int:
    # Ever further apart, as a state grows with its log: an eighth is lost at most.
    return size + max(_SAVED_EACH, size // 8)


def _between(values: Iterable[bytes], start: int, end: int) -> Iterator[bytes]:
    # What was verified before is not read again where it need not be.
    if isinstance(values, TileRun):
        return chain.from_iterable(values.tiles(start, end))
    return islice(values, start, end)


def _tell(
    audit: _Audit, save: Callable[[bytes], None] | None, progress: Callable[[int], None] | None
) -> None:
    if audit.next_save <= audit.walk.size < audit.size:
        _keep(audit, save)
        audit.next_save = _next_save(audit.walk.size)
    if progress:
        progress(audit.walk.size)


def _keep(audit: _Audit, save: Callable[[bytes], None] | None) -> None:
    if save:
        save(write_state(audit.walk, trust_root=audit.trust_root))


def _compare_kept(audit: _Audit) -> None:
    kept, tree = audit.kept and audit.kept.checkpoint, audit.walk.tree
    if kept and kept.size == tree.size and kept.root != tree.root:
        raise ReceiptInvalid(
            "kept", f"its first {kept.size} entries are not those of the checkpoint that was kept"
        )


def _close(audit: _Audit) -> None:
    tree = audit.walk.tree
    if tree.size < audit.size:
        raise ReceiptInvalid(
            "tree",
            f"cut off: its checkpoint covers {audit.size} entries, {tree.size} are here",
        )
    root = tree.root if audit.size else EMPTY_ROOT
    if audit.signed and audit.signed.checkpoint.root != root:
        raise ReceiptInvalid("tree", "the entries are genuine, but not those that were signed")


def _verdict(audit: _Audit, validity: Validity, step: str | None, message: str) -> AuditVerdict:
    walk = audit.walk
    broken_at = walk.broken_at if validity is Validity.INVALID else None
    return AuditVerdict(
        validity=validity,
        step=step,
        message=message if broken_at is None else f"entry {broken_at}: {message}",
        entries=walk.size,
        broken_at=broken_at,
        installation=walk.installation,
        head=walk.tip.head,
        kinds=dict(walk.kinds),
        open_intents=tuple((call, intent.index) for call, intent in walk.intents.items()),
        excused=walk.excused,
        unbatched=walk.unbatched,
        signed=audit.signed,
        witnesses=audit.witnesses,
        resumed_at=audit.resumed_at,
    )
