"""A broker in a process of its own, with its folder, its store and its clients."""

import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
import grpc

from broker.adapters.pki import DevelopmentAuthority, KeyPair
from broker.client import Client
from broker.config_template import Settings
from broker.init import CONFIG_NAME, SPIFFE_PREFIX, initialise

DOCKER_URL = "unix:///var/run/docker.sock"
LABEL = "org.toolwarrant.installation"
# What follows from the record within a second; so do entries of the kind batch.
DERIVED = ("log_batches", "log_checkpoints", "log_cosignatures", "log_leaves", "log_nodes")
EVERYBODY = ("agent", "agent2", "approver", "approver2", "auditor", "policy", "admin")
_READY_S = 60.0
_STOP_S = 60.0
# Tests run one after the other on few cores: what they probe is not how fast they may call.
UNHURRIED: Settings = {
    "server": {"listen": "127.0.0.1:0"},
    "metrics": {"listen": ""},
    "limits": {
        "calls_per_second": 10_000,
        "burst": 50_000,
        "open_calls_per_agent": 5_000,
        "held_calls_per_agent": 5_000,
    },
}
AS_SHIPPED: Settings = {
    "server": {"listen": "127.0.0.1:0"},
    "metrics": {"listen": ""},
    # Tests count the containers of calls, and end when these are gone: tests/pool has it on.
    "pool": {"containers": 0},
    # One agent makes the calls of most: tests/e2e/test_fairness.py leaves it as it is shipped.
    "sandbox": {"running_per_agent": 1024},
    # Tests compile policies of their own: tests/activation has them signed.
    "policy": {"unsigned_bundle": True},
}


class Folder:
    """A development folder, with an authority of the test's own that the broker trusts too.

    Args:
        path: Holds `toolwarrant.toml`.
        authority: Issues further client certificates; its key stays in memory.
        made_at: From when on they are valid.
    """

    def __init__(self, path: Path, authority: DevelopmentAuthority, made_at: datetime) -> None:
        self.path = path
        self.authority = authority
        self.made_at = made_at

    @classmethod
    def make(cls, path: Path) -> Self:
        """Make one by `broker.init`, with images."""
        now = datetime.now(UTC)
        initialise(path, now=now, report=lambda _: None, settings=AS_SHIPPED)
        authority = DevelopmentAuthority(now)
        ours = (path / "pki" / "ca.crt").read_bytes()
        (path / "pki" / "clients.crt").write_bytes(ours + authority.certificate_pem)
        made = cls(path, authority, now)
        made.set({"server": {"client_ca": "pki/clients.crt"}})
        return made

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.path / CONFIG_NAME

    @property
    def store(self) -> Path:
        """The store's file."""
        return self.path / "toolwarrant.db"

    def copy(self, path: Path, settings: Settings | None = None, identities: str = "") -> "Folder":
        """Copy it, without a store; `identities` is TOML that is put behind the file."""
        shutil.copytree(self.path, path, ignore=shutil.ignore_patterns("toolwarrant.db*"))
        copied = Folder(path, self.authority, self.made_at)
        copied.set(settings or {})
        if identities:
            with copied.config.open("a") as file:
                file.write(f"\n{identities}\n")
        return copied

    def set(self, settings: Settings) -> None:
        """Change settings that the file has."""
        text = self.config.read_text()
        for table, entries in settings.items():
            head, mark, rest = text.partition(f"\n[{table}]\n")
            assert mark, table
            section, mark2, tail = rest.partition("\n[")
            for key, value in entries.items():
                line = f"{key} = {_toml(value)}"
                section, found = re.subn(
                    rf"^{key} = .*$", line.replace("\\", r"\\"), section, flags=re.MULTILINE
                )
                assert found == 1, (table, key)
            text = head + mark + section + mark2 + tail
        self.config.write_text(text)

    def replace(self, old: str, new: str) -> None:
        """Change text that the file has."""
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def pair(self, identity: str) -> KeyPair:
        """Read the pair of a development identity."""
        return KeyPair(
            certificate_pem=(self.path / "pki" / f"{identity}.crt").read_bytes(),
            private_key_pem=(self.path / "pki" / f"{identity}.key").read_bytes(),
        )

    def add_pair(self, name: str, *uris: str) -> KeyPair:
        """Issue a client's pair, so that `Served.client(name)` finds it."""
        pair = self.authority.issue_client(name, *(uris or (f"{SPIFFE_PREFIX}{name}",)))
        (self.path / "pki" / f"{name}.crt").write_bytes(pair.certificate_pem)
        (self.path / "pki" / f"{name}.key").write_bytes(pair.private_key_pem)
        return pair


def _toml(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)


