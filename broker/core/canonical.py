"""Write JSON values in their one canonical form (RFC 8785)."""

from collections.abc import Mapping, Sequence

import orjson
import rfc8785

from broker.errors import CanonicalError

JsonScalar = str | int | float | bool | None
JsonValue = JsonScalar | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
JsonObject = Mapping[str, JsonValue]


def canonical_json(value: JsonValue) -> bytes:
    """Encode a value by RFC 8785.

    `orjson` writes the same bytes, fifty times faster, for values without floats whose object keys
    are ASCII (`_is_plain`); all others go to `rfc8785`, and what `orjson` refuses as well.

    Raises:
        CanonicalError: NaN, an infinity, a lone surrogate, an integer beyond 2**53 - 1, or a type
            that JSON does not have.
    """
    try:
        if _is_plain(value):
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
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
    if kind is str or kind is bool or value is None:
        return True
    # Loops, not generators: this runs over every node of every document.
    if isinstance(value, dict) and kind is dict:
        for key, item in value.items():
            if type(key) is not str or not key.isascii():
                return False
            if type(item) is not str and not _is_plain(item):
                return False
        return True
    if isinstance(value, list) and kind is list:
        for item in value:  # noqa: SIM110
            if type(item) is not str and not _is_plain(item):
                return False
        return True
    return isinstance(value, int) and kind is int and -(2**53) < value < 2**53
