"""Run the `opa` program, or one like it, on a policy folder."""

import os
import subprocess
from pathlib import Path
from typing import Final

from broker.errors import ConfigurationError

_TIMEOUT_S: Final = 120
SHARED: Final = ("--capabilities", "capabilities.json")


def run(argv: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run it inside the folder, whatever it answers.

    Raises:
        ConfigurationError: It is missing, or did not end in time.
    """
    try:
        return subprocess.run(
            argv,
            cwd=folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(
            str(folder),
            None,
            f"{argv[0]} did not run ({error}): install OPA 1.22 or newer; in a checkout of "
            "Toolwarrant `scripts/tool.sh opa` builds it and prints its path, for --opa",
        ) from error


def require_folder(folder: Path) -> None:
    """Check that a folder is one of policy.

    Raises:
        ConfigurationError: It lacks what every policy folder has.
    """
    if not (folder / ".manifest").is_file() or not (folder / "capabilities.json").is_file():
        raise ConfigurationError(
            str(folder), None, "is no policy folder: it needs .manifest and capabilities.json"
        )
