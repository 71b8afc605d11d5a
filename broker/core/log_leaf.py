"""Say in a leaf of the log what the broker recorded besides receipts.

Theory of operation. The log is a view of the events. An event of a kind that a stranger must be
able to see alone is an entry of its own: a receipt for how a call ended, else a leaf that says what
was recorded. A batch, about once a second, covers all events since the batch before it by one
salted digest, those with an entry of their own included, and counts these entries; so no event is
outside the log, and an entry that is left out is missed.

A leaf is a DSSE envelope of a payload type of its own, which no receipt has: canonical JSON, signed
by the key that signs receipts, for it says the same sort of thing: what this broker recorded. What
is told of an event is a closed list of names for each kind: a field that nobody thought of stays
out.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from broker.core.call import Call
from broker.core.canonical import JsonObject, canonical_json
from broker.core.dsse import envelope, pae
from broker.core.ids import Sha256
from broker.core.instant import rfc3339
from broker.core.lifecycle import LAST_STEPS, Step
from broker.core.receipt_draft import as_text

BATCH_SCHEMA = "broker.event-batch/v1"
"""Names the document whose digest a batch is."""
SALT_BYTES = 16


class LeafKind(Enum):
    """What an entry of the log is."""

    RECEIPT = "receipt"
    INTENT = "intent"
    APPROVAL = "approval"
    POLICY = "policy"
    KEY = "key"
    HALT = "halt"
    BATCH = "batch"


PAYLOAD_TYPES: Mapping[LeafKind, str] = {
    kind: f"application/vnd.toolwarrant.log-{kind.value}.v1+json"
    for kind in LeafKind
    if kind is not LeafKind.RECEIPT
}
"""What the envelope of each kind says that it carries; receipts are in-toto Statements."""

_ENDS = frozenset(step.value for step in LAST_STEPS)
_BROKER_STARTED = "broker.started"
_BY_PREFIX = {
    "hold": LeafKind.APPROVAL,
    "grant": LeafKind.APPROVAL,
    "policy": LeafKind.POLICY,
    "key": LeafKind.KEY,
    "halt": LeafKind.HALT,
}
# Names, digests, pseudonyms. A halt's session stays out: its id is a text that a client chose.
_TOLD = {
    LeafKind.APPROVAL: ("verdict", "voter", "view_sha256", "vote_sha256", "number", "grant", "by"),
    LeafKind.POLICY: ("bundle", "revision", "previous", "version", "boot", "by"),
    LeafKind.KEY: ("role", "key_id", "previous", "version", "by"),
    LeafKind.HALT: (
        *("halt", "scope", "agent", "tool", "by", "reason_sha256"),
        # The log that a restored store had: where it stood when it was last known.
        *("previous_origin", "previous_size", "previous_root_sha256"),
    ),
}


def kind_of(event_type: str) -> LeafKind | None:
    """Tell what entry of its own an event has in the log; None where batches alone cover it."""
    if event_type in _ENDS:
        return LeafKind.RECEIPT
    if event_type == Step.START.value:
        return LeafKind.INTENT
    if event_type == _BROKER_STARTED:
        return LeafKind.POLICY
    return _BY_PREFIX.get(event_type.partition(".")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafPlace:
    """Where a leaf stands, and who says what it says.

    Args:
        epoch: The broker's life that recorded it, from 1.
        index: Of the log, from 0.
        key_id: Of the key that will sign.
        development: Whether that key is of the development set.
    """

    installation: str
    epoch: int
    index: int
    key_id: Sha256
    development: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFact:
    """An event as leaves and batches tell of it.

    Args:
        call: The call's name; None where it is about none.
    """

    sequence: int
    at: datetime
    epoch: int
    type: str
    call: str | None
    agent: str | None
    data: JsonObject


def intent_payload(place: LeafPlace, event: EventFact, call: Call) -> bytes:
    """Write what was about to run, in which container, by which decision.

    Raises:
        CanonicalError: It has no canonical form.
    """
    last = call.evaluations[-1]
    facts = event.data.get("sandbox", {})
    body: JsonObject = {
        "call": call.name,
        "agent": call.agent,
        "request_sha256": call.request_sha256,
        "tool": {"name": call.tool, "version": call.tool_version, "image": call.image},
        "bundle_sha256": last.bundle_sha256 or None,
        "policy_input_sha256": last.policy_input_sha256 or None,
        "decision_sha256": last.decision_sha256 or None,
        "slot": str(event.data.get("slot", "")),
        "sandbox": as_text(facts),
    }
    return _payload(LeafKind.INTENT, place, event, body)


def event_payload(kind: LeafKind, place: LeafPlace, event: EventFact) -> bytes:
    """Write what an event of this kind says, as far as a stranger may know it.

    Raises:
        CanonicalError: It has no canonical form.
    """
    body = {name: as_text(event.data[name]) for name in _TOLD[kind] if name in event.data}
    return _payload(kind, place, event, {"call": event.call, **body})


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFacts:
    """What a batch says of the events that it covers, all from the first to the last.

    Args:
        since: The first one's time.
        at: The last one's time.
        sha256: As `batch_digest` gives it.
        entries: How many entries of their own stand between the batch before and this one.
    """

    first: int
    last: int
    since: datetime
    at: datetime
    sha256: Sha256
    entries: Mapping[LeafKind, int]


def batch_payload(place: LeafPlace, facts: BatchFacts) -> bytes:
    """Write a batch."""
    counts = {
        kind.value: str(facts.entries.get(kind, 0))
        for kind in LeafKind
        if kind is not LeafKind.BATCH
    }
    body: JsonObject = {
        "first": str(facts.first),
        "last": str(facts.last),
        "since": rfc3339(facts.since),
        "sha256": facts.sha256,
        "entries": counts,
    }
    return canonical_json({**_head(place, facts.at), "batch": body})


def batch_digest(events: Iterable[EventFact], salt: bytes) -> Sha256:
    """Digest events as one salted document, `{"body": {"events"}, "salt", "schema"}`.

    Salted, since most of an event can be guessed by who has the receipts: times and numbers would
    be found by trying.

    Args:
        salt: Exactly 16 random bytes, drawn for this batch alone.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError("a batch's salt is 16 bytes")
    found = hashlib.sha256(b'{"body":{"events":[')
    mark = b""
    for event in events:
        found.update(mark + canonical_json(_line(event)))
        mark = b","
    found.update(f']}},"salt":"{salt.hex()}","schema":"{BATCH_SCHEMA}"}}'.encode())
    return Sha256(found.hexdigest())


def seal_leaf(kind: LeafKind, payload: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """Sign a leaf's payload; give the exact envelope.

    Raises:
        ValueError: It does not fit into an entry of the log.
    """
    payload_type = PAYLOAD_TYPES[kind]
    return envelope(payload, sign(pae(payload_type, payload)), payload_type=payload_type)


def _payload(kind: LeafKind, place: LeafPlace, event: EventFact, body: JsonObject) -> bytes:
    said = {"sequence": str(event.sequence), "type": event.type}
    return canonical_json({**_head(place, event.at), "event": said, kind.value: body})


def _head(place: LeafPlace, at: datetime) -> JsonObject:
    return {
        "at": rfc3339(at),
        "broker": {"installation": place.installation, "epoch": str(place.epoch)},
        "development": place.development,
        "index": str(place.index),
        "key_id": place.key_id,
    }


def _line(event: EventFact) -> JsonObject:
    return {
        "agent": event.agent,
        "at": rfc3339(event.at),
        "call": event.call,
        "data": event.data,
        "epoch": str(event.epoch),
        "sequence": str(event.sequence),
        "type": event.type,
    }
