"""Make vectors of trust roots that root keys sign; as a program, write them anew, byte for byte."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from broker.core.dsse import pae
from broker.core.root_change import next_version
from broker.core.root_statement import MAX_SIGNATURES, PAYLOAD_TYPE
from broker.core.trust_root import KeyRole, KeyStatus, TrustedKey, TrustRoot, write_trust_root
from broker.ports import Signer
from tests.verify.log_vectors import trusted
from tests.verify.seeded import seeded
from tests.verify.text_vectors import Vector, b64
from tests.verify.vector_file import keep

FILE = Path(__file__).parent.parent / "vectors/trust_roots.json"
_NAMES = ("root1", "root2", "root3", "receipt", "later", "stranger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Who signs, and the vectors that came of it so far."""

    signers: Mapping[str, Signer]
    vectors: list[Vector] = field(default_factory=list)

    def key(self, who: str, role: KeyRole = KeyRole.ROOT, **changed: object) -> TrustedKey:
        """Trust a key in a role."""
        return trusted(role, self.signers[who], **changed)

    def first(self, receipt: TrustedKey | None = None, threshold: int = 2) -> TrustRoot:
        """Give the version that two in three root keys sign."""
        receipt = receipt or self.key("receipt", KeyRole.RECEIPT)
        roots = [self.key(name) for name in _NAMES[:3]]
        return TrustRoot(version=1, keys=(receipt, *roots), root_threshold=threshold)

    def signed(
        self, root: TrustRoot | bytes, *names: str, kind: str = PAYLOAD_TYPE
    ) -> dict[str, object]:
        """Wrap a trust root, signed without a check."""
        payload = write_trust_root(root).encode() if isinstance(root, TrustRoot) else root
        message = pae(kind, payload)
        signatures = [{"sig": b64(self.signers[name].sign(message))} for name in names]
        return {"payloadType": kind, "payload": b64(payload), "signatures": signatures}

    def judged(
        self, check: str, name: str, text: object, verdict: str = "valid", **more: object
    ) -> None:
        """Keep a text with what must come of it."""
        data = text if isinstance(text, bytes) else json.dumps(text).encode()
        self.vectors.append(
            {
                "name": f"{check}/{name}",
                "check": check,
                "text": b64(data),
                **more,
                "verdict": verdict,
                "step": None if verdict == "valid" else "trust_root",
            }
        )


def all_vectors(folder: Path) -> list[Vector]:
    """List every vector."""
    made = Made(signers={name: seeded(folder, name) for name in _NAMES})
    _own(made)
    _witnesses(made)
    _pinned(made)
    _successors(made)
    _decided(made)
    return made.vectors


def _own(made: Made) -> None:
    """A version by itself: its form, its own threshold."""
    first = made.first()
    good = made.signed(first, "root1", "root2")
    bare = write_trust_root(first).encode()
    unnamed = TrustRoot(version=1, keys=first.keys[:1])
    none = write_trust_root(replace(first, root_threshold=0)).encode()
    check = "opened trust root"
    for name, text in {
        "two of three": good,
        "two with a stranger": made.signed(first, "stranger", "root3", "root1"),
        "bare": bare,
        "around one without root keys": made.signed(unnamed),
        "fields and names that DSSE has or has not": {
            **good,
            "more": 1,
            "signatures": [{**each, "keyid": "x"} for each in good["signatures"]],
        },  # type: ignore[union-attr, attr-defined]
        "as many signatures as may be": {
            **good,
            "signatures": [*good["signatures"], *good["signatures"][:1] * (MAX_SIGNATURES - 2)],
        },  # type: ignore[misc, index]
    }.items():
        made.judged(check, f"accept/{name}", text)
    for name, text in {
        "one of three": made.signed(first, "root1"),
        "nobody": made.signed(first),
        "one twice": made.signed(first, "root1", "root1"),
        "one with a stranger": made.signed(first, "root1", "stranger"),
        "another payload type": made.signed(
            first, "root1", "root2", kind="application/vnd.in-toto+json"
        ),
        "no threshold": made.signed(none, "root1", "root2"),
        "an envelope in an envelope": made.signed(json.dumps(good).encode(), "root1", "root2"),
        "too many signatures": {
            **good,
            "signatures": [*good["signatures"], *good["signatures"][:1] * (MAX_SIGNATURES - 1)],
        },  # type: ignore[misc, index]
        "signatures no list": {**good, "signatures": {}},
        "signatures a number": {**good, "signatures": 2},
        "signature no object": {**good, "signatures": [*good["signatures"], "x"]},  # type: ignore[misc]
        "signature not base64": {**good, "signatures": [*good["signatures"], {"sig": "?"}]},  # type: ignore[misc]
        "signature no string": {**good, "signatures": [*good["signatures"], {"sig": 1}]},  # type: ignore[misc]
        "payload type no string": {**good, "payloadType": 1},
        "a bit of the payload": {
            **good,
            "payload": b64(bare.replace(b'"version": 1', b'"version": 2')),
        },
        "duplicate key": json.dumps(good).encode()[:-1] + b',"payloadType":"x"}',
        "not JSON": b"root",
    }.items():
        made.judged(check, name, text, "invalid")
    for name, root in {
        "a root key withdrawn": replace(
            first,
            keys=(
                first.keys[0],
                replace(first.keys[1], status=KeyStatus.WITHDRAWN),
                *first.keys[2:],
            ),
        ),
        "a root key with an end": replace(
            first,
            keys=(first.keys[0], replace(first.keys[1], valid_until_index=0), *first.keys[2:]),
        ),
    }.items():
        made.judged(check, f"accept/{name}", made.signed(root, "root2", "root3"))
        made.judged(check, f"{name} signed it", made.signed(root, "root1", "root2"), "invalid")


