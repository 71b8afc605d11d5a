"""Read secrets from where the operator keeps them: files, systemd's credentials, environment."""

from broker.adapters.secret_sources.pin import read_pin
from broker.adapters.secret_sources.provider import ConfiguredSecrets

__all__ = ["ConfiguredSecrets", "read_pin"]
