"""Put a file in an older one's place, whole or not at all."""

import os
from pathlib import Path

PRIVATE = 0o600


def replace_file(file: Path, data: bytes, *, mode: int = PRIVATE) -> None:
    """Give a file this content, durably: its readers find the old or the new, never a half.

    Args:
        mode: The file's from now on, less what the process's umask takes.

    Raises:
        OSError: It cannot be written; what was there is there.
    """
    # Of this process alone: two that replace one file at a time each bring a whole one.
    fresh = file.with_name(f".{file.name}.{os.getpid()}.new")
    # What a crash left behind; made anew, it is nobody else's file nor a link to one.
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as target:
            target.write(data)
            target.flush()
            os.fsync(descriptor)
        fresh.replace(file)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: It cannot be opened, or its disk does not take it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
