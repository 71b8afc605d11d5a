"""Let the next key of a role follow the one in use."""

from dataclasses import dataclass
from pathlib import Path

from broker.adapters.file_signer import generate_key
from broker.adapters.sqlite_store import LogPlace, resting_log
from broker.config import FILE_SCHEME, Config
from broker.core.root_change import rotated
from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot, is_signed_trust_root
from broker.errors import ConfigurationError, FailedPrecondition, InvalidArgument, ReceiptInvalid
from broker.keyring import open_signer
from broker.root_file import open_root, read_root_text, replace_root, root_text

ROLES = (KeyRole.RECEIPT, KeyRole.LOG, KeyRole.POLICY)
"""Whose keys are rotated at a place of the log; a root key changes by `trust-root new-version`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A next key, with the trust root that lets it follow.

    Args:
        uri: Of the private key.
        root: The next version.
        written: Where it stands.
        is_to_sign: Whether root keys have to sign it before it counts.
    """

    uri: str
    key: TrustedKey
    root: TrustRoot
    written: Path
    is_to_sign: bool


def rotate(config: Config, role: KeyRole, uri: str | None) -> Rotation:
    """Make the next key; where the log stands, end the one before, begin the next.

    The broker must not run: nothing is signed between the one's end and the other's beginning.
    A trust root that root keys sign is left alone; its next version is written beside it.

    Args:
        uri: Of a key that is there already; None: make one in `keys/` of the configuration.

    Raises:
        StoreUnavailable: A broker owns the store.
        ConfigurationError: A file cannot be read or written, or is none of ours.
        InvalidArgument: Keys of this role are not rotated so, or the key is of no use.
        FailedPrecondition: The log is not covered, as after a crash; or a key follows already, by
            which no broker has started yet.
        TokenUnavailable: The key's token does not answer.
    """
    if role not in ROLES:
        raise InvalidArgument("role", f"give one of {', '.join(each.value for each in ROLES)}")
    file = config.receipts.trust_root
    root = _root_in(file)
    with resting_log(config.store.path) as place:
        _refuse_unused(root, role, _index(role, place))
        uri = uri or _new_key(config.folder / "keys", role, root.version + 1)
        changed = _followed(root, role, uri, place)
        written = _write(file, changed) if root.root_threshold else _replace(file, changed)
    return Rotation(
        uri=uri,
        key=changed.keys[-1],
        root=changed,
        written=written,
        is_to_sign=written != file,
    )


def _root_in(file: Path) -> TrustRoot:
    text = read_root_text(file)
    root = open_root(file, text)
    if is_signed_trust_root(text) and not root.root_threshold:
        raise ConfigurationError(
            str(file), None, "is signed, but does not name by whom: its signers have to change it"
        )
    return root


def _followed(root: TrustRoot, role: KeyRole, uri: str, place: LogPlace) -> TrustRoot:
    key = TrustedKey.from_pem(role, open_signer(uri).public_key_pem)
    if role is KeyRole.LOG and key.ed25519_key is None:
        raise InvalidArgument("key", "a log is signed by an Ed25519 key")
    if role is KeyRole.RECEIPT and place.covered < place.entries:
        # Their bytes are made with the head that covers them, by the key that is there then.
        raise FailedPrecondition(
            f"the log has {place.entries - place.covered} entries that no head covers, which the "
            "next key would sign though they stand before its beginning: start the broker with "
            "the key it has, stop it with SIGTERM, rotate then",
            subject="log",
            reason="LOG_BEHIND",
        )
    try:
        return rotated(root, role, key, _index(role, place))
    except ReceiptInvalid as error:
        raise InvalidArgument("key", str(error)) from error


def _index(role: KeyRole, place: LogPlace) -> int:
    # The log's own key signs heads: what no head covers yet, the next key's first one will.
    return place.covered if role is KeyRole.LOG else place.entries


def _refuse_unused(root: TrustRoot, role: KeyRole, index: int) -> None:
    """Refuse to end a key where it begins: it could sign nothing, and stay in the trust root."""
    keys = root.of_role(role)
    for key in keys:
        if len(keys) > 1 and key.is_unbounded and key.valid_from_index >= index:
            raise FailedPrecondition(
                f"the {role.value} key {key.key_id} follows from index {key.valid_from_index} of "
                "the log on already, and no broker has started by it: do what the rotation before "
                "said, then start the broker; where others may have that key, withdraw it by "
                "`toolwarrant trust-root new-version --withdraw`",
                subject="trust_root",
                reason="KEY_UNUSED",
            )


def _new_key(folder: Path, role: KeyRole, version: int) -> str:
    file = folder / f"{role.value}-{version}.key"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        # One that an earlier attempt left was never in a trust root.
        if not file.exists():
            generate_key(file)
    except OSError as error:
        raise _unwritable(file, error) from error
    return f"{FILE_SCHEME}{file}"


def _replace(file: Path, root: TrustRoot) -> Path:
    try:
        replace_root(file, root_text(root))
    except OSError as error:
        raise _unwritable(file, error) from error
    return file


def _write(beside: Path, root: TrustRoot) -> Path:
    """Write a version that is to be signed; a name of its own keeps others from being lost."""
    file = beside.with_name(f"{beside.stem}-{root.version}{beside.suffix}")
    try:
        file.touch(mode=0o600, exist_ok=False)
    except FileExistsError as error:
        raise FailedPrecondition(
            f"{file} is there already, which a rotation before wrote: have it signed, put it in "
            f"the place of {beside} and start the broker; or remove it to rotate anew",
            subject="trust_root",
            reason="KEY_UNUSED",
        ) from error
    except OSError as error:
        raise _unwritable(file, error) from error
    return _replace(file, root)


def _unwritable(file: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(str(file), None, f"cannot be written: {error.strerror}")
