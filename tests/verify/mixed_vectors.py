"""Make vectors of logs with entries of every kind; as a program, write them anew, byte for byte.

Each that is refused is one entry, or one other input, away from an accepted one. The broker's own
keys sign whatever is in them: what is refused here is refused for what it says.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from broker.core.canonical import JsonObject, canonical_json
from broker.core.dsse import envelope, pae, read_envelope
from broker.core.ids import AgentId, Sha256
from broker.core.log_leaf import LeafKind
from broker.core.merkle import leaf_hash
from broker.core.signed_note import COSIGNATURE_V1, ED25519, verifier_key
from broker.core.trust_root import KeyRole, KeyStatus, TrustRoot, write_trust_root
from broker.ports import Signer
from tests.verify.log_vectors import checkpoint_of, cosigned, raw, trusted
from tests.verify.mixed_log import MixedLog, ordinary
from tests.verify.receipts import CALL, ENFORCED
from tests.verify.seeded import seeded
from tests.verify.text_vectors import Vector, b64
from tests.verify.vector_file import keep

FILE = Path(__file__).parent.parent / "vectors/mixed_logs.json"
_OTHER = Sha256("0" * 63 + "1")
_KEY = "key.in_use"
Build = Callable[[MixedLog], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What signs, and the vectors that came of it so far."""

    receipt: Signer
    log: Signer
    witness: Signer
    stranger: Signer
    vectors: list[Vector] = field(default_factory=list)

    def root(self, receipt: JsonObject | None = None, **witness: object) -> TrustRoot:
        """Give what readers trust.

        Args:
            receipt: What is otherwise of the receipts' key.
            witness: What is otherwise of the witness's; without it no witness is trusted.
        """
        return TrustRoot(
            version=1,
            keys=(
                trusted(KeyRole.RECEIPT, self.receipt, **(receipt or {})),
                trusted(KeyRole.LOG, self.log),
                *([trusted(KeyRole.WITNESS, self.witness, **witness)] if witness else ()),
            ),
        )

    def entries(self, *builds: Build, **fields: object) -> list[bytes]:
        """Make a log of what is told to it."""
        log = MixedLog(signer=self.receipt, **fields)  # type: ignore[arg-type]
        for build in builds:
            build(log)
        return log.entries

    def log_of(
        self,
        name: str,
        entries: list[bytes],
        verdict: str = "valid",
        step: str | None = None,
        **changed: object,
    ) -> None:
        """Keep a log with what must come of it."""
        self.vectors.append(
            {
                "name": f"mixed log/{name}",
                "check": "log",
                "checkpoint": b64(checkpoint_of(entries, self.log)),
                "envelopes": [entry.decode() for entry in entries],
                "leaves": None,
                "kept": None,
                "witness_quorum": 0,
                "trust_root": plain(self.root()),
                **changed,
                "verdict": verdict,
                "step": step,
            }
        )

    def pair(
        self, name: str, step: str, builds: tuple[Build, ...], good: Build, **bad: Build
    ) -> None:
        """Keep a log that ends well, with the same log ending in ways that are refused."""
        self.log_of(f"{step}/accept/{name}", self.entries(*builds, good))
        for how, build in bad.items():
            self.log_of(
                f"{step}/{how.replace('_', ' ')}", self.entries(*builds, build), "invalid", step
            )


def plain(root: TrustRoot) -> object:
    """Write a trust root as vectors have it."""
    return json.loads(write_trust_root(root))


def all_vectors(folder: Path) -> list[Vector]:
    """List every vector."""
    made = Made(
        **{name: seeded(folder, name) for name in ("receipt", "log", "witness", "stranger")}
    )
    for make in (_kinds, _intents, _runs, _batches, _places, _chains, _leaves, _before, _tampered):
        make(made)
    made.vectors.extend(_verifier_keys(made))
    return made.vectors


