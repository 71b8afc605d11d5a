"""Write JSON values in their one canonical form (RFC 8785)."""

from collections.abc import Iterable, Mapping, Sequence

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

    `orjson` writes the same bytes, fifty times faster, for values whose object keys are ASCII and
    whose floats it writes as ECMAScript does (`_is_plain`); all others go to `rfc8785`, and what
    `orjson` refuses as well.

    Raises:
        CanonicalError: NaN, an infinity, a lone surrogate, an integer beyond 2**53 - 1, or a type
            that JSON does not have.
    """
    try:
        if _is_plain(value):
            return orjson.dumps(value, option=_OPTIONS)
    except (orjson.JSONEncodeError, RecursionError):
        # Half a surrogate pair, or deeper than orjson goes: the slow way says which.
        pass
    try:
        return rfc8785.dumps(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise CanonicalError(f"the value has no canonical JSON form: {error}") from error


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
