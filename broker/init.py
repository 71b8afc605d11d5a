"""Make a new broker's folder: keys, certificates, configuration."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from broker import shipped
from broker.adapters.file_signer import FileSigner, generate_key
from broker.adapters.image_builder import build_images
from broker.adapters.pki import DevelopmentAuthority, KeyPair
from broker.config import FILE_SCHEME, IdentityEntry, SandboxSection, parse
from broker.config_template import Settings, render
from broker.core.identity import Role
from broker.core.trust_root import KeyRole, TrustedKey, TrustRoot, write_trust_root
from broker.errors import ConfigurationError
from broker.whole_file import replace_file

CONFIG_NAME = "toolwarrant.toml"
SPIFFE_PREFIX = "spiffe://toolwarrant.dev/"
"""What development identities are named after; `agent` is `spiffe://toolwarrant.dev/agent`."""

# Placeholders for humans, on purpose no names: whoever approves in earnest puts themselves here.
_AGENT_OWNER = "agent-owner"
IDENTITIES: Mapping[str, IdentityEntry] = {
    "agent": IdentityEntry(owner=_AGENT_OWNER, roles=frozenset({Role.AGENT})),
    "agent2": IdentityEntry(owner=_AGENT_OWNER, roles=frozenset({Role.AGENT})),
    "approver": IdentityEntry(
        person="approver-person",
        roles=frozenset({Role.APPROVER}),
        groups=frozenset({"operators"}),
    ),
    "approver2": IdentityEntry(
        person="approver2-person",
        roles=frozenset({Role.APPROVER}),
        groups=frozenset({"operators", "security"}),
    ),
    "auditor": IdentityEntry(person="auditor-person", roles=frozenset({Role.AUDITOR})),
    "policy": IdentityEntry(person="policy-person", roles=frozenset({Role.POLICY})),
    "admin": IdentityEntry(person="admin-person", roles=frozenset({Role.ADMIN})),
}
"""The development set; no approver is the owner of an agent."""

_OURS = (
    "pki",
    "keys",
    "trust-root.json",
    "images.lock.json",
    CONFIG_NAME,
    "toolwarrant.db",
    "toolwarrant.db.tlog",
)


def initialise(
    folder: Path,
    *,
    now: datetime,
    report: Callable[[str], None],
    settings: Settings | None = None,
    build: bool = True,
) -> Path:
    """Write a development set into a folder; either all of it or nothing.

    Blocking: seconds, or minutes where images have to be built first.

    Args:
        folder: New, or without any of the files that are written.
        now: Aware UTC; certificates are valid from then on.
        report: Takes a line for people about each step.
        settings: What shall differ from the defaults, by table.
        build: Build and pin the shipped tools' images; else the lock file pins none.

    Returns:
        The path of the configuration.

    Raises:
        ConfigurationError: The folder holds a set already, or cannot be written.
        ImageBuildFailed: An image could not be built; nothing was written.
    """
    folder = folder.resolve()
    refuse_taken(folder)
    settings = settings or {}
    config = render(settings, _named(IDENTITIES))
    # A set that `serve` would refuse is not begun, least of all after minutes of building.
    parse(config, file=str(folder / CONFIG_NAME), folder=folder)
    images = build_shipped(settings, report) if build else {}
    try:
        write_whole(folder, lambda draft: _fill(draft, config, images, now))
    except OSError as error:
        raise ConfigurationError(
            str(folder), None, f"cannot be written: {error.strerror}; choose another folder"
        ) from error
    report(f"wrote keys, certificates and {CONFIG_NAME} to {folder}")
    return folder / CONFIG_NAME


def pin_images(lock: Path, images: Mapping[str, str]) -> None:
    """Replace the lock file by these image ids, at once."""
    replace_file(lock, lock_text(images))


def refuse_taken(folder: Path) -> None:
    """Refuse a folder that holds a set, or that nobody may write to.

    Raises:
        ConfigurationError: It is so; says what it holds.
    """
    taken = [name for name in _OURS if (folder / name).exists()]
    if taken:
        raise ConfigurationError(
            str(folder),
            None,
            f"already holds {', '.join(taken)}; keys are never overwritten: "
            "choose another folder, or move this one away first",
        )
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(str(folder), None, "is no folder: choose another name")
    _refuse_unwritable(folder)


def _refuse_unwritable(folder: Path) -> None:
    # Before images are built, which takes minutes the first time.
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise ConfigurationError(
            str(folder), None, f"cannot be made: {there} is no folder; choose another name"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigurationError(
            str(folder), None, f"you may not write to {there}: choose another folder"
        )


def build_shipped(settings: Settings, report: Callable[[str], None]) -> dict[str, str]:
    """Build what is missing of the tools' images; give their ids to be pinned."""
    chosen = settings.get("sandbox", {})
    tools = chosen.get("tools_dir")
    return build_images(
        str(chosen.get("docker_url", SandboxSection.model_fields["docker_url"].default)),
        Path(str(tools)) if tools else shipped.tools_dir(),
        report,
    )