def _told(event_type: str, **data: str) -> Build:
    return lambda log: log.tell(event_type, **data)


def _began(call: int, **changed: object) -> Build:
    return lambda log: log.begin(call, **changed)  # type: ignore[arg-type]


def _ended(call: int, ending: str = "succeeded", **place: int | None) -> Build:
    return lambda log: log.end(call, ending, **place)  # type: ignore[arg-type]


def _ended_unbegun(log: MixedLog) -> None:
    """A receipt has a result, but names no time when the call began: so no intent were missed."""
    log.end(1, change=lambda call: replace(call, started_at=None))


def _batch(**changed: object) -> Build:
    return lambda log: log.batch(**changed)


def _event(log: MixedLog) -> None:
    log.event("call.received")


def _kinds(made: Made) -> None:
    """One of each kind; no kind has a field that is not listed for it."""
    made.log_of("accept/every kind", ordinary(made.receipt).entries)
    for kind, build in {
        "policy": _told("broker.started", bundle="b" * 64),
        "key": _told(_KEY, role="log", key_id="c" * 64),
        "approval": _told("hold.voted", verdict="approve", voter="p-1", view_sha256="d" * 64),
        "grant": _told("grant.created", grant="G1", by="p-2"),
        "halt": _told("halt.set", halt="AAAA", scope="session"),
        "intent": _began(1),
        "batch": lambda log: (_event(log), log.batch())[0],
    }.items():
        good = made.entries(build)
        made.log_of(f"shape/accept/{kind}", good)
        name = "approval" if kind == "grant" else kind
        more = _resigned(
            made,
            good[0],
            lambda said, name=name: {**said, name: {**said[name], "session": "words"}},
        )
        made.log_of(f"shape/{kind} with a text that a client chose", [more], "invalid", "shape")


def _intents(made: Made) -> None:
    """Intents with receipts: each call that began has one, once, before its one end."""
    batched = (_event, _batch())
    made.pair(
        "ended",
        "intents",
        (*batched, _began(1)),
        _ended(1),
        ended_that_never_began=_ended(2),
        ended_as_what_never_began=_ended(1, "denied"),
    )
    made.pair("two begun", "intents", (_began(1),), _began(2), begun_twice=_began(1))
    made.pair(
        "next begun",
        "intents",
        (_began(1), _ended(1)),
        _began(2),
        begun_again_after_its_end=_began(1),
    )
    made.pair(
        "next denied",
        "intents",
        (_began(1), _ended(1)),
        _ended(2, "denied"),
        ended_twice=_ended(1, "denied"),
    )
    digest = Sha256("a" * 64)
    for name, ending, verdict in [
        ("accept/denied at first", "denied", "valid"),
        ("ended at first", "succeeded", "invalid"),
    ]:
        entries = made.entries(_ended(1, ending), _batch(sha256=digest))
        made.log_of(f"intents/{name}", entries, verdict, None if verdict == "valid" else "intents")
    made.pair(
        "denied as what never began",
        "outcome",
        batched,
        _ended(1, "denied"),
        result_of_what_never_began=_ended_unbegun,
    )
    started = _told("broker.started")
    made.log_of("intents/accept/begun, no batch", made.entries(started, _began(1), _ended(1)))
    made.log_of(
        "intents/ended, no batch",
        made.entries(
            started,
            lambda log: (log.event("run.starting"), log.leaf(replace(log.events[-1], type=_KEY)))[
                0
            ],
            _ended(1),
        ),
        "indeterminate",
        "intents",
    )


