"""Readers of large content take turns with themselves, with nobody else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from broker.activation import Activation, Means
from broker.active_policy import ActivePolicy
from broker.adapters.file_signer import FileSigner
from broker.adapters.policy_files import load_bundle
from broker.api.approvals import ApprovalService
from broker.api.calling import Calling
from broker.api.execution import ExecutionService
from broker.api.identity import enter
from broker.api.policy import PolicyService
from broker.api.receipts import ReceiptService
from broker.api.workspace import WorkspaceService
from broker.core.bundle import Bundle
from broker.core.document import Document
from broker.core.identity import Identity
from broker.core.ids import AgentId, Sha256
from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot
from broker.explain import Explainer
from broker.ports import PolicyEngine
from broker.read import Reader
from broker.shipped import policies_dir
from broker.turns import Turns
from broker.uploads import Uploads
from broker.v1 import approval_pb2, execution_pb2, policy_pb2, receipt_pb2, workspace_pb2
from tests.log.fakes import MemoryFiles, new_log, without_witnesses
from tests.story.fake_policy import ALLOW
from tests.story.stage import AGENT, AGENT2, ALLOWED, APPROVER, APPROVER2, FILES, HELD, Stage
from tests.story.test_watch import AUDITOR
from tests.verify.receipts import new_signer

READER = AgentId("reader")
# No service looks at its context.
CONTEXT: Any = None


def activation(stage: Stage, bundle: Bundle, signer: FileSigner) -> Activation:
    """Give what exchanges bundles; nobody here does."""

    async def load(bundle: Bundle) -> PolicyEngine:
        raise AssertionError(f"{bundle.revision} was to stay where it is")

    world = stage.life.world
    means = Means(
        load=load,
        root=TrustRoot(
            version=1, keys=(TrustedKey.from_pem(KeyRole.POLICY, signer.public_key_pem),)
        ),
        store=world.store,
        people=world.people,
        sandboxes=world.sandboxes,
        clock=world.clock,
        telemetry=world.telemetry,
    )
    return Activation(ActivePolicy(stage.policy, bundle, world.telemetry), means)


class Desk:
    """The services of a broker, each by the way that it reads a call."""

    def __init__(self, stage: Stage, signer: FileSigner) -> None:
        self.reader = Reader(stage.life.world)
        world, executor = stage.life.world, stage.life.executor
        calling = Calling(executor, self.reader)
        self.execution = ExecutionService(executor, self.reader, calling)
        self.workspace = WorkspaceService(calling, self.reader, Uploads(world), FILES)
        self.approvals = ApprovalService(stage.life.approvals, self.reader)
        self.log = new_log(world.store, MemoryFiles(), signer)
        self.receipts = ReceiptService(
            self.reader, self.log, without_witnesses(self.log, world.store), "{}"
        )
        bundle = load_bundle(policies_dir() / "bundle.tar.gz")
        explainer = Explainer(self.reader, world.store, lambda: bundle)
        self.policy = PolicyService(explainer, stage.policy, activation(stage, bundle, signer))

    async def get(self, call: str) -> None:
        """Read the call."""
        await self.execution.GetCall(execution_pb2.GetCallRequest(call=call), CONTEXT)

    async def wait(self, call: str) -> None:
        """Wait for it, though it has ended."""
        await self.execution.WaitCall(execution_pb2.WaitCallRequest(call=call), CONTEXT)

    async def watch(self, call: str) -> None:
        """Watch its events to the last, with which the call comes."""
        request = execution_pb2.WatchCallRequest(call=call, events_only=True)
        async for _ in self.execution.WatchCall(request, CONTEXT):
            pass

    async def watch_output(self, call: str) -> None:
        """Watch what it wrote until the first piece."""
        request = execution_pb2.WatchCallRequest(call=call)
        async for message in self.execution.WatchCall(request, CONTEXT):
            if message.HasField("output"):
                return
        raise AssertionError("there was no output")

    async def list(self, _: str) -> None:
        """List calls."""
        await self.execution.ListCalls(execution_pb2.ListCallsRequest(), CONTEXT)

    async def receipt(self, call: str) -> None:
        """Read its receipt with the documents."""
        await self.receipts.GetReceipt(receipt_pb2.GetReceiptRequest(call=call), CONTEXT)

    async def prove(self, call: str) -> None:
        """Read the proof that its receipt is in the log, which covers it already."""
        request = receipt_pb2.GetInclusionProofRequest(call=call)
        await self.receipts.GetInclusionProof(request, CONTEXT)

    async def explain(self, call: str) -> None:
        """Read why policy decided it so."""
        await self.policy.ExplainCall(policy_pb2.ExplainCallRequest(call=call), CONTEXT)

    async def list_receipts(self, _: str) -> None:
        """List receipts."""
        await self.receipts.ListReceipts(receipt_pb2.ListReceiptsRequest(), CONTEXT)

    async def hold(self, call: str) -> None:
        """Read the view of a hold."""
        await self.approvals.GetHold(approval_pb2.GetHoldRequest(call=call), CONTEXT)

    async def fetch(self, _: str) -> None:
        """Download a file until the first piece, by a call of one's own."""
        request = workspace_pb2.GetFileRequest(path="f")
        async for message in self.workspace.GetFile(request, CONTEXT):
            if message.HasField("chunk"):
                return
        raise AssertionError("there was no file")

    async def list_files(self, _: str) -> None:
        """List files by a call of one's own, then go on with what it gave."""
        first = await self.workspace.ListFiles(workspace_pb2.ListFilesRequest(), CONTEXT)
        token = f"{first.call.name.removeprefix('calls/')}.0"
        await self.workspace.ListFiles(workspace_pb2.ListFilesRequest(page_token=token), CONTEXT)

    def ask(self, identity: Identity, way: str, call: str) -> "asyncio.Task[None]":
        """Let somebody read."""

        async def asked() -> None:
            enter(identity)
            await getattr(self, way)(call)

        return asyncio.create_task(asked())


