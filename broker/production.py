"""Make a production broker's folder: the server's own keys, with what others have to sign."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from broker.adapters.pki import DEVELOPMENT_MARK
from broker.adapters.server_request import ServerRequest, authority_fault, new_request
from broker.config import parse
from broker.config_template import Settings, render
from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot
from broker.errors import ConfigurationError, InvalidArgument, ReceiptInvalid
from broker.init import (
    CONFIG_NAME,
    build_shipped,
    lock_text,
    put,
    refuse_taken,
    trusted_new_key,
    write_whole,
)
from broker.keyring import open_signer
from broker.root_file import root_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Under which names clients reach the broker, as its certificate will say.

    Args:
        uri: The server's own identity (SPIFFE); empty: none.
    """

    dns: Sequence[str] = ()
    ip: Sequence[str] = ()
    uri: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What was made elsewhere, and never comes here with a private key.

    Args:
        authority: File of the certificates that sign the clients' and the server's.
        root_keys: Files of the root keys' public halves.
        root_threshold: How many of them sign a trust root.
        log_key: URI of a log key that is on a token; empty: one is made in a file.
    """

    authority: Path
    root_keys: Sequence[Path]
    root_threshold: int
    log_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Set:
    """What is written."""

    config: str
    images: dict[str, str]
    authority: bytes
    request: ServerRequest
    roots: tuple[TrustedKey, ...]
    threshold: int
    log_key: TrustedKey | None = field(default=None)


def initialise_production(
    folder: Path,
    names: Names,
    elsewhere: Elsewhere,
    *,
    report: Callable[[str], None],
    settings: Settings | None = None,
    build: bool = True,
) -> Path:
    """Write a production set into a folder; either all of it or nothing.

    It has no identities, no keys of clients, and none that signs for another: the server's
    certificate and the trust root are left to be signed.

    Args:
        report: Takes a line for people about each step.
        settings: What shall differ from the defaults, by table.
        build: Build and pin the shipped tools' images; else the lock file pins none.

    Returns:
        The path of the configuration.

    Raises:
        ConfigurationError: The folder holds a set already, or something given is of no use.
        InvalidArgument: No name, or a threshold that the root keys cannot meet.
        ImageBuildFailed: An image could not be built; nothing was written.
        TokenUnavailable: The log key's token does not answer.
    """
    folder = folder.resolve()
    refuse_taken(folder)
    chosen = {**(settings or {})}
    receipts: dict[str, str | int | float | bool] = {"development": False}
    if elsewhere.log_key:
        receipts["log_key"] = elsewhere.log_key
    chosen["receipts"] = receipts
    config = render(chosen, {})
    parse(config, file=str(folder / CONFIG_NAME), folder=folder)
    made = _gather(names, elsewhere, config, dict(build_shipped(chosen, report)) if build else {})
    try:
        write_whole(folder, lambda draft: _fill(draft, made))
    except OSError as error:
        raise ConfigurationError(
            str(folder), None, f"cannot be written: {error.strerror}; choose another folder"
        ) from error
    report(f"wrote the server's keys and {CONFIG_NAME} to {folder}")
    return folder / CONFIG_NAME


def _gather(names: Names, elsewhere: Elsewhere, config: str, images: dict[str, str]) -> _Set:
    authority = _read(elsewhere.authority)
    if fault := authority_fault(authority, DEVELOPMENT_MARK):
        raise ConfigurationError(str(elsewhere.authority), None, fault)
    if not (names.dns or names.ip):
        raise InvalidArgument("--dns", "name the host under which clients reach the broker")
    try:
        request = new_request(
            (*names.dns, *names.ip)[0],
            uri=names.uri,
            dns_names=names.dns,
            ip_addresses=names.ip,
        )
    except ValueError as error:
        raise InvalidArgument("--dns, --ip, --server-uri", str(error)) from error
    log_key = None
    if elsewhere.log_key:
        pem = open_signer(elsewhere.log_key).public_key_pem
        log_key = TrustedKey.from_pem(KeyRole.LOG, pem)
        if log_key.ed25519_key is None:
            raise InvalidArgument("--log-key", "a log is signed by an Ed25519 key")
    roots = tuple(_root_key(file) for file in elsewhere.root_keys)
    given = len({key.key_id for key in roots})
    if not 1 <= elsewhere.root_threshold <= given:
        raise InvalidArgument(
            "--root-threshold",
            f"give a number from 1 to {given}: so many different root keys are given",
        )
    return _Set(
        config=config,
        images=images,
        authority=authority,
        request=request,
        roots=roots,
        threshold=elsewhere.root_threshold,
        log_key=log_key,
    )


def _root_key(file: Path) -> TrustedKey:
    try:
        return TrustedKey.from_pem(KeyRole.ROOT, _read(file).decode("ascii", "replace"))
    except ReceiptInvalid as error:
        raise ConfigurationError(
            str(file), None, f"is no public key of a root ({error}): give SPKI PEM, never a private"
        ) from error


def _fill(draft: Path, made: _Set) -> None:
    put(draft / CONFIG_NAME, made.config.encode())
    put(draft / "images.lock.json", lock_text(made.images))
    pki = draft / "pki"
    pki.mkdir(mode=0o700)
    put(pki / "ca.crt", made.authority)
    put(pki / "server.key", made.request.private_key_pem)
    put(pki / "server.csr", made.request.request_pem)
    keys = draft / "keys"
    keys.mkdir(mode=0o700)
    receipt = trusted_new_key(KeyRole.RECEIPT, keys / "receipt.key")
    log = made.log_key or trusted_new_key(KeyRole.LOG, keys / "log.key")
    root = TrustRoot(version=1, keys=(receipt, log, *made.roots), root_threshold=made.threshold)
    put(draft / "trust-root.json", root_text(root).encode())


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            str(file), None, f"cannot be read ({error.strerror}): name another file"
        ) from error
