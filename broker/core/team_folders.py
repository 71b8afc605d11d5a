"""Find the rules of teams that the decision would not read."""

from collections.abc import Mapping

from broker.core.policy_finding import PolicyFinding
from broker.core.rego_text import package_line, package_path

_TEAMS = "teams"
_RULE = "team-package"


def misplaced(sources: Mapping[str, str]) -> list[PolicyFinding]:
    """List the sources of teams whose package is not that of their folder.

    The decision reads the sets of `teams.<name>` and of no package below or beside it: a deny that
    stands elsewhere would count for nothing, and no compiler has a reason to say so.

    Args:
        sources: Text by path within the policy folder, tests apart.
    """
    found = (_finding(path, sources[path]) for path in sorted(sources))
    return [finding for finding in found if finding is not None]


def _finding(path: str, text: str) -> PolicyFinding | None:
    folders, package = path.split("/")[:-1], package_path(text)
    if folders[:1] != [_TEAMS] and package[:1] != (_TEAMS,):
        return None
    if folders[:1] == [_TEAMS] and len(folders) > 1:
        if package == (_TEAMS, folders[1]):
            return None
        place = f"in teams/{folders[1]}/ itself"
        remedy = f"write `package {_written(folders[1])}`, {place}, or move it out of teams/"
    else:
        remedy = "move it to teams/<name>/, with `package teams.<name>`"
    return PolicyFinding(
        file=path,
        line=package_line(text),
        rule=_RULE,
        message=f"no decision would read what it adds to allow, hold or deny: {remedy}",
    )


def _written(team: str) -> str:
    return f"{_TEAMS}.{team}" if team.isidentifier() else f'{_TEAMS}["{team}"]'
