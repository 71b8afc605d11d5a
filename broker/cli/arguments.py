"""Read a tool's arguments from a command line."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from broker.errors import InvalidArgument

HELP = (
    "A JSON object; or key=value (a text), key:=JSON (any value), key=@FILE (a file's text); "
    "or @FILE or - (standard input) with a JSON object."
)

_FIELD = "arguments"


def read_arguments(words: Sequence[str], read_stdin: Callable[[], str]) -> str:
    """Make the JSON text of a tool's arguments.

    A whole JSON object is passed on unread, so that the broker judges exactly what was given.

    Args:
        words: What stood after the tool's name.
        read_stdin: Reads standard input to its end; called where a word is `-`.

    Raises:
        InvalidArgument: The words are no arguments; says what would be.
    """
    if len(words) == 1:
        word = words[0]
        if word == "-":
            return read_stdin()
        if word.startswith("@"):
            return _file_text(word[1:])
        if word.lstrip().startswith("{"):
            return word
    texts: dict[str, str] = {}
    for word in words:
        key, value = _pair(word)
        if key in texts:
            raise InvalidArgument(_FIELD, f"{key} is given twice: keep one")
        texts[key] = value
    return "{" + ", ".join(f"{_json(key)}: {value}" for key, value in texts.items()) + "}"


def _pair(word: str) -> tuple[str, str]:
    """Split a word into a key with the JSON text of its value."""
    key, equals, value = word.partition("=")
    if not equals or not key or key == ":":
        raise InvalidArgument(
            _FIELD, f"{word!r} is neither key=value nor the only JSON object: {HELP}"
        )
    if key.endswith(":"):
        return key[:-1], _json_value(key[:-1], value)
    if value.startswith("@"):
        return key, _json(_file_text(value[1:]))
    return key, _json(value)


def _json_value(key: str, text: str) -> str:
    # Only checked, not re-written: a number must reach the broker as it was typed.
    try:
        json.loads(text)
    except ValueError as error:
        raise InvalidArgument(
            _FIELD, f"{key}:= needs a JSON value ({error}); for a text write {key}=TEXT"
        ) from error
    return text


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _file_text(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument(_FIELD, f"file {name} is not UTF-8") from error
    except OSError as error:
        raise InvalidArgument(_FIELD, f"file {name!r} cannot be read: {error.strerror}") from error
