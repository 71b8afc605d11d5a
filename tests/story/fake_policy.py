"""Decide as the test says."""

import asyncio
import json
from collections.abc import Mapping

from broker.core.canonical import JsonObject, JsonValue
from broker.core.ids import Sha256
from broker.errors import PolicyUnavailable
from broker.ports import PolicyAnswer
from tests.ports import samples

ALLOW = "allow"
HOLD = "hold"
DENY = "deny"


class FakePolicy:
    """A `PolicyEngine` whose rules are a table: tool with effect.

    Args:
        rules: What is not in it is denied.
        limits: Limits that every answer sets.
        secrets: Names that every answer grants.
        requirements: Group with how many of it must approve; the empty group is anybody.
        labels: Tool with what its calls are labelled with.
        tainted: Tool with its effect, by what label of the session.
    """

    name = "wasm"

    def __init__(self, rules: Mapping[str, str]) -> None:
        self.rules = dict(rules)
        self.limits: dict[str, int] = {}
        self.requirements: dict[str, int] = {"": 1}
        self.secrets: list[str] = []
        self.labels: dict[str, list[str]] = {}
        self.tainted: dict[tuple[str, str], str] = {}
        self.revision = 1
        self.asked = 0
        self.is_there = True

    @property
    def bundle_sha256(self) -> Sha256:
        """Digest of the bundle."""
        return samples.digest(f"bundle {self.revision}")

    @property
    def bundle_revision(self) -> str:
        """Revision of the bundle."""
        return str(self.revision)

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Look the tool up."""
        await asyncio.sleep(0)
        self.asked += 1
        if not self.is_there:
            raise PolicyUnavailable("the engine is gone")
        asked = json.loads(policy_input)
        tool, effect = asked["tool"]["name"], self.rules.get(asked["tool"]["name"], DENY)
        for label in asked["session"]["labels"]:
            effect = self.tainted.get((tool, label), effect)
        return PolicyAnswer(
            output={**self._output(effect), "labels": self.labels.get(tool, [])},
            bundle_sha256=self.bundle_sha256,
            bundle_revision=self.bundle_revision,
        )

    async def close(self) -> None:
        """Do nothing."""

    def _output(self, effect: str) -> JsonObject:
        reason = {
            "rule": f"fake.{effect}",
            "message": effect,
            "agent_message": effect,
            "severity": "low",
        }
        output: dict[str, JsonValue] = {
            "effect": effect,
            "reasons": [reason],
            "risk": 1,
            "obligations": {
                "runtime": "runc",
                "limits": dict(self.limits),
                "egress": [],
                "secrets": list(self.secrets),
                "redact": [],
            },
        }
        if effect == HOLD:
            output["approval"] = {
                "requirements": [
                    {"group": group, "count": count} for group, count in self.requirements.items()
                ],
                "decide_within_s": 3600,
                "run_within_s": 600,
            }
        return output


class WaitingPolicy(FakePolicy):
    """A `FakePolicy` that answers when it is told to."""

    def __init__(self, rules: Mapping[str, str]) -> None:
        super().__init__(rules)
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Answer, once it may."""
        answer = await super().evaluate(policy_input)
        await self.may_answer.wait()
        return answer
