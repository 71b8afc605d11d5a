"""Say in OPA's form of a signed bundle which files a key signed.

`.signatures.json` holds one JWS in compact form; its payload lists each file with a digest. Of
`data.json` and `.manifest` it is the digest of the value, written in one way, of any other file
that of the bytes. What is signed here `opa` verifies, and the other way round.

Source: https://www.openpolicyagent.org/docs/management-bundles#signing, RFC 7515, RFC 7518 §3.4
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from broker.core.bundle import SIGNATURES, unpack, with_signature
from broker.core.bundle_json import STRUCTURED, one_way
from broker.core.canonical import JsonObject
from broker.core.ids import Sha256, sha256_hex
from broker.core.strict_json import parse_object
from broker.core.trust_root import TrustedKey
from broker.errors import BundleInvalid, InvalidArgument

EDDSA: Final = "EdDSA"
ES256: Final = "ES256"
_HASH: Final = "SHA-256"
_HALF: Final = 32
_MAX_BYTES: Final = 16 * 2**20
_PLUGINS: Final = ("", "_default")
_REMEDY: Final = "build it again with `toolwarrant policy build --sign`"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSignature:
    """A signature as it was read, unchecked.

    Args:
        key_id: Names the key, as `keyid` in a trust root.
        algorithm: `EdDSA` or `ES256`; others are refused.
        signed: What the key signed.
        signature: As keys of a trust root sign: 64 bytes for Ed25519, DER for P-256.
        files: Path with digest of each file that is signed.
    """

    key_id: str
    algorithm: str
    signed: bytes
    signature: bytes
    files: Mapping[str, Sha256]

    @classmethod
    def read(cls, members: Mapping[str, bytes]) -> Self:
        """Read the signature of a bundle.

        Raises:
            BundleInvalid: There is none, or it has another form.
        """
        if SIGNATURES not in members:
            raise BundleInvalid(
                "nobody signed it: `toolwarrant policy build --sign KEY` does, with the policy key",
                reason="BUNDLE_UNSIGNED",
            )
        token = _token(_object(members[SIGNATURES]))
        head, _, rest = token.partition(".")
        body, _, tail = rest.partition(".")
        header, payload = _object(_decode(head)), _object(_decode(body))
        algorithm = header.get("alg")
        if algorithm not in (EDDSA, ES256):
            raise _unreadable(f"is signed by {algorithm!r}, not by {EDDSA} or {ES256}")
        if payload.get("scope", "") != "":
            raise _unreadable("is signed for a scope")
        key_id = header.get("kid", payload.get("keyid"))
        signature = _decode(tail)
        return cls(
            key_id=key_id if isinstance(key_id, str) else "",
            algorithm=str(algorithm),
            signed=f"{head}.{body}".encode(),
            signature=signature if algorithm == EDDSA else _der(signature),
            files=_files(payload),
        )

    def check_files(self, members: Mapping[str, bytes]) -> None:
        """Compare the files of a bundle with those that were signed.

        Raises:
            BundleInvalid: One is missing, differs, or was added.
        """
        present = digests(members)
        if present == self.files:
            return
        names = sorted(
            name
            for name in present.keys() | self.files.keys()
            if present.get(name) != self.files.get(name)
        )
        raise BundleInvalid(
            f"{', '.join(names[:5])} changed since it was signed: get the bundle anew from where "
            "it was built",
            reason="BUNDLE_TAMPERED",
        )


def algorithm_of(key: TrustedKey) -> str:
    """Name the algorithm that a key of a trust root signs bundles by."""
    return ES256 if key.ed25519_key is None else EDDSA


def sign_bundle(
    archive: bytes, key: TrustedKey, sign: Callable[[bytes], bytes], file: str
) -> bytes:
    """Sign a bundle, in the place of a signature that it may have.

    Args:
        key: The public half of the key that `sign` signs with, as `Signer.sign` does.
        file: See `read_bundle`.
    """
    signed = _to_sign(unpack(archive, file), key)
    return with_signature(archive, _signatures(signed, sign(signed), key), file)


def _to_sign(members: Mapping[str, bytes], key: TrustedKey) -> bytes:
    header = {"alg": algorithm_of(key), "kid": key.key_id, "typ": "JWT"}
    files = [
        {"name": name, "hash": sha256, "algorithm": _HASH}
        for name, sha256 in sorted(digests(members).items())
    ]
    return b".".join(_encode(json.dumps(part).encode()) for part in (header, {"files": files}))


def _signatures(signed: bytes, signature: bytes, key: TrustedKey) -> bytes:
    raw = signature if algorithm_of(key) == EDDSA else _raw(signature)
    token = b".".join([signed, _encode(raw)]).decode()
    return json.dumps({"signatures": [token]}).encode()


def digests(members: Mapping[str, bytes]) -> dict[str, Sha256]:
    """Give each file of a bundle with its digest, the signature apart.

    Raises:
        BundleInvalid: `data.json` or `.manifest` is no JSON.
    """
    return {
        name: sha256_hex(_one_way(name, data) if name in STRUCTURED else data)
        for name, data in members.items()
        if name != SIGNATURES
    }


def _one_way(name: str, text: bytes) -> bytes:
    try:
        return one_way(text)
    except ValueError as error:
        raise BundleInvalid(f"has a broken {name}: {_REMEDY}") from error


def _token(signatures: JsonObject) -> str:
    tokens = signatures.get("signatures")
    if not isinstance(tokens, list) or len(tokens) != 1 or not isinstance(tokens[0], str):
        raise _unreadable("has not exactly one signature")
    if signatures.get("plugin", "") not in _PLUGINS:
        raise _unreadable("is signed by a plugin of OPA's")
    return tokens[0]


def _files(payload: JsonObject) -> dict[str, Sha256]:
    files, listed = {}, payload.get("files")
    for entry in listed if isinstance(listed, list) else ():
        match entry:
            case {"name": str(name), "hash": str(sha256), "algorithm": "SHA-256"}:
                # OPA begins some names with a slash, and compares without it.
                files[name.lstrip("/")] = Sha256(sha256.lower())
            case _:
                raise _unreadable(f"lists a file otherwise than by {_HASH}")
    if not files or not isinstance(listed, list) or len(files) != len(listed):
        raise _unreadable("lists no files, or one twice")
    return files


def _object(text: bytes) -> JsonObject:
    try:
        return parse_object(text, field="bundle", max_bytes=_MAX_BYTES, max_values=10**6).value
    except InvalidArgument as error:
        raise _unreadable("is no JSON") from error


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(text: str) -> bytes:
    data = text.encode(errors="replace")
    try:
        decoded = base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))
    except (ValueError, binascii.Error) as error:
        raise _unreadable("is no compact JWS") from error
    if _encode(decoded) != data:
        raise _unreadable("is no compact JWS")
    return decoded


def _der(raw: bytes) -> bytes:
    """Turn the two numbers of an ECDSA signature, as a JWS has them, into DER."""
    if len(raw) != 2 * _HALF:
        raise _unreadable("has a number too few or too many")
    numbers = b"".join(_integer(half) for half in (raw[:_HALF], raw[_HALF:]))
    return bytes([0x30, len(numbers)]) + numbers


def _integer(data: bytes) -> bytes:
    number = data.lstrip(b"\0") or b"\0"
    if number[0] >= 0x80:
        number = b"\0" + number
    return bytes([0x02, len(number)]) + number


def _raw(der: bytes) -> bytes:
    first = 4 + der[3]
    numbers = der[4:first], der[first + 2 :]
    return b"".join(int.from_bytes(number).to_bytes(_HALF) for number in numbers)


def _unreadable(why: str) -> BundleInvalid:
    return BundleInvalid(f"its signature {why}: {_REMEDY}", reason="BUNDLE_SIGNATURE_UNREADABLE")
