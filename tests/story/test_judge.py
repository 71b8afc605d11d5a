"""What an evaluation says of the policy that made it."""

from broker.ports import PolicyAnswer
from tests.story.fake_policy import ALLOW, FakePolicy
from tests.story.stage import ALLOWED, Stage


class _Overtaken(FakePolicy):
    """An engine whose bundle is replaced as soon as it has answered."""

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Answer by one bundle, then have the next."""
        answer = await super().evaluate(policy_input)
        self.revision += 1
        return answer


class TestBundle:
    async def test_answered_by(self) -> None:
        """An evaluation names the bundle that answered, not the one that is active by then."""
        stage = Stage()
        stage.policy = _Overtaken({ALLOWED: ALLOW})
        await stage.start()
        call = await stage.call()
        assert (call.evaluations[0].bundle_revision, stage.policy.bundle_revision) == ("1", "2")
