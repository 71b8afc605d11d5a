"""Be the two ends of a measurement of egress: a place that takes bytes, a tool that sends them.

Started by `bench.egress` in a process of its own: neither end shares the proxy's interpreter.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable

_TRIPS = 1000
_CONNECTS = 200


def _serve(server: socket.socket) -> None:
    while True:
        peer, _ = server.accept()
        threading.Thread(target=_answer, args=(peer,), daemon=True).start()


def _answer(peer: socket.socket) -> None:
    """Answer each small piece by a byte, and what came in pieces at its end."""
    with peer:
        piece = bytearray(1 << 18)
        while size := peer.recv_into(piece):
            if size == 1:
                peer.sendall(b"x")
        peer.sendall(b"x")


def _transfer(connect: Callable[[], socket.socket], size: int) -> float:
    with connect() as way:
        begun_s = time.perf_counter()
        way.sendall(b"xx" * (size // 2))
        way.shutdown(socket.SHUT_WR)
        while way.recv(1):
            pass
        return time.perf_counter() - begun_s


def _trip(way: socket.socket) -> float:
    begun_s = time.perf_counter()
    way.sendall(b"x")
    way.recv(1)
    return time.perf_counter() - begun_s


def _connect(connect: Callable[[], socket.socket]) -> float:
    begun_s = time.perf_counter()
    with connect() as way:
        way.sendall(b"x")
        way.recv(1)
        return time.perf_counter() - begun_s


def main(rounds: int, size: int) -> None:
    """Tell the port, hear the socket's path, measure in turns, tell the seconds."""
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve, args=(server,), daemon=True).start()
    print(server.getsockname()[1], flush=True)
    path = sys.stdin.readline().strip()

    def direct() -> socket.socket:
        way = socket.create_connection(server.getsockname())
        way.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return way

    def through() -> socket.socket:
        way = socket.socket(socket.AF_UNIX)
        way.connect(path)
        return way

    ways = {"direct": direct, "socket": through}
    found: dict[str, dict[str, list[float]]] = {
        what: {way: [] for way in ways} for what in ("transfer", "trip", "connect")
    }
    for _ in range(rounds):
        for name, way in ways.items():
            found["transfer"][name].append(_transfer(way, size))
    opened = {name: way() for name, way in ways.items()}
    for _ in range(_TRIPS):
        for name in ways:
            found["trip"][name].append(_trip(opened[name]))
    for _ in range(_CONNECTS):
        for name, way in ways.items():
            found["connect"][name].append(_connect(way))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
