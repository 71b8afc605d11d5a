"""`toolwarrant version`: say what runs here, there."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Annotated

import typer

from broker.cli.documents import plain
from broker.cli.options import AddressOption, AsOption, ConfigOption, Output, OutputOption, connect
from broker.cli.terminal import document, lines, say


def version(
    server: Annotated[bool, typer.Option("--server", help="Ask the broker, too.")] = False,
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say which version this is.

    With --server, what the broker says of itself as well.
    """
    try:
        here = installed("toolwarrant")
    except PackageNotFoundError:
        here = "unknown (not installed)"
    there = None
    if server:
        with connect(config, identity or "admin", address) as broker:
            there = plain(broker.server_info())
    if output is Output.JSON:
        document({"version": here, **({"server": there} if there else {})})
        return
    say(f"toolwarrant {here}")
    for name, value in (there or {}).items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {part}" for key, part in sorted(value.items()))
        say(lines(f"  {name}: {'-' if value in (None, '') else value}"))
