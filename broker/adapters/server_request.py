"""Ask a certificate authority of the operator's for the server's certificate."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_PRIVATE = b"PRIVATE KEY-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRequest:
    """A new private key (PKCS#8) with the request for its certificate (PKCS#10), PEM both."""

    private_key_pem: bytes
    request_pem: bytes


def new_request(
    name: str, *, uri: str, dns_names: Sequence[str], ip_addresses: Sequence[str]
) -> ServerRequest:
    """Make a key, and the request that an authority signs.

    Args:
        name: The CN, for people.
        uri: The one URI SAN, the server's identity; empty: none.
        dns_names: Under which clients reach it.
        ip_addresses: As `dns_names`.

    Raises:
        ValueError: A name or address is none.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    sans: list[x509.GeneralName] = [x509.DNSName(dns) for dns in dns_names]
    sans += [x509.IPAddress(ipaddress.ip_address(address)) for address in ip_addresses]
    if uri:
        sans.append(x509.UniformResourceIdentifier(uri))
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .add_extension(x509.SubjectAlternativeName(sans), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return ServerRequest(
        private_key_pem=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        request_pem=request.public_bytes(serialization.Encoding.PEM),
    )


def authority_fault(pem: bytes, mark: str) -> str | None:
    """Say why a PEM text is not the certificates of authorities alone; None where it is.

    Args:
        mark: Organisation that no authority may bear.
    """
    if _PRIVATE in pem:
        return "holds a private key: give the certificates alone, keep the key where it is"
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError:
        return "holds no X.509 certificates in PEM"
    for certificate in certificates:
        try:
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
            is_authority = constraints.value.ca
        except (x509.ExtensionNotFound, ValueError):
            is_authority = False
        subject = certificate.subject.rfc4514_string()
        if not is_authority:
            return f"{subject} is no authority (basicConstraints CA)"
        names = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        if any(name.value == mark for name in names):
            return f"{subject} is a development authority, whose key lies in a folder"
    return None
