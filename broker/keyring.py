"""Read the keys that a broker proves itself with, each checked against what others know of it."""

import os
from pathlib import Path

from broker.adapters.file_signer import FileSigner
from broker.adapters.pki import key_fault, read_certificate
from broker.adapters.secret_sources import read_pin
from broker.config import FILE_SCHEME
from broker.config_sections import ReceiptsSection, ServerSection
from broker.core.token_key import SCHEME as TOKEN_SCHEME
from broker.core.token_key import TokenKey
from broker.core.trust_root import KeyRole, KeyStatus, TrustedKey, TrustRoot
from broker.errors import ConfigurationError, KeyRefused
from broker.ports import Signer
from broker.root_file import open_root

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


def read_root(receipts: ReceiptsSection) -> tuple[TrustRoot, str]:
    """Read the trust root that the configuration names; give it with its text.

    Raises:
        ConfigurationError: It cannot be read, is none, or too few of its root keys signed it.
    """
    data = read_file(receipts.trust_root)
    return open_root(receipts.trust_root, data), data.decode()


def read_signer(receipts: ReceiptsSection, root: TrustRoot) -> Signer:
    """Open the receipts' key.

    Raises:
        ConfigurationError: It cannot be read, or no verifier that has the trust root would accept
            what it signs.
    """
    signer = FileSigner(receipts.key)
    check_key(
        receipts.trust_root,
        root,
        KeyRole.RECEIPT,
        signer,
        "no receipt that it signs would be valid; add it to the keys, or mend receipts.key",
    )
    return signer


def open_signer(uri: str) -> Signer:
    """Open a private key by its URI: `file:PATH`, or `pkcs11:...` (RFC 7512) for one on a token.

    Raises:
        ConfigurationError: There is no such key, or no support for tokens is installed.
        TokenUnavailable: Its token does not answer.
    """
    if not uri.startswith(TOKEN_SCHEME):
        return FileSigner(uri)
    try:
        name = TokenKey.read(uri)
    except ValueError as error:
        raise ConfigurationError("the key's URI", None, str(error)) from error
    try:
        from broker.adapters.token_signer import TokenSigner
    except ImportError as error:
        raise ConfigurationError(
            "the key's URI",
            None,
            "keys on tokens need a library that is not here: `pip install toolwarrant[pkcs11]`",
        ) from error
    return TokenSigner(name, lambda: read_pin(name.pin_source, os.environ))


def read_log_signer(receipts: ReceiptsSection, root: TrustRoot) -> Signer:
    """Open the key of the receipts' log.

    Raises:
        ConfigurationError: There is none, it is of another kind than a log can sign with, or no
            verifier that has the trust root would accept the log that it signs.
    """
    file = receipts.log_key.removeprefix(FILE_SCHEME)
    if receipts.log_key.startswith(FILE_SCHEME) and not Path(file).exists():
        raise ConfigurationError(
            file, None, f"there is no log key, as in a set from before the log: {ADD_LOG_KEY}"
        )
    signer = open_signer(receipts.log_key)
    if TrustedKey.from_pem(KeyRole.LOG, signer.public_key_pem).ed25519_key is None:
        raise ConfigurationError(
            file, None, "a log is signed by an Ed25519 key: name one by receipts.log_key"
        )
    check_key(
        receipts.trust_root,
        root,
        KeyRole.LOG,
        signer,
        f"no proof under it would be valid; {ADD_LOG_KEY}",
    )
    return signer


def check_key(file: Path, root: TrustRoot, role: KeyRole, signer: Signer, otherwise: str) -> None:
    """Refuse to sign in a role with a key that verifiers do not trust in it from now on.

    Args:
        file: Of the trust root.
        otherwise: What would become of signatures, with what to do where the key is unknown.

    Raises:
        KeyRefused: It is unknown, another role's, withdrawn, or has an end; a reason for each.
    """
    said = f"does not name the {role.value} key {signer.key_id} as active: "
    key, follow = root.find(signer.key_id), f"name the {role.value} key in use now by [receipts]"
    if key is None:
        raise KeyRefused(str(file), said + otherwise, reason="KEY_NOT_TRUSTED")
    if key.role is not role:
        raise KeyRefused(
            str(file),
            f"{said}it is the key of role {key.role.value}, and no key has two; {follow}",
            reason="KEY_OF_ANOTHER_ROLE",
        )
    if key.status is not KeyStatus.ACTIVE:
        raise KeyRefused(str(file), f"{said}it is withdrawn; {follow}", reason="KEY_WITHDRAWN")
    if key.valid_until_index is not None:
        raise KeyRefused(
            str(file),
            f"{said}it ends at index {key.valid_until_index} of the log; {follow}",
            reason="KEY_ENDED",
        )


def read_file(file: Path) -> bytes:
    """Read a file that a set has.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            str(file),
            None,
            f"cannot be read ({error.strerror}): `toolwarrant doctor` says how to get it",
        ) from error
