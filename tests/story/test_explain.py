"""Why policy decided a call as it did, as the security team reads it."""

import pytest

from broker.adapters.opa_wasm import WasmEngine
from broker.adapters.policy_files import load_bundle
from broker.api.wire import call_message
from broker.core.decision import Effect
from broker.core.identity import Identity, Role
from broker.core.ids import AgentId
from broker.errors import NotFound
from broker.explain import Explainer
from broker.read import Reader
from broker.shipped import policies_dir
from tests.policy.samples import compiled_folder, without_teams
from tests.story.stage import APPROVER, DENIED, HELD, Stage

TWICE = """package teams.TEAM

deny contains {"rule": "shared.stop", "message": "see issue #12"}
"""
NEVER = """package teams.a

allow contains {"rule": "a.never", "message": "m"} if input.tool.name == "x"
"""
SECURITY = Identity(
    id=AgentId("security"),
    person="security-person",
    owner="",
    roles=frozenset({Role.POLICY}),
    groups=frozenset(),
    attributes=(),
    expires_at=None,
)


@pytest.fixture
async def stage() -> Stage:
    """A broker on fakes."""
    made = Stage()
    await made.start()
    return made


def explainer(stage: Stage) -> Explainer:
    """Explain by the sources of the shipped bundle."""
    world = stage.life.world
    bundle = load_bundle(policies_dir() / "bundle.tar.gz")
    return Explainer(Reader(world), world.store, lambda: bundle)


class TestExplain:
    async def test_the_brokers_own_refusal_has_no_place(self, stage):
        """A call of no tool never came to policy, so no rule of it decided."""
        call = await stage.call("no_such_tool")
        _, (found,) = await explainer(stage).explain(SECURITY, call.name)
        assert [(reason.rule, reason.source) for reason in found.reasons] == [
            ("broker.tool_unknown", None)
        ]

    async def test_what_nobody_allows_names_the_rules_that_allow(self, opa, tmp_path):
        """One of them would have to apply; the denial itself stands in main.rego."""
        folder = without_teams(tmp_path / "policy")
        (folder / "teams" / "a").mkdir(parents=True)
        (folder / "teams" / "a" / "a.rego").write_text(NEVER)
        bundle = compiled_folder(folder, opa)
        stage = Stage()
        stage.policy = WasmEngine(bundle, timeout_s=5)  # type: ignore[assignment]
        await stage.start()
        call = await stage.call()
        world = stage.life.world
        asked = Explainer(Reader(world), world.store, lambda: bundle)
        _, (found,) = await asked.explain(SECURITY, call.name)
        await stage.policy.close()
        (reason,) = found.reasons
        assert reason.source is not None
        assert (reason.rule, reason.source.file, reason.source.head) == (
            "broker.not_allowed",
            "broker/decision/main.rego",
            "reasons",
        )
        assert found.remedies[0] == (
            "a rule that allows has to apply; there are: a.never (teams/a/a.rego:3)"
        )
        assert found.is_active_bundle

    async def test_each_place_of_an_id_is_named(self, opa, tmp_path):
        """Where two packages have one id, the decision tells none from the other."""
        folder = without_teams(tmp_path / "policy")
        for team in ("a", "b"):
            (folder / "teams" / team).mkdir(parents=True)
            (folder / "teams" / team / "r.rego").write_text(TWICE.replace("TEAM", team))
        bundle = compiled_folder(folder, opa)
        stage = Stage()
        stage.policy = WasmEngine(bundle, timeout_s=5)  # type: ignore[assignment]
        await stage.start()
        call = await stage.call()
        world = stage.life.world
        _, (found,) = await Explainer(Reader(world), world.store, lambda: bundle).explain(
            SECURITY, call.name
        )
        await stage.policy.close()
        (reason,) = found.reasons
        assert reason.source is not None
        assert [source.file for source in (reason.source, *reason.also_at)] == [
            "teams/a/r.rego",
            "teams/b/r.rego",
        ]

    async def test_the_reasons_are_the_recorded_ones(self, stage):
        """With the message that only the security team reads."""
        call = await stage.call(DENIED)
        _, (found,) = await explainer(stage).explain(SECURITY, call.name)
        assert found.answered is not None
        recorded = found.answered.body["reasons"]
        assert [(reason.rule, reason.message) for reason in found.reasons] == [
            (told["rule"], told["message"]) for told in recorded
        ]

    async def test_each_time_that_policy_was_asked_is_explained(self, stage):
        """A held call is decided again before it begins; what held it says who has to agree."""
        call = await stage.call(HELD)
        await stage.vote(call.id, APPROVER)
        await stage.settle()
        _, (first, second) = await explainer(stage).explain(SECURITY, call.name)
        assert (first.evaluation.effect, second.evaluation.effect) == (Effect.HOLD, Effect.HOLD)
        assert first.requirements
        assert not first.is_active_bundle

    async def test_erased_content_leaves_the_place_of_the_decision(self, stage):
        """Without documents there is the effect alone, and no guess at a reason."""
        call = await stage.call(DENIED)
        stage.disk.documents.clear()
        _, (found,) = await explainer(stage).explain(SECURITY, call.name)
        assert (found.reasons, found.remedies, found.asked, found.answered) == ((), (), None, None)

    async def test_a_call_that_is_not(self, stage):
        """An unknown name is not found, also for who sees every call."""
        with pytest.raises(NotFound):
            await explainer(stage).explain(SECURITY, "calls/01K00000000000000000000000")


