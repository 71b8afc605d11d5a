"""Declare that the store is a restored backup."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from broker.adapters.sqlite_store import Renewal, RestingStore, resting_store
from broker.config import Config
from broker.core.canonical import JsonObject
from broker.core.checkpoint import Checkpoint, log_origin
from broker.core.document import SALT_BYTES, Document, DocumentKind
from broker.core.halt import Halt, Scope
from broker.core.ids import HaltId, Pseudonym, short_id
from broker.core.trust_root import KeyRole, TrustRoot
from broker.errors import ConfigurationError, FailedPrecondition, ReceiptInvalid
from broker.key_record import ROOT_PREMISE
from broker.keyring import read_log_signer, read_root, read_signer
from broker.ports import EventDraft
from broker.root_file import open_root, read_root_text
from broker.verify.log import open_checkpoint
from broker.verify.log_folder import CHECKPOINT
from broker.verify.verdict import Indeterminate

MAKER = "toolwarrant restore"
"""Stands for whoever ran the command: it knows nobody by a certificate."""
_REASON = (
    "the store was put back from a backup: look at what the calls that ended INTERRUPTED were to "
    "do, then resume"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a store goes on with.

    Args:
        previous: The last known checkpoint of its log before; None where it had none.
        kept: Where the files of that log are now; None where there were none.
        was_renewed: False where that was done before, and the files alone were left.
    """

    installation: str
    previous: Checkpoint | None
    kept: Path | None
    was_renewed: bool


def restore(
    config: Config,
    checkpoint: Path | None,
    *,
    force: bool,
    now: Callable[[], datetime],
    old_trust_root: Path | None = None,
) -> Restored:
    """Let a restored store go on as a new installation, halted, with a log of its own.

    The broker must not run. What is done is in one commit, then the old log's folder is moved
    aside; where the machine dies in between, the same command does the rest.

    Args:
        checkpoint: One of the store's log that was kept elsewhere.
        force: Though no checkpoint says that the store is behind.
        old_trust_root: The trust root of the log so far, where the configuration names another one
            for the new log; the versions of that count anew.

    Raises:
        StoreUnavailable: A broker owns the store, or it cannot be used.
        ConfigurationError: A file cannot be read, or a checkpoint is none of this store's log.
        FailedPrecondition: Nothing says that the store is an older copy, or the keys in use cannot
            sign a new log; nothing was changed.
    """
    path, root = config.store.path, _root(config)
    if old_trust_root is not None:
        root = open_root(old_trust_root, read_root_text(old_trust_root))
    folder = config.store.log_folder
    with resting_store(path, now=now) as store:
        shown = _read(folder / CHECKPOINT, root)
        if shown and store.has_been(_installation_in(shown)):
            return Restored(
                installation=store.installation,
                previous=shown,
                kept=_move(folder, _installation_in(shown)),
                was_renewed=False,
            )
        previous = _last_known(store, path, root, shown, checkpoint, force=force)
        before, after = store.installation, secrets.token_hex(16)
        at = max(now(), store.latest_at or now())
        forgotten = () if old_trust_root is None else (ROOT_PREMISE,)
        store.renew(_renewal(after, previous, at, forgotten))
        kept = _move(folder, before) if folder.exists() else None
    return Restored(installation=after, previous=previous, kept=kept, was_renewed=True)


def _root(config: Config) -> TrustRoot:
    """Read the trust root; refuse keys that no reader would take for entries from 0 on."""
    root, _ = read_root(config.receipts)
    signer = read_signer(config.receipts, root)
    log_signer = read_log_signer(config.receipts, root)
    for role, key_id in ((KeyRole.RECEIPT, signer.key_id), (KeyRole.LOG, log_signer.key_id)):
        key = root.find(key_id)
        if key is not None and key.valid_from_index:
            raise FailedPrecondition(
                f"the {role.value} key counts from index {key.valid_from_index} on, but the new "
                "log begins at 0: make keys and a trust root for it (`toolwarrant init` of another "
                "folder makes both), name them by [receipts], give readers that trust root; name "
                "the one before, which stays that of the old log, by --old-trust-root",
                subject="log",
                reason="KEY_NOT_YET_VALID",
            )
    return root


