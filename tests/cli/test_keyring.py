"""The keys that a broker signs with, against what the trust root says of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from broker.adapters.file_signer import FileSigner, generate_key
from broker.config_sections import ReceiptsSection
from broker.core.root_statement import statement_of, with_signature, write_statement
from broker.core.trust_root import KeyRole, KeyStatus, TrustedKey, TrustRoot, write_trust_root
from broker.errors import ConfigurationError, KeyRefused
from broker.keyring import read_log_signer, read_root, read_signer
from broker.verify.signature import is_signed


class Keys:
    """A folder with a receipt key, a log key, a root key, and what a trust root says of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for role in (KeyRole.RECEIPT, KeyRole.LOG, KeyRole.ROOT):
            generate_key(folder / f"{role.value}.key")
        self.section = ReceiptsSection.model_validate(
            {
                "key": f"file:{folder}/receipt.key",
                "log_key": f"file:{folder}/log.key",
                "trust_root": str(folder / "trust-root.json"),
            },
            context={"folder": folder},
        )

    def signer(self, role: KeyRole) -> FileSigner:
        return FileSigner(f"file:{self.folder}/{role.value}.key")

    def trusted(self, whose: KeyRole, **changed: object) -> TrustedKey:
        pem = self.signer(whose).public_key_pem
        return replace(TrustedKey.from_pem(whose, pem), **changed)

    def open(self, *keys: TrustedKey) -> tuple[str, str]:
        """Open both with a trust root of these keys; give their ids."""
        text = write_trust_root(TrustRoot(version=1, keys=keys))
        self.section.trust_root.write_text(text)
        return self.both()

    def both(self) -> tuple[str, str]:
        """Open both with the trust root that is there."""
        root, _ = read_root(self.section)
        log = read_log_signer(self.section, root)
        return read_signer(self.section, root).key_id, log.key_id


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


class TestKeys:
    def test_what_the_trust_root_names(self, keys):
        """Keys in their own roles, active, without an end."""
        opened = keys.open(keys.trusted(KeyRole.RECEIPT), keys.trusted(KeyRole.LOG))
        assert opened == (keys.signer(KeyRole.RECEIPT).key_id, keys.signer(KeyRole.LOG).key_id)

    @pytest.mark.parametrize("role", [KeyRole.RECEIPT, KeyRole.LOG])
    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            (None, "KEY_NOT_TRUSTED"),
            ({"role": KeyRole.POLICY}, "KEY_OF_ANOTHER_ROLE"),
            ({"role": KeyRole.WITNESS}, "KEY_OF_ANOTHER_ROLE"),
            ({"status": KeyStatus.WITHDRAWN}, "KEY_WITHDRAWN"),
            ({"status": KeyStatus.WITHDRAWN, "valid_until_index": 7}, "KEY_WITHDRAWN"),
            ({"valid_until_index": 7}, "KEY_ENDED"),
        ],
    )
    def test_one_change_away(self, keys, role, changed, reason):
        """Each way in which a key may not sign is refused by a reason of its own."""
        other = KeyRole.LOG if role is KeyRole.RECEIPT else KeyRole.RECEIPT
        named = [] if changed is None else [keys.trusted(role, **changed)]
        with pytest.raises(KeyRefused, match=f"does not name the {role.value} key") as caught:
            keys.open(keys.trusted(other), *named)
        assert caught.value.reason == reason

    def test_roles_that_are_swapped(self, keys):
        """Two good keys in one another's places are two keys in the wrong role."""
        swapped = (
            keys.trusted(KeyRole.RECEIPT, role=KeyRole.LOG),
            keys.trusted(KeyRole.LOG, role=KeyRole.RECEIPT),
        )
        with pytest.raises(KeyRefused) as caught:
            keys.open(*swapped)
        assert caught.value.reason == "KEY_OF_ANOTHER_ROLE"

    def test_a_trust_root_that_lacks_a_signature(self, keys):
        """A root that root keys have to sign counts only once they did."""
        root = TrustRoot(
            version=1,
            keys=tuple(map(keys.trusted, (KeyRole.RECEIPT, KeyRole.LOG, KeyRole.ROOT))),
            root_threshold=1,
        )
        statement = statement_of(root)
        keys.section.trust_root.write_text(write_statement(statement))
        with pytest.raises(ConfigurationError, match="0 of its own root keys"):
            keys.both()
        signer = keys.signer(KeyRole.ROOT)
        signed = with_signature(
            statement, keys.trusted(KeyRole.ROOT), signer.sign(statement.message), is_signed
        )
        keys.section.trust_root.write_text(write_statement(signed))
        assert keys.both()[0] == keys.signer(KeyRole.RECEIPT).key_id
