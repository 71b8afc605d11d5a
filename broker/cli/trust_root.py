"""`toolwarrant trust-root`: look at, change, sign, verify the trust root.

Nothing here needs a broker, and no root key has to come near one: `to-sign` gives the bytes, any
program signs them, `add-signature` takes the signature.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.documents import Plain
from broker.cli.exits import OF_OTHERS
from broker.cli.new_file import write_new
from broker.cli.options import Output, OutputOption
from broker.cli.terminal import document, note, say, table
from broker.core.ids import Sha256
from broker.core.root_change import Ending, next_version
from broker.core.root_statement import RootStatement, signers_of, with_signature, write_statement
from broker.core.trust_root import (
    KeyRole,
    TrustedKey,
    TrustRoot,
    is_signed_trust_root,
    read_trust_root,
)
from broker.errors import ConfigurationError, InvalidArgument
from broker.root_file import read_root_text, read_statement_file, replace_root, root_text
from broker.verify.log_folder import LogFolder
from broker.verify.overrun import first_signed
from broker.verify.signature import is_signed
from broker.verify.trust_root import open_pinned, open_successor, open_trust_root

app = typer.Typer(help="Look at, change, sign, verify the trust root.", no_args_is_help=True)

_VERIFY_CODES = (
    "Exit codes: 0 it may be trusted as asked; 1 it may not; 2 wrong usage; 3 it is in order, but "
    "nothing says whose it is."
)
_INDETERMINATE = 3

FileArgument = Annotated[Path, typer.Argument(help="The trust root, bare or signed.")]
StatementArgument = Annotated[
    Path, typer.Argument(help="A version that is to be signed, as `new-version` writes it.")
]
OutOption = Annotated[Path, typer.Option(help="New file to write.")]
PublicKeyOption = Annotated[
    Path, typer.Option("--public-key", help="Public key that made the signature, PEM.")
]


@app.command(epilog=OF_OTHERS)
def show(file: FileArgument, output: OutputOption = Output.TABLE) -> None:
    """Show a trust root's keys, and which root keys signed it."""
    text = read_root_text(file)
    root = read_trust_root(text)
    signers = _signers(file, root) if is_signed_trust_root(text) else None
    if output is Output.JSON:
        document(_plain(root, signers))
        return
    say(f"version {root.version}, {_signed(root, signers)}")
    table(
        ("ROLE", "STATUS", "FROM", "UNTIL", "KEY"),
        [
            (
                # Who signs a version looks at all that it says.
                f"{key.role.value} {key.name}".rstrip(),
                key.status.value,
                str(key.valid_from_index),
                "-" if key.valid_until_index is None else str(key.valid_until_index),
                key.key_id,
            )
            for key in root.keys
        ],
        empty="no keys",
    )


@app.command("new-version", epilog=OF_OTHERS)
def new_version(
    file: FileArgument,
    out: OutOption,
    add: Annotated[
        list[str] | None,
        typer.Option(help="Add a key: ROLE=FILE, its public key in PEM. Again for another."),
    ] = None,
    valid_from: Annotated[
        int, typer.Option("--from", help="First index of the log for the added keys.", min=0)
    ] = 0,
    until: Annotated[
        list[str] | None,
        typer.Option(help="End a key: KEYID=INDEX, the first index at which it counts no more."),
    ] = None,
    withdraw: Annotated[
        list[str] | None,
        typer.Option(
            help="Withdraw a key that others may have: KEYID=INDEX from which on it counts no more;"
            " KEYID alone where nobody knows."
        ),
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(help="How many root keys have to sign from now on.", min=1)
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the log, or a copy: an --until before what its key signed is refused."
        ),
    ] = None,
) -> None:
    """Write the next version of a trust root; nothing is signed.

    No key is taken away: what an old one signed must stay decidable.
    """
    root = read_trust_root(read_root_text(file))
    ends = [_ending("--until", text, is_withdrawn=False) for text in until or ()]
    changed = next_version(
        root,
        added=[_added(text, valid_from) for text in add or ()],
        endings=[
            *ends,
            *(_ending("--withdraw", text, is_withdrawn=True) for text in withdraw or ()),
        ],
        root_threshold=threshold,
    )
    for ending in ends:
        _refuse_overrun(root, ending, log)
    write_new(out, root_text(changed))
    note(f"wrote version {changed.version} to {out}{_next_step(changed)}")


@app.command("to-sign", epilog=OF_OTHERS)
def to_sign(file: StatementArgument, out: OutOption) -> None:
    """Write the bytes that root keys sign.

    They are the DSSE encoding of the envelope's payload: `openssl pkeyutl -sign -rawin -inkey
    ROOT.key -in OUT -out SIGNATURE` signs them with an Ed25519 key.
    """
    statement = read_statement_file(file)
    write_new(out, statement.message)
    note(f"wrote what {_needed(statement.root)} to {out}; first look: trust-root show {file}")


@app.command("add-signature", epilog=OF_OTHERS)
def add_signature(
    file: StatementArgument,
    public_key: PublicKeyOption,
    signature: Annotated[
        Path, typer.Option(help="The signature's bytes: 64 for Ed25519, DER for ECDSA.")
    ],
) -> None:
    """Put a signature made elsewhere into a trust root."""
    key = TrustedKey.from_pem(KeyRole.ROOT, _read(public_key).decode("ascii", "replace"))
    _add(file, read_statement_file(file), key, _read(signature))


@app.command(epilog=OF_OTHERS)
def sign(
    file: StatementArgument,
    key: Annotated[str, typer.Option(help="The root key: file:PATH or pkcs11:... (RFC 7512).")],
) -> None:
    """Sign a trust root on this machine, into its file."""
    from broker.keyring import open_signer

    statement = read_statement_file(file)
    signer = open_signer(key)
    root_key = TrustedKey.from_pem(KeyRole.ROOT, signer.public_key_pem)
    _add(file, statement, root_key, signer.sign(statement.message))


