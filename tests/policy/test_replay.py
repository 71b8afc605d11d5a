"""A replay's parts that a broker's store seldom shows."""

from pathlib import Path

import pytest

from broker.adapters.opa_wasm import WasmEngine
from broker.core.canonical import JsonObject
from broker.core.decision import Effect, denial
from broker.core.document import SALT_BYTES, Document, DocumentKind
from broker.core.ids import AgentId
from broker.core.replay import Recorded, Replay, rules_of
from broker.replay import replay
from tests.policy.hostile import inputs
from tests.policy.samples import AGENT, CALL, ask, compiled

NO_PLACE = """package teams.more

egress contains "EXAMPLE.org:443"
"""

AS_THE_BROKER = """package teams.more

deny contains {"rule": "broker.halted", "message": "m"}
"""


def sealed(kind: DocumentKind, body: JsonObject) -> Document:
    """Make a document as the store keeps it."""
    return Document.seal(kind, body, salt=bytes(SALT_BYTES))


async def recorded(engine: WasmEngine, asked: JsonObject) -> Recorded:
    """Let an engine decide as the broker does."""
    question = sealed(DocumentKind.POLICY_INPUT, asked)
    answer = await engine.evaluate(question.body_text)
    return Recorded(
        call=CALL,
        tool="python_run",
        agent=AgentId(AGENT.id),
        asked=question,
        answered=sealed(DocumentKind.DECISION, answer.output),
    )


def erased(part: str) -> Recorded:
    """Make a decision of which one document is gone."""
    kept = {
        "asked": sealed(DocumentKind.POLICY_INPUT, ask("python_run")),
        "answered": sealed(DocumentKind.DECISION, denial("a.b", "m", "m").output),
    }
    kept.pop(part)
    return Recorded(
        **{"asked": None, "answered": None, **kept},  # type: ignore[arg-type]
        call=CALL,
        tool="python_run",
        agent=AgentId(AGENT.id),
    )


def counts(found: Replay) -> tuple[int, int, int, int]:
    """Give decisions, changes, the broker's own, erased ones."""
    return found.decisions, len(found.changes), found.not_policys, found.erased


class TestReplay:
    @pytest.mark.parametrize("part", ["asked", "answered"])
    async def test_what_was_erased_is_left_out_and_counted(self, wasm, part):
        """Half of a decision is none: nothing is guessed."""
        assert counts(await replay(wasm, [erased(part)])) == (0, 0, 0, 1)

    @pytest.mark.parametrize(
        ("rules", "counted"),
        [
            (["broker.policy_timeout"], (0, 0, 1)),
            (["broker.policy_stale"], (0, 0, 1)),
            (["broker.too_many_holds"], (0, 1, 0)),
            (["broker.halted"], (0, 1, 0)),
            (["broker.not_allowed"], (1, 0, 0)),
            (["broker.hold_without_allow"], (1, 0, 0)),
            (["team.rule"], (1, 0, 0)),
            (["broker.team_rule"], (1, 0, 0)),
            (["broker.halted", "team.rule"], (1, 0, 0)),
        ],
    )
    async def test_a_refusal_of_the_brokers_own_is_left_out(self, wasm, rules, counted):
        """Told by its whole id, alone: a decision of a team's rule is policy's, whatever its id."""
        reasons = [{**denial(rule, "m", "m").output["reasons"][0]} for rule in rules]  # type: ignore[index, dict-item]
        one = Recorded(
            call=CALL,
            tool="x",
            agent=AgentId(AGENT.id),
            asked=sealed(DocumentKind.POLICY_INPUT, ask("x")),
            answered=sealed(
                DocumentKind.DECISION, {**denial("x", "m", "m").output, "reasons": reasons}
            ),
        )
        found = await replay(wasm, [one])
        assert (found.decisions, found.not_policys, found.failed) == counted

    async def test_a_team_that_speaks_as_the_broker_is_replayed(self, opa, tmp_path: Path):
        """Its rule makes a malformed contribution, which is policy's own denial."""
        sources = {"teams/more/more.rego": AS_THE_BROKER}
        engine = WasmEngine(compiled(tmp_path / "p", opa, sources), timeout_s=5)
        one = await recorded(engine, ask("python_run"))
        found = await replay(engine, [one])
        await engine.close()
        assert one.answered is not None
        assert rules_of(one.answered.body) == ("broker.contribution_invalid", "teams.more.deny")
        assert (found.decisions, found.not_policys, found.failed) == (1, 0, 0)

    async def test_what_is_no_decision_would_be_a_denial(self, wasm, opa, tmp_path: Path):
        """A bundle whose answer the broker refuses is not taken for one that changes nothing."""
        asked: JsonObject = {**ask("python_run")}
        tool = asked["tool"]
        assert isinstance(tool, dict)
        asked = {**asked, "tool": {**tool, "egress": ["EXAMPLE.org:443"]}}
        sources = {"teams/more/more.rego": NO_PLACE}
        broken = WasmEngine(compiled(tmp_path / "p", opa, sources), timeout_s=5)
        found = await replay(broken, [await recorded(wasm, asked)])
        await broken.close()
        (change,) = found.changes
        assert (change.was.effect, change.would_be.effect) == (Effect.ALLOW, Effect.DENY)
        assert change.would_be.rules == ("broker.policy_invalid",)

    async def test_hundreds_of_questions_replay_to_the_same_bytes(self, wasm):
        """More than are asked at once; two decisions on one call are one held call."""
        # As the broker builds them: one in four of the generated ones.
        asked = list(inputs(1600, seed=5))[::4]
        decisions = [await recorded(wasm, question) for question in asked]
        found = await replay(wasm, decisions)
        assert (found.decisions, found.changes) == (400, [])
        assert len(found.were_held) == 1
        assert found.were_held == found.would_be_held


