"""Read the sources of a policy folder."""

import json
from pathlib import Path

from broker.core.canonical import JsonObject, JsonValue


def read_sources(folder: Path) -> dict[str, str]:
    """Give each source that may decide, tests apart, by its path within the folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.rego"))
        if not path.name.endswith("_test.rego")
    }


def read_documents(folder: Path) -> JsonObject:
    """Give the data.json of each team and of the broker's settings; a broken one counts for none.

    Each stands where rules find it below `data`.
    """
    found: dict[str, dict[str, JsonValue]] = {"teams": {}, "broker": {}}
    for root, pattern in (("teams", "teams/*/data.json"), ("broker", "broker/settings/data.json")):
        for path in sorted(folder.glob(pattern)):
            if (document := _document(path)) is not None:
                found[root][path.parent.name] = document
    return dict(found)


def _document(path: Path) -> JsonObject | None:
    # What is no JSON, the compiler names by file and line.
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
