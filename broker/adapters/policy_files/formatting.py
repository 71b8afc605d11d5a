"""Format Rego with the `opa` program, where there is one."""

import shutil
import tempfile
from pathlib import Path

from broker.adapters.policy_files.program import run
from broker.errors import ConfigurationError


def formatted(text: str, opa: str) -> str:
    """Format a source; without the program it stays as it is.

    Args:
        opa: The program, by path or by name.

    Raises:
        ConfigurationError: The program finds no Rego in it.
    """
    if shutil.which(opa) is None:
        return text
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "draft.rego"
        file.write_text(text, encoding="utf-8")
        done = run([opa, "fmt", file.name], Path(scratch))
    if done.returncode != 0:
        raise ConfigurationError(opa, None, f"refuses the draft: {done.stderr.strip()}")
    return done.stdout
