"""`toolwarrant keys`: change the keys that a broker signs with."""

from typing import Annotated

import typer

from broker.cli.exits import OF_OTHERS
from broker.cli.options import ConfigOption, Output, OutputOption
from broker.cli.terminal import document, note, say
from broker.core.trust_root import KeyRole
from broker.errors import InvalidArgument

app = typer.Typer(help="Change the keys that a broker signs with.", no_args_is_help=True)

_SETTINGS = {KeyRole.RECEIPT: "key", KeyRole.LOG: "log_key"}


@app.command(epilog=OF_OTHERS)
def rotate(
    role: Annotated[str, typer.Argument(help="receipt, log or policy.")],
    key: Annotated[
        str | None,
        typer.Option(
            help="The next key where it is there already: file:PATH, or for the log pkcs11:... too."
        ),
    ] = None,
    config: ConfigOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a next key follow the one in use, from where the log stands.

    Stop the broker first. The key before stays in the trust root with an end: what it signed stays
    valid. Where root keys sign the trust root, its next version is written beside it, to be signed.
    """
    from broker.client import config_path
    from broker.config import FILE_SCHEME, load
    from broker.rotation import rotate as run

    known = {each.value: each for each in KeyRole}
    if role not in known:
        raise InvalidArgument("role", "give receipt, log or policy")
    done = run(load(config_path(config)), known[role], key)
    if output is Output.JSON:
        document(
            {
                "role": role,
                "key": done.uri,
                "keyid": done.key.key_id,
                "valid_from_index": done.key.valid_from_index,
                "trust_root": str(done.written),
                "version": done.root.version,
                "to_sign": done.is_to_sign,
            }
        )
        return
    say(
        f"the {role} key {done.key.key_id} follows from index {done.key.valid_from_index} on; "
        f"version {done.root.version} of the trust root is {done.written}"
    )
    if done.is_to_sign:
        note("let root keys sign that (trust-root to-sign, add-signature), put it in place")
    if setting := _SETTINGS.get(known[role]):
        note(f'then set {setting} = "{done.uri}" in [receipts] of {config_path(config)}')
        note("then start the broker")
    else:
        note(
            "sign the bundle anew with it, unless the shipped one decides: `toolwarrant policy "
            f"build FOLDER BUNDLE --sign {done.uri.removeprefix(FILE_SCHEME)}`"
        )
        note(f"then name it as bundle in [policy] of {config_path(config)}; start the broker")
    note("give verifiers the new version by another way than the broker")
