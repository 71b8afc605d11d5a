"""Know the tools: read a definition, check arguments against it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from jsonschema_rs import (
    Draft202012Validator,
    ReferencingError,
    ValidationError,
    ValidationErrorKind,
)

from broker.core.canonical import JsonObject, JsonValue
from broker.core.decision import Limits
from broker.core.derived import MARK, PARSERS
from broker.core.destination import ANY_DESTINATION, read_destination
from broker.core.tool_schema import TOOL_SCHEMA
from broker.core.visible import visible
from broker.core.yaml_text import YamlText, read_yaml
from broker.errors import ConfigurationError, InvalidArgument

WorkspaceUse = Literal["none", "read", "write"]
"""What of a session's files a tool gets, and may change."""

# Field that forbids them, with the field to be named and what to do.
_GETS_NO_SECRET = {
    "runs_code": (
        "secrets",
        "a tool that runs the agent's own code gets none: remove them, or have a tool of its own",
    ),
    "starts_ahead": (
        "starts_ahead",
        "a command that has been started gets no secrets any more: remove it, or the secrets",
    ),
}
_MARKS = tuple(PARSERS)
_ARGUMENTS = "arguments_json"
_LONGEST_MESSAGE = 300
# A masked value keeps a megabyte of arguments, or a secret in them, out of the message.
_MASK = "the value"

