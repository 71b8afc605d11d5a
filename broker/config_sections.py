"""Define the settings of the broker itself: where it listens, what it keeps, how it signs."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from broker.config_types import (
    Address,
    FilePath,
    KeyUri,
    OptionalAddress,
    OptionalPath,
    SignerUri,
    WitnessUrl,
)
from broker.core.witness import MAX_WITNESSES


class Section(BaseModel):
    """Hold one table of the file; unknown keys are mistakes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False
    )


class ServerSection(Section):
    """Where the broker listens, and how it proves who it is."""

    listen: Address = Field(
        default="127.0.0.1:7443",
        description="Address for agents, approvers and auditors; always mutual TLS. Port 0: any.",
    )
    certificate: FilePath = Field(
        default=Path("pki/server.crt"), description="The broker's certificate, PEM."
    )
    private_key: FilePath = Field(
        default=Path("pki/server.key"),
        description="Its private key, PEM, readable by the broker alone (mode 0600).",
    )
    client_ca: FilePath = Field(
        default=Path("pki/ca.crt"),
        description="Clients must show a certificate that this CA signed, PEM.",
    )
    max_message_bytes: int = Field(
        default=4 * 1024 * 1024,
        ge=64 * 1024,
        le=64 * 1024 * 1024,
        description="Largest request that is read, in bytes.",
    )
    drain_timeout_s: int = Field(
        default=20,
        ge=0,
        le=3600,
        description="On SIGTERM, how long running calls may take to end, in seconds.",
    )


class StoreSection(Section):
    """Where the record is kept."""

    path: FilePath = Field(
        default=Path("toolwarrant.db"),
        description="SQLite file; one broker at a time owns it. Never on a network file system.",
    )

    @property
    def log_folder(self) -> Path:
        """Where its log is shown to readers."""
        return self.path.with_name(f"{self.path.name}.tlog")


class ReceiptsSection(Section):
    """How outcomes are signed."""

    key: KeyUri = Field(
        default="file:keys/receipt.key",
        description="Private key of the receipts: file:PATH to a PKCS#8 PEM, mode 0600.",
    )
    log_key: SignerUri = Field(
        default="file:keys/log.key",
        description="Private key of their log, Ed25519: file:PATH to a PKCS#8 PEM, mode 0600; or "
        "pkcs11:token=T;object=K?module-path=/LIBRARY.so&pin-source=file:/PIN on a token.",
    )
    trust_root: FilePath = Field(
        default=Path("trust-root.json"),
        description="What verifiers trust; give it to them by another way than the broker.",
    )
    witness_quorum: int = Field(
        default=0,
        ge=0,
        le=MAX_WITNESSES,
        description=(
            "How many of [witnesses] must have cosigned a head of the log before proofs are given "
            "against it; 0: all of them."
        ),
    )
    development: bool = Field(
        default=True,
        description=(
            "Say in every receipt and in GetServerInfo that keys are the development set. "
            "Set to false with your own certificates and keys."
        ),
    )


class LogSection(Section):
    """What the broker writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error."
    )
    format: Literal["json", "console"] = Field(
        default="json", description="json for programs, console for people."
    )


class MetricsSection(Section):
    """Where Prometheus reads."""

    listen: OptionalAddress = Field(
        default="127.0.0.1:9464",
        description="Plain HTTP, so keep it on a private address. Empty: no metrics.",
    )


class WitnessEntry(Section):
    """Whom the log asks for cosignatures."""

    url: WitnessUrl = Field(
        description="Where it answers (C2SP tlog-witness): what stands before /add-checkpoint."
    )
    key: str = Field(
        min_length=1,
        max_length=1024,
        description="Its verifier key, NAME+ID+KEY, or the keyid that it has in the trust root.",
    )
    ca_file: OptionalPath = Field(
        default=None,
        description="PEM of the authorities for its certificate; empty: the system's.",
    )
