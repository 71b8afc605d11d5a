"""Name the options that several commands share."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from broker.client import CONFIG_VARIABLE, Client, config_path

AS_VARIABLE = "TOOLWARRANT_AS"
OUTPUT_VARIABLE = "TOOLWARRANT_OUTPUT"
ADDRESS_VARIABLE = "TOOLWARRANT_ADDRESS"


class Output(Enum):
    """Whom a command writes for."""

    TABLE = "table"
    """People: tables, short lines, foreign text escaped."""
    JSON = "json"
    """Programs: one JSON document; one a line where a command follows something."""


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar=CONFIG_VARIABLE,
        help="Configuration file. [default: ./toolwarrant.toml]",
        show_default=False,
    ),
]
AsOption = Annotated[
    str | None,
    typer.Option(
        "--as",
        envvar=AS_VARIABLE,
        help="Whose certificate to use: NAME of pki/NAME.crt beside the configuration. "
        "[default: agent; approver for holds; auditor for receipts; policy for policy explain "
        "and activate; admin for halt, resume, halts, drain, version]",
        show_default=False,
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar=ADDRESS_VARIABLE,
        help="host:port of the broker, where it is another than it listens on.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Output,
    typer.Option(
        "--output", "-o", envvar=OUTPUT_VARIABLE, help="For people, or one JSON document."
    ),
]


def connect(config: Path | None, identity: str, address: str | None) -> Client:
    """Connect as an identity of the configuration that counts."""
    return Client.from_config(config_path(config), identity, address=address)
