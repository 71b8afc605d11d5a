"""Find out who is calling from the client's certificate."""

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509

from broker.core.identity import Identity
from broker.errors import Unauthenticated
from broker.people import People

_caller: ContextVar[Identity] = ContextVar("caller")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a certificate says of its holder."""

    name: str
    not_after: datetime


def caller() -> Identity:
    """Give the identity of the RPC under way."""
    return _caller.get()


def enter(identity: Identity) -> None:
    """Set the identity of the RPC under way; each RPC has a context of its own."""
    _caller.set(identity)


def authenticate(auth: Mapping[str, Iterable[bytes]], people: People, now: datetime) -> Identity:
    """Name the caller by the certificate that the TLS handshake verified.

    Raises:
        Unauthenticated: No certificate, one that names nobody or two, expired, or not configured.
    """
    pem = b"".join(auth.get("x509_pem_cert", ()))
    if not pem:
        raise Unauthenticated("connect with a client certificate", reason="NO_CERTIFICATE")
    named = read_certificate(pem)
    # The handshake checks this once; a connection can outlive its certificate.
    if now >= named.not_after:
        raise Unauthenticated("the client certificate has expired", reason="CERTIFICATE_EXPIRED")
    identity = people.identity(named.name)
    if identity is None:
        raise Unauthenticated(
            f"no identity {named.name!r} is configured, or it has expired: ask the operator "
            "to add it to [identities]",
            reason="IDENTITY_UNKNOWN",
        )
    return identity


@lru_cache(maxsize=1_024)
def read_certificate(pem: bytes) -> Named:
    """Read the name in a certificate: exactly one URI SAN, the CN only where there is none.

    Raises:
        Unauthenticated: There is no such name, or more than one.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    names = _uris(certificate) or _common_names(certificate)
    if len(names) != 1:
        raise Unauthenticated(
            f"the client certificate has {len(names)} names: it needs exactly one URI SAN, "
            "or one CN where it has none",
            reason="CERTIFICATE_NAMES",
        )
    return Named(name=names[0], not_after=certificate.not_valid_after_utc)


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.UniformResourceIdentifier)


def _common_names(certificate: x509.Certificate) -> list[str]:
    attributes = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return [str(attribute.value) for attribute in attributes]
