"""Read a compiled policy bundle from its bytes."""

import gzip
import hashlib
import json
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from broker.core.bundle_json import as_written
from broker.core.canonical import JsonObject
from broker.core.ids import Sha256
from broker.errors import ConfigurationError

ENTRYPOINT: Final = "broker/decision/result"
SCHEMA: Final = "broker.decision/v1"

_BLOCK: Final = 512
_MAX_UNPACKED_BYTES: Final = 64 * 2**20
_GZIP_WINDOW: Final = 31
_REMEDY: Final = "build it with `toolwarrant policy build`"
SIGNATURES: Final = ".signatures.json"
"""The member that holds a bundle's signature; see `broker.core.bundle_signature`."""
MAX_NUMBER: Final = 2**53 - 1
_MEMBERS: Final = frozenset({".manifest", SIGNATURES, "data.json", "policy.wasm"})
_FILES: Final = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A policy bundle: one Wasm module beside the Rego that it was compiled from.

    Args:
        number: Orders the bundles of one broker, the later the higher; 0: it has no place there.
        sha256: Over the members in order of name, each as two netstrings, name then bytes, without
            the signature: the same whatever compressed them, whoever signed them.
        data: The base documents, `data.json`.
        rego: Source text by path; an OPA server evaluates these, our own engine the module.
        archive: The bytes that were read, a gzipped tar.
    """

    revision: str
    number: int = 0
    sha256: Sha256
    wasm: bytes = field(repr=False)
    data: JsonObject = field(repr=False)
    rego: Mapping[str, str] = field(repr=False)
    archive: bytes = field(repr=False)


def read_bundle(archive: bytes, file: str) -> Bundle:
    """Read a bundle that `pack_bundle` made.

    Args:
        file: Its path as the operator knows it, for messages.

    Raises:
        ConfigurationError: Broken, without manifest or module, or of another entry point.
    """
    members = unpack(archive, file)
    manifest = _json_member(members, ".manifest", file)
    _check_manifest(manifest, file)
    if "policy.wasm" not in members:
        raise ConfigurationError(file, None, f"has no policy.wasm: {_REMEDY}")
    rego = {name: text for name, text in members.items() if name.endswith(".rego")}
    if others := sorted(members.keys() - rego.keys() - _MEMBERS):
        # An OPA server would take a further data.json for policy's data; the module knows none.
        raise ConfigurationError(file, None, f"has a member that is refused: {others[0]!r}")
    if not rego:
        raise ConfigurationError(file, None, f"has no Rego sources: {_REMEDY}")
    try:
        sources = {name: text.decode() for name, text in rego.items()}
    except UnicodeDecodeError as error:
        raise ConfigurationError(file, None, f"has Rego that is not UTF-8: {error}") from error
    return Bundle(
        revision=str(manifest["revision"]),
        number=_number(manifest, file),
        sha256=members_sha256({name: data for name, data in members.items() if name != SIGNATURES}),
        wasm=members["policy.wasm"],
        data=_json_member(members, "data.json", file),
        rego=sources,
        archive=archive,
    )


def pack_bundle(built: bytes, sources: Mapping[str, bytes], file: str, *, number: int = 0) -> bytes:
    """Pack what `opa build -t wasm` wrote with the sources it was built from.

    `opa build` cuts the entry point out of the Rego that it packs, since the module has it. Put
    back, with the module no longer in the manifest, one bundle serves the in-process engine as
    well as an OPA server without Wasm. Deterministic: sorted names, no times, a content revision.

    Args:
        built: The gzipped tar of `opa build`.
        sources: Path with bytes of every `.rego` file, tests apart.
        number: See `Bundle`; 0: none.
    """
    members = unpack(built, file)
    manifest = dict(_json_member(members, ".manifest", file))
    built_names = {"data.json", "policy.wasm"}
    kept = {
        name: _as_written(name, text, file) for name, text in members.items() if name in built_names
    }
    content = {**sources, "data.json": kept.get("data.json", b"{}")}
    manifest.pop("wasm", None)
    names = [str(manifest.get("revision") or "policy"), *([str(number)] if number else [])]
    manifest["revision"] = "-".join([*names, members_sha256(content)[:12]])
    numbered = {"number": number} if number else {}
    manifest["metadata"] = {"schema": SCHEMA, "entrypoint": ENTRYPOINT, **numbered}
    text = _as_written(".manifest", json.dumps(manifest).encode(), file)
    return pack_members({**kept, **sources, ".manifest": text})


def with_signature(archive: bytes, signatures: bytes, file: str) -> bytes:
    """Put a signature into a bundle, in the place of one that it may have."""
    return pack_members({**unpack(archive, file), SIGNATURES: signatures})


def members_sha256(members: Mapping[str, bytes]) -> Sha256:
    """Digest names with bytes, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(members):
        for part in (name.encode(), members[name]):
            digest.update(b"%d:" % len(part) + part)
    return Sha256(digest.hexdigest())


