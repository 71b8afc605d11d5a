"""Put the broker together: the only place that knows every part."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path

import uvloop
from grpc import aio

from broker.activation import Activation, Means
from broker.active_policy import ActivePolicy
from broker.adapters.log_files import LogFolder
from broker.adapters.secret_sources import ConfiguredSecrets
from broker.adapters.sqlite_store import SqliteStore
from broker.adapters.system import SystemClock, SystemEntropy
from broker.adapters.telemetry import Telemetry, configure_logs
from broker.api.admin import AdminService, ServerFacts
from broker.api.approvals import ApprovalService
from broker.api.calling import Calling
from broker.api.edge import Edge
from broker.api.execution import ExecutionService
from broker.api.halting import Halting
from broker.api.policy import PolicyService
from broker.api.receipts import ReceiptService
from broker.api.server import Services, Tls, build_server, listen, set_deciding, set_serving
from broker.api.tools import ToolService
from broker.api.workspace import WorkspaceService
from broker.approve import Approvals
from broker.board import Board
from broker.bounds import ceilings, new_admission, remember, settings
from broker.brake import Brake
from broker.bundle_choice import configured_bundle, first_bundle
from broker.bundle_supply import first_look, go_on_looking, open_freshness, open_source
from broker.check import Checker
from broker.config import Config, load
from broker.core.checkpoint import log_origin
from broker.core.receipt import Position, ReceiptDraft, seal
from broker.core.receipt_draft import BrokerFacts
from broker.core.toolbox import Toolbox
from broker.core.trust_root import KeyRole, TrustRoot
from broker.engine_health import EngineHealth
from broker.errors import ConfigurationError
from broker.execute import Executor
from broker.explain import Explainer
from broker.freshness import PolicyFreshness
from broker.halts import Halts
from broker.judge import Judge
from broker.key_record import record_keys
from broker.keyring import read_log_signer, read_root, read_server_pair, read_signer
from broker.labels import Labels
from broker.leaves import Leaves
from broker.ledger import Ledger
from broker.log import Log
from broker.notary import Notary
from broker.outputs import Outputs
from broker.people import People
from broker.policy_engine import open_policy_engine
from broker.policy_keys import PolicyKeys
from broker.ports import BUNDLE_PREMISE, BundleSource, EventDraft, SandboxEngine, Signer
from broker.read import Reader
from broker.restored import end_what_was_open
from broker.sandboxes import bound_tools, check_images, docker_engine, pooled
from broker.secret_ring import open_secrets
from broker.sessions import Sessions
from broker.tasks import Tasks
from broker.timekeeping import go_on_at
from broker.uploads import Uploads
from broker.witness_ring import open_witnessing
from broker.witnessing import Witnessing
from broker.world import Gate, World

_HISTORY = timedelta(days=1)
# How long answers that are on their way may take when the server stops.
_FAREWELL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A broker that takes calls."""

    server: aio.Server
    port: int
    executor: Executor


