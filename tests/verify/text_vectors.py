"""Make vectors of texts, proofs, chains and whole logs; as a program, write them anew.

Each that is to be refused has one input changed of an accepted one, and as far as can be the one
check that it is for is all that stands in its way.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from broker.core.canonical import canonical_json
from broker.core.checkpoint import Checkpoint, sign_checkpoint
from broker.core.dsse import IN_TOTO, envelope, pae
from broker.core.ids import Sha256, sha256_hex
from broker.core.merkle import EMPTY_ROOT, leaf_hash, node_hash
from broker.core.merkle_proof import consistency_proof, inclusion_proof
from broker.core.receipt import FIRST_PREVIOUS, seal, statement
from broker.core.tiles import write_bundle
from broker.core.trust_root import KeyRole, KeyStatus, TrustedKey, TrustRoot, write_trust_root
from tests.core import rfc6962
from tests.verify.log_vectors import Keys, cosigned, new_keys, raw, trusted
from tests.verify.receipts import ENDINGS, INSTALLATION, REQUEST, position
from tests.verify.vector_file import keep
from tests.verify.vectors import Statement, add_result

FILE = Path(__file__).parent.parent / "vectors/texts.json"
ORIGIN = f"toolwarrant.invalid/{INSTALLATION}"
Pieces = list[list[object]]
Vector = dict[str, object]


def b64(data: bytes) -> str:
    """Write bytes as vectors have them."""
    return base64.b64encode(data).decode()


def pieces(*parts: bytes | tuple[bytes, int]) -> Pieces:
    """Write bytes that are too many to write out."""
    split = [part if isinstance(part, tuple) else (part, 1) for part in parts]
    return [[b64(data), times] for data, times in split]


def all_vectors(folder: Path) -> list[Vector]:
    """List every vector, made with throw-away keys."""
    keys = new_keys(folder)
    return [
        *_receipts(keys),
        *_notes(),
        *_checkpoints(),
        *_cosignatures(),
        *_proofs(),
        *_envelopes(keys),
        *_trust_roots(keys),
        *_tiles(),
        *_inclusions(),
        *_consistencies(),
        *_chains(keys),
        *_logs(keys),
        *_folders(),
    ]


def _of(
    check: str, step: str | None, accepted: Mapping[str, object], refused: Mapping[str, object]
) -> Iterator[Vector]:
    """List texts of one kind that are read, with those that are not."""
    for verdict, texts in (("valid", accepted), ("invalid", refused)):
        for name, text in texts.items():
            yield {
                "name": f"text/{check}/{name}",
                "check": check,
                "text": b64(text) if isinstance(text, bytes) else text,
                "verdict": verdict,
                "step": None if verdict == "valid" else step,
            }


_LINE = "\u2014 log.invalid AAAAAAE=\n".encode()
_TEXT = b"log.invalid\n1\nAAAA\n"
_NOTE = _TEXT + b"\n" + _LINE


def _receipts(keys: Keys) -> Iterator[Vector]:
    """Sign, with the right key, what one check alone refuses."""
    root = json.loads(write_trust_root(TrustRoot(version=1, keys=(_receipt_key(keys),))))

    def made(ending: str, change: Callable[[Statement], None], request: bytes | None) -> Vector:
        said = json.loads(statement(ENDINGS[ending].draft(keys.receipt), position()))
        change(said)
        if request is not None:
            sha256 = sha256_hex(request)
            said["subject"][0]["digest"]["sha256"] = sha256
            said["predicate"]["request"]["sha256"] = sha256
        payload = canonical_json(said)
        text = envelope(payload, keys.receipt.sign(pae(IN_TOTO, payload)))
        given = None if request is None else request.decode()
        return {"envelope": text.decode(), "trust_root": root, "request": given, "result": None}

    salt = "01" * 16
    kind = "broker.request/v1"
    for name, step, vector in [
        ("accept/sandbox error", None, made("sandbox_error", lambda _: None, None)),
        ("accept/request", None, made("denied", lambda _: None, REQUEST.text)),
        ("sandbox error with result", "outcome", made("sandbox_error", add_result, None)),
        ("request a number", "documents", made("denied", lambda _: None, b"1")),
        (
            "request with a list as salt",
            "documents",
            made(
                "denied",
                lambda _: None,
                canonical_json({"schema": kind, "salt": list(salt), "body": {}}),
            ),
        ),
        (
            "request with a list as body",
            "documents",
            made(
                "denied", lambda _: None, canonical_json({"schema": kind, "salt": salt, "body": []})
            ),
        ),
    ]:
        yield {
            "name": f"receipt/{name}",
            "check": "receipt",
            **vector,
            "verdict": "invalid" if step else "valid",
            "step": step,
        }


def _receipt_key(keys: Keys) -> TrustedKey:
    return trusted(KeyRole.RECEIPT, keys.receipt)


def _notes() -> Iterator[Vector]:
    room = 1_000_000 - len(_NOTE)
    yield from _of(
        "note",
        "note",
        {
            "accept/plain": _NOTE,
            "accept/empty line in the text": b"a\n\n" + _NOTE,
            "accept/as long as may be": pieces((b"a", room), _NOTE),
            "accept/100 signatures": pieces(_TEXT + b"\n", (_LINE, 100)),
        },
        {
            "a byte too long": pieces((b"a", room + 1), _NOTE),
            "not UTF-8": b"\xff" + _NOTE,
            "control character": b"\x01" + _NOTE,
            "return": _NOTE.replace(b"\n1\n", b"\r\n1\n"),
            "no empty line": _TEXT + _LINE,
            "no line end": _NOTE[:-1],
            "no signature": _TEXT + b"\n",
            "signatures alone": _LINE,
            "101 signatures": pieces(_TEXT + b"\n", (_LINE, 101)),
            "another dash": _NOTE.replace("\u2014".encode(), b"-"),
            "no space behind the dash": _NOTE.replace("\u2014 ".encode(), "\u2014".encode()),
            "no name": _NOTE.replace("\u2014 log.invalid ".encode(), "\u2014  ".encode()),
            "plus in the name": _NOTE.replace(b"log.invalid A", b"log+invalid A"),
            "no-break space in the name": _NOTE.replace(b"log.invalid A", b"log\xc2\xa0invalid A"),
            "signature of 4 bytes": _NOTE.replace(b"AAAAAAE=", b"AAAAAA=="),
            "signature of 3 bytes": _NOTE.replace(b"AAAAAAE=", b"AAAA"),
            "no base64": _NOTE.replace(b"AAAAAAE=", b"AAAAAA!="),
            "loose base64": _NOTE.replace(b"AAAAAAE=", b"AAAAAAF="),
        },
    )


_ROOT = base64.b64encode(bytes(32))
_HEAD = b"log.invalid\n7\n" + _ROOT + b"\n"


def _checkpoints() -> Iterator[Vector]:
    yield from _of(
        "checkpoint",
        "checkpoint",
        {
            "accept/plain": _HEAD,
            "accept/extension": _HEAD + b"more\n",
            "accept/empty tree": _HEAD.replace(b"7", b"0"),
            "accept/largest": _HEAD.replace(b"7", b"9223372036854775807"),
        },
        {
            "not UTF-8": b"\xff" + _HEAD,
            "two lines": b"log.invalid\n7\n",
            "no line end": _HEAD[:-1],
            "no origin": _HEAD.replace(b"log.invalid", b""),
            "space in the origin": _HEAD.replace(b"log.", b"log "),
            "plus in the origin": _HEAD.replace(b"log.", b"log+"),
            "size with a zero": _HEAD.replace(b"7", b"07"),
            "size with a sign": _HEAD.replace(b"7", b"+7"),
            "size in other digits": _HEAD.replace(b"7", "\u0667".encode()),
            "size of 5,000 digits": pieces(b"log.invalid\n", (b"9", 5_000), b"\n" + _ROOT + b"\n"),
            "size too large": _HEAD.replace(b"7", b"9223372036854775808"),
            "root of 31 bytes": _HEAD.replace(_ROOT, base64.b64encode(bytes(31))),
            "root of 33 bytes": _HEAD.replace(_ROOT, base64.b64encode(bytes(33))),
            "root in loose base64": _HEAD.replace(b"AAA=\n", b"AAB=\n"),
            "root in no base64": _HEAD.replace(b"AAA=\n", b"AA!=\n"),
            "empty extension": _HEAD + b"\nmore\n",
        },
    )


def _cosignatures() -> Iterator[Vector]:
    for name, signature, verdict in (
        ("accept/plain", bytes(72), "valid"),
        ("a byte short", bytes(71), "invalid"),
        ("a byte long", bytes(73), "invalid"),
        ("time beyond 63 bits", b"\x80" + bytes(71), "invalid"),
    ):
        yield {
            "name": f"cosignature/{name}",
            "check": "cosignature",
            "signature": b64(signature),
            "verdict": verdict,
            "step": None if verdict == "valid" else "witnesses",
        }


_PROOF = b"c2sp.org/tlog-proof@v1\nindex 7\n" + _ROOT + b"\n\nhead\n"


def _proofs() -> Iterator[Vector]:
    lines = b"c2sp.org/tlog-proof@v1\nindex 7\n"
    room = 2_000_000 - len(lines) - 1
    yield from _of(
        "proof",
        "proof",
        {
            "accept/plain": _PROOF,
            "accept/extra": _PROOF.replace(b"index", b"extra AA==\nindex"),
            "accept/no hash": lines + b"\nhead\n",
            "accept/63 hashes": pieces(lines, (_ROOT + b"\n", 63), b"\nhead\n"),
            "accept/as long as may be": pieces(lines + b"\n", (b"a", room)),
        },
        {
            "a byte too long": pieces(lines + b"\n", (b"a", room + 1)),
            "no empty line": lines + b"head\n",
            "not ASCII": _PROOF.replace(b"c2sp", "\u00e72sp".encode()),
            "not UTF-8": b"\xff" + _PROOF,
            "another header": _PROOF.replace(b"@v1", b"@v2"),
            "no checkpoint": _PROOF.removesuffix(b"\n\nhead\n"),
            "header alone": b"c2sp.org/tlog-proof@v1\n\nhead\n",
            "number without its word": _PROOF.replace(b"index 7", b"7"),
            "no index": _PROOF.replace(b"index 7\n", b""),
            "another word for the index": _PROOF.replace(b"index", b"place"),
            "index with a zero": _PROOF.replace(b" 7", b" 07"),
            "index too large": _PROOF.replace(b" 7", b" 9223372036854775808"),
            "extra in no base64": _PROOF.replace(b"index", b"extra A\nindex"),
            "extra in loose base64": _PROOF.replace(b"index", b"extra AB==\nindex"),
            "64 hashes": pieces(lines, (_ROOT + b"\n", 64), b"\nhead\n"),
            "hash of 31 bytes": _PROOF.replace(_ROOT, base64.b64encode(bytes(31))),
            "hash in loose base64": _PROOF.replace(b"AAA=\n", b"AAB=\n"),
        },
    )


def _envelopes(keys: Keys) -> Iterator[Vector]:
    """Read envelopes alone: what `receipts.json` has of them, seen without a signature."""
    good = envelope(b"{}", keys.receipt.sign(pae("a", b"{}")), payload_type="a")
    fields = json.loads(good)
    # Zeros in base64: what is cut out of the middle can be repeated.
    frame = [b'{"payload":"', b'","payloadType":"a","signatures":[{"sig":"AA=="}]}']
    room = (65_535 - len(b"".join(frame))) // 4
    yield from _of(
        "envelope",
        "envelope",
        {
            "accept/plain": good,
            "accept/as large as may be": pieces(frame[0], (b"AAAA", room), frame[1]),
        },
        {
            "too large": pieces(frame[0], (b"AAAA", room + 1), frame[1]),
            "nested": good.replace(b'"e30="', b'[[["e30="]]]'),
            "no object": b"[]",
            "not canonical": good.replace(b":", b": ", 1),
            "unknown field": good.replace(b"{", b'{"note":"",', 1),
            "type not a string": good.replace(b'"a"', b"1"),
            "escape in the type": good.replace(b'"a"', b'"\\/"'),
            "two signatures": good.replace(b"[", b"[" + _signature(fields) + b","),
            "signature not an object": good.replace(_signature(fields), b'"sig"'),
            "signature a list": good.replace(_signature(fields), b'["sig"]'),
            "signature with a keyid": good.replace(b'{"sig"', b'{"keyid":"","sig"'),
            "payload not a string": good.replace(b'"e30="', b"1"),
            "payload in no base64": good.replace(b'"e30="', b'"e30"'),
            "payload in loose base64": good.replace(b'"e30="', b'"e31="'),
            "empty payload": good.replace(b'"e30="', b'""'),
        },
    )


def _signature(fields: Mapping[str, Sequence[object]]) -> bytes:
    return json.dumps(fields["signatures"][0], separators=(",", ":")).encode()


def _trust_roots(keys: Keys) -> Iterator[Vector]:
    root = TrustRoot(
        version=1,
        keys=(trusted(KeyRole.RECEIPT, keys.receipt), trusted(KeyRole.LOG, keys.log)),
    )
    text = write_trust_root(root)
    fields = json.loads(text)
    good = text.encode()
    der = base64.b64decode("".join(keys.receipt.public_key_pem.splitlines()[1:-1]))
    other = json.loads(text)["keys"][1]

    def wrapped(payload: object) -> bytes:
        return json.dumps({"payload": payload, "payloadType": "x", "signatures": []}).encode()

    def changed(**change: object) -> bytes:
        """Change the receipt's key."""
        return json.dumps({**fields, "keys": [{**fields["keys"][0], **change}, other]}).encode()

    def pem(data: bytes, head: str = "PUBLIC KEY") -> str:
        return f"-----BEGIN {head}-----\n{b64(data)}\n-----END {head}-----\n"

    def keyed(data: bytes) -> bytes:
        return changed(public_key=pem(data), keyid=sha256_hex(data))

    def roots(count: int) -> bytes:
        """Add root keys, made up: their bytes are never looked at."""
        made = [der[:-32] + bytes([number]) * 32 for number in range(count)]
        keys = [
            {**other, "role": "root", "keyid": sha256_hex(each), "public_key": pem(each)}
            for each in made
        ]
        return json.dumps({**fields, "keys": [*fields["keys"], *keys]}).encode()

    short = json.dumps(fields).encode()
    yield from _of(
        "trust_root",
        "trust_root",
        {
            "accept/plain": good,
            "accept/as large as may be": pieces(short, (b" ", (1 << 20) - len(short))),
            "accept/in an envelope": wrapped(b64(good)),
            "accept/unknown role": changed(role="mayor", keyid=1),
            "accept/bounded": changed(valid_until_index=0, valid_from_index="0"),
            "accept/as many root keys as are tried": roots(32),
            "accept/number as text": changed(valid_from_index="9223372036854775807"),
        },
        {
            "too large": pieces(short, (b" ", (1 << 20) - len(short) + 1)),
            "no object": b"[]",
            "duplicate key": good.replace(b"{", b'{"version":1,', 1),
            "payload not a string": wrapped(1),
            "payload in no base64": wrapped(f"{b64(good)}!"),
            "keys a number": json.dumps({**fields, "keys": 1}).encode(),
            "keys not a list": json.dumps({**fields, "keys": {}}).encode(),
            "no key": json.dumps({**fields, "keys": []}).encode(),
            "key not an object": json.dumps({**fields, "keys": [[], other]}).encode(),
            "key twice": json.dumps({**fields, "keys": [other, other]}).encode(),
            "version 0": json.dumps({**fields, "version": 0}).encode(),
            "version true": json.dumps({**fields, "version": True}).encode(),
            "no version": json.dumps({"keys": fields["keys"]}).encode(),
            "id of no key": changed(keyid="0" * 64),
            "one key in two roles": json.dumps(
                {**fields, "keys": [fields["keys"][0], {**fields["keys"][0], "role": "log"}]}
            ).encode(),
            "one key in a role that nobody knows, too": json.dumps(
                {**fields, "keys": [*fields["keys"], {**other, "role": "mayor"}]}
            ).encode(),
            "more root keys than are tried": roots(33),
            "threshold that nobody can meet": json.dumps({**fields, "root_threshold": 1}).encode(),
            "id of another key": changed(keyid=other["keyid"]),
            "id not a string": changed(keyid=1),
            "unknown status": changed(status="asleep"),
            "valid at no index": changed(valid_from_index=2, valid_until_index=1),
            "valid from before the log": changed(valid_from_index=-1),
            "index with a sign": changed(valid_from_index="+1"),
            "index of 20 digits": changed(valid_from_index="1" * 20),
            "private key's PEM": changed(public_key=pem(der, "PRIVATE KEY")),
            "PEM that begins as a private key's": changed(
                public_key=pem(der).replace("BEGIN PUBLIC", "BEGIN PRIVATE")
            ),
            "PEM that ends as a private key's": changed(
                public_key=pem(der).replace("END PUBLIC", "END PRIVATE")
            ),
            "empty PEM": changed(public_key=""),
            "PEM not a string": changed(public_key=1),
            "role not a string": changed(role=1),
            "no PEM": changed(public_key=b64(der)),
            "PEM of no base64": changed(public_key=pem(der).replace("M", "!", 1)),
            "RSA": keyed(bytes.fromhex("30819f300d06092a864886f70d010101050003818d00")),
            "Ed448": keyed(bytes.fromhex("3043300506032b6571033a00") + bytes(57)),
            "a byte behind the key": keyed(der + b"\x00"),
        },
    )


