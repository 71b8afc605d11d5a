"""Record which keys a broker signs with, from where in its log on."""

from collections.abc import Mapping
from pathlib import Path

from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot
from broker.errors import KeyRefused
from broker.ports import Clock, EventDraft, LogRecord, Signer, Store

ROOT_PREMISE = "trust_root.version"


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
        KeyRefused: The trust root is older than the one before, or a key counts only later.
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
    first = key.valid_from_index
    if first and not await record.log_entries(first - 1, 1):
        raise KeyRefused(
            str(file),
            f"lets the {key.role.value} key {key.key_id} begin at index {first} of the log, which "
            "has fewer entries: what it signed before would not be valid; sign on with the key "
            "before it, or give it an earlier beginning",
            reason="KEY_NOT_YET_VALID",
        )
