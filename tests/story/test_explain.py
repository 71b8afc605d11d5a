"""Why policy decided a call as it did, as the security team reads it."""

import pytest

from broker.adapters.opa_wasm import WasmEngine
from broker.adapters.policy_files import load_bundle
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
