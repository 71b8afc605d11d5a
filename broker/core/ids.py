"""Name things: call ids, short ids, digests."""

import hashlib
import re
from typing import NewType

CallId = NewType("CallId", str)
"""A ULID: 26 Crockford base-32 characters, sortable by the time of creation."""

AgentId = NewType("AgentId", str)
"""The URI SAN of the agent's certificate, or its CN where there is none."""

Sha256 = NewType("Sha256", str)
"""Lower-case hexadecimal SHA-256, 64 characters."""

Pseudonym = NewType("Pseudonym", str)
"""A random name for a person; the mapping to the person is erasable content."""

HaltId = NewType("HaltId", str)
"""8 random Crockford base-32 characters, which people type."""

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in CROCKFORD for second in CROCKFORD]
_ULID = re.compile(f"[0-7][{CROCKFORD}]{{25}}")


def sha256_hex(data: bytes) -> Sha256:
    """Digest bytes."""
    return Sha256(hashlib.sha256(data).hexdigest())


def ulid(unix_ms: int, randomness: bytes) -> CallId:
    """Make a ULID.

    Args:
        unix_ms: Milliseconds since 1970, below 2**48.
        randomness: Exactly 10 random bytes.

    Source: https://github.com/ulid/spec
    """
    if len(randomness) != 10 or not 0 <= unix_ms < 1 << 48:
        raise ValueError("a ULID needs 48 bits of time with 80 bits of randomness")
    return CallId(_base32((unix_ms << 80) | int.from_bytes(randomness), length=26))


def short_id(randomness: bytes) -> str:
    """Make the 8-character name that people type, from exactly 5 random bytes."""
    if len(randomness) != 5:
        raise ValueError("a short id needs 5 random bytes")
    return _base32(int.from_bytes(randomness), length=8)


def is_call_id(text: str) -> bool:
    """Tell whether a text has the form of a call's ULID."""
    return _ULID.fullmatch(text) is not None


def _base32(number: int, *, length: int) -> str:
    # Two characters a step; every length here is even.
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(5 * length - 10, -1, -10)])
