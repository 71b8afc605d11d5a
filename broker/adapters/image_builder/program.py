"""Run a program of this machine that images are made with."""

import os
import subprocess

from broker.errors import ImageBuildFailed


def run_program(argv: tuple[str, ...], *, timeout_s: float, remedy: str) -> None:
    """Run a program to its end, without input.

    Args:
        remedy: What to do where it fails; ends the message.

    Raises:
        ImageBuildFailed: It could not be started, failed, or took too long.
    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        ended = subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageBuildFailed(f"{argv[0]} did not end well: {error}; {remedy}") from error
    if ended.returncode != 0:
        last = "\n".join(ended.stderr.splitlines()[-10:])
        raise ImageBuildFailed(f"{argv[0]} ended with {ended.returncode}:\n{last}\n{remedy}")