def unpack(archive: bytes, file: str) -> dict[str, bytes]:
    """List the members of a gzipped tar by name.

    Refused is what another reader of tar would take for something else: OPA passes over a file that
    is not of the plain type, and reads what a folder with a size would have us pass over. A
    signature over what is read here would say nothing of what is read there.

    Raises:
        ConfigurationError: Not such a file, or a member that has no place in a bundle.
    """
    tar = _gunzip(archive, file)
    members: dict[str, bytes] = {}
    offset = 0
    while offset < len(tar) and any(tar[offset : offset + _BLOCK]):
        header = _header(tar[offset : offset + _BLOCK], file)
        start = offset + _BLOCK
        offset = start + -(-header.size // _BLOCK) * _BLOCK
        if header.isdir() and not header.size:
            continue
        name = header.name.lstrip("/").removeprefix("./")
        if header.type not in _FILES or ".." in name.split("/") or name in members:
            raise ConfigurationError(file, None, f"has a member that is refused: {header.name!r}")
        if start + header.size > len(tar):
            raise ConfigurationError(file, None, f"is cut short within {name}")
        members[name] = tar[start : start + header.size]
    return members


def _gunzip(archive: bytes, file: str) -> bytes:
    stream = zlib.decompressobj(_GZIP_WINDOW)
    try:
        tar = stream.decompress(archive, _MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise ConfigurationError(file, None, f"is not a gzipped tar: {error}") from error
    if not stream.eof or stream.unused_data:
        raise ConfigurationError(file, None, "is cut short, too large, or has more behind its end")
    return tar


def _header(block: bytes, file: str) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise ConfigurationError(file, None, f"is not a tar archive: {error}") from error
    if header.size < 0:
        raise ConfigurationError(file, None, "is not a tar archive: a negative size")
    return header


def pack_members(members: Mapping[str, bytes]) -> bytes:
    """Write members as a gzipped tar: by name, without times, so that the same give the same."""
    blocks: list[bytes] = []
    for name in sorted(members):
        header = tarfile.TarInfo(name)
        header.size = len(members[name])
        header.mode = 0o644
        blocks += [header.tobuf(tarfile.USTAR_FORMAT), members[name]]
        blocks.append(bytes(-header.size % _BLOCK))
    return gzip.compress(b"".join([*blocks, bytes(2 * _BLOCK)]), compresslevel=9, mtime=0)


def packed_anew(archive: bytes, file: str) -> bytes:
    """Write a bundle as it was read, so that whoever reads it next reads the same."""
    return pack_members(unpack(archive, file))


def _json_member(members: Mapping[str, bytes], name: str, file: str) -> JsonObject:
    if name not in members:
        raise ConfigurationError(file, None, f"has no {name}: {_REMEDY}")
    try:
        value = json.loads(members[name])
    except ValueError as error:
        raise ConfigurationError(file, None, f"has a broken {name}: {error}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(file, None, f"has a {name} that is not an object")
    return value


def _as_written(name: str, text: bytes, file: str) -> bytes:
    try:
        return as_written(name, text)
    except ValueError as error:
        raise ConfigurationError(file, None, f"has a broken {name}: {error}") from error


def _check_manifest(manifest: JsonObject, file: str) -> None:
    metadata = manifest.get("metadata")
    entrypoint = metadata.get("entrypoint") if isinstance(metadata, Mapping) else None
    if entrypoint != ENTRYPOINT or "wasm" in manifest:
        raise ConfigurationError(
            file, None, f"is not packed for entry point {ENTRYPOINT}: {_REMEDY}"
        )
    if not isinstance(metadata, Mapping) or metadata.get("schema") != SCHEMA:
        raise ConfigurationError(file, None, f"does not answer in the form of {SCHEMA}: {_REMEDY}")
    if not isinstance(manifest.get("revision"), str) or not manifest["revision"]:
        raise ConfigurationError(file, None, f"has no revision in its manifest: {_REMEDY}")


def _number(manifest: JsonObject, file: str) -> int:
    metadata = manifest["metadata"]
    assert isinstance(metadata, Mapping)
    number = metadata.get("number", 0)
    if type(number) is not int or not 0 <= number <= MAX_NUMBER:
        raise ConfigurationError(file, None, f"has a number that is none: {_REMEDY}")
    return number
