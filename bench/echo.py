"""Serve what a broker is compared with: a bare `grpc.aio` method that answers a fixed text."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import uvloop
from grpc import aio

METHOD = "/bench.Echo/Echo"


@contextmanager
def echo(pki: Path, answer_bytes: int) -> Iterator[str]:
    """Run an echo server in a process of its own; give its address.

    Args:
        pki: Folder of a development set: the same server pair and authority as the broker's.
        answer_bytes: Size of every answer.
    """
    argv = [sys.executable, "-m", "bench.echo", str(pki), str(answer_bytes)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def _serve(pki: Path, answer_bytes: int) -> None:
    answer = b"x" * answer_bytes

    async def reply(request: bytes, context: object) -> bytes:
        return answer

    server = aio.server(options=[("grpc.so_reuseport", 0)])
    _, service, method = METHOD.split("/")
    handlers: dict[str, Any] = {method: grpc.unary_unary_rpc_method_handler(reply)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    credentials = grpc.ssl_server_credentials(
        [((pki / "server.key").read_bytes(), (pki / "server.crt").read_bytes())],
        root_certificates=(pki / "clients.crt").read_bytes(),
        require_client_auth=True,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    # The broker's event loop: what is compared is the broker's own work.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
