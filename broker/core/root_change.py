"""Say what the next version of a trust root may be.

Each change gives a value of the next version; none takes a key away, since what it signed must stay
decidable. Nor may a version that somebody else made.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from broker.core.ids import Sha256
from broker.core.trust_root import KeyRole, KeyStatus, TrustedKey, TrustRoot
from broker.errors import ReceiptInvalid

_STEP = "trust_root"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What becomes of a key that is there.

    Args:
        until_index: First index of the log at which it counts no more; None: as before.
        is_withdrawn: Whether somebody else may have it.
    """

    key_id: Sha256
    until_index: int | None
    is_withdrawn: bool = False


def next_version(
    root: TrustRoot,
    *,
    added: Iterable[TrustedKey] = (),
    endings: Iterable[Ending] = (),
    root_threshold: int | None = None,
) -> TrustRoot:
    """Make the next version.

    Args:
        added: Keys that are not in it yet.
        endings: At most one for each key.
        root_threshold: A new one; None keeps the old.

    Raises:
        ReceiptInvalid: The result would be no trust root, or a key's end would move to later, which
            would make signatures valid that readers were told are not; step `trust_root`.
    """
    keys = {key.key_id: key for key in root.keys}
    for ending in endings:
        keys[ending.key_id] = _ended(keys.get(ending.key_id), ending)
    return TrustRoot(
        version=root.version + 1,
        keys=(*keys.values(), *added),
        root_threshold=root.root_threshold if root_threshold is None else root_threshold,
    )


def rotated(root: TrustRoot, role: KeyRole, new: TrustedKey, at_index: int) -> TrustRoot:
    """Let a new key follow those of its role that have no end yet, at one index.

    Args:
        new: Trusted from the log's beginning or elsewhere: from `at_index` on in the result.

    Raises:
        ReceiptInvalid: As `next_version`.
    """
    endings = [
        Ending(key_id=key.key_id, until_index=at_index)
        for key in root.of_role(role)
        if key.is_unbounded
    ]
    added = replace(new, role=role, valid_from_index=at_index)
    return next_version(root, added=(added,), endings=endings)


def refuse_undone(before: TrustRoot, after: TrustRoot) -> None:
    """Refuse a version that undoes what the one before decided of a key.

    Raises:
        ReceiptInvalid: A key is gone, counts again, or counts where it did not; step `trust_root`.
    """
    for key in before.keys:
        if fault := _undone(key, after.find(key.key_id)):
            raise ReceiptInvalid(
                _STEP,
                f"version {after.version} {fault} the key {key.key_id}: what version "
                f"{before.version} decided of it stays decided",
            )


def _undone(before: TrustedKey, after: TrustedKey | None) -> str:
    """Name what a version does to a key that it must not; empty where nothing."""
    if after is None or after.role is not before.role:
        return "takes away"
    if before.status is KeyStatus.WITHDRAWN and after.status is not KeyStatus.WITHDRAWN:
        return "no longer withdraws"
    old, new = before.valid_until_index, after.valid_until_index
    if old is not None and (new is None or new > old):
        return "moves to later the end of"
    if after.valid_from_index < before.valid_from_index:
        return "moves to earlier the beginning of"
    return ""


def _ended(key: TrustedKey | None, ending: Ending) -> TrustedKey:
    if key is None:
        raise ReceiptInvalid(_STEP, f"it names no key {ending.key_id}")
    until, old = ending.until_index, key.valid_until_index
    if until is not None and old is not None and until > old:
        raise ReceiptInvalid(
            _STEP, f"the key {key.key_id} ends at index {old} already: an end never moves to later"
        )
    return replace(
        key,
        valid_until_index=old if until is None else until,
        status=KeyStatus.WITHDRAWN if ending.is_withdrawn else key.status,
    )
