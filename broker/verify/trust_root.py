"""Take a trust root for what its signatures show of it."""

from collections.abc import Sequence

from broker.core.ids import Sha256
from broker.core.root_statement import (
    RootStatement,
    check_own_threshold,
    check_successor,
    read_statement,
    signers_of,
)
from broker.core.trust_root import KeyRole, TrustRoot, is_signed_trust_root, read_trust_root
from broker.errors import ReceiptInvalid
from broker.verify.signature import is_signed

_STEP = "trust_root"


def open_trust_root(text: bytes) -> TrustRoot:
    """Read a trust root that its reader got by a way that they trust.

    A bare one is taken as given. So is one in an envelope that names no root keys, as nothing in it
    says whose signatures count. One that names root keys must be signed by as many as it says.

    Raises:
        ReceiptInvalid: Not a trust root, or too few of its root keys signed it; step `trust_root`.
    """
    if not is_signed_trust_root(text):
        return read_trust_root(text)
    if not names_root_keys(root := read_trust_root(text)):
        return root
    return _open_statement(text).root


def open_pinned(text: bytes, key_ids: Sequence[Sha256]) -> TrustRoot:
    """Read a trust root that each of some root keys must have signed, besides its own threshold.

    Args:
        key_ids: Those that the reader knows by a way that they trust; not empty.

    Raises:
        ReceiptInvalid: Not a signed trust root, or one of the keys did not sign it; step
            `trust_root`.
    """
    if not is_signed_trust_root(text):
        raise ReceiptInvalid(_STEP, "it is not signed, so no root key vouches for it")
    statement = _open_statement(text)
    signers = signers_of(statement, statement.root.root_signers, is_signed)
    for key_id in key_ids:
        if key_id not in signers:
            raise ReceiptInvalid(_STEP, f"the root key {key_id} did not sign it")
    return statement.root


def open_successor(text: bytes, trusted: TrustRoot) -> TrustRoot:
    """Read the version that follows the one that the reader trusts.

    Raises:
        ReceiptInvalid: It may not take that one's place; step `trust_root`.
    """
    if not is_signed_trust_root(text):
        raise ReceiptInvalid(_STEP, "it is not signed, so nothing ties it to the version before")
    statement = read_statement(text)
    check_successor(trusted, statement, is_signed)
    return statement.root


def names_root_keys(root: TrustRoot) -> bool:
    """Tell whether a trust root says whose signatures over it count."""
    return bool(root.root_threshold or root.of_role(KeyRole.ROOT))


def _open_statement(text: bytes) -> RootStatement:
    statement = read_statement(text)
    check_own_threshold(statement, is_signed)
    return statement
