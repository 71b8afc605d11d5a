"""Write a local file that appears whole, in nobody else's place."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from broker.errors import ConfigurationError


class Part:
    """What will be a file once it is kept.

    Args:
        file: To write to.
        beside: Where it lies meanwhile, in the folder of the file that it becomes.
    """

    def __init__(self, file: BinaryIO, beside: Path, path: Path) -> None:
        self.file = file
        self._beside = beside
        self._path = path

    def keep(self, *, force: bool) -> None:
        """Give it its name, in the place of another file only where that is wanted."""
        self.file.flush()
        if force:
            self._beside.replace(self._path)
        else:
            # A link, since a rename would take the place of what came meanwhile.
            self._path.hardlink_to(self._beside)


def check_free(path: Path, *, force: bool, instead: str = "name another, or use --force") -> None:
    """Refuse a path that is taken, before anything is asked for.

    Args:
        instead: What to do where it is.

    Raises:
        ConfigurationError: Something is there; or a folder, which is never replaced.
    """
    if not path.name or path.is_dir():
        raise ConfigurationError(str(path), None, "is a folder: name a file")
    if os.path.lexists(path) and not force:
        raise ConfigurationError(str(path), None, f"exists already: {instead}")


@contextmanager
def part_of(path: Path) -> Iterator[Part]:
    """Give the part of a file, its writer's alone; what is not kept is removed.

    Raises:
        ConfigurationError: Nothing can be written there, or the name was taken meanwhile.
    """
    beside = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield Part(file, beside, path)
        finally:
            with suppress(FileNotFoundError):
                beside.unlink()
    except OSError as error:
        raise ConfigurationError(
            str(path), None, f"cannot be written: {error.strerror}; name another file"
        ) from error
