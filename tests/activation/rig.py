"""Activate bundles on real engines, over a store in memory that can fail."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from broker.activation import Activated, Activation, Activator, Means
from broker.active_policy import ActivePolicy
from broker.adapters.opa_wasm import WasmEngine
from broker.bundle_choice import first_bundle
from broker.config_policy import PolicySection
from broker.core.bundle import Bundle
from broker.core.identity import Identity, Role
from broker.core.ids import AgentId, Sha256
from broker.core.replay import rules_of
from broker.core.trust_root import TrustRoot
from broker.errors import BrokerError, PolicyUnavailable
from broker.people import People
from broker.ports import BUNDLE_PREMISE, PolicyAnswer, PolicyEngine
from tests.ports import samples
from tests.ports.fake_clock import FakeClock
from tests.ports.fake_sandbox import ContainerHost, FakeSandboxEngine
from tests.ports.memory_store import MemoryDisk, MemoryStore
from tests.story.stage import Alarms, SeededEntropy

SECURITY = Identity(
    id=AgentId("security"),
    person="security-person",
    owner="",
    roles=frozenset({Role.POLICY}),
    groups=frozenset(),
    attributes=(),
    expires_at=None,
)
BY = Activator(identity="security")
ASKED = json.dumps({"session": {"purpose": "probe"}}).encode()


async def load(bundle: Bundle) -> PolicyEngine:
    """Load a bundle into an engine, as a broker does."""
    return await asyncio.to_thread(WasmEngine, bundle, timeout_s=5, threads=1)


class Heard(Alarms):
    """Alarms that somebody can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.any = asyncio.Event()

    def alarm(self, what: str, error: BaseException) -> None:
        """Keep it."""
        super().alarm(what, error)
        self.any.set()


@dataclass
class Rig:
    """One life of a broker, as far as its policy goes.

    Use `start`, then `stop` or `crash`.
    """

    disk: MemoryDisk
    root: TrustRoot
    configured: Bundle
    load: Callable[[Bundle], Awaitable[PolicyEngine]] = load
    external: str = ""

    async def start(self) -> "Rig":
        """Begin a life, by the bundle that a broker would choose."""
        self.clock, self.alarms = FakeClock(), Heard()
        self.store = await MemoryStore.open(self.disk, seal=samples.seal, now=self.clock.now)
        people = People({SECURITY.id: SECURITY}, self.clock)
        await people.load(self.store, SeededEntropy(1))
        section = PolicySection(unsigned_bundle=True)
        first = partial(first_bundle, self.configured, section, self.root)
        bundle = await first(self.store, self.clock, self.alarms)
        self.policy = ActivePolicy(await self.load(bundle), bundle, self.alarms)
        await self.store.set_premise(BUNDLE_PREMISE, bundle.sha256, samples.event("broker.started"))
        means = Means(
            load=self.load,
            keys=lambda: self.root,
            store=self.store,
            people=people,
            sandboxes=FakeSandboxEngine(ContainerHost(), self.clock, boot="boot"),
            clock=self.clock,
            telemetry=self.alarms,
            external=self.external,
        )
        self.activation = Activation(self.policy, means)
        return self

    async def activate(self, archive: bytes, by: Activator = BY) -> Activated:
        """Activate a bundle."""
        return await self.activation.activate(archive, by=by)

    async def refused(self, archive: bytes) -> str:
        """Give why a bundle is refused; empty where it is not."""
        try:
            await self.activate(archive)
        except BrokerError as error:
            return error.reason
        return ""

    async def rule(self) -> str:
        """Give the rule by which the active policy denies."""
        answer = (await self.policy.evaluate(ASKED)).output
        return next(rule for rule in rules_of(answer) if rule.startswith("probe."))

    async def stands(self) -> tuple[int, Sha256, str, Sha256 | None]:
        """Give what is active: number, digest by memory, by the premise, by what is kept."""
        kept, bundle = self.disk.bundle, self.policy.bundle
        return (
            bundle.number,
            bundle.sha256,
            self.disk.premises[BUNDLE_PREMISE],
            kept.sha256 if kept else None,
        )

    def types(self) -> list[str]:
        """List the types of the record's events."""
        return [event.type for event in self.disk.events]

    async def stop(self) -> None:
        """End this life."""
        await self.activation.close()
        await self.policy.close()
        await self.store.close()

    async def crash(self) -> "Rig":
        """End this life without a word; begin the next."""
        self.disk.crash()
        await self.activation.close()
        await self.policy.close()
        self.disk.faults.clear()
        next_life = Rig(self.disk, self.root, self.configured, self.load, self.external)
        return await next_life.start()


class SlowEngine:
    """A `PolicyEngine` that answers when it is told to.

    Args:
        engine: Answers in truth.
    """

    name = "wasm"

    def __init__(self, engine: PolicyEngine) -> None:
        self._engine = engine
        self.may_answer = asyncio.Event()
        self.closed = asyncio.Event()

    @property
    def bundle_sha256(self) -> Sha256:
        """Digest of the bundle."""
        return self._engine.bundle_sha256

    @property
    def bundle_revision(self) -> str:
        """Revision of the bundle."""
        return self._engine.bundle_revision

    async def evaluate(self, policy_input: bytes) -> PolicyAnswer:
        """Answer, once it may."""
        await self.may_answer.wait()
        if self.closed.is_set():
            raise PolicyUnavailable("closed while it was asked")
        return await self._engine.evaluate(policy_input)

    async def close(self) -> None:
        """Close the engine."""
        self.closed.set()
        await self._engine.close()
