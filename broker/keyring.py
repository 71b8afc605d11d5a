"""Read the keys that a broker proves itself with, each checked against what others know of it."""

from pathlib import Path

from broker.adapters.file_signer import FileSigner
from broker.adapters.pki import key_fault, read_certificate
from broker.config import FILE_SCHEME
from broker.config_sections import ReceiptsSection, ServerSection
from broker.core.ids import Sha256
from broker.core.trust_root import KeyRole, TrustedKey, read_trust_root
from broker.errors import ConfigurationError, ReceiptInvalid
from broker.ports import Clock, EventDraft, Store

ADD_LOG_KEY = "`toolwarrant receipts log-key` makes it and adds it to the trust root"
"""Says what to do in a set that has no key of role log."""


def read_server_pair(server: ServerSection) -> tuple[bytes, bytes, bytes]:
    """Read the broker's certificate, its private key and the CA of clients, PEM each.

    Raises:
        ConfigurationError: A file cannot be read, or does not fit the others.
    """
    # Checked here: gRPC says of a wrong pair only that the address cannot be used.
    files = (server.certificate, server.private_key, server.client_ca)
    certificate, key, ca = (read_file(file) for file in files)
    read_certificate(certificate, str(server.certificate))
    read_certificate(ca, str(server.client_ca))
    if fault := key_fault(certificate, key):
        raise ConfigurationError(
            str(server.private_key), None, f"{fault}; the certificate is {server.certificate}"
        )
    return certificate, key, ca


def read_signer(receipts: ReceiptsSection) -> tuple[FileSigner, str]:
    """Open the receipts' key; give it with the trust root's text.

    Raises:
        ConfigurationError: One of them cannot be read, or no verifier that has the trust root
            would accept what the key signs.
    """
    signer, data = FileSigner(receipts.key), read_file(receipts.trust_root)
    try:
        root = read_trust_root(data)
    except ReceiptInvalid as error:
        raise ConfigurationError(
            str(receipts.trust_root), None, f"is no trust root: {error}"
        ) from error
    if signer.key_id not in {
        key.key_id for key in root.of_role(KeyRole.RECEIPT) if key.is_unbounded
    }:
        raise ConfigurationError(
            str(receipts.trust_root),
            None,
            f"does not name the receipt key {signer.key_id} as active: no receipt that it signs "
            "would be valid; add it to the keys, or mend receipts.key",
        )
    return signer, data.decode()


def read_log_signer(receipts: ReceiptsSection, trust_root: str) -> FileSigner:
    """Open the key of the receipts' log.

    Args:
        trust_root: Its text, as `read_signer` gives it.

    Raises:
        ConfigurationError: There is none, it is of another kind than a log can sign with, or no
            verifier that has the trust root would accept the log that it signs.
    """
    file = receipts.log_key.removeprefix(FILE_SCHEME)
    if not Path(file).exists():
        raise ConfigurationError(
            file, None, f"there is no log key, as in a set from before the log: {ADD_LOG_KEY}"
        )
    signer = FileSigner(receipts.log_key)
    if TrustedKey.from_pem(KeyRole.LOG, signer.public_key_pem).ed25519_key is None:
        raise ConfigurationError(
            file, None, "a log is signed by an Ed25519 key: name one by receipts.log_key"
        )
    root = read_trust_root(trust_root.encode())
    if signer.key_id not in {key.key_id for key in root.of_role(KeyRole.LOG) if key.is_unbounded}:
        raise ConfigurationError(
            str(receipts.trust_root),
            None,
            f"does not name the log key {signer.key_id} as active: no proof under it would be "
            f"valid; {ADD_LOG_KEY}",
        )
    return signer


async def note_keys(store: Store, clock: Clock, *, receipt: Sha256, log: Sha256) -> None:
    """Record which keys this life of the broker signs with.

    Raises:
        StoreUnavailable: They are not recorded, so nothing may be signed.
    """
    for role, key_id in ((KeyRole.RECEIPT, receipt), (KeyRole.LOG, log)):
        data = {"role": role.value, "key_id": key_id}
        await store.append_event(EventDraft(type="key.in_use", at=clock.now(), data=data))


def read_file(file: Path) -> bytes:
    """Read a file that a set has.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            str(file), None, f"cannot be read ({error.strerror}): `toolwarrant init` makes it"
        ) from error
