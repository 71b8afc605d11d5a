"""Make logs of entries of every kind, as a broker makes them or as it must not."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from broker.core.call import Call
from broker.core.canonical import JsonObject, JsonValue
from broker.core.ids import Sha256, sha256_hex
from broker.core.log_leaf import (
    BatchFacts,
    EventFact,
    LeafKind,
    LeafPlace,
    batch_digest,
    batch_payload,
    event_payload,
    intent_payload,
    kind_of,
    seal_leaf,
)
from broker.core.receipt import FIRST_PREVIOUS, seal
from broker.ports import Signer
from tests.ports.samples import call_id
from tests.verify.receipts import CALL, ENDINGS, ENFORCED, INSTALLATION, position


@dataclass(kw_only=True)
class MixedLog:
    """A log that grows by what is told to it.

    Set `installation`, `epoch` or `shift` to let the next entries be of another one, or name an
    index that far from their own.
    """

    signer: Signer
    installation: str = INSTALLATION
    epoch: int = 1
    shift: int = 0
    entries: list[bytes] = field(default_factory=list)
    events: list[EventFact] = field(default_factory=list)
    covered: int = 0
    counts: Counter[LeafKind] = field(default_factory=Counter)
    receipts: int = 0
    previous: Sha256 = FIRST_PREVIOUS
    began_at: datetime = CALL.received_at

    @property
    def index(self) -> int:
        """Give the index that the next entry names."""
        return len(self.entries) + self.shift

    def event(self, event_type: str, call: int | None = None, **data: JsonValue) -> EventFact:
        """Record an event; what entry it has is told by others."""
        fact = EventFact(
            sequence=len(self.events) + 1,
            at=self.began_at + timedelta(microseconds=len(self.events)),
            epoch=self.epoch,
            type=event_type,
            call=None if call is None else f"calls/{call_id(call)}",
            agent=None,
            data=data,
        )
        self.events.append(fact)
        return fact

    def leaf(self, fact: EventFact, call: Call | None = None, **changed: object) -> None:
        """Append the leaf of an event.

        Args:
            changed: Fields of the event that the leaf tells otherwise.
        """
        fact, kind = replace(fact, **changed), kind_of(fact.type)
        assert kind is not None
        payload = (
            event_payload(kind, self._place(), fact)
            if call is None
            else intent_payload(self._place(), fact, call)
        )
        self._append(kind, seal_leaf(kind, payload, self.signer.sign))

    def tell(self, event_type: str, **data: str) -> None:
        """Record an event with its leaf."""
        self.leaf(self.event(event_type, **data))

    def begin(self, call: int, sandbox: JsonObject = ENFORCED.facts, **changed: object) -> None:
        """Let a call begin.

        Args:
            sandbox: The container's settings.
            changed: Fields of the call that the intent tells otherwise.
        """
        fact = self.event("run.starting", call, slot="slot-1", sandbox=sandbox)
        self.leaf(fact, replace(CALL, id=call_id(call), **changed))

    def end(
        self,
        call: int,
        ending: str = "succeeded",
        *,
        index: int | None = -1,
        change: Callable[[Call], Call] = lambda call: call,
    ) -> None:
        """Let a call end.

        Args:
            index: What the receipt names; -1 for its own, None for none.
            change: What the receipt tells otherwise.
        """
        self.event(f"call.{'succeeded' if ending == 'succeeded' else 'denied'}", call)
        found = ENDINGS[ending]
        told = change(replace(found.call, id=call_id(call)))
        draft = replace(found, call=told).draft(self.signer)
        self.receipts += 1
        place = position(
            self.receipts,
            self.previous,
            installation=self.installation,
            epoch=self.epoch,
            index=self.index if index == -1 else index,
        )
        receipt = seal(draft, place, self.signer.sign)
        self.previous = sha256_hex(receipt)
        self._append(LeafKind.RECEIPT, receipt)

    def batch(self, **changed: object) -> None:
        """Cover all events since the last batch.

        Args:
            changed: Facts that it tells otherwise.
        """
        covered = self.events[self.covered :]
        facts = BatchFacts(
            first=covered[0].sequence,
            last=covered[-1].sequence,
            since=covered[0].at,
            at=covered[-1].at,
            sha256=batch_digest(covered, bytes(16)),
            entries=dict(self.counts),
        )
        payload = batch_payload(self._place(), replace(facts, **changed))
        self._append(LeafKind.BATCH, seal_leaf(LeafKind.BATCH, payload, self.signer.sign))
        self.covered = len(self.events)
        self.counts.clear()

    def _append(self, kind: LeafKind, entry: bytes) -> None:
        self.entries.append(entry)
        if kind is not LeafKind.BATCH:
            self.counts[kind] += 1

    def _place(self) -> LeafPlace:
        return LeafPlace(
            installation=self.installation,
            epoch=self.epoch,
            index=self.index,
            key_id=self.signer.key_id,
            development=False,
        )


def ordinary(signer: Signer) -> MixedLog:
    """Give the log of a broker that ran three calls, of which the second still runs."""
    log = MixedLog(signer=signer)
    log.tell("broker.started", bundle="b" * 64)
    log.tell("key.in_use", role="log", key_id="c" * 64)
    log.event("call.received", 1)
    log.begin(1)
    log.batch()
    log.begin(2)
    log.end(1)
    log.end(3, "denied")
    log.tell("hold.voted", verdict="approve", voter="p-1", view_sha256="d" * 64)
    log.tell("halt.set", halt="AAAA", scope="session", session="the user's own words")
    log.batch()
    return log
