"""Read the PIN of a token."""

from collections.abc import Mapping
from pathlib import Path

from broker.adapters.secret_sources.files import SecretFile
from broker.adapters.secret_sources.source import Unreadable
from broker.errors import TokenUnavailable

_OTHERS_BUT_MASK = 0o037


def read_pin(source: str, environment: Mapping[str, str]) -> str:
    """Read a PIN where it is kept; one line end behind it is not part of it.

    Args:
        source: `file:PATH` or `credential:NAME` (systemd).

    Raises:
        TokenUnavailable: It cannot be read, others may read it, or it is none.
    """
    kind, _, what = source.partition(":")
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if kind == "credential" and not folder:
        raise TokenUnavailable(
            "systemd gave no credentials ($CREDENTIALS_DIRECTORY is not set): use LoadCredential= "
            "in the broker's unit, or pin-source=file:PATH"
        )
    place = (
        SecretFile(path=Path(what))
        if kind == "file"
        else SecretFile(path=Path(folder or "", what), forbidden=_OTHERS_BUT_MASK)
    )
    try:
        pin = place.read().decode().removesuffix("\n").removesuffix("\r")
    except Unreadable as error:
        raise TokenUnavailable(f"the PIN: {error}") from error
    except UnicodeDecodeError:
        # Without the cause: it holds the text.
        raise TokenUnavailable("the PIN is not UTF-8: write it anew") from None
    if not pin:
        raise TokenUnavailable("the PIN's file is empty: write the PIN into it")
    return pin
