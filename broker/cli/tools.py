"""`toolwarrant tools`: see, check, build tools."""

import json
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.documents import plain
from broker.cli.exits import OF_OTHERS
from broker.cli.options import AddressOption, AsOption, ConfigOption, Output, OutputOption, connect
from broker.cli.terminal import document, lines, note, say, table
from broker.client import config_path
from broker.config import Config, SandboxSection, load
from broker.v1 import tool_pb2

app = typer.Typer(help="See, check, build tools.", no_args_is_help=True)


@app.command("list", epilog=OF_OTHERS)
def list_tools(
    filter: Annotated[str, typer.Argument(help="Words that they must contain.")] = "",  # noqa: A002
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the tools of a broker's catalogue."""
    with connect(config, identity or "agent", address) as broker:
        found = broker.tools(filter)
    if output is Output.JSON:
        document({"tools": [plain(tool) for tool in found]})
        return
    rows = [(tool.name, tool.version, _effects(tool), tool.title) for tool in found]
    table(("TOOL", "VERSION", "EFFECTS", "TITLE"), rows, empty="no tools")


@app.command(epilog=OF_OTHERS)
def show(
    tool: Annotated[str, typer.Argument(help="name or name@version.")],
    config: ConfigOption = None,
    identity: AsOption = None,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a tool with the schema of its arguments."""
    with connect(config, identity or "agent", address) as broker:
        found = broker.tool(tool)
    if output is Output.JSON:
        document(plain(found))
        return
    say(lines(f"{found.name}@{found.version}  {found.title}"))
    say(lines(f"  {found.description.strip()}"))
    say(f"  effects: {_effects(found)}")
    say(lines(f"  image: {found.image_digest}"))
    say(f"  at most: {found.max_timeout.ToNanoseconds() / 1e9:g} s")
    say("  arguments:")
    say(lines(json.dumps(json.loads(found.input_schema_json), indent=2, ensure_ascii=False)))


@app.command(epilog=OF_OTHERS)
def validate(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of tools. [default: the configured one]")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Check tool definitions, without a broker.

    The first mistake is named with file and line.
    """
    from broker.adapters.tool_files import read_catalog

    catalog = read_catalog(folder or _tools_dir(_optional_config(config)))
    names = [f"{tool.name}@{tool.version}" for tool in catalog.tools]
    say(lines(f"valid: {', '.join(names)}"))


@app.command(epilog=OF_OTHERS)
def build(
    pin: Annotated[
        bool, typer.Option("--pin", help="Write the images' ids to the configuration's lock file.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Build the images whose sources changed.

    Prints each image's name with its id.
    Without a configuration the shipped tools are built on the local Docker Engine.
    """
    from broker.adapters.image_builder import build_images
    from broker.init import pin_images

    found = load(config_path(config)) if pin else _optional_config(config)
    url = found.sandbox.docker_url if found else SandboxSection().docker_url
    images = build_images(url, _tools_dir(found), note)
    for name, image in sorted(images.items()):
        say(f"{name} {image}")
    if pin and found:
        pin_images(found.sandbox.images_lock, images)
        note(f"pinned in {found.sandbox.images_lock}: restart the broker to use them")
    elif found:
        note("a broker runs what is pinned: add --pin to pin these")


def _effects(tool: tool_pb2.Tool) -> str:
    fields = tool.effects.DESCRIPTOR.fields
    return ", ".join(field.name for field in fields if getattr(tool.effects, field.name)) or "-"


def _optional_config(path: Path | None) -> Config | None:
    chosen = config_path(path)
    return load(chosen) if path or chosen.exists() else None


def _tools_dir(config: Config | None) -> Path:
    from broker.shipped import tools_dir

    return (config.sandbox.tools_dir if config else None) or tools_dir()