def _named(identities: Mapping[str, IdentityEntry]) -> dict[str, IdentityEntry]:
    return {f"{SPIFFE_PREFIX}{name}": entry for name, entry in identities.items()}


def write_whole(folder: Path, fill: Callable[[Path], None]) -> None:
    """Write a new folder, or into one, either everything or nothing.

    Args:
        fill: Writes into a folder that is moved to its place afterwards.

    Raises:
        OSError: It cannot be written.
    """
    # Built beside its place and moved there when complete: a crash leaves no half set that
    # `serve` could start on, only a folder that says by its name that it may go.
    parent = folder if folder.exists() else folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.init-", dir=parent))
    try:
        fill(draft)
        if folder.exists():
            _move_into(draft, folder)
        else:
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _fill(draft: Path, config: str, images: Mapping[str, str], now: datetime) -> None:
    put(draft / CONFIG_NAME, config.encode())
    put(draft / "images.lock.json", lock_text(images))
    _fill_pki(draft / "pki", now)
    (draft / "keys").mkdir(mode=0o700)
    keys = tuple(
        trusted_new_key(role, draft / "keys" / name, algorithm=algorithm)
        for role, name, algorithm in (
            (KeyRole.RECEIPT, "receipt.key", "ed25519"),
            (KeyRole.LOG, "log.key", "ed25519"),
            # ES256 is what every OPA knows; older ones know no Ed25519.
            (KeyRole.POLICY, "policy.key", "ecdsa-p256"),
        )
    )
    put(draft / "trust-root.json", write_trust_root(TrustRoot(version=1, keys=keys)).encode())


def trusted_new_key(role: KeyRole, file: Path, *, algorithm: str = "ed25519") -> TrustedKey:
    """Make a key in a new file; give what a trust root says of it."""
    generate_key(file, algorithm=algorithm)
    return TrustedKey.from_pem(role, FileSigner(f"{FILE_SCHEME}{file}").public_key_pem)


def _fill_pki(pki: Path, now: datetime) -> None:
    pki.mkdir(mode=0o700)
    authority = DevelopmentAuthority(now)
    put(pki / "ca.crt", authority.certificate_pem)
    put(pki / "ca.key", authority.private_key_pem)
    server = authority.issue_server(
        "server", f"{SPIFFE_PREFIX}server", ("localhost",), ("127.0.0.1",)
    )
    _put_pair(pki, "server", server)
    for name in IDENTITIES:
        _put_pair(pki, name, authority.issue_client(name, f"{SPIFFE_PREFIX}{name}"))


def _put_pair(pki: Path, name: str, pair: KeyPair) -> None:
    put(pki / f"{name}.crt", pair.certificate_pem)
    put(pki / f"{name}.key", pair.private_key_pem)


def lock_text(images: Mapping[str, str]) -> bytes:
    """Write which images are pinned."""
    return (json.dumps(images, indent=2, sort_keys=True) + "\n").encode()


def _move_into(draft: Path, folder: Path) -> None:
    moved: list[Path] = []
    try:
        for entry in sorted(draft.iterdir()):
            target = folder / entry.name
            if target.exists():
                raise FileExistsError(17, f"{entry.name} appeared meanwhile", str(target))
            entry.rename(target)
            moved.append(target)
    except OSError:
        for target in moved:
            target.rename(draft / target.name)
        raise


def put(path: Path, data: bytes) -> None:
    """Write a new file for its owner alone."""
    # The mode from the first byte on: a key that is public for a moment is public.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