def _runs(made: Made) -> None:
    """A receipt says of the run what its intent said."""
    seen = CALL.evaluations[-1]
    made.log_of("intents/accept/run as intended", made.entries(_began(1), _ended(1)))
    made.log_of(
        "intents/accept/no container known at the end",
        made.entries(_began(1), _ended(1, "interrupted")),
    )
    for name, changed in {
        "agent": {"agent": AgentId("spiffe://toolwarrant.dev/agent2")},
        "request": {"request_sha256": _OTHER},
        "tool": {"tool": "http_fetch"},
        "version of the tool": {"tool_version": "1.0.1"},
        "image": {"image": "sha256:" + "2" * 64},
        "bundle": {"evaluations": (replace(seen, bundle_sha256=_OTHER),)},
        "policy input": {"evaluations": (replace(seen, policy_input_sha256=_OTHER),)},
        "decision": {"evaluations": (replace(seen, decision_sha256=_OTHER),)},
        "container": {"sandbox": {**ENFORCED.facts, "network": "host"}},
    }.items():
        entries = made.entries(_began(1, **changed), _ended(1))
        made.log_of(f"intents/another {name} than intended", entries, "invalid", "intents")


def _batches(made: Made) -> None:
    """Batches leave out neither an event nor an entry."""
    made.pair(
        "two",
        "batches",
        (_told(_KEY), _event, _batch(), _told(_KEY), _told(_KEY)),
        _batch(),
        begins_too_late=_batch(first=4),
        begins_too_early=_batch(first=2),
        ends_before_an_event=_batch(last=3),
        counts_one_too_few=_batch(entries={LeafKind.KEY: 1}),
        counts_one_too_many=_batch(entries={LeafKind.KEY: 3}),
        counts_another_kind=_batch(entries={LeafKind.KEY: 2, LeafKind.RECEIPT: 1}),
        ends_before_it_begins=_batch(first=3, last=2),
    )
    made.pair("first", "batches", (_event,), _batch(), covers_nothing=_batch(first=9, last=8))
    behind = (_event, _event, _batch(), _told(_KEY))

    def again(sequence: int) -> Build:
        return lambda log: log.leaf(log.event(_KEY), sequence=sequence)

    made.pair(
        "later event",
        "batches",
        behind,
        again(4),
        event_of_the_batch_before=again(2),
        event_told_already=again(3),
    )


def _places(made: Made) -> None:
    """Every entry stands where it says."""
    first = (_told(_KEY), _told(_KEY))

    def shifted(by: int) -> Build:
        def build(log: MixedLog) -> None:
            log.shift = by
            log.tell(_KEY)

        return build

    made.pair(
        "leaf", "place", first, shifted(0), leaf_too_early=shifted(-1), leaf_too_late=shifted(1)
    )
    made.pair(
        "receipt",
        "place",
        first,
        _ended(1, "denied"),
        receipt_too_early=_ended(1, "denied", index=1),
        receipt_too_late=_ended(1, "denied", index=3),
        receipt_without_a_place=_ended(1, "denied", index=None),
    )


def _chains(made: Made) -> None:
    """Every entry is of one installation, whose lives come one after the other."""

    def of(build: Build, **fields: object) -> Build:
        def changed(log: MixedLog) -> None:
            for name, value in fields.items():
                setattr(log, name, value)
            build(log)

        return changed

    key, denied = _told(_KEY), _ended(1, "denied")
    made.pair(
        "leaf", "chain", (key,), key, leaf_of_another_installation=of(key, installation="another")
    )
    made.pair(
        "receipt",
        "chain",
        (key,),
        denied,
        receipt_of_another_installation=of(denied, installation="another"),
    )
    for name, build, installation in [
        ("accept/leaf in nobody's log", key, None),
        (
            "leaf of another installation in nobody's log",
            of(key, installation="another"),
            "another",
        ),
    ]:
        entries = made.entries(key, build)
        head = b64(checkpoint_of(entries, made.log, "log.invalid/another"))
        made.log_of(
            f"chain/{name}",
            entries,
            *(("invalid", "chain") if installation else ()),
            checkpoint=head,
        )
    strange = made.entries(key, installation="another")
    made.log_of("chain/all of another installation", strange, "invalid", "chain")
    made.pair(
        "receipt behind another",
        "chain",
        (key, denied),
        _ended(2, "denied"),
        receipt_that_names_another_one=of(_ended(2, "denied"), previous=_OTHER),
        receipt_left_out=of(_ended(2, "denied"), receipts=2),
    )
    second = (of(key, epoch=2),)
    made.pair(
        "leaf of a later life", "chain", second, key, leaf_of_an_earlier_life=of(key, epoch=1)
    )
    made.pair(
        "receipt of a later life",
        "chain",
        second,
        denied,
        receipt_of_an_earlier_life=of(denied, epoch=1),
    )


