"""Give a log with witnesses one life of a broker."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Protocol, Self

from broker.adapters.file_signer import FileSigner
from broker.adapters.witness_http import HttpWitnesses, WitnessAddress
from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot, ed25519_pem
from broker.core.witness import Witness
from broker.errors import BrokerError
from broker.log import Log
from broker.ports import StoredReceipt
from broker.verify.log import open_checkpoint, witnesses_of
from broker.verify.signature import is_signed
from broker.witnessing import Witnessing
from tests.log.fakes import MemoryFiles, add_receipts, new_log
from tests.ports.fake_clock import FakeClock
from tests.ports.memory_store import MemoryDisk, MemoryStore
from tests.ports.shelf import MemoryShelf
from tests.story.stage import Alarms


class Reachable(Protocol):
    """A witness, wherever it is."""

    @property
    def name(self) -> str:
        """The name in its signatures."""

    @property
    def url(self) -> str:
        """Its submission prefix."""

    @property
    def public_key(self) -> bytes:
        """Its raw public key."""


def trusted(witness: Reachable) -> TrustedKey:
    """Give a witness's key as a trust root has it."""
    return TrustedKey.from_pem(KeyRole.WITNESS, ed25519_pem(witness.public_key))


class Heard(Alarms):
    """Alarms that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.alarmed = asyncio.Event()

    def alarm(self, what: str, error: BaseException) -> None:
        """Keep it."""
        super().alarm(what, error)
        self.alarmed.set()


async def asleep() -> None:
    """Let what waits for nothing but the clock come to where it does."""
    for _ in range(50):
        await asyncio.sleep(0)


@dataclass
class Life:
    """One life of a broker's log with its witnesses; use it in `async with`."""

    signer: FileSigner
    witnesses: Sequence[Reachable]
    quorum: int = 1
    shelf: MemoryShelf = field(default_factory=MemoryShelf)
    files: MemoryFiles = field(default_factory=MemoryFiles)
    clock: FakeClock = field(default_factory=FakeClock)
    alarms: Heard = field(default_factory=Heard)
    timeout_s: float = 10.0

    async def __aenter__(self) -> Self:
        """Take up what there is."""
        self.stack = AsyncExitStack()
        store = await self.shelf.open()
        assert isinstance(store, MemoryStore)
        self.store = store
        self.stack.push_async_callback(store.close)
        self.log: Log = new_log(store, self.files, self.signer, clock=self.clock)
        await self.log.open()
        addresses = {each.name: WitnessAddress(url=each.url) for each in self.witnesses}
        gateway = await HttpWitnesses.open(addresses, timeout_s=self.timeout_s)
        self.stack.push_async_callback(gateway.close)
        self.witnessing = Witnessing(
            self.log,
            store,
            gateway,
            [
                Witness(name=each.name, key=trusted(each), signs_as=each.name)
                for each in self.witnesses
            ],
            quorum=self.quorum,
            is_signed=is_signed,
            clock=self.clock,
            telemetry=self.alarms,
        )
        await self.witnessing.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        """End it."""
        await self.stack.aclose()

    @property
    def disk(self) -> MemoryDisk:
        """What outlives it."""
        return self.shelf.disk

    @property
    def shown(self) -> bytes:
        """The checkpoint that readers of files see."""
        return self.files.files["checkpoint"]

    @property
    def reasons(self) -> list[str]:
        """Why operators were alarmed."""
        return [
            error.reason if isinstance(error, BrokerError) else repr(error)
            for error in self.alarms.errors
        ]

    async def grow(self, count: int) -> None:
        """End so many calls, sign a head over them."""
        await add_receipts(self.store, len(self.disk.receipts), count)
        while await self.log.advance():
            pass

    async def receipt(self, sequence: int) -> StoredReceipt:
        """Give a receipt."""
        (found,) = await self.store.list_receipts(after=sequence - 1, limit=1)
        return found

    def trust_root(self) -> TrustRoot:
        """Give what readers trust."""
        log = TrustedKey.from_pem(KeyRole.LOG, self.signer.public_key_pem)
        return TrustRoot(version=1, keys=(log, *map(trusted, self.witnesses)))

    def count(self, checkpoint: bytes, root: TrustRoot | None = None) -> int:
        """Count the witnesses of a checkpoint as a reader does, by a receipt's proof."""
        return len(reader_counts(checkpoint, root or self.trust_root()))


def reader_counts(checkpoint: bytes, root: TrustRoot) -> tuple[str, ...]:
    """List whose cosignatures a reader with a trust root counts."""
    return witnesses_of(open_checkpoint(checkpoint, root), root)
