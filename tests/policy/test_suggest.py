"""Rules drafted of recorded calls, checked, tested, built and asked by the real programs."""

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from broker.adapters.opa_wasm import WasmEngine
from broker.adapters.policy_files import check_folder, formatted, run_tests
from broker.core.canonical import JsonObject, canonical_json
from broker.core.decision import denial
from broker.core.document import SALT_BYTES, Document, DocumentKind
from broker.core.ids import AgentId, CallId
from broker.core.observed import Observations, Observed
from broker.core.rego_draft import Draft, draft
from broker.core.replay import Recorded
from broker.shipped import policies_dir
from tests.policy.samples import AGENT, ask, compiled_folder

OTHER = replace(AGENT, id=AgentId("spiffe://example.org/öther"))
NOBODY = denial("broker.not_allowed", "m", "m").output


def fetch(url: str, **more: Any) -> JsonObject:
    """Ask about a fetch."""
    return ask("http_fetch", {"url": url, **more})


def write(path: str, content: str, **changes: Any) -> JsonObject:
    """Ask about a written file."""
    return ask("workspace_write", {"path": path, "content": content}, **changes)


STATEMENTS = [
    f"SELECT {called}(a{n}) FROM {table}"
    for n in range(3)
    for called in ("max", "min")
    for table in ("orders", "items")
]
PAGES = [fetch(f"https://example.org/docs/{number}.html") for number in range(12)]
OBSERVED: list[JsonObject] = [
    *PAGES,
    fetch("https://example.org:8443/a"),
    fetch("https://api.example.org/v1?q=1", method="POST", body="x"),
    fetch("https://api.example.org/v1", method="GET"),
    fetch("https://b.example.org/a", method="GET"),
    fetch("https://b.example.org/b", method="POST"),
    *(write(f"src/{name}.py", name * 40) for name in "abcdefghij"),
    write("notes/ü.txt", "short", identity=OTHER),
    ask("python_run", {"code": "print(1)\nprint(2)"}),
    ask("python_run", {"code": "print(1)", "stdin": "a\u202eb"}),
    ask("sql_query", {"statement": "SELECT a FROM orders", "parameters": [1, "x", None, True]}),
    *(ask("sql_query", {"statement": f"SELECT {'a' * n} FROM orders"}) for n in range(1, 11)),
    *(ask("sql_query", {"statement": s}, identity=OTHER) for s in STATEMENTS),
    ask("tool_of_ours", {}),
    ask("tool_of_ours", {"ratio": 0.5, "on": True, "none": None, "deep": {"a": [1]}}),
    *(ask("tool_of_ours", {"count": n, "list": [n] * n, "map": {"a": n}}) for n in range(10)),
    ask("tool_of_ours", {'a b\n# allow contains {} #"': "*/"}),
]
NEAR: list[JsonObject] = [
    fetch("https://example.com/docs/1.html"),
    fetch("http://example.org/docs/1.html"),
    fetch("https://example.org:444/docs/1.html"),
    fetch("https://example.org/docs/1.html?q=secret"),
    fetch("https://example.org/docs/1.html#x"),
    fetch("https://a:b@example.org/docs/1.html"),
    fetch("https://example.org/other/1.html"),
    fetch("https://example.org/docs/../a"),
    fetch("https://example.org/docs/%2e%2e"),
    fetch("https://example.org/docs/" + "x" * 100),
    fetch("https://example.org/docs/1.html", method="GET"),
    fetch("https://example.org:8443/b"),
    fetch("https://api.example.org/v1?q=2", method="POST", body="x"),
    fetch("https://api.example.org/v1?q=1", method="POST", body="y"),
    fetch("https://api.example.org/v1?q=1", method="PUT", body="x"),
    fetch("https://api.example.org/v1", method="POST"),
    fetch("https://b.example.org/a", method="POST"),
    ask("http_fetch", {"url": "https://example.org/docs/1.html"}, identity=OTHER),
    ask("pdf_text", {"url": "https://example.org/docs/1.html"}),
    write("src/../k.py", "a"),
    write("/src/a.py", "a"),
    write("ci/a.py", "a"),
    write("srcs/a.py", "a"),
    write("src/a.py", "a" * 401),
    write("src/a.py", "a", identity=OTHER),
    write("notes/ü.txt", "short"),
    write("notes/ü.txt", "other", identity=OTHER),
    ask("python_run", {"code": "x" * 18}),
    ask("python_run", {"code": "print(2)", "stdin": "a"}),
    ask("sql_query", {"statement": "SELECT a FROM orders", "parameters": [2]}),
    ask("sql_query", {"statement": "SELECT a FROM customers"}),
    ask("sql_query", {"statement": "DELETE FROM orders"}),
    ask("sql_query", {"statement": "SELECT a FROM orders; SELECT a FROM orders"}),
    ask("sql_query", {"statement": f"SELECT {'a' * 11} FROM orders"}),
    ask("sql_query", {"statement": "SELECT f(a) FROM orders"}),
    ask("sql_query", {"statement": "SELECT sum(a) FROM orders"}, identity=OTHER),
    ask("sql_query", {"statement": "SELECT max(a) FROM users"}, identity=OTHER),
    ask("tool_of_ours", {"more": 1}),
    ask("tool_of_ours", {"ratio": 0.6, "on": True, "none": None, "deep": {"a": [1]}}),
    ask("tool_of_ours", {"ratio": 0.5, "on": False, "none": None, "deep": {"a": [1]}}),
    ask("tool_of_ours", {"ratio": 0.5, "on": True, "none": None, "deep": {"a": [2]}}),
    ask("tool_of_ours", {"count": 10, "list": [1], "map": {"a": 1}}),
    ask("tool_of_ours", {"count": 9, "list": [1] * 10, "map": {"a": 1}}),
    ask("tool_of_ours", {"count": 9, "list": "x", "map": {"a": 1}}),
]
UNCLEAR: list[JsonObject] = [
    fetch("https://a..b/"),
    fetch("https://user:password@example.org/"),
    write("../x", "a"),
    write("/x", "a"),
]


