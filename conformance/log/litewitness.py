"""Run litewitness, the witness of torchwood, with its key in an ssh-agent."""

import base64
import hashlib
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
)

from broker.core.signed_note import COSIGNATURE_V1, verifier_key

ROOT = Path(__file__).parents[2]
_READY_S = 30.0


class LiteWitness:
    """A witness with a database and a key of its own; use it in `with`."""

    name = "witness.test/lite"

    def __init__(self) -> None:
        self._program = subprocess.check_output(
            [ROOT / "scripts/tool.sh", "litewitness"], text=True
        ).strip()
        for name in ("ssh-agent", "ssh-add", "ssh-keygen"):
            if shutil.which(name) is None:
                raise AssertionError(
                    f"{name} is missing, which keeps the witness's key: "
                    "apt-get install openssh-client"
                )
        # Short: the path of a socket has at most 108 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="lite-"))
        self.port = _free_port()
        self._agent: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Make a key, hold it in an agent, start the witness."""
        key, agent = self.folder / "key", self.folder / "agent"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        public = load_ssh_public_key((self.folder / "key.pub").read_bytes())
        assert isinstance(public, Ed25519PublicKey)
        self.public_key = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._agent = subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL)
        _wait_for(lambda: _unix(agent))
        subprocess.run(["ssh-add", "-q", key], check=True, env={"SSH_AUTH_SOCK": str(agent)})
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it with its agent."""
        for process in (self._process, self._agent):
            if process is not None:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder)

    @property
    def url(self) -> str:
        """Its submission prefix."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def vkey(self) -> str:
        """Its verifier key; `start` saw that it says the same."""
        return verifier_key(self.name, COSIGNATURE_V1, self.public_key)

    def start(self) -> None:
        """Start it on its database."""
        blob = base64.b64decode((self.folder / "key.pub").read_bytes().split()[1])
        print_of = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
        with (self.folder / "witness.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._program, "-name", self.name, "-key", f"SHA256:{print_of}"),
                    *("-db", self.folder / "witness.db", "-ssh-agent", self.folder / "agent"),
                    *("-listen", f"127.0.0.1:{self.port}"),
                ],
                stdout=log,
                stderr=log,
            )
        _wait_for(lambda: socket.create_connection(("127.0.0.1", self.port), 1).close())
        assert self.vkey in self.words()

    def kill(self) -> None:
        """Kill it at once; what it has remembered stays."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def words(self) -> str:
        """Give what it wrote."""
        return (self.folder / "witness.log").read_text(errors="replace")

    def add_log(self, vkey: str) -> None:
        """Let it know a log by its verifier key."""
        origin = vkey.partition("+")[0]
        empty = base64.b64encode(hashlib.sha256().digest()).decode()
        # What `add-log` and `add-key` of its control program (cmd/witnessctl) do. That cannot be
        # built: for logs of another kind it needs sigsum.org/sigsum-go, of which the Go module
        # proxy gives no version (403).
        with closing(sqlite3.connect(self.folder / "witness.db", timeout=10)) as db, db:
            db.execute("INSERT INTO log VALUES (?, 0, ?)", (origin, empty))
            db.execute("INSERT INTO key VALUES (?, ?)", (origin, vkey))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _unix(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def _wait_for(connect: Callable[[], None]) -> None:
    """Try until it listens: it does not say when."""
    deadline_s = time.monotonic() + _READY_S
    while time.monotonic() < deadline_s:
        with suppress(OSError):
            connect()
            return
        time.sleep(0.01)
    raise AssertionError(f"nothing listens after {_READY_S:.0f} s")
