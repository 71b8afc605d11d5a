"""Make verification vectors; as a program, write them anew with throw-away keys.

Each vector that is to be rejected is one change away from one that is accepted. `python -m
tests.verify.vectors` writes `tests/vectors/receipts.json`; the private keys are never kept.
"""

import base64
import copy
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.core.canonical import canonical_json
from broker.core.document import Document, DocumentKind
from broker.core.dsse import IN_TOTO, envelope, pae
from broker.core.ids import sha256_hex
from broker.core.receipt import statement
from broker.core.trust_root import KeyRole, KeyStatus, TrustRoot, write_trust_root
from broker.ports import Signer
from broker.verify.verdict import Validity
from tests.verify.receipts import ENDINGS, REQUEST, RESULT, new_signer, position, sealed, trust

FILE = Path(__file__).parent.parent / "vectors/receipts.json"
Statement = dict[str, Any]
VALID, INVALID, INDETERMINATE = Validity


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """What is verified, with what must come of it."""

    name: str
    envelope: bytes
    trust_root: TrustRoot
    request: bytes | None = None
    result: bytes | None = None
    proof: bytes | None = None
    quorum: int = 0
    validity: Validity = INVALID
    step: str | None = None


def all_vectors(signer: Signer, ecdsa: Signer, stranger: Signer) -> list[Vector]:
    """List every vector, made with these keys; the stranger's is trusted by nobody."""
    return [
        *_accepted(signer, ecdsa),
        *_envelopes(signer),
        *_keys(signer, stranger),
        *_payloads(signer),
        *_documents(signer),
    ]


def _accepted(signer: Signer, ecdsa: Signer) -> Iterator[Vector]:
    root = trust(signer)
    for ending in ENDINGS:
        text = sealed(ending, signer)
        yield Vector(name=f"accept/{ending}", envelope=text, trust_root=root, validity=VALID)
    both = {"request": REQUEST.text, "result": RESULT.text, "validity": VALID}
    ran = sealed("succeeded", signer)
    yield Vector(name="accept/with documents", envelope=ran, trust_root=root, **both)
    roots = trust(ecdsa, signer)
    yield Vector(name="accept/second key", envelope=ran, trust_root=roots, validity=VALID)
    other = sealed("succeeded", ecdsa)
    yield Vector(name="accept/ecdsa", envelope=other, trust_root=roots, validity=VALID)


def _envelopes(signer: Signer) -> Iterator[Vector]:
    """Change the envelope around a good payload with its good signature."""
    good = sealed("succeeded", signer)
    fields = json.loads(good)
    payload = base64.b64decode(fields["payload"])
    kind = "application/vnd.other+json"

    def changed(**change: object) -> bytes:
        return canonical_json({**fields, **change})

    sig = fields["signatures"][0]["sig"]
    # The last character before `==` carries four bits that decode to nothing.
    loose = sig[:-3] + chr(ord(sig[-3]) + 1) + "=="
    urlsafe = base64.urlsafe_b64encode(b"\xff\xfe" * 32).decode()
    for name, text in {
        "empty": b"",
        "not JSON": b"receipt",
        "no object": b"[]",
        "line end behind": good + b"\n",
        "indented": json.dumps(fields, indent=1).encode(),
        "other order of keys": json.dumps(
            dict(sorted(fields.items(), reverse=True)), separators=(",", ":")
        ).encode(),
        "duplicate key": good[:-1] + b',"payloadType":"application/vnd.in-toto+json"}',
        "unknown field": changed(note=""),
        "keyid": changed(signatures=[{"keyid": signer.key_id, "sig": sig}]),
        "no signature": changed(signatures=[]),
        "two signatures": changed(signatures=[{"sig": sig}, {"sig": sig}]),
        "empty signature": changed(signatures=[{"sig": ""}]),
        "empty payload": changed(payload=""),
        "signature not a string": changed(signatures=[{"sig": 1}]),
        "signatures not a list": changed(signatures={"sig": sig}),
        "payload type not a string": changed(payloadType=None),
        "loose base64": changed(signatures=[{"sig": loose}]),
        "unpadded base64": changed(signatures=[{"sig": sig.rstrip("=")}]),
        "url-safe base64": changed(signatures=[{"sig": urlsafe}]),
        "line end in base64": changed(
            payload=f"{fields['payload'][:76]}\n{fields['payload'][76:]}"
        ),
    }.items():
        yield Vector(
            name=f"envelope/{name}", envelope=text, trust_root=trust(signer), step="envelope"
        )
    other = envelope(payload, signer.sign(pae(kind, payload)), payload_type=kind)
    yield Vector(name="type/other", envelope=other, trust_root=trust(signer), step="type")


