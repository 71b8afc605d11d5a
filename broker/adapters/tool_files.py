"""Read the catalogue from a folder of tools."""

from pathlib import Path

from broker.core.catalog import Catalog, Tool, read_tool
from broker.errors import ConfigurationError

_MAX_BYTES = 1 << 20


def read_catalog(folder: Path) -> Catalog:
    """Read `<folder>/<tool>/tool.yaml` of every tool.

    Raises:
        ConfigurationError: The folder holds none, or one is wrong; names file and line.
    """
    tools: dict[str, Tool] = {}
    files: dict[str, Path] = {}
    for file in sorted(folder.glob("*/tool.yaml")):
        tool = _read(file)
        if tool.name in tools:
            raise ConfigurationError(
                str(file), None, f"name {tool.name!r} is taken by {files[tool.name]}"
            )
        tools[tool.name], files[tool.name] = tool, file
    if not tools:
        raise ConfigurationError(str(folder), None, "holds no tool: no */tool.yaml in it")
    _check_images(folder, tools, files)
    return Catalog(tools=tuple(tools.values()))


def _read(file: Path) -> Tool:
    try:
        data = file.read_bytes()
        if len(data) > _MAX_BYTES:
            raise ConfigurationError(str(file), None, f"is larger than {_MAX_BYTES} bytes")
        return read_tool(data.decode("utf-8"), str(file))
    except OSError as error:
        raise ConfigurationError(str(file), None, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(str(file), None, f"is not UTF-8: {error.reason}") from error


def _check_images(folder: Path, tools: dict[str, Tool], files: dict[str, Path]) -> None:
    """Refuse a tool whose image nothing builds."""
    built = {tool.image for tool in tools.values() if _builds(files[tool.name])}
    for tool in tools.values():
        if tool.image not in built:
            raise ConfigurationError(
                str(files[tool.name]),
                None,
                f"image: no tool in {folder} with image {tool.image!r} has a Dockerfile",
            )


def _builds(file: Path) -> bool:
    return (file.parent / "Dockerfile").is_file()
