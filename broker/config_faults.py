"""Point at the line of a TOML file that is wrong."""

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Sequence
from datetime import date, datetime, time

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from broker.errors import ConfigurationError

_AT_LINE = re.compile(r"\s*\(at line (\d+), column \d+\)$")
_HEADER = re.compile(r"^\s*\[[^\[].*\]\s*(?:#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'))*)\s*="""
)

_WORDS = (
    ("Input should ", "must "),
    ("String should ", "must "),
    ("Frozenset should ", "must "),
    (" after validation", ""),
    ("a valid array", "a list in brackets"),
    ("an object", "a table"),
)
"""What pydantic says of JSON, in the words of TOML."""

KeyPath = tuple[str, ...]


def parse_toml(text: str, file: str) -> dict[str, object]:
    """Parse TOML.

    Raises:
        ConfigurationError: It is not TOML; names the line.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        found = _AT_LINE.search(said)
        line = int(found.group(1)) if found else len(text.splitlines()) or 1
        message = _AT_LINE.sub("", said).removesuffix(" (at end of document)")
        remedy = (
            "something is set twice: keep one"
            if "overwrite" in message or "declare" in message
            else "texts need quotes, lists need brackets"
        )
        raise ConfigurationError(file, line, f"is not TOML: {message}; {remedy}") from error


def as_json(document: object) -> str:
    """Write parsed TOML as JSON; times become ISO 8601 texts."""
    return json.dumps(document, default=_time_text)


def line_of(text: str, key: KeyPath) -> int | None:
    """Find the 1-based line where a key is set, else where the table around it begins."""
    places: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if _HEADER.match(line):
            table = _path(line)
            places.setdefault(table, number)
        elif found := _KEY.match(line):
            places.setdefault(table + _path(f"{found.group(1)} = 0"), number)
    for length in range(len(key), 0, -1):
        if key[:length] in places:
            return places[key[:length]]
    return None


def configuration_error(file: str, text: str, key: KeyPath, message: str) -> ConfigurationError:
    """Make the error about one key of a file."""
    return ConfigurationError(file, line_of(text, key), f"{'.'.join(key)}: {message}")


def first_fault(
    error: ValidationError, file: str, text: str, known: Callable[[KeyPath], Sequence[str]]
) -> ConfigurationError:
    """Make one error of what validation found, the earliest line first.

    Args:
        known: Says which names may stand where an unknown key was given.
    """
    faults = []
    for fault in error.errors():
        key = _key(fault["loc"])
        faults.append((line_of(text, key) or 0, key, _message(fault, known(key))))
    line, key, message = min(faults)
    more = f" ({len(faults) - 1} more to mend after it)" if len(faults) > 1 else ""
    return ConfigurationError(file, line or None, f"{'.'.join(key)}: {message}{more}")


def _key(location: tuple[int | str, ...]) -> KeyPath:
    # Numbers are places in a list, "[key]" is pydantic's word for a bad key of a table.
    return tuple(part for part in location if isinstance(part, str) and part != "[key]")


def _message(fault: ErrorDetails, known: Sequence[str]) -> str:
    kind, said, given = fault["type"], fault["msg"], fault["input"]
    if kind == "extra_forbidden":
        name = str(fault["loc"][-1])
        close = difflib.get_close_matches(name, known, n=1)
        return (
            f"is not a setting; did you mean {close[0]}?"
            if close
            else f"is not a setting; there are {', '.join(known)}"
        )
    if kind == "missing":
        return "is missing: it has no default"
    if kind == "value_error":
        return said.removeprefix("Value error, ")
    for theirs, ours in _WORDS:
        said = said.replace(theirs, ours)
    # Who mistakes [secrets] for the place of the values themselves does not find them in a log.
    is_told = _is_scalar(given) and fault["loc"][0] != "secrets"
    return f"{said}, not {json.dumps(given, default=str)}" if is_told else said


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int | float | bool)


def _path(line: str) -> KeyPath:
    """Read the dotted name of a header or an assignment; empty where it is none."""
    try:
        nested: object = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    names: list[str] = []
    while isinstance(nested, dict) and nested:
        name, nested = next(iter(nested.items()))
        names.append(name)
    return tuple(names)


def _time_text(value: object) -> str:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no value of TOML")
