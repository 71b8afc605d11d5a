"""Judge kept vectors of every kind, in the terms of the file that holds them.

Bytes stand as base64, or as a list of pieces, each with how often it is repeated.
"""

import base64
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent.parent / "vectors"
FILES = (
    *("receipts.json", "log_proofs.json", "texts.json"),
    *("mixed_logs.json", "trust_roots.json", "audits.json"),
)
Record = Mapping[str, Any]
Judgement = tuple[str, str | None]


def records(*names: str) -> list[Record]:
    """Read the kept vectors of some files, or every one."""
    return [
        record for name in names or FILES for record in json.loads((VECTORS / name).read_text())
    ]


def inputs(record: Record) -> dict[str, object]:
    """Give what is judged, without its name and what must come of it."""
    apart = {"name", "verdict", "step"}
    given = {"check": "receipt", "proof": None, "witness_quorum": 0, "state": None, **record}
    return {name: value for name, value in given.items() if name not in apart}


def judge(record: Record) -> Judgement:
    """Give verdict and step, by the verifier as it is imported now."""
    return _CHECKS[record.get("check", "receipt")](record)


def expected(record: Record) -> Judgement:
    """Give what must come of it."""
    return record["verdict"], record["step"]


def data(value: str | Sequence[Sequence[Any]] | None) -> bytes:
    """Decode bytes."""
    if value is None:
        return b""
    pieces = [[value, 1]] if isinstance(value, str) else value
    return b"".join(base64.b64decode(piece) * times for piece, times in pieces)


def _optional(value: str | None) -> bytes | None:
    return None if value is None else data(value)


def _root(record: Record) -> Any:
    from broker.core.trust_root import read_trust_root

    return read_trust_root(json.dumps(record["trust_root"]).encode())


def _refusal(work: Callable[[], object]) -> Judgement:
    """Judge a parser: what it raises names the step; a value that cannot be has none."""
    from broker.errors import ReceiptInvalid

    try:
        work()
    except ReceiptInvalid as error:
        return "invalid", error.step
    except ValueError:
        return "invalid", None
    return "valid", None


def _receipt(record: Record) -> Judgement:
    from broker.verify.receipt import verify_receipt

    texts = {name: record.get(name) for name in ("request", "result", "proof")}
    verdict = verify_receipt(
        record["envelope"].encode(),
        _root(record),
        quorum=record.get("witness_quorum", 0),
        **{name: text if text is None else text.encode() for name, text in texts.items()},
    )
    return verdict.validity.name.lower(), verdict.step


def _note(record: Record) -> Judgement:
    from broker.core.signed_note import read_note

    return _refusal(lambda: read_note(data(record["text"])))


def _checkpoint(record: Record) -> Judgement:
    from broker.core.checkpoint import read_checkpoint

    return _refusal(lambda: read_checkpoint(data(record["text"])))


def _cosignature(record: Record) -> Judgement:
    from broker.core.checkpoint import split_cosignature

    return _refusal(lambda: split_cosignature(data(record["signature"])))


def _proof(record: Record) -> Judgement:
    from broker.core.log_proof import read_log_proof

    return _refusal(lambda: read_log_proof(data(record["text"])))


def _envelope(record: Record) -> Judgement:
    from broker.core.dsse import read_envelope

    return _refusal(lambda: read_envelope(data(record["text"])))


def _trust_root(record: Record) -> Judgement:
    from broker.core.trust_root import read_trust_root

    return _refusal(lambda: read_trust_root(data(record["text"])))


def _bundle(record: Record) -> Judgement:
    from broker.core.tiles import read_bundle

    return _refusal(lambda: read_bundle(data(record["text"]), record["width"]))


def _hashes(record: Record) -> Judgement:
    from broker.core.tiles import read_hashes

    return _refusal(lambda: read_hashes(data(record["text"]), record["width"]))


def _inclusion(record: Record) -> Judgement:
    from broker.core.merkle_proof import check_inclusion

    return _refusal(
        lambda: check_inclusion(
            index=record["index"],
            size=record["size"],
            leaf=data(record["leaf"]),
            proof=[data(each) for each in record["hashes"]],
            root=data(record["root"]),
        )
    )


def _consistency(record: Record) -> Judgement:
    from broker.core.merkle_proof import check_consistency

    return _refusal(
        lambda: check_consistency(
            first=record["first"],
            first_root=data(record["first_root"]),
            second=record["second"],
            second_root=data(record["second_root"]),
            proof=[data(each) for each in record["hashes"]],
        )
    )


