"""Read a secret from a file that nobody else may read."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from broker.adapters.secret_sources.source import Unreadable
from broker.core.secret import MOST_BYTES

# One byte more than a value with its line end may have shows that there is too much.
_READ_BYTES = MOST_BYTES + 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFile:
    """A file that is read at each use, so that a new value needs no restart.

    Args:
        forbidden: Permission bits that the file may not have.
    """

    path: Path
    forbidden: int = 0o077

    def read(self) -> bytes:
        """Read it; what is asked of it is asked of the open file, not of its name.

        Raises:
            Unreadable: It cannot be read, or others may read or change it.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise Unreadable(f"{self.path} cannot be read ({error.strerror})") from error
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise Unreadable(f"{self.path} is not a regular file")
            if facts.st_uid not in (0, os.geteuid()):
                raise Unreadable(f"{self.path} belongs to another user: `chown` it to the broker's")
            if facts.st_mode & self.forbidden:
                raise Unreadable(
                    f"others may use {self.path} (mode {stat.S_IMODE(facts.st_mode):04o}): "
                    "`chmod 600` it, and take a new value where it may have been read"
                )
            return os.read(descriptor, _READ_BYTES)
        except OSError as error:
            raise Unreadable(f"{self.path} cannot be read ({error.strerror})") from error
        finally:
            os.close(descriptor)
