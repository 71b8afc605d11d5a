"""Make bundles that differ in what a test asks of them, from one that was compiled."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from broker.adapters.file_signer import FileSigner, generate_key
from broker.core.bundle import (
    SIGNATURES,
    Bundle,
    members_sha256,
    pack_members,
    read_bundle,
    unpack,
)
from broker.core.bundle_json import as_written
from broker.core.bundle_signature import sign_bundle
from broker.core.canonical import JsonValue
from broker.core.trust_root import KeyRole, TrustedKey

PROBE = """package teams.probe

# What stands in data decides, so that a bundle with another answer need not be compiled.
deny contains {"rule": data.teams.probe.rule, "message": "m"} if input.session.purpose == "probe"

deny contains {"rule": "probe.closed", "message": "m"} if {
	data.teams.probe.closed
	input.session.purpose == "hold:closing"
}

hold contains {"rule": "probe.hold", "message": "m"} if startswith(input.session.purpose, "hold")
"""
OPEN = {"rule": "probe.none", "closed": False}


class Key:
    """A key in a file of its own."""

    def __init__(self, role: KeyRole = KeyRole.POLICY, algorithm: str = "ecdsa-p256") -> None:
        folder = Path(tempfile.mkdtemp(prefix="key-"))
        self.file = folder / "policy.key"
        generate_key(self.file, algorithm=algorithm)
        self.signer = FileSigner(f"file:{self.file}")
        self.trusted = TrustedKey.from_pem(role, self.signer.public_key_pem)

    @classmethod
    def of(cls, file: Path) -> "Key":
        """Open the key that a folder has."""
        key = cls.__new__(cls)
        key.file = file
        key.signer = FileSigner(f"file:{file}")
        key.trusted = TrustedKey.from_pem(KeyRole.POLICY, key.signer.public_key_pem)
        return key

    def sign(self, archive: bytes) -> bytes:
        """Sign a bundle, whoever signed it before."""
        return sign_bundle(archive, self.trusted, self.signer.sign, "a test's bundle")


def variant(archive: bytes, number: int, probe: Mapping[str, JsonValue] | None = None) -> bytes:
    """Give a bundle another number with another `data.teams.probe`; unsigned."""
    members = {name: text for name, text in unpack(archive, "it").items() if name != SIGNATURES}
    data = json.loads(members["data.json"])
    data.setdefault("teams", {})["probe"] = {**OPEN, **(probe or {})}
    members["data.json"] = as_written("data.json", json.dumps(data).encode())
    manifest = json.loads(members.pop(".manifest"))
    manifest["metadata"]["number"] = number
    manifest["revision"] = f"probe-{number}-{members_sha256(members)[:12]}"
    text = as_written(".manifest", json.dumps(manifest).encode())
    return pack_members({**members, ".manifest": text})


def read(archive: bytes) -> Bundle:
    """Read a bundle."""
    return read_bundle(archive, "a test's bundle")