def _chain(record: Record) -> Judgement:
    from broker.verify.chain import verify_chain

    envelopes = [text.encode() for text in record["envelopes"]]
    return verify_chain(envelopes, _root(record)).validity.name.lower(), None


def _log(record: Record) -> Judgement:
    from broker.verify.audit import verify_log

    leaves = record["leaves"]
    verdict = verify_log(
        data(record["checkpoint"]),
        [text.encode() for text in record["envelopes"]],
        _root(record),
        leaves=None if leaves is None else [data(each) for each in leaves],
        kept=_optional(record["kept"]),
        quorum=record["witness_quorum"],
        state=record["state"].encode() if record.get("state") else None,
    )
    return verdict.validity.name.lower(), verdict.step


@contextmanager
def _laid_out(files: Mapping[str, Any]) -> Iterator[Path]:
    """Lay files out in a folder."""
    with tempfile.TemporaryDirectory() as name:
        for path, text in files.items():
            file = Path(name, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data(text))
        yield Path(name)


def _folder(record: Record) -> Judgement:
    from broker.verify.log_folder import LogFolder

    with _laid_out(record["files"]) as place:
        folder, size = LogFolder(place), record["size"]
        return _refusal(lambda: [*folder.entries(size), *folder.leaves(size)])


def _audit(record: Record) -> Judgement:
    """Audit a log's folder; `first` is a head that it is audited under before, with its state."""
    from broker.core.checkpoint import read_checkpoint
    from broker.core.signed_note import read_note
    from broker.verify import audit, spread
    from broker.verify.audit_state import StateUnusable
    from broker.verify.log_folder import LogFolder

    state = record["state"]
    with _laid_out(record["files"]) as place:
        folder = LogFolder(place)

        def run(head: bytes, state: bytes | None) -> tuple[audit.AuditVerdict, bytes, list[int]]:
            size = read_checkpoint(read_note(head).text).size
            kept, seen = [b""], list[int]()
            verdict = audit.verify_log(
                head,
                folder.entries(size),
                _root(record),
                leaves=folder.leaves(size),
                kept=_optional(record["kept"]),
                workers=record["workers"],
                state=state,
                save=kept.append,
                progress=seen.append,
            )
            return verdict, kept[-1], seen

        # Processes are for logs that are worth it.
        spread._WORTH = 1
        try:
            given = None if state is None else state.encode()
            if record.get("first"):
                _, given, seen = run(data(record["first"]), None)
                assert seen, "nobody was told how far it came"
            verdict, _, _ = run(folder.checkpoint(), given)
        except StateUnusable:
            return "unusable", None
        assert verdict.validity.value or bool(verdict.resumed_at) == bool(given)
    return verdict.validity.name.lower(), verdict.step


def _state(record: Record) -> Judgement:
    from broker.verify.audit_state import StateUnusable, read_state

    text, root = data(record["text"]), _root(record)
    try:
        read_state(text, origin=record["origin"], trust_root=root)
    except StateUnusable:
        return "unusable", None
    return "valid", None


def _verifier_key(record: Record) -> Judgement:
    from broker.core.signed_note import COSIGNATURE_V1, read_verifier_key

    return _refusal(lambda: read_verifier_key(data(record["text"]).decode(), COSIGNATURE_V1))


def _opened(record: Record) -> Judgement:
    from broker.verify.trust_root import open_trust_root

    return _refusal(lambda: open_trust_root(data(record["text"])))


def _pinned(record: Record) -> Judgement:
    from broker.verify.trust_root import open_pinned

    return _refusal(lambda: open_pinned(data(record["text"]), record["key_ids"]))


def _following(record: Record) -> Judgement:
    from broker.core.trust_root import read_trust_root
    from broker.verify.trust_root import open_successor

    trusted = read_trust_root(json.dumps(record["trusted"]).encode())
    return _refusal(lambda: open_successor(data(record["text"]), trusted))


_CHECKS: Mapping[str, Callable[[Record], Judgement]] = {
    "receipt": _receipt,
    "note": _note,
    "checkpoint": _checkpoint,
    "cosignature": _cosignature,
    "proof": _proof,
    "envelope": _envelope,
    "trust_root": _trust_root,
    "bundle": _bundle,
    "hashes": _hashes,
    "inclusion": _inclusion,
    "consistency": _consistency,
    "chain": _chain,
    "log": _log,
    "folder": _folder,
    "audit": _audit,
    "state": _state,
    "verifier_key": _verifier_key,
    "opened trust root": _opened,
    "pinned trust root": _pinned,
    "following trust root": _following,
}