def _witnesses(made: Made) -> None:
    """A witness may have the name that its signatures must have: one that notes can have."""
    named = replace(made.first(), root_threshold=0)
    keys = (*named.keys[:1], made.key("later", KeyRole.WITNESS, name="witness.invalid/1"))
    text = write_trust_root(TrustRoot(version=1, keys=keys))
    check = "opened trust root"
    made.judged(check, "accept/named witness", text.encode())
    for name, other in (("a space in it", '"witness invalid"'), ("no string", "1")):
        spoilt = text.replace('"witness.invalid/1"', other)
        made.judged(check, f"name of a witness with {name}", spoilt.encode(), "invalid")


def _pinned(made: Made) -> None:
    """Root keys that a reader has on paper signed it."""
    first = made.first()
    ids = {name: made.key(name).key_id for name in _NAMES}
    good = made.signed(first, "root1", "root2")
    check = "pinned trust root"
    made.judged(check, "accept/both", good, key_ids=[ids["root1"], ids["root2"]])
    for name, text, wanted in [
        ("one that did not sign", good, ["root1", "root3"]),
        ("one that it does not name", good, ["root1", "stranger"]),
        ("bare", write_trust_root(first).encode(), ["root1", "root2"]),
        ("below its own threshold", made.signed(first, "root1"), ["root1"]),
    ]:
        made.judged(check, name, text, "invalid", key_ids=[ids[each] for each in wanted])
    made.judged(check, "accept/one of both", good, key_ids=[ids["root1"]])


def _successors(made: Made) -> None:
    """The next version: one higher, signed by enough of the old keys and of its own."""
    first = made.first()
    second = next_version(
        replace(
            first,
            keys=(
                *first.keys[:1],
                replace(first.keys[1], status=KeyStatus.WITHDRAWN),
                *first.keys[2:],
            ),
        ),
        added=[made.key("later")],
    )
    third, other = (
        next_version(second),
        next_version(first, added=[made.key("stranger", KeyRole.LOG)]),
    )
    unsigned = replace(first, keys=first.keys[:1], root_threshold=0)
    check = "following trust root"
    for name, root, by, trust, verdict in [
        ("accept/by old and new", second, ("root2", "root3"), first, "valid"),
        ("accept/third after second", third, ("root2", "root3"), second, "valid"),
        ("by the new alone", second, ("root3", "later"), first, "invalid"),
        ("by the old alone", second, ("root1", "root2"), first, "invalid"),
        ("one left out", third, ("root2", "root3"), first, "invalid"),
        ("the same again", second, ("root2", "root3"), second, "invalid"),
        ("one back", first, ("root2", "root3"), second, "invalid"),
        ("another of the same version", other, ("root2", "root3"), second, "invalid"),
        ("after one without root keys", second, ("root2", "root3"), unsigned, "invalid"),
    ]:
        made.judged(
            check,
            name,
            made.signed(root, *by),
            verdict,
            trusted=json.loads(write_trust_root(trust)),
        )
    again = json.dumps(made.signed(second, "root2", "root3")).encode()
    wrapped = made.signed(again, "root2", "root3")
    trusts = json.loads(write_trust_root(first))
    made.judged(check, "an envelope in an envelope", wrapped, "invalid", trusted=trusts)
    bare = write_trust_root(second).encode()
    made.judged(check, "bare", bare, "invalid", trusted=json.loads(write_trust_root(first)))


def _decided(made: Made) -> None:
    """What was decided of a key stays decided, though enough root keys signed otherwise."""
    key = made.key("receipt", KeyRole.RECEIPT)
    added = made.key("later", KeyRole.RECEIPT)
    check = "following trust root"
    for name, before, after in [
        ("taken away", {}, None),
        ("in another role", {}, {"role": KeyRole.LOG}),
        ("end moved to later", {"valid_until_index": 7}, {"valid_until_index": 8}),
        ("end taken back", {"valid_until_index": 7}, {}),
        ("no longer withdrawn", {"status": KeyStatus.WITHDRAWN}, {}),
        ("beginning moved to earlier", {"valid_from_index": 3}, {"valid_from_index": 2}),
    ]:
        trust = made.first(replace(key, **before))
        roots = trust.keys[1:]

        def root(
            receipt: tuple[TrustedKey, ...], roots: tuple[TrustedKey, ...] = roots
        ) -> TrustRoot:
            return TrustRoot(version=2, keys=(*roots, added, *receipt), root_threshold=2)

        trusts = json.loads(write_trust_root(trust))
        kept = made.signed(root((replace(key, **before),)), "root1", "root2")
        made.judged(check, f"accept/not {name}", kept, trusted=trusts)
        changed = () if after is None else (replace(key, **after),)
        made.judged(
            check, name, made.signed(root(changed), "root1", "root2"), "invalid", trusted=trusts
        )


if __name__ == "__main__":
    keep(FILE, all_vectors)
