"""An OPA server that a test runs as its operator would, then slows and kills."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.adapters.pki import DevelopmentAuthority, KeyPair
from broker.core.bundle import Bundle

_START_S = 20.0
_POLL_S = 0.02
NOBODY = "spiffe://example.org/opa"


class RealOpa:
    """`opa run --server` on a port of loopback; use it in `with`.

    Args:
        bundle: What it serves.
        folder: Scratch space of its own.
        options: Of its command line, besides.
        plain_too: Whether a second port speaks HTTP without TLS.
    """

    def __init__(
        self,
        opa: str,
        bundle: Bundle,
        folder: Path,
        options: Sequence[str] = (),
        *,
        plain_too: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._bundle = folder / "bundle.tar.gz"
        self._bundle.write_bytes(bundle.archive)
        self.port, self.plain_port = _free_ports()
        scheme = "https" if "--tls-cert-file" in options else "http"
        self._argv = [opa, "run", "--server", "--addr", f"{scheme}://127.0.0.1:{self.port}"]
        self._argv += ["--addr", f"http://127.0.0.1:{self.plain_port}"] if plain_too else []
        self._argv += ["--skip-version-check", "--log-level", "error", *options]
        self._log = folder / "opa.log"
        self.start()

    def start(self, bundle: Bundle | None = None) -> None:
        """Start it, with another bundle than before where one is given."""
        if bundle is not None:
            self._bundle.write_bytes(bundle.archive)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._argv, "--bundle", str(self._bundle)], stdout=log, stderr=log
            )
        deadline_s = time.monotonic() + _START_S
        # Bundles of the command line are active before it listens.
        while not _listens(self.port):
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline_s
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Keep it from running on: connections stand, nothing is answered."""
        os.kill(self._process.pid, signal.SIGSTOP)
        # Stopped for certain, not about to be.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def go_on(self) -> None:
        """Let it run on."""
        os.kill(self._process.pid, signal.SIGCONT)

    def cpu_s(self) -> float:
        """Give the processor time that it took so far."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where an authority's certificate and a pair that it issued lie, PEM each."""

    authority: Path
    certificate: Path
    private_key: Path

    @property
    def tls(self) -> list[str]:
        """Give the options for a server with this pair."""
        return [
            *("--tls-cert-file", str(self.certificate)),
            *("--tls-private-key-file", str(self.private_key)),
        ]


class Authority:
    """A private CA with the certificates of one test."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._now = datetime.now(UTC)
        self._authority = DevelopmentAuthority(self._now)
        self.file = folder / "ca.crt"
        self.file.write_bytes(self._authority.certificate_pem)

    def server(self, name: str, *, expired: bool = False) -> Files:
        """Issue a certificate for 127.0.0.1, and for no name."""
        # The authority holds on: it is the server's certificate alone that is too old.
        self._authority._now = self._now - timedelta(days=400) if expired else self._now
        return self._write(name, self._authority.issue_server(name, NOBODY, (), ("127.0.0.1",)))

    def client(self, name: str) -> Files:
        """Issue a client's certificate."""
        self._authority._now = self._now
        return self._write(name, self._authority.issue_client(name, f"{NOBODY}/{name}"))

    def _write(self, name: str, pair: KeyPair) -> Files:
        files = Files(
            authority=self.file,
            certificate=self._folder / f"{name}.crt",
            private_key=self._folder / f"{name}.key",
        )
        files.certificate.write_bytes(pair.certificate_pem)
        files.private_key.write_bytes(pair.private_key_pem)
        files.private_key.chmod(0o600)
        return files


def _free_ports() -> tuple[int, int]:
    # Both held while both are chosen, so that they differ.
    with closing(socket.socket()) as one, closing(socket.socket()) as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
