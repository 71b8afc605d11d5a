"""A chain of receipts: nothing left out, nothing from elsewhere."""

import pytest

from broker.core.ids import Sha256, sha256_hex
from broker.core.receipt import FIRST_PREVIOUS, seal
from broker.core.trust_root import KeyStatus
from broker.verify.chain import verify_chain
from broker.verify.verdict import Validity
from tests.verify.receipts import ENDINGS, chain, new_signer, position, trust

DENIED = ENDINGS["denied"]


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return new_signer(tmp_path_factory.mktemp("keys") / "key")


@pytest.fixture(scope="module")
def whole(signer):
    return chain(signer)


def flip(envelope: bytes) -> bytes:
    return envelope[:200] + bytes([envelope[200] ^ 1]) + envelope[201:]


class TestVerifyChain:
    def test_a_whole_export(self, signer, whole):
        """Every ending, chained in order, verifies to the last."""
        verdict = verify_chain(whole, trust(signer))
        assert (verdict.validity, verdict.entries, verdict.head) == (
            Validity.VALID,
            len(ENDINGS),
            sha256_hex(whole[-1]),
        )

    @pytest.mark.parametrize(
        ("spoil", "entry", "entries", "word"),
        [
            (lambda all_: all_[1:], 1, 0, "put the export of those before"),
            (lambda all_: all_[:3] + all_[4:], 4, 3, "sequence is 5"),
            (lambda all_: [*all_[:2], all_[3], all_[2], *all_[4:]], 3, 2, "sequence is 4"),
            (lambda all_: all_[:2] + all_[1:], 3, 2, "sequence is 2"),
            (lambda all_: [*all_[:4], flip(all_[4]), *all_[5:]], 5, 4, ""),
            (lambda all_: [*all_[:4], b"", *all_[5:]], 5, 4, "envelope"),
        ],
        ids=["cut in front", "one deleted", "two swapped", "one twice", "one bit", "one emptied"],
    )
    def test_an_export_that_was_changed(self, signer, whole, spoil, entry, entries, word):
        """The first entry that does not fit is named."""
        verdict = verify_chain(spoil(whole), trust(signer))
        assert (verdict.validity, verdict.broken_at, verdict.entries) == (
            Validity.INVALID,
            entry,
            entries,
        )
        assert word in verdict.message

    @pytest.mark.parametrize(
        ("changed", "word"),
        [
            ({"installation": "another"}, "another installation"),
            ({"previous": Sha256("1" * 64)}, "another receipt as the one before"),
            ({"epoch": 1}, "epoch goes back"),
            ({"sequence": 3}, "sequence is 3, not 2"),
        ],
    )
    def test_a_genuine_receipt_of_another_place(self, signer, changed, word):
        """A receipt signed by the right key does not fit where it does not belong."""
        first = seal(DENIED.draft(signer), position(epoch=2), signer.sign)
        good = {"epoch": 2, "sequence": 2, "previous": sha256_hex(first)}
        fits = seal(DENIED.draft(signer), position(**good), signer.sign)
        stray = seal(DENIED.draft(signer), position(**{**good, **changed}), signer.sign)
        assert verify_chain([first, fits], trust(signer)).validity is Validity.VALID
        assert word in verify_chain([first, stray], trust(signer)).message

    def test_a_fork_has_another_head(self, signer, whole):
        """A tail that was cut or exchanged shows in the head, which a reader can keep."""
        other = seal(DENIED.draft(signer), position(2, sha256_hex(whole[0])), signer.sign)
        heads = {
            verify_chain(text, trust(signer)).head for text in (whole, whole[:2], [whole[0], other])
        }
        assert len(heads) == 3

    def test_another_key_in_between(self, signer, whole, tmp_path):
        """Each receipt is verified by itself, too."""
        stranger = new_signer(tmp_path / "stranger")
        forged = seal(DENIED.draft(stranger), position(2, sha256_hex(whole[0])), stranger.sign)
        verdict = verify_chain([whole[0], forged], trust(signer))
        assert (verdict.broken_at, verdict.message.split(":")[1]) == (2, " signature")

    def test_a_withdrawn_key_leaves_it_open(self, signer, whole):
        """What one receipt leaves open, the chain leaves open."""
        verdict = verify_chain(whole, trust(signer, status=KeyStatus.WITHDRAWN))
        assert verdict.validity is Validity.INDETERMINATE

    def test_an_empty_export_shows_nothing(self, signer):
        """No receipt is no success."""
        verdict = verify_chain([], trust(signer))
        assert (verdict.validity, verdict.head) == (Validity.INDETERMINATE, FIRST_PREVIOUS)
