"""Write the leaves that the log has besides receipts."""

from collections.abc import Callable

from broker.core.ids import Sha256
from broker.core.log_leaf import (
    BatchFacts,
    EventFact,
    LeafKind,
    LeafPlace,
    batch_digest,
    batch_payload,
    event_payload,
    intent_payload,
    seal_leaf,
)
from broker.ports import Event, EventRange, LogEntry


class Leaves:
    """Know what every leaf of this broker says. Thread-safe where `sign` is.

    Args:
        key_id: Of the key of role receipt that signs.
        development: Whether that key is of the development set.
        sign: Signs with it.
    """

    def __init__(
        self,
        *,
        installation: str,
        key_id: Sha256,
        development: bool,
        sign: Callable[[bytes], bytes],
    ) -> None:
        self._installation = installation
        self._key_id = key_id
        self._development = development
        self._sign = sign

    def write(self, entry: LogEntry) -> bytes:
        """Give the exact bytes of an entry that is no receipt.

        Raises:
            ValueError: It does not fit into an entry of the log.
            CanonicalError: It has no canonical form.
        """
        return seal_leaf(entry.kind, self._payload(entry), self._sign)

    def _payload(self, entry: LogEntry) -> bytes:
        if entry.batch is not None:
            return self._batch(entry, entry.batch)
        if entry.event is None:
            raise ValueError(f"entry {entry.index} is about nothing")
        place, event = self._place(entry, entry.event.epoch), _fact(entry.event)
        if entry.kind is LeafKind.INTENT and entry.call is not None:
            return intent_payload(place, event, entry.call)
        return event_payload(entry.kind, place, event)

    def _batch(self, entry: LogEntry, covered: EventRange) -> bytes:
        first, last = covered.events[0], covered.events[-1]
        facts = BatchFacts(
            first=first.sequence,
            last=last.sequence,
            since=first.at,
            at=last.at,
            sha256=batch_digest(map(_fact, covered.events), covered.salt),
            entries=covered.entries,
        )
        return batch_payload(self._place(entry, last.epoch), facts)

    def _place(self, entry: LogEntry, epoch: int) -> LeafPlace:
        return LeafPlace(
            installation=self._installation,
            epoch=epoch,
            index=entry.index,
            key_id=self._key_id,
            development=self._development,
        )


def _fact(event: Event) -> EventFact:
    return EventFact(
        sequence=event.sequence,
        at=event.at,
        epoch=event.epoch,
        type=event.type,
        call=f"calls/{event.call}" if event.call else None,
        agent=event.agent,
        data=event.data,
    )
