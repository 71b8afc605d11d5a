"""Draw JSON values for property tests."""

from hypothesis import strategies as st

NONCHARACTERS = [chr(c) for c in range(0xFDD0, 0xFDF0)] + [
    chr(plane | low) for plane in range(0, 0x110000, 0x10000) for low in (0xFFFE, 0xFFFF)
]
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=NONCHARACTERS), max_size=20
)
AWKWARD_TEXTS = st.text(
    st.sampled_from([*'\\u{}5C"\n\r\t>| :,[]0', "\u202e", "\u2028", "\x00", "\x7f", "é", "\u0301"]),
    max_size=12,
)
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not (number.is_integer() and abs(number) >= 2**53)
)
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS | AWKWARD_TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXTS | AWKWARD_TEXTS, inner, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXTS | AWKWARD_TEXTS, VALUES, max_size=4)
