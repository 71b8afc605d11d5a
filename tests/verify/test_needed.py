"""Each check of a log's entries together is needed; `conformance/receipts` takes out all others."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TWICE = ["broker.verify.walk.Walk.doubt: self.undecided"]
"""What follows is as undecided."""


def test_each_is_missed() -> None:
    """Each check is taken out in turn, in a process of its own; a vector notices every time."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.verify.mutants", "mixed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    found = json.loads(done.stdout)
    assert [name for name, is_missed in found if not is_missed] == TWICE
    assert len(found) > 25
