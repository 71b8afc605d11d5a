"""`toolwarrant init`: make a new broker's folder."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.terminal import note, say
from broker.config_template import Settings


def init(
    folder: Annotated[Path, typer.Argument(help="New folder, or one without a set.")],
    listen: Annotated[
        str, typer.Option(help="host:port that the broker will listen on.")
    ] = "127.0.0.1:7443",
    metrics: Annotated[
        str, typer.Option(help='host:port for Prometheus; "" for none.')
    ] = "127.0.0.1:9464",
    images: Annotated[
        bool, typer.Option(help="Build what is missing of the tools' images, pin their ids.")
    ] = True,
) -> None:
    """Write a development set into a folder.

    It has a configuration, a CA with certificates, a receipt key, the pinned ids of images.
    Everything or nothing is written; keys that are there are never overwritten.
    """
    from broker.init import initialise

    settings: Settings = {"server": {"listen": listen}, "metrics": {"listen": metrics}}
    path = initialise(folder, now=datetime.now(UTC), report=note, settings=settings, build=images)
    file = shlex.quote(str(path))
    if images:
        say(f"ready: toolwarrant serve --config {file}")
    else:
        say(f"no images are pinned yet: toolwarrant tools build --pin --config {file}")
        note(f"then: toolwarrant serve --config {file}")