def _tiles() -> Iterator[Vector]:
    entries = [b"one", b"", b"three"]
    bundle = write_bundle(entries)
    tile = b"".join(map(leaf_hash, entries))
    for check, text, name, width in [
        ("bundle", bundle, "accept/plain", 3),
        ("bundle", bundle[:5], "accept/one", 1),
        ("bundle", bundle[:-1], "last entry cut off", 3),
        ("bundle", bundle[:8], "length cut off", 3),
        ("bundle", bundle, "fewer than it is to have", 4),
        ("bundle", bundle, "more than it is to have", 2),
        ("hashes", tile, "accept/plain", 3),
        ("hashes", tile[:-1], "a byte short", 3),
        ("hashes", tile + b"x", "a byte long", 3),
        ("hashes", tile, "fewer than it is to have", 4),
        ("hashes", tile, "more than it is to have", 2),
    ]:
        is_good = name.startswith("accept/")
        yield {
            "name": f"{check}/{name}",
            "check": check,
            "text": b64(text),
            "width": width,
            "verdict": "valid" if is_good else "invalid",
            "step": None if is_good else "tiles",
        }


def _inclusions() -> Iterator[Vector]:
    entries = rfc6962.entries_of(7)
    hashes = inclusion_proof(4, 7, rfc6962.reader(entries))
    leaf, root, extra = leaf_hash(entries[4]), rfc6962.mth(entries), b"\x07" * 32
    good: Vector = {
        "index": 4,
        "size": 7,
        "leaf": b64(leaf),
        "hashes": [b64(each) for each in hashes],
        "root": b64(root),
    }
    one = {**good, "index": 0, "size": 1, "hashes": [], "root": b64(leaf)}
    more = {**one, "hashes": [b64(extra)], "root": b64(node_hash(extra, leaf))}
    fewer = {**one, "size": 2, "hashes": []}
    for name, change in {
        "accept/plain": good,
        "accept/only entry": one,
        "another index": {**good, "index": 5},
        "another leaf": {**good, "leaf": b64(leaf_hash(entries[5]))},
        "another root": {**good, "root": b64(extra)},
        "another hash": {**good, "hashes": [b64(extra), *map(b64, hashes[1:])]},
        "swapped": {**good, "hashes": [*map(b64, hashes[::-1])]},
        "index beyond the tree": {**one, "index": 1},
        "index below 0": {**one, "index": -1},
        "empty tree": {**one, "size": 0},
        "accept/two entries": {
            **one,
            "size": 2,
            "hashes": [b64(extra)],
            "root": b64(node_hash(leaf, extra)),
        },
        "more hashes than levels, as the root is": {**more, "index": 0},
        "fewer hashes than levels, as the root is": fewer,
    }.items():
        is_good = name.startswith("accept/")
        yield {
            "name": f"inclusion/{name}",
            "check": "inclusion",
            **change,
            "verdict": "valid" if is_good else "invalid",
            "step": None if is_good else "inclusion",
        }


