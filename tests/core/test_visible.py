"""Foreign text, made visible: nothing acts, nothing hides, nothing is lost."""

import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.visible import visible

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u180e\ufe0f\U000e0100"
BLANK = "\u00a0\u2003\u3000\u3164\uffa0\u115f\u2800\u2028\u2029\u0085"
CONTROL = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))
TAGS = "".join(map(chr, [0xE0001, *range(0xE0020, 0xE0080)]))
OTHERS = "\U0001d173\U000110bd\U00013430\U0001bca0\ufff9\ue000\U000f0000\uffff\ud800"
HOSTILE = BIDI + ZERO_WIDTH + BLANK + CONTROL + TAGS + OTHERS


def undo(text: str) -> str:
    return re.sub(r"\\u\{([0-9A-F]+)\}", lambda match: chr(int(match[1], 16)), text)


class TestVisible:
    @pytest.mark.parametrize("char", HOSTILE, ids=lambda char: f"U+{ord(char):04X}")
    def test_each_hostile_character_is_escaped(self, char):
        """A character that acts or hides is shown by its number."""
        assert visible(f"a{char}b") == f"a\\u{{{ord(char):X}}}b"

    @pytest.mark.parametrize(
        "text",
        [
            "print('a\\n')",
            "Grüße, 世界",
            "\U0001f600",
            "नमस्ते"[:2],
            "café",
            "e\u0301",
            "\\u202e",
            "",
        ],
    )
    def test_ordinary_text_stays(self, text):
        """What a person can read is left as it is, backslashes included."""
        assert visible(text) == text

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("\\u{202E}", "\\u{5C}u{202E}"),
            ("\\\\u{", "\\\\u{5C}u{"),
            ("\\\u202e", "\\\\u{202E}"),
            ("\\u\u202e{", "\\u\\u{202E}{"),
        ],
    )
    def test_an_escape_cannot_be_forged(self, text, expected):
        """A text that spells an escape looks other than the character."""
        assert visible(text) == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("\u0301a", "\\u{301}a"),
            (" \u0336", " \\u{336}"),
            ("e" + "\u0301" * 4, "e" + "\\u{301}" * 4),
            ("e" + "\u0301" * 3, "e" + "\u0301" * 3),
            ("\u3164\u0301", "\\u{3164}\\u{301}"),
            ("1\u20e3", "1\\u{20E3}"),
        ],
    )
    def test_marks_stay_on_letters_only(self, text, expected):
        """A combining mark that would overlay something else, or pile up, is escaped."""
        assert visible(text) == expected

    @given(st.text(st.characters() | st.sampled_from(HOSTILE + "\\u{}5C2E")))
    def test_it_can_be_undone(self, text):
        """The text can be had back, so that no two texts look the same."""
        assert undo(visible(text)) == text

    def test_no_character_of_unicode_gets_through(self):
        """Of all characters, none that comes out is a control, a format or a separator."""
        everything = "".join(map(chr, range(sys.maxunicode + 1)))
        out = set(visible(everything)) - {" "}
        forbidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"}
        assert {char for char in out if unicodedata.category(char) in forbidden} == set()
