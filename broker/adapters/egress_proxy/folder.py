"""Keep the folders that containers get their sockets from.

The folder that holds them all is the broker's alone (mode 0700), so nobody else on the host gets
to a socket, whatever its own mode. The one folder that is mounted into a container is open to it:
its user may look and connect, and write nothing.
"""

import os
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

from broker.errors import SandboxError

HTTP_SOCKET = "http.sock"
TCP_FOLDER = "tcp"
CA_FILE = "ca.pem"
_BACKLOG = 64
_NAMELESS = ".new"


class Folders:
    """One installation's folders below a root.

    Args:
        installation: Id of the store; folders of other installations are left alone.
    """

    def __init__(self, root: Path, *, installation: str) -> None:
        # Read back from the Engine, the path is compared with the one that it was given.
        self._root = root.resolve()
        self._prefix = f"{installation}."

    def make(self, slot: str, names: Iterable[str], ca: bytes) -> tuple[Path, list[socket.socket]]:
        """Make a folder with a listening socket by each of these names, in their order.

        Args:
            names: Relative, such as `tcp/db.example:5432`.
            ca: PEM of certificate authorities for the tool; empty: no file.

        Raises:
            SandboxError: It cannot be made; nothing is left.
        """
        folder = self._root / f"{self._prefix}{slot}"
        sockets: list[socket.socket] = []
        try:
            self._make_root()
            for path in (folder, folder / TCP_FOLDER):
                path.mkdir()
                path.chmod(0o755)
            if ca:
                (folder / CA_FILE).write_bytes(ca)
                (folder / CA_FILE).chmod(0o644)
            sockets.extend(_listen(folder, name) for name in names)
        except OSError as error:
            for listening in sockets:
                listening.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise SandboxError(
                f"no sockets for egress can be made in {self._root}: {error.strerror or error}; "
                "see egress.state_dir"
            ) from error
        return folder, sockets

    def slots(self) -> frozenset[str]:
        """List the slots that have a folder of this installation."""
        found = self._root.glob(f"{self._prefix}*")
        return frozenset(folder.name.removeprefix(self._prefix) for folder in found)

    def remove(self, slots: Iterable[str]) -> None:
        """Remove the folders of these slots, as far as they are there.

        Raises:
            SandboxError: One cannot be removed.
        """
        for slot in slots:
            folder = self._root / f"{self._prefix}{slot}"
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise SandboxError(
                    f"{folder} cannot be removed: {error.strerror}; remove it by hand"
                ) from error

    def _make_root(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._root.stat()
        if found.st_mode & 0o077 or found.st_uid != os.geteuid():
            # Changed here, the mode of a folder that others use would be changed under them.
            raise PermissionError(None, "it is open to others: make it mode 0700, the broker's own")


def remove(folder: Path) -> None:
    """Remove a folder with its sockets; what resists is left to the sweep."""
    shutil.rmtree(folder, ignore_errors=True)


def _listen(folder: Path, name: str) -> socket.socket:
    """Listen by a short path, then give the socket its name: an address has room for 107 bytes."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        listening.bind(f"/proc/self/fd/{directory}/{_NAMELESS}")
        (folder / _NAMELESS).chmod(0o666)
        listening.listen(_BACKLOG)
        (folder / _NAMELESS).rename(folder / name)
    except BaseException:
        listening.close()
        raise
    finally:
        os.close(directory)
    return listening
