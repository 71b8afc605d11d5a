"""`toolwarrant audit`: verify a whole log, tell what is in it."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.documents import Plain
from broker.cli.exits import OF_OTHERS
from broker.cli.local_file import part_of
from broker.cli.options import Output, OutputOption
from broker.cli.receipts import TrustRootOption
from broker.cli.terminal import document, note, progress_bar, say
from broker.core.visible import visible
from broker.errors import ConfigurationError
from broker.verify.audit import AuditVerdict, verify_log
from broker.verify.audit_state import StateUnusable
from broker.verify.verdict import Validity

app = typer.Typer(help="Verify a whole log, see what is in it.", no_args_is_help=True)

_SHOWN = 20
_EVIDENCE = (
    "is a folder of `receipts export --out`, which has receipts with a proof each, not the log: "
    "its VERIFY.md says how to verify them, `toolwarrant receipts verify-export` verifies their "
    "chain. For an audit, ask for the log's own folder, toolwarrant.db.tlog"
)
_NO_CHECKPOINT = (
    "has no checkpoint, so it is no log's folder: name the broker's toolwarrant.db.tlog, or "
    "a copy of it. Of a plain export give the checkpoint by --checkpoint, or use `receipts "
    "verify-export`, which looks at the chain alone"
)
_EXPORT = (
    "an export has receipts alone, but a log has other entries, too, unless it is from before "
    "them: verify the log's folder, or the export's own chain by `receipts verify-export`"
)
_CODES = (
    "Exit codes: 0 valid; 1 invalid; 2 not verified: wrong usage, or a file that cannot be read; "
    "3 indeterminate."
)


@app.callback()
def audit() -> None:
    """Verify a whole log, see what is in it."""


@app.command(epilog=_CODES)
def verify(
    target: Annotated[
        Path,
        typer.Argument(
            help="Folder of a log (`checkpoint` and `tile/`), as a broker's toolwarrant.db.tlog."
        ),
    ],
    trust_root: TrustRootOption,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Another checkpoint than the folder's; a plain export has none itself."),
    ] = None,
    kept: Annotated[
        Path | None,
        typer.Option(help="A checkpoint kept from earlier: the log must have grown from it."),
    ] = None,
    witness_quorum: Annotated[
        int, typer.Option(help="How many witnesses must have signed the checkpoint.", min=0)
    ] = 0,
    state: Annotated[
        Path | None,
        typer.Option(help="Keeps how far it came: the next run with this file goes on from there."),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes that verify; 0: one for each core.", min=0)
    ] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify a whole log offline.

    Each entry must be genuine and in its place, none left out, and all of them the tree that the
    checkpoint signs. The first entry that is wrong is named by its index, from 0. Calls that began
    and have no end in the log are listed.
    """
    from broker.verify.trust_root import open_trust_root

    with _told(state):
        root = open_trust_root(trust_root.read_bytes())
        signed, entries, leaves = _log_in(target, checkpoint)
        with progress_bar("verifying", _size(signed)) as advance:
            verdict = verify_log(
                signed,
                entries,
                root,
                leaves=leaves,
                kept=kept.read_bytes() if kept else None,
                quorum=witness_quorum,
                workers=workers or os.cpu_count() or 1,
                state=state.read_bytes() if state and state.exists() else None,
                save=partial(_keep, state) if state else None,
                progress=advance,
            )
    if output is Output.JSON:
        document(_as_json(verdict))
    else:
        _print(verdict)
    if verdict.validity is Validity.INVALID:
        _note_doubts(verdict, state, is_export=leaves is None)
    elif verdict.resumed_at:
        _note_passed_over(verdict.resumed_at)
    raise typer.Exit(verdict.validity.value)


@contextmanager
def _told(state: Path | None) -> Iterator[None]:
    """Tell by its file what cannot be read, or not be gone on from."""
    try:
        yield
    except StateUnusable as error:
        raise ConfigurationError(str(state), None, str(error)) from error
    except OSError as error:
        raise ConfigurationError(
            str(error.filename), None, f"cannot be read: {error.strerror}"
        ) from error


def _note_passed_over(resumed_at: int) -> None:
    note(
        f"entries before {resumed_at} were not read again, only their hashes: a change to one of "
        "them since then shows only in an audit without --state"
    )


def _note_doubts(verdict: AuditVerdict, state: Path | None, *, is_export: bool) -> None:
    """Say what else than the log may be why it is invalid."""
    if is_export:
        note(_EXPORT)
    if verdict.resumed_at:
        note(
            f"it went on from entry {verdict.resumed_at} by what {state} keeps: audit once without "
            "--state, which tells whether the log is wrong or that file is of another one"
        )


