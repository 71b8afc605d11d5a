"""Write JSON values in their one canonical form (RFC 8785)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import orjson
import rfc8785

from broker.errors import CanonicalError

JsonScalar = str | int | float | bool | None
JsonValue = JsonScalar | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
JsonObject = Mapping[str, JsonValue]


_ATOMS = frozenset({str, bool, int, type(None)})
# Strict: an integer that doubles do not keep is refused here, so `_is_plain` need not look at each.
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


def canonical_json(value: JsonValue) -> bytes:
    """Encode a value by RFC 8785.

    `orjson` writes the bytes of `rfc8785`, fifty times faster, but for the order of keys that are
    not ASCII and for some floats. A value without these (`_is_plain`) is one call of it. Any other
    is written by parts: whoever chooses one such key or number must not choose the slow encoder for
    a mebibyte of text beside it.

    Raises:
        CanonicalError: NaN, an infinity, a lone surrogate, an integer beyond 2**53 - 1, or a type
            that JSON does not have.
    """
    try:
        if _is_plain(value):
            return orjson.dumps(value, option=_OPTIONS)
    except (orjson.JSONEncodeError, RecursionError):
        # Half a surrogate pair, or deeper than orjson goes: part by part it shows which.
        pass
    parts: list[bytes] = []
    try:
        _write(value, parts)
    except (ValueError, TypeError, RecursionError) as error:
        raise CanonicalError(f"the value has no canonical JSON form: {error}") from error
    return b"".join(parts)


def _write(value: object, parts: list[bytes]) -> None:
    if isinstance(value, dict):
        mark = b"{"
        for key, item in sorted(value.items(), key=_utf16):
            parts += (mark, _scalar(key), b":")
            _write(item, parts)
            mark = b","
        parts.append(b"}" if value else b"{}")
    elif isinstance(value, list | tuple):
        mark = b"["
        for item in value:
            parts.append(mark)
            _write(item, parts)
            mark = b","
        parts.append(b"]" if value else b"[]")
    else:
        parts.append(_scalar(value))


def _utf16(member: tuple[object, object]) -> bytes:
    """Give what members are ordered by (RFC 8785 3.2.3): their keys' UTF-16 code units."""
    key = member[0]
    if not isinstance(key, str):
        raise TypeError("object keys must be strings")
    return key.encode("utf-16-be")


def _scalar(value: object) -> bytes:
    # Enums reach rfc8785, too, and are written as their values; what JSON does not have is refused.
    if _is_plain(value):
        return orjson.dumps(value, option=_OPTIONS)
    return rfc8785.dumps(cast(JsonScalar, value))


def _is_plain(value: object) -> bool:
    """Tell whether orjson's bytes are the canonical ones for this value."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if isinstance(value, float) and kind is float:
        return _is_plain_float(value)
    # Loops, not generators: this runs over every node of every document.
    if isinstance(value, dict) and kind is dict:
        for key in value:
            if type(key) is not str or not key.isascii():
                return False
        items: Iterable[object] = value.values()
    elif isinstance(value, list) and kind is list:
        items = value
    else:
        return False
    for item in items:  # noqa: SIM110
        if type(item) not in _ATOMS and not _is_plain(item):
            return False
    return True


def _is_plain_float(value: float) -> bool:
    """Tell whether orjson writes a float as ECMAScript's Number::toString does.

    Both write the shortest digits. They part where the number is whole (1.0 for 1, 1e+16 for
    10000000000000000) or from 1e-6 up to 1e-5 (1e-6 for 0.000001); NaN and the infinities, which
    orjson writes as null, fail each comparison.
    """
    size = abs(value)
    return (1e-5 <= size < 2**53 or size < 1e-6) and not value.is_integer()
