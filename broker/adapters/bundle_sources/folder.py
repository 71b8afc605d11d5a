"""Take bundles from a folder that somebody renames them into."""

import asyncio
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from broker.errors import BundleSourceUnavailable

FILE_NAME: Final = "bundle.tar.gz"
"""The one name that is looked at: beside it a bundle can be written before it is renamed."""

_SETTLE_S: Final = 0.5

_Mark = tuple[int, int, int, int, int]
"""Device, inode, size, and both times in nanoseconds: of the two nobody can set `ctime`."""


def _settle() -> None:
    time.sleep(_SETTLE_S)


class WatchedFolder:
    """The `BundleSource` of one folder; a look reads the file only where it is another.

    Args:
        most_bytes: Of the file; a larger one is not read.
        timeout_s: Deadline of a look. A file system that hangs keeps one thread, of its own.
        settle: Waits before what was read is compared with what is there: a file that somebody
            is writing to is another by then.
    """

    def __init__(
        self,
        folder: Path,
        *,
        most_bytes: int,
        timeout_s: float,
        settle: Callable[[], None] = _settle,
    ) -> None:
        self._folder = folder
        self._file = folder / FILE_NAME
        self._most_bytes = most_bytes
        self._timeout_s = timeout_s
        self._settle = settle
        self._taken: _Mark | None = None
        # One: a look behind one that hangs waits for it, and is given up with its deadline.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bundles")

    @property
    def name(self) -> str:
        """Give the path of the file."""
        return str(self._file)

    async def look(self) -> bytes | None:
        """Give the file's bytes, where it is another than the one before.

        Raises:
            BundleSourceUnavailable: There is no such file, or none that may be taken.
        """
        looking = asyncio.get_running_loop().run_in_executor(self._thread, self._look)
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await looking
        except TimeoutError as error:
            raise BundleSourceUnavailable(
                f"{self._file} could not be read within {self._timeout_s:g} s: look at its disk"
            ) from error
        except OSError as error:
            raise BundleSourceUnavailable(
                f"{self._file} cannot be read ({error.strerror}): rename a bundle to that name"
            ) from error
        if found is None:
            return None
        # Only what is given counts as had: a look that was given up may still come to its end.
        self._taken, archive = found
        return archive

    async def close(self) -> None:
        """Stop the thread; a look that hangs is left behind."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _look(self) -> tuple[_Mark, bytes] | None:
        # Whatever stands under the name, opening it must not wait for a writer.
        descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._check_place(descriptor)
            if (mark := _mark(os.fstat(descriptor))) == self._taken:
                return None
            archive = self._read(descriptor)
            self._settle()
            # By its name: written to, or another file there meanwhile.
            if mark != _mark(self._file.stat()):
                raise BundleSourceUnavailable(
                    f"{self._file} changes while it is read: write a bundle under another name "
                    "there, then rename it"
                )
        finally:
            os.close(descriptor)
        return mark, archive

    def _check_place(self, descriptor: int) -> None:
        """Refuse what is no file, or what a link outside the folder leads to.

        A link within it is followed: that is how Kubernetes swaps the files of a volume. Judged by
        the open file, so that no link is changed between the check and the reading.
        """
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleSourceUnavailable(f"{self._file} is not a regular file: put a bundle there")
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not place.is_relative_to(self._folder.resolve()):
            raise BundleSourceUnavailable(
                f"{self._file} leads out of its folder: put the bundle itself there"
            )

    def _read(self, descriptor: int) -> bytes:
        with os.fdopen(os.dup(descriptor), "rb") as file:
            archive = file.read(self._most_bytes + 1)
        if len(archive) > self._most_bytes:
            raise BundleSourceUnavailable(
                f"{self._file} is larger than {self._most_bytes} bytes: take data out of the bundle"
            )
        return archive


def _mark(facts: os.stat_result) -> _Mark:
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
