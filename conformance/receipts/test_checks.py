"""Each check of the verifier is needed: without any one of them a kept vector comes out wrong."""

import json
import subprocess
import sys

import pytest

from conformance.tools import ROOT

_NUMBER = "a number beyond 63 bits is refused where it is read and where it is held"
TWICE: dict[str, str] = {
    "core.checkpoint.Checkpoint.__post_init__: raise ReceiptInvalid(_STEP, 'the tree size": _NUMBER,
    "core.checkpoint.read_number: int(text) > MAX_SIZE": _NUMBER,
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
}
"""Checks behind which another stops the same, by how they begin: which that is."""

ELSEWHERE: dict[str, str] = {
    "core.signed_note.read_verifier_key: ": "tests/core/test_signed_note.py: it reads a setting",
    "verify.audit._resume: ": "tests/verify/test_mixed_audit.py: no vector has an audit's state",
    "verify.audit._tell: ": "tests/verify/test_mixed_audit.py",
    "verify.audit._follow: _tell(": "tests/verify/test_mixed_audit.py",
    "verify.audit.verify_log: _resume(": "tests/verify/test_mixed_audit.py",
    # Of entries that are no receipts, and of what they are together, no vectors are kept yet.
    "verify.entry._leaf: ": "tests/verify/test_mixed_audit.py",
    "verify.walk.Walk.": "tests/verify/test_mixed_audit.py",
}
"""Checks that no kept vector is about, by how they begin, with the tests that are."""


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
    assert [name for name in kept if not name.startswith((*TWICE, *ELSEWHERE))] == []
    # Where it is no longer so, the list is too long.
    assert [
        begin for begin in (*TWICE, *ELSEWHERE) if not any(name.startswith(begin) for name in kept)
    ] == []
    assert len(found) > 220
