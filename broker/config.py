"""Read `toolwarrant.toml`.

A mistake never falls back to a default: the broker says the file, the line, what is wrong there and
what would be right.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from broker.config_bundles import BundlesSection
from broker.config_callers import IdentityEntry, LimitsSection
from broker.config_faults import (
    KeyPath,
    as_json,
    configuration_error,
    first_fault,
    parse_toml,
)
from broker.config_policy import PolicySection
from broker.config_sandbox import CeilingsSection, EgressSection, PoolSection, SandboxSection
from broker.config_sections import (
    LogSection,
    MetricsSection,
    ReceiptsSection,
    Section,
    ServerSection,
    StoreSection,
    WitnessEntry,
)
from broker.config_types import FILE_SCHEME, FilePath, Name, SecretName, SecretUri
from broker.core.witness import MAX_WITNESSES
from broker.errors import ConfigurationError

__all__ = [
    "FILE_SCHEME",
    "SECTIONS",
    "Config",
    "IdentityEntry",
    "SandboxSection",
    "WitnessEntry",
    "fault_in",
    "load",
    "parse",
]


class Config(Section):
    """Hold the whole file, checked; every path is absolute."""

    file: FilePath = Field(description="Where it was read from.")
    server: ServerSection
    store: StoreSection
    receipts: ReceiptsSection
    policy: PolicySection
    bundles: BundlesSection
    sandbox: SandboxSection
    pool: PoolSection
    egress: EgressSection
    limits: LimitsSection
    ceilings: CeilingsSection
    metrics: MetricsSection
    log: LogSection
    witnesses: dict[Name, WitnessEntry] = Field(max_length=MAX_WITNESSES)
    secrets: dict[SecretName, SecretUri]
    identities: dict[Name, IdentityEntry]

    @property
    def witness_quorum(self) -> int:
        """How many witnesses a witnessed head has: all of them where the file names no number."""
        return self.receipts.witness_quorum or len(self.witnesses)

    @property
    def folder(self) -> Path:
        """The folder that relative paths of the file start from."""
        return self.file.parent


SECTIONS: Mapping[str, type[Section]] = {
    "server": ServerSection,
    "store": StoreSection,
    "receipts": ReceiptsSection,
    "policy": PolicySection,
    "bundles": BundlesSection,
    "sandbox": SandboxSection,
    "pool": PoolSection,
    "egress": EgressSection,
    "limits": LimitsSection,
    "ceilings": CeilingsSection,
    "metrics": MetricsSection,
    "log": LogSection,
}
"""The tables in the file's order, apart from those whose keys are the operator's own."""

_NAMED = ("witnesses", "secrets", "identities")
_ENTRIES: Mapping[str, type[Section]] = {"witnesses": WitnessEntry, "identities": IdentityEntry}


def load(path: Path | str) -> Config:
    """Read and check the configuration.

    Raises:
        ConfigurationError: It cannot be read or something in it is wrong; names file and line.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            str(path), None, f"is not UTF-8 at byte {error.start}: save it as UTF-8"
        ) from error
    except FileNotFoundError as error:
        raise ConfigurationError(
            str(path),
            None,
            "does not exist: name the file with --config or TOOLWARRANT_CONFIG, "
            "or make a set with `toolwarrant init DIR`",
        ) from error
    except OSError as error:
        raise ConfigurationError(str(path), None, f"cannot be read: {error.strerror}") from error
    return parse(text, file=str(path), folder=file.resolve().parent)


def fault_in(config: Config, key: KeyPath, message: str) -> ConfigurationError:
    """Make the error about a setting that is wrong only beside what it points to."""
    text = config.file.read_text(encoding="utf-8")
    return configuration_error(str(config.file), text, key, message)


def parse(text: str, *, file: str, folder: Path) -> Config:
    """Check the text of a configuration.

    Args:
        file: Its path as the operator knows it, for messages.
        folder: Absolute; relative paths start from it.

    Raises:
        ConfigurationError: Something in it is wrong; names file and line.
    """
    document = parse_toml(text, file)
    if "file" in document:
        raise configuration_error(file, text, ("file",), "is not a table of this file: remove it")
    # An absent table is made of its defaults, by the same validation as a present one.
    complete = {name: document.get(name, {}) for name in (*SECTIONS, *_NAMED)}
    complete |= document
    complete["file"] = str(folder / Path(file).name)
    try:
        return Config.model_validate_json(
            as_json(complete), strict=True, context={"folder": folder}
        )
    except ValidationError as error:
        raise first_fault(error, file, text, _known) from error


def _known(key: tuple[str, ...]) -> tuple[str, ...]:
    if len(key) == 1:
        return (*SECTIONS, *_NAMED)
    section = _ENTRIES.get(key[0]) or SECTIONS.get(key[0])
    return tuple(section.model_fields) if section else ()