def _leaves(made: Made) -> None:
    """An entry by itself: type, form, shape, key, place of the key."""
    good = made.entries(_began(1))
    old = read_envelope(good[0])
    kind = "application/vnd.toolwarrant.log-{}.v1+json"
    made.log_of("entry/accept/intent", good)
    spaced = json.dumps(json.loads(old.payload), sort_keys=True).encode()
    for name, entry, step in [
        (
            "type of a later version",
            _sealed(made, old.payload, kind.format("intent").replace("v1", "v2")),
            "type",
        ),
        ("type of another kind", _sealed(made, old.payload, kind.format("key")), "shape"),
        (
            "type of a receipt",
            _sealed(made, old.payload, "application/vnd.in-toto+json"),
            "statement",
        ),
        ("payload not canonical", _sealed(made, spaced, old.payload_type), "canonical"),
        (
            "index with a zero in front",
            _resigned(made, good[0], lambda said: {**said, "index": "00"}),
            "shape",
        ),
        (
            "another key's id",
            _resigned(made, good[0], lambda said: {**said, "key_id": _OTHER}),
            "key",
        ),
        (
            "by the log's key",
            envelope(
                old.payload,
                made.log.sign(pae(old.payload_type, old.payload)),
                payload_type=old.payload_type,
            ),
            "signature",
        ),
        (
            "index changed, not signed anew",
            envelope(
                old.payload.replace(b'"index":"0"', b'"index":"1"'),
                old.signature,
                payload_type=old.payload_type,
            ),
            "signature",
        ),
        ("no envelope", b"{}", "envelope"),
    ]:
        made.log_of(f"entry/{name}", [entry], "invalid", step)
    two = made.entries(_told(_KEY), _told(_KEY))
    for name, changed, verdict, step in [
        ("accept/key up to its end", {"valid_until_index": 2}, "valid", None),
        ("key past its end", {"valid_until_index": 1}, "invalid", "validity"),
        ("key withdrawn", {"status": KeyStatus.WITHDRAWN}, "indeterminate", "validity"),
    ]:
        made.log_of(f"entry/{name}", two, verdict, step, trust_root=plain(made.root(changed)))
    head = cosigned(checkpoint_of(two, made.log), made.witness)
    for name, witness, verdict in [
        ("accept/witness by its name", "witness.invalid/1", "valid"),
        ("accept/witness by its key alone", "", "valid"),
        ("witness under another name", "witness.invalid/2", "invalid"),
    ]:
        made.log_of(
            f"witnesses/{name}",
            two,
            verdict,
            None if verdict == "valid" else "witnesses",
            checkpoint=b64(head),
            witness_quorum=1,
            trust_root=plain(made.root(name=witness)),
        )