RECORD = [
    "get",
    "wait",
    "watch",
    "watch_output",
    "list",
    "receipt",
    "list_receipts",
    "prove",
    "explain",
]
CASES = [
    *[(way, ALLOWED, AGENT, AUDITOR) for way in RECORD],
    ("hold", HELD, APPROVER, APPROVER2),
    ("fetch", ALLOWED, AGENT, AGENT2),
    ("list_files", ALLOWED, AGENT, AGENT2),
]


class TestReads:
    @pytest.mark.parametrize(("way", "tool", "one", "other"), CASES, ids=[row[0] for row in CASES])
    async def test_wait_for_the_readers_own_turn_alone(
        self, way: str, tool: str, one: Identity, other: Identity, tmp_path: Path
    ) -> None:
        """While one read of somebody is under way their others wait, and nobody else does."""
        stage = Stage()
        await stage.start()
        stage.policy.rules |= {"workspace_read": ALLOW, "workspace_list": ALLOW}
        call = await stage.call(tool)
        await stage.settle()
        desk = Desk(stage, new_signer(tmp_path / "log.key"))
        await desk.log.catch_up()
        async with desk.reader.turns.of(one.id):
            own, others = (desk.ask(who, way, call.name) for who in (one, other))
            await stage.settle()
            meanwhile = own.done(), others.done()
        await stage.settle()
        assert (meanwhile, own.done()) == ((False, True), True)
        await asyncio.gather(own, others)


class Unread(dict[Sha256, Document]):
    """Documents that nobody may ask for."""

    def get(self, key: Sha256, default: object = None) -> NoReturn:
        """Fail whoever asks."""
        raise AssertionError("a document was read")


class TestProof:
    async def test_reads_no_document(self, tmp_path: Path) -> None:
        """A proof is made of the receipt alone, however large the call's result is."""
        stage = Stage()
        await stage.start()
        call = await stage.call(ALLOWED)
        await stage.settle()
        desk = Desk(stage, new_signer(tmp_path / "log.key"))
        await desk.log.catch_up()
        stage.disk.documents = Unread(stage.disk.documents)
        with pytest.raises(AssertionError, match="a document was read"):
            await desk.ask(AGENT, "receipt", call.name)
        await desk.ask(AGENT, "prove", call.name)

    async def test_waits_without_its_turn(self, tmp_path: Path) -> None:
        """Whoever waits until the log covers a receipt may read something else meanwhile."""
        stage = Stage()
        await stage.start()
        call = await stage.call(ALLOWED)
        await stage.settle()
        desk = Desk(stage, new_signer(tmp_path / "log.key"))
        enter(AGENT)
        request = receipt_pb2.GetInclusionProofRequest(call=call.name)
        proof = asyncio.create_task(desk.receipts.GetInclusionProof(request, CONTEXT))
        await stage.settle()
        await desk.ask(AGENT, "receipt", call.name)
        meanwhile = proof.done()
        await desk.log.catch_up()
        # Behind the broker's start and the call's intent.
        assert (meanwhile, (await proof).index) == (False, 2)


class TestTurns:
    async def test_go_to_whoever_waited_longest(self) -> None:
        """Reads of one reader come one after the other, in the order in which they were asked."""
        turns, seen = Turns(), []

        async def read(number: int) -> None:
            async with turns.of(READER):
                seen.append(("begin", number))
                await asyncio.sleep(0)
                seen.append(("end", number))

        await asyncio.gather(*[read(number) for number in range(3)])
        assert seen == [(what, number) for number in range(3) for what in ("begin", "end")]

    async def test_a_reader_that_leaves_gives_its_turn_up(self) -> None:
        """Whoever is cancelled, while it reads or waits, holds up nobody."""
        turns = Turns()

        async def read() -> None:
            async with turns.of(READER):
                await asyncio.Event().wait()

        reads = [asyncio.create_task(read()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in reads:
            task.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        assert not turns.of(READER).locked()

    async def test_none_is_held_between_two_pieces(self) -> None:
        """A reader that leaves a stream where it is can read something else, or go on later."""
        turns = Turns()

        async def pieces() -> AsyncIterator[tuple[int, bool]]:
            for number in range(2):
                yield number, turns.of(READER).locked()

        stream = turns.each(READER, pieces())
        found = [(await anext(stream), turns.of(READER).locked()) for _ in range(2)]
        assert found == [((0, True), False), ((1, True), False)]
        assert [piece async for piece in stream] == []
        assert not turns.of(READER).locked()
