"""Write files of one's own that nothing else is lost for."""

import os
from pathlib import Path
from typing import TextIO

from broker.errors import ConfigurationError


def new_file(path: Path) -> TextIO:
    """Open a file that is not there yet.

    Documents hold arguments and output: theirs alone who asked. Nothing is overwritten.

    Raises:
        OSError: It cannot be written, or is there.
    """
    return os.fdopen(_create(path), "w", encoding="utf-8", newline="")


def write_new(path: Path, content: str | bytes) -> None:
    """Write a file that is not there yet.

    Raises:
        ConfigurationError: It cannot be written, or is there.
    """
    try:
        with os.fdopen(_create(path), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise ConfigurationError(
            str(path), None, f"cannot be written: {error.strerror}; name another one"
        ) from error


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