class Served:
    """A running `toolwarrant serve`; use it in `with`.

    Args:
        folder: Its own: two brokers on one store refuse.
        environment: What the process has besides.
        program: What is started in the place of `toolwarrant`, with the same arguments.
    """

    def __init__(
        self,
        folder: Folder,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self._environment = environment or {}
        self._program = program or (str(PROGRAM),)
        self._clients = ExitStack()
        self._kept: dict[str, Client] = {}
        self._lives = 0
        self.start()

    # --- its life -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self._lives += 1
        self.log = self.folder.path / f"serve-{self._lives}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self._program, "serve", "--config", str(self.folder.config)],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
        try:
            self.target = self._wait_until_ready()
            self.installation = self._installation()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def kill(self) -> None:
        """Kill it at once, as a crash would; what it leaves behind stays."""
        self._close_clients()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Stop it cleanly; give its exit code. No container may be left."""
        self._close_clients()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=_STOP_S)
        assert self.containers() == []
        return code

    def restart(self) -> None:
        """Stop it, where it still runs, then start it on the same store."""
        if self.process.poll() is None:
            self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_clients()
        alive = self.process.poll() is None
        if alive:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        left = self.containers()
        _remove(left)
        # Killed on purpose it may leave some; stopped it may not.
        assert not alive or kind is not None or left == []

    def _wait_until_ready(self) -> str:
        assert self.process.stdout is not None
        deadline_s = time.monotonic() + _READY_S
        line = b""
        while not line.endswith(b"\n"):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([self.process.stdout], [], [], left_s)[0]:
                raise AssertionError(f"not ready in time: {self.words()}")
            byte = os.read(self.process.stdout.fileno(), 1)
            if not byte:
                raise NotServed(self.process.wait(), self.words())
            line += byte
        word, _, target = line.decode().strip().partition(" ")
        assert word == "ready:", line
        return target

    def words(self) -> str:
        """Give what it wrote to standard error."""
        return self.log.read_text(errors="replace")

    # --- its clients --------------------------------------------------------------------------

    def client(self, identity: str = "agent") -> Client:
        """Give the client of an identity; it is closed with the broker."""
        if identity not in self._kept:
            client = Client.from_config(self.folder.config, identity, address=self.target)
            self._kept[identity] = self._clients.enter_context(client)
        return self._kept[identity]

    def credentials(self, pair: KeyPair | str) -> grpc.ChannelCredentials:
        """Make TLS credentials of a pair, or of an identity by name."""
        pair = self.folder.pair(pair) if isinstance(pair, str) else pair
        authority = (self.folder.path / "pki" / "ca.crt").read_bytes()
        return grpc.ssl_channel_credentials(authority, pair.private_key_pem, pair.certificate_pem)

    def channel(self, pair: KeyPair | str) -> grpc.Channel:
        """Open a channel; it is closed with the broker."""
        # No channel shares the connection of another.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.secure_channel(self.target, self.credentials(pair), options)
        return self._clients.enter_context(channel)

    def _close_clients(self) -> None:
        self._clients.close()
        self._kept = {}

    # --- behind its back ----------------------------------------------------------------------

    def containers(self) -> list[str]:
        """List the containers of its installation."""
        engine = docker.APIClient(DOCKER_URL)
        try:
            found = engine.containers(all=True, filters={"label": f"{LABEL}={self.installation}"})
        finally:
            engine.close()
        return [str(container["Id"]) for container in found]

    def rows(self) -> dict[str, int]:
        """Count the rows of every table, but those that the log derives within the next second."""
        with self._store() as store:
            tables = [
                str(name)
                for (name,) in store.execute(
                    "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
                )
                if name not in DERIVED
            ]
            counts = {
                table: int(store.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
                for table in tables
            }
            batches = "SELECT count(*) FROM log_entries WHERE kind = 'batch'"
            counts["log_entries"] -= int(store.execute(batches).fetchone()[0])
            return counts

    def events(self, call: str) -> list[str]:
        """List the types of a call's events, as the store has them."""
        with self._store() as store:
            found = store.execute(
                "SELECT type FROM events WHERE call = ? ORDER BY sequence",
                [call.removeprefix("calls/")],
            ).fetchall()
        return [str(kind) for (kind,) in found]

    def resident_bytes(self) -> int:
        """Read how much memory the process has."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _installation(self) -> str:
        with self._store() as store:
            row = store.execute("SELECT value FROM meta WHERE name = 'installation'").fetchone()
        return str(row[0])

    def _store(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.folder.store}?mode=ro", uri=True, timeout=10)


class NotServed(AssertionError):
    """The broker did not start.

    Args:
        code: Its exit code.
        words: What it said.
    """

    def __init__(self, code: int, words: str) -> None:
        super().__init__(f"exit code {code}: {words}")
        self.code = code
        self.words = words


PROGRAM = Path(sys.executable).with_name("toolwarrant")


def _remove(containers: list[str]) -> None:
    engine = docker.APIClient(DOCKER_URL)
    try:
        for container in containers:
            engine.remove_container(container, force=True)
    finally:
        engine.close()
