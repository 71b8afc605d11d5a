"""Read the sources of a policy folder."""

import json
from pathlib import Path

from broker.core.canonical import JsonObject


def read_sources(folder: Path) -> dict[str, str]:
    """Give each source that may decide, tests apart, by its path within the folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.rego"))
        if not path.name.endswith("_test.rego")
    }


def read_team_documents(folder: Path) -> JsonObject:
    """Give the data.json of each team, below `teams`; a broken one counts for none."""
    return {
        "teams": {
            path.parent.name: document
            for path in sorted(folder.glob("teams/*/data.json"))
            if (document := _document(path)) is not None
        }
    }


def _document(path: Path) -> JsonObject | None:
    # What is no JSON, the compiler names by file and line.
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
