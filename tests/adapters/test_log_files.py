"""Show files of the log whole, or not at all."""

from pathlib import Path

import pytest

from broker.adapters.log_files import ShownLog


def names(folder: Path) -> list[str]:
    """List what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def test_shows(tmp_path: Path) -> None:
    """A file stands at its path, for its owner alone, with nothing beside it."""
    await ShownLog(tmp_path / "log").put("tile/0/x001/000.p/3", b"hashes")
    (file,) = [path for path in (tmp_path / "log").rglob("*") if path.is_file()]
    assert file == tmp_path / "log/tile/0/x001/000.p/3"
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"hashes", 0o600)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700


async def test_makes(tmp_path: Path) -> None:
    """The folder is there once it was made, for its owner alone; to make it again is no mistake."""
    folder = ShownLog(tmp_path / "log")
    assert not await folder.is_there()
    await folder.make()
    await folder.make()
    assert await folder.is_there()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700


async def test_replaces(tmp_path: Path) -> None:
    """A later file takes an earlier one's place; what a killed broker left half goes with it."""
    folder = ShownLog(tmp_path)
    assert await folder.checkpoint() is None
    (tmp_path / ".checkpoint.new").write_bytes(b"half a checkpoint, and longer than the whole")
    await folder.put("checkpoint", b"one")
    assert await folder.checkpoint() == b"one"
    await folder.put("checkpoint", b"two")
    assert await folder.checkpoint() == b"two"
    assert names(tmp_path) == ["checkpoint"]


async def test_durable_before_it_is_seen(tmp_path: Path, writes: list[str]) -> None:
    """Bytes are on the disk before they have their name, and the name before the answer."""
    await ShownLog(tmp_path).put("checkpoint", b"one")
    assert writes == ["sync .checkpoint.new", "rename checkpoint", f"sync {tmp_path.name}"]


async def test_drop(tmp_path: Path) -> None:
    """What is dropped is gone; what is not there is no mistake."""
    folder = ShownLog(tmp_path)
    await folder.put("tile/0/000.p/3", b"x")
    await folder.put("tile/0/000", b"x")
    await folder.drop("tile/0/000.p")
    await folder.drop("tile/0/000.p")
    assert names(tmp_path / "tile/0") == ["000"]


async def test_unwritable(tmp_path: Path) -> None:
    """A file in the folder's place is an error, which leaves it as it was."""
    (tmp_path / "log").write_bytes(b"a file")
    with pytest.raises(OSError, match="log"):
        await ShownLog(tmp_path / "log").put("checkpoint", b"one")
    assert (tmp_path / "log").read_bytes() == b"a file"


async def test_unreadable(tmp_path: Path) -> None:
    """A checkpoint that cannot be read is an error, not none."""
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(OSError, match="checkpoint"):
        await ShownLog(tmp_path).checkpoint()