@app.command(epilog=_VERIFY_CODES)
def verify(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="The trust root; or versions, each the next."),
    ],
    trusted: Annotated[
        Path | None, typer.Option(help="The version that you trust, which the first one follows.")
    ] = None,
    root_key: Annotated[
        list[str] | None,
        typer.Option(
            help="Key id of a root key that you know; each that is named must have signed the last."
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify a trust root that came by a way you do not trust.

    By --trusted: it follows, version by version, one that you trust; then it may take that one's
    place. By --root-key: root keys signed it whose ids you have from elsewhere, on paper for one.
    """
    if trusted is None and len(files) > 1:
        raise InvalidArgument("--trusted", "name the version that the first one follows")
    texts = [read_root_text(file) for file in files]
    if trusted is None:
        root = open_trust_root(texts[0])
    else:
        root = open_trust_root(read_root_text(trusted))
        for text in texts:
            root = open_successor(text, root)
    if root_key:
        root = open_pinned(texts[-1], [Sha256(key_id) for key_id in root_key])
    shown = bool(trusted or root_key)
    if output is Output.JSON:
        verdict = "valid" if shown else "indeterminate"
        document(
            {"verdict": verdict, "version": root.version, "root_threshold": root.root_threshold}
        )
    elif shown:
        say(f"VALID: version {root.version} of the trust root")
    else:
        say(f"INDETERMINATE: version {root.version} is in order, but nothing says whose it is")
        note("give --trusted OLD, or --root-key ID, from another way than this file")
    raise typer.Exit(0 if shown else _INDETERMINATE)


def _signers(file: Path, root: TrustRoot) -> tuple[Sha256, ...]:
    return signers_of(read_statement_file(file), root.root_signers, is_signed)


def _signed(root: TrustRoot, signers: tuple[Sha256, ...] | None) -> str:
    if signers is None:
        return "not signed"
    return f"signed by {len(signers)} root keys of the {root.root_threshold} that have to"


def _plain(root: TrustRoot, signers: tuple[Sha256, ...] | None) -> dict[str, Plain]:
    return {
        "version": root.version,
        "root_threshold": root.root_threshold,
        "signed_by": None if signers is None else list(signers),
        "keys": [
            {
                **({"name": key.name} if key.name else {}),
                "role": key.role.value,
                "keyid": key.key_id,
                "status": key.status.value,
                "valid_from_index": key.valid_from_index,
                "valid_until_index": key.valid_until_index,
            }
            for key in root.keys
        ],
    }


def _added(text: str, valid_from: int) -> TrustedKey:
    role, parted, file = text.partition("=")
    if not parted or role not in {known.value for known in KeyRole}:
        roles = ", ".join(known.value for known in KeyRole)
        raise InvalidArgument("--add", f"send ROLE=FILE, ROLE one of {roles}")
    pem = _read(Path(file)).decode("ascii", "replace")
    key = TrustedKey.from_pem(KeyRole(role), pem)
    # Root keys sign versions, which have no place in the log.
    return replace(key, valid_from_index=0 if key.role is KeyRole.ROOT else valid_from)


def _ending(option: str, text: str, *, is_withdrawn: bool) -> Ending:
    key_id, parted, index = text.partition("=")
    if (not parted and not is_withdrawn) or (parted and not (index.isascii() and index.isdigit())):
        raise InvalidArgument(option, "send KEYID=INDEX, as `trust-root show` names keys")
    return Ending(
        key_id=Sha256(key_id),
        until_index=int(index) if parted else None,
        is_withdrawn=is_withdrawn,
    )


def _refuse_overrun(root: TrustRoot, ending: Ending, log: Path | None) -> None:
    """Refuse an end before what the key signed, which would be invalid for ever."""
    key, until = root.find(ending.key_id), ending.until_index
    if key is None or until is None or key.role not in (KeyRole.RECEIPT, KeyRole.LOG):
        return
    if log is None:
        note(
            f"whatever {key.key_id} signed from index {until} on is invalid by this version, and "
            "no later one can take that back: --log FOLDER looks whether there is any"
        )
        return
    try:
        found = first_signed(LogFolder(log), key, until)
    except OSError as error:
        raise ConfigurationError(
            str(log), None, f"cannot be read ({error.strerror}): name the folder of a log"
        ) from error
    if found is not None:
        raise InvalidArgument(
            "--until",
            f"{key.key_id} signed entry {found} of this log, which would be invalid for ever: end "
            "it behind all that it signed; where others may have it, use --withdraw KEYID=INDEX",
        )


def _add(file: Path, statement: RootStatement, key: TrustedKey, signature: bytes) -> None:
    added = with_signature(statement, key, signature, is_signed)
    try:
        replace_root(file, write_statement(added))
    except OSError as error:
        raise ConfigurationError(str(file), None, f"cannot be written: {error.strerror}") from error
    root = added.root
    if key.key_id not in {each.key_id for each in root.root_signers}:
        note(f"{key.key_id} is no root key of this version: it counts for the one before alone")
    signers = signers_of(added, root.root_signers, is_signed)
    say(f"version {root.version}, {_signed(root, signers)}")


def _needed(root: TrustRoot) -> str:
    return f"{root.root_threshold} of {len(root.root_signers)} root keys have to sign"


def _next_step(root: TrustRoot) -> str:
    if not root.root_threshold:
        return ": not signed, as it names no threshold of root keys"
    return f"; {_needed(root)} it, and as many of the version before as that one demands"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            str(file), None, f"cannot be read ({error.strerror}): name another file"
        ) from error
