"""A body that is read up to a bound."""

from collections.abc import AsyncIterator

import pytest

from broker.bounded_body import read_at_most


class Pieces:
    """What comes in pieces, with a count of those that were taken."""

    def __init__(self, *pieces: bytes) -> None:
        self.taken = 0
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.taken += 1
            yield piece


@pytest.mark.parametrize("pieces", [(), (b"",), (b"abcd",), (b"ab", b"", b"cd")])
async def test_whole(pieces: tuple[bytes, ...]) -> None:
    """What is no more than the bound is there whole."""
    assert await read_at_most(4, Pieces(*pieces)) == b"".join(pieces)


async def test_more() -> None:
    """With the first byte too many nothing is given, and nothing more is taken."""
    pieces = Pieces(b"abc", b"de", b"never")
    assert await read_at_most(4, pieces) is None
    assert pieces.taken == 2
