"""Write the JSON of a policy bundle in the one way that OPA digests it.

What a key signs of these members is their value. Their bytes could be written in many ways under
one signature, each with another digest of the bundle; so one is demanded of what becomes active.
"""

import json
from collections.abc import Mapping
from typing import Final

STRUCTURED: Final = frozenset({"data.json", ".manifest"})
"""The members of which the value is signed."""


def as_written(name: str, text: bytes) -> bytes:
    """Give the bytes that a member of this value has in a bundle; any other member as it is.

    `opa build` ends `data.json` with a line end, which is kept: bundles built before have it.

    Raises:
        ValueError: It is no JSON, or names a member twice.
    """
    if name not in STRUCTURED:
        return text
    return one_way(text) + (b"\n" if name == "data.json" else b"")


def unwritten(members: Mapping[str, bytes]) -> list[str]:
    """Name the members that are written in another way than theirs."""
    return [name for name in sorted(members) if members[name] != as_written(name, members[name])]


def one_way(text: bytes) -> bytes:
    """Write a JSON text as OPA does before it digests it: sorted, without spaces, numbers kept.

    Raises:
        ValueError: It is no JSON, or names a member twice.
    """
    try:
        value = json.loads(
            text.decode(),
            object_pairs_hook=_distinct,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse_constant,
        )
        return "".join(_pieces(value)).encode()
    except RecursionError as error:
        raise ValueError("it is too deep") from error


class _Number(str):
    """A number as it is written: what it is worth does not count."""

    __slots__ = ()


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _refuse_constant(text: str) -> object:
    raise ValueError(text)


def _pieces(value: object) -> list[str]:
    match value:
        case _Number():
            return [value]
        case str():
            return [_quoted(value)]
        case dict():
            members = [[_quoted(name), ":", *_pieces(value[name])] for name in sorted(value)]
            return ["{", *_joined(members), "}"]
        case list():
            return ["[", *_joined([_pieces(item) for item in value]), "]"]
        case _:
            return [json.dumps(value)]


def _joined(parts: list[list[str]]) -> list[str]:
    return [piece for number, part in enumerate(parts) for piece in ([","] * (number > 0) + part)]


def _quoted(text: str) -> str:
    # As Go's encoder: these two end a line in JavaScript.
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
