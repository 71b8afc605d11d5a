"""What the broker says of its policy engine."""

import asyncio
from datetime import timedelta

from broker.core.canonical import JsonObject
from broker.core.ids import Sha256
from broker.engine_health import EngineHealth
from broker.errors import PolicyError, PolicyStale
from broker.ports import PolicyAnswer
from tests.ports.fake_clock import FakeClock

ALLOWS_NOBODY: JsonObject = {"effect": "allow"}
DIGEST = Sha256("ab" * 32)


class Engine:
    """An engine that fails as it is told, or lets a call of nobody pass."""

    name = "opa"
    bundle_sha256 = DIGEST
    bundle_revision = "1"

    def __init__(self, error: PolicyError | None) -> None:
        self.error = error
        self.asked = 0

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Answer."""
        self.asked += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return PolicyAnswer(output=ALLOWS_NOBODY, bundle_sha256=DIGEST, bundle_revision="1")

    async def close(self) -> None:
        """Do nothing."""


class TestFault:
    async def test_reason_alone(self) -> None:
        """It is the error's reason, without what the message says of the server."""
        engine = Engine(PolicyStale("the server at opa.example.org has another bundle"))
        assert await EngineHealth(engine, FakeClock()).fault() == "POLICY_STALE"

    async def test_wrong_answer(self) -> None:
        """An engine that answers is not sound yet: the canary has to be denied."""
        assert await EngineHealth(Engine(None), FakeClock()).fault() == "POLICY_CANARY_WRONG"

    async def test_one_answer_serves_all(self) -> None:
        """Whoever asks within a second, and however many at once, the engine is asked once."""
        engine, clock = Engine(PolicyStale("m")), FakeClock()
        health = EngineHealth(engine, clock)
        await asyncio.gather(*(health.fault() for _ in range(20)))
        clock.advance(timedelta(seconds=0.9))
        await health.fault()
        assert engine.asked == 1
        clock.advance(timedelta(seconds=0.2))
        await health.fault()
        assert engine.asked == 2
