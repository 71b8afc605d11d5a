"""A file that is replaced whole or not at all."""

import os
from pathlib import Path

import pytest

from broker.whole_file import replace_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_replaces(tmp_path: Path) -> None:
    """The content and the mode are the new ones, and nothing else is left."""
    file = tmp_path / "kept"
    file.write_bytes(b"old, and longer than the new")
    file.chmod(0o644)
    replace_file(file, b"new")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o600)
    assert names(tmp_path) == ["kept"]


def test_mode(tmp_path: Path) -> None:
    """The mode that was asked for holds from the start."""
    replace_file(tmp_path / "kept", b"x", mode=0o640)
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o640


def test_after_a_crash(tmp_path: Path) -> None:
    """What a crash left behind is taken for nothing; a link there leads nowhere else."""
    (tmp_path / "others").write_bytes(b"theirs")
    (tmp_path / f".kept.{os.getpid()}.new").symlink_to(tmp_path / "others")
    replace_file(tmp_path / "kept", b"x")
    assert (tmp_path / "others").read_bytes() == b"theirs"
    assert names(tmp_path) == ["kept", "others"]


def test_what_cannot_be_replaced(tmp_path: Path) -> None:
    """A folder in the file's place stays, and nothing lies beside it."""
    (tmp_path / "kept").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path / "kept", b"x")
    assert names(tmp_path) == ["kept"]


def test_durable_before_it_is_seen(tmp_path: Path, writes: list[str]) -> None:
    """The bytes are on the disk before the name is, and the name before it returns."""
    replace_file(tmp_path / "kept", b"x")
    assert writes == [f"sync .kept.{os.getpid()}.new", "rename kept", f"sync {tmp_path.name}"]
