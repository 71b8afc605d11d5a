"""Compare a way out through the broker's sockets with a direct connection on the loopback."""

import asyncio
import ipaddress
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvloop

from bench.figure import Figure, quantiles
from broker.adapters.egress_proxy import Bounds, EgressProxy
from broker.core.address import Address
from broker.core.destination import Destination
from broker.core.egress import Egress, EgressProtocol

_BYTES = 64 << 20
_MIB = 1 << 20
_THROUGHPUT = 0.7
_ADDED_MS = 2.0


def measure(*, rounds: int) -> list[Figure]:
    """Measure transfers, then round trips, the two ways in turns."""
    peer = Path(__file__).with_name("egress_peer.py")
    with subprocess.Popen(
        [sys.executable, str(peer), str(rounds), str(_BYTES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with _outlets(port) as paths:
            process.stdin.write("".join(f"{path}\n" for path in paths))
            process.stdin.flush()
            seconds: dict[str, dict[str, list[float]]] = json.loads(process.stdout.readline())
    return [
        _throughput("bytes out through a raw socket", seconds["transfer"]),
        _throughput("an HTTP fetch through the proxy", seconds["fetch"]),
        _latency("one byte there and back", seconds["trip"]),
        _latency("a connection with one byte", seconds["connect"]),
    ]


class _Here:
    """Every name is this machine."""

    async def addresses(self, host: str) -> Sequence[Address]:
        """Give the loopback."""
        return (ipaddress.IPv4Address("127.0.0.1"),)


@contextmanager
def _outlets(port: int) -> Iterator[list[Path]]:
    """Run a proxy with a raw and an HTTP socket to the peer, on a loop like the broker's."""
    ready, over = threading.Event(), threading.Event()
    found: list[Path] = []

    async def serve(root: Path) -> None:
        proxy = EgressProxy(
            root,
            installation="bench",
            resolver=_Here(),
            allow=[ipaddress.ip_network("127.0.0.0/8")],
            bounds=Bounds(bytes_each_way=1 << 40, wishes=1 << 20),
        )
        places = (Destination(host="peer.test", port=port),)
        raw = await proxy.open("raw", Egress(destinations=places, protocol=EgressProtocol.TCP))
        http = await proxy.open("http", Egress(destinations=places, protocol=EgressProtocol.HTTP))
        found.extend((raw.folder / "tcp" / str(places[0]), http.folder / "http.sock"))
        ready.set()
        await asyncio.to_thread(over.wait)
        await raw.close()
        await http.close()

    with tempfile.TemporaryDirectory(prefix="tw") as root:
        thread = threading.Thread(target=lambda: uvloop.run(serve(Path(root))))
        thread.start()
        try:
            assert ready.wait(10)
            yield found
        finally:
            over.set()
            thread.join()


def _throughput(what: str, seconds: dict[str, list[float]]) -> Figure:
    rates = {way: [_BYTES / _MIB / each for each in measured] for way, measured in seconds.items()}
    return Figure(
        name=f"egress: {what} / direct, p50",
        unit="MiB/s",
        ours=statistics.median(rates["socket"]),
        theirs=statistics.median(rates["direct"]),
        bound=_THROUGHPUT,
        at_most=False,
        conditions=f"{_BYTES // _MIB} MiB, {len(rates['socket'])} turns, loopback; "
        f"ours {quantiles(rates['socket'])}; theirs {quantiles(rates['direct'])}",
    )


def _latency(what: str, seconds: dict[str, list[float]]) -> Figure:
    ms = {way: [each * 1000 for each in measured] for way, measured in seconds.items()}
    return Figure(
        name=f"egress: added to {what} / what may be added, p50",
        unit="ms",
        ours=statistics.median(ms["socket"]) - statistics.median(ms["direct"]),
        theirs=_ADDED_MS,
        bound=1.0,
        conditions=f"{len(ms['socket'])} turns, loopback, raw socket; "
        f"ours {quantiles(ms['socket'])}; theirs {quantiles(ms['direct'])}",
    )
