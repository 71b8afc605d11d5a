"""Let one broker process at a time own a store."""

import fcntl
import os
from pathlib import Path
from typing import Self

from broker.errors import StoreUnavailable


class Ownership:
    """An exclusive lock beside the store's file, let go by `release` or the process's death.

    The lock is the kernel's, not the file's existence: nothing stale is left after a crash. The
    file itself stays, since removing it would let two processes lock two files of one name.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Self:
        """Take the lock of the store at this path.

        Raises:
            StoreUnavailable: Another process has it; the message names the process.
        """
        lock = path.with_name(path.name + ".lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode("ascii", "replace") or "unknown"
            os.close(descriptor)
            raise StoreUnavailable(
                f"another broker (process {owner}) owns the store {path}: stop it; a second"
                " broker needs a [store] path of its own",
                reason="STORE_IN_USE",
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Let another broker have the store."""
        os.close(self._descriptor)
