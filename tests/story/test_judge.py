"""What an evaluation says of the policy that made it."""

from dataclasses import replace

import pytest

from broker.core.lifecycle import CallState
from broker.errors import PolicyStale, PolicyTimeout
from broker.ports import PolicyAnswer
from tests.ports import samples
from tests.story.fake_policy import ALLOW, FakePolicy
from tests.story.stage import ALLOWED, Stage


class _Overtaken(FakePolicy):
    """An engine whose bundle is replaced as soon as it has answered."""

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Answer by one bundle, then have the next."""
        answer = await super().evaluate(policy_input)
        self.revision += 1
        return answer


class _Failing(FakePolicy):
    """An engine whose bundle is replaced before it failed to answer."""

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Have the next bundle, and no answer."""
        self.revision += 1
        raise PolicyTimeout("too late")


class _Trying(FakePolicy):
    """An engine with a package on trial that would list these places."""

    places: tuple[object, ...] = ()

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Answer, with what that package would have made of it."""
        answer = await super().evaluate(policy_input)
        would_be = {
            **answer.output,
            "obligations": {**answer.output["obligations"], "egress": list(self.places)},
        }
        rules = {"allow": [], "hold": [], "deny": []}
        trial = {"package": "teams.t", "mode": "shadow", "rules": rules, "would_be": would_be}
        return replace(answer, output={**answer.output, "trials": [trial]})


class TestUnwritable:
    @pytest.mark.parametrize("place", [2**60, float("nan"), float("inf"), "\ud800"])
    async def test_a_decision_that_cannot_be_recorded_is_none(self, place: object) -> None:
        """It is a denial with a receipt, not a fault of the broker; what can be is recorded."""
        stage = Stage()
        stage.policy = policy = _Trying({ALLOWED: ALLOW})
        await stage.start()
        policy.places = (place,)
        call = await stage.call()
        assert (call.state, call.evaluations[0].rule) == (CallState.DENIED, "broker.policy_invalid")
        policy.places = (1, "anything else")
        assert (await stage.call()).evaluations[0].rule == "fake.allow"


class _Garbling(FakePolicy):
    """An engine whose fault quotes what is no text, as a server's answer may be."""

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Fail."""
        raise PolicyStale("the OPA server decides by revision \ud800\udfff\udcff, not by 1")


class TestGarbledFault:
    async def test_is_a_denial_all_the_same(self) -> None:
        """What it quotes is replaced, not the record of it lost."""
        stage = Stage()
        stage.policy = _Garbling({ALLOWED: ALLOW})
        await stage.start()
        call = await stage.call()
        assert (call.state, call.evaluations[0].rule) == (CallState.DENIED, "broker.policy_stale")


class TestBundle:
    async def test_failed_by(self) -> None:
        """An evaluation without an answer names the bundle that was asked, likewise."""
        stage = Stage()
        stage.policy = _Failing({ALLOWED: ALLOW})
        await stage.start()
        call = await stage.call()
        (evaluation,) = call.evaluations
        assert (evaluation.rule, evaluation.bundle_revision) == ("broker.policy_timeout", "1")
        assert evaluation.bundle_sha256 == samples.digest("bundle 1")

    async def test_answered_by(self) -> None:
        """An evaluation names the bundle that answered, not the one that is active by then."""
        stage = Stage()
        stage.policy = _Overtaken({ALLOWED: ALLOW})
        await stage.start()
        call = await stage.call()
        assert (call.evaluations[0].bundle_revision, stage.policy.bundle_revision) == ("1", "2")
