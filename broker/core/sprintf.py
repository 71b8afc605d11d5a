"""Format a text as Rego's `sprintf` does, for the verbs that policies may use."""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from broker.core.canonical import JsonValue

_VERB: Final = re.compile(r"%(.?)", re.DOTALL)
_EXPONENT_FROM: Final = 6
_GO_TYPES: Final = {int: "int64", float: "float64"}


def sprintf(template: str, values: Sequence[JsonValue]) -> str:
    """Format scalars with `%s`, `%d`, `%v` and `%%`, in the very words of OPA.

    A verb that does not fit its value is shown in the text, as Go does: `%!d(string=x)`.

    Raises:
        ValueError: Another verb, a width, or a list, set or object among the values: OPA would
            format these, so anything but a refusal would make two engines differ.

    Source: Go's package fmt, "Format errors".
    """
    waiting = iter(values)
    text = _VERB.sub(lambda verb: _formatted(verb[1], waiting), template)
    if extra := [f"{_type(value)}={_plain(value)}" for value in waiting]:
        text += f"%!(EXTRA {', '.join(extra)})"
    return text


def _formatted(verb: str, values: Iterator[JsonValue]) -> str:
    if verb == "%":
        return "%"
    if verb not in ("s", "d", "v"):
        raise ValueError(f"sprintf takes %s, %d and %v only, not %{verb}")
    try:
        value = next(values)
    except StopIteration:
        return f"%!{verb}(MISSING)"
    fits = {"string": "sv", "int64": "dv", "float64": "v"}[_type(value)]
    return _plain(value) if verb in fits else f"%!{verb}({_type(value)}={_plain(value)})"


def _type(value: JsonValue) -> str:
    # OPA hands booleans with null over as text.
    return _GO_TYPES.get(type(value), "string")


def _plain(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    raise ValueError("sprintf takes scalars only: format the members one by one")


def _float(value: float) -> str:
    """Write the shortest digits as Go's `%v` does: an exponent below -4, or from 6 on."""
    number = Decimal(repr(value)).normalize()
    sign, digits, _ = number.as_tuple()
    power = number.adjusted()
    text = "".join(map(str, digits))
    if power < -4 or power >= _EXPONENT_FROM:
        fraction = f".{text[1:]}" if len(text) > 1 else ""
        written = f"{text[0]}{fraction}e{'-' if power < 0 else '+'}{abs(power):02d}"
    else:
        written = f"{abs(number):f}"
    return f"-{written}" if sign else written
