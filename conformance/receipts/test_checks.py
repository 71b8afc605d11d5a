"""Each check of the verifier is needed: without any one of them a kept vector comes out wrong."""

import json
import subprocess
import sys

import pytest

from conformance.tools import ROOT

_UNSIGNED = "what reads the envelope refuses a bare one"
_NUMBER = "a number beyond 63 bits is refused where it is read and where it is held"
TWICE: dict[str, str] = {
    "core.checkpoint.Checkpoint.__post_init__: raise ReceiptInvalid(_STEP, 'the tree size": _NUMBER,
    "core.checkpoint.read_number: int(text) > MAX_SIZE": _NUMBER,
    'core.root_statement.check_successor: raise ReceiptInvalid(_STEP, f"it is another version': (
        "no version but the next follows; this one only says more"
    ),
    "core.root_statement.read_statement: raise ReceiptInvalid(_STEP, error": (
        "who asked whether it is an envelope has read it"
    ),
    "core.log_proof.LogProof.__post_init__: raise ReceiptInvalid(_STEP, 'the index": _NUMBER,
    "core.signed_note.NoteSignature.__post_init__: len(self.key_id) != KEY_ID_BYTES": (
        "what has no 4 bytes has no signature behind them"
    ),
    "core.trust_root.TrustRoot.__post_init__: _refuse_shared(": (
        "its reader has looked, at more roles than are known"
    ),
    "verify.log.open_checkpoint: raise ReceiptInvalid(_CHECKPOINT, 'no log key": (
        "of no key none is within its bounds"
    ),
    "verify.receipt._envelope: raise": "the envelope's reader has the same bound",
    "verify.receipt._signature: raise ReceiptInvalid('signature', 'the trust root names no key": (
        "of no key none signed"
    ),
    "verify.receipt._signature: raise ReceiptInvalid('signature', 'no receipt key": (
        "no later step goes on without the key that signed"
    ),
    "verify.receipt._inclusion: proof is None": "without a proof no checkpoint was opened",
    "verify.receipt._inclusion: signed is None": "with a proof one was, or it was refused",
    "verify.receipt._validity: raise Indeterminate('validity', 'the key ended": (
        "what follows is as undecided"
    ),
    "verify.signature.is_signed: return False": "a trust root has no third kind of key",
    "verify.trust_root.open_pinned: raise ReceiptInvalid(_STEP, 'it is not signed": _UNSIGNED,
    "verify.trust_root.open_successor: raise ReceiptInvalid(_STEP, 'it is not signed": _UNSIGNED,
    "verify.walk.Walk.doubt: self.undecided": "what follows is as undecided",
}
"""Checks behind which another stops the same, by how they begin: which that is."""


@pytest.mark.timeout(900)
def test_each_check_is_missed() -> None:
    """Each check is taken out in turn, in a process of its own; a vector notices every time."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.verify.mutants"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    found = json.loads(done.stdout)
    kept = [name.removeprefix("broker.") for name, missed in found if not missed]
    assert [name for name in kept if not name.startswith(tuple(TWICE))] == []
    # Where it is no longer so, the list is too long.
    assert [begin for begin in TWICE if not any(name.startswith(begin) for name in kept)] == []
    assert len(found) > 280
