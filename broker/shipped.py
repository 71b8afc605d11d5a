"""Locate the tool definitions with the policy library that the distribution carries."""

from pathlib import Path

from broker.errors import ConfigurationError

_PACKAGE = Path(__file__).resolve().parent


def tools_dir() -> Path:
    """Find the folder of shipped tools: one subfolder each, `base/` among them.

    Raises:
        ConfigurationError: The installation is incomplete.
    """
    return _locate("sandbox_images")


def policies_dir() -> Path:
    """Find the folder of the shipped Rego sources, schemas and data.

    Raises:
        ConfigurationError: The installation is incomplete.
    """
    return _locate("policies_rego")


def _locate(name: str) -> Path:
    # The wheel's copy first: beside an installed package, a folder of that name is not ours.
    for candidate in (_PACKAGE / "_shipped" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise ConfigurationError(
        str(_PACKAGE / "_shipped" / name), None, "is missing: install toolwarrant again"
    )
