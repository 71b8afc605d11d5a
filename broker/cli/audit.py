"""`toolwarrant audit`: verify a whole log."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.documents import Plain
from broker.cli.options import Output, OutputOption
from broker.cli.receipts import TrustRootOption
from broker.cli.terminal import document, say
from broker.core.visible import visible
from broker.errors import ConfigurationError
from broker.verify.audit import AuditVerdict, verify_log

app = typer.Typer(help="Verify a whole log.", no_args_is_help=True)

_CODES = "Exit codes: 0 valid; 1 invalid; 2 wrong usage; 3 indeterminate."


@app.callback()
def audit() -> None:
    """Verify a whole log."""


@app.command(epilog=_CODES)
def verify(
    target: Annotated[
        Path,
        typer.Argument(help="Folder of a log (tiles with a checkpoint), or of `receipts export`."),
    ],
    trust_root: TrustRootOption,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The checkpoint of an export, which has none itself.")
    ] = None,
    kept: Annotated[
        Path | None,
        typer.Option(help="A checkpoint kept from earlier: the log must have grown from it."),
    ] = None,
    witness_quorum: Annotated[
        int, typer.Option(help="How many witnesses must have signed the checkpoint.", min=0)
    ] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify a whole log offline.

    Each entry must be genuine and in its place, and all of them the tree that the checkpoint signs.
    The first entry that is wrong is named by its index, from 0.
    """
    from broker.verify.trust_root import open_trust_root

    try:
        root = open_trust_root(trust_root.read_bytes())
        signed, entries, leaves = _log_in(target, checkpoint)
        older = kept.read_bytes() if kept else None
        verdict = verify_log(
            signed, entries, root, leaves=leaves, kept=older, quorum=witness_quorum
        )
    except OSError as error:
        raise ConfigurationError(
            str(error.filename), None, f"cannot be read: {error.strerror}"
        ) from error
    if output is Output.JSON:
        document(_as_json(verdict))
    else:
        _print(verdict)
    raise typer.Exit(verdict.validity.value)


def _log_in(
    target: Path, checkpoint: Path | None
) -> tuple[bytes, Iterable[bytes], Iterable[bytes] | None]:
    """Find the checkpoint, the entries and, where there are tiles, the leaf hashes."""
    from broker.cli.chain import envelopes
    from broker.verify.log_folder import CHECKPOINT, LogFolder

    if (target / CHECKPOINT).is_file():
        folder = LogFolder(target)
        signed = checkpoint.read_bytes() if checkpoint else folder.checkpoint()
        size = _size(signed)
        return signed, folder.entries(size), folder.leaves(size)
    if checkpoint is None:
        raise ConfigurationError(
            str(target),
            None,
            "has no checkpoint: give one by --checkpoint (`toolwarrant receipts checkpoint` prints "
            "it), or use `receipts verify-export`, which looks at the chain alone",
        )
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
    for name, value in _facts(verdict).items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        say(visible(f"  {name}: {shown or '-'}"))
