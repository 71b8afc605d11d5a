"""Read YAML as JSON values that remember their lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import yaml

from broker.core.canonical import JsonObject, JsonValue
from broker.errors import ConfigurationError

_MAX_DEPTH = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlText:
    """A parsed text with the way back to its lines."""

    value: JsonObject
    root: yaml.MappingNode

    def line_of(self, path: Sequence[str | int]) -> int:
        """Give the 1-based line of the value at a path, or of the nearest one above it."""
        node: yaml.Node = self.root
        for part in path:
            found = _child(node, part)
            if found is None:
                break
            node = found
        return node.start_mark.line + 1


def read_yaml(text: str, file: str) -> YamlText:
    """Read one YAML document that is a JSON object.

    Raises:
        ConfigurationError: It is not YAML, has a key twice, an alias, or what JSON does not have.
    """
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigurationError(file, mark.line + 1 if mark else None, str(error.problem)) from (
            error
        )
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(file, None, f"is not YAML: {error}") from error
    if not isinstance(root, yaml.MappingNode):
        raise ConfigurationError(file, 1, "must be a mapping of names to values")
    value = _Reader(loader, file).value(root, depth=0)
    return YamlText(value=cast("JsonObject", value), root=root)


class _Reader:
    """Turn nodes into values. Each node may stand in one place only: no aliases."""

    def __init__(self, loader: yaml.SafeLoader, file: str) -> None:
        self._loader = loader
        self._file = file
        self._seen: set[int] = set()

    def value(self, node: yaml.Node, *, depth: int) -> JsonValue:
        if id(node) in self._seen or depth > _MAX_DEPTH:
            raise self._fault(node, "write it out: no aliases, no deeper than 40 levels")
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, depth=depth + 1) for item in node.value]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> JsonValue:
        found: dict[str, JsonValue] = {}
        for key, item in node.value:
            name = self.value(key, depth=depth + 1)
            if not isinstance(name, str):
                raise self._fault(key, "a name must be a text: put it in quotes")
            if name in found:
                raise self._fault(key, f"{name!r} stands twice")
            found[name] = self.value(item, depth=depth + 1)
        return found

    def _scalar(self, node: yaml.Node) -> JsonValue:
        try:
            value: object = self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise self._fault(node, str(error)) from error
        if value is None or isinstance(value, (str, bool, int)):
            return value
        if isinstance(value, float) and abs(value) < float("inf"):
            return value
        raise self._fault(node, "is read as a date or the like: put it in quotes")

    def _fault(self, node: yaml.Node, message: str) -> ConfigurationError:
        return ConfigurationError(self._file, node.start_mark.line + 1, message)


def _child(node: yaml.Node, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((item for key, item in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return cast("yaml.Node", node.value[part]) if part < len(node.value) else None
    return None
