"""Draft the rules that would have allowed observed calls."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker.core.canonical import JsonObject, canonical_json
from broker.core.observed import Observed
from broker.core.shape import conditions, is_clear, kinds

_NAMED: Final = 2
_EXAMPLES: Final = 3
_HEAD: Final = """\
# Drafted by `toolwarrant policy suggest` from recorded calls: to be read before it is enforced.
#
# Each rule allows one agent one tool, with arguments as they were observed. A comment that begins
# with WIDE stands where more passes than was seen.
package teams.{team}
"""
_RULE: Final = """
# METADATA
# title: Observed calls of {tool}
# description: Drafted from {count} ({named})
# custom:
#   rule: {rule}
#   severity: low
# schemas:
#   - input: schema.policy_input
allow contains {{
	"rule": "{rule}",
	"message": "calls of {tool} as they were observed",
	"severity": "low",
}} if {{
{conditions}}}
"""
_TEST_HEAD: Final = """\
package teams.{team}_test

# By the package's own set: whether the call runs, others decide besides.
suggested_by(request) := rules if {{
	allowed := data.teams["{team}"].allow with input as request
	rules := {{reason.rule | some reason in allowed}}
}}
"""
_TESTS: Final = """
{name} := [
{examples}]

test_{name}_as_observed if {{
	every request in {name} {{
		"{rule}" in suggested_by(request)
	}}
}}

test_{name}_nothing_near if {{
	changes := [
{changes}	]
	every request in {name} {{
		every change in changes {{
			not "{rule}" in suggested_by(object.union(request, change))
		}}
	}}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Two texts of Rego.

    Args:
        rules: Of the package `teams.<team>`.
        tests: To stand beside.
        drafted: Calls that the rules allow.
        unclear: Calls that no rule should be drafted of.
    """

    team: str
    rules: str
    tests: str
    drafted: int
    unclear: int


def draft(team: str, calls: Sequence[Observed]) -> Draft:
    """Write the narrowest rules for calls, by agent, tool and the shape of their arguments.

    Args:
        team: A name that may stand in Rego as it is.
    """
    clear = [call for call in calls if is_clear(call)]
    rules, tests = [_HEAD.format(team=team)], [_TEST_HEAD.format(team=team)]
    for number, group in enumerate(_groups(clear), start=1):
        rules.append(_rule(team, number, group))
        tests.append(_tests(team, number, group))
    return Draft(
        team=team,
        rules="".join(rules),
        tests="".join(tests),
        drafted=len(clear),
        unclear=len(calls) - len(clear),
    )


def _groups(calls: Sequence[Observed]) -> Iterator[list[Observed]]:
    by_pair: dict[tuple[str, str], list[Observed]] = {}
    for call in calls:
        by_pair.setdefault((call.tool, call.agent), []).append(call)
    for pair in sorted(by_pair):
        yield from kinds(by_pair[pair])


def _rule(team: str, number: int, calls: Sequence[Observed]) -> str:
    names = [f"calls/{call.call}" for call in calls[:_NAMED]]
    more = ["..."] if len(calls) > _NAMED else []
    return _RULE.format(
        tool=calls[0].tool,
        count=f"{len(calls)} call{'s' if len(calls) > 1 else ''}",
        named=", ".join([*names, *more]),
        rule=f"{team}.suggested_{number}",
        conditions="".join(f"\t{line}\n" for line in _conditions(calls)),
    )


def _conditions(calls: Sequence[Observed]) -> Iterator[str]:
    yield f"input.agent.id == {_text(calls[0].agent)}"
    yield f"input.tool.name == {_text(calls[0].tool)}"
    versions = sorted({call.version for call in calls})
    if len(versions) == 1:
        yield f"input.tool.version == {_text(versions[0])}"
    else:
        yield f"input.tool.version in {{{', '.join(map(_text, versions))}}}"
    yield from conditions(calls)


def _tests(team: str, number: int, calls: Sequence[Observed]) -> str:
    requests = {canonical_json(request): request for request in map(_request, calls)}
    shortest = sorted(requests, key=lambda text: (len(text), text))[:_EXAMPLES]
    return _TESTS.format(
        name=f"suggested_{number}",
        rule=f"{team}.suggested_{number}",
        examples="".join(f"\t{_text(requests[text])},\n" for text in shortest),
        changes="".join(f"\t\t{_text(change)},\n" for change in _near(calls[0])),
    )


def _request(call: Observed) -> JsonObject:
    """Give what a drafted rule reads of a call."""
    return {
        "agent": {"id": call.agent},
        "tool": {
            "name": call.tool,
            "version": call.version,
            "arguments": dict(call.arguments),
        },
        "derived": {name: dict(part) for name, part in call.derived.items()},
    }


def _near(call: Observed) -> Iterator[JsonObject]:
    """Give changes of a call after which it is another."""
    yield {"agent": {"id": "another"}}
    yield {"tool": {"name": "another"}}
    yield {"tool": {"version": "another"}}
    yield {"tool": {"arguments": {"another argument": 1}}}
    for name, value in call.arguments.items():
        if name in call.derived:
            yield _elsewhere(name, call.derived[name])
        elif not isinstance(value, Mapping):
            yield {"tool": {"arguments": {name: {"another": "type"}}}}


def _elsewhere(name: str, part: JsonObject) -> JsonObject:
    match part["kind"]:
        case "url" | "host":
            return {"derived": {name: {"host": "another.invalid"}}}
        case "path":
            return {"derived": {name: {"escapes": True}}}
        case _:
            return {
                "tool": {"arguments": {name: "another statement"}},
                "derived": {name: {"is_read": not part["is_read"]}},
            }


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=True)
