"""Read a file of a folder that a stranger laid out."""

import errno
import os
import stat
from pathlib import Path


def read_file(path: Path, most_bytes: int) -> bytes:
    """Read a file, one byte more than it may have at the most.

    A pipe in its place would keep its reader for ever; it is opened without waiting, then told.

    Raises:
        OSError: It cannot be read, or is no ordinary file.
    """
    with open(path, "rb", opener=_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is no ordinary file", str(path))
        return file.read(most_bytes + 1)


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
