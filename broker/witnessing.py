"""Ask witnesses to cosign the log's heads.

It runs beside the log and holds up nothing: a head is durable before anybody is asked, and no call
waits here. One head is asked of every witness at once, so that they cosign the same; while some of
them are slow, later heads are left out. What comes is verified, kept in the record, shown.
A witness that fails is asked again after 1, 2, 4 and so on up to 60 s, each time with an alarm.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from broker.core.trust_root import IsSigned
from broker.core.witness import (
    Cosignature,
    OtherSize,
    Question,
    Witness,
    judge,
    with_cosignatures,
    write_question,
)
from broker.errors import FailedPrecondition, LogForkSuspected, Unavailable, WitnessError
from broker.log import Log
from broker.ports import Clock, LogHead, LogRecord, StoredReceipt, Telemetry, WitnessGateway
from broker.tasks import first

_EVERY = timedelta(seconds=1)
_LONGEST = timedelta(seconds=60)
_WITNESSED_WITHIN_S = 10.0


@dataclass(slots=True, kw_only=True)
class _Peer:
    """How far one witness has come.

    Args:
        cosigned: The largest size of which the record has its cosignature.
        old: Where it stands, as far as is known: what the next proof begins at.
    """

    witness: Witness
    cosigned: int
    old: int
    due_at: datetime | None = None
    pause: timedelta = _EVERY

    def succeeded(self, size: int) -> None:
        self.cosigned = self.old = size
        self.due_at, self.pause = None, _EVERY

    def failed(self, now: datetime) -> None:
        self.due_at, self.pause = now + self.pause, min(2 * self.pause, _LONGEST)

    def is_asked(self, size: int, now: datetime) -> bool:
        is_due = self.due_at is None or self.due_at <= now
        return is_due and self.cosigned < size and self.witness.counts_at(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class CosignedHead:
    """A head of the log with the cosignatures that there are.

    Args:
        is_witnessed: Whether as many witnesses as wanted cosigned it; never, where none is wanted.
    """

    head: LogHead
    is_witnessed: bool


class Witnessing:
    """The witnesses of one log. Used from one event loop; `open`, then `run` in a task of its own.

    Args:
        quorum: How many must have cosigned a head for it to be witnessed; 0 with no witnesses.
    """

    def __init__(
        self,
        log: Log,
        record: LogRecord,
        gateway: WitnessGateway,
        witnesses: Sequence[Witness],
        *,
        quorum: int,
        is_signed: IsSigned,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._log = log
        self._record = record
        self._gateway = gateway
        self._witnesses = {witness.key.key_id: witness for witness in witnesses}
        self._quorum = quorum
        self._is_signed = is_signed
        self._clock = clock
        self._telemetry = telemetry
        self._peers: list[_Peer] = []
        self._witnessed: LogHead | None = None
        self._grown = asyncio.Event()
        # One at a time: what is read first is shown first.
        self._showing = asyncio.Lock()

    async def open(self) -> None:
        """Take up from the record how far each witness has come.

        Raises:
            StoreUnavailable: It cannot be read.
        """
        for key_id, witness in self._witnesses.items():
            size = await self._record.cosigned_size(key_id)
            self._peers.append(_Peer(witness=witness, cosigned=size, old=size))
        if self._witnesses:
            head = await self._record.witnessed_head([*self._witnesses], self._quorum)
            self._witnessed = head and (await self._cosigned(head)).head
        if (latest := self._log.latest) is not None:
            # A crash may have come between a cosignature's record and its being shown.
            await self._show(latest)

    async def run(self) -> None:
        """Have each new head cosigned, for ever; what goes wrong is an alarm, then tried again."""
        while True:
            begun_at = self._clock.now()
            size = await self.ask()
            soon = self._clock.sleep_until(self._clock.now() + _EVERY)
            await first(self._log.beyond(size), soon)
            await self._clock.sleep_until(begun_at + _EVERY)

    async def ask(self) -> int:
        """Ask for the latest head whoever has not cosigned it and may be asked; give its size."""
        head = self._log.latest
        # An empty tree says nothing that could be contradicted.
        if head is None or head.size == 0:
            return 0
        now = self._clock.now()
        asked = [peer for peer in self._peers if peer.is_asked(head.size, now)]
        await asyncio.gather(*(self._ask(peer, head) for peer in asked))
        behind = {peer.witness.name: head.size - peer.cosigned for peer in self._peers}
        witnessed = self._witnessed.size if self._witnessed else 0
        self._telemetry.witnesses_lag(behind, head.size - witnessed)
        return head.size

    async def _ask(self, peer: _Peer, head: LogHead) -> None:
        try:
            cosignature = await self._cosignature(peer, head)
            await self._record.add_cosignature(head.size, cosignature)
        except LogForkSuspected as error:
            peer.failed(self._clock.now())
            self._telemetry.alarm("THE LOG MAY HAVE FORKED: a witness contradicts it", error)
        # Broad, because an error that left this loop would end it for every witness.
        except Exception as error:
            peer.failed(self._clock.now())
            self._telemetry.alarm("a witness gave no cosignature", error)
        else:
            peer.succeeded(head.size)
            await self._show(head)

    async def _cosignature(self, peer: _Peer, head: LogHead) -> Cosignature:
        """Ask a witness; once more where it says that it stands at another size."""
        for _ in range(2):
            verdict = await self._verdict(peer, head)
            if isinstance(verdict, Cosignature):
                return verdict
            if verdict.size < peer.cosigned:
                # It is asked on all the same: an honest log loses nothing by it.
                error = WitnessError(
                    peer.witness.name,
                    f"stands at {verdict.size} entries, though it cosigned {peer.cosigned}: it "
                    "lost its memory, so it might cosign a fork of what it forgot. Ask its "
                    "operator, withdraw its key where it is not explained",
                    reason="WITNESS_WENT_BACK",
                )
                self._telemetry.alarm("a witness went back", error)
            peer.old = verdict.size
        raise WitnessError(
            peer.witness.name,
            "gave two sizes in a row: somebody else may submit this log's heads to it",
            reason="WITNESS_UNSETTLED",
        )

    async def _verdict(self, peer: _Peer, head: LogHead) -> Cosignature | OtherSize:
        # Sizes that the record does not have are the witness's word: `judge` refused larger ones.
        old = peer.old
        proof = await self._log.consistency_proof(old, head.size) if old else ()
        question = Question(old=old, proof=tuple(proof), size=head.size, checkpoint=head.checkpoint)
        answer = await self._gateway.add_checkpoint(peer.witness.name, write_question(question))
        return judge(
            peer.witness,
            question,
            answer,
            now_s=self._clock.now().timestamp(),
            is_signed=self._is_signed,
        )

    async def _show(self, head: LogHead) -> None:
        try:
            async with self._showing:
                found = await self._cosigned(head)
                if found.is_witnessed:
                    self._witnessed = found.head
                    self._grown.set()
                    self._grown = asyncio.Event()
                if found.head.checkpoint != head.checkpoint:
                    await self._log.show_cosigned(head.size, found.head.checkpoint)
        # Broad for the same reason; the next cosignature shows what this one could not.
        except Exception as error:
            self._telemetry.alarm("cosignatures cannot be shown", error)

    async def _cosigned(self, head: LogHead) -> CosignedHead:
        """Put under a head what its witnesses signed; keys that are not configured count not."""
        if not self._witnesses:
            return CosignedHead(head=head, is_witnessed=False)
        kept = [
            each
            for each in await self._record.cosignatures(head.size)
            if each.witness in self._witnesses
        ]
        return CosignedHead(
            head=replace(head, checkpoint=with_cosignatures(head.checkpoint, kept)),
            is_witnessed=0 < self._quorum <= len(kept),
        )

    # --- what readers ask for -------------------------------------------------------------

    async def latest(self) -> CosignedHead:
        """Give the latest head with the cosignatures that have come.

        Raises:
            Unavailable: None was signed within 10 s.
        """
        return await self._cosigned(await self._log.head())

    async def witnessed(self, index: int = -1) -> CosignedHead:
        """Give the latest head that enough witnesses cosigned; wait where it does not reach so far.

        Args:
            index: What it must cover.

        Raises:
            FailedPrecondition: This log has no witnesses.
            Unavailable: Not enough of them cosigned such a head within 10 s.
        """
        if not self._witnesses:
            raise FailedPrecondition(
                "this log has no witnesses: ask for its latest head",
                subject="log",
                reason="LOG_WITHOUT_WITNESSES",
            )
        try:
            async with asyncio.timeout(_WITNESSED_WITHIN_S):
                return CosignedHead(head=await self._reaching(index), is_witnessed=True)
        except TimeoutError as error:
            raise Unavailable(
                f"{self._quorum} witnesses have not cosigned so far: the operator's alarms say "
                "why. Retry, or ask for the head that they did not cosign (unwitnessed)",
                retry_after_s=_WITNESSED_WITHIN_S,
                reason="LOG_NOT_WITNESSED",
            ) from error

    async def inclusion_proof(
        self, receipt: StoredReceipt, *, unwitnessed: bool = False
    ) -> tuple[int, int, bytes, bool]:
        """Prove that a receipt is in the log, as `Log` does; tell whether the head is witnessed.

        Args:
            unwitnessed: Take the latest head, whoever cosigned it, rather than wait for witnesses.

        Raises:
            Unavailable: No head covered it within 10 s, or not enough witnesses cosigned one.
        """
        chosen: list[CosignedHead] = []

        async def covering(index: int) -> LogHead:
            if self._witnesses and not unwitnessed:
                chosen.append(await self.witnessed(index))
            else:
                chosen.append(await self._cosigned(await self._log.covering(index)))
            return chosen[-1].head

        proof = await self._log.inclusion_proof(receipt, covering)
        return *proof, chosen[-1].is_witnessed

    async def _reaching(self, index: int) -> LogHead:
        while self._witnessed is None or self._witnessed.size <= index:
            await self._grown.wait()
        return self._witnessed
