"""Play the story of calls on fakes: a broker that can die at any write, then live again."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from broker.adapters.tool_files import read_catalog
from broker.answer import Answer
from broker.approve import Approvals, Ballot
from broker.board import Board
from broker.brake import Brake, Halted
from broker.core.admission import Admission, Quotas
from broker.core.call import Call, Verdict
from broker.core.canonical import canonical_json
from broker.core.decision import Limits
from broker.core.freshness import Freshness
from broker.core.halt import Halt, Scope
from broker.core.identity import Identity, Role
from broker.core.ids import AgentId, CallId, HaltId
from broker.core.lifecycle import CallState, Step
from broker.core.order import JsonCaps, Wish
from broker.core.receipt_draft import BrokerFacts
from broker.core.toolbox import BoundTool, Toolbox
from broker.errors import NotFound, StoreUnavailable, Unavailable
from broker.execute import Executor
from broker.halts import Halts
from broker.judge import Judge
from broker.labels import Labels
from broker.ledger import Ledger
from broker.notary import Notary
from broker.outputs import Outputs
from broker.people import People
from broker.ports import EventDraft
from broker.run import BUNDLE_PREMISE
from broker.sessions import Sessions
from broker.shipped import tools_dir
from broker.world import FileLimits, Gate, Settings, World
from tests.ports import history, samples
from tests.ports.fake_clock import FakeClock
from tests.ports.fake_sandbox import ContainerHost, FakeSandboxEngine
from tests.ports.fake_secrets import FakeSecrets
from tests.ports.memory_store import Fault, MemoryDisk, MemoryStore
from tests.story.fake_policy import ALLOW, HOLD, FakePolicy

ALLOWED = "python_run"
HELD = "workspace_delete"
DENIED = "workspace_read"
EVERYTHING = Scope(everything=True)
_TURNS = 20_000
_ATTEMPTS = 20
FILES = FileLimits(
    upload_bytes=1 << 20,
    uploads=4,
    upload_within_s=300,
    upload_idle_s=30,
    keep_uploads=timedelta(hours=1),
    agent_bytes=1 << 20,
)
_LIMITS = Limits(
    cpu_millicores=2000,
    memory_bytes=1 << 30,
    pids=256,
    timeout_s=300,
    output_bytes=1 << 23,
    tmp_bytes=1 << 28,
)


def _who(
    name: str, role: Role, *, owner: str = "", groups: frozenset[str] = frozenset()
) -> Identity:
    return Identity(
        id=AgentId(name),
        person="" if role is Role.AGENT else f"{name}-person",
        owner=owner,
        roles=frozenset({role}),
        groups=groups,
        attributes=(),
        expires_at=None,
    )


AGENT = _who("agent", Role.AGENT, owner="owner")
AGENT2 = _who("agent2", Role.AGENT, owner="owner")
ADMIN = _who("admin", Role.ADMIN)
APPROVER = _who("approver", Role.APPROVER)
APPROVER2 = _who("approver2", Role.APPROVER, groups=frozenset({"security"}))


class Alarms:
    """A `Telemetry` that keeps what operators would hear."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.errors: list[BaseException] = []
        self.lag: tuple[dict[str, int], int] | None = None

    def recorded(self, call: Call, steps: Sequence[Step]) -> None:
        """Ignore it."""

    def taken_up(self, call: Call) -> None:
        """Ignore it."""

    def decided(self, engine: str, seconds: float) -> None:
        """Ignore it."""

    def refused(self, rpc: str, reason: str) -> None:
        """Ignore it."""

    def halted(self, halt: Halt, active: int) -> None:
        """Ignore it."""

    def resumed(self, halt: Halt, active: int) -> None:
        """Ignore it."""

    def sandbox_taken(self, *, was_waiting: bool) -> None:
        """Count nothing."""

    def sandboxes_waiting(self, containers: int) -> None:
        """Count nothing."""

    def bundle_looked(self, outcome: str) -> None:
        """Count nothing."""

    def policy_freshness(self, state: Freshness, confirmed_at: datetime | None) -> None:
        """Ignore it."""

    def witnesses_lag(self, entries: Mapping[str, int], unwitnessed: int) -> None:
        """Keep it."""
        self.lag = (dict(entries), unwitnessed)

    def stopping(self, running: int) -> None:
        """Forget it."""

    def policy_active(self, revision: str, instead_of: str) -> None:
        """Ignore it."""

    def alarm(self, what: str, error: BaseException) -> None:
        """Keep it."""
        self.heard.append(what)
        self.errors.append(error)


