"""Hold a secret so that its value shows nowhere by accident."""

import re
from dataclasses import dataclass
from typing import Final

NAME_PATTERN: Final = r"^(?!(?:path|home|lang)$|ld_|python)[a-z][a-z0-9_]{0,63}$"
"""A secret's name; upper-cased it is the variable that a tool finds it in.

The exceptions would steer the loader or the interpreter, or are the launcher's own.
"""

LEAST_BYTES: Final = 12
"""A shorter value stands in ordinary text by chance, and could be found by trying which text is
redacted."""

MOST_BYTES: Final = 8192
"""Largest value: a private key with its certificates, not a data set."""

_NAME = re.compile(NAME_PATTERN)
_LINE_END = re.compile(rb"\r?\n\Z")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Secret:
    """A secret with its value; whatever prints it prints `[secret NAME]`.

    Raises:
        ValueError: The name or the value cannot be one; the message says nothing of the value.
    """

    name: str
    value: bytes

    def __post_init__(self) -> None:
        """Refuse what could not be given to a tool, or not be kept out of its output."""
        if not _NAME.fullmatch(self.name):
            raise ValueError("its name must be a-z, 0-9, _, and no variable that steers programs")
        if b"\0" in self.value:
            raise ValueError("its value holds a NUL byte, which no variable can carry")
        if len(self.value) > MOST_BYTES:
            raise ValueError(f"its value is longer than {MOST_BYTES} bytes")
        if len(self.value.strip()) < LEAST_BYTES:
            raise ValueError(
                f"its value is shorter than {LEAST_BYTES} bytes: it could not be kept out of "
                "output without being guessed, so take a longer one, drawn at random"
            )
        if self.value.strip() in self.marker:
            raise ValueError("its value stands in the words that replace it: take another")

    @classmethod
    def read(cls, name: str, text: bytes) -> "Secret":
        """Take a secret as somebody wrote it down: one line end behind it is not part of it."""
        return cls(name=name, value=_LINE_END.sub(b"", text))

    @property
    def variable(self) -> str:
        """Name the environment variable that a tool finds it in."""
        return self.name.upper()

    @property
    def marker(self) -> bytes:
        """Give what stands in output in its place."""
        return f"[secret {self.name}]".encode()

    def __repr__(self) -> str:
        """Hide the value; `str` and `format` come here too."""
        return self.marker.decode()
