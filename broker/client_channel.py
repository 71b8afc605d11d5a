"""Open an identity's channel to a broker by mutual TLS."""

from pathlib import Path

import grpc

from broker.config import Config
from broker.errors import ConfigurationError

_MAX_ANSWER_BYTES = 64 * 1024 * 1024


def open_channel(
    config: Config, identity: str, address: str | None = None
) -> tuple[grpc.Channel, str]:
    """Make a channel with the pair `pki/<identity>` beside the configuration.

    The connection itself is made by the first request.

    Args:
        identity: Name of the pair, such as `agent` or `approver`.
        address: `host:port`, where the broker is reached by another one than it listens on.

    Returns:
        The channel, with the `host:port` that it leads to.

    Raises:
        ConfigurationError: The pair cannot be read, or the address is not known.
    """
    target = address or _reachable(config)
    channel = grpc.secure_channel(
        target,
        _credentials(config.folder / "pki", identity),
        options=[("grpc.max_receive_message_length", _MAX_ANSWER_BYTES)],
    )
    return channel, target


def _reachable(config: Config) -> str:
    host, _, port = config.server.listen.rpartition(":")
    if port == "0":
        raise ConfigurationError(
            str(config.file), None, "server.listen has port 0: name the address of the broker"
        )
    # Listening everywhere is no place to connect to; from here, the broker is on this machine.
    return f"127.0.0.1:{port}" if host in {"0.0.0.0", "[::]", "::"} else f"{host}:{port}"  # noqa: S104


def _credentials(pki: Path, identity: str) -> grpc.ChannelCredentials:
    if not identity or Path(identity).name != identity:
        raise ConfigurationError(
            str(pki), None, f"{identity!r} is no name of a pair: use one such as agent"
        )
    files = (pki / "ca.crt", pki / f"{identity}.key", pki / f"{identity}.crt")
    texts = []
    for file in files:
        try:
            texts.append(file.read_bytes())
        except OSError as error:
            raise ConfigurationError(
                str(file), None, f"cannot be read ({error.strerror}): {_there_are(pki)}"
            ) from error
    authority, key, certificate = texts
    return grpc.ssl_channel_credentials(authority, key, certificate)


def _there_are(pki: Path) -> str:
    names = sorted(file.stem for file in pki.glob("*.key") if file.stem not in {"ca", "server"})
    return f"there is {', '.join(names)}" if names else "make a set with `toolwarrant init DIR`"
