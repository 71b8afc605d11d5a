"""Run the fenced blocks of a document, as its reader does."""

import os
import re
import shlex
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_BLOCK_S = 90
_STOP_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block."""

    language: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A block with what it came to."""

    block: Block
    code: int
    out: str
    err: str


def blocks_of(document: Path) -> list[Block]:
    """List the fenced blocks of a document."""
    found = _FENCE.findall(document.read_text())
    return [Block(language=language, text=dedent(text)) for _, language, text in found]


class Reader:
    """A reader at two terminals: one where the broker runs, one where everything else is typed.

    Args:
        folder: Where both start.
        substitutes: Text of the document with what is typed instead.
        environment: What both shells start with.
    """

    def __init__(
        self, folder: Path, substitutes: Mapping[str, str], environment: Mapping[str, str]
    ) -> None:
        self._folder = folder
        self._substitutes = substitutes
        self._environment = environment
        self._broker: subprocess.Popen[str] | None = None
        # What a block exports, the next one has: they are one terminal's.
        self._exports = folder / ".exports"
        self._exports.write_text("")

    def follow(self, block: Block) -> Ran:
        """Run a block of bash or Python to its end; or start the broker anew."""
        text = block.text
        for old, new in self._substitutes.items():
            text = text.replace(old, new)
        if text.startswith("toolwarrant serve "):
            return self._serve(block, text)
        if block.language == "python":
            text = f"python - <<'END'\n{text}END\n"
        exports = shlex.quote(str(self._exports))
        script = f"set -euo pipefail; source {exports}\n{text}\nexport -p > {exports}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder,
            env=dict(self._environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_BLOCK_S,
        )
        return Ran(block=block, code=done.returncode, out=done.stdout, err=done.stderr)

    def leave(self) -> None:
        """Stop the broker, as Ctrl-C does."""
        if self._broker is None:
            return
        self._broker.terminate()
        try:
            self._broker.communicate(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._broker.kill()
            self._broker.communicate()
        self._broker = None

    def _serve(self, block: Block, text: str) -> Ran:
        self.leave()
        log = self._folder / "serve.log"
        with log.open("w") as errors:
            self._broker = subprocess.Popen(
                ["bash", "-c", f"source {shlex.quote(str(self._exports))}; exec {text}"],
                cwd=self._folder,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self._broker.stdout is not None
        ready = self._broker.stdout.readline()
        code = 0 if ready.startswith("ready: ") else 1
        return Ran(block=block, code=code, out=ready, err=log.read_text())


def clean_environment() -> dict[str, str]:
    """Give this process's environment, without what is said of other brokers."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TOOLWARRANT_") or name == "TOOLWARRANT_CACHE"
    }


def free_address() -> str:
    """Find a port of this machine where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