class SeededEntropy:
    """An `Entropy` that a seed repeats."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def random_bytes(self, size: int) -> bytes:
        """Draw bytes."""
        return self._chance.randbytes(size)


class CrashPoints(dict[int, Fault]):
    """Faults after which the broker is dead, rather than told."""

    def __init__(self, kill: Callable[[], None]) -> None:
        super().__init__()
        self._kill = kill

    def pop(self, key: int, default: Fault | None = None) -> Fault | None:  # type: ignore[override]
        """Give the fault of a write; the broker that made it does nothing more."""
        fault = super().pop(key, default)
        if fault is not None:
            self._kill()
        return fault


@dataclass(slots=True)
class Life:
    """One life of the broker."""

    world: World
    executor: Executor
    approvals: Approvals
    brake: Brake
    sandboxes: FakeSandboxEngine
    is_over: bool = False


class Stage:
    """A broker on fakes, with the disk and the containers that outlive it."""

    def __init__(self, *, max_running: int = 2, start_within_s: int = 600) -> None:
        self.disk = MemoryDisk()
        self.host = ContainerHost()
        self.clock = FakeClock()
        self.policy = FakePolicy({ALLOWED: ALLOW, HELD: HOLD, "workspace_write": ALLOW})
        self.alarms = Alarms()
        self.secrets = FakeSecrets()
        self.lives = 0
        self.actors: set[asyncio.Task[object] | None] = set()
        """Tasks of the test besides the current one: they outlive a broker."""
        self._entropy = SeededEntropy(7)
        self._max_running = max_running
        self._start_within_s = start_within_s
        self._life: Life | None = None
        images = {tool.name: tool for tool in read_catalog(tools_dir()).tools}
        self._toolbox = Toolbox(
            BoundTool(tool=tool, image="sha256:" + samples.digest(tool.image))
            for tool in images.values()
        )

    def declare(self, name: str, *secrets: str) -> None:
        """Let a tool ask for secrets; from the next life on."""
        self._toolbox = Toolbox(
            replace(bound, tool=replace(bound.tool, secrets=secrets, starts_ahead=False))
            if bound.name == name
            else bound
            for bound in self._toolbox.all()
        )

    # --- lives ----------------------------------------------------------------------------

    @property
    def life(self) -> Life:
        """The broker that lives now."""
        assert self._life is not None
        return self._life

    async def start(self) -> Life:
        """Begin a life; it takes up what the one before left."""
        while True:
            try:
                self._life = await self._open()
                return self._life
            except StoreUnavailable:
                # A write of the start itself went wrong: the operator starts it again.
                self.disk.crash()

    def crash_at(self, write: int, fault: Fault) -> None:
        """Let the broker die at this write, counted from 1 through all lives."""
        self.disk.faults = CrashPoints(self._die)
        self.disk.faults[write] = fault

    def _die(self) -> None:
        self.disk.crash()
        if self._life is not None:
            self._life.is_over = True
            self._life.sandboxes.is_dead = True

    async def restart(self) -> Life:
        """Kill the broker where it lives, start the next."""
        self._die()
        while left := asyncio.all_tasks() - self.actors - {asyncio.current_task()}:
            for task in left:
                task.cancel()
            await asyncio.wait(left)
        return await self.start()

    async def revive(self) -> None:
        """Start the next life where this one is over."""
        if self.life.is_over:
            await self.restart()

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if not ready:
                return
        raise AssertionError("the story goes round and round")

    async def run_until(self, holds: Callable[[], bool]) -> None:
        """Let things happen one by one until something holds."""
        for _ in range(_TURNS):
            if holds():
                return
            await asyncio.sleep(0)
        raise AssertionError("it never held")

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, with everything that it brings about."""
        await self.settle()
        self.clock.advance(timedelta(seconds=seconds))
        await self.settle()

    # --- what people and agents do --------------------------------------------------------

    async def call(
        self,
        tool: str = ALLOWED,
        request_id: str = "",
        agent: Identity = AGENT,
        session: str = "",
        **arguments: str,
    ) -> Call:
        """Call a tool, once."""
        return (await self.admit(tool, request_id, agent, session, **arguments)).call

    async def admit(
        self,
        tool: str = ALLOWED,
        request_id: str = "",
        agent: Identity = AGENT,
        session: str = "",
        **arguments: str,
    ) -> Answer:
        """Call a tool, once, for the whole answer."""
        shown = arguments or (
            {"code": request_id or "1"} if tool == ALLOWED else {"path": request_id or "f"}
        )
        wish = Wish(
            tool=tool,
            arguments_json=canonical_json(dict(shown)).decode(),
            request_id=request_id,
            session_id=session,
            parent_call="",
            purpose="",
            timeout_s=None,
        )
        return await self.life.executor.admit(agent, wish)

    async def insist(self, tool: str, request_id: str, **arguments: str) -> CallId:
        """Call a tool as a client does: again while the broker is unavailable."""
        for _ in range(_ATTEMPTS):
            try:
                return (await self.call(tool, request_id, **arguments)).id
            except Unavailable:
                await self.pass_time(1)
                await self.revive()
        raise AssertionError("the broker never took the call")

    async def vote(self, call: CallId, voter: Identity = APPROVER, *, approve: bool = True) -> Call:
        """Vote on exactly the view that the call shows."""
        held = await self.read(call)
        assert held.hold is not None
        verdict = Verdict.APPROVE if approve else Verdict.REJECT
        ballot = Ballot(verdict=verdict, view_sha256=held.hold.view_sha256, reason="as seen")
        return await self.life.approvals.vote(voter, held, ballot)

    async def halt(self, scope: Scope = EVERYTHING, reason: str = "a test") -> Halted:
        """Halt as an administrator."""
        return await self.life.brake.halt(ADMIN, scope, reason)

    async def resume(self, halt: HaltId | None = None) -> Sequence[Halt]:
        """Lift a halt, or all."""
        return await self.life.brake.resume(ADMIN, halt)

    async def read(self, call: CallId) -> Call:
        """Read a call as the broker shows it."""
        found = await self.life.world.ledger.get(call)
        if found is None:
            raise NotFound(call)
        return found

    def stored(self, call: CallId) -> Call:
        """Read a call as the disk has it."""
        return self.disk.calls[call]

    def steps(self, call: CallId) -> list[Step]:
        """Give what happened to a call."""
        events = self.disk.events_of[call]
        return [Step(event.type) for event in events if not history.is_note(event)]

    def bundle_changes(self) -> None:
        """Activate the next bundle, in the store and in the engine."""
        self.policy.revision += 1
        self.disk.premises[BUNDLE_PREMISE] = self.policy.bundle_sha256

    # --- what must hold -------------------------------------------------------------------

    async def check(self) -> None:
        """Fail where the record, or the host, is not what it must be at rest."""
        await history.check_store(self.life.world.store)
        history.check_halts(self.disk.events, self.disk.calls)
        history.check_labels(self.disk.events, self.disk.calls, self.disk.labels)
        assert not self.disk.violations
        assert self.host.containers == {}
        assert all(times == 1 for times in self.host.began.values()), self.host.began

    async def check_all_ended(self) -> None:
        """Fail where a call has not ended with exactly one receipt."""
        await self.check()
        states = {call.id: call.state for call in self.disk.calls.values()}
        assert all(state.is_final for state in states.values()), states
        assert sorted(receipt.call for receipt in self.disk.receipts) == sorted(states)
        starts = [event.call for event in self.disk.events if event.type == Step.START.value]
        assert len(starts) == len(set(starts))
        assert self.host.began.total() <= len(starts)
        succeeded = [call for call, state in states.items() if state is CallState.SUCCEEDED]
        assert self.host.began.total() >= len(succeeded)

    async def _open(self) -> Life:
        self.lives += 1
        boot = f"boot-{self.lives}"
        store = await MemoryStore.open(
            self.disk,
            seal=samples.seal,
            now=self.clock.now,
            is_clock_trusted=lambda: self.clock.is_trusted,
        )
        sandboxes = FakeSandboxEngine(self.host, self.clock, boot=boot)
        identities = {who.id: who for who in (AGENT, AGENT2, APPROVER, APPROVER2, ADMIN)}
        people = People(dict(identities), self.clock)
        await people.load(store, self._entropy)
        await store.set_premise(
            BUNDLE_PREMISE,
            self.policy.bundle_sha256,
            EventDraft(type="broker.started", at=self.clock.now(), data={"boot": boot}),
        )
        halts = Halts(store, self.clock, self.alarms)
        await halts.load()
        labels = Labels(store)
        await labels.load()
        world = self._world(store, halts, labels, sandboxes, people, boot)
        executor = Executor(world)
        life = Life(
            world=world,
            executor=executor,
            approvals=Approvals(world),
            brake=Brake(world, executor.runs),
            sandboxes=sandboxes,
        )
        self._life = life
        await executor.recover()
        return life

    def _world(
        self,
        store: MemoryStore,
        halts: Halts,
        labels: Labels,
        sandboxes: FakeSandboxEngine,
        people: People,
        boot: str,
    ) -> World:
        quotas = Quotas(
            calls_per_second=1e6, burst=1_000_000, open_calls=1000, held_calls=1000, sessions=1000
        )
        facts = BrokerFacts(
            version="0", key_id=samples.digest("key"), development=True, sandbox_engine={}
        )
        board = Board()
        return World(
            settings=Settings(
                boot=boot,
                caps=JsonCaps(max_bytes=1 << 16, max_depth=16, max_values=1_000),
                start_within=timedelta(seconds=self._start_within_s),
                max_running=self._max_running,
                running_per_agent=self._max_running,
                workspace_files=100,
                workspace_bytes=1 << 20,
                files=FILES,
            ),
            gate=Gate(),
            store=store,
            halts=halts,
            labels=labels,
            ledger=Ledger(store, labels, board, self.clock, self.alarms),
            board=board,
            outputs=Outputs(board),
            clock=self.clock,
            entropy=self._entropy,
            telemetry=self.alarms,
            judge=Judge(self.policy, self.clock, self._entropy, self.alarms, _LIMITS),
            notary=Notary(facts, people),
            people=people,
            sandboxes=sandboxes,
            secrets=self.secrets,
            sessions=Sessions(store, self._entropy),
            admission=Admission(quotas, [tool.name for tool in self._toolbox.all()]),
            toolbox=self._toolbox,
        )
