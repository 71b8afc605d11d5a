"""Change texts and values at random, for as long as there is time."""

import copy
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

AWKWARD = (
    *(b"\n", b"\n\n", b"\r\n", b"\x00", b"\xff", b" ", b"=", b"==", b"A", b"+", b"-", b"0"),
    *("\u2014 ".encode(), "\u0661".encode(), b"\xed\xa0\x80", b"9223372036854775808", b"{", b"]"),
    *(b'"', b"\\u0000", b"null", b"-1", b"1e9", b"[[[[[[[["),
)
VALUES = (None, True, False, 0, 1, -1, 2**53, 1.5, "", "0", "x", "\u0661", [], {}, [[]], {"a": {}})


@dataclass(slots=True)
class Rounds:
    """Rounds until a time has come; how many they were is told then."""

    end_s: float
    tell: Callable[[int], None]

    @classmethod
    def of(cls, seconds: float, test: str, record_property: Callable[[str, object], None]) -> Self:
        """Go on for so long; the summary tells how often that was."""
        return cls(
            end_s=time.monotonic() + seconds,
            tell=lambda count: record_property("summary", f"{test}: {count} inputs"),
        )

    def __iter__(self) -> Iterator[int]:
        count = 0
        while time.monotonic() < self.end_s:
            count += 1
            yield count
        self.tell(count)


def mutated(text: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Change a text in one to three places."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        start = draw.randrange(len(text) + 1)
        end = min(len(text), start + draw.choice((0, 1, 1, 2, 4, 44, len(text))))
        match draw.randrange(6):
            case 0 if text:
                place = draw.randrange(len(text))
                text = (
                    text[:place] + bytes([text[place] ^ 1 << draw.randrange(8)]) + text[place + 1 :]
                )
            case 1:
                text = text[:start] + text[end:]
            case 2:
                text = text[:start] + draw.choice(AWKWARD) + text[start:]
            case 3:
                text = text[:start] + draw.choice(AWKWARD) + text[end:]
            case 4:
                text = text[:start] + text[start:end] * 2 + text[end:]
            case _:
                other = draw.choice(others)
                cut = draw.randrange(len(other) + 1)
                text = text[:start] + other[cut : cut + draw.choice((1, 8, 64, len(other)))]
    return text


def change(value: Any, draw: random.Random) -> None:
    """Put a value of another kind somewhere into a statement, or take something out."""
    while True:
        names = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not names:
            return
        name = draw.choice(names)
        inner = value[name]
        if isinstance(inner, dict | list) and inner and draw.random() < 0.8:
            value = inner
            continue
        if draw.random() < 0.2:
            del value[name]
        else:
            value[name] = copy.deepcopy(draw.choice(VALUES))
        return
