"""Read I-JSON strictly (RFC 7493): one text, one value, one canonical form.

Theory of operation. The caps are checked first, on the text without its strings, so that no text
costs more than its few quick scans before it is known to be worth parsing. The common case is one
pass of the standard library's C parser, then the C encoder's canonical form. What I-JSON forbids
but the parser lets by becomes a `_Fault` in the place of the value; a value that holds one has no
canonical form, and only then is the tree walked to say where and why.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from typing import cast

import orjson

from broker.core.canonical import JsonObject, canonical_json
from broker.core.ids import Sha256, sha256_hex
from broker.core.visible import visible
from broker.errors import CanonicalError, InvalidArgument

MAX_BYTES = 1 << 20
MAX_VALUES = MAX_BYTES
"""More than a text of `MAX_BYTES` can have."""
MAX_DEPTH = 64
MAX_INTEGER = 2**53 - 1
_LONGEST_SHOWN = 64
# 15 digits with a point, or fewer with an exponent, and well away from where doubles lose digits.
_SURELY_EXACT_CHARACTERS = 16
_SURELY_EXACT_FROM = 1e-300

_LEVELS = {"[": 1, "{": 1, "]": -1, "}": -1}
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
_NO_BRACKETS = bytes({*range(256)} - {*b"[]{}"})
# So that who nests many levels, many times, is not given as many scans of a long text.
_FEW_BRACKETS = 256
_NONCHARACTER = re.compile(
    "[\ufdd0-\ufdef"
    + "".join(f"{chr(p | 0xFFFE)}{chr(p | 0xFFFF)}" for p in range(0, 0x110000, 0x10000))
    + "]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedJson:
    """An object with the canonical text (RFC 8785) that everything else is made from.

    `value` is what parsing `canonical` gives: 1.0 stands here as 1.
    """

    value: JsonObject
    canonical: bytes
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class _Fault:
    """Stands where a value would, when I-JSON has no such value."""

    why: str


def parse_object(
    text: str | bytes,
    *,
    field: str,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    max_values: int = MAX_VALUES,
) -> ParsedJson:
    """Read one JSON object.

    Args:
        text: UTF-8 where it is bytes.
        field: Name of the request's field, to begin the path in an error with.
        max_bytes: Cap on the text as it came, in UTF-8.
        max_depth: Cap on nested objects and arrays; the outermost object counts as 1.
        max_values: Cap on members and items, counted as `count_values` does.

    Raises:
        InvalidArgument: Not I-JSON, too large, too many values or too deep; names the path with
            the remedy.

    Source: RFC 7493, RFC 8785
    """
    decoded = _decode(text, field, max_bytes)
    outline = _outline(decoded)
    _check_values(outline, field, max_values)
    _check_depth(outline, field, max_depth)
    value = _parse(decoded, field)
    if type(value) is not dict:
        raise InvalidArgument(field, f"is {_kind(value)}: send one JSON object, such as {{}}")
    try:
        canonical = canonical_json(cast(JsonObject, value))
    except CanonicalError as error:
        path, why = _first_fault(value, field, str(error))
        raise InvalidArgument(path, why) from None
    if not canonical.isascii() and _NONCHARACTER.search(canonical.decode()):
        path, why = _first_fault(value, field, "holds a Unicode noncharacter")
        raise InvalidArgument(path, why)
    return ParsedJson(
        value=cast(JsonObject, value), canonical=canonical, sha256=sha256_hex(canonical)
    )


def read_canonical(text: bytes, *, field: str, max_depth: int) -> JsonObject | None:
    """Read one object from a text that is its own canonical form, three times as fast.

    Returns None for any other text, and for some that are: `parse_object` says what is wrong with
    it, if anything is. That an ASCII text is what its value's canonical form is leaves nothing of
    what I-JSON forbids: no key twice, no number that a double does not keep, no half of a pair.

    Raises:
        InvalidArgument: It nests too deep.
    """
    if not text.isascii() or len(text) > MAX_BYTES:
        return None
    # Brackets in strings are counted with the others here: where all are few, none nests too deep.
    if text.count(b"[") + text.count(b"{") > max_depth:
        _check_depth(_outline(text.decode()), field, max_depth)
    try:
        value = orjson.loads(text)
        is_canonical = type(value) is dict and canonical_json(value) == text
    except (orjson.JSONDecodeError, CanonicalError):
        return None
    return cast(JsonObject, value) if is_canonical else None


def _decode(text: str | bytes, field: str, max_bytes: int) -> str:
    size_bytes = len(text)  # of a str: never more than its UTF-8
    try:
        if size_bytes <= max_bytes:
            if isinstance(text, bytes):
                return text.decode()
            size_bytes = size_bytes if text.isascii() else len(text.encode())
            if size_bytes <= max_bytes:
                return text
    except UnicodeError as error:
        at = error.start if isinstance(error, UnicodeEncodeError | UnicodeDecodeError) else 0
        raise InvalidArgument(field, f"is not UTF-8 at position {at}: send UTF-8") from None
    raise InvalidArgument(
        field, f"is longer than {max_bytes} bytes: send less, or put large content into a file"
    )


def count_values(text: str) -> int:
    """Count the members of objects with the items of arrays, without parsing.

    An empty object or array counts for two. Of what is no JSON, as many as a parser could have
    read of it.
    """
    return _values(_outline(text))


def _outline(text: str) -> str:
    """Leave the strings out of a text."""
    if "\\" in text:
        # Pairs first: what is then still escaped is no end of its string.
        text = text.replace("\\\\", "").replace('\\"', "")
    return "".join(text.split('"')[::2])


def _values(outline: str) -> int:
    # Each stands behind a comma or is the first in its brackets.
    return outline.count(",") + outline.count("[") + outline.count("{")


def _check_values(outline: str, field: str, max_values: int) -> None:
    """Bound what costs time by the value: hooks, walks, encoders."""
    if _values(outline) > max_values:
        raise InvalidArgument(
            field,
            f"holds more than {max_values} members and items: send fewer, or put them into a file",
        )


def _check_depth(outline: str, field: str, max_depth: int) -> None:
    """Bound the nesting before anything recurses over it."""
    if (count := outline.count("[") + outline.count("{")) <= max_depth:
        return
    if count <= _FEW_BRACKETS and _closes_within(outline, max_depth):
        return
    brackets = _NO_BRACKET.sub("", outline)
    if max(accumulate(map(_LEVELS.__getitem__, brackets))) > max_depth:
        raise InvalidArgument(
            field, f"nests deeper than {max_depth} objects and arrays: send it flatter"
        )


def _closes_within(outline: str, levels: int) -> bool:
    """Tell whether brackets close each other within so many levels; False says nothing of a text.

    Taken from the inside out, at most one level of each sort at once: sooner than one by one.
    """
    brackets = outline.encode("ascii", "ignore").translate(None, _NO_BRACKETS)
    for _ in range(levels // 2):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return True
    return False


def _parse(text: str, field: str) -> object:
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise InvalidArgument(
            field,
            f"is not JSON: {error.msg.removesuffix(' at')} at line {error.lineno} "
            f"column {error.colno}: send one JSON object by RFC 8259",
        ) from None


def _integer(literal: str) -> int | _Fault:
    # 16 digits hold 2**53 - 1; what is longer is beyond it, as JSON has no leading zeros. This
    # also keeps `int` away from numbers of a million digits.
    value = int(literal) if len(literal) <= 17 else MAX_INTEGER + 1
    return value if -MAX_INTEGER <= value <= MAX_INTEGER else _Fault(_TOO_LARGE)


def _number(literal: str) -> int | float | _Fault:
    value = float(literal)
    # Beyond 2^53 - 1 every double is whole, or infinite.
    if (size := abs(value)) > MAX_INTEGER:
        return _Fault(_TOO_LARGE)
    # Two decimals of up to 15 digits never share a double, so that its shortest form is this one.
    is_short = len(literal) <= _SURELY_EXACT_CHARACTERS and size > _SURELY_EXACT_FROM
    if not is_short and not _is_exact(literal, value):
        return _Fault(
            f"is a number that becomes {value!r} as a double (RFC 8785): "
            "send that, or send it as a string"
        )
    return int(value) if value.is_integer() else value


def _is_exact(literal: str, value: float) -> bool:
    try:
        return Decimal(literal) == Decimal(repr(value))
    except InvalidOperation:  # an exponent that not even Decimal holds
        return False


def _constant(literal: str) -> _Fault:
    return _Fault(f"is {literal}, which JSON does not have: send a string or null")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                found[key] = _Fault("is a key that the object has twice: send it once")
            seen.add(key)
    return found


_TOO_LARGE = "is an integer beyond 2^53-1: send it as a string"
_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant
)


def _first_fault(value: object, path: str, otherwise: str) -> tuple[str, str]:
    return next(_faults(value, path), (path, otherwise))


def _faults(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Walk a parsed value, no deeper than `max_depth`, for what I-JSON does not have."""
    if isinstance(value, _Fault):
        yield path, value.why
    elif isinstance(value, str):
        if why := _text_fault(value):
            yield path, why
    elif isinstance(value, dict):
        for key, item in value.items():
            inner = f"{path}/{_segment(key)}"
            if why := _text_fault(key):
                yield inner, f"is a key that {why}"
            yield from _faults(item, inner)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _faults(item, f"{path}/{index}")


def _text_fault(text: str) -> str | None:
    if _SURROGATE.search(text):
        return "holds half of a surrogate pair: send both halves, or the character in UTF-8"
    if _NONCHARACTER.search(text):
        return "holds a Unicode noncharacter (RFC 7493 2.1): leave it out, or send it encoded"
    return None


def _segment(key: str) -> str:
    """Write a key as a step of a path (RFC 6901), bounded and safe to show."""
    short = key if len(key) <= _LONGEST_SHOWN else f"{key[:_LONGEST_SHOWN]}..."
    return visible(short.replace("~", "~0").replace("/", "~1"))


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list):
        return "an array"
    return "a literal" if value is None or isinstance(value, bool) else "a number"
