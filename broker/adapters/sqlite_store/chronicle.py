"""Append to the two sequences of the store: events, receipts."""

import json
import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from broker.adapters.sqlite_store.call_record import to_microseconds
from broker.core.ids import AgentId, CallId, Sha256, sha256_hex
from broker.core.receipt import FIRST_PREVIOUS, Position, ReceiptDraft
from broker.ports import EventDraft, StoredReceipt

Seal = Callable[[ReceiptDraft, Position], bytes]

_dump = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Head(NamedTuple):
    """Where the sequences stand; the last receipt's digest is what the next one links to."""

    events: int
    receipts: int
    previous: Sha256


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
    ) -> None:
        self.connection = connection
        self.head = self.stored_head()
        self._installation = installation
        self._epoch = epoch
        self._seal = seal
        self._now = now

    def stored_head(self) -> Head:
        """Read where the sequences stand in the file."""
        events = self.connection.execute("SELECT coalesce(max(sequence), 0) FROM events")
        receipts = self.connection.execute(
            "SELECT sequence, sha256 FROM receipts ORDER BY sequence DESC LIMIT 1"
        )
        last = receipts.fetchone() or (0, FIRST_PREVIOUS)
        return Head(events.fetchone()[0], last[0], last[1])

    def append_event(
        self, draft: EventDraft, *, call: CallId | None = None, agent: AgentId | None = None
    ) -> None:
        """Give an event the next sequence."""
        sequence = self.head.events + 1
        self.connection.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                sequence,
                to_microseconds(draft.at),
                self._epoch,
                draft.type,
                call,
                agent,
                _dump(draft.data),
            ),
        )
        self.head = self.head._replace(events=sequence)

    def append_receipt(self, draft: ReceiptDraft, *, call: CallId, agent: AgentId) -> StoredReceipt:
        """Seal a receipt at the next sequence, linked to the one before it."""
        sequence = self.head.receipts + 1
        position = Position(
            installation=self._installation,
            epoch=self._epoch,
            sequence=sequence,
            previous=self.head.previous,
        )
        envelope = self._seal(draft, position)
        digest = sha256_hex(envelope)
        at = self._now()
        self.connection.execute(
            "INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?)",
            (sequence, call, agent, to_microseconds(at), digest, envelope),
        )
        self.head = Head(self.head.events, sequence, digest)
        return StoredReceipt(sequence=sequence, call=call, envelope=envelope, at=at)
