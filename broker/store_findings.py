"""Find whether the log that readers were shown lets a broker start on its store."""

from collections.abc import Iterator
from pathlib import Path

from broker.adapters.sqlite_store import recorded_log
from broker.core.checkpoint import Checkpoint, log_origin, read_checkpoint
from broker.core.signed_note import read_note
from broker.errors import ConfigurationError, LogForked, ReceiptInvalid, StoreBehind
from broker.finding import Finding, fail, ok, warn

_LOG = "log"
_BACKUP = "docs/operating.md, Backup"
_PUT_BACK = f"put the right store, or the folder, back: {_BACKUP}"
_RESTORE = f"put the newer store back; where it is lost, `toolwarrant restore`: {_BACKUP}"


def log_findings(store: Path) -> Iterator[Finding]:
    """Compare a store with the log beside it, as the start does; also where a broker runs."""
    folder = store.with_name(f"{store.name}.tlog")
    try:
        # Before the store: a broker that runs writes a head there first.
        text = _checkpoint(folder)
        shown = None if text is None else read_checkpoint(read_note(text).text)
    except OSError as error:
        yield fail(_LOG, f"{error.filename}: {error.strerror}", "mend the folder's rights")
        return
    except ReceiptInvalid as error:
        yield _forked(f"the published checkpoint is none ({error})")
        return
    if not store.exists():
        if shown is not None:
            yield _forked(f"{folder} shows a log of {shown.size} entries, and there is no store")
        return
    try:
        yield _compared(store, folder, text or b"", shown)
    except ConfigurationError as error:
        yield warn(_LOG, str(error), "serve says more of it")


def _checkpoint(folder: Path) -> bytes | None:
    try:
        return (folder / "checkpoint").read_bytes()
    except FileNotFoundError:
        return None


def _compared(store: Path, folder: Path, text: bytes, shown: Checkpoint | None) -> Finding:
    recorded = recorded_log(store, shown.size if shown else 0)
    size = recorded.latest.size if recorded.latest else 0
    if shown is None:
        if recorded.latest is not None and not folder.is_dir():
            return _forked(f"{folder} is gone, in which readers were shown {size} entries")
        return ok(_LOG, f"{size} entries, none shown yet")
    if shown.origin == log_origin(recorded.installation) and shown.size > size:
        said = f"{folder} shows {shown.size} entries, the store has {size}: it is an older copy"
        return fail(_LOG, f"{said} ({StoreBehind.reason})", _RESTORE)
    # Witnesses' lines may stand behind the log's own.
    if recorded.asked is None or not text.startswith(recorded.asked.checkpoint):
        return _forked(f"{folder} shows a log of {shown.size} entries that the store does not have")
    return ok(_LOG, f"{size} entries, shown in {folder}")


def _forked(said: str) -> Finding:
    return fail(_LOG, f"{said} ({LogForked.reason})", _PUT_BACK)
