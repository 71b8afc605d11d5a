"""Read the modes of team packages, as far as text tells without evaluating it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from broker.core.canonical import JsonObject, JsonValue
from broker.core.policy_finding import PolicyFinding
from broker.core.rego_text import blanked, package_path, without_comments
from broker.core.team_data import MODE, team_references

ENFORCE: Final = "enforce"
BY_CALL: Final = "by call"
"""What stands for the mode of a package that names more than one."""

TRIALS: Final = ("warn", "shadow")
"""In which a package decides nothing."""

_MODES: Final = (ENFORCE, *TRIALS)
_RULE: Final = "team-mode"
_TEAM_PARTS: Final = 2
_HEAD: Final = re.compile(r"^(default[ \t]+)?mode\b(.*)$", re.MULTILINE)
_WORD: Final = re.compile(r"(?<![.\w])mode\b")
# Anything of `data` but a package that is named and is not the broker's: other ways to write it
# reach `data.broker` too.
_OF_THE_BROKER: Final = re.compile(r"(?<![.\w])data\b(?!\s*\.\s*(?!broker\b)\w)")
_VALUE: Final = re.compile(r'[ \t]*:=[ \t]*"([^"\n]*)"[ \t]*(if\b.*)?')


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """One rule `mode`; `value` is None where it is no text, or more than that."""

    file: str
    line: int
    value: str | None
    is_default: bool
    is_conditional: bool


def team_modes(rego: Mapping[str, str], documents: JsonObject) -> dict[str, str]:
    """Name each package that is not simply enforced, with its mode.

    Args:
        rego: Text by path.
        documents: The base documents below `data`.
    """
    found = {team: _mode_of(heads) for team, heads in _heads(rego).items()}
    found |= {team: str(mode) for team, mode in _documented(documents)}
    return {f"teams.{team}": mode for team, mode in sorted(found.items()) if mode != ENFORCE}


def mode_faults(rego: Mapping[str, str], documents: JsonObject) -> list[PolicyFinding]:
    """List what leaves open whether a package is enforced, or would do then as on trial.

    One whose mode is undefined is enforced, its allow included, which nobody has to have meant. One
    that reads `data.broker`, or a mode, could tell whether it is tried, and be harmless only then.

    Args:
        rego: Text by path, tests apart.
        documents: The base documents below `data`, of the teams' own data.json at least.
    """
    faults = [fault for heads in _heads(rego).values() for fault in _faults(heads)]
    faults += [
        _finding(f"teams/{team}/data.json", 0, f"{mode!r} is no mode: {_REMEDY}")
        for team, mode in _documented(documents)
        if mode not in _MODES
    ]
    with_modes = _heads(rego).keys()
    for file in sorted(rego):
        package = package_path(rego[file])
        if package[:1] != ("broker",):
            faults += _looks(file, rego[file])
            if _team_of(package) in with_modes:
                faults += _own_mode(file, rego[file])
    return sorted(faults)


def _looks(file: str, text: str) -> Iterator[PolicyFinding]:
    code = blanked(text)
    for match in _OF_THE_BROKER.finditer(code):
        said = "may read data.broker, which tells a trial from force: name what it reads, as in "
        yield _trial(file, _line(code, match.start()), f"{said}`data.library.<name>`")
    for reference in team_references(text):
        if reference.field in ("", MODE):
            said = "may read the mode of a package, which tells a trial from force: name what it "
            yield _trial(file, reference.line, f"{said}reads, as in `data.teams.<name>.<field>`")


def _own_mode(file: str, text: str) -> Iterator[PolicyFinding]:
    """Find where a package with a rule `mode` reads it."""
    code = blanked(text)
    heads = {match.end(1) if match[1] else match.start() for match in _HEAD.finditer(code)}
    for match in _WORD.finditer(code):
        if match.start() not in heads:
            said = "reads the mode of its own package, which tells a trial from force: leave that "
            said += "out; a variable needs another name"
            yield _trial(file, _line(code, match.start()), said)


_REMEDY: Final = f"write one of {', '.join(_MODES)}"


def _heads(rego: Mapping[str, str]) -> dict[str, list[_Head]]:
    found: dict[str, list[_Head]] = {}
    for file in sorted(rego):
        if team := _team_of(package_path(rego[file])):
            found.setdefault(team, []).extend(_heads_of(file, without_comments(rego[file])))
    return {team: heads for team, heads in found.items() if heads}


def _team_of(package: tuple[str, ...]) -> str:
    return package[1] if len(package) == _TEAM_PARTS and package[0] == "teams" else ""


def _heads_of(file: str, text: str) -> Iterator[_Head]:
    for match in _HEAD.finditer(text):
        value = _VALUE.fullmatch(match[2].rstrip())
        yield _Head(
            file=file,
            line=text.count("\n", 0, match.start()) + 1,
            value=value[1] if value else None,
            is_default=match[1] is not None,
            is_conditional=value is not None and value[2] is not None,
        )


def _faults(heads: list[_Head]) -> Iterator[PolicyFinding]:
    for head in heads:
        if head.value not in _MODES:
            said = "is no mode" if head.value is None else f"{head.value!r} is no mode"
            yield _finding(head.file, head.line, f'{said}: {_REMEDY}, as in `mode := "shadow"`')
    sure = [head for head in heads if head.is_default or not head.is_conditional]
    if not sure:
        said = "where its condition does not hold the package is enforced: add a `default mode`"
        yield _finding(heads[0].file, heads[0].line, said)
    for head in sure[1:] if sure else ():
        yield _finding(head.file, head.line, "is a second mode of its package: keep one")
    if sure and not sure[0].is_default:
        for head in heads:
            if head.is_conditional:
                said = "may be a second mode of its package: make the other the `default mode`"
                yield _finding(head.file, head.line, said)


def _mode_of(heads: list[_Head]) -> str:
    values = {head.value for head in heads}
    only = values.pop() if len(values) == 1 else None
    return only or BY_CALL


def _documented(documents: JsonObject) -> Iterator[tuple[str, JsonValue]]:
    teams = documents.get("teams")
    for team, document in teams.items() if isinstance(teams, Mapping) else ():
        if isinstance(document, Mapping) and "mode" in document:
            yield team, document["mode"]


def _line(code: str, at: int) -> int:
    return code.count("\n", 0, at) + 1


def _finding(file: str, line: int, message: str) -> PolicyFinding:
    return PolicyFinding(file=file, line=line, rule=_RULE, message=message)


def _trial(file: str, line: int, message: str) -> PolicyFinding:
    return PolicyFinding(file=file, line=line, rule="team-trial", message=message)
