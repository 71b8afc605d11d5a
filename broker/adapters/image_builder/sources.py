"""Turn a folder of sources into a digest and a build context that do not depend on the machine."""

import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

_LEFT_OUT_FOLDERS = frozenset({"__pycache__", ".git", ".mypy_cache", ".ruff_cache"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSources:
    """The files that an image is built from.

    Args:
        files: Relative POSIX path with its bytes, sorted by path; a `Dockerfile` is among them.
    """

    files: tuple[tuple[str, bytes], ...]

    def __post_init__(self) -> None:
        """Refuse sources that no image can be built from."""
        if "Dockerfile" not in dict(self.files):
            raise ValueError("no Dockerfile among the sources")

    def sha256(self, base: str) -> str:
        """Digest the sources together with the label of the image that they build upon.

        Args:
            base: Label of the base, so that a changed base changes everything above it.
        """
        digest = hashlib.sha256()
        for part in (base.encode(), *(part for file in self.files for part in _parts(file))):
            # Lengths go first: no two different sets of files read as the same bytes.
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()

    def context(self) -> io.BytesIO:
        """Pack the sources as the tar that the Engine's builder takes.

        Owner, time and mode are fixed, since a wheel keeps none of them: a file that begins with
        `#!` is executable, no other is.
        """
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, content in self.files:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                member.mode = 0o755 if content.startswith(b"#!") else 0o644
                tar.addfile(member, io.BytesIO(content))
        packed.seek(0)
        return packed


def read_sources(folder: Path) -> ImageSources:
    """Read a folder's files, caches left out.

    Raises:
        OSError: A file cannot be read.
        ValueError: There is no Dockerfile, or a symbolic link, which could reach out of the folder.
    """
    files = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if _LEFT_OUT_FOLDERS & set(relative.parts):
            continue
        if path.is_symlink():
            raise ValueError(f"{path} is a symbolic link: put the file itself there")
        if path.is_file():
            files.append((relative.as_posix(), path.read_bytes()))
    return ImageSources(files=tuple(sorted(files)))


def _parts(file: tuple[str, bytes]) -> tuple[bytes, bytes]:
    name, content = file
    return name.encode(), content
