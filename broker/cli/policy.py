"""`toolwarrant policy`: compile policy."""

import os
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.documents import Plain
from broker.cli.exits import OF_OTHERS
from broker.cli.options import Output, OutputOption
from broker.cli.terminal import document, lines, note, say
from broker.errors import ConfigurationError

app = typer.Typer(help="Compile policy.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Compile policy."""
    # Without a callback typer would make the only command the group itself.


@app.command(epilog=OF_OTHERS)
def build(
    folder: Annotated[
        Path, typer.Argument(help="Folder of Rego with .manifest and capabilities.json.")
    ],
    bundle: Annotated[Path, typer.Argument(help="File to write, such as policy.tar.gz.")],
    opa: Annotated[str, typer.Option(help="The opa program, by path or by name.")] = "opa",
    output: OutputOption = Output.TABLE,
) -> None:
    """Compile a policy folder into a bundle.

    `bundle` in [policy] of the configuration names the one that a broker uses.
    """
    from broker.adapters.policy_files import build_bundle, load_bundle

    archive = build_bundle(folder, opa)
    # A broker that starts meanwhile reads the old bundle or the new one, never a half.
    fresh = bundle.with_name(f".{bundle.name}.{os.getpid()}")
    try:
        fresh.write_bytes(archive)
        built = load_bundle(fresh)
        fresh.replace(bundle)
    except OSError as error:
        raise ConfigurationError(
            str(bundle), None, f"cannot be written: {error.strerror}; name another file"
        ) from error
    finally:
        fresh.unlink(missing_ok=True)
    if output is Output.JSON:
        answer: dict[str, Plain] = {"bundle": str(bundle), "revision": built.revision}
        document({**answer, "sha256": built.sha256})
        return
    say(lines(f"{built.revision} {built.sha256}"))
    note(lines(f"wrote {bundle}: restart the broker to use it"))