def _keys(signer: Signer, stranger: Signer) -> Iterator[Vector]:
    """Change the signature, or who is trusted."""
    good = sealed("succeeded", signer)
    fields = json.loads(good)
    payload = base64.b64decode(fields["payload"])
    signature = base64.b64decode(fields["signatures"][0]["sig"])
    flipped = bytes([signature[0] ^ 1]) + signature[1:]
    longer_type = signer.sign(pae(IN_TOTO + "x", payload))
    for name, text, root in [
        ("bit of the signature", envelope(payload, flipped), trust(signer)),
        ("bit of the payload", envelope(_flip(payload), signature), trust(signer)),
        ("cut short", envelope(payload, signature[:-1]), trust(signer)),
        (
            "over the payload without the PAE",
            envelope(payload, signer.sign(payload)),
            trust(signer),
        ),
        ("over another type", envelope(payload, longer_type), trust(signer)),
        ("by a stranger", envelope(payload, stranger.sign(pae(IN_TOTO, payload))), trust(signer)),
        ("key not trusted", good, trust(stranger)),
        ("key of another role", good, trust(signer, role=KeyRole.LOG)),
    ]:
        yield Vector(name=f"signature/{name}", envelope=text, trust_root=root, step="signature")
    for name, root in {
        "withdrawn": trust(signer, status=KeyStatus.WITHDRAWN),
        "bounded": trust(signer, valid_until_index=9),
        "withdrawn with bound": trust(signer, valid_until_index=9, status=KeyStatus.WITHDRAWN),
    }.items():
        yield Vector(
            name=f"validity/{name}",
            envelope=good,
            trust_root=root,
            validity=INDETERMINATE,
            step="validity",
        )


