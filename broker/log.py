"""Keep the transparency log.

One step, `advance`, does everything: it covers the entries that no head covers yet by a new one,
makes that durable, then shows it to readers. Entries have their places already, each from the
transaction that wrote what it is about; once a second one more covers all events since the last.
The bytes of those that are no receipts are made here, and are durable with their head. What a crash
leaves undone the next step finds undone, by the same code, since it looks at the record and at what
readers see, never at what it meant to do. A head is signed before it is durable, but nobody sees it
before: Ed25519 gives the same bytes for the same tree again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

from broker.core.checkpoint import Checkpoint, read_checkpoint, sign_checkpoint
from broker.core.log_leaf import SALT_BYTES, LeafKind
from broker.core.log_proof import LogProof, write_log_proof
from broker.core.merkle import Frontier, leaf_hash
from broker.core.merkle_proof import consistency_proof, inclusion_proof
from broker.core.signed_note import ED25519, read_note, verifier_key
from broker.core.tiles import WIDTH, Tile, tiles_between, write_bundle
from broker.core.trust_root import KeyRole, TrustedKey
from broker.errors import (
    FailedPrecondition,
    LogForked,
    ReceiptInvalid,
    StoreBehind,
    Unavailable,
)
from broker.ports import (
    Clock,
    Entropy,
    LogEntry,
    LogFiles,
    LogHead,
    LogRecord,
    Signer,
    StoredReceipt,
    Telemetry,
)
from broker.tasks import Tasks

_EVERY = timedelta(seconds=1)
_COVERED_WITHIN_S = 10.0
_CHECKPOINT = "checkpoint"
_EMPTY = "make an empty one: readers who kept a later checkpoint will see that the log went back"
_MOVE = f"move the folder away, then {_EMPTY}"

Covering = Callable[[int], Awaitable[LogHead]]
"""Waits for a head that has more entries than an index."""


class Log:
    """The log of one store. Used from one event loop; `open`, then `run` in a task of its own.

    Args:
        signer: An Ed25519 key of role log.
        origin: The log's name, which never changes.
        write: Gives the exact bytes of an entry that is no receipt; called in a thread.
    """

    def __init__(
        self,
        record: LogRecord,
        files: LogFiles,
        signer: Signer,
        *,
        origin: str,
        write: Callable[[LogEntry], bytes],
        clock: Clock,
        entropy: Entropy,
        telemetry: Telemetry,
    ) -> None:
        key = TrustedKey.from_pem(KeyRole.LOG, signer.public_key_pem).ed25519_key
        if key is None:
            raise ValueError("a log signs with an Ed25519 key")
        self._record = record
        self._files = files
        self._signer = signer
        self._key = key
        self._origin = origin
        self._write = write
        self._clock = clock
        self._entropy = entropy
        self._telemetry = telemetry
        self._turn = asyncio.Lock()
        self._tasks = Tasks()
        self._head: LogHead | None = None
        # What memory holds of the record is read again after every doubt.
        self._frontier: Frontier | None = None
        self._shown: int | None = None
        self._grown = asyncio.Event()

    @property
    def latest(self) -> LogHead | None:
        """Give the latest head as it is now; None before the first."""
        return self._head

    @property
    def verifier_key(self) -> str:
        """Give the log's key in the form that witnesses and other programs take."""
        return verifier_key(self._origin, ED25519, self._key)

    async def open(self) -> None:
        """Take up the log where the record has it.

        Raises:
            LogForked: Readers were shown a head that the record does not have, or the place where
                they were shown one is gone, or the record's own nodes are not those of its head.
            StoreBehind: That head is a later one of the same log.
            StoreUnavailable: The record cannot be read.
        """
        head = await self._record.log_head()
        await self._load(head)
        try:
            is_there = await self._files.is_there()
            shown = await self._files.checkpoint()
        except OSError as error:
            raise LogForked(f"the published checkpoint cannot be read: {error}") from error
        if head is not None and not is_there:
            raise LogForked(
                f"readers were shown a log of {head.size} entries in a folder that is gone, which "
                "stood beside the store: is this an older copy of the store? Put the folder back, "
                f"and it will tell; or, where it is lost, {_EMPTY}"
            )
        if shown is not None:
            self._shown = await self._find_shown(shown)

    async def run(self) -> None:
        """Advance once a second, for ever; what goes wrong is an alarm, and is tried again."""
        while True:
            await self.catch_up()
            await self._clock.sleep_until(self._clock.now() + _EVERY)

    async def catch_up(self) -> None:
        """Let every event be in the log, and every entry covered."""
        try:
            await self._record.close_batch(self._entropy.random_bytes(SALT_BYTES))
            while await self.advance():
                pass
        # Broad, because an error that left this loop would end the log without a word.
        except Exception as error:
            self._telemetry.alarm("the log is behind", error)

    async def advance(self) -> bool:
        """Cover what is new by one head, show it; tell whether there may be more.

        A head covers no more than the tile that is being filled: under load it falls on the tile's
        end, where no partial tile has to be shown. A caller that is cancelled meanwhile leaves the
        step to end: no two steps ever write at once.

        Raises:
            StoreError: The record did not take it.
            OSError: It is durable, but could not be shown.
        """
        return await self._tasks.detached(self._advance())

    async def _advance(self) -> bool:
        async with self._turn:
            is_whole = await self._cover()
            await self._show()
            return is_whole

    async def _cover(self) -> bool:
        if self._frontier is None:
            await self._load(await self._record.log_head())
        frontier = self._frontier or Frontier.empty()
        room = WIDTH - frontier.size % WIDTH
        entries = await self._record.log_sources(frontier.size, room)
        if not entries and self._head is not None:
            return False
        grown, hashes, leaves = await asyncio.to_thread(self._grow, frontier, entries)
        if self._head is None:
            # Before the first head: a record with heads whose files have no place has lost them.
            await self._files.make()
        # Not on the event loop's thread: the key may be on a token that takes its time.
        checkpoint = await asyncio.to_thread(self._sign, grown)
        to = LogHead(size=grown.size, at=self._clock.now(), checkpoint=checkpoint)
        # Whatever becomes of the write, the record says it; memory is believed only after it.
        self._frontier = None
        await self._record.advance_log(expected=self._head, hashes=hashes, to=to, leaves=leaves)
        self._frontier, self._head = grown, to
        self._grown.set()
        self._grown = asyncio.Event()
        # Behind a batch there may be more: the record gives few at once that cover many events.
        return len(entries) == room or (bool(entries) and entries[-1].kind is LeafKind.BATCH)

    def _grow(
        self, frontier: Frontier, entries: Sequence[LogEntry]
    ) -> tuple[Frontier, list[bytes], Mapping[int, bytes]]:
        leaves = {
            entry.index: self._write(entry)
            for entry in entries
            if entry.kind is not LeafKind.RECEIPT
        }
        texts = (leaves.get(entry.index, entry.receipt or b"") for entry in entries)
        grown, hashes = frontier.extended(map(leaf_hash, texts))
        return grown, hashes, leaves

    def _sign(self, frontier: Frontier) -> bytes:
        checkpoint = Checkpoint(origin=self._origin, size=frontier.size, root=frontier.root)
        return sign_checkpoint(checkpoint, self._key, self._signer.sign)

    async def _show(self) -> None:
        """Show the tiles of the head, then the head itself."""
        head = self._head
        if head is None or self._shown == head.size:
            return
        for tile in tiles_between(self._shown or 0, head.size):
            await self._files.put(tile.path, await self._content(tile))
            if tile.width == WIDTH:
                await self._files.drop(f"{tile.path}.p")
        await self._files.put(_CHECKPOINT, head.checkpoint)
        self._shown = head.size

    async def show_cosigned(self, size: int, checkpoint: bytes) -> None:
        """Show the head of a size with cosignatures; where there is a later one, do nothing.

        Args:
            checkpoint: The head's own, with further signatures behind.

        Raises:
            OSError: It cannot be written; readers see what they saw before.
        """
        await self._tasks.detached(self._show_cosigned(size, checkpoint))

    async def _show_cosigned(self, size: int, checkpoint: bytes) -> None:
        async with self._turn:
            if self._head is not None and self._head.size == size:
                # It may have been signed, then cosigned, by a life that ended before showing it.
                await self._show()
                await self._files.put(_CHECKPOINT, checkpoint)

    async def _content(self, tile: Tile) -> bytes:
        if tile.level is None:
            return write_bundle(await self._record.log_entries(tile.start, tile.width))
        return b"".join(await self._record.fold_log(lambda read: read(tile.nodes)))

    async def _load(self, head: LogHead | None) -> None:
        size = head.size if head else 0
        frontier = await self._record.fold_log(lambda read: Frontier.read(size, read))
        signed = read_checkpoint(read_note(head.checkpoint).text) if head else None
        if signed is not None and signed.root != frontier.root:
            raise LogForked(
                f"the record's nodes are not those of its checkpoint of {size} entries: keep the "
                "store for inquiry, restore the latest backup"
            )
        self._frontier, self._head = frontier, head

    async def _find_shown(self, shown: bytes) -> int:
        try:
            said = read_checkpoint(read_note(shown).text)
        except ReceiptInvalid as error:
            raise LogForked(f"the published checkpoint is none ({error}): {_MOVE}") from error
        size, latest = said.size, self._head.size if self._head else 0
        if said.origin == self._origin and size > latest:
            raise StoreBehind(
                f"readers were shown a log of {size} entries that this store does not have, as its "
                f"own has {latest}: it is an older copy. Put the newer store back; where that is "
                "lost, `toolwarrant restore` lets this one go on, halted, with a new log"
            )
        known = await self._record.log_head(size)
        # Witnesses' lines may stand behind the log's own.
        if known is None or not shown.startswith(known.checkpoint):
            raise LogForked(
                f"readers were shown a log of {size} entries that this store does not have: is it "
                f"an older copy of the store, or another one's log? Put the right store back (or, "
                "where `toolwarrant restore` was cut off, give it again), "
                f"or, where it is lost, {_MOVE}"
            )
        return size

    # --- what readers ask for -------------------------------------------------------------

    async def head(self) -> LogHead:
        """Give the latest head.

        Raises:
            Unavailable: None was signed within 10 s.
        """
        return await self.covering(-1)

    async def inclusion_proof(
        self, receipt: StoredReceipt, covering: Covering | None = None
    ) -> tuple[int, int, bytes]:
        """Prove that a receipt is in the log; give its index, the log's size, the proof's file.

        A receipt that no head covers yet is waited for.

        Args:
            covering: Gives the head to prove it by; absent: the latest one.

        Raises:
            FailedPrecondition: It is in the log that the store had before it was restored.
            Unavailable: No head covered it within 10 s.
        """
        if receipt.is_past:
            raise FailedPrecondition(
                "this receipt is in the log that the store had before it was put back from a "
                "backup: the files of that log prove it (`toolwarrant receipts verify --log`)",
                subject="log",
                reason="LOG_PAST",
            )
        index = await self._record.log_index(receipt.sequence)
        head = await (covering or self.covering)(index)
        hashes = await self._record.fold_log(lambda read: inclusion_proof(index, head.size, read))
        proof = LogProof(index=index, hashes=hashes, checkpoint=head.checkpoint)
        return index, head.size, write_log_proof(proof)

    async def consistency_proof(self, first: int, second: int) -> Sequence[bytes]:
        """Prove that the log only grew between two sizes, both covered by the latest head.

        Raises:
            FailedPrecondition: They are no two sizes that the log went through in this order.
        """
        latest = (await self.head()).size
        if not 1 <= first <= second <= latest:
            raise FailedPrecondition(
                f"the log has {latest} entries: ask for sizes from 1 up to that, the smaller first",
                subject="log",
                reason="LOG_SIZE",
            )
        return await self._record.fold_log(lambda read: consistency_proof(first, second, read))

    async def beyond(self, size: int) -> LogHead:
        """Wait until a head has more entries than this."""
        while self._head is None or self._head.size <= size:
            await self._grown.wait()
        return self._head

    async def covering(self, index: int) -> LogHead:
        """Wait for a head that covers an index.

        Raises:
            Unavailable: None was signed within 10 s.
        """
        try:
            async with asyncio.timeout(_COVERED_WITHIN_S):
                return await self.beyond(index)
        except TimeoutError as error:
            raise Unavailable(
                "the log does not cover this receipt yet, though a second suffices: its operator's "
                "alarms say why; retry",
                retry_after_s=_COVERED_WITHIN_S,
                reason="LOG_BEHIND",
            ) from error