def serve(config_path: Path) -> None:
    """Run a broker until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: Something that the operator wrote is wrong; names file and line.
        BrokerError: The store, the Engine or policy cannot be used.
    """
    config = load(config_path)
    configure_logs(config.log.level, config.log.format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config))


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(config) as broker:
        host = config.server.listen.rpartition(":")[0]
        print(f"ready: {host}:{broker.port}", flush=True)
        await stop.wait()


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Broker]:
    """Start a broker; stop it cleanly at the end.

    What is opened first is closed last; no call is taken before those of an earlier life are taken
    up again.
    """
    async with AsyncExitStack() as stack:
        outside = await _open(config, stack)
        log = await _log(config, outside, stack)
        witnessing = await open_witnessing(
            config,
            outside.keys,
            log,
            outside.store,
            clock=outside.clock,
            telemetry=outside.telemetry,
            stack=stack,
        )
        world = await _world(config, outside)
        await end_what_was_open(config, world, outside.boot)
        executor = Executor(world)
        activation = _activation(config, outside, world)
        stack.push_async_callback(activation.close)
        watch = await first_look(
            config,
            outside.source,
            activation,
            outside.freshness,
            clock=outside.clock,
            telemetry=outside.telemetry,
        )
        await executor.recover()
        drain_s = config.server.drain_timeout_s
        stack.push_async_callback(executor.stop, timedelta(seconds=drain_s))
        server, health = build_server(
            _services(config, outside, world, executor, log, witnessing, activation),
            Edge(world.people, world.clock, world.telemetry),
            max_message_bytes=config.server.max_message_bytes,
        )
        port = _listen(server, config, outside.tls)
        if config.metrics.listen:
            _serve_metrics(outside.telemetry, config)
        await set_serving(health, serving=True)

        async def announce(deciding: bool) -> None:
            await set_deciding(health, deciding=deciding and not world.gate.draining)

        go_on_looking(watch, outside.freshness, announce, stack)
        await server.start()
        stack.push_async_callback(server.stop, _FAREWELL_S)
        try:
            yield Broker(server=server, port=port, executor=executor)
        finally:
            world.gate.draining = True
            world.telemetry.stopping(executor.running)
            await set_serving(health, serving=False)
            # Before the server: who waits for a running call still hears how it ended.
            await executor.stop(timedelta(seconds=drain_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outside:
    """Everything outside the process, opened and checked."""

    boot: str
    signer: Signer
    log_signer: Signer
    tls: Tls
    trust_root: str
    keys: TrustRoot
    secrets: ConfiguredSecrets
    toolbox: Toolbox
    telemetry: Telemetry
    clock: SystemClock
    source: BundleSource | None
    policy: ActivePolicy
    freshness: PolicyFreshness | None
    store: SqliteStore
    sandboxes: SandboxEngine
    sandbox_facts: Mapping[str, str]


async def _open(config: Config, stack: AsyncExitStack) -> _Outside:
    """Open what the broker needs; whatever is missing or wrong stops the start here."""
    # Before anything could start a child, which would inherit the variables.
    ring = open_secrets(config, os.environ)
    stack.callback(ring.close)
    source = open_source(config, os.environ, stack)
    clock, boot, tls = SystemClock(), secrets.token_hex(8), _tls(config)
    keys, trust_root = read_root(config.receipts)
    signer = read_signer(config.receipts, keys)
    log_signer = read_log_signer(config.receipts, keys)
    toolbox = bound_tools(config)

    def sealed(draft: ReceiptDraft, position: Position) -> bytes:
        return seal(draft, position, signer.sign)

    configured = configured_bundle(config.policy, keys)
    store = await SqliteStore.open(
        config.store.path,
        seal=sealed,
        now=clock.now,
        is_clock_trusted=lambda: clock.is_trusted,
    )
    stack.push_async_callback(store.close)
    if (latest := await store.latest_at()) is not None:
        clock.go_on_from(latest)
    # Before a bundle is taken on the trust root's word: one that went back vouches for old keys.
    signers = {KeyRole.RECEIPT: signer, KeyRole.LOG: log_signer}
    await record_keys(store, store, clock, config.receipts.trust_root, keys, signers)
    telemetry = Telemetry()
    bundle = await first_bundle(configured, config.policy, keys, store, clock, telemetry)
    evaluator = await open_policy_engine(config.policy, bundle, os.environ)
    policy = ActivePolicy(evaluator, bundle, telemetry)
    stack.push_async_callback(policy.close)
    freshness = await open_freshness(
        config, source, policy, store=store, clock=clock, telemetry=telemetry
    )
    engine = docker_engine(config, store.installation, boot)
    sandboxes = pooled(config, engine, clock, telemetry)
    stack.push_async_callback(sandboxes.close)
    await check_images(config, toolbox, engine)
    return _Outside(
        boot=boot,
        signer=signer,
        log_signer=log_signer,
        tls=tls,
        trust_root=trust_root,
        keys=keys,
        secrets=ring,
        toolbox=toolbox,
        telemetry=telemetry,
        clock=clock,
        source=source,
        policy=policy,
        freshness=freshness,
        store=store,
        sandboxes=sandboxes,
        sandbox_facts=await sandboxes.check(),
    )


async def _log(config: Config, outside: _Outside, stack: AsyncExitStack) -> Log:
    """Take up the log, let it advance until the broker stops, and once more after its last call."""
    path = config.store.path
    log = Log(
        outside.store,
        LogFolder(path.with_name(f"{path.name}.tlog")),
        outside.log_signer,
        origin=log_origin(outside.store.installation),
        write=_leaves(config, outside).write,
        clock=outside.clock,
        entropy=SystemEntropy(),
        telemetry=outside.telemetry,
    )
    await log.open()
    tasks = Tasks()
    stack.push_async_callback(log.catch_up)
    stack.push_async_callback(tasks.cancel)
    tasks.start(log.run())
    return log


def _leaves(config: Config, outside: _Outside) -> Leaves:
    return Leaves(
        installation=outside.store.installation,
        key_id=outside.signer.key_id,
        development=config.receipts.development,
        sign=outside.signer.sign,
    )


async def _world(config: Config, outside: _Outside) -> World:
    store, clock, entropy, board = outside.store, outside.clock, SystemEntropy(), Board()
    identities = {name: entry.identity(name) for name, entry in config.identities.items()}
    people = People(identities, clock)
    await people.load(store, entropy)
    started = {"boot": outside.boot, "bundle": outside.policy.bundle_sha256, "version": _version()}
    await store.set_premise(
        BUNDLE_PREMISE,
        outside.policy.bundle_sha256,
        EventDraft(type="broker.started", at=clock.now(), data=started),
    )
    admission = new_admission(config, outside.toolbox)
    await remember(admission, store, clock.now() - _HISTORY)
    facts = BrokerFacts(
        version=_version(),
        key_id=outside.signer.key_id,
        development=config.receipts.development,
        sandbox_engine=outside.sandbox_facts,
    )
    halts = Halts(store, clock, outside.telemetry)
    await halts.load()
    labels = Labels(store)
    await labels.load()
    return World(
        settings=settings(config, outside.boot),
        gate=Gate(),
        store=store,
        ledger=Ledger(store, labels, board, clock, outside.telemetry),
        halts=halts,
        labels=labels,
        board=board,
        outputs=Outputs(board),
        clock=clock,
        entropy=entropy,
        telemetry=outside.telemetry,
        judge=_judge(config, outside, entropy),
        notary=Notary(facts, people),
        people=people,
        sandboxes=outside.sandboxes,
        secrets=outside.secrets,
        sessions=Sessions(store, entropy),
        admission=admission,
        toolbox=outside.toolbox,
    )


def _judge(config: Config, outside: _Outside, entropy: SystemEntropy) -> Judge:
    return Judge(
        outside.policy,
        outside.clock,
        entropy,
        outside.telemetry,
        ceilings(config),
        config.sandbox.runtimes,
        freshness=outside.freshness,
    )


def _activation(config: Config, outside: _Outside, world: World) -> Activation:
    means = Means(
        load=lambda bundle: open_policy_engine(config.policy, bundle, os.environ),
        keys=PolicyKeys(config.receipts.trust_root, outside.keys),
        store=outside.store,
        people=world.people,
        sandboxes=outside.sandboxes,
        clock=outside.clock,
        telemetry=outside.telemetry,
        external=config.policy.opa_url,
    )
    return Activation(outside.policy, means)


def _services(
    config: Config,
    outside: _Outside,
    world: World,
    executor: Executor,
    log: Log,
    witnessing: Witnessing,
    activation: Activation,
) -> Services:
    reader = Reader(world)
    calling = Calling(executor, reader)
    facts = ServerFacts(
        version=_version(),
        installation=outside.store.installation,
        epoch=outside.store.epoch,
        policy_engine=outside.policy.name,
        receipt_key_id=outside.signer.key_id,
        development=config.receipts.development,
        engine=dict(outside.sandbox_facts),
    )
    return Services(
        execution=ExecutionService(executor, reader, calling),
        workspace=WorkspaceService(calling, reader, Uploads(world), world.settings.files),
        tools=ToolService(world.toolbox, Checker(world)),
        approvals=ApprovalService(Approvals(world), reader),
        receipts=ReceiptService(reader, log, witnessing, outside.trust_root),
        policy=PolicyService(
            Explainer(reader, outside.store, lambda: outside.policy.bundle),
            outside.policy,
            activation,
            outside.freshness,
        ),
        admin=AdminService(
            facts,
            outside.policy,
            outside.freshness,
            EngineHealth(outside.policy, world.clock),
            world.gate,
            executor,
            Halting(Brake(world, executor.runs), world.people, partial(go_on_at, world)),
        ),
    )


def _tls(config: Config) -> Tls:
    certificate, private_key, client_ca = read_server_pair(config.server)
    return Tls(certificate=certificate, private_key=private_key, client_ca=client_ca)


def _listen(server: aio.Server, config: Config, tls: Tls) -> int:
    try:
        return listen(server, config.server.listen, tls)
    except RuntimeError as error:
        raise ConfigurationError(
            str(config.file),
            None,
            f"server.listen: {config.server.listen} cannot be used: something listens there "
            "already, or it is no address of this machine",
        ) from error


def _serve_metrics(telemetry: Telemetry, config: Config) -> None:
    host, _, port = config.metrics.listen.rpartition(":")
    try:
        telemetry.serve(host, int(port))
    except OSError as error:
        raise ConfigurationError(
            str(config.file),
            None,
            f"metrics.listen: {config.metrics.listen} cannot be used ({error.strerror}); "
            'choose another, or "" for none',
        ) from error


def _version() -> str:
    return version("toolwarrant")