@app.command(epilog=OF_OTHERS)
def timeline(
    target: Annotated[
        Path, typer.Argument(help="Folder of a log, as a broker's toolwarrant.db.tlog.")
    ],
    call: Annotated[
        str | None, typer.Option(help="Of this call alone: calls/ULID, or the ULID.")
    ] = None,
    after: Annotated[int, typer.Option(help="Only entries from this index on.", min=0)] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print what the entries of a log say, offline, without verifying them.

    Batches are left out, as they say nothing by themselves. `audit verify` tells whether the log is
    genuine.
    """
    from broker.cli.timeline import timeline as read

    found = read(target, call=call, after=after)
    if output is Output.JSON:
        document({"entries": [entry.plain() for entry in found]})
        return
    for entry in found:
        call_id = entry.call.removeprefix("calls/") or "-"
        second = entry.at.partition(".")[0] + "Z"
        say(
            visible(
                f"{entry.index:>7}  {second}  {entry.kind.value:<8}  {call_id:<26}  {entry.said}"
            )
        )
    note("not verified: `toolwarrant audit verify` tells whether the log is genuine")


def _keep(path: Path, data: bytes) -> None:
    """Put a state in the place of an older one, whole or not at all."""
    with part_of(path) as part:
        part.file.write(data)
        part.keep(force=True)


def _log_in(
    target: Path, checkpoint: Path | None
) -> tuple[bytes, Iterable[bytes], Iterable[bytes] | None]:
    """Find the checkpoint, the entries and, where there are tiles, the leaf hashes."""
    from broker.cli.chain import envelopes
    from broker.verify.log_folder import CHECKPOINT, LogFolder

    if not target.exists():
        raise ConfigurationError(str(target), None, "there is no such folder")
    if (target / "receipts").is_dir() and not (target / "tile").is_dir():
        raise ConfigurationError(str(target), None, _EVIDENCE)
    if (target / CHECKPOINT).is_file():
        folder = LogFolder(target)
        signed = checkpoint.read_bytes() if checkpoint else folder.checkpoint()
        size = _size(signed)
        return signed, folder.entries(size), folder.leaves(size)
    if checkpoint is None:
        raise ConfigurationError(str(target), None, _NO_CHECKPOINT)
    return checkpoint.read_bytes(), envelopes(target), None


def _size(signed: bytes) -> int:
    """Read how many entries a checkpoint says to cover; whether it is good is told later."""
    from broker.core.checkpoint import read_checkpoint
    from broker.core.signed_note import read_note
    from broker.errors import ReceiptInvalid

    try:
        return read_checkpoint(read_note(signed).text).size
    except ReceiptInvalid:
        return 0


def _facts(verdict: AuditVerdict) -> dict[str, Plain]:
    checkpoint = verdict.signed.checkpoint if verdict.signed else None
    return {
        "origin": checkpoint.origin if checkpoint else "",
        "tree_size": str(checkpoint.size) if checkpoint else "",
        "root_sha256": checkpoint.root.hex() if checkpoint else "",
        "witnesses": list(verdict.witnesses),
        "installation": verdict.installation,
        "head": verdict.head,
        "kinds": {name: str(count) for name, count in sorted(verdict.kinds.items())},
        "open_intents": [
            {"call": call, "index": str(index)} for call, index in verdict.open_intents
        ],
        "from_before_intents": verdict.excused,
        "behind_last_batch": verdict.unbatched,
        "resumed_at": verdict.resumed_at,
    }


def _as_json(verdict: AuditVerdict) -> dict[str, Plain]:
    return {
        "verdict": verdict.validity.name.lower(),
        "step": verdict.step,
        "message": verdict.message,
        "entries": verdict.entries,
        "broken_at": verdict.broken_at,
        **_facts(verdict),
    }


def _print(verdict: AuditVerdict) -> None:
    step = f" at step {verdict.step}" if verdict.step else ""
    say(visible(f"{verdict.validity.name}{step}: {verdict.message}"))
    facts = _facts(verdict)
    facts["kinds"] = [f"{count} {name}" for name, count in sorted(verdict.kinds.items())]
    facts["open_intents"] = len(verdict.open_intents)
    for name, value in facts.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        say(visible(f"  {name}: {shown or '-'}"))
    for call, index in verdict.open_intents[:_SHOWN]:
        say(visible(f"  began without an end: {call}, its intent is entry {index}"))
    if len(verdict.open_intents) > _SHOWN:
        say(f"  and {len(verdict.open_intents) - _SHOWN} more: -o json lists all")
