"""Canonical JSON: the fast path writes what RFC 8785 says."""

import enum
import json
import math
import struct
import sys
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from broker.core.canonical import canonical_json
from broker.errors import CanonicalError
from tests.core.json_values import OBJECTS, VALUES

DOUBLES = (
    st.integers(0, 2**64 - 1)
    .map(lambda bits: struct.unpack(">d", bits.to_bytes(8))[0])
    .filter(math.isfinite)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.builds(
        lambda digits, power: float(f"{digits}e{power}"),
        st.integers(0, 10**17),
        st.integers(-30, 8),
    )
)
"""Of every magnitude, by their bits; near 1, where the forms change, more often."""
EDGES = [
    *(10.0**power for power in range(-8, 24)),
    *(2.0**power for power in range(-1074, 1024, 61)),
    2.0**52,
    2.0**53,
    sys.float_info.min,
    sys.float_info.max / 2,
]
NUMBERS = json.loads((Path(__file__).parent.parent / "vectors/rfc8785_numbers.json").read_text())


def double(bits: str) -> float:
    return struct.unpack(">d", bytes.fromhex(bits))[0]


class Colour(enum.IntEnum):
    RED = 7


class Word(enum.StrEnum):
    HELLO = "hello"


class TestCanonicalJson:
    @given(VALUES | OBJECTS)
    def test_both_paths_agree(self, value):
        """The C encoder's bytes are those of rfc8785 for every value."""
        assert canonical_json(value) == rfc8785.dumps(value)

    @given(DOUBLES)
    def test_every_double_is_written_as_rfc8785_writes_it(self, number):
        """A double of any magnitude, whole or not, alone or among others, has one form."""
        for value in (number, -number, [number, 0.5], {"a": number}):
            assert canonical_json(value) == rfc8785.dumps(value)

    @pytest.mark.parametrize("edge", EDGES)
    def test_doubles_around_the_edges_of_the_forms(self, edge):
        """Where a form begins or ends, the double itself and its neighbours have theirs."""
        for number in (math.nextafter(edge, 0), edge, math.nextafter(edge, math.inf), -edge):
            assert canonical_json([number]) == rfc8785.dumps([number])

    @pytest.mark.parametrize(
        ("number", "expected"), [(1.0, b"1"), (-0.0, b"0"), (1e15, b"1" + b"0" * 15)]
    )
    def test_whole_doubles_are_written_as_integers(self, number, expected):
        """1.0 is written 1, minus zero is zero."""
        assert canonical_json(number) == expected

    @given(st.lists(DOUBLES, min_size=1, max_size=3), st.sampled_from(["nan", "inf", "-inf"]))
    def test_no_double_hides_what_is_no_number(self, numbers, name):
        """NaN and the infinities are refused among other doubles, too."""
        with pytest.raises(CanonicalError):
            canonical_json([*numbers, float(name)])

    @given(OBJECTS)
    def test_it_is_a_fixed_point(self, value):
        """The canonical form of what it parses to is the same canonical form."""
        text = canonical_json(value)
        assert canonical_json(json.loads(text)) == text

    @pytest.mark.parametrize("code_point", [*range(0x80), 0x2028, 0x2029, 0xFEFF, 0xFFFD, 0x1F600])
    def test_each_character_is_escaped_as_the_rfc_says(self, code_point):
        """Every ASCII character, and those that JavaScript treats apart, are written the same."""
        assert canonical_json({"a": chr(code_point)}) == rfc8785.dumps({"a": chr(code_point)})
        assert canonical_json({chr(code_point): 1}) == rfc8785.dumps({chr(code_point): 1})

    @given(
        st.dictionaries(
            st.text(st.sampled_from("aAz0_~\x7f\ue000\uffee\U0001f600€"), max_size=3), st.none()
        )
    )
    def test_keys_are_in_utf16_order(self, value):
        """Keys stand in the order of their UTF-16 code units, astral ones before U+E000."""
        keys = list(json.loads(canonical_json(value)))
        assert keys == sorted(value, key=lambda key: key.encode("utf-16-be"))

    @pytest.mark.parametrize(("bits", "expected"), NUMBERS["numbers"])
    def test_numbers_of_the_rfc(self, bits, expected):
        """A double is written as the RFC's table has it."""
        assert canonical_json(double(bits)) == expected.encode()

    @pytest.mark.parametrize("bits", NUMBERS["refused"])
    def test_what_is_no_number_is_refused(self, bits):
        """NaN and the infinities have no canonical form."""
        with pytest.raises(CanonicalError):
            canonical_json({"a": double(bits)})

    def test_the_example_of_the_rfc(self):
        """The RFC's own example comes out byte for byte."""
        text = (
            r'{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],'
            r'"string":"\u20ac$\u000F\u000aA' + "'" + r'\u0042\u0022\u005c\\\"\/",'
            r'"literals":[null,true,false]}'
        )
        expected = (
            '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
            '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
        )
        assert canonical_json(json.loads(text)) == expected.encode()

    def test_subclasses_are_written_as_their_values(self):
        """Enums of integers and strings, and tuples, are written as what they are made of."""
        value = {"n": Colour.RED, "w": Word.HELLO, "t": (1, (2,)), "b": True}
        assert canonical_json(value) == b'{"b":true,"n":7,"t":[1,[2]],"w":"hello"}'

    @pytest.mark.parametrize(
        "value",
        [
            {"a": 2**53},
            {"a": -(2**53)},
            {"a": "\ud800"},
            {"\udfff": 1},
            {1: "a"},
            {"a": b"bytes"},
            {"a": {1, 2}},
            {"a": object()},
        ],
    )
    def test_what_json_does_not_have_is_refused(self, value):
        """No value is bent into JSON's form: it has one, or is refused."""
        with pytest.raises(CanonicalError):
            canonical_json(value)

    def test_a_value_that_holds_itself_is_refused(self):
        """A circle ends in a refusal, not in a crash."""
        circle: list[object] = []
        circle.append(circle)
        with pytest.raises(CanonicalError):
            canonical_json(circle)  # type: ignore[arg-type]

    @pytest.mark.parametrize("edge", [2**53 - 1, -(2**53) + 1])
    def test_the_largest_integers_pass(self, edge):
        """2^53 - 1 of either sign is the last that every reader keeps."""
        assert canonical_json([edge]) == f"[{edge}]".encode()
