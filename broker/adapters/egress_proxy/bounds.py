"""Say how much of the broker one container's way out may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits of one call's connections.

    Args:
        connections: At one time.
        wishes: Connections made or wanted in the whole call; with the next its sockets close.
        bytes_each_way: Sum over the call's connections; head and body, TLS included.
        connect_s: For the lookup and for the connection together.
        first_bytes_s: For the head of a request, and for a ClientHello.
        idle_s: Without a byte in either direction.
        head_bytes: Of an HTTP head.
        piece_bytes: Held of one direction of one connection before its sender has to wait.
    """

    connections: int = 16
    wishes: int = 256
    bytes_each_way: int = 64 << 20
    connect_s: float = 10.0
    first_bytes_s: float = 10.0
    idle_s: float = 60.0
    head_bytes: int = 16 << 10
    piece_bytes: int = 64 << 10
