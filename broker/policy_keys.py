"""Say which keys may sign policy now."""

from dataclasses import replace
from pathlib import Path

from broker.core.trust_root import KeyRole, KeyStatus, TrustedKey, TrustRoot
from broker.errors import ConfigurationError, Unavailable
from broker.root_file import open_root, read_root_text


class PolicyKeys:
    """The keys that both the trust root at the start and its file as it is now let sign.

    So a withdrawal is heard at once, while a key that was added counts from the next start on,
    whose record names the version of the trust root by which it does. The file never goes back.

    Args:
        file: Of the trust root.
        at_start: What was read from it when the broker started.
    """

    def __init__(self, file: Path, at_start: TrustRoot) -> None:
        self._file = file
        self._at_start = at_start
        self._version = at_start.version

    def __call__(self) -> TrustRoot:
        """Read the file; as `broker.activation.Keys` says."""
        try:
            now = open_root(self._file, read_root_text(self._file))
        except ConfigurationError as error:
            raise Unavailable(
                f"which keys may sign policy cannot be told: {error}; put the trust root back"
            ) from error
        if now.version < self._version:
            raise Unavailable(
                f"which keys may sign policy cannot be told: {self._file} is version "
                f"{now.version}, and was {self._version} before: put that one, or a later one, back"
            )
        self._version = now.version
        keys = tuple(_weaker(key, now) for key in self._at_start.keys)
        return replace(self._at_start, keys=keys)


def _weaker(key: TrustedKey, now: TrustRoot) -> TrustedKey:
    """Give a policy key of the start as it counts by the file as well."""
    if key.role is not KeyRole.POLICY:
        return key
    found = now.find(key.key_id)
    if found is None or found.role is not key.role:
        return replace(key, status=KeyStatus.WITHDRAWN)
    return key if found.is_unbounded else found
