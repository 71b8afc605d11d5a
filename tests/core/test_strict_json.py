"""Strict JSON: one text, one value, one canonical form, or a refusal that helps."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.canonical import canonical_json
from broker.core.strict_json import count_values, parse_object
from broker.errors import InvalidArgument
from tests.core.json_values import OBJECTS


def parse(text, **caps):
    return parse_object(text, field="arguments_json", **caps)


def refusal(text, **caps):
    with pytest.raises(InvalidArgument) as caught:
        parse(text, **caps)
    return caught.value


class TestWhatPasses:
    @given(OBJECTS)
    def test_what_was_canonical_parses_to_itself(self, value):
        """Parsing the canonical form gives the value, and its canonical form again."""
        text = canonical_json(value)
        parsed = parse(text)
        assert parsed.value == value
        assert parsed.canonical == text

    @given(OBJECTS)
    def test_every_writing_has_one_canonical_form(self, value):
        """Indentation, escapes and the order of keys make no difference."""
        written = json.dumps(dict(reversed(value.items())), indent=3, ensure_ascii=True)
        assert parse(written).canonical == canonical_json(value)

    @pytest.mark.parametrize(
        ("literal", "canonical"),
        [
            ("0.1", "0.1"),
            ("1.0", "1"),
            ("1e2", "100"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("0e9", "0"),
            ("1E-7", "1e-7"),
            ("0.10000000000000000", "0.1"),
            ("9007199254740991", "9007199254740991"),
            ("-9007199254740991", "-9007199254740991"),
            ("9007199254740991.0", "9007199254740991"),
            ("9.007199254740991e15", "9007199254740991"),
            ("5e-324", "5e-324"),
            ("1.5", "1.5"),
        ],
    )
    def test_numbers_that_keep_their_value(self, literal, canonical):
        """A number passes when its canonical form has the same value."""
        parsed = parse(f'{{"a":{literal}}}')
        assert parsed.canonical == f'{{"a":{canonical}}}'.encode()
        assert parsed.value == json.loads(parsed.canonical)

    @given(
        st.from_regex(
            r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,19})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
        )
    )
    def test_exactly_the_numbers_that_keep_their_value_pass(self, literal):
        """A literal passes where its value, to the last digit, is that of its canonical form."""
        try:
            canonical = parse(f'{{"a":{literal}}}').canonical[5:-1].decode()
        except InvalidArgument:
            canonical = None
        double = float(literal)
        keeps = abs(double) < 2**53 and Decimal(literal) == Decimal(repr(double))
        assert (canonical is not None) == keeps
        assert canonical is None or Decimal(canonical) == Decimal(literal)

    def test_a_whole_number_is_an_integer_however_written(self):
        """What is an integer by value is one for policy and schema, too."""
        assert type(parse('{"a":1.0}').value["a"]) is int

    def test_escaped_controls_pass(self):
        """NUL and the other controls may be sent, escaped."""
        assert parse(r'{"a":"\u0000\u001b"}').value == {"a": "\x00\x1b"}

    def test_brackets_in_strings_are_no_depth(self):
        """Only brackets outside strings nest."""
        assert parse('{"a":"' + "[" * 500 + '\\"["}').value == {"a": "[" * 500 + '"['}

    def test_the_caps_are_inclusive(self):
        """A text of exactly the cap's size or depth passes."""
        assert parse('{"a":{}}', max_depth=2).value == {"a": {}}
        assert parse('{"a":"é"}', max_bytes=10).value == {"a": "é"}

    def test_the_digest_is_of_the_canonical_text(self):
        """Two writings of one value have one digest."""
        assert parse('{"b":1,"a":2}').sha256 == parse(' {"a":2.0,"b":1}\n').sha256


class TestCount:
    @given(OBJECTS, st.booleans())
    def test_is_that_of_the_parsed_value(self, value, ascii_only):
        """Members and items are counted from the text, brackets and commas in strings left out."""
        text = json.dumps(value, indent=1, ensure_ascii=ascii_only)
        assert count_values(text) == members(value)

    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("{}", 1),
            ('{"a":1}', 1),
            ('{"a":[1,2,3],"b":{}}', 6),
            ('{"a":"[,{"}', 1),
            (r'{"a":"\\","b":"\",[","c":"\\\",[\\"}', 3),
            ('{"a":",,,', 1),
            ("", 0),
        ],
    )
    def test_rows(self, text, values):
        """Escaped quotes end no string, escaped backslashes escape no quote."""
        assert count_values(text) == values

    def test_the_cap_is_inclusive(self):
        """As many values as the cap pass, one more is refused, at the field, with the remedy."""
        assert parse('{"a":[1,2]}', max_values=3).value == {"a": [1, 2]}
        found = refusal('{"a":[1,2,3]}', max_values=3)
        assert found.field == "arguments_json"
        assert "more than 3 members and items: send fewer" in found.description

    def test_the_cap_comes_before_the_parser(self):
        """What is over the cap is refused for that, however wrong the rest."""
        assert "more than 9 members" in refusal('{"a":[' + "NaN," * 10, max_values=9).description


