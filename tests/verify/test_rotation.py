"""Keys that follow one another at an index of the log: what stays valid, and what does not."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from broker.core.root_change import Ending, next_version, rotated
from broker.core.trust_root import KeyRole, TrustRoot
from broker.ports import Signer
from broker.verify.receipt import verify_receipt
from broker.verify.verdict import Validity, Verdict
from tests.core import rfc6962
from tests.verify.log_vectors import checkpoint_of, proof_of, trusted
from tests.verify.receipts import new_signer, sealed

SIZE, AT = 9, 5
"""How many entries the log has, and from which index on the next key counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """A log whose receipt key, or log key, was rotated at index AT."""

    receipt: Signer
    receipt2: Signer
    log: Signer
    log2: Signer
    root: TrustRoot

    def judge(
        self,
        index: int,
        signer: Signer,
        root: TrustRoot,
        *,
        log: Signer | None = None,
        size: int = SIZE,
        proven: bool = True,
    ) -> Verdict:
        """Verify the receipt of an index that a key signed, in the log of some size."""
        envelope = sealed("succeeded", signer, sequence=index + 1)
        entries = rfc6962.entries_of(size)
        entries[index] = envelope
        note = checkpoint_of(entries, log or self.log)
        proof = proof_of(note, entries, index) if proven else None
        return verify_receipt(envelope, root, proof=proof)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Rotated:
    folder: Path = tmp_path_factory.mktemp("rotated")
    names = ("receipt", "receipt2", "log", "log2")
    signers = {name: new_signer(folder / name) for name in names}
    keys = (
        trusted(KeyRole.RECEIPT, signers["receipt"]),
        trusted(KeyRole.LOG, signers["log"]),
    )
    return Rotated(**signers, root=TrustRoot(version=1, keys=keys))


class TestReceiptKey:
    @pytest.fixture
    def root(self, log) -> TrustRoot:
        """The version in which the next key follows."""
        return rotated(log.root, KeyRole.RECEIPT, trusted(KeyRole.RECEIPT, log.receipt2), AT)

    @pytest.mark.parametrize("index", [0, AT - 1])
    def test_what_the_old_key_signed_stays_valid(self, log, root, index):
        """Up to its end, by the place in the log."""
        assert log.judge(index, log.receipt, root).validity is Validity.VALID

    @pytest.mark.parametrize("index", [AT, SIZE - 1])
    def test_what_it_signs_later_is_not(self, log, root, index):
        """From its end on it counts nowhere; its twin under the next key does."""
        verdict = log.judge(index, log.receipt, root)
        assert (verdict.validity, verdict.step) == (Validity.INVALID, "validity")
        assert log.judge(index, log.receipt2, root).validity is Validity.VALID

    def test_the_next_key_does_not_reach_back(self, log, root):
        """Who has it cannot rewrite what was before."""
        verdict = log.judge(AT - 1, log.receipt2, root)
        assert (verdict.validity, verdict.step) == (Validity.INVALID, "validity")

    def test_without_a_place_nobody_can_tell(self, log, root):
        """The old key's receipt needs its proof now; the next key's does not."""
        verdict = log.judge(0, log.receipt, root, proven=False)
        assert (verdict.validity, verdict.step) == (Validity.INDETERMINATE, "validity")
        assert log.judge(AT, log.receipt2, root, proven=False).validity is Validity.VALID

    def test_a_compromise_leaves_the_past_valid(self, log, root):
        """Withdrawn from an earlier index on: before it all is as it was, from it on nothing."""
        said = Ending(key_id=log.receipt.key_id, until_index=3, is_withdrawn=True)
        withdrawn = next_version(root, endings=[said])
        assert log.judge(2, log.receipt, withdrawn).validity is Validity.VALID
        assert log.judge(3, log.receipt, withdrawn).validity is Validity.INVALID
        assert log.judge(2, log.receipt, withdrawn, proven=False).validity is (
            Validity.INDETERMINATE
        )

    def test_a_compromise_without_a_place_decides_nothing(self, log):
        """Nobody knows since when: neither valid nor invalid, proof or not."""
        said = Ending(key_id=log.receipt.key_id, until_index=None, is_withdrawn=True)
        withdrawn = next_version(
            log.root, added=[trusted(KeyRole.RECEIPT, log.receipt2)], endings=[said]
        )
        for proven in (True, False):
            verdict = log.judge(2, log.receipt, withdrawn, proven=proven)
            assert (verdict.validity, verdict.step) == (Validity.INDETERMINATE, "validity")


class TestLogKey:
    @pytest.fixture
    def root(self, log) -> TrustRoot:
        """The version in which the next log key follows a head of AT entries."""
        return rotated(log.root, KeyRole.LOG, trusted(KeyRole.LOG, log.log2), AT)

    @pytest.mark.parametrize(
        ("size", "by_old", "by_new"),
        [
            (AT - 1, Validity.VALID, Validity.INVALID),
            (AT, Validity.VALID, Validity.INVALID),
            (AT + 1, Validity.INVALID, Validity.VALID),
            (SIZE, Validity.INVALID, Validity.VALID),
        ],
    )
    def test_each_signs_heads_of_its_own_sizes(self, log, root, size, by_old, by_new):
        """Heads up to the rotation stay the old key's, larger ones are the next key's."""
        for signer, validity in ((log.log, by_old), (log.log2, by_new)):
            verdict = log.judge(1, log.receipt, root, log=signer, size=size)
            assert verdict.validity is validity
            assert verdict.step == (None if validity is Validity.VALID else "checkpoint")

    def test_a_compromised_one_shows_nothing_any_more(self, log, root):
        """Its thief can sign heads of any size; the log under the next key has the entry still."""
        said = Ending(key_id=log.log.key_id, until_index=AT, is_withdrawn=True)
        withdrawn = next_version(root, endings=[said])
        verdict = log.judge(1, log.receipt, withdrawn, log=log.log, size=AT)
        assert (verdict.validity, verdict.step) == (Validity.INDETERMINATE, "checkpoint")
        verdict = log.judge(1, log.receipt, withdrawn, log=log.log2)
        assert verdict.validity is Validity.VALID

    def test_both_keys_at_once(self, log, root):
        """Receipt and log key rotated at one place: each judged by its own bounds."""
        both = rotated(root, KeyRole.RECEIPT, trusted(KeyRole.RECEIPT, log.receipt2), AT)
        old = log.judge(AT - 1, log.receipt, both, log=log.log2)
        new = log.judge(AT, log.receipt2, both, log=log.log2)
        swapped = log.judge(AT, log.receipt, both, log=log.log2)
        assert [v.validity for v in (old, new, swapped)] == [
            Validity.VALID,
            Validity.VALID,
            Validity.INVALID,
        ]
        assert both.version == replace(log.root, version=3).version
