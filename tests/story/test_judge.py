"""What an evaluation says of the policy that made it."""

from broker.errors import PolicyTimeout
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
