r"""Make every character of foreign text visible.

Theory of operation. What a person reads must be what is there: no character may move the cursor,
reorder or hide others, or look like nothing. Each such character becomes `\u{HEX}`. A backslash
stays as it is, except where it would make such an escape by itself: `\u{` in the text is written
`\u{5C}u{`. So the mapping can be undone, which means that two texts never look the same, while code
with ordinary backslashes reads as it was written.
"""

import re
import unicodedata

_LONGEST_RUN_OF_MARKS = 3

# Printable by their category, yet they show nothing: fillers, joiners, variation selectors, blanks.
_BLANK = frozenset(
    map(
        chr,
        (
            *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
            *range(0x180B, 0x1810),
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ),
    )
)
_MARKS = ("Mn", "Me")


def visible(text: str) -> str:
    """Escape what a terminal would act on or an eye would miss, line ends included.

    Left as they are: printable characters, the space, and combining marks in their place (at most
    three, on a letter).
    """
    text = text.replace("\\u{", "\\u{5C}u{")
    if text.isascii() and text.isprintable():
        return text
    used = set(text)
    marks = {char for char in used if char not in _BLANK and unicodedata.category(char) in _MARKS}
    if marks:
        text = _escape_stray_marks(text, marks)
    return text.translate({ord(char): _escape(char) for char in used if not _is_visible(char)})


def _is_visible(char: str) -> bool:
    # Not printable by Python: controls, format characters (bidi, zero-width, tags), surrogates,
    # private use, unassigned, and every separator other than the ASCII space.
    return char.isprintable() and char not in _BLANK


def _escape_stray_marks(text: str, marks: set[str]) -> str:
    """Escape marks that would overlay what is not their letter, or pile up over other lines."""
    run = re.compile(f"[{''.join(map(re.escape, sorted(marks)))}]+")

    def escaped(match: re.Match[str]) -> str:
        start = match.start()
        found = match.group()
        base = text[start - 1 : start]
        if base.isalpha() and base not in _BLANK and len(found) <= _LONGEST_RUN_OF_MARKS:
            return found
        return "".join(map(_escape, found))

    return run.sub(escaped, text)


def _escape(char: str) -> str:
    return f"\\u{{{ord(char):X}}}"
