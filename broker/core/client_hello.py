"""Read which server a TLS client asks for, before a byte of it goes on.

Source: RFC 8446 §4.1.2 and §5.1, RFC 6066 §3, RFC 9849 (encrypted ClientHello). The hello may come
in any number of records and segments; what is not yet whole is `None`, what is no hello raises.
"""

from collections.abc import Iterator
from dataclasses import dataclass

MAX_HELLO_BYTES = 32 * 1024
"""Key shares of post-quantum schemes take two kilobytes; no client needs more than this."""

_RECORD_HEAD = 5
_MESSAGE_HEAD = 4
_MAX_RECORD_BYTES = 1 << 14
# Read again with each segment, a hello of one-byte records would be work without end.
_MAX_RECORDS = 32
_HANDSHAKE = 22
_TLS = 3
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_ENCRYPTED_HELLO = 0xFE0D
_HOST_NAME = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHello:
    """What a client shows of where it wants to go.

    Args:
        server_name: As sent; None where it named none.
        is_encrypted: Whether it carries a second, encrypted hello, whose name nobody here sees.
    """

    server_name: str | None
    is_encrypted: bool


def read_client_hello(data: bytes) -> ClientHello | None:
    """Read the first flight of a connection.

    Args:
        data: Everything that came so far.

    Returns:
        None where more must come.

    Raises:
        ValueError: It is no ClientHello, or one that could be read in two ways.
    """
    message = b""
    for _ in range(_MAX_RECORDS):
        head = data[:_RECORD_HEAD]
        if (head and head[0] != _HANDSHAKE) or (len(head) > 1 and head[1] != _TLS):
            raise ValueError("is not TLS")
        size = int.from_bytes(head[3:])
        if len(head) < _RECORD_HEAD:
            return None
        if not 0 < size <= _MAX_RECORD_BYTES:
            raise ValueError("has a record of a wrong size")
        if len(data) < _RECORD_HEAD + size:
            return None
        message += data[_RECORD_HEAD : _RECORD_HEAD + size]
        data = data[_RECORD_HEAD + size :]
        if message[0] != _CLIENT_HELLO:
            raise ValueError("does not begin with a ClientHello")
        if len(message) < _MESSAGE_HEAD:
            continue
        whole = _MESSAGE_HEAD + int.from_bytes(message[1:_MESSAGE_HEAD])
        if whole > MAX_HELLO_BYTES:
            raise ValueError("has a ClientHello that is too long")
        if len(message) > whole:
            raise ValueError("has more than a ClientHello in its first flight")
        if len(message) == whole:
            return _hello(message[_MESSAGE_HEAD:])
    raise ValueError("has a ClientHello in too many records")


def _hello(body: bytes) -> ClientHello:
    reader = _Reader(body)
    reader.take(2 + 32)
    reader.vector(1)
    reader.vector(2)
    reader.vector(1)
    extensions = list(_extensions(reader.vector(2))) if reader.left else []
    if reader.left:
        raise ValueError("has a ClientHello with a tail")
    kinds = [kind for kind, _ in extensions]
    if len(set(kinds)) != len(kinds):
        raise ValueError("has an extension twice")
    names = [_server_name(content) for kind, content in extensions if kind == _SERVER_NAME]
    return ClientHello(
        server_name=names[0] if names else None, is_encrypted=_ENCRYPTED_HELLO in kinds
    )


def _extensions(block: bytes) -> Iterator[tuple[int, bytes]]:
    reader = _Reader(block)
    while reader.left:
        yield int.from_bytes(reader.take(2)), reader.vector(2)


def _server_name(content: bytes) -> str:
    outer = _Reader(content)
    inner = _Reader(outer.vector(2))
    kind, name = inner.take(1)[0], inner.vector(2)
    if outer.left or inner.left or kind != _HOST_NAME:
        raise ValueError("names its server in an unusual way")
    return name.decode("ascii")


class _Reader:
    """Take bytes from the front; a short read is no hello."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def left(self) -> int:
        return len(self._data)

    def take(self, size: int) -> bytes:
        if size > len(self._data):
            raise ValueError("has a ClientHello that ends too early")
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def vector(self, length_bytes: int) -> bytes:
        return self.take(int.from_bytes(self.take(length_bytes)))
