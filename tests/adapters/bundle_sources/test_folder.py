"""Bundles that are renamed into a folder."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from broker.adapters.bundle_sources import FILE_NAME, WatchedFolder
from broker.errors import BundleSourceUnavailable

MOST_BYTES = 1000


class Writer:
    """Somebody who does something to the folder while its file is read."""

    def __init__(self) -> None:
        self.does: Callable[[], object] = lambda: None

    def __call__(self) -> None:
        """Do it, once."""
        does, self.does = self.does, lambda: None
        does()


@pytest.fixture
def writer() -> Writer:
    """Does nothing, unless the test says what."""
    return Writer()


@pytest.fixture
async def watched(tmp_path: Path, writer: Writer) -> AsyncIterator[WatchedFolder]:
    """A folder with nothing in it."""
    (tmp_path / "bundles").mkdir()
    source = WatchedFolder(tmp_path / "bundles", most_bytes=MOST_BYTES, timeout_s=20, settle=writer)
    yield source
    await source.close()


def put(watched: WatchedFolder, archive: bytes) -> Path:
    """Rename a bundle into the folder, as the documentation says."""
    file = Path(watched.name)
    fresh = file.with_name("fresh")
    fresh.write_bytes(archive)
    return fresh.replace(file)


def link(path: Path, target: str) -> None:
    """Make a symbolic link."""
    path.symlink_to(target)


async def refusal(watched: WatchedFolder) -> str:
    """Look in vain; give the message."""
    with pytest.raises(BundleSourceUnavailable) as caught:
        await watched.look()
    return caught.value.message


class TestFile:
    async def test_taken_once(self, watched: WatchedFolder) -> None:
        """A file is given once, then each one that is renamed over it."""
        put(watched, b"first")
        looks = [await watched.look(), await watched.look()]
        put(watched, b"second")
        looks += [await watched.look(), await watched.look()]
        assert looks == [b"first", None, b"second", None]

    async def test_changed_in_place(self, watched: WatchedFolder) -> None:
        """A change of equal length, with the old time set on it, is seen all the same."""
        file = put(watched, b"first")
        assert await watched.look() == b"first"
        before = file.stat()
        file.write_bytes(b"other")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert await watched.look() == b"other"

    async def test_missing(self, watched: WatchedFolder) -> None:
        """No file is a fault with a remedy; the file that comes is taken."""
        assert "rename a bundle to that name" in await refusal(watched)
        put(watched, b"first")
        assert await watched.look() == b"first"

    async def test_removed(self, watched: WatchedFolder) -> None:
        """A removed file confirms nothing; put back it is given again."""
        file = put(watched, b"first")
        await watched.look()
        file.unlink()
        assert "cannot be read (No such file" in await refusal(watched)
        put(watched, b"first")
        assert await watched.look() == b"first"

    async def test_no_folder(self, tmp_path: Path) -> None:
        """A folder that is not there is a fault, not an end."""
        source = WatchedFolder(tmp_path / "gone", most_bytes=1, timeout_s=20)
        assert "cannot be read" in await refusal(source)
        await source.close()

    async def test_largest(self, watched: WatchedFolder) -> None:
        """As many bytes as may be are taken, one more is not."""
        put(watched, bytes(MOST_BYTES))
        assert await watched.look() == bytes(MOST_BYTES)
        put(watched, bytes(MOST_BYTES + 1))
        assert "larger than 1000 bytes" in await refusal(watched)


class TestHalfWritten:
    async def test_written_on(self, watched: WatchedFolder, writer: Writer) -> None:
        """A file that grows while it is read is not taken; once it rests, all of it is."""
        file = put(watched, b"the first half,")
        with file.open("ab", buffering=0) as tail:
            writer.does = lambda: tail.write(b" the second half")
            assert "changes while it is read" in await refusal(watched)
        assert await watched.look() == b"the first half, the second half"

    async def test_renamed_over(self, watched: WatchedFolder, writer: Writer) -> None:
        """A file that another took the place of is not given as the one that is there."""
        put(watched, b"first")
        writer.does = lambda: put(watched, b"second")
        assert "changes while it is read" in await refusal(watched)
        assert await watched.look() == b"second"

    async def test_beside(self, watched: WatchedFolder) -> None:
        """What is written under another name does not count before it is renamed."""
        Path(watched.name).with_name(f"{FILE_NAME}.part").write_bytes(b"half")
        assert "cannot be read" in await refusal(watched)


class TestLink:
    async def test_within(self, watched: WatchedFolder) -> None:
        """Links within the folder are followed, and a swapped one is seen, as in Kubernetes."""
        file = Path(watched.name)
        for number in ("1", "2"):
            (file.parent / f"..{number}").mkdir()
            (file.parent / f"..{number}" / FILE_NAME).write_bytes(number.encode())
        link(file.parent / "..data", "..1")
        link(file, f"..data/{FILE_NAME}")
        looks = [await watched.look()]
        link(file.parent / "..next", "..2")
        (file.parent / "..next").rename(file.parent / "..data")
        looks.append(await watched.look())
        assert looks == [b"1", b"2"]

    async def test_outside(self, watched: WatchedFolder, tmp_path: Path) -> None:
        """A link that leads out of the folder is refused, whatever lies there."""
        (tmp_path / "elsewhere").write_bytes(b"secret")
        link(Path(watched.name), str(tmp_path / "elsewhere"))
        assert "leads out of its folder" in await refusal(watched)

    async def test_folder_that_is_a_link(self, watched: WatchedFolder, tmp_path: Path) -> None:
        """The folder itself may be a link: that is what the operator named."""
        put(watched, b"first")
        link(tmp_path / "named", str(Path(watched.name).parent))
        source = WatchedFolder(
            tmp_path / "named", most_bytes=MOST_BYTES, timeout_s=20, settle=lambda: None
        )
        assert await source.look() == b"first"
        await source.close()


class TestNoFile:
    @pytest.mark.parametrize(
        "make",
        [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")],
        ids=["FIFO", "folder", "device"],
    )
    async def test_refused(self, watched: WatchedFolder, make: Callable[[Path], object]) -> None:
        """What is no regular file is refused at once, and nothing is read of it."""
        make(Path(watched.name))
        assert "not a regular file" in await refusal(watched)

    async def test_hanging(self, tmp_path: Path, writer: Writer) -> None:
        """A disk that hangs ends the look by its deadline, and keeps one thread alone."""
        may_go_on = asyncio.Event()
        loop = asyncio.get_running_loop()
        source = WatchedFolder(tmp_path, most_bytes=MOST_BYTES, timeout_s=0.05, settle=writer)
        put(source, b"first")
        writer.does = asyncio.run_coroutine_threadsafe(may_go_on.wait(), loop).result
        assert "could not be read within" in await refusal(source)
        assert "could not be read within" in await refusal(source)
        may_go_on.set()
        await source.close()


class TestGivenUp:
    async def test_what_came_too_late_is_given_again(self, watched: WatchedFolder) -> None:
        """A look that was given up has given nothing: the next must not say "as before"."""
        put(watched, b"first")
        assert await watched.look() == b"first"
        put(watched, b"second")
        watched._timeout_s, may_end = 0.05, threading.Event()
        watched._settle = lambda: may_end.wait(60)
        assert "within 0.05 s" in await refusal(watched)
        may_end.set()
        # Behind the one that was given up, in the same thread.
        await asyncio.get_running_loop().run_in_executor(watched._thread, int)
        watched._timeout_s = 20
        assert [await watched.look(), await watched.look()] == [b"second", None]
