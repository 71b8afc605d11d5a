"""Define the kinds of values that settings have, each with the message for what is none."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo

from broker.core.address import is_closed_way
from broker.core.secret import NAME_PATTERN
from broker.core.token_key import SCHEME as TOKEN_SCHEME
from broker.core.token_key import TokenKey

FILE_SCHEME = "file:"
"""How a key is named that lies in a file; other schemes name other keepers of keys."""

_SERVICES_OWN = ("env:", "credential:")
_SECRET_NAME = re.compile(NAME_PATTERN)
_SECRET_URI = re.compile(
    r"file:.+|credential:(?!\.{1,2}$)[A-Za-z0-9_.@-]{1,255}|env:[A-Za-z_][A-Za-z0-9_]{0,255}"
)


def is_services_own(uri: str) -> bool:
    """Tell whether a secret is where the running service finds it, and perhaps nobody else."""
    return uri.startswith(_SERVICES_OWN)


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path) or value == "":
        raise ValueError('must be a path in quotes, such as "pki/server.crt"')
    # Relative to the file, never to the folder that somebody happened to start the broker from.
    return Path((info.context or {}).get("folder", "."), value)


def _path_or_none(value: object, info: ValidationInfo) -> Path | None:
    return None if value is None or value == "" else _path(value, info)


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError('must be "host:port", such as "127.0.0.1:7443"')
    return value


def _address_or_empty(value: str) -> str:
    return _address(value) if value else value


def _key_uri(value: str, info: ValidationInfo) -> str:
    if not value.startswith(FILE_SCHEME) or value == FILE_SCHEME:
        raise ValueError('must be "file:" followed by a path, such as "file:keys/receipt.key"')
    return f"{FILE_SCHEME}{_path(value.removeprefix(FILE_SCHEME), info)}"


def _signer_uri(value: str, info: ValidationInfo) -> str:
    if not value.startswith(TOKEN_SCHEME):
        return _key_uri(value, info)
    try:
        TokenKey.read(value)
    except ValueError as error:
        raise ValueError(f"{error}") from None
    return value


def _secret_name(value: str) -> str:
    if _SECRET_NAME.fullmatch(value) is None:
        raise ValueError(
            "must be a-z, 0-9, _, beginning with a letter, and none that steers programs (path, "
            "home, lang, ld_..., python...)"
        )
    return value


def _secret_uri(value: str, info: ValidationInfo) -> str:
    if _SECRET_URI.fullmatch(value) is None:
        raise ValueError(
            'must be "file:PATH", "credential:NAME" (systemd) or "env:VARIABLE", '
            'such as "file:secrets/api_token"'
        )
    if value.startswith(FILE_SCHEME):
        return f"{FILE_SCHEME}{_path(value.removeprefix(FILE_SCHEME), info)}"
    return value


def _secret_uri_or_empty(value: str, info: ValidationInfo) -> str:
    return _secret_uri(value, info) if value else value


def _bundle_url(value: str) -> str:
    if not value:
        return value
    try:
        parts = urlsplit(value)
        is_place = bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_place = False
    if not is_place or parts.scheme not in ("http", "https") or not value.isascii():
        raise ValueError('must be a URL such as "https://policy.example.org/bundles/broker.tar.gz"')
    if parts.username is not None or parts.fragment:
        raise ValueError("must be without user, password and fragment: a token goes into token")
    return value


def _engine_url(value: str) -> str:
    if not value.startswith(("unix:///", "tcp://", "http://")):
        raise ValueError(
            'must be a URL such as "unix:///var/run/docker.sock"; TLS and ssh are not supported: '
            "bring a remote Engine's socket here by a tunnel"
        )
    return value


def _is_witness_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        has_more = parts.query or parts.fragment or parts.username or parts.port == 0
    except ValueError:
        return False
    return is_closed_way(parts.scheme, parts.hostname) and bool(parts.hostname) and not has_more


def _witness_url(value: str) -> str:
    if not _is_witness_url(value):
        raise ValueError(
            'must be a URL such as "https://witness.example/"; plain http only on this machine'
        )
    return value


def _cidr(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f'must be a network such as "10.20.0.0/24": {error}') from error
    return value


FilePath = Annotated[Path, PlainValidator(_path)]
OptionalPath = Annotated[Path | None, PlainValidator(_path_or_none)]
Address = Annotated[str, AfterValidator(_address)]
OptionalAddress = Annotated[str, AfterValidator(_address_or_empty)]
Cidr = Annotated[str, AfterValidator(_cidr)]
KeyUri = Annotated[str, AfterValidator(_key_uri)]
SignerUri = Annotated[str, AfterValidator(_signer_uri)]
SecretName = Annotated[str, AfterValidator(_secret_name)]
SecretUri = Annotated[str, AfterValidator(_secret_uri)]
OptionalSecretUri = Annotated[str, AfterValidator(_secret_uri_or_empty)]
OptionalBundleUrl = Annotated[str, AfterValidator(_bundle_url)]
EngineUrl = Annotated[str, AfterValidator(_engine_url)]
WitnessUrl = Annotated[str, AfterValidator(_witness_url)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
RuntimeName = Annotated[str, Field(pattern="^[a-z0-9_.-]{1,64}$")]
