"""Read a log's folder (C2SP tlog-tiles), tile by tile."""

from collections.abc import Callable, Iterator
from pathlib import Path

from broker.core.signed_note import MAX_NOTE_BYTES
from broker.core.tiles import WIDTH, Tile, max_bytes, read_bundle, read_hashes
from broker.errors import ReceiptInvalid

CHECKPOINT = "checkpoint"


class LogFolder:
    """A log's files below one folder: a broker's own, or a copy."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def checkpoint(self) -> bytes:
        """Read the signed head.

        Raises:
            OSError: It cannot be read.
        """
        with (self._folder / CHECKPOINT).open("rb") as file:
            return file.read(MAX_NOTE_BYTES + 1)

    def entries(self, size: int) -> "TileRun":
        """Give the entries of a log of this size, in order.

        Reading them raises ReceiptInvalid where a bundle is missing, or holds other entries than
        its place has; step `tiles`.
        """
        return TileRun(self.tile, None, size)

    def leaves(self, size: int) -> "TileRun":
        """Give the leaf hashes of a log of this size, in order; as `entries`."""
        return TileRun(self.tile, 0, size)

    def tile(self, level: int | None, index: int, width: int) -> list[bytes]:
        """Read the first hashes of a tile, or entries of a bundle where there is no level.

        Raises:
            ReceiptInvalid: There is no such tile, or it is of another length; step `tiles`.
        """
        wanted, full = (Tile(level=level, index=index, width=each) for each in (width, WIDTH))
        tile, data = wanted, self._file(wanted)
        # Logs may drop a partial tile once it is full; a partial one is how the full one begins. It
        # is opened, not looked for: a live broker may drop it in between.
        if data is None:
            tile, data = full, self._file(full)
        if data is None:
            raise ReceiptInvalid("tiles", f"{wanted.path}: there is no such file, nor the full one")
        read = read_bundle if level is None else read_hashes
        return read(data, tile.width)[:width]

    def _file(self, tile: Tile) -> bytes | None:
        """Read a tile's file; None where there is none."""
        try:
            with (self._folder / tile.path).open("rb") as file:
                return file.read(max_bytes(tile) + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ReceiptInvalid("tiles", f"{tile.path}: {error.strerror}") from error


class TileRun:
    """What tiles of one level hold, in order; read where it is iterated, from any place on.

    Args:
        read: Gives what a tile holds by level, index and width.
        size: Of the log.
        start: The first place of the run.
        stop: The one behind its last; the log's end where it is absent.
    """

    def __init__(
        self,
        read: Callable[[int | None, int, int], list[bytes]],
        level: int | None,
        size: int,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        self._read = read
        self._level = level
        self._size = size
        self.start = start
        self._stop = size if stop is None else min(stop, size)

    def __iter__(self) -> Iterator[bytes]:
        start = self.start
        while start < self._stop:
            index, skipped = divmod(start, WIDTH)
            first = index * WIDTH
            held = self._read(self._level, index, min(WIDTH, self._size - first))
            yield from held[skipped : self._stop - first]
            start = first + WIDTH

    def tiles(self, start: int, stop: int) -> Iterator["TileRun"]:
        """Cut the run from a place up to another one into those of single tiles.

        No tile is read for it; those outside are not read at all. Other processes can read them.
        """
        while start < min(stop, self._stop):
            end = min((start // WIDTH + 1) * WIDTH, stop)
            yield TileRun(self._read, self._level, self._size, start, end)
            start = end
