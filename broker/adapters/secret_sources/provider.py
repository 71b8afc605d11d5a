"""Give the secrets that the configuration names."""

import asyncio
from collections.abc import Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from broker.adapters.secret_sources.environment import take_variables
from broker.adapters.secret_sources.files import SecretFile
from broker.adapters.secret_sources.source import Nowhere, Source, Unreadable
from broker.core.secret import Secret
from broker.errors import SecretUnavailable

# A file system that hangs holds up a call that needs the secret, not the others.
_READ_S = 5.0
_THREADS = 2
_OTHERS_BUT_MASK = 0o037


class ConfiguredSecrets:
    """Secrets by URI (see `broker.ports.SecretProvider`): `file:`, `credential:`, `env:`.

    Variables are taken out of the environment once, here; files are read at each use.

    Args:
        uris: Name of the secret with where its value is; a file's path is absolute.
        environment: The broker's own; loses the variables that are named.
    """

    def __init__(self, uris: Mapping[str, str], environment: MutableMapping[str, str]) -> None:
        parted = {name: uri.partition(":")[::2] for name, uri in uris.items()}
        variables = take_variables(
            (what for kind, what in parted.values() if kind == "env"), environment
        )
        folder = environment.get("CREDENTIALS_DIRECTORY")
        self._sources = {
            name: variables[what] if kind == "env" else _file(kind, what, folder)
            for name, (kind, what) in parted.items()
        }
        # Threads start with the first read.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="secrets")

    async def read(self, names: Sequence[str]) -> tuple[Secret, ...]:
        """Read the values that these secrets have now.

        Raises:
            SecretUnavailable: One cannot be had; names it, and says why.
        """
        if not names:
            return ()
        loop = asyncio.get_running_loop()
        reading = [loop.run_in_executor(self._threads, self.read_now, name) for name in names]
        try:
            async with asyncio.timeout(_READ_S):
                return tuple(await asyncio.gather(*reading))
        except TimeoutError as error:
            raise SecretUnavailable(
                names[0], f"one of {', '.join(names)} could not be read within {_READ_S:g} s"
            ) from error

    def read_now(self, name: str) -> Secret:
        """Read one secret, blocking.

        Raises:
            SecretUnavailable: It is not configured, cannot be read, or its value can be none.
        """
        source = self._sources.get(name)
        if source is None:
            raise SecretUnavailable(name, "[secrets] does not say where it is: add it")
        try:
            return Secret.read(name, source.read())
        except (Unreadable, ValueError) as error:
            raise SecretUnavailable(name, str(error)) from error

    def close(self) -> None:
        """Stop the threads; a read that hangs is left behind."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _file(kind: str, what: str, folder: str | None) -> Source:
    if kind == "file":
        return SecretFile(path=Path(what))
    if not folder:
        return Nowhere(
            "systemd gave the broker no credentials ($CREDENTIALS_DIRECTORY is not set): use "
            "LoadCredential= in its unit, or take file:PATH"
        )
    # systemd grants its own files by an access list, whose mask shows as the group's right.
    return SecretFile(path=Path(folder, what), forbidden=_OTHERS_BUT_MASK)
