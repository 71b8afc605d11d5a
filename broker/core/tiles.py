"""Lay a log out in tiles: files that never change once they are full.

Source: https://c2sp.org/tlog-tiles
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from broker.core.dsse import MAX_ENVELOPE_BYTES
from broker.core.merkle import HASH_BYTES, Node
from broker.errors import ReceiptInvalid

WIDTH = 256
HEIGHT = 8
_STEP = "tiles"
_LENGTH_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Hashes side by side, or the entries under them.

    Args:
        level: 0 has leaf hashes; each hash of a higher one is that of a whole tile below. None:
            the entries themselves.
        index: Of the tile within its level.
        width: How many hashes or entries it has, 1 to 256; below 256 it is a partial one.
    """

    level: int | None
    index: int
    width: int = WIDTH

    def __post_init__(self) -> None:
        if not (1 <= self.width <= WIDTH and self.index >= 0):
            raise ValueError("a tile has 1 to 256 hashes")

    @property
    def path(self) -> str:
        """Give the tile's path below the log's prefix, `/` between its parts."""
        kind = "entries" if self.level is None else str(self.level)
        suffix = f".p/{self.width}" if self.width < WIDTH else ""
        return f"tile/{kind}/{_encode(self.index)}{suffix}"

    @property
    def start(self) -> int:
        """Give the place of the tile's first hash within its level."""
        return self.index * WIDTH

    @property
    def nodes(self) -> list[Node]:
        """List the nodes whose hashes stand in it."""
        height = HEIGHT * (self.level or 0)
        return [Node(height, self.start + place) for place in range(self.width)]


def tiles_between(old: int, new: int) -> Iterator[Tile]:
    """List the tiles that a tree of the new size has beyond those of the old size.

    For each of its levels: what became full, then the partial one where there is one.
    """
    for level in (None, *range(64)):
        height = HEIGHT * (level or 0)
        before, after = old >> height, new >> height
        if after == 0:
            return
        if before == after:
            continue
        for index in range(before // WIDTH, after // WIDTH):
            yield Tile(level=level, index=index)
        if after % WIDTH:
            yield Tile(level=level, index=after // WIDTH, width=after % WIDTH)


def write_bundle(entries: Sequence[bytes]) -> bytes:
    """Write entries one behind the other, each behind its length in 2 bytes."""
    return b"".join(len(entry).to_bytes(_LENGTH_BYTES) + entry for entry in entries)


def read_bundle(data: bytes, width: int) -> list[bytes]:
    """Read the entries of a bundle.

    Raises:
        ReceiptInvalid: Not exactly so many entries; step `tiles`.
    """
    entries = []
    place = 0
    while place < len(data):
        size = int.from_bytes(data[place : place + _LENGTH_BYTES])
        place += _LENGTH_BYTES
        entry = data[place : place + size]
        if len(entry) < size or place > len(data):
            raise ReceiptInvalid(_STEP, "an entry is cut off")
        entries.append(entry)
        place += size
    if len(entries) != width:
        raise ReceiptInvalid(_STEP, f"there are {len(entries)} entries, not {width}")
    return entries


def read_hashes(data: bytes, width: int) -> list[bytes]:
    """Read the hashes of a tile.

    Raises:
        ReceiptInvalid: Not exactly so many hashes; step `tiles`.
    """
    if len(data) != width * HASH_BYTES:
        raise ReceiptInvalid(_STEP, f"there are not {width} hashes of {HASH_BYTES} bytes")
    return [data[place : place + HASH_BYTES] for place in range(0, len(data), HASH_BYTES)]


def max_bytes(tile: Tile) -> int:
    """Give the size beyond which no file is this tile."""
    entry = HASH_BYTES if tile.level is not None else _LENGTH_BYTES + MAX_ENVELOPE_BYTES
    return tile.width * entry


def _encode(index: int) -> str:
    """Write a tile's index as path elements of 3 digits, all but the last behind an x."""
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[place : place + 3] for place in range(0, len(digits), 3)]
    return "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