def _consistencies() -> Iterator[Vector]:
    entries = rfc6962.entries_of(7)
    read = rfc6962.reader(entries)
    extra = b"\x07" * 32

    def between(first: int, second: int) -> Vector:
        hashes = consistency_proof(first, second, read) if first else ()
        return {
            "first": first,
            "first_root": b64(rfc6962.mth(entries[:first])),
            "second": second,
            "second_root": b64(rfc6962.mth(entries[:second])),
            "hashes": [b64(each) for each in hashes],
        }

    def hashes(vector: Vector, *changed: bytes) -> Vector:
        return {**vector, "hashes": [b64(each) for each in changed]}

    three, four, same, none = between(3, 7), between(4, 7), between(7, 7), between(0, 7)
    proof = consistency_proof(3, 7, read)
    forked = rfc6962.mth([*entries[:2], b"another"])
    alone: Vector = {**between(1, 2), "hashes": [b64(extra)]}
    alone["second_root"] = b64(node_hash(rfc6962.mth(entries[:1]), extra))
    for name, change in {
        "accept/from 3": three,
        "accept/from 4": four,
        "accept/the same": same,
        "accept/from none": none,
        "accept/from 1": alone,
        "accept/the same 3": {
            **hashes(three),
            "second": 3,
            "first_root": b64(extra),
            "second_root": b64(extra),
        },
        "another first root": {**three, "first_root": b64(forked)},
        "another second root": {**three, "second_root": b64(extra)},
        "another first size": {**three, "first": 5},
        "larger first": {**same, "first": 8},
        "below none": {**none, "first": -1},
        "from more to fewer, as the roots are": {
            **hashes(three, extra),
            "second": 1,
            "first_root": b64(extra),
            "second_root": b64(extra),
        },
        "no hash from 3": hashes(three),
        "a hash more, as the roots are": {
            **hashes(three, *proof, extra),
            "first_root": b64(node_hash(extra, rfc6962.mth(entries[:3]))),
            "second_root": b64(node_hash(extra, rfc6962.mth(entries))),
        },
        "no hash": hashes(alone),
        "a hash more": hashes(three, *proof, extra),
        "a hash fewer": hashes(three, *proof[:-1]),
        "swapped": hashes(three, *proof[::-1]),
        "the same with a hash": hashes(same, extra),
        "none with a hash": hashes(none, extra),
        "the same with another root": {**same, "first_root": b64(extra)},
        "none with another root": {**none, "first_root": b64(extra)},
        "more hashes than levels, as the root is": {
            **alone,
            "hashes": [b64(extra), b64(extra)],
            "second_root": b64(node_hash(extra, base64.b64decode(str(alone["second_root"])))),
        },
        "fewer hashes than levels, as the roots are": {**alone, "second": 3},
    }.items():
        is_good = name.startswith("accept/")
        yield {
            "name": f"consistency/{name}",
            "check": "consistency",
            **change,
            "verdict": "valid" if is_good else "invalid",
            "step": None if is_good else "consistency",
        }


