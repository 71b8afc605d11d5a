"""Ask programs of third parties; a missing one fails loudly."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("TOOLWARRANT_CACHE", Path.home() / ".cache" / "toolwarrant"))
ACCEPT = "accept"
REJECT = "reject"


@cache
def tool(name: str) -> str:
    """Give the path of a program that is built once, by `scripts/tool.sh`."""
    found = subprocess.run(
        [ROOT / "scripts/tool.sh", name], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.fail(f"no {name}: {found.stderr}")
    return found.stdout.strip()


@cache
def installed(name: str) -> str:
    """Give the path of a program that a distribution has."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"no {name} on PATH. Remedy: apt-get install --no-install-recommends {name}")
    return path


def ask(questions: Sequence[Mapping[str, object]]) -> list[str]:
    """Ask the Go packages (`conformance/log/verifier`); give the answers without their reasons."""
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    found = subprocess.run(
        [tool("logcheck")], input=lines, check=True, capture_output=True, text=True
    )
    return [answer.partition(":")[0] for answer in found.stdout.splitlines()]


def b64(data: bytes) -> str:
    """Write bytes as that program's JSON has them."""
    return base64.b64encode(data).decode()
