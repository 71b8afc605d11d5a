"""Read the Rego of a policy folder."""

from pathlib import Path


def read_sources(folder: Path) -> dict[str, str]:
    """Give each source that may decide, tests apart, by its path within the folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.rego"))
        if not path.name.endswith("_test.rego")
    }