def _chain(keys: Keys, count: int = 4, **changed: Mapping[str, object]) -> list[bytes]:
    """Make receipts in a chain; `changed` changes the place of the third."""
    envelopes: list[bytes] = []
    previous = FIRST_PREVIOUS
    endings = [ENDINGS["denied"]] * count
    for sequence, ending in enumerate(endings, start=1):
        place = position(sequence, previous)
        if sequence == 3:
            place = replace(place, **changed)
        envelopes.append(seal(ending.draft(keys.receipt), place, keys.receipt.sign))
        previous = sha256_hex(envelopes[-1])
    return envelopes


def _texts(envelopes: Sequence[bytes]) -> list[str]:
    return [each.decode() for each in envelopes]


def _chains(keys: Keys) -> Iterator[Vector]:
    root = TrustRoot(version=1, keys=(trusted(KeyRole.RECEIPT, keys.receipt),))
    withdrawn = TrustRoot(
        version=1, keys=(trusted(KeyRole.RECEIPT, keys.receipt, status=KeyStatus.WITHDRAWN),)
    )
    good = _chain(keys)
    later = _chain(keys, epoch=2)
    for name, verdict, envelopes, trust_root in [
        ("accept/whole", "valid", good, root),
        ("accept/later epoch", "valid", later[:3], root),
        ("none", "indeterminate", [], root),
        ("withdrawn key", "indeterminate", good, withdrawn),
        ("one changed", "invalid", [good[0].replace(b"A", b"B", 1), *good[1:]], root),
        ("one left out", "invalid", [good[0], *good[2:]], root),
        ("begin left out", "invalid", good[1:], root),
        ("two swapped", "invalid", [good[1], good[0], *good[2:]], root),
        ("one twice", "invalid", [good[0], *good], root),
        (
            "another installation's",
            "invalid",
            _chain(keys, installation="another"),
            root,
        ),
        ("another sequence", "invalid", _chain(keys, sequence=7), root),
        ("another one before it", "invalid", _chain(keys, previous=Sha256("f" * 64)), root),
        ("epoch goes back", "invalid", later, root),
    ]:
        yield {
            "name": f"chain/{name}",
            "check": "chain",
            "envelopes": _texts(envelopes),
            "trust_root": json.loads(write_trust_root(trust_root)),
            "verdict": verdict,
            "step": None,
        }