TRIED = """package teams.MODE

mode := "MODE"

deny contains {"rule": "MODE.no", "message": "m", "agent_message": "do without", "severity": "high"}

allow contains {"rule": "MODE.yes", "message": "m"}

redact contains "no pointer"
"""
OPEN = """package teams.open

allow contains {"rule": "open.all", "message": "m"} if input.tool.name == "python_run"

limit contains {"name": "pids", "value": 9}
"""
LOWER = """package teams.lower

mode := "shadow"

limit contains {"name": "pids", "value": 3}

egress contains "X.example.org:1"
"""


class TestTrials:
    @pytest.fixture
    async def asked(self, opa, tmp_path):
        """A broker whose policy has a package in each mode, with what explains its decisions."""
        folder = without_teams(tmp_path / "policy")
        texts = {mode: TRIED.replace("MODE", mode) for mode in ("warn", "shadow")}
        for team, text in {**texts, "open": OPEN, "lower": LOWER}.items():
            (folder / "teams" / team).mkdir(parents=True)
            (folder / "teams" / team / "r.rego").write_text(text)
        bundle = compiled_folder(folder, opa)
        stage = Stage()
        stage.policy = WasmEngine(bundle, timeout_s=5)  # type: ignore[assignment]
        await stage.start()
        yield stage, Explainer(Reader(stage.life.world), stage.life.world.store, lambda: bundle)
        await stage.policy.close()

    async def test_the_call_runs_as_if_they_were_not_there(self, asked):
        """The agent is warned by the package in mode warn, and hears nothing of the others."""
        stage, _ = asked
        call = await stage.call()
        assert call.state.value == "QUEUED"
        told = call_message(await Reader(stage.life.world).answer(call)).decision
        assert [reason.rule for reason in told.reasons] == ["open.all"]
        assert [(one.rule, one.agent_message, one.severity) for one in told.warnings] == [
            ("warn.no", "do without", "high")
        ]
        assert "shadow" not in str(told)

    async def test_the_security_team_reads_what_each_would_have_done(self, asked):
        """Its effect, its own rules by place, what else would differ; why it would be none."""
        stage, explaining = asked
        call = await stage.call()
        _, (found,) = await explaining.explain(SECURITY, call.name)
        assert [(one.trial.package, one.trial.mode.value) for one in found.trials] == [
            ("teams.lower", "shadow"),
            ("teams.shadow", "shadow"),
            ("teams.warn", "warn"),
        ]
        lower, shadow, _ = found.trials
        assert lower.changes == ('obligations.limits: {"pids":9} would be {"pids":3}',)
        assert (shadow.trial.effect, shadow.trial.rules.deny) == (Effect.DENY, ("shadow.no",))
        sources = {reason.rule: reason.source for reason in shadow.reasons}
        assert sources["broker.contribution_invalid"] is not None
        assert sources["shadow.no"] is not None
        assert sources["shadow.no"].file == "teams/shadow/r.rego"

    async def test_what_is_on_trial_allows_nobody(self, asked):
        """Neither in the decision nor in what is said to be lacking."""
        stage, explaining = asked
        call = await stage.call(HELD)
        assert call.state.value == "DENIED"
        _, (found,) = await explaining.explain(SECURITY, call.name)
        assert found.remedies[0] == (
            "a rule that allows has to apply; there are: open.all (teams/open/r.rego:3)"
        )
