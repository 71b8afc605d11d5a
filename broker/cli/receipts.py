"""`toolwarrant receipts`: get, check, carry away receipts."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.calls import CallArgument
from broker.cli.documents import plain, time_text
from broker.cli.exits import OF_OTHERS
from broker.cli.new_file import new_file, write_new
from broker.cli.options import AddressOption, AsOption, ConfigOption, Output, OutputOption, connect
from broker.cli.terminal import document, note, say, table
from broker.core.ids import is_call_id
from broker.core.signed_note import COSIGNATURE_V1, read_verifier_key
from broker.core.trust_root import KeyRole, TrustedKey, ed25519_pem, write_trusted_key
from broker.errors import ConfigurationError, ReceiptInvalid
from broker.v1 import receipt_pb2

app = typer.Typer(help="Get, check, carry away receipts.", no_args_is_help=True)

_AUDITOR = "auditor"
_VERIFY_CODES = (
    "Exit codes: 0 valid; 1 invalid; 2 not verified: wrong usage, or a file or log that cannot be "
    "read; 3 indeterminate."
)

TrustRootOption = Annotated[
    Path, typer.Option(help="trust-root.json, got by another way than from the broker.")
]
AfterOption = Annotated[int, typer.Option(help="Only receipts after this sequence.", min=0)]


@app.command("list", epilog=OF_OTHERS)
def list_receipts(
    after: AfterOption = 0,
    limit: Annotated[int, typer.Option(help="How many at the most.", min=1)] = 50,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List receipts by their place in the broker's chain."""
    with connect(config, identity or _AUDITOR, address) as broker:
        found = list(broker.receipts(after=after, limit=limit))
    if output is Output.JSON:
        document({"receipts": [plain(receipt) for receipt in found]})
        return
    rows = [(str(receipt.sequence), receipt.call, time_text(receipt.at)) for receipt in found]
    table(("SEQUENCE", "CALL", "AT"), rows, empty="no receipts")


@app.command(epilog=OF_OTHERS)
def get(
    call: CallArgument,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into", help="Write receipt.json, request.json, result.json to this folder."
        ),
    ] = None,
    proof_out: Annotated[
        Path | None,
        typer.Option(help="Write the proof that it is in the log to this file (.tlog-proof)."),
    ] = None,
    unwitnessed: Annotated[
        bool, typer.Option("--unwitnessed", help="Prove it by a head that no witness cosigned yet.")
    ] = False,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the receipt of a call, byte for byte.

    With --into, write it to a folder with the documents that it names.
    """
    with connect(config, identity or _AUDITOR, address) as broker:
        found = broker.receipt(call)
        proof = broker.inclusion_proof(call, unwitnessed=unwitnessed).proof if proof_out else ""
    if into:
        for path in _write_receipt(into, found):
            note(f"wrote {path}")
    if proof_out:
        write_new(proof_out, proof)
        note(f"wrote {proof_out}")
    if output is Output.JSON:
        document(plain(found))
    elif not into:
        say(found.receipt)


@app.command(epilog=_VERIFY_CODES)
def verify(
    file: Annotated[Path, typer.Argument(help="The receipt, as `receipts get` prints it.")],
    trust_root: TrustRootOption,
    proof: Annotated[Path | None, typer.Option(help="Proof that it is in the log.")] = None,
    request: Annotated[Path | None, typer.Option(help="The request document it names.")] = None,
    result: Annotated[Path | None, typer.Option(help="The result document it names.")] = None,
    witness_quorum: Annotated[
        int | None, typer.Option(help="How many witnesses must have signed.", min=1)
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(help="The log's files, folder or https://...: the proof is made from them."),
    ] = None,
    proof_out: Annotated[
        Path | None, typer.Option(help="With --log: write that proof to a new file.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify a receipt offline.

    No broker and no configuration is asked.
    """
    from broker.verify.command import run

    code = run(
        file=file,
        trust_root=trust_root,
        proof=proof,
        request=request,
        result=result,
        witness_quorum=witness_quorum,
        output=output.value,
        log=log,
        proof_out=proof_out,
    )
    raise typer.Exit(code)