def _read(file: Path, root: TrustRoot) -> Checkpoint | None:
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(str(file), None, f"cannot be read: {error.strerror}") from error
    return _open(text, file, root)


def _open(text: bytes, file: Path, root: TrustRoot) -> Checkpoint:
    try:
        return open_checkpoint(text, root).checkpoint
    except (ReceiptInvalid, Indeterminate) as error:
        said = error.message if isinstance(error, Indeterminate) else str(error)
        raise ConfigurationError(
            str(file),
            None,
            f"has no checkpoint that a reader would take: {said}; where its log has another trust "
            "root than the one of [receipts], name that by --old-trust-root",
        ) from error


def _last_known(
    store: RestingStore,
    path: Path,
    root: TrustRoot,
    shown: Checkpoint | None,
    file: Path | None,
    *,
    force: bool,
) -> Checkpoint | None:
    """Find the log's last known checkpoint; refuse where none is behind which the store is."""
    given = _read(file, root) if file else None
    if file and given is None:
        raise ConfigurationError(str(file), None, "there is no such file")
    head = store.head
    own = _open(head.checkpoint, path, root) if head else None
    known = [each for each in (own, shown, given) if each is not None]
    for each in known:
        if each.origin != log_origin(store.installation):
            raise ConfigurationError(
                str(file or store.installation),
                None,
                f"the checkpoint is of {each.origin}, another log than this store's, "
                f"{log_origin(store.installation)}: name the store's own",
            )
    last = max(known, key=lambda each: each.size, default=None)
    if not force and last is None and store.is_just_restored:
        raise FailedPrecondition(
            f"this store was restored already, as installation {store.installation}: start the "
            "broker",
            subject="store",
            reason="STORE_NOT_BEHIND",
        )
    if not force and (last is None or last.size <= (own.size if own else 0)):
        raise FailedPrecondition(
            "no checkpoint says that this store is an older copy of itself: name a later one of "
            "its log by --checkpoint; where you know it without one, give --force",
            subject="store",
            reason="STORE_NOT_BEHIND",
        )
    return last


def _renewal(
    installation: str, previous: Checkpoint | None, at: datetime, forgotten: tuple[str, ...]
) -> Renewal:
    def halt(maker: Pseudonym) -> tuple[Halt, Document, EventDraft]:
        reason = Document.seal(
            DocumentKind.HALT,
            {"reason": _REASON, "set_by": maker},
            salt=secrets.token_bytes(SALT_BYTES),
        )
        made = Halt(
            id=HaltId(short_id(secrets.token_bytes(5))),
            scope=Scope(everything=True),
            set_by=maker,
            set_at=at,
            reason_sha256=reason.sha256,
        )
        data = {**made.event_data, **_names_of(previous)}
        return made, reason, EventDraft(type="halt.restored", at=at, data=data)

    fresh = Pseudonym(f"p-{secrets.token_hex(8)}")
    return Renewal(
        installation=installation, maker=MAKER, fresh=fresh, halt=halt, forgotten=forgotten
    )


def _names_of(previous: Checkpoint | None) -> JsonObject:
    """Name the old log in the new one's first entry; nothing where it had no checkpoint."""
    if previous is None:
        return {}
    return {
        "previous_origin": previous.origin,
        "previous_size": str(previous.size),
        "previous_root_sha256": previous.root.hex(),
    }


def _installation_in(checkpoint: Checkpoint) -> str:
    return checkpoint.origin.removeprefix(log_origin(""))


def _move(folder: Path, installation: str) -> Path:
    """Put the old log's files aside, where the new one's are to be."""
    aside = folder.with_name(f"{folder.name}.{installation}")
    try:
        folder.rename(aside)
    except OSError as error:
        raise ConfigurationError(
            str(folder),
            None,
            f"cannot be moved to {aside.name} ({error.strerror}): then give this command again",
        ) from error
    return aside