def _logs(keys: Keys) -> Iterator[Vector]:
    trusts = (
        trusted(KeyRole.RECEIPT, keys.receipt),
        trusted(KeyRole.LOG, keys.log),
        trusted(KeyRole.WITNESS, keys.witness),
    )
    root = TrustRoot(version=1, keys=trusts)
    envelopes = _chain(keys)

    def head(
        entries: Sequence[bytes], origin: str = ORIGIN, tree: bytes | None = None, size: int = -1
    ) -> bytes:
        checkpoint = Checkpoint(
            origin=origin,
            size=len(entries) if size < 0 else size,
            root=tree or (rfc6962.mth(entries) if entries else EMPTY_ROOT),
        )
        return sign_checkpoint(checkpoint, raw(keys.log), keys.log.sign)

    signed = head(envelopes)
    good: Vector = {
        "checkpoint": b64(signed),
        "envelopes": _texts(envelopes),
        "leaves": None,
        "kept": None,
        "witness_quorum": 0,
        "trust_root": json.loads(write_trust_root(root)),
    }
    leaves = [b64(leaf_hash(each)) for each in envelopes]
    tiled = {**good, "leaves": leaves}
    kept = {**good, "kept": b64(head(envelopes[:2]))}
    forked = [envelopes[0], b"another"]
    observed = {**good, "checkpoint": b64(cosigned(signed, keys.witness)), "witness_quorum": 1}
    elsewhere = {**good, "checkpoint": b64(head(envelopes, "log.invalid"))}
    ecdsa = trusted(KeyRole.WITNESS, keys.ecdsa)
    unobserved = json.loads(write_trust_root(TrustRoot(version=1, keys=(*trusts[:2], ecdsa))))
    undecided = replace(trusts[0], status=KeyStatus.WITHDRAWN)
    strange = _chain(keys, installation="another")
    for name, step, change in [
        ("accept/whole", None, good),
        ("accept/with tiles", None, tiled),
        ("accept/with a head kept", None, kept),
        ("accept/with the empty head kept", None, {**good, "kept": b64(head([]))}),
        ("accept/witness", None, observed),
        ("accept/origin that names no installation", None, elsewhere),
        ("accept/shorter head", None, {**good, "checkpoint": b64(head(envelopes[:3]))}),
        ("accept/empty", None, {**good, "checkpoint": b64(head([]))}),
        (
            "accept/three",
            None,
            {
                **good,
                "checkpoint": b64(head(envelopes[:3])),
                "envelopes": _texts(envelopes[:3]),
            },
        ),
        ("no note", "note", {**good, "checkpoint": b64(signed[:-1])}),
        ("by a stranger", "checkpoint", {**good, "checkpoint": b64(_by(keys, envelopes))}),
        ("no witness", "witnesses", {**observed, "checkpoint": b64(signed)}),
        ("no witness's kind of key", "witnesses", {**observed, "trust_root": unobserved}),
        ("cut off", "tree", {**good, "envelopes": _texts(envelopes[:3])}),
        (
            "cut off, as the root is",
            "tree",
            {
                **good,
                "checkpoint": b64(head(envelopes, tree=rfc6962.mth(envelopes[:3]))),
                "envelopes": _texts(envelopes[:3]),
            },
        ),
        (
            "another tree",
            "tree",
            {**good, "checkpoint": b64(head(envelopes, tree=b"\x07" * 32))},
        ),
        (
            "empty with another root",
            "tree",
            {**good, "checkpoint": b64(head([], tree=b"\x07" * 32))},
        ),
        (
            "entry changed",
            "signature",
            {
                **good,
                "envelopes": [good["envelopes"][0].replace("A", "B", 1), *_texts(envelopes[1:])],
            },  # type: ignore[index]
        ),
        (
            "entries swapped",
            "chain",
            {**good, "envelopes": _texts([envelopes[1], envelopes[0], *envelopes[2:]])},
        ),
        ("another leaf", "tiles", {**tiled, "leaves": [leaves[1], *leaves[1:]]}),
        (
            "another installation's log",
            "chain",
            {**good, "checkpoint": b64(head(envelopes, "toolwarrant.invalid/other"))},
        ),
        ("another installation's entry", "chain", {**good, "envelopes": _texts(strange)}),
        ("kept of another log", "kept", {**kept, "kept": b64(head(envelopes[:2], "log.invalid"))}),
        ("kept that is longer", "kept", {**kept, "kept": b64(head([*envelopes, b"more"]))}),
        ("kept of a fork", "kept", {**kept, "kept": b64(head(forked))}),
        (
            "empty kept with another root",
            "kept",
            {**kept, "kept": b64(head([], tree=b"\x07" * 32))},
        ),
        ("kept by a stranger", "checkpoint", {**kept, "kept": b64(_by(keys, envelopes[:2]))}),
        (
            "key withdrawn",
            "validity",
            {
                **good,
                "trust_root": json.loads(
                    write_trust_root(TrustRoot(version=1, keys=(undecided, *trusts[1:])))
                ),
            },
        ),
        (
            "log key withdrawn",
            "checkpoint",
            {
                **good,
                "trust_root": json.loads(
                    write_trust_root(
                        TrustRoot(
                            version=1,
                            keys=(
                                trusts[0],
                                replace(trusts[1], status=KeyStatus.WITHDRAWN),
                                trusts[2],
                            ),
                        )
                    )
                ),
            },
        ),
    ]:
        verdict = "valid" if step is None else "invalid"
        yield {
            "name": f"whole log/{name}",
            "check": "log",
            **change,
            "verdict": "indeterminate" if name.endswith("key withdrawn") else verdict,
            "step": step,
        }


