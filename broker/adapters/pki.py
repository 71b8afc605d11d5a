"""Issue X.509 certificates for development."""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.errors import ConfigurationError

DEVELOPMENT_MARK = "Toolwarrant DEVELOPMENT - not for production"
"""Stands as the organisation (O) in every certificate that is made here."""

VALIDITY = timedelta(days=90)

_CLOCK_SKEW = timedelta(minutes=5)

_T = TypeVar("_T", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A certificate with its private key, both PEM (PKCS#8)."""

    certificate_pem: bytes
    private_key_pem: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """What a certificate says of itself."""

    common_name: str
    uris: tuple[str, ...]
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    is_authority: bool
    is_development: bool


class DevelopmentAuthority:
    """Sign the certificates of a development set.

    Args:
        now: Aware UTC; certificates are valid from five minutes before.
    """

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _subject("Toolwarrant development CA")
        usage = _key_usage(key_cert_sign=True, crl_sign=True)
        self._certificate = (
            self._builder(self._subject, self._key.public_key(), VALIDITY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def certificate_pem(self) -> bytes:
        """The CA's certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def private_key_pem(self) -> bytes:
        """The CA's key, to add identities to the development set later."""
        return _private_pem(self._key)

    def issue_client(self, name: str, *uris: str, valid_for: timedelta = VALIDITY) -> KeyPair:
        """Make a client's pair.

        Args:
            name: The CN, for people; the identity where there is no URI.
            uris: URI SANs; the broker takes certificates with at most one.
            valid_for: From now on; negative for one that has expired.
        """
        sans: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        return self._issue(name, sans, ExtendedKeyUsageOID.CLIENT_AUTH, valid_for)

    def issue_server(
        self, name: str, uri: str, dns_names: tuple[str, ...], ip_addresses: tuple[str, ...]
    ) -> KeyPair:
        """Make the server's pair, for the names under which clients reach it."""
        sans: list[x509.GeneralName] = [x509.DNSName(dns) for dns in dns_names]
        sans += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ip_addresses]
        sans.append(x509.UniformResourceIdentifier(uri))
        return self._issue(name, sans, ExtendedKeyUsageOID.SERVER_AUTH, VALIDITY)

    def _issue(
        self,
        name: str,
        sans: list[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
        valid_for: timedelta,
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(_subject(name), key.public_key(), valid_for)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return KeyPair(
            certificate_pem=certificate.public_bytes(serialization.Encoding.PEM),
            private_key_pem=_private_pem(key),
        )

    def _builder(
        self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey, valid_for: timedelta
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(self._now, self._now + valid_for) - _CLOCK_SKEW)
            .not_valid_after(self._now + valid_for)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )


def read_certificate(pem: bytes, file: str) -> CertificateFacts:
    """Read the first certificate of a PEM text.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        sans = _extension(certificate, x509.SubjectAlternativeName)
        constraints = _extension(certificate, x509.BasicConstraints)
        organisations = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError as error:
        raise ConfigurationError(file, None, "is no X.509 certificate in PEM") from error
    return CertificateFacts(
        common_name=str(names[0].value) if names else "",
        uris=tuple(sans.get_values_for_type(x509.UniformResourceIdentifier)) if sans else (),
        dns_names=tuple(sans.get_values_for_type(x509.DNSName)) if sans else (),
        ip_addresses=tuple(map(str, sans.get_values_for_type(x509.IPAddress))) if sans else (),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_authority=bool(constraints and constraints.ca),
        is_development=any(name.value == DEVELOPMENT_MARK for name in organisations),
    )


def key_fault(certificate_pem: bytes, private_key_pem: bytes) -> str | None:
    """Say why a private key is not a certificate's; None where it is."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = serialization.load_pem_private_key(private_key_pem, password=None)
    except (ValueError, TypeError):
        return "certificate and key must be unencrypted PEM"
    if key.public_key() != certificate.public_key():
        return "the private key belongs to another certificate"
    return None


def pair_fault(certificate_pem: bytes, private_key_pem: bytes, ca_pem: bytes) -> str | None:
    """Say what is wrong with a pair under a CA; None where it fits."""
    if fault := key_fault(certificate_pem, private_key_pem):
        return fault
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        authority = x509.load_pem_x509_certificate(ca_pem)
    except ValueError:
        return "the CA must be PEM"
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return "the certificate was not signed by the CA"
    return None


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _extension(certificate: x509.Certificate, kind: type[_T]) -> _T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _subject(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, DEVELOPMENT_MARK),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