ON_TRIAL = """package teams.more

MODE

deny contains {"rule": "more.no_python", "message": "m"} if input.tool.name == "python_run"

limit contains {"name": "pids", "value": 7} if input.tool.name == "workspace_list"
"""


def on_trial(mode: str) -> dict[str, str]:
    """Write that package, in a mode or enforced without a word."""
    return {"teams/more/more.rego": ON_TRIAL.replace("MODE\n\n", mode)}


class TestModes:
    @pytest.fixture
    async def engines(self, opa, tmp_path: Path):
        """The package on trial; enforced; not there."""
        shadow = compiled(tmp_path / "s", opa, on_trial('mode := "shadow"\n\n'))
        enforced = compiled(tmp_path / "e", opa, on_trial(""))
        made = [WasmEngine(shadow, timeout_s=5), WasmEngine(enforced, timeout_s=5)]
        yield made
        for engine in made:
            await engine.close()

    async def test_a_package_that_leaves_its_trial_changes_what_it_was_told_to(self, wasm, engines):
        """Counted are the decisions that are others for somebody, as the trial had foretold."""
        shadow, enforced = engines
        asked = [ask(name) for name in ("python_run", "workspace_list", "pdf_text", "unknown")]
        decisions = [await recorded(shadow, question) for question in asked]
        foretold = await replay(shadow, decisions)
        assert (foretold.changes, foretold.trials_differ) == ([], 0)
        assert foretold.by_trial == {
            ("teams.more", Effect.ALLOW, Effect.DENY): 1,
            ("teams.more", Effect.ALLOW, Effect.ALLOW): 1,
        }
        found = await replay(enforced, decisions)
        assert [(change.was.effect, change.would_be.effect) for change in found.changes] == [
            (Effect.ALLOW, Effect.DENY),
            (Effect.ALLOW, Effect.ALLOW),
        ]
        assert (found.newly, found.trials_differ) == ({"more.no_python": 1}, 2)

    async def test_a_package_that_comes_on_trial_changes_nothing(self, wasm, engines):
        """Its findings are told apart: no decision is another for anybody."""
        shadow, _ = engines
        asked = [ask(name) for name in ("python_run", "workspace_list", "pdf_text")]
        decisions = [await recorded(wasm, question) for question in asked]
        found = await replay(shadow, decisions)
        assert (found.decisions, found.changes, found.trials_differ) == (3, [], 3)
        assert found.by_trial.total() == 2
