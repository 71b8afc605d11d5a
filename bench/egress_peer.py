"""Be the two ends of a measurement of egress: a place, and a tool that sends there and fetches.

Started by `bench.egress` in a process of its own: neither end shares the proxy's interpreter.
"""

import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

_TRIPS = 1000
_CONNECTS = 200
_BODY = b"x" * (64 << 20)


def _serve(server: socket.socket) -> None:
    while True:
        peer, _ = server.accept()
        threading.Thread(target=_answer, args=(peer,), daemon=True).start()


def _answer(peer: socket.socket) -> None:
    """Answer each small piece by a byte, what came in pieces at its end, a GET by a body."""
    with peer:
        piece = bytearray(1 << 18)
        while size := peer.recv_into(piece):
            if piece.startswith(b"GET "):
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(_BODY))
                peer.sendall(_BODY)
                return
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


def _fetch(connect: Callable[[], socket.socket], target: str, host: str) -> float:
    """Fetch as `http_fetch` does, whole."""
    begun_s = time.perf_counter()
    with connect() as way:
        connection = http.client.HTTPConnection(host)
        connection.sock = way
        connection.request("GET", target, headers={"Connection": "close"})
        body = connection.getresponse().read()
        taken_s = time.perf_counter() - begun_s
    assert len(body) == len(_BODY)
    return taken_s


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
    """Tell the port, hear the sockets' paths, measure in turns, tell the seconds."""
    server = socket.create_server(("127.0.0.1", 0))
    place = os.fork()
    if not place:
        _serve(server)
    print(server.getsockname()[1], flush=True)
    raw, proxy = (sys.stdin.readline().strip() for _ in range(2))

    def direct() -> socket.socket:
        way = socket.create_connection(server.getsockname())
        way.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return way

    def through(path: str) -> socket.socket:
        way = socket.socket(socket.AF_UNIX)
        way.connect(path)
        return way

    ways = {"direct": direct, "socket": partial(through, raw)}
    host = f"peer.test:{server.getsockname()[1]}"
    fetches = {"direct": (direct, "/"), "socket": (partial(through, proxy), f"http://{host}/")}
    found: dict[str, dict[str, list[float]]] = {
        what: {way: [] for way in ways} for what in ("transfer", "fetch", "trip", "connect")
    }
    for _ in range(rounds):
        for name, way in ways.items():
            found["transfer"][name].append(_transfer(way, size))
        for name, (way, target) in fetches.items():
            found["fetch"][name].append(_fetch(way, target, host))
    opened = {name: way() for name, way in ways.items()}
    for _ in range(_TRIPS):
        for name in ways:
            found["trip"][name].append(_trip(opened[name]))
    for _ in range(_CONNECTS):
        for name, way in ways.items():
            found["connect"][name].append(_connect(way))
    print(json.dumps(found), flush=True)
    os.kill(place, signal.SIGKILL)
    os.waitpid(place, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
