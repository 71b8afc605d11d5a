"""Run the program within the test's own process: many runs, no time for starts."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

from broker.cli.main import main


def toolwarrant(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run it to its end, as from a shell in this folder."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv, sys.argv = sys.argv, ["toolwarrant", *words]
    try:
        with (
            contextlib.chdir(cwd),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as ended:
                code = int(ended.code or 0)
    finally:
        sys.argv = argv
    return subprocess.CompletedProcess(list(words), code, out.getvalue(), err.getvalue())
