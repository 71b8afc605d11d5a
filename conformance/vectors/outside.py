"""Fetch the vectors of `agent-evidence-vectors`; say their chains in our terms.

Its records have another form than ours, so a chain of theirs is said over: for each record a
receipt of ours that stands where theirs stands, names the one that theirs names, is signed where
theirs is. Their signatures are verified by our code; of the package nothing but data is read.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from broker.core.checkpoint import Checkpoint, log_origin, sign_checkpoint
from broker.core.dsse import envelope, read_envelope
from broker.core.ids import Sha256, sha256_hex
from broker.core.receipt import FIRST_PREVIOUS, Position, seal
from broker.ports import Signer
from conformance.tools import CACHE
from tests.core import rfc6962
from tests.verify.log_vectors import raw
from tests.verify.receipts import CALL, Ended

LOCK = Path(__file__).with_name("outside.lock")


def corpus(name: str) -> Path:
    """Give the folder of a corpus, from an environment of its own that is made once."""
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    place = CACHE / "conformance" / f"outside-{digest}"
    if not (place / "made").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
        wanted = ["--require-hashes", "--requirement", str(LOCK), "--target", str(place)]
        subprocess.run([*pip, *wanted], check=True)
        (place / "made").touch()
    return place / "agent_evidence_vectors" / "corpora" / f"vectors-{name}"


def cases(folder: Path) -> dict[str, tuple[Path, str, str]]:
    """List a corpus's cases: folder, decision, reason. The manifest has the digest of each file."""
    found = {}
    for entry in json.loads((folder / "MANIFEST.json").read_text())["vectors"]:
        place = folder / entry["path"]
        for name, digest in entry["files"].items():
            assert sha256_hex((place / name).read_bytes()) == digest, f"{place}/{name}"
        expected = entry["expected"]
        found[entry["id"]] = place, expected["decision"], expected["reason"]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What counts of a record of theirs.

    Args:
        digest: By which the next one names it.
        previous: Of the one before it; empty for the first.
        chain: Whose it is.
        key: That it names as its signer's.
        is_genuine: Whether that key signed it, by our word.
    """

    digest: str
    previous: str
    chain: str
    key: str
    is_genuine: bool


class Retold:
    """Their records as our receipts.

    Args:
        known: Every record of the corpus, by digest: what a record names may stand in another case.
        signers: Ours, for each key of theirs.
        log: Signs heads.
    """

    def __init__(self, known: Iterable[Record], signers: Mapping[str, Signer], log: Signer) -> None:
        self._known = {record.digest: record for record in known}
        self._signers = signers
        self._log = log
        self._receipts: dict[str, bytes] = {}

    def receipt(self, digest: str) -> bytes:
        """Give the receipt that stands for a record."""
        if digest not in self._receipts:
            self._receipts[digest] = self._receipt(self._known[digest])
        return self._receipts[digest]

    def line(self, digest: str) -> list[str]:
        """List the records up to one, as each names the one before it."""
        record = self._known.get(digest)
        if record is None:
            return []
        return [*(self.line(record.previous) if record.previous else []), digest]

    def head(self, digest: str, *, signer: Signer | None = None) -> bytes:
        """Sign the head of the log that ends with a record."""
        entries = [self.receipt(each) for each in self.line(digest)]
        return self.head_of(entries, self._known[digest].chain, signer=signer)

    def head_of(self, entries: list[bytes], chain: str, *, signer: Signer | None = None) -> bytes:
        """Sign the head of a log."""
        key = signer or self._log
        checkpoint = Checkpoint(
            origin=log_origin(_installation(chain)), size=len(entries), root=rfc6962.mth(entries)
        )
        return sign_checkpoint(checkpoint, raw(key), key.sign)

    def _receipt(self, record: Record) -> bytes:
        signer = self._signers[record.key]
        call = replace(CALL, request_sha256=Sha256(record.digest))
        place = Position(
            installation=_installation(record.chain),
            epoch=1,
            sequence=len(self.line(record.digest)) if record.previous in self._known else 2,
            previous=Sha256(record.previous),
        )
        if not record.previous:
            place = replace(place, sequence=1, previous=FIRST_PREVIOUS)
        elif record.previous in self._known:
            place = replace(place, previous=sha256_hex(self.receipt(record.previous)))
        text = seal(Ended(call=call).draft(signer), place, signer.sign)
        return text if record.is_genuine else _spoilt(text)


def lines_of(path: Path) -> list[bytes]:
    """List a file's lines."""
    return [line for line in path.read_bytes().split(b"\n") if line]


def read(path: Path) -> Any:
    """Read a file of JSON."""
    return json.loads(path.read_bytes())


def _installation(chain: str) -> str:
    return hashlib.sha256(chain.encode()).hexdigest()[:8]


def _spoilt(text: bytes) -> bytes:
    found = read_envelope(text)
    wrong = bytes([found.signature[0] ^ 1]) + found.signature[1:]
    return envelope(found.payload, wrong)
