"""Packages on trial on generated contributions, by the real engines."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.adapters.opa_server import OpaServerEngine
from broker.adapters.opa_wasm import WasmEngine
from broker.core.canonical import JsonObject, canonical_json
from broker.core.decision_reader import read_decision
from broker.core.trial import enforced_part
from broker.errors import ConfigurationError, PolicyError
from broker.ports import PolicyEngine
from tests.policy.samples import LIMITS, ask, compiled, compiled_folder, without_teams
from tests.policy.test_metamorphic import ENTRIES, MANY, team

ENFORCED = ("a", "b")
TRIED = "t"
BY_DATA = "d"
BY_CALL = """
default mode := "enforce"

mode := "warn" if input.mode in {"warn", "both"}

mode := "shadow" if input.mode in {"shadow", "both"}

else := "shadwo" if input.mode == "misspelt"
"""
REASON = {"rule": "r", "message": "m"}
# What no set may hold, and what the broker refuses of a set that may hold it.
STRANGE = st.sampled_from(
    (
        None,
        1,
        "",
        "x",
        [],
        {},
        {"rule": "broker.x", "message": "m"},
        {"name": "pid"},
        "Ü ü",
        "X.Y:1",
    )
)
ANYTHING = st.fixed_dictionaries(
    {
        kind: st.lists(st.one_of(entry, entry, STRANGE), max_size=2)
        for kind, entry in ENTRIES.items()
    }
)
WELL_FORMED = st.fixed_dictionaries(
    {kind: st.lists(entry, max_size=2) for kind, entry in ENTRIES.items()}
)
OTHERS = st.fixed_dictionaries(dict.fromkeys(ENFORCED, WELL_FORMED))
TRIALS = st.sampled_from(("warn", "shadow"))
Sets = dict[str, list[Any]]
DENYING = """package teams.more

MODE

deny contains {"rule": "more.no", "message": "m"}

allow contains {"rule": "more.yes", "message": "m"}
"""


class Asker:
    """Ask an engine, one question at a time."""

    def __init__(self, runner: asyncio.Runner, engine: PolicyEngine) -> None:
        self._runner = runner
        self._engine = engine

    def __call__(self, others: dict[str, Sets], tried: Sets, mode: str) -> dict[str, Any]:
        """Decide one call by what these packages contribute."""
        request = {**ask("python_run"), "given": {**others, TRIED: tried}, "mode": mode}
        answer = self._runner.run(self._engine.evaluate(canonical_json(request)))
        return dict(answer.output)


@pytest.fixture(scope="module", params=["wasm", "opa"])
def decide(
    request: pytest.FixtureRequest, opa: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asker]:
    """The broker's own combination; the input names one package's mode, data another's."""
    folder = without_teams(tmp_path_factory.mktemp("modes") / "policy")
    for name in (*ENFORCED, TRIED, BY_DATA):
        (folder / "teams" / name).mkdir(parents=True)
        (folder / "teams" / name / f"{name}.rego").write_text(team(name))
    (folder / "teams" / TRIED / "mode.rego").write_text(f"package teams.{TRIED}\n{BY_CALL}")
    (folder / "teams" / BY_DATA / "data.json").write_text('{"mode": "shadow"}')
    bundle = compiled_folder(folder, opa)

    async def start() -> PolicyEngine:
        if request.param == "wasm":
            return WasmEngine(bundle, timeout_s=5)
        return await OpaServerEngine.spawn(opa, bundle, timeout_s=10)

    with asyncio.Runner() as runner:
        engine = runner.run(start())
        yield Asker(runner, engine)
        runner.run(engine.close())


def refused(output: JsonObject) -> bool:
    """Tell whether the broker takes an answer for no decision."""
    try:
        read_decision(output, LIMITS)
    except PolicyError:
        return True
    return False


class TestModes:
    @settings(MANY, max_examples=60)
    @given(others=OTHERS, tried=ANYTHING, mode=TRIALS)
    def test_on_trial_a_package_changes_nothing(self, decide, others, tried, mode):
        """Whatever it contributes, malformed or not: what is enforced stays, to the byte."""
        without = enforced_part(decide(others, {}, "enforce"))
        with_it = decide(others, tried, mode)
        assert canonical_json(enforced_part(with_it)) == canonical_json(without)
        assert refused(with_it) == refused(without)

    @settings(MANY, max_examples=60)
    @given(others=OTHERS, tried=ANYTHING, mode=TRIALS)
    def test_enforced_it_does_what_was_told(self, decide, others, tried, mode):
        """The decision is then the one that was recorded on trial, to the byte."""
        _, trial = decide(others, tried, mode)["trials"]
        enforced = enforced_part(decide(others, tried, "enforce"))
        assert canonical_json(trial["would_be"]) == canonical_json(enforced)
        assert (trial["package"], trial["mode"]) == ("teams.t", mode)


class TestUncertain:
    """What is no clear mode neither allows nor spares."""

    def test_two_values_for_one_call_are_no_decision(self, decide):
        """Policy has no answer then, which is a denial."""
        with pytest.raises(PolicyError):
            decide({"a": {"allow": [REASON]}}, {}, "both")

    def test_a_mode_that_no_text_shows_denies(self, decide):
        """Where no check of texts sees it, policy itself denies by it."""
        denied = decide({"a": {"allow": [REASON]}}, {"allow": [REASON]}, "misspelt")
        assert [(reason["rule"], reason["message"]) for reason in denied["reasons"]] == [
            ("broker.contribution_invalid", "package teams.t contributes a malformed mode")
        ]

    def test_data_puts_a_package_on_trial(self, decide):
        """One that no rule does: another's allow counts, its own deny does not."""
        answer = decide({"a": {"allow": [REASON]}, BY_DATA: {"deny": [REASON]}}, {}, "enforce")
        (trial,) = answer["trials"]
        assert (answer["effect"], trial["package"], trial["mode"]) == ("allow", "teams.d", "shadow")
        assert trial["would_be"]["effect"] == "deny"

    @pytest.mark.parametrize(
        ("text", "data", "said"),
        [
            ('mode := "shadwo"', "", "more.rego:3: team-mode: 'shadwo' is no mode"),
            ('mode := "shadow" if input.tool', "", "more.rego:3: team-mode: "),
            ("", '{"mode": "off"}', "teams/more/data.json: team-mode: 'off' is no mode"),
            ('mode := "warn"', '{"mode": "shadow"}', "conflicting rule for data path"),
        ],
        ids=["misspelt", "undefined", "data", "both"],
    )
    def test_no_bundle_is_built_of_it(self, opa, tmp_path, text, data, said):
        """The team is told where it stands."""
        folder = tmp_path / "p"
        if data:
            (folder / "teams" / "more").mkdir(parents=True)
            (folder / "teams" / "more" / "data.json").write_text(data)
        with pytest.raises(ConfigurationError, match=r"team-mode|conflicting") as refusal:
            compiled(folder, opa, {"teams/more/more.rego": DENYING.replace("MODE", text)})
        assert said in refusal.value.message
