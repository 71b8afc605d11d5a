"""Give a set from before the log its log key."""

import os
from pathlib import Path

from broker.adapters.file_signer import FileSigner, generate_key
from broker.config import FILE_SCHEME, Config
from broker.core.trust_root import (
    KeyRole,
    TrustedKey,
    TrustRoot,
    is_signed_trust_root,
    read_trust_root,
    write_trust_root,
)
from broker.errors import ConfigurationError, ReceiptInvalid
from broker.keyring import read_file


def add_log_key(config: Config) -> TrustedKey | None:
    """Make the log's key where there is none, add it to the trust root; None where all is there.

    Raises:
        ConfigurationError: The trust root is signed, or none, or a file cannot be written.
    """
    receipts = config.receipts
    data = read_file(receipts.trust_root)
    try:
        root, is_signed = read_trust_root(data), is_signed_trust_root(data)
    except ReceiptInvalid as error:
        raise ConfigurationError(
            str(receipts.trust_root), None, f"is no trust root: {error}"
        ) from error
    file = Path(receipts.log_key.removeprefix(FILE_SCHEME))
    try:
        if not file.exists():
            file.parent.mkdir(mode=0o700, exist_ok=True)
            generate_key(file)
        key = TrustedKey.from_pem(KeyRole.LOG, FileSigner(receipts.log_key).public_key_pem)
        if key.key_id in {known.key_id for known in root.of_role(KeyRole.LOG)}:
            return None
        if is_signed:
            raise ConfigurationError(
                str(receipts.trust_root),
                None,
                f"is signed by root keys, so it is not changed here: add the key {file} to it in "
                f"role log (keyid {key.key_id}), and sign it anew",
            )
        _replace(receipts.trust_root, TrustRoot(version=root.version + 1, keys=(*root.keys, key)))
    except OSError as error:
        raise ConfigurationError(
            str(error.filename), None, f"cannot be written: {error.strerror}"
        ) from error
    return key


def _replace(file: Path, root: TrustRoot) -> None:
    """Put a new trust root in the old one's place, whole or not at all."""
    fresh = file.with_name(f".{file.name}.new")
    fresh.unlink(missing_ok=True)
    mode = file.stat().st_mode & 0o777
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as target:
        target.write(write_trust_root(root).encode())
        target.flush()
        os.fsync(descriptor)
    fresh.replace(file)
