"""Know a session's files as a tree: a map from path to digest."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from broker.core.canonical import JsonObject
from broker.core.document import Document, DocumentKind
from broker.core.ids import Sha256

PATH_BYTES = 1_024
DEPTH = 32
_BAD = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a tree."""

    sha256: Sha256
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The files of a workspace at one instant, named by the digest of their document."""

    sha256: Sha256
    files: Mapping[str, Entry]

    @classmethod
    def read(cls, document: Document) -> Self:
        """Read a TREE document."""
        files = document.body["files"]
        assert isinstance(files, Mapping)
        return cls(
            sha256=document.sha256,
            files={
                path: Entry(sha256=Sha256(str(entry["sha256"])), size_bytes=int(str(entry["size"])))
                for path, entry in files.items()
                if isinstance(entry, Mapping)
            },
        )

    @property
    def size_bytes(self) -> int:
        """Sum up the sizes of the files."""
        return sum(entry.size_bytes for entry in self.files.values())


def tree_document(files: Mapping[str, Entry], *, salt: bytes) -> Document:
    """Seal a map of files as a TREE document."""
    body: JsonObject = {
        "files": {
            path: {"sha256": entry.sha256, "size": entry.size_bytes}
            for path, entry in files.items()
        }
    }
    return Document.seal(DocumentKind.TREE, body, salt=salt)


EMPTY_TREE_DOCUMENT = tree_document({}, salt=bytes(16))
"""The tree of a new session. It holds nothing to guess, so its salt is fixed."""

EMPTY_TREE = Tree.read(EMPTY_TREE_DOCUMENT)


def is_safe_path(path: str) -> bool:
    """Tell whether a path names a file below the workspace's root, in one spelling only."""
    parts = path.split("/")
    return (
        len(path.encode("utf-8", "replace")) <= PATH_BYTES
        and len(parts) <= DEPTH
        and _BAD.search(path) is None
        and all(part not in ("", ".", "..") and len(part.encode()) <= 255 for part in parts)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """The tree after a call's changes, with the paths that were changed, or left alone."""

    files: Mapping[str, Entry]
    changed: tuple[str, ...]
    conflicts: tuple[str, ...]

    def fits(self, *, most_files: int, most_bytes: int) -> bool:
        """Tell whether the tree stays within its quota."""
        size_bytes = sum(entry.size_bytes for entry in self.files.values())
        return len(self.files) <= most_files and size_bytes <= most_bytes


def merge(
    current: Mapping[str, Entry],
    seen: Mapping[str, Entry],
    changes: Mapping[str, Entry | None],
) -> Merge:
    """Apply a call's changes path by path, only where the path is as the call saw it.

    Args:
        changes: Path with the new file, or None where it was deleted.
    """
    files = dict(current)
    changed, conflicts = [], []
    # Deletions first: a file may give way to a folder of its name in one run.
    for path, entry in sorted(changes.items(), key=lambda item: (item[1] is not None, item[0])):
        if current.get(path) != seen.get(path) or _clashes(files, path, entry):
            conflicts.append(path)
            continue
        changed.append(path)
        if entry is None:
            files.pop(path, None)
        else:
            files[path] = entry
    return Merge(files=files, changed=tuple(sorted(changed)), conflicts=tuple(sorted(conflicts)))


def _clashes(files: Mapping[str, Entry], path: str, entry: Entry | None) -> bool:
    """Tell whether a new file would lie below, or in the place of a folder of, another file."""
    if entry is None:
        return False
    below = f"{path}/"
    parts = path.split("/")
    parents = {"/".join(parts[:count]) for count in range(1, len(parts))}
    return any(other.startswith(below) or other in parents for other in files)
