"""Hold what we say of logs of every kind to Go: to `note` with `tlog`, entry by entry to `dsse`.

Go's packages read no entry: what a broker's own keys signed is a log to them, whatever it says. So
of each kept vector it is written here what is theirs to judge, and there the verdicts are one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.core.checkpoint import read_checkpoint
from broker.core.signed_note import COSIGNATURE_V1, ED25519, read_note, verifier_key
from broker.core.trust_root import KeyRole, TrustRoot
from broker.verify.trust_root import open_trust_root
from conformance.tools import ACCEPT, REJECT, ask, b64
from tests.verify.suite import data, judge, records
from tests.verify.test_audit import write_log

LOGS = [record for record in records("mixed_logs.json") if record["check"] == "log"]
_THEIRS = ("mixed log/changed/", "mixed log/witnesses/")
"""What is about the tree, its head, or who cosigned it, not about what an entry says."""
_OURS = {
    # They are asked about one head; that a log grew from another is `test_verdicts`'s.
    "mixed log/changed/head kept of a fork",
}
_WITNESS = "witness.invalid/1"


def root_of(record: Mapping[str, Any]) -> TrustRoot:
    """Give what the reader of a vector trusts."""
    return open_trust_root(json.dumps(record["trust_root"]).encode())


def lay_out(record: Mapping[str, Any], folder: Path) -> None:
    """Write a vector's log as its broker shows it."""
    entries = [text.encode() for text in record["envelopes"]]
    write_log(folder, entries, data(record["checkpoint"]))
    if record["leaves"] is not None:
        (tile,) = (folder / "tile/0/000.p").iterdir()
        tile.write_bytes(b"".join(map(data, record["leaves"])))


def question(record: Mapping[str, Any], folder: Path) -> dict[str, object]:
    """Ask about a log's folder, by the keys that the vector's reader trusts."""
    root = root_of(record)
    origin = read_checkpoint(read_note(data(record["checkpoint"])).text).origin
    return {
        "check": "tiles",
        "folder": str(folder),
        "quorum": record["witness_quorum"],
        "keys": [
            verifier_key(origin, ED25519, key.ed25519_key or b"")
            for key in root.of_role(KeyRole.LOG)
        ],
        # They know no signer without a name.
        "witnesses": [
            verifier_key(key.name or _WITNESS, COSIGNATURE_V1, key.ed25519_key or b"")
            for key in root.of_role(KeyRole.WITNESS)
        ],
    }


def test_logs(tmp_path: Path) -> None:
    """On a log's tree and its head their verdict is ours; what entries say is left to us."""
    expected, questions = {}, []
    for number, record in enumerate(LOGS):
        name, folder = record["name"], tmp_path / str(number)
        lay_out(record, folder)
        questions.append(question(record, folder))
        is_theirs = name.startswith(_THEIRS) and name not in _OURS
        ours = ACCEPT if judge(record)[0] == "valid" else REJECT
        expected[name] = ours if is_theirs else ACCEPT
    assert dict(zip(expected, ask(questions), strict=True)) == expected
    refused = [name for name, answer in expected.items() if answer == REJECT]
    assert len(refused) == 7, refused
    assert len(expected) > 80


@pytest.mark.parametrize("kind", ["intent", "approval", "policy", "key", "halt", "batch"])
def test_entries_of(kind: str) -> None:
    """Their word on an entry's signature is ours, whatever kind of entry it is."""
    expected, questions = [], []
    for record in LOGS:
        root = root_of(record)
        keys = [key.public_key_pem for key in root.of_role(KeyRole.RECEIPT)]
        for text in record["envelopes"]:
            if f"log-{kind}.v1+json" in text:
                questions.append({"check": "dsse", "envelope": b64(text.encode()), "keys": keys})
                # The two that nobody with the receipts' key signed.
                forged = record["name"].rpartition("/")[2] in (
                    "by the log's key",
                    "index changed, not signed anew",
                )
                expected.append(REJECT if forged else ACCEPT)
    assert ask(questions) == expected
    assert ACCEPT in expected
    assert (REJECT in expected) == (kind == "intent")
