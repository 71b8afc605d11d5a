"""Append to the sequences of the store: events, receipts, the log's entries."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from broker.adapters.sqlite_store.call_record import to_microseconds
from broker.adapters.sqlite_store.rows import insert
from broker.core.call import Call
from broker.core.canonical import canonical_json
from broker.core.ids import CallId, Sha256, sha256_hex
from broker.core.log_leaf import LeafKind, kind_of
from broker.core.receipt import FIRST_PREVIOUS, Position, ReceiptDraft
from broker.errors import PremiseChanged
from broker.ports import CLOCK_PREMISE, START_BY_PREMISE, EventDraft, StoredReceipt

Seal = Callable[[ReceiptDraft, Position], bytes]


class Head(NamedTuple):
    """Where the sequences stand; the last receipt's digest is what the next one links to."""

    events: int
    receipts: int
    previous: Sha256
    entries: int


class Chronicle:
    """The write connection with the head of what it has appended; used by one thread.

    The head is kept in memory so that an append needs no look-up; whoever rolls back puts the
    head of before the append back with it.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        installation: str,
        epoch: int,
        seal: Seal,
        now: Callable[[], datetime],
        is_clock_trusted: Callable[[], bool],
    ) -> None:
        self.connection = connection
        self.head = self.stored_head()
        self._installation = installation
        self._epoch = epoch
        self._seal = seal
        self._now = now
        self._is_clock_trusted = is_clock_trusted

    def refuse_late(self, call: Call) -> None:
        """Refuse to start a call at a time that does not let it.

        Asked within the transaction: a commit may wait for long, behind others or for a disk.

        Raises:
            PremiseChanged: Its `start_by` has come, or nobody can tell.
        """
        if not self._is_clock_trusted():
            raise PremiseChanged(CLOCK_PREMISE)
        if self._now() >= call.start_by:
            raise PremiseChanged(START_BY_PREMISE)

    def stored_head(self) -> Head:
        """Read where the sequences stand in the file."""
        events = self.connection.execute("SELECT coalesce(max(sequence), 0) FROM events")
        receipts = self.connection.execute(
            "SELECT sequence, sha256 FROM receipts ORDER BY sequence DESC LIMIT 1"
        )
        entries = self.connection.execute("SELECT coalesce(max(place), -1) + 1 FROM log_entries")
        last = receipts.fetchone() or (0, FIRST_PREVIOUS)
        return Head(events.fetchone()[0], last[0], last[1], entries.fetchone()[0])

    def append_events(self, drafts: Sequence[tuple[EventDraft, Call | None]]) -> list[int]:
        """Give events the next sequences, with their entries in the log the next places.

        Args:
            drafts: Each with the call that it is about.

        Returns:
            The places of the receipts that belong to these events, in order.
        """
        rows = [
            (
                sequence,
                to_microseconds(draft.at),
                self._epoch,
                draft.type,
                call.id if call else None,
                call.agent if call else None,
                canonical_json(draft.data).decode(),
            )
            for sequence, (draft, call) in enumerate(drafts, start=self.head.events + 1)
        ]
        insert(self.connection, "INSERT INTO events VALUES", rows)
        places = self._append_entries([draft.type for draft, _ in drafts])
        self.head = self.head._replace(events=self.head.events + len(rows))
        return places

    def _append_entries(self, types: Iterable[str]) -> list[int]:
        """Give the log an entry for each of the next events that has one of its own."""
        rows: list[tuple[str | int | bytes | None, ...]] = []
        places: list[int] = []
        receipts = self.head.receipts
        for sequence, event_type in enumerate(types, start=self.head.events + 1):
            kind = kind_of(event_type)
            if kind is None:
                continue
            place, reference = self.head.entries + len(rows), sequence
            if kind is LeafKind.RECEIPT:
                # Sealed next, in the order of these events.
                places.append(place)
                reference = receipts + len(places)
            rows.append((place, kind.value, reference))
        insert(self.connection, "INSERT INTO log_entries VALUES", rows)
        self.head = self.head._replace(entries=self.head.entries + len(rows))
        return places

    def append_batch(self, first: int, last: int, salt: bytes) -> None:
        """Give the log an entry that covers a range of events."""
        place = self.head.entries
        self.connection.execute(
            "INSERT INTO log_entries VALUES (?, ?, ?)", (place, LeafKind.BATCH.value, last)
        )
        self.connection.execute(
            "INSERT INTO log_batches VALUES (?, ?, ?, ?)", (place, first, last, salt)
        )
        self.head = self.head._replace(entries=place + 1)

    def append_receipts(
        self, drafts: Iterable[tuple[ReceiptDraft | None, Call]], places: Sequence[int]
    ) -> list[StoredReceipt | None]:
        """Seal receipts at the next sequences, each linked to the one before it.

        Args:
            places: In the log, as `append_events` gave them.
        """
        sealed: list[StoredReceipt | None] = []
        rows = []
        left = iter(places)
        for draft, call in drafts:
            receipt = None
            if draft is not None:
                place = next(left)
                receipt = self._seal_next(draft, call.id, place)
                at_us = to_microseconds(receipt.at)
                rows.append(
                    (
                        receipt.sequence,
                        call.id,
                        call.agent,
                        at_us,
                        self.head.previous,
                        receipt.envelope,
                        place,
                    )
                )
            sealed.append(receipt)
        insert(self.connection, "INSERT INTO receipts VALUES", rows)
        return sealed

    def _seal_next(self, draft: ReceiptDraft, call: CallId, index: int) -> StoredReceipt:
        sequence = self.head.receipts + 1
        position = Position(
            installation=self._installation,
            epoch=self._epoch,
            sequence=sequence,
            previous=self.head.previous,
            index=index,
        )
        envelope = self._seal(draft, position)
        self.head = self.head._replace(receipts=sequence, previous=sha256_hex(envelope))
        return StoredReceipt(sequence=sequence, call=call, envelope=envelope, at=self._now())