def _flip(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


def _payloads(signer: Signer) -> Iterator[Vector]:
    """Sign, with the right key, what no broker says."""

    def vector(name: str, payload: bytes) -> Vector:
        text = envelope(payload, signer.sign(pae(IN_TOTO, payload)))
        step = name.split("/", maxsplit=1)[0]
        return Vector(name=name, envelope=text, trust_root=trust(signer), step=step)

    good = statement(ENDINGS["succeeded"].draft(signer), position())
    yield vector("canonical/not JSON", b"nothing")
    yield vector("canonical/no object", b"[]")
    yield vector("canonical/space", good.replace(b'":', b'": ', 1))
    yield vector("canonical/line end", good + b"\n")
    yield vector("canonical/duplicate key", good.replace(b'{"_type"', b'{"_type":"","_type"', 1))
    yield vector("canonical/number form", good.replace(b'"risk":10', b'"risk":1e1', 1))
    yield vector("canonical/escape", good.replace(b'"outcome"', rb'"\u006futcome"', 1))
    for name, (ending, change) in PAYLOAD_CHANGES.items():
        said = json.loads(statement(ENDINGS[ending].draft(signer), position()))
        change(said)
        yield vector(name, canonical_json(said))


def _put(value: object, *path: str | int) -> Callable[[Statement], None]:
    def change(said: Statement) -> None:
        group: Any = said
        for step in path[:-1]:
            group = group[step]
        group[path[-1]] = copy.deepcopy(value)

    return change


def _drop(*path: str | int) -> Callable[[Statement], None]:
    def change(said: Statement) -> None:
        group: Any = said
        for step in path[:-1]:
            group = group[step]
        del group[path[-1]]

    return change


_P = "predicate"
_OTHER = "0" * 63 + "1"
_RAN = json.loads(
    canonical_json(
        {
            "sha256": RESULT.sha256,
            "exit_code": 0,
            "stdout": {"size_bytes": "1", "truncated": False},
            "stderr": {"size_bytes": "1", "truncated": False},
            "outputs": 0,
            "changes": 0,
            "limits_hit": [],
            "sources": {},
        }
    )
)
_RESULT_SUBJECT = {"name": "result", "digest": {"sha256": RESULT.sha256}}


def add_result(said: Statement) -> None:
    said["subject"].append(copy.deepcopy(_RESULT_SUBJECT))
    said[_P]["result"] = copy.deepcopy(_RAN)


def _drop_result(said: Statement) -> None:
    said["subject"].pop()
    said[_P]["result"] = None


PAYLOAD_CHANGES: dict[str, tuple[str, Callable[[Statement], None]]] = {
    "statement/other type": ("denied", _put("https://in-toto.io/Statement/v0.1", "_type")),
    "statement/no type": ("denied", _drop("_type")),
    "statement/other predicate type": (
        "denied",
        _put("urn:toolwarrant:execution-receipt:v2", "predicateType"),
    ),
    "shape/unknown outcome": ("denied", _put("ALLOWED", _P, "outcome", "state")),
    "shape/outcome not final": ("denied", _put("RUNNING", _P, "outcome", "state")),
    "shape/outcome with its prefix": ("denied", _put("CALL_STATE_DENIED", _P, "outcome", "state")),
    "shape/unknown cause": ("killed", _put("bored", _P, "outcome", "cause")),
    "shape/unknown group": ("denied", _put({}, _P, "extra")),
    "shape/unknown field": ("denied", _put("", "extra")),
    "shape/group left out": ("denied", _drop(_P, "approvals")),
    "shape/sequence as a number": ("denied", _put(1, _P, "identity", "sequence")),
    "shape/sequence 0": ("denied", _put("0", _P, "identity", "sequence")),
    "shape/digest in capitals": ("denied", _put("A" * 64, _P, "request", "sha256")),
    "shape/fraction": ("denied", _put(1.5, _P, "decision", "evaluations", 0, "risk")),
    "shape/no subject": ("denied", _put([], "subject")),
    "shape/unknown subject": ("denied", _put("tree", "subject", 0, "name")),
    "shape/development not said": ("denied", _drop(_P, "development")),
    "key/another key's id": ("denied", _put(_OTHER, _P, "key_id")),
    "subjects/other digest": ("denied", _put(_OTHER, "subject", 0, "digest", "sha256")),
    "subjects/result left out": ("succeeded", _drop("subject", 1)),
    "subjects/result added": ("denied", lambda said: said["subject"].append(_RESULT_SUBJECT)),
    "subjects/other order": ("succeeded", lambda said: said["subject"].reverse()),
    "subjects/request twice": ("succeeded", _put("request", "subject", 1, "name")),
    "outcome/succeeded without result": ("succeeded", _drop_result),
    "outcome/killed without result": ("killed", _drop_result),
    "outcome/denied with result": ("denied", add_result),
    "outcome/succeeded with exit code 1": ("succeeded", _put(1, _P, "result", "exit_code")),
    "outcome/succeeded without exit code": ("succeeded", _put(None, _P, "result", "exit_code")),
    "outcome/failed with exit code 0": ("failed", _put(0, _P, "result", "exit_code")),
    "outcome/result without sandbox": ("succeeded", _put(None, _P, "sandbox")),
    "outcome/ran after a denial": (
        "succeeded",
        _put("deny", _P, "decision", "evaluations", 0, "effect"),
    ),
    "outcome/ran undecided": ("succeeded", _put([], _P, "decision", "evaluations")),
    "outcome/ran on a hold that nobody approved": (
        "succeeded_after_approval",
        _put([], _P, "approvals"),
    ),
    "outcome/ran on a hold that was rejected": (
        "succeeded_after_approval",
        _put("reject", _P, "approvals", 0, "verdict"),
    ),
    "outcome/rejected by nobody": ("rejected", _put([], _P, "approvals")),
    "outcome/receipt of another call": (
        "denied",
        _put("receipts/01JABCDEFGHJKMNPQRSTVWXYZ1", _P, "identity", "receipt"),
    ),
}


def _documents(signer: Signer) -> Iterator[Vector]:
    """Hand over other documents than the receipt names."""
    ran, denied = sealed("succeeded", signer), sealed("denied", signer)
    other = Document.seal(DocumentKind.REQUEST, REQUEST.body, salt=b"\x03" * 16)
    for name, text, request, result in [
        ("bit of the request", ran, _flip(REQUEST.text), None),
        ("bit of the result", ran, None, RESULT.text[:-3] + b"x" + RESULT.text[-2:]),
        ("exchanged", ran, RESULT.text, REQUEST.text),
        ("result of a call that never ran", denied, None, RESULT.text),
        ("same request with another salt", ran, other.text, None),
        ("empty request", ran, b"", None),
    ]:
        yield Vector(
            name=f"documents/{name}",
            envelope=text,
            trust_root=trust(signer),
            request=request,
            result=result,
            step="documents",
        )
    yield from _forms(signer)


def _forms(signer: Signer) -> Iterator[Vector]:
    """Name, in a genuine receipt, texts that are no request documents."""
    salt = "01" * 16
    for name, text in {
        "not JSON": b"words",
        "no object": b"[]",
        "of another kind": RESULT.text,
        "without salt": canonical_json({"schema": "broker.request/v1", "body": {}}),
        "with a short salt": canonical_json(
            {"schema": "broker.request/v1", "salt": "01", "body": {}}
        ),
        "not canonical": f'{{"salt":"{salt}","schema":"broker.request/v1","body":{{}}}}'.encode(),
    }.items():
        said = json.loads(statement(ENDINGS["denied"].draft(signer), position()))
        sha256 = sha256_hex(text)
        said["subject"][0]["digest"]["sha256"] = said[_P]["request"]["sha256"] = sha256
        payload = canonical_json(said)
        yield Vector(
            name=f"documents/form: {name}",
            envelope=envelope(payload, signer.sign(pae(IN_TOTO, payload))),
            trust_root=trust(signer),
            request=text,
            step="documents",
        )


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode()


def as_record(vector: Vector) -> dict[str, object]:
    """Write a vector for readers in any language."""
    return {
        "name": vector.name,
        "envelope": vector.envelope.decode(),
        "trust_root": json.loads(write_trust_root(vector.trust_root)),
        "request": _text(vector.request),
        "result": _text(vector.result),
        "proof": _text(vector.proof),
        "witness_quorum": vector.quorum,
        "verdict": vector.validity.name.lower(),
        "step": vector.step,
    }


def main() -> None:
    """Write the file of vectors."""
    with tempfile.TemporaryDirectory() as folder:
        kinds = {"signer": "ed25519", "ecdsa": "ecdsa-p256", "stranger": "ed25519"}
        signers = {name: new_signer(Path(folder) / name, kind) for name, kind in kinds.items()}
        records = [as_record(vector) for vector in all_vectors(**signers)]
    FILE.write_text(json.dumps(records, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
