"""Keep how far an audit came, so that it goes on from there."""

from collections import Counter
from dataclasses import asdict

from broker.core.canonical import JsonObject, JsonValue, canonical_json
from broker.core.ids import Sha256, sha256_hex
from broker.core.merkle import Frontier
from broker.core.strict_json import parse_object
from broker.core.trust_root import TrustRoot, write_trust_root
from broker.errors import InvalidArgument
from broker.verify.call_set import CallSet
from broker.verify.chain import Tip
from broker.verify.run_facts import RunFacts
from broker.verify.walk import Begun, Intent, Walk

_SCHEMA = "toolwarrant.audit-state/v2"
# 21 bytes for each call that ended.
_MAX_BYTES = 1 << 30


class StateUnusable(ValueError):
    """What was kept of an audit is not one of this log under this trust root."""


def write_state(walk: Walk, *, trust_root: TrustRoot) -> bytes:
    """Write how far a log was found good.

    Whoever can write this text can make an audit skip entries: it is the auditor's own, and the
    tree that is folded from it must still be the one that is signed.
    """
    return canonical_json(
        {
            "schema": _SCHEMA,
            "origin": walk.origin,
            "trust_root_sha256": _digest(trust_root),
            "size": walk.size,
            "tree": [each.hex() for each in walk.tree.hashes],
            "tip": asdict(walk.tip),
            "installation": walk.installation,
            "epoch": walk.epoch,
            "event": walk.event,
            "covered": walk.covered,
            "since": walk.since,
            "counts": dict(walk.counts),
            "intents": {call: asdict(intent) for call, intent in walk.intents.items()},
            "ended": walk.ended.write(),
            "waiting": [asdict(begun) for begun in walk.waiting],
            "excused": walk.excused,
            "kinds": dict(walk.kinds),
            "undecided": walk.undecided,
        }
    )


def read_state(text: bytes, *, origin: str, trust_root: TrustRoot) -> Walk:
    """Read what `write_state` wrote.

    Raises:
        StateUnusable: Another text, of another log, or made under another trust root.
    """
    try:
        state = parse_object(text, field="state", max_bytes=_MAX_BYTES, max_values=_MAX_BYTES).value
        if state["schema"] != _SCHEMA:
            raise StateUnusable("it is of another version")
        if state["origin"] != origin:
            raise StateUnusable("it is of another log")
        if state["trust_root_sha256"] != _digest(trust_root):
            raise StateUnusable("it was made under another trust root")
        return _walk(state)
    except (InvalidArgument, KeyError, TypeError, ValueError) as error:
        if isinstance(error, StateUnusable):
            raise
        raise StateUnusable("it is not what an audit keeps") from error


def _walk(state: JsonObject) -> Walk:
    tip, covered = _object(state["tip"]), state["covered"]
    hashes = tuple(bytes.fromhex(str(each)) for each in _list(state["tree"]))
    return Walk(
        origin=str(state["origin"]),
        tree=Frontier(size=_number(state["size"]), hashes=hashes),
        tip=Tip(
            entries=_number(tip["entries"]),
            installation=str(tip["installation"]),
            epoch=_number(tip["epoch"]),
            head=Sha256(str(tip["head"])),
        ),
        installation=str(state["installation"]),
        epoch=_number(state["epoch"]),
        event=_number(state["event"]),
        covered=None if covered is None else _number(covered),
        since=str(state["since"]),
        counts=_counter(state["counts"]),
        intents={call: _intent(_object(each)) for call, each in _object(state["intents"]).items()},
        ended=CallSet.read(str(state["ended"])),
        waiting=[_begun(_object(each)) for each in _list(state["waiting"])],
        excused=_number(state["excused"]),
        kinds=_counter(state["kinds"]),
        undecided=str(state["undecided"]),
    )


def _begun(fields: JsonObject) -> Begun:
    return Begun(
        index=_number(fields["index"]),
        call=str(fields["call"]),
        started_at=str(fields["started_at"]),
    )


def _intent(fields: JsonObject) -> Intent:
    run = {name: str(said) for name, said in _object(fields["run"]).items()}
    return Intent(index=_number(fields["index"]), run=RunFacts(**run))


def _counter(value: JsonValue) -> Counter[str]:
    return Counter({name: _number(count) for name, count in _object(value).items()})


def _number(value: JsonValue) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _list(value: JsonValue) -> list[JsonValue]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _object(value: JsonValue) -> JsonObject:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _digest(trust_root: TrustRoot) -> Sha256:
    return sha256_hex(write_trust_root(trust_root).encode())