def members(value):
    if not isinstance(value, dict | list):
        return 0
    inner = list(value.values()) if isinstance(value, dict) else value
    return max(1, len(inner)) + sum(map(members, inner))


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("text", "field"),
        [
            ('{"a":1,"a":1}', "arguments_json/a"),
            ('{"a":[{"b":{"c":1,"c":2}}]}', "arguments_json/a/0/b/c"),
            (r'{"a":1,"\u0061":2}', "arguments_json/a"),
            ('{"a":[1,NaN]}', "arguments_json/a/1"),
            ('{"a":Infinity}', "arguments_json/a"),
            ('{"a":-Infinity}', "arguments_json/a"),
            ('{"a":1e400}', "arguments_json/a"),
            ('{"a":-1e400}', "arguments_json/a"),
            ('{"a":1e-400}', "arguments_json/a"),
            ('{"a":1e-99999999999999999999999}', "arguments_json/a"),
            ('{"a":0.10000000000000000001}', "arguments_json/a"),
            ('{"a":333333333.33333329}', "arguments_json/a"),
            ('{"a":8.000000000000001}', "arguments_json/a"),
            ('{"a":4e-324}', "arguments_json/a"),
            ('{"a":-1e-324}', "arguments_json/a"),
            ('{"a":9007199254740992}', "arguments_json/a"),
            ('{"a":-9007199254740992}', "arguments_json/a"),
            ('{"a":9007199254740993}', "arguments_json/a"),
            ('{"a":9007199254740992.0}', "arguments_json/a"),
            ('{"a":9.007199254740993e15}', "arguments_json/a"),
            ('{"a":1e300}', "arguments_json/a"),
            ('{"a":' + "9" * 100_000 + "}", "arguments_json/a"),
            (r'{"a":"\ud800"}', "arguments_json/a"),
            (r'{"a":"\udc00\ud800"}', "arguments_json/a"),
            (r'{"\ud800":1}', r"arguments_json/\u{D800}"),
            (r'{"a":"\uffff"}', "arguments_json/a"),
            (r'{"a":"\ufdd0"}', "arguments_json/a"),
            (r'{"a":"\ud83f\udffe"}', "arguments_json/a"),
            ('{"a":"\ufffe"}', "arguments_json/a"),
            ('{"a/b~c":NaN}', "arguments_json/a~1b~0c"),
            ('{"\u202e":NaN}', r"arguments_json/\u{202E}"),
        ],
    )
    def test_a_value_that_i_json_does_not_have(self, text, field):
        """The refusal names the path of the value."""
        assert refusal(text).field == field

    @pytest.mark.parametrize(
        "text",
        [
            "", "null", "[]", '"a"', "1", "NaN", "true", "{", '{"a":1,}', "{'a':1}", "{} {}",
            '{"a":01}', '{"a":+1}', '{"a":1.}', '{"a":.5}', '{"a":0x1}', '{"a":1_0}',
            '{"a":"\x00"}', '{"a":"\n"}', '{"a":"\x1f"}', r'{"a":"\x41"}', '\ufeff{}', "{}\x0b",
            "\xa0{}", "/**/{}", b"\xff{}", b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\x80"}',
            '{"a":"\ud800"}', '{"a":"\\', '{"a":"', '{"', "{}}",
        ],
    )  # fmt: skip
    def test_a_text_that_is_not_one_json_object(self, text):
        """What is not one JSON object in UTF-8 is refused at the field itself."""
        assert refusal(text).field == "arguments_json"

    @pytest.mark.parametrize("opener", ['{"a":', "[", '{"":[', '["\\"",'])
    def test_depth(self, opener):
        """Nesting of 10,000 is refused before anything recurses over it."""
        assert "nests deeper than 64" in refusal('{"a":' + opener * 10_000).description

    def test_one_level_too_many(self):
        """One level more than the cap is too many."""
        assert "nests deeper" in refusal('{"a":{"a":[]}}', max_depth=2).description

    @pytest.mark.parametrize("kinds", ["{", "[", "{[", "[{", "[[{", "{{["])
    @pytest.mark.parametrize("cap", [4, 5, 8, 9])
    def test_levels_of_both_brackets(self, kinds, cap):
        """Each level counts, whichever brackets it has and however many stand beside it."""
        nested = "1"
        for level in range(cap - 1):
            kind = kinds[level % len(kinds)]
            nested = f'{{"a":{nested}}}' if kind == "{" else f"[{nested}]"
            text = f'{{"beside":[{"[],{}," * 5}0],"nested":{nested}}}'
            parse_object(text, field="field", max_depth=cap)
        assert "nests deeper" in refusal(f'{{"a":{text}}}', max_depth=cap).description

    def test_ten_megabytes(self):
        """A text over the cap is refused by its size alone."""
        assert "longer than 1048576 bytes" in refusal('{"a":"' + "x" * 10_000_000).description

    def test_size_counts_utf8(self):
        """The cap counts bytes, not characters."""
        assert "longer than 9 bytes" in refusal('{"a":"é"}', max_bytes=9).description

    @pytest.mark.parametrize("text", ["{" + '"' * 1_000_000, "{" + '\\"[' * 300_000])
    def test_hostile_quotes(self, text):
        """A megabyte of quotes or escapes is scanned once, so that this test ends."""
        assert refusal(text).field == "arguments_json"

    def test_a_long_key_is_shortened_in_the_path(self):
        """The path of a key of a hundred thousand characters stays short."""
        assert len(refusal('{"' + "k" * 100_000 + '":NaN}').message) < 250

    @pytest.mark.parametrize("text", ['{"a":9007199254740993}', '{"a":0.10000000000000000001}'])
    def test_the_remedy_is_named(self, text):
        """Who sends a number that would be rounded is told to send a string."""
        assert "send it as a string" in refusal(text).description

    @given(st.text(max_size=40) | st.binary(max_size=40))
    def test_nothing_else_escapes(self, text):
        """Any input either parses or is refused with InvalidArgument."""
        try:
            field = "arguments_json" if parse(text).canonical else ""
        except InvalidArgument as error:
            field = error.field
        assert field.startswith("arguments_json")
