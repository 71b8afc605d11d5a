"""Judge kept vectors of every kind, in the terms of the file that holds them.

Bytes stand as base64, or as a list of pieces, each with how often it is repeated.
"""

import base64
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parent.parent / "vectors"
FILES = ("receipts.json", "log_proofs.json", "texts.json")
Record = Mapping[str, Any]
Judgement = tuple[str, str | None]


def records() -> list[Record]:
    """Read every kept vector."""
    return [record for name in FILES for record in json.loads((VECTORS / name).read_text())]


def inputs(record: Record) -> dict[str, object]:
    """Give what is judged, without its name and what must come of it."""
    apart = {"name", "verdict", "step"}
    given = {"check": "receipt", "proof": None, "witness_quorum": 0, **record}
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
    )
    return verdict.validity.name.lower(), verdict.step


def _folder(record: Record) -> Judgement:
    from broker.verify.log_folder import LogFolder

    with tempfile.TemporaryDirectory() as name:
        for path, text in record["files"].items():
            file = Path(name, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data(text))
        folder = LogFolder(Path(name))
        size = record["size"]
        return _refusal(lambda: [*folder.entries(size), *folder.leaves(size)])


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
}
