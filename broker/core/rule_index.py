"""Find where the rules of a policy stand, and what their annotations say."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from broker.core.canonical import JsonObject, JsonValue
from broker.core.rego_text import package_path, without_comments
from broker.core.yaml_text import read_yaml
from broker.errors import ConfigurationError

_RULE: Final = re.compile(r'"rule": "([^"\n]+)"')
_HEAD: Final = re.compile(r"^(?:default )?([a-z_]\w*)", re.MULTILINE)
_METADATA: Final = "# METADATA"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSource:
    """A rule by its id.

    Args:
        file: Within the policy folder.
        line: Of the rule's head, from 1.
        head: The set that it adds to; in the library the rule's own name.
        used_at: Where teams use a rule of the library, as `file:line`.
    """

    rule: str
    package: str
    file: str
    line: int
    head: str
    title: str
    description: str
    controls: tuple[str, ...]
    used_at: tuple[str, ...]


def read_rules(rego: Mapping[str, str]) -> tuple[RuleSource, ...]:
    """List every rule whose id is written out in the sources, by file and line.

    Args:
        rego: Text by path.
    """
    return tuple(rule for file in sorted(rego) for rule in _rules_of(file, rego))


def _rules_of(file: str, rego: Mapping[str, str]) -> Iterator[RuleSource]:
    text = rego[file]
    package = ".".join(package_path(text))
    # Blanked out, not cut: places in it are places in the text.
    for match in _RULE.finditer(without_comments(text)):
        heads = list(_HEAD.finditer(text, 0, match.end()))
        if not heads:
            continue
        head = heads[-1]
        notes = _annotations(text[: head.start()])
        custom = notes.get("custom")
        yield RuleSource(
            rule=match[1],
            package=package,
            file=file,
            line=text.count("\n", 0, head.start()) + 1,
            head=head[1],
            title=_text(notes.get("title")),
            description=_text(notes.get("description")),
            controls=_controls(custom),
            used_at=tuple(_uses(f"{package.rpartition('.')[2]}.{head[1]}", rego)),
        )


def _annotations(before: str) -> JsonObject:
    """Read the METADATA block right before a rule; none, or a broken one, says nothing."""
    lines = before.split("\n")[:-1]
    block: list[str] = []
    while lines and lines[-1].startswith("#"):
        block.insert(0, lines.pop())
    if _METADATA not in block:
        return {}
    notes = block[block.index(_METADATA) + 1 :]
    try:
        return read_yaml("\n".join(line.removeprefix("#")[1:] for line in notes), "METADATA").value
    except ConfigurationError:
        return {}


def _controls(custom: JsonValue) -> tuple[str, ...]:
    listed = custom.get("controls") if isinstance(custom, Mapping) else None
    return tuple(map(str, listed)) if isinstance(listed, list) else ()


def _text(value: JsonValue) -> str:
    return value.strip() if isinstance(value, str) else ""


def _uses(name: str, rego: Mapping[str, str]) -> Iterator[str]:
    word = re.compile(rf"\b{re.escape(name)}\b")
    for file in sorted(rego):
        if file.startswith("teams/"):
            lines = without_comments(rego[file]).split("\n")
            for number, line in enumerate(lines, start=1):
                if word.search(line):
                    yield f"{file}:{number}"
