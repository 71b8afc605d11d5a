"""Run a broker of the demo's own in a folder of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from broker.adapters.docker_engine.settings import INSTALLATION_LABEL
from broker.config import load

COMMAND = Path(sys.executable).with_name("toolwarrant")
_STOP_S = 30
_INIT_S = 1800
_VERIFY_S = 30


class DemoFailed(Exception):
    """Something was not as the story tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A broker process that takes calls."""

    config: Path
    address: str
    process: subprocess.Popen[str]

    def stop(self) -> None:
        """Stop it as an operator does, and see that it stops cleanly.

        Raises:
            DemoFailed: It did not end, or ended with an error.
        """
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired as error:
            raise DemoFailed(f"the broker did not stop within {_STOP_S} s") from error
        if code != 0:
            raise DemoFailed(f"the broker ended with code {code}{_tail(self.config.parent)}")


def initialise(folder: Path) -> Path:
    """Make a development set; gives the configuration's path.

    Raises:
        DemoFailed: `toolwarrant init` refused; with its words.
    """
    argv = [str(COMMAND), "init", str(folder), "--listen", "127.0.0.1:0", "--metrics", ""]
    done = subprocess.run(
        argv, env=_environment(), capture_output=True, text=True, timeout=_INIT_S, check=False
    )
    if done.returncode != 0:
        raise DemoFailed(f"`toolwarrant init` says: {done.stderr.strip()}")
    return folder / "toolwarrant.toml"


@contextmanager
def serving(config: Path) -> Iterator[Running]:
    """Start a broker and wait until it takes calls; it is gone when this ends.

    Raises:
        DemoFailed: It did not start; with its last words.
    """
    with (config.parent / "broker.log").open("wb") as log:
        process = subprocess.Popen(
            [COMMAND, "serve", "--config", config],
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    with process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            if not ready.startswith("ready: "):
                raise DemoFailed(f"the broker did not start{_tail(config.parent)}")
            address = ready.removeprefix("ready: ").strip()
            yield Running(config=config, address=address, process=process)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()


def containers_left(config: Path, installation: str) -> int:
    """Count the containers that this broker left behind."""
    engine = docker.APIClient(base_url=load(config).sandbox.docker_url, version="auto")
    try:
        wanted = {"label": [f"{INSTALLATION_LABEL}={installation}"]}
        return len(engine.containers(all=True, filters=wanted))
    finally:
        engine.close()


def without_network() -> list[str]:
    """Give the words that run a program in a network namespace with nothing in it.

    Empty where this machine does not let us.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        return []
    words = [unshare, "--map-root-user", "--net"]
    tried = subprocess.run([*words, "true"], capture_output=True, timeout=_VERIFY_S, check=False)
    return words if tried.returncode == 0 else []


def verify(receipt: Path, trust_root: Path, prefix: list[str]) -> tuple[int, dict[str, object]]:
    """Verify a receipt, with the documents beside it, in a process of its own.

    Returns:
        The exit code, with what the verifier says.
    """
    argv = [*prefix, str(COMMAND), "receipts", "verify", str(receipt)]
    argv += ["--trust-root", str(trust_root), "-o", "json"]
    for name in ("request", "result"):
        document = receipt.with_suffix(f".{name}.json")
        if document.exists():
            argv += [f"--{name}", str(document)]
    done = subprocess.run(
        argv, env=_environment(), capture_output=True, text=True, timeout=_VERIFY_S, check=False
    )
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError as error:
        raise DemoFailed(f"the verifier says: {done.stderr.strip()}") from error


def _environment() -> dict[str, str]:
    # What the caller's shell says of another broker must not reach this one's story.
    return {name: value for name, value in os.environ.items() if "TOOLWARRANT" not in name}


def _tail(folder: Path) -> str:
    log = folder / "broker.log"
    last = log.read_text(errors="replace").splitlines()[-10:] if log.exists() else []
    return "; its last lines:\n" + "\n".join(last) if last else ""
