"""Run an OPA server as a child that never outlives the broker."""

import asyncio
import os
import shutil
import sys
import tempfile
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path
from typing import Final, Self

from broker.adapters.opa_server.client import OpaClient
from broker.core.bundle import Bundle, packed_anew
from broker.errors import ConfigurationError, PolicyUnavailable

_START_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.02
_MESSAGE_CHARACTERS: Final = 500

# The kernel kills the child with the thread that forked it (PR_SET_PDEATHSIG, SIGKILL); where the
# parent is gone already, there is nobody left to wait for. Set after the fork by a program of its
# own: code between fork and exec may deadlock in a process with threads.
_LEASH: Final = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    raise SystemExit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


class OpaChild:
    """A running `opa run --server` on a unix socket that only this user can open.

    Start it from the event loop's own thread: the child dies with the thread that forked it.
    """

    def __init__(self, process: Process, folder: Path) -> None:
        self._process = process
        self._folder = folder

    @classmethod
    async def start(cls, opa: str, bundle: Bundle) -> Self:
        """Start the server, then wait until the bundle is active.

        Raises:
            PolicyUnavailable: The program is missing, refuses the bundle, or is not ready in time.
        """
        if (program := shutil.which(opa)) is None:
            raise PolicyUnavailable(
                f"the program {opa} is missing: install OPA 1.22 or newer, or use the wasm engine"
            )
        folder = Path(tempfile.mkdtemp(prefix="toolwarrant-opa-"))
        child = None
        try:
            (folder / "bundle.tar.gz").write_bytes(await asyncio.to_thread(_packed, bundle))
            child = cls(await _spawn(program, folder), folder)
            async with asyncio.timeout(_START_TIMEOUT_S):
                await child._wait_until_ready()
        except BaseException as error:
            await _discard(child, folder)
            if isinstance(error, TimeoutError):
                raise PolicyUnavailable("the OPA server was not ready in time") from error
            raise
        return child

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"unix://{self._folder / 'opa.sock'}"

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    async def stop(self) -> None:
        """Kill the server, then remove its folder. Idempotent."""
        if self._process.returncode is None:
            # It keeps nothing, so there is nothing to end gently.
            self._process.kill()
            await self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _wait_until_ready(self) -> None:
        client = OpaClient(self.url)
        await client.open()
        try:
            while not await client.check_health(query={"bundles": "true"}):
                if self._process.returncode is not None:
                    raise PolicyUnavailable(f"the OPA server ended: {self._last_words()}")
                await asyncio.sleep(_POLL_S)
        finally:
            await client.close_connection()

    def _last_words(self) -> str:
        log = (self._folder / "opa.log").read_text(errors="replace")
        return log.strip()[-_MESSAGE_CHARACTERS:]


def _packed(bundle: Bundle) -> bytes:
    """Write a bundle as it was read, not as it came: its signature says nothing of OPA's reading.

    Raises:
        PolicyUnavailable: It is none that was read before.
    """
    try:
        return packed_anew(bundle.archive, "the bundle")
    except ConfigurationError as error:
        raise PolicyUnavailable(f"the OPA server could not load it: {error.message}") from error


async def _spawn(program: str, folder: Path) -> Process:
    argv = [program, "run", "--server", "--addr", f"unix://{folder / 'opa.sock'}"]
    argv += ["--unix-socket-perm", "600", "--skip-version-check", "--log-level", "error"]
    # Whether it is signed the broker has looked at, by keys that this program does not know.
    argv += ["--skip-verify", "--bundle", str(folder / "bundle.tar.gz")]
    with (folder / "opa.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *argv),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=log,
            cwd=folder,
            env={"PATH": os.defpath, "HOME": str(folder)},
            start_new_session=True,
        )


async def _discard(child: OpaChild | None, folder: Path) -> None:
    if child is not None:
        await child.stop()
    shutil.rmtree(folder, ignore_errors=True)
