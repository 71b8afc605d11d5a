"""Ask the Go checksum database's packages."""

import json
import subprocess
from collections.abc import Mapping, Sequence


def ask(logcheck: str, questions: Sequence[Mapping[str, object]]) -> list[str]:
    """Ask the third party; give its answers without their reasons."""
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    found = subprocess.run([logcheck], input=lines, check=True, capture_output=True, text=True)
    return [answer.partition(":")[0] for answer in found.stdout.splitlines()]
