"""Read a Rego source as far as that goes without compiling it."""

import re
from typing import Final

# Nothing but comments stands before it: what a text further down quotes is not taken for it.
_OPENING: Final = re.compile(r"\A(?:\s|#[^\n]*\n)*package\s+(\S+)")
_PATH: Final = re.compile(r'[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\["[^"\\\]]*"\])*')
_PART: Final = re.compile(r'\["([^"]*)"\]|(\w+)')
# One pass from the left: a quote in a comment opens no text, a hash in a text no comment.
_NO_CODE: Final = re.compile(r'"(?:\\.|[^"\\\n])*"|`[^`]*`|#[^\n]*')


def package_path(text: str) -> tuple[str, ...]:
    """Name the package, part by part; empty where none can be read."""
    match = _OPENING.match(text)
    if match is None or _PATH.fullmatch(match[1]) is None:
        return ()
    return tuple(quoted or plain for quoted, plain in _PART.findall(match[1]))


def package_line(text: str) -> int:
    """Give the line of the package's name, from 1; 0 where none can be read."""
    match = _OPENING.match(text)
    return 0 if match is None else text.count("\n", 0, match.start(1)) + 1


def without_texts(text: str) -> str:
    """Leave the code alone: each text becomes an empty one, as does each comment."""
    return _NO_CODE.sub('""', text)


def without_comments(text: str) -> str:
    """Blank out the comments; every other character stays in its place."""
    return _NO_CODE.sub(_blank_comment, text)


def blanked(text: str) -> str:
    """Blank out texts and comments; every other character stays in its place, as do line ends."""
    return _NO_CODE.sub(_blank, text)


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _blank_comment(match: re.Match[str]) -> str:
    found = match[0]
    return " " * len(found) if found.startswith("#") else found
