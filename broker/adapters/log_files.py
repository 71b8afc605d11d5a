"""Show the log in a folder, for readers who copy or serve it."""

import asyncio
import os
import shutil
from contextlib import suppress
from pathlib import Path

from broker.whole_file import sync_folder

_CHECKPOINT = "checkpoint"
_NEW = ".new"


class ShownLog:
    """The `LogFiles` below one folder, which its owner alone may read; made when first needed.

    A file appears by a rename, after its bytes are on the disk, and with it its name: what a reader
    or the next life of the broker finds under a name is whole.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def is_there(self) -> bool:
        """Tell whether the folder is there."""
        return await asyncio.to_thread(self._folder.is_dir)

    async def make(self) -> None:
        """Make the folder, its name durable."""
        await asyncio.to_thread(self._make, self._folder)

    async def checkpoint(self) -> bytes | None:
        """Read the checkpoint that readers see."""
        return await asyncio.to_thread(self._read_checkpoint)

    async def put(self, path: str, data: bytes) -> None:
        """Show one file whole or not at all."""
        await asyncio.to_thread(self._put, self._folder / path, data)

    async def drop(self, path: str) -> None:
        """Remove a folder of partial tiles."""
        await asyncio.to_thread(shutil.rmtree, self._folder / path, ignore_errors=True)

    def _read_checkpoint(self) -> bytes | None:
        with suppress(FileNotFoundError):
            return (self._folder / _CHECKPOINT).read_bytes()
        return None

    def _put(self, path: Path, data: bytes) -> None:
        self._make(path.parent)
        fresh = path.with_name(f".{path.name}{_NEW}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
        sync_folder(path.parent)

    def _make(self, folder: Path) -> None:
        """Make a folder with those above it, each name durable in the one above."""
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
