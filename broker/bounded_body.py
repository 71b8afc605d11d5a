"""Read a body of which there may be too much."""

from collections.abc import AsyncIterable


async def read_at_most(most_bytes: int, pieces: AsyncIterable[bytes]) -> bytes | None:
    """Give the whole body, or None as soon as there is more than this of it.

    Args:
        pieces: As they come; how large one is bounds what is read too much.
    """
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > most_bytes:
            return None
    return bytes(body)
