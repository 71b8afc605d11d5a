"""Claims about digests and build contexts of image sources."""

import tarfile
from pathlib import Path

import pytest

from broker.adapters.image_builder.sources import ImageSources, read_sources


def sources(**files: bytes) -> ImageSources:
    return ImageSources(files=(("Dockerfile", b"FROM x\n"), *sorted(files.items())))


class TestDigest:
    def test_is_the_same_for_the_same_files(self) -> None:
        """Two readings of equal files agree, so an unchanged image is not built again."""
        assert sources(a=b"1").sha256("base") == sources(a=b"1").sha256("base")

    @pytest.mark.parametrize(
        "other",
        [
            sources(a=b"2"),
            sources(b=b"1"),
            sources(a=b"1", b=b""),
            sources(),
            ImageSources(files=(("Dockerfile", b"FROM y\n"), ("a", b"1"))),
        ],
        ids=["bytes", "name", "a file more", "a file less", "the Dockerfile"],
    )
    def test_changes_with_any_file(self, other: ImageSources) -> None:
        """A changed name, content or number of files is another digest."""
        assert sources(a=b"1").sha256("base") != other.sha256("base")

    def test_changes_with_the_base(self) -> None:
        """A changed base changes every image above it."""
        assert sources(a=b"1").sha256("one") != sources(a=b"1").sha256("two")

    def test_a_file_cannot_hide_in_another(self) -> None:
        """A file's name and bytes at the end of the file before it are another digest."""
        assert sources(a=b"1", b=b"2").sha256("x") != sources(a=b"1b2").sha256("x")


class TestContext:
    def test_depends_on_no_clock_or_owner(self, tmp_path: Path) -> None:
        """The same bytes under other modes and times pack to the same context."""
        for name, mode in (("one", 0o600), ("two", 0o755)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "Dockerfile").write_bytes(b"FROM x\n")
            (tmp_path / name / "Dockerfile").chmod(mode)
        packed = [read_sources(tmp_path / name).context().read() for name in ("one", "two")]
        assert packed[0] == packed[1]

    def test_makes_scripts_executable(self) -> None:
        """A file that begins with #! is executable in the image, whatever the wheel did to it."""
        with tarfile.open(fileobj=sources(run=b"#!/bin/sh\n", data=b"x").context()) as tar:
            modes = {member.name: oct(member.mode) for member in tar}
        assert modes == {"Dockerfile": "0o644", "run": "0o755", "data": "0o644"}


class TestReading:
    def test_leaves_caches_out(self, tmp_path: Path) -> None:
        """What the interpreter leaves behind in a folder changes no image."""
        (tmp_path / "Dockerfile").write_bytes(b"FROM x\n")
        (tmp_path / "__pycache__").mkdir()
        (tmp_path / "__pycache__" / "run.pyc").write_bytes(b"0")
        assert [name for name, _ in read_sources(tmp_path).files] == ["Dockerfile"]

    def test_refuses_a_symbolic_link(self, tmp_path: Path) -> None:
        """A link could bring a file from outside the folder into an image."""
        (tmp_path / "Dockerfile").write_bytes(b"FROM x\n")
        (tmp_path / "secret").symlink_to("/etc/passwd")
        with pytest.raises(ValueError, match="symbolic link"):
            read_sources(tmp_path)

    def test_refuses_a_folder_without_dockerfile(self, tmp_path: Path) -> None:
        """Sources without a Dockerfile are no sources."""
        with pytest.raises(ValueError, match="no Dockerfile"):
            read_sources(tmp_path)