def recorded(number: int, asked: JsonObject, answered: JsonObject) -> Recorded:
    """Make a decision as the store keeps it."""
    tool, agent = asked["tool"], asked["agent"]
    assert isinstance(tool, dict)
    assert isinstance(agent, dict)
    return Recorded(
        call=CallId(f"01K{number:023d}"),
        tool=str(tool["name"]),
        agent=AgentId(str(agent["id"])),
        asked=Document.seal(DocumentKind.POLICY_INPUT, asked, salt=bytes(SALT_BYTES)),
        answered=Document.seal(DocumentKind.DECISION, answered, salt=bytes(SALT_BYTES)),
    )


def drafted(team: str, asked: Sequence[JsonObject]) -> Draft:
    """Draft of calls that nobody allowed."""
    found = Observations()
    for number, question in enumerate(asked):
        found.add(recorded(number, question, NOBODY), team)
    assert len(found.wanting) == len(asked)
    return draft(team, list(found.wanting.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggested:
    """A policy folder whose only team is the suggested one, with an engine on its bundle."""

    folder: Path
    draft: Draft
    engine: WasmEngine

    async def effects(self, asked: Sequence[JsonObject]) -> list[str]:
        """Decide calls."""
        answers = [await self.engine.evaluate(canonical_json(one)) for one in asked]
        return [str(answer.output["effect"]) for answer in answers]


@pytest.fixture(scope="module")
def suggested(opa: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suggested]:
    """Of everything that was observed."""
    folder = tmp_path_factory.mktemp("suggested") / "policy"
    ignored = shutil.ignore_patterns("library", "packs", "teams", "bundle.tar.gz", "*_test.rego")
    shutil.copytree(policies_dir(), folder, ignore=ignored)
    made = drafted("suggested", OBSERVED)
    team = folder / "teams" / "suggested"
    team.mkdir(parents=True)
    (team / "suggested.rego").write_text(formatted(made.rules, opa))
    (team / "suggested_test.rego").write_text(formatted(made.tests, opa))
    engine = WasmEngine(compiled_folder(folder, opa), timeout_s=5)
    yield Suggested(folder=folder, draft=made, engine=engine)
    asyncio.run(engine.close())


class TestDraft:
    def test_it_passes_check_and_test_at_once(self, suggested, opa, regal):
        """Formatted, linted, strictly compiled; every line reached by the tests beside it."""
        assert check_folder(suggested.folder, opa, regal) == []
        outcome = run_tests(suggested.folder, opa)
        team = {key: value for key, value in outcome.coverage.items() if key.startswith("teams")}
        mine = [one for one in outcome.findings if one.file.startswith("teams")]
        assert (mine, team) == ([], {"teams/suggested": 100.0})

    async def test_every_observed_call_is_allowed(self, suggested):
        """By the bundle that was built of it."""
        assert set(await suggested.effects(OBSERVED)) == {"allow"}

    async def test_what_is_near_is_not(self, suggested):
        """Another host, tool, agent, argument, or one more character."""
        effects = await suggested.effects(NEAR)
        assert [
            one["tool"] for one, effect in zip(NEAR, effects, strict=True) if effect != "deny"
        ] == []

    def test_what_is_wide_says_so(self, suggested):
        """Only where there were many values, or ones that nobody reads."""
        wide = [line.strip() for line in suggested.draft.rules.split("\n") if "# WIDE" in line]
        assert '# WIDE: 12 different ones were seen; whatever is below "/docs/" passes.' in wide
        assert '# WIDE: 10 different ones were seen; whatever is below "src/" passes.' in wide
        assert "# WIDE: One was seen, too long to list; any of that size passes." in wide
        few = drafted("suggested", OBSERVED[-3:-2] + OBSERVED[12:15])
        assert "# WIDE" not in few.rules

    def test_what_is_not_understood_is_left_out(self):
        """No policy's text has a password in it; none lets out of the workspace."""
        made = drafted("suggested", UNCLEAR)
        assert (made.drafted, made.unclear, "allow contains" in made.rules) == (0, 4, False)
        assert "password" not in made.rules + made.tests

    def test_a_marked_host_is_a_place(self):
        """With its port, and never widened, however many there are."""
        calls = [
            Observed(
                call=CallId(f"01K{number:023d}"),
                agent=AgentId("a"),
                tool="connect",
                version="1",
                arguments={"to": f"db{number}:5432"},
                derived={"to": {"kind": "host", "host": f"db{number}", "port": 5432}},
            )
            for number in range(20)
        ]
        rules = draft("t", calls).rules
        assert rules.count('input.derived["to"].port == 5432') == 20
        assert '\tinput.derived["to"].host == "db19"\n' in rules
        assert "# WIDE" not in rules

    def test_an_argument_writes_no_rego(self, suggested):
        """Its name and value stand within quotes, in ASCII."""
        both = suggested.draft.rules + suggested.draft.tests
        assert both.isascii()
        assert not [line for line in both.split("\n") if line.startswith(("# allow", "*/"))]


def on_trial(team: str, effect: str, rule: str, **own: list[str]) -> JsonObject:
    """Make a trial of a package."""
    would_be = {**denial(rule, "m", "m").output, "effect": effect}
    rules = {"allow": [], "hold": [], "deny": [], **own}
    return {"package": f"teams.{team}", "mode": "shadow", "rules": rules, "would_be": would_be}


ALLOWED: JsonObject = {**denial("e.a", "m", "m").output, "effect": "allow"}
REFUSED = denial("e.d", "m", "m").output
HELD_BY_NOBODY = denial("broker.hold_without_allow", "m", "m").output
NOTHING = on_trial("t", "deny", "broker.not_allowed")
DENIES = on_trial("u", "deny", "u.d", deny=["u.d"])
ALLOWS = on_trial("u", "allow", "u.a", allow=["u.a"])


class TestObservations:
    @pytest.mark.parametrize(
        ("answered", "trials", "team", "sorted_as"),
        [
            (NOBODY, [], "t", "wanting"),
            (HELD_BY_NOBODY, [], "t", "wanting"),
            (NOBODY, [NOTHING], "t", "wanting"),
            (ALLOWED, [], "t", "allowed"),
            (ALLOWED, [NOTHING], "t", "wanting"),
            (ALLOWED, [NOTHING], "other", "allowed"),
            (NOBODY, [on_trial("t", "allow", "t.a", allow=["t.a"])], "t", "allowed"),
            (NOBODY, [on_trial("t", "hold", "t.h", allow=["t.a"], hold=["t.h"])], "t", "allowed"),
            (NOBODY, [ALLOWS], "other", "allowed"),
            (NOBODY, [ALLOWS, NOTHING], "t", "wanting"),
            (REFUSED, [], "t", "refused"),
            (REFUSED, [NOTHING], "t", "refused"),
            (NOBODY, [DENIES], "t", "refused"),
            (ALLOWED, [DENIES, NOTHING], "t", "refused"),
            (ALLOWED, [on_trial("t", "deny", "t.d", deny=["t.d"])], "t", "refused"),
            (denial("broker.contribution_invalid", "m", "m").output, [], "t", "refused"),
            (denial("broker.halted", "m", "m").output, [], "t", "not_policys"),
            (denial("broker.policy_timeout", "m", "m").output, [], "t", "not_policys"),
        ],
    )
    def test_only_what_lacks_an_allow_wants_one(self, answered, trials, team, sorted_as):
        """Never what a deny refused, in force or on trial; a team on trial is asked for its own."""
        body = {**answered, "trials": trials} if trials else answered
        found = Observations()
        found.add(recorded(1, ask("python_run"), body), team)
        counts = {
            "wanting": len(found.wanting),
            "allowed": found.allowed,
            "refused": found.refused,
            "not_policys": found.not_policys,
        }
        assert {name: count for name, count in counts.items() if count} == {sorted_as: 1}

    def test_what_was_erased_is_counted(self):
        """Nothing is guessed of it."""
        found = Observations()
        found.add(replace(recorded(1, ask("python_run"), NOBODY), asked=None), "t")
        assert (len(found.wanting), found.erased) == (0, 1)

    def test_a_call_that_was_decided_twice_counts_once(self):
        """Again at its release, say."""
        found = Observations()
        for _ in range(2):
            found.add(recorded(1, ask("python_run"), NOBODY), "t")
        assert len(found.wanting) == 1
