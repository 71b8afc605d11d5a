"""Read what rules name of the data of teams."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from broker.core.canonical import JsonObject, JsonValue
from broker.core.policy_finding import PolicyFinding
from broker.core.rego_text import blanked, package_path, without_comments

MODE: Final = "mode"
"""What the broker itself reads of a team's documents."""

_RULE: Final = "team-data"
_SETTINGS: Final = ("decide_within_s", "run_within_s")
_TEAMS: Final = re.compile(r"(?<![.\w])data\s*\.\s*teams\b")
# By name alone, each part: a variable, an escape or a raw text could come to mean `mode`.
_NAMED: Final = re.compile(
    r'\s*(?:\.\s*([A-Za-z_]\w*)|\[\s*"([^"\\\n]*)"\s*\])'
    r'\s*(?:\.\s*([A-Za-z_]\w*)|\[\s*"([^"\\\n]*)"\s*\])'
)
_ALIKE: Final = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamReference:
    """A place where a rule names what is below `data.teams`.

    Args:
        line: From 1.
        team: Empty, as `field` is, where the reference leaves open what it reads.
    """

    line: int
    team: str
    field: str


def team_references(text: str) -> Iterator[TeamReference]:
    """List what a source names below `data.teams`; comments and texts name nothing."""
    code, written = blanked(text), without_comments(text)
    for match in _TEAMS.finditer(code):
        # Places in both texts are the same; the names in brackets stand in one of them alone.
        named = _NAMED.match(written, match.end())
        plain, quoted, field, quoted_field = named.groups() if named else (None,) * 4
        yield TeamReference(
            line=code.count("\n", 0, match.start()) + 1,
            team=plain or quoted or "",
            field=field or quoted_field or "",
        )


def unread_data(sources: Mapping[str, str], documents: JsonObject) -> list[PolicyFinding]:
    """List the settings that no rule reads: a misspelt one would leave all as it was, in silence.

    Of a team's own that is every name but `mode` which no rule names; of the broker's, what is
    none of its settings.

    Args:
        sources: Text by path within the policy folder, tests apart.
        documents: The base documents below `data`, of `teams` and `broker` at least.
    """
    read = {
        (reference.team, reference.field)
        for text in sources.values()
        if package_path(text)[:1] != ("broker",)
        for reference in team_references(text)
    }
    found = [
        _unread(f"teams/{team}/data.json", key, known)
        for team, document in _objects(documents.get("teams"))
        if (known := {MODE, *(field for of, field in read if of == team)})
        for key in document
        if key not in known
    ]
    found += [
        _unread("broker/settings/data.json", key, {*_SETTINGS})
        for name, document in _objects(documents.get("broker"))
        if name == "settings"
        for key in document
        if key not in _SETTINGS
    ]
    return sorted(found)


def _objects(document: JsonValue | None) -> Iterator[tuple[str, JsonObject]]:
    for name, value in document.items() if isinstance(document, Mapping) else ():
        if isinstance(value, Mapping):
            yield name, value


def _unread(file: str, key: str, known: set[str]) -> PolicyFinding:
    alike = difflib.get_close_matches(key.lower(), sorted(known), n=1, cutoff=_ALIKE)
    meant = f"did you mean {alike[0]!r}?" if alike else "take it out, or name it in a rule"
    return PolicyFinding(
        file=file, line=0, rule=_RULE, message=f"no rule reads {key!r} of it: {meant}"
    )
