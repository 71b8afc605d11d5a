"""Keep a trust root in its file."""

from pathlib import Path

from broker.core.root_statement import RootStatement, read_statement, statement_of, write_statement
from broker.core.trust_root import (
    MAX_TRUST_ROOT_BYTES,
    TrustRoot,
    is_signed_trust_root,
    write_trust_root,
)
from broker.errors import ConfigurationError, ReceiptInvalid
from broker.verify.trust_root import open_trust_root
from broker.whole_file import replace_file


def read_root_text(file: Path) -> bytes:
    """Read a trust root's file, of which nothing is believed yet.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        with file.open("rb") as source:
            return source.read(MAX_TRUST_ROOT_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            str(file), None, f"cannot be read ({error.strerror}): name the trust root's file"
        ) from error


def open_root(file: Path, text: bytes) -> TrustRoot:
    """Take the trust root that the configuration names, as `open_trust_root` does.

    Args:
        text: What was read from the file.

    Raises:
        ConfigurationError: It is none, or too few of its root keys signed it.
    """
    try:
        return open_trust_root(text)
    except ReceiptInvalid as error:
        raise unreadable(file, error) from error


def read_statement_file(file: Path) -> RootStatement:
    """Read the envelope that root keys sign.

    Raises:
        ConfigurationError: The file cannot be read, or holds a bare trust root.
        ReceiptInvalid: It holds none.
    """
    text = read_root_text(file)
    if not is_signed_trust_root(text):
        raise ConfigurationError(
            str(file),
            None,
            "is bare, with nothing to sign: `toolwarrant trust-root new-version` with --add "
            "root=FILE and --threshold makes a version that root keys sign",
        )
    return read_statement(text)


def root_text(root: TrustRoot) -> str:
    """Write a trust root in the form that is its own: to be signed where it names a threshold."""
    return write_statement(statement_of(root)) if root.root_threshold else write_trust_root(root)


def replace_root(file: Path, text: str) -> None:
    """Put a trust root in the old one's place, whole or not at all.

    Raises:
        OSError: It cannot be written; what was there is there.
    """
    replace_file(file, text.encode(), mode=file.stat().st_mode & 0o777)


def unreadable(file: Path, error: ReceiptInvalid) -> ConfigurationError:
    """Say that a file of the configuration is no trust root."""
    return ConfigurationError(str(file), None, f"is no trust root: {error}")
