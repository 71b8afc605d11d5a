"""Find the rules of teams that count for nothing."""

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from broker.core.policy_finding import PolicyFinding
from broker.core.rego_text import blanked, package_path, without_comments

SETS: Final = (
    "allow",
    "hold",
    "deny",
    "limit",
    "egress",
    "secret",
    "redact",
    "runtime",
    "approval",
    "label",
)
"""The sets that a team's package adds to."""

_MODE: Final = "mode"

# `opa fmt`, which every check asks for, puts the head of a rule at the beginning of its line.
_HEAD: Final = re.compile(r"^(?:default[ \t]+)?(?!(?:package|import|else)\b)([A-Za-z_]\w*)", re.M)
_BELOW: Final = re.compile(r"(?:\.[A-Za-z_]\w*|\[[^\]\n]*\])*")
_PART: Final = re.compile(r'\.(\w+)|\["(\w+)"\]')
_AFTER: Final = re.compile(r"\s*(contains\b|:=|=(?!=)|\()?")
_WORD: Final = re.compile(r"[A-Za-z_]\w*")
_OF_A_TEAM: Final = re.compile(r"\bteams(?:\.\w+|\[[^\]\n]*\])\.(\w+)")
_IMPORTED: Final = re.compile(r"^import[ \t]+data\.teams\b", re.M)
_FIELD: Final = re.compile(r"\.(\w+)")
_MAKES_A_SET: Final = frozenset({"contains", ":=", "="})
_ALIKE: Final = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """One rule as it is written.

    Args:
        below: What its head says below its name, such as `.deny` or `["x"]`.
        after: What follows: `contains`, `:=`, `=`, `(`, or nothing.
        words: Every name in it but its own.
    """

    file: str
    line: int
    name: str
    below: str
    after: str
    words: frozenset[str]


def unread(sources: Mapping[str, str]) -> list[PolicyFinding]:
    """List the rules of teams that neither make one of the sets nor are read by one that does.

    The decision reads ten sets of `teams.<name>`, and its mode: a rule `sub.deny` makes a document
    below it, `denies` another one beside them, and no compiler has a reason to say so. Sources of
    another package than their folder's are left to `misplaced`, forms of a mode to `mode_faults`.

    Args:
        sources: Text by path within the policy folder, tests apart.
    """
    teams: dict[str, list[_Rule]] = defaultdict(list)
    for path in sorted(sources):
        folders, package = path.split("/")[:-1], package_path(sources[path])
        if len(folders) > 1 and folders[0] == "teams" and package == ("teams", folders[1]):
            teams[folders[1]] += _rules(path, sources[path])
    return sorted(
        finding
        for team, rules in teams.items()
        for finding in _faults(rules, _read_elsewhere(team, sources))
    )


def _faults(rules: list[_Rule], elsewhere: set[str]) -> Iterable[PolicyFinding]:
    live = _live(rules, elsewhere)
    for rule in rules:
        if rule.name in SETS:
            if rule.below or rule.after not in _MAKES_A_SET:
                said = f"{rule.name} must be a set: {_write(rule.name)}"
                yield PolicyFinding(file=rule.file, line=rule.line, rule="team-set", message=said)
        elif rule.name not in live:
            said = f"no decision reads {rule.name}{rule.below}: {_meant(rule)}"
            yield PolicyFinding(file=rule.file, line=rule.line, rule="team-unread", message=said)


def _live(rules: list[_Rule], elsewhere: set[str]) -> set[str]:
    """Name the rules that a set reads, directly or through others."""
    words: dict[str, set[str]] = defaultdict(set)
    for rule in rules:
        words[rule.name] |= rule.words
    waiting = [name for name in words if name in {*SETS, _MODE} or name in elsewhere]
    live = set(waiting)
    while waiting:
        more = (words[waiting.pop()] & words.keys()) - live
        waiting += more
        live |= more
    return live


def _read_elsewhere(team: str, sources: Mapping[str, str]) -> set[str]:
    """Name what other packages read of some team's package."""
    found: set[str] = set()
    for path, text in sources.items():
        if path.startswith(f"teams/{team}/"):
            continue
        code = without_comments(text)
        found.update((_FIELD if _IMPORTED.search(code) else _OF_A_TEAM).findall(code))
    return found


def _rules(file: str, text: str) -> list[_Rule]:
    code, written = blanked(text), without_comments(text)
    heads = list(_HEAD.finditer(code))
    ends = [*(head.start() for head in heads), len(code)][1:]
    return [_rule(file, code, written, head, end) for head, end in zip(heads, ends, strict=True)]


def _rule(file: str, code: str, written: str, head: re.Match[str], end: int) -> _Rule:
    # Places in both texts are the same; the texts in brackets stand in one of them alone.
    below = _BELOW.match(written, head.end())
    assert below is not None
    after = _AFTER.match(code, below.end())
    return _Rule(
        file=file,
        line=code.count("\n", 0, head.start()) + 1,
        name=head[1],
        below=below[0],
        after=(after[1] or "") if after else "",
        words=frozenset(_WORD.findall(code, head.end(), end)),
    )


def _meant(rule: _Rule) -> str:
    parts = [plain or quoted for plain, quoted in _PART.findall(rule.below)]
    if named := next((part for part in parts if part in SETS), None):
        return f"{_write(named)}, a set of the package itself"
    if alike := difflib.get_close_matches(rule.name.lower(), SETS, n=1, cutoff=_ALIKE):
        return f"did you mean {alike[0]}? {_write(alike[0])}"
    return "use it in a rule that adds to a set, remove it, or move it to a test"


def _write(name: str) -> str:
    return f"write `{name} contains ...`"
