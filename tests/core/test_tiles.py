"""Hold the layout of tiles to its specification."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.merkle import Frontier, Node, leaf_hash
from broker.core.tiles import (
    Tile,
    max_bytes,
    read_bundle,
    read_hashes,
    tiles_between,
    write_bundle,
)
from broker.errors import ReceiptInvalid
from tests.core.rfc6962 import entries_of, reader


class TestPath:
    @pytest.mark.parametrize(
        ("tile", "path"),
        [
            (Tile(level=0, index=1234067), "tile/0/x001/x234/067"),
            (Tile(level=0, index=0), "tile/0/000"),
            (Tile(level=2, index=999), "tile/2/999"),
            (Tile(level=1, index=1000, width=17), "tile/1/x001/000.p/17"),
            (Tile(level=None, index=5), "tile/entries/005"),
            (Tile(level=None, index=273, width=112), "tile/entries/273.p/112"),
        ],
    )
    def test_path(self, tile: Tile, path: str) -> None:
        """A tile's path is the one that the specification gives."""
        assert tile.path == path

    @pytest.mark.parametrize(("index", "width"), [(0, 0), (0, 257), (-1, 256)])
    def test_no_tile(self, index: int, width: int) -> None:
        """There is no tile that is empty, too wide, or before the first."""
        with pytest.raises(ValueError, match="a tile has"):
            Tile(level=0, index=index, width=width)


class TestLayout:
    def test_example(self) -> None:
        """A tree of 70,000 has the tiles that the specification counts."""
        tiles = list(tiles_between(0, 70_000))
        full = [t for t in tiles if t.width == 256]
        assert [len([t for t in full if t.level == level]) for level in range(3)] == [273, 1, 0]
        assert [(t.level, t.index, t.width) for t in tiles if t.width < 256] == [
            (None, 273, 112),
            (0, 273, 112),
            (1, 1, 17),
            (2, 0, 1),
        ]

    def test_just_full(self) -> None:
        """A tree of 256 is a full tile with a partial one of one hash above it."""
        assert list(tiles_between(0, 256)) == [
            Tile(level=None, index=0),
            Tile(level=0, index=0),
            Tile(level=1, index=0, width=1),
        ]

    @given(st.integers(min_value=0, max_value=3000), st.integers(min_value=0, max_value=3000))
    def test_growth(self, old: int, more: int) -> None:
        """What is published step by step is all that the last tree needs, full tiles once."""
        steps = [*tiles_between(0, old), *tiles_between(old, old + more)]
        whole = list(tiles_between(0, old + more))
        assert set(whole) <= set(steps)
        full = [tile for tile in steps if tile.width == 256]
        assert sorted(map(repr, full)) == sorted(repr(t) for t in whole if t.width == 256)

    def test_nothing_new(self) -> None:
        """A tree that did not grow has no new tiles, an empty one has none."""
        assert [*tiles_between(5, 5), *tiles_between(0, 0)] == []

    def test_nodes(self) -> None:
        """A tile of a higher level has the hashes of whole tiles below it."""
        entries = entries_of(512)
        (above,) = reader(entries)(Tile(level=1, index=0, width=2).nodes[1:])
        below = Frontier.empty().extended(map(leaf_hash, entries[256:]))[0].root
        assert (above, Tile(level=1, index=0, width=2).nodes) == (below, [Node(8, 0), Node(8, 1)])


class TestBundle:
    @given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
    def test_round_trip(self, entries: list[bytes]) -> None:
        """Entries are read as they were written, empty ones too."""
        assert read_bundle(write_bundle(entries), len(entries)) == entries

    def test_form(self) -> None:
        """An entry stands behind its length in two bytes, the larger first."""
        assert write_bundle([b"ab", b"x" * 258]) == b"\x00\x02ab\x01\x02" + b"x" * 258

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"\x00\x01a\x00\x01b", "there are 2 entries, not 1"),
            (b"", "there are 0 entries, not 1"),
            (b"\x00\x02a", "cut off"),
            (b"\x00\x01a\x00", "cut off"),
        ],
    )
    def test_refused(self, data: bytes, message: str) -> None:
        """A bundle that does not hold exactly its entries is refused."""
        with pytest.raises(ReceiptInvalid, match=message):
            read_bundle(data, 1)

    def test_hashes(self) -> None:
        """A tile of hashes has exactly its width."""
        assert read_hashes(bytes(64), 2) == [bytes(32), bytes(32)]
        with pytest.raises(ReceiptInvalid, match="not 2 hashes"):
            read_hashes(bytes(63), 2)

    def test_largest(self) -> None:
        """No tile's file is larger than its hashes, or the largest entries with their lengths."""
        assert [max_bytes(Tile(level=level, index=0)) for level in (0, None)] == [
            256 * 32,
            256 * (2 + 65_535),
        ]
