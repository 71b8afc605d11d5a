"""Record which keys a broker signs with, from where in its log on."""

from collections.abc import Mapping
from pathlib import Path

from broker.core.ids import Sha256
from broker.core.log_leaf import LeafKind
from broker.core.trust_root import KeyRole, KeyStatus, TrustedKey, TrustRoot
from broker.errors import KeyRefused
from broker.ports import Clock, EventDraft, LogRecord, Signer, Store

ROOT_PREMISE = "trust_root.version"
_MANY = 256


async def record_keys(
    store: Store,
    record: LogRecord,
    clock: Clock,
    file: Path,
    root: TrustRoot,
    signers: Mapping[KeyRole, Signer],
) -> None:
    """Record the trust root's version and the keys in use, each with an event where it is new.

    Args:
        file: Of the trust root.
        signers: What signs from now on; each a key of the trust root.

    Raises:
        KeyRefused: The trust root is older than the one before, a key counts only later, or the
            one that it follows signed behind its end.
        StoreError: The record did not take it.
    """
    known = await store.premise(ROOT_PREMISE)
    if known is not None and int(known) > root.version:
        raise KeyRefused(
            str(file),
            f"is version {root.version}, but this broker went by version {known}: put that one, or "
            "a later one, back",
            reason="TRUST_ROOT_WENT_BACK",
        )
    for signer in signers.values():
        if key := root.find(signer.key_id):
            await _refuse_early(record, file, key)
    for role, signer in signers.items():
        before = await store.premise(f"key.{role.value}")
        key = None if before is None else root.find(Sha256(before))
        if key is not None and key.key_id != signer.key_id:
            await _refuse_overrun(record, file, key)
    if known != str(root.version):
        await store.set_premise(
            ROOT_PREMISE,
            str(root.version),
            EventDraft(type="key.trust_root", at=clock.now(), data={"version": str(root.version)}),
        )
    for role, signer in signers.items():
        name = f"key.{role.value}"
        if (before := await store.premise(name)) != signer.key_id:
            data = {"role": role.value, "key_id": signer.key_id, "previous": before or ""}
            draft = EventDraft(type="key.in_use", at=clock.now(), data=data)
            await store.set_premise(name, signer.key_id, draft)


async def _refuse_early(record: LogRecord, file: Path, key: TrustedKey) -> None:
    # Not only that entries are there: those that no head covers yet get their bytes, or their head,
    # from this key.
    first, head = key.valid_from_index, await record.log_head()
    covered = head.size if head else 0
    if covered < first:
        raise KeyRefused(
            str(file),
            f"lets the {key.role.value} key {key.key_id} begin at index {first} of the log, whose "
            f"head covers {covered} entries: what it signed before would not be valid; sign on "
            "with the key before it, and stop that broker by SIGTERM; or give it an earlier "
            "beginning",
            reason="KEY_NOT_YET_VALID",
        )


async def _refuse_overrun(record: LogRecord, file: Path, key: TrustedKey) -> None:
    """Refuse a trust root by which what a key signed while it was in use is invalid for ever.

    So it is where the broker ran on while root keys signed the version that ends it. Of a key that
    others may have, the end is meant to lie in the past.
    """
    end = key.valid_until_index
    if end is None or key.status is KeyStatus.WITHDRAWN:
        return
    last = await _last_signed(record, key.role)
    if last >= end:
        raise KeyRefused(
            str(file),
            f"ends the {key.role.value} key {key.key_id} at index {end} of the log, but it signed "
            f"up to index {last}, all of which would be invalid: put the version before it back, "
            "rotate the key anew from where the log stands, have that signed",
            reason="KEY_ENDED_EARLY",
        )


async def _last_signed(record: LogRecord, role: KeyRole) -> int:
    """Give the last index for which a key that was in use until now stands; -1 for none.

    A receipt is signed with its call's end; any other entry, and the tree, with the head.
    """
    head = await record.log_head()
    start = head.size if head else 0
    last = start - 1
    while role is KeyRole.RECEIPT and (found := await record.log_sources(start, _MANY)):
        last = max([last, *(each.index for each in found if each.kind is LeafKind.RECEIPT)])
        start = found[-1].index + 1
    return last