_definition = Draft202012Validator(dict(TOOL_SCHEMA), offline=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool's definition.

    Args:
        image: Name of its image; which image that is, the lock file says.
        runs_code: Whether it runs code that the agent wrote.
        starts_ahead: Whether its command may wait for its arguments before there is a call.
        egress: `host:port` in normal form, or `ANY_DESTINATION`.
        egress_protocol: Value of an `EgressProtocol`.
        optional_secrets: Those of `secrets` without which a broker starts all the same.
        effects: `read_only`, `destructive`, `idempotent`, `reversible`, `open_world`.
        input_schema: JSON Schema 2020-12 of the arguments.

    Raises:
        ValueError: The input schema is none; secrets for the agent's own code, or for a command
            that has been started by then.
    """

    name: str
    version: str
    title: str
    description: str
    input_schema: JsonObject
    output_schema: JsonObject | None
    image: str
    command: tuple[str, ...]
    workspace: WorkspaceUse
    limits: Limits
    egress: tuple[str, ...]
    egress_protocol: str
    secrets: tuple[str, ...]
    optional_secrets: tuple[str, ...] = ()
    runs_code: bool
    starts_ahead: bool = False
    effects: Mapping[str, bool]
    labels: tuple[str, ...]
    runtime: str
    _arguments: Draft202012Validator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the input schema; refuse secrets where none may be, or none can be given."""
        if self.runs_code and self.secrets:
            raise ValueError("a tool that runs the agent's own code gets no secret")
        if self.starts_ahead and self.secrets:
            raise ValueError("a tool that is started before its call gets no secret")
        object.__setattr__(self, "_arguments", _compiled(self.input_schema))

    def check_arguments(self, value: JsonObject) -> None:
        """Check the arguments of one call.

        Raises:
            InvalidArgument: Names the first field that is wrong, says what would be right.
        """
        for error in self._arguments.iter_errors(value):
            path = "/".join((_ARGUMENTS, *(str(part) for part in error.instance_path)))
            raise InvalidArgument(visible(path), self._remedy(error))

    def _remedy(self, error: ValidationError) -> str:
        wanted = _at(self.input_schema, error.schema_path[:-1])
        is_path = isinstance(wanted, Mapping) and wanted.get(MARK) == "path"
        if is_path and error.schema_path[-1] == "pattern":
            return "send a path relative to the workspace, with `/` between its parts, no `..`"
        message = visible(error.message)[:_LONGEST_MESSAGE]
        return f"{message}; GetTool {self.name} shows the input schema"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All tools of a broker, by name.

    Raises:
        ValueError: A name stands twice.
    """

    tools: tuple[Tool, ...]

    def __post_init__(self) -> None:
        """Refuse two tools of one name."""
        names = [tool.name for tool in self.tools]
        if len(set(names)) != len(names):
            raise ValueError("two tools have one name")


def read_tool(text: str, file: str) -> Tool:
    """Read the text of a `tool.yaml`.

    Args:
        file: Its path as the operator knows it, for the message.

    Raises:
        ConfigurationError: It is not a definition; names file and line.
    """
    document = read_yaml(text, file)
    _check_secrets(document, file)
    # A misspelt field is two errors; the one that names what was written comes first.
    for error in sorted(_definition.iter_errors(document.value), key=_is_of_absence):
        place = "/".join(str(part) for part in error.instance_path)
        message = visible(error.message)[:_LONGEST_MESSAGE]
        line = document.line_of([*error.instance_path, *_unexpected(error)])
        raise ConfigurationError(file, line, f"{place}: {message}" if place else message)
    _check_marks(document, file, document.value, ())
    _check_egress(document, file)
    return _tool(document, file)


def _tool(document: YamlText, file: str) -> Tool:
    # The schema has checked every type; what is cast here is what it said.
    fields = cast("dict[str, object]", document.value)
    try:
        return Tool(
            name=cast("str", fields["name"]),
            version=cast("str", fields["version"]),
            title=cast("str", fields["title"]),
            description=cast("str", fields["description"]).strip(),
            input_schema=cast("JsonObject", fields["input_schema"]),
            output_schema=cast("JsonObject | None", fields.get("output_schema")),
            image=cast("str", fields["image"]),
            command=_texts(fields["command"]),
            workspace=cast("WorkspaceUse", fields.get("workspace", "none")),
            limits=Limits(**cast("dict[str, int]", fields["limits"])),
            egress=_texts(fields.get("egress", ())),
            egress_protocol=cast("str", fields.get("egress_protocol", "http")),
            secrets=_texts(fields.get("secrets", ())),
            optional_secrets=_texts(fields.get("optional_secrets", ())),
            runs_code=cast("bool", fields.get("runs_code", False)),
            starts_ahead=cast("bool", fields.get("starts_ahead", False)),
            effects=cast("Mapping[str, bool]", fields["effects"]),
            labels=_texts(fields.get("labels", ())),
            runtime=cast("str", fields.get("runtime", "runc")),
        )
    except ValueError as error:
        line = document.line_of(("input_schema",))
        raise ConfigurationError(file, line, f"input_schema: {error}") from error


def _check_secrets(document: YamlText, file: str) -> None:
    """Refuse secrets that contradict the rest; the schema says it less plainly, or cannot."""
    fields = document.value
    asked, optional = (fields.get(name, []) for name in ("secrets", "optional_secrets"))
    # What is no list the schema refuses.
    if isinstance(asked, list) and isinstance(optional, list):
        for index, name in enumerate(optional):
            if name not in asked:
                line = document.line_of(("optional_secrets", index))
                raise ConfigurationError(
                    file, line, f"optional_secrets: {name!r} is not among its secrets"
                )
    for name, (to_mend, message) in _GETS_NO_SECRET.items():
        if fields.get(name) is True and fields.get("secrets"):
            raise ConfigurationError(file, document.line_of((to_mend,)), f"{to_mend}: {message}")


def _check_marks(
    document: YamlText, file: str, value: JsonValue, path: tuple[str | int, ...]
) -> None:
    """Refuse an `x-broker` that policy would not understand: it would go unparsed, unnoticed."""
    if isinstance(value, Mapping):
        mark = value.get(MARK)
        if mark is not None and mark not in _MARKS:
            line = document.line_of((*path, MARK))
            raise ConfigurationError(file, line, f"{MARK} must be one of {', '.join(_MARKS)}")
        for name, part in value.items():
            _check_marks(document, file, part, (*path, name))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            _check_marks(document, file, part, (*path, index))


def _check_egress(document: YamlText, file: str) -> None:
    """Refuse a place in another than its normal form: no request would ever match it."""
    for index, place in enumerate(_texts(document.value.get("egress", ()))):
        try:
            good = place == ANY_DESTINATION or str(read_destination(place)) == place
        except ValueError:
            good = False
        if not good:
            line = document.line_of(("egress", index))
            raise ConfigurationError(file, line, f"egress: {place!r} is no host:port")


def _compiled(schema: JsonObject) -> Draft202012Validator:
    try:
        # Offline: a `$ref` to somewhere else would make the broker fetch at start.
        return Draft202012Validator(dict(schema), mask=_MASK, offline=True)
    except (ValidationError, ReferencingError) as error:
        raise ValueError(str(error).partition("\n")[0]) from error


def _is_of_absence(error: ValidationError) -> bool:
    return isinstance(error.kind, ValidationErrorKind.Required)


def _unexpected(error: ValidationError) -> list[str]:
    kind = error.kind
    return kind.unexpected[:1] if isinstance(kind, ValidationErrorKind.AdditionalProperties) else []


def _at(value: JsonValue, path: list[str | int]) -> JsonValue:
    for part in path:
        if isinstance(value, Mapping):
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
        else:
            return None
    return value


def _texts(value: object) -> tuple[str, ...]:
    return tuple(cast("list[str]", value))
