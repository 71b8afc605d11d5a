"""Say what others still have to sign of a production set."""

from pathlib import Path

from broker.config import Config
from broker.core.root_statement import read_statement, signers_of
from broker.core.trust_root import is_signed_trust_root
from broker.errors import ReceiptInvalid
from broker.verify.signature import is_signed


def unsigned_certificate(config: Config) -> str | None:
    """Say how to get the server's certificate; None where it is there, or nobody was asked."""
    certificate = config.server.certificate
    request = certificate.with_suffix(".csr")
    if certificate.exists() or not request.exists():
        return None
    return f"let your authority sign {request}, names and all; put its answer into {certificate}"


def unsigned_root(file: Path) -> str | None:
    """Say who still has to sign the trust root; None where that is not what it lacks."""
    try:
        text = file.read_bytes()
        if not is_signed_trust_root(text):
            return None
        statement = read_statement(text)
    except (OSError, ReceiptInvalid):
        return None
    root = statement.root
    missing = root.root_threshold - len(signers_of(statement, root.root_signers, is_signed))
    if missing < 1:
        return None
    return (
        f"{missing} more root keys have to sign it: `toolwarrant trust-root to-sign {file} --out "
        "MESSAGE`, and `trust-root add-signature` for each"
    )