def _by(keys: Keys, entries: Sequence[bytes]) -> bytes:
    checkpoint = Checkpoint(origin=ORIGIN, size=len(entries), root=rfc6962.mth(entries))
    return sign_checkpoint(checkpoint, raw(keys.stranger), keys.stranger.sign)


def _folders() -> Iterator[Vector]:
    one = b"entry"
    bundled, leaf = write_bundle([one]), leaf_hash(one)
    files: dict[str, object] = {
        "tile/entries/000": pieces((bundled, 256)),
        "tile/entries/001.p/1": b64(bundled),
        "tile/0/000": pieces((leaf, 256)),
        "tile/0/001.p/1": b64(leaf),
    }
    short = "tile/entries/001.p/1"

    def without(path: str) -> dict[str, object]:
        return {name: text for name, text in files.items() if name != path}

    for name, given in {
        "accept/plain": files,
        "bundle missing": without(short),
        "tile missing": without("tile/0/001.p/1"),
        "bundle cut off": {**files, short: b64(b"\x00\x02a")},
        "tile cut off": {**files, "tile/0/001.p/1": b64(bytes(31))},
        "tile too large": {**files, "tile/0/001.p/1": b64(bytes(64))},
        "bundle too large": {**files, short: pieces((bundled, 2))},
        "accept/full ones in the place of partial ones": {
            **without(short),
            "tile/entries/001": pieces((bundled, 256)),
        },
        "folder in the place of a partial bundle": {
            **without(short),
            f"{short}/file": "",
            "tile/entries/001": pieces((bundled, 256)),
        },
        "folder in the place of a bundle": {**without(short), f"{short}/file": ""},
    }.items():
        is_good = name.startswith("accept/")
        yield {
            "name": f"folder/{name}",
            "check": "folder",
            "files": given,
            "size": 257,
            "verdict": "valid" if is_good else "invalid",
            "step": None if is_good else "tiles",
        }


if __name__ == "__main__":
    keep(FILE, all_vectors)
