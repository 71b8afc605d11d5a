"""Give a set from before the log its log key."""

from pathlib import Path

from broker.adapters.file_signer import generate_key
from broker.config import FILE_SCHEME, Config
from broker.core.root_change import next_version
from broker.core.trust_root import (
    KeyRole,
    TrustedKey,
    is_signed_trust_root,
    read_trust_root,
    write_trust_root,
)
from broker.errors import ConfigurationError, ReceiptInvalid
from broker.keyring import open_signer, read_file
from broker.root_file import replace_root, unreadable


def add_log_key(config: Config) -> TrustedKey | None:
    """Make the log's key where there is none, add it to the trust root; None where all is there.

    Raises:
        ConfigurationError: The trust root is signed, or none, or a file cannot be written.
        TokenUnavailable: The key is on a token that does not answer.
    """
    receipts = config.receipts
    data = read_file(receipts.trust_root)
    try:
        root, is_signed = read_trust_root(data), is_signed_trust_root(data)
    except ReceiptInvalid as error:
        raise unreadable(receipts.trust_root, error) from error
    file = Path(receipts.log_key.removeprefix(FILE_SCHEME))
    try:
        # A key on a token is made there; only the trust root can lack it.
        if receipts.log_key.startswith(FILE_SCHEME) and not file.exists():
            file.parent.mkdir(mode=0o700, exist_ok=True)
            generate_key(file)
        key = TrustedKey.from_pem(KeyRole.LOG, open_signer(receipts.log_key).public_key_pem)
        if key.key_id in {known.key_id for known in root.of_role(KeyRole.LOG)}:
            return None
        if is_signed:
            raise ConfigurationError(
                str(receipts.trust_root),
                None,
                f"is signed by root keys, so it is not changed here: add {receipts.log_key} to it "
                f"in role log (keyid {key.key_id}), and sign it anew",
            )
        replace_root(receipts.trust_root, write_trust_root(next_version(root, added=(key,))))
    except OSError as error:
        raise ConfigurationError(
            str(error.filename), None, f"cannot be written: {error.strerror}"
        ) from error
    return key