def _before(made: Made) -> None:
    """Logs that held receipts alone before go on with everything."""

    def old(log: MixedLog) -> None:
        log.event("run.starting", 1)
        log.end(1, index=None)
        log.end(2, "denied", index=None)
        log.counts.clear()
        log.event("run.starting", 3)
        log.covered = len(log.events)
        log.tell("broker.started")
        log.end(3)

    later = {"since": CALL.received_at + timedelta(days=1)}
    earlier = {"since": CALL.received_at - timedelta(days=1)}
    made.log_of("from before/accept/began before", made.entries(old, _batch(**later)))
    made.log_of(
        "from before/began later", made.entries(old, _batch(**earlier)), "invalid", "intents"
    )
    made.log_of(
        "from before/accept/begun since", made.entries(old, _batch(**later), _began(4), _ended(4))
    )
    made.log_of("from before/no batch yet", made.entries(old), "indeterminate", "intents")
    twice = "from before/ended before, {} again since"
    for what, build in {"begun": _began(1), "denied": _ended(1, "denied")}.items():
        entries = made.entries(old, _batch(**later), build)
        made.log_of(twice.format(what), entries, "invalid", "intents")


def _tampered(made: Made) -> None:
    """Who has no key changes what is there: the head is that of the whole log."""
    entries = made.entries(
        _told(_KEY), _began(1), _told("halt.set", halt="AAAA", scope="all"), _ended(1), _batch()
    )
    head = b64(checkpoint_of(entries, made.log))
    made.log_of("changed/accept/whole", entries)
    for name, changed, step in [
        ("intent removed", [entries[0], *entries[2:]], "place"),
        ("intent and halt swapped", [entries[0], entries[2], entries[1], *entries[3:]], "place"),
        ("intent twice", [*entries[:2], *entries[1:]], "place"),
        ("halt emptied", [*entries[:2], b"{}", *entries[3:]], "envelope"),
        ("tail cut off", entries[:-1], "tree"),
    ]:
        made.log_of(f"changed/{name}", changed, "invalid", step, checkpoint=head)
    hashes = [b64(leaf_hash(each)) for each in entries]
    made.log_of("changed/accept/with tiles", entries, leaves=hashes)
    swapped = [hashes[0], hashes[2], hashes[1], *hashes[3:]]
    made.log_of("changed/hashes swapped", entries, "invalid", "tiles", leaves=swapped)
    kept = checkpoint_of(entries[:2], made.log)
    forked = checkpoint_of([entries[0], entries[2]], made.log)
    made.log_of("changed/accept/grew from the head kept", entries, kept=b64(kept))
    made.log_of("changed/head kept of a fork", entries, "invalid", "kept", kept=b64(forked))


def _verifier_keys(made: Made) -> Iterator[Vector]:
    """The form in which the owner of a key tells it."""
    good = verifier_key("witness.invalid/1", COSIGNATURE_V1, raw(made.witness))
    name, key_id, encoded = good.split("+", 2)
    short = verifier_key("witness.invalid/1", COSIGNATURE_V1, raw(made.witness)[:31])
    other = b64(bytes([ED25519]) + raw(made.witness))
    nameless = verifier_key("", COSIGNATURE_V1, raw(made.witness))
    for title, text in {
        "accept/a witness's": good,
        "no name": nameless,
        "of a log": verifier_key("witness.invalid/1", ED25519, raw(made.witness)),
        "of a log under a witness's id": f"{name}+{key_id}+{other}",
        "short key": short,
        "another id": f"{name}+{'0' * 8}+{encoded}",
        "another name": f"witness.invalid/2+{key_id}+{encoded}",
        "not base64": good[:-1],
    }.items():
        is_good = title.startswith("accept/")
        yield {
            "name": f"verifier key/{title}",
            "check": "verifier_key",
            "text": b64(text.encode()),
            "verdict": "valid" if is_good else "invalid",
            "step": None if is_good else "note",
        }


def _sealed(made: Made, payload: bytes, payload_type: str) -> bytes:
    signature = made.receipt.sign(pae(payload_type, payload))
    return envelope(payload, signature, payload_type=payload_type)


def _resigned(
    made: Made, entry: bytes, change: Callable[[dict[str, object]], dict[str, object]]
) -> bytes:
    old = read_envelope(entry)
    return _sealed(made, canonical_json(change(json.loads(old.payload))), old.payload_type)


if __name__ == "__main__":
    keep(FILE, all_vectors)
