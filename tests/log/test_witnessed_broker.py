"""A broker with a witness, from its configuration to what a stranger verifies."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.core.trust_root import (
    KeyRole,
    TrustedKey,
    ed25519_pem,
    read_trust_root,
    write_trust_root,
)
from broker.v1.call_pb2 import Call
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity
from tests.broker_process import UNHURRIED, Folder, Served
from tests.log.witness import TEXT, HttpWitness


@pytest.fixture
def witness() -> Iterator[HttpWitness]:
    """Give a witness that knows no log."""
    with HttpWitness({}) as found:
        yield found


@pytest.fixture
def served(development_folder: Folder, witness: HttpWitness, tmp_path: Path) -> Iterator[Served]:
    """Give a broker whose readers trust the witness."""
    entry = f'[witnesses."one"]\nurl = "{witness.url}"\nkey = "{witness.vkey}"\n'
    folder = development_folder.copy(tmp_path / "dev", UNHURRIED, entry)
    file = folder.path / "trust-root.json"
    root = read_trust_root(file.read_bytes())
    key = TrustedKey.from_pem(KeyRole.WITNESS, ed25519_pem(witness.public_key))
    file.write_text(write_trust_root(replace(root, keys=(*root.keys, key))))
    with Served(folder) as running:
        yield running


def test_proofs(served: Served, witness: HttpWitness) -> None:
    """Proofs have its cosignature; while it refuses they say so, and others can be had."""
    root = read_trust_root((served.folder.path / "trust-root.json").read_bytes())
    agent, auditor = served.client("agent"), served.client("auditor")

    def verdict(call: Call, proof: str) -> tuple[Validity, str | None]:
        found = verify_receipt(call.receipt.encode(), root, proof=proof.encode(), quorum=1)
        return found.validity, found.step

    origin, _, key = auditor.checkpoint().verifier_key.partition("+")
    witness.logs[origin] = base64.b64decode(key.partition("+")[2])[1:]
    first = agent.call("no_such_tool", {})
    found = agent.inclusion_proof(first.name)
    assert (found.witnessed, verdict(first, found.proof)) == (True, (Validity.VALID, None))
    witness.lie = lambda _, __: (500, TEXT, b"")
    second = agent.call("no_such_tool", {})
    plain = agent.inclusion_proof(second.name, unwitnessed=True)
    assert plain.witnessed is False
    assert verdict(second, plain.proof) == (Validity.INVALID, "witnesses")
    latest, witnessed = auditor.checkpoint(), auditor.checkpoint(witnessed=True)
    assert (latest.witnessed, witnessed.witnessed) == (False, True)
    # A batch of events may have been cosigned in between.
    assert found.tree_size <= witnessed.tree_size <= plain.index < latest.tree_size
    witness.lie = None
    later = agent.inclusion_proof(second.name)
    assert (later.witnessed, verdict(second, later.proof)) == (True, (Validity.VALID, None))