@app.command("verify-export", epilog=_VERIFY_CODES)
def verify_export(
    target: Annotated[Path, typer.Argument(help="Folder or FILE.jsonl of `receipts export`.")],
    trust_root: TrustRootOption,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify a whole export offline.

    Each receipt must be genuine, and none missing before the last.
    """
    from broker.cli.chain import verify_export as run

    raise typer.Exit(run(target, trust_root, as_json=output is Output.JSON))


@app.command(epilog=OF_OTHERS)
def checkpoint(
    witnessed: Annotated[
        bool, typer.Option("--witnessed", help="The latest that enough witnesses cosigned.")
    ] = False,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the log's latest signed head, byte for byte.

    Keep it elsewhere: a later log must go through it.
    """
    with connect(config, identity or _AUDITOR, address) as broker:
        found = broker.checkpoint(witnessed=witnessed)
    if output is Output.JSON:
        document(plain(found))
    else:
        say(found.checkpoint.removesuffix("\n"))


@app.command("log-key", epilog=OF_OTHERS)
def log_key(config: ConfigOption = None) -> None:
    """Make the log's key in a set from before the log.

    It is added to the trust root; where both are there, nothing is done. The broker must be
    started again; verifiers need the new trust root.
    """
    from broker.client import config_path
    from broker.config import load
    from broker.log_key import add_log_key

    found = load(config_path(config))
    key = add_log_key(found)
    if key is None:
        say("the log key is there, and in the trust root: nothing was done")
        return
    say(f"added the log key {key.key_id} to {found.receipts.trust_root}")
    note("give verifiers the new trust root, by another way than the broker; then start the broker")


@app.command("witness-key", epilog="Exit codes: 0; 2 not a verifier key of a witness.")
def witness_key(
    key: Annotated[str, typer.Argument(help="NAME+ID+KEY, as the witness's operator tells it.")],
) -> None:
    """Print the entry that names a witness in a trust root.

    Take the key from the witness's operator, never from the broker. No broker is asked.
    """
    try:
        name, public_key = read_verifier_key(key, COSIGNATURE_V1)
    except ReceiptInvalid as error:
        raise typer.BadParameter(f"no verifier key of a witness: {error}") from error
    witness = TrustedKey.from_pem(KeyRole.WITNESS, ed25519_pem(public_key))
    document({**write_trusted_key(replace(witness, name=name))})


@app.command(epilog=OF_OTHERS)
def export(
    target: Annotated[
        Path | None,
        typer.Argument(help="New folder (a file for each), or FILE.jsonl (a line for each)."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="In its place: new folder for strangers, with proofs, documents, Sigstore "
            "bundles, keys, and VERIFY.md, which says how to check them without us."
        ),
    ] = None,
    call: Annotated[
        list[str] | None, typer.Option(help="With --out: only this call's; may be repeated.")
    ] = None,
    trust_root: Annotated[
        Path | None,
        typer.Option(help="With --out: trust-root.json to put in. [default: the broker's]"),
    ] = None,
    after: AfterOption = 0,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write receipts to a file or folder; by --out with proofs."""
    from broker.cli.evidence import write_evidence

    place = out or target
    if place is None or (out and target):
        raise typer.BadParameter("name one: TARGET, or --out DIR")
    if not out and (call or trust_root):
        raise typer.BadParameter("--call and --trust-root go with --out DIR")
    if call and after:
        raise typer.BadParameter("name calls, or the sequence after which to begin")
    with connect(config, identity or _AUDITOR, address) as broker:
        try:
            if out:
                written = write_evidence(
                    out, broker, calls=call or (), after=after, trust_root=trust_root
                )
                count, masked = written.receipts, written.masked
            else:
                count, masked = _write_chain(place, broker.receipts(after=after)), 0
        except OSError as error:
            raise ConfigurationError(
                str(error.filename or place), None, f"{error.strerror}: name another one"
            ) from error
    if output is Output.JSON:
        document({"receipts": count, "target": str(place)})
    else:
        say(f"wrote {count} receipts to {place}")
    if masked:
        note(
            f"{masked} of them without documents, as policy masks something in them, or nobody "
            "knows whether it would: `receipts get` has them, for those who may see them"
        )


def _write_chain(target: Path, receipts: Iterator[receipt_pb2.Receipt]) -> int:
    write = _write_lines if target.suffix == ".jsonl" else _write_files
    return write(target, receipts)


def _write_lines(target: Path, receipts: Iterator[receipt_pb2.Receipt]) -> int:
    count = 0
    with new_file(target) as file:
        for receipt in receipts:
            # The envelope as a text: re-written as JSON it would no longer be the signed log's.
            file.write(json.dumps(plain(receipt), separators=(",", ":")) + "\n")
            count += 1
    return count


def _write_files(target: Path, receipts: Iterator[receipt_pb2.Receipt]) -> int:
    target.mkdir(parents=True, exist_ok=True)
    count = 0
    for receipt in receipts:
        ulid = receipt.call.removeprefix("calls/")
        # The call's name comes over the network and becomes a path.
        if not is_call_id(ulid):
            raise ConfigurationError(str(target), None, f"{receipt.call!r} is no call's name")
        with new_file(target / f"{receipt.sequence:010d}-{ulid}.json") as file:
            file.write(receipt.receipt)
        count += 1
    return count


def _write_receipt(folder: Path, found: receipt_pb2.GetReceiptResponse) -> list[Path]:
    texts = {
        "receipt.json": found.receipt,
        "request.json": found.request_document,
        "result.json": found.result_document,
    }
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            if text:
                with new_file(folder / name) as file:
                    file.write(text)
                written.append(folder / name)
    except OSError as error:
        raise ConfigurationError(
            str(folder), None, f"cannot be written: {error.strerror}; name another folder"
        ) from error
    return written
