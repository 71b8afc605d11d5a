"""Find the Rego sources that the decision can reach."""

import re
from collections.abc import Mapping
from typing import Final

from broker.core.rego_text import package_path, without_texts

# A reference that goes on in brackets reaches whatever is below what was read of it.
_REFERENCE: Final = re.compile(r"\bdata\b((?:\.[A-Za-z_][A-Za-z0-9_]*)*)")
_ALWAYS: Final = ("broker", "teams")


def reached(sources: Mapping[str, str]) -> set[str]:
    """Name the sources that decide: those of `broker` and `teams`, and what they refer to.

    A package of the library that no team imports is left out of a bundle. What is doubtful stays
    in: the bare word `data`, or one that goes on in brackets, reaches all that is below it.

    Args:
        sources: Text by path, tests apart.
    """
    packages = {path: ".".join(package_path(text)) for path, text in sources.items()}
    waiting = [path for path, package in packages.items() if _is_within(package, _ALWAYS)]
    found = set(waiting)
    while waiting:
        wanted = _references(sources[waiting.pop()])
        more = {path for path, package in packages.items() if _is_wanted(package, wanted)}
        waiting += more - found
        found |= more
    return found


def _references(text: str) -> set[str]:
    found = _REFERENCE.findall(without_texts(text))
    return {reference.removeprefix(".") for reference in found}


def _is_wanted(package: str, references: set[str]) -> bool:
    return any(
        _is_within(package, [reference]) or _is_within(reference, [package])
        for reference in references
    )


def _is_within(name: str, folders: tuple[str, ...] | list[str]) -> bool:
    return any(not folder or name == folder or name.startswith(f"{folder}.") for folder in folders)
