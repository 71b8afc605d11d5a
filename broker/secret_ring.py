"""Open the secrets that the configuration names, each read once."""

from collections.abc import Iterable, MutableMapping

from broker.adapters.secret_sources import ConfiguredSecrets
from broker.config import Config, fault_in
from broker.core.catalog import Tool
from broker.errors import ConfigurationError, SecretUnavailable


def open_secrets(config: Config, environment: MutableMapping[str, str]) -> ConfiguredSecrets:
    """Take variables out of the environment, then see that every value can be had.

    Raises:
        ConfigurationError: One cannot be read, or is no secret; names file, line and key.
    """
    secrets = ConfiguredSecrets(config.secrets, environment)
    for name in config.secrets:
        try:
            secrets.read_now(name)
        except SecretUnavailable as error:
            secrets.close()
            raise fault_in(config, ("secrets", name), error.description) from error
    return secrets


def check_declared(config: Config, tools: Iterable[Tool]) -> None:
    """Refuse a tool that cannot do without secrets which nobody keeps: no call of it would run.

    Raises:
        ConfigurationError: Names the tool and what is missing.
    """
    for tool in tools:
        missing = sorted(set(tool.secrets) - set(tool.optional_secrets) - set(config.secrets))
        if missing:
            raise ConfigurationError(
                str(config.file),
                None,
                f"secrets: {tool.name} asks for {', '.join(missing)}: say where that is, "
                f'{missing[0]} = "file:PATH"',
            )
