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

BEGIN_ANEW = "name another file by --state, or remove it to begin anew"
"""What to do with a state that is of no use, nor evidence of anything."""
_SCHEMA = "toolwarrant.audit-state/v2"
# 21 bytes for each call that ended.
_MAX_BYTES = 1 << 30


class StateUnusable(ValueError):
    """What was kept of an audit cannot be gone on from; the message says what to do."""


def write_state(walk: Walk, *, trust_root: TrustRoot) -> bytes:
    """Write how far a log was found good.

    Whoever can write this text can make an audit skip entries: it is the auditor's own, and the
    tree that is folded from it must still be the one that is signed.
    """
    return canonical_json(
        {
            "schema": _SCHEMA,
            "origin": walk.origin,
            "trust_root": {"version": trust_root.version, "sha256": _digest(trust_root)},
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
        fault = _fault(state, origin, trust_root)
        walk = None if fault else _walk(state)
    except (InvalidArgument, KeyError, TypeError, ValueError) as error:
        raise StateUnusable(f"it is not what an audit keeps: {BEGIN_ANEW}") from error
    if walk is None:
        raise StateUnusable(fault)
    return walk


def _fault(state: JsonObject, origin: str, trust_root: TrustRoot) -> str:
    """Name why a state is not one of this audit; empty where it is."""
    if state["schema"] != _SCHEMA:
        return f"it is of another version: {BEGIN_ANEW}"
    if state["origin"] != origin:
        return f"it is of another log: {BEGIN_ANEW}"
    before = _object(state["trust_root"])
    version = _number(before["version"])
    if version > trust_root.version:
        return (
            f"it was made under version {version} of the trust root, this is version "
            f"{trust_root.version}: give the later one"
        )
    if before["sha256"] == _digest(trust_root):
        return ""
    if version == trust_root.version:
        return (
            f"it was made under another trust root of the same version, {version}: one of the two "
            "is not that of this log's owner. Keep both, find out by another way which is"
        )
    return (
        f"it was made under another trust root, version {version}, whose keys may have counted "
        f"otherwise: {BEGIN_ANEW}"
    )


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
