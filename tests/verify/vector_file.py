"""Keep vectors in their file."""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path


def keep(file: Path, make: Callable[[Path], Sequence[object]]) -> None:
    """Write a file of vectors.

    Args:
        make: Makes them, with a folder for the time that it takes.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder))
    file.write_text(json.dumps(made, indent=1, ensure_ascii=True) + "\n")
