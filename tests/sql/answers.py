"""A PostgreSQL server that says what no honest one says."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

READY = b"Z" + struct.pack(">i", 5) + b"I"


def message(kind: bytes, body: bytes) -> bytes:
    """Write a message of the protocol."""
    return kind + struct.pack(">i", len(body) + 4) + body


def row(kind: int, value: bytes, tag: bytes) -> bytes:
    """Answer with one row of one column of a type."""
    column = b"a\0" + struct.pack(">ihihih", 0, 0, kind, -1, -1, 0)
    return b"".join(
        (
            message(b"1", b""),
            message(b"2", b""),
            message(b"T", struct.pack(">h", 1) + column),
            message(b"D", struct.pack(">hi", 1, len(value)) + value),
            message(b"C", tag + b"\0"),
            READY,
        )
    )


@contextmanager
def saying(answer: bytes, *, to: bytes = b"P") -> Iterator[int]:
    """Serve on a port of the loopback: log everybody in, answer every statement alike."""
    server = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_serve, args=(server, answer, to), daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


def _serve(server: socket.socket, answer: bytes, to: bytes) -> None:
    while True:
        try:
            peer, _ = server.accept()
        except OSError:
            return
        with peer:
            _talk(peer, answer, to)


def _talk(peer: socket.socket, answer: bytes, to: bytes) -> None:
    (size,) = struct.unpack(">i", _read(peer, 4))
    _read(peer, size - 4)
    peer.sendall(message(b"R", struct.pack(">i", 0)) + READY)
    while head := _read(peer, 5):
        kind, size = struct.unpack(">ci", head)
        _read(peer, size - 4)
        if kind == b"Q":
            peer.sendall(message(b"C", b"SELECT 0\0") + READY)
        elif kind == to:
            peer.sendall(answer)


def _read(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := peer.recv(size - len(data))):
        data += piece
    return data
