"""`toolwarrant policy activate`: let another bundle decide."""

from pathlib import Path
from typing import Annotated

import typer

from broker.cli.documents import plain
from broker.cli.options import AddressOption, AsOption, ConfigOption, Output, OutputOption, connect
from broker.cli.terminal import document, lines, note, say
from broker.errors import ConfigurationError

_POLICY = "policy"


def activate_bundle(
    bundle: Annotated[Path, typer.Argument(help="As `policy build --sign` writes it.")],
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let another bundle decide, from one call to the next.

    It must be signed by a policy key of the broker's trust root, and its number be above that of
    the active one. A bundle that is refused changes nothing. After a restart the broker goes on
    with the bundle that was activated last.
    """
    try:
        archive = bundle.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            str(bundle),
            None,
            f"cannot be read: {error.strerror}; `toolwarrant policy build` makes it",
        ) from error
    with connect(config, identity or _POLICY, address) as broker:
        done = broker.activate(archive)
    if output is Output.JSON:
        document(plain(done))
        return
    say(lines(f"{done.revision} {done.bundle_sha256}"))
    if done.is_new:
        note(lines(f"decides from now on, in the place of {done.previous_revision}"))
    else:
        note("was active already")
