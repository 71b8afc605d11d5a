"""The next version of a trust root."""

from dataclasses import replace

import pytest

from broker.core.root_change import Ending, next_version, rotated
from broker.core.trust_root import KeyRole, KeyStatus, TrustedKey, TrustRoot
from broker.errors import ReceiptInvalid
from tests.verify.receipts import new_signer


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> list[TrustedKey]:
    """Four keys of role receipt."""
    folder = tmp_path_factory.mktemp("keys")
    signers = [new_signer(folder / str(number)) for number in range(4)]
    return [TrustedKey.from_pem(KeyRole.RECEIPT, each.public_key_pem) for each in signers]


@pytest.fixture
def root(keys) -> TrustRoot:
    """A first version: a receipt key, a log key."""
    return TrustRoot(version=1, keys=(keys[0], replace(keys[1], role=KeyRole.LOG)))


class TestRotated:
    @pytest.mark.parametrize("role", [KeyRole.RECEIPT, KeyRole.LOG, KeyRole.POLICY])
    def test_the_next_key_begins_where_the_one_before_ends(self, root, keys, role):
        """Both keep to one index; keys of other roles stay as they are."""
        changed = rotated(root, role, keys[2], 7)
        assert changed.version == 2
        assert changed.keys[-1] == replace(keys[2], role=role, valid_from_index=7)
        for before, after in zip(root.keys, changed.keys, strict=False):
            until = 7 if before.role is role else None
            assert after == replace(before, valid_until_index=until)

    def test_what_ended_before_stays_as_it_was(self, root, keys):
        """A second rotation moves no earlier end."""
        once = rotated(root, KeyRole.RECEIPT, keys[2], 7)
        twice = rotated(once, KeyRole.RECEIPT, keys[3], 9)
        assert twice.keys[0].valid_until_index == 7
        assert twice.find(keys[2].key_id).valid_until_index == 9

    def test_a_key_that_is_there(self, root, keys):
        """A key that has a role is the next one of none."""
        with pytest.raises(ReceiptInvalid):
            rotated(root, KeyRole.RECEIPT, keys[1], 7)


class TestNextVersion:
    def test_a_withdrawal_may_come_earlier_than_an_end(self, root, keys):
        """When a rotated key is found to have leaked, its end moves back, never forward."""
        ended = next_version(root, endings=[Ending(key_id=keys[0].key_id, until_index=7)])
        (back,) = [Ending(key_id=keys[0].key_id, until_index=5, is_withdrawn=True)]
        (first, _) = next_version(ended, endings=[back]).keys
        assert (first.valid_until_index, first.status) == (5, KeyStatus.WITHDRAWN)
        for later in (8, 2**40):
            with pytest.raises(ReceiptInvalid, match="never moves to later"):
                next_version(ended, endings=[replace(back, until_index=later)])

    def test_a_withdrawal_without_an_index_keeps_the_end(self, root, keys):
        """What was decided of a key is not undone by forgetting it."""
        ended = next_version(root, endings=[Ending(key_id=keys[0].key_id, until_index=7)])
        said = Ending(key_id=keys[0].key_id, until_index=None, is_withdrawn=True)
        (first, _) = next_version(ended, endings=[said]).keys
        assert (first.valid_until_index, first.status) == (7, KeyStatus.WITHDRAWN)

    def test_a_key_that_is_not_there(self, root, keys):
        """A mistyped key id is told."""
        with pytest.raises(ReceiptInvalid, match="names no key"):
            next_version(root, endings=[Ending(key_id=keys[2].key_id, until_index=1)])
