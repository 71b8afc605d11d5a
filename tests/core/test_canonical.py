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
KEYS = st.text(
    st.sampled_from('aAz0_~"\\\n\x00\x1f\x7fé€\ue000\uffee\U0001f600\U0010ffff'), max_size=3
)
"""ASCII or not, among them the ones that UTF-8 and UTF-16 put into another order."""
EDGES = [
    *(10.0**power for power in range(-8, 24)),
    *(2.0**power for power in range(-1074, 1024, 61)),
    2.0**52,
    2.0**53,
    sys.float_info.min,
    sys.float_info.max / 2,
]
ODD = 0.000001
"""Which orjson writes as 1e-6."""
TEXT = '\n"\x01€' * 1_000
NESTED = st.recursive(
    st.none()
    | st.booleans()
    | DOUBLES
    | st.sampled_from([ODD, 1.0, -0.0, 1e16])
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.sampled_from([2**53 - 1, -(2**53) + 1])
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
"""Of what orjson writes as rfc8785 does with all that it does not, at every depth."""
NUMBERS = json.loads((Path(__file__).parent.parent / "vectors/rfc8785_numbers.json").read_text())


def nested(value: object, depth: int) -> object:
    for _ in range(depth):
        value = [value]
    return value


def double(bits: str) -> float:
    return struct.unpack(">d", bytes.fromhex(bits))[0]


class Colour(enum.IntEnum):
    RED = 7


class Word(enum.StrEnum):
    HELLO = "hello"


@pytest.fixture
def slow(monkeypatch):
    """List what the slow encoder is given; it still writes it."""
    given_to_it: list[object] = []
    dumps = rfc8785.dumps

    def listed(value):
        given_to_it.append(value)
        return dumps(value)

    monkeypatch.setattr(rfc8785, "dumps", listed)
    return given_to_it


class TestCanonicalJson:
    @given(VALUES | OBJECTS)
    def test_both_paths_agree(self, value):
        """The C encoder's bytes are those of rfc8785 for every value."""
        assert canonical_json(value) == rfc8785.dumps(value)

    @given(NESTED)
    def test_what_is_written_by_parts_agrees(self, value):
        """Awkward keys and numbers, at any depth, change no byte of what stands beside them."""
        assert canonical_json(value) == rfc8785.dumps(value)

    @given(NESTED, st.integers(250, 300))
    def test_what_is_deeper_than_orjson_goes_agrees(self, value, depth):
        """Nesting beyond the C encoder's own bound is written the same."""
        assert canonical_json(nested(value, depth)) == rfc8785.dumps(nested(value, depth))

    @given(NESTED, st.sampled_from(["\ud800", "a\udfffé", 2**53, -(2**53), 2**64, 2**20_000]))
    def test_nothing_beside_it_hides_what_json_does_not_have(self, value, wrong):
        """Half a surrogate pair and too large an integer are refused beside anything."""
        for refused in (
            [value, wrong],
            {"é": value, "\U0001f600": [wrong]},
            {"f": ODD, "a": wrong},
        ):
            with pytest.raises(CanonicalError):
                canonical_json(refused)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ({"a": TEXT, "b": [0.5, 7, True, None]}, []),
            ({"é": TEXT, TEXT: [{"\U0001f600": TEXT, "b": 0.5}, 7, True, None]}, []),
            ({"a": TEXT, "b": [ODD, {"é": [TEXT, 1.0]}], "c": 0.5}, [ODD, 1.0]),
            (nested(TEXT, 300), []),
        ],
        ids=["plain", "keys", "floats", "depth"],
    )
    def test_only_odd_floats_take_the_slow_encoder(self, value, expected, slow):
        """What sends a key or a number the slow way sends no text with it."""
        text = canonical_json(value)
        assert slow == expected
        assert json.loads(text) == value

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [("\ud800", []), (2**53, []), (math.inf, [math.inf]), (b"bytes", [b"bytes"])],
        ids=["surrogate", "integer", "infinity", "type"],
    )
    def test_a_refusal_takes_no_text_to_the_slow_encoder(self, wrong, expected, slow):
        """What is refused sends no more than itself the slow way, wherever it stands."""
        for value in ([TEXT, wrong], {"é": TEXT, "\U0001f600": [TEXT, wrong]}):
            slow.clear()
            with pytest.raises(CanonicalError):
                canonical_json(value)
            assert slow == expected

    def test_a_surrogate_in_a_key_is_found_without_the_slow_encoder(self, slow):
        """Half a surrogate pair in a key is refused before anything goes the slow way."""
        with pytest.raises(CanonicalError):
            canonical_json({"a": [TEXT, {TEXT: ODD, "\udfff": TEXT}]})
        assert slow == []

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
