"""What engines do when the policy, or the engine itself, is not what it should be."""

import asyncio
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import wasmtime
from aiohttp import web

from broker.adapters.opa_server import OpaServerEngine
from broker.adapters.opa_server.client import OpaClient
from broker.adapters.opa_wasm import WasmEngine
from broker.core.bundle import Bundle, read_bundle
from broker.core.canonical import canonical_json
from broker.errors import (
    ConfigurationError,
    PolicyError,
    PolicyInvalid,
    PolicyStale,
    PolicyTimeout,
    PolicyUnavailable,
    PolicyUndefined,
)
from tests.policy.samples import ask, compiled

ANY = canonical_json(ask("python_run", {"code": "1"}))

RUNAWAY = """
package teams.runaway

deny contains {"rule": "runaway.loop", "message": "m"} if {
    input.tool.name == "python_run"
    some i in numbers.range(1, 20000)
    some j in numbers.range(1, 20000)
    i * j == -1
}
"""
CONFLICT = """
package teams.conflict

level := 1 if input.tool.name == "python_run"

level := 2 if input.tool.name == "python_run"

deny contains {"rule": "conflict.level", "message": "m"} if level > 5
"""
UNDEFINED = """
package broker.decision

# METADATA
# entrypoint: true
result := {"effect": "deny"} if input.never
"""
OPEN_DOOR = """
package teams.open

allow contains {"rule": "open.door", "message": "everybody"}
"""
BROKER = """
import asyncio, sys
from broker.adapters.opa_server import OpaChild
from broker.adapters.policy_files import load_bundle
from broker.shipped import policies_dir

async def main():
    child = await OpaChild.start(sys.argv[1], load_bundle(policies_dir() / "bundle.tar.gz"))
    print(child.url.removeprefix("unix://").removesuffix("/opa.sock"), child.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def failure(asked: Awaitable[object]) -> type[BaseException]:
    """Give the type of the error that a question ends in."""
    with pytest.raises(PolicyError) as caught:
        await asked
    return caught.type


@asynccontextmanager
async def http_server(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], folder: Path, bundle: Bundle
) -> AsyncIterator[OpaServerEngine]:
    """Run a real HTTP server that answers so, with an engine that asks it."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "s")).start()
    client = OpaClient(f"unix://{folder / 's'}")
    await client.open()
    engine = OpaServerEngine(client, bundle, timeout_s=0.5)
    try:
        yield engine
    finally:
        await engine.close()
        await runner.cleanup()


def body(bundle: Bundle, **fields: object) -> str:
    """Write an answer with the right provenance."""
    return json.dumps({"provenance": {"bundles": {"b": {"revision": bundle.revision}}}, **fields})


class TestServerAnswers:
    """A server that is not a sound OPA."""

    @pytest.mark.parametrize(
        ("status", "text", "kind", "error"),
        [
            (200, "garbage", "application/json", PolicyInvalid),
            (200, "garbage", "text/html", PolicyInvalid),
            (200, "[]", "application/json", PolicyInvalid),
            (200, "{}", "application/json", PolicyStale),
            (200, '{"result": {}}', "application/json", PolicyStale),
            (200, '{"provenance": {"bundles": []}}', "application/json", PolicyStale),
            (200, "UNDEFINED", "application/json", PolicyUndefined),
            (200, "WRONG TYPE", "application/json", PolicyInvalid),
            (200, "OLD", "application/json", PolicyStale),
            (500, "{}", "application/json", PolicyInvalid),
            (400, "{}", "application/json", PolicyInvalid),
            (503, "", "text/plain", PolicyUnavailable),
            (401, "", "text/plain", PolicyUnavailable),
        ],
    )
    async def test_each_has_its_error(
        self,
        tmp_path: Path,
        shipped: Bundle,
        status: int,
        text: str,
        kind: str,
        error: type[PolicyError],
    ) -> None:
        """Whatever the server answers, the call is denied for a reason of its own."""
        special = {
            "UNDEFINED": body(shipped),
            "WRONG TYPE": body(shipped, result=[True]),
            "OLD": body(replace(shipped, revision="older"), result={}),
        }

        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=status, text=special.get(text, text), content_type=kind)

        async with http_server(answer, tmp_path, shipped) as engine:
            assert await failure(engine.evaluate(ANY)) is error

    async def test_slow(self, tmp_path: Path, shipped: Bundle) -> None:
        """A server that does not answer in time is a timeout."""

        async def answer(_: web.Request) -> web.Response:
            await asyncio.Event().wait()
            raise AssertionError

        async with http_server(answer, tmp_path, shipped) as engine:
            assert await failure(engine.evaluate(ANY)) is PolicyTimeout

    async def test_deterministic_failure_is_asked_once(
        self, tmp_path: Path, shipped: Bundle
    ) -> None:
        """A 500 is not retried: it would be one again."""
        asked = []

        async def answer(request: web.Request) -> web.Response:
            asked.append(request.path)
            return web.Response(status=500)

        async with http_server(answer, tmp_path, shipped) as engine:
            await failure(engine.evaluate(ANY))
        assert asked == ["/v1/data/broker/decision/result"]

    async def test_nobody_listens(self, tmp_path: Path, shipped: Bundle) -> None:
        """Without a server there is no decision."""
        url = f"unix://{tmp_path / 'none'}"
        assert await failure(OpaServerEngine.connect(url, shipped)) is PolicyUnavailable


class TestServerLife:
    """A real OPA server as a child."""

    async def test_killed(self, opa: str, shipped: Bundle) -> None:
        """A killed server is unavailable, at once and for good."""
        engine = await OpaServerEngine.spawn(opa, shipped)
        try:
            assert engine._child is not None
            os.kill(engine._child.pid, signal.SIGKILL)
            await engine._child._process.wait()
            assert await failure(engine.evaluate(ANY)) is PolicyUnavailable
        finally:
            await engine.close()

    async def test_socket_is_private(self, opa: str, shipped: Bundle) -> None:
        """Only the broker's user can open the server's socket."""
        engine = await OpaServerEngine.spawn(opa, shipped)
        try:
            assert engine._child is not None
            socket = Path(engine._child.url.removeprefix("unix://"))
            assert (_mode(socket), _mode(socket.parent)) == (0o600, 0o700)
        finally:
            await engine.close()

    async def test_closed_leaves_nothing(self, opa: str, shipped: Bundle) -> None:
        """Closing ends the child and removes its folder; asking then is refused."""
        engine = await OpaServerEngine.spawn(opa, shipped)
        child = engine._child
        assert child is not None
        await engine.close()
        assert (child._process.returncode, child._folder.exists()) == (-signal.SIGKILL, False)
        assert await failure(engine.evaluate(ANY)) is PolicyUnavailable

    async def test_missing_program(self, shipped: Bundle) -> None:
        """Without the program, the message names the remedy."""
        with pytest.raises(PolicyUnavailable, match="install OPA"):
            await OpaServerEngine.spawn("no-such-opa", shipped)

    async def test_other_bundle(self, opa: str, shipped: Bundle) -> None:
        """A server with another bundle than the active one is stale."""
        other = replace(shipped, revision="another")
        assert await failure(OpaServerEngine.spawn(opa, other)) is PolicyStale

    async def test_broken_bundle(self, opa: str, shipped: Bundle) -> None:
        """A server that refuses its bundle does not start."""
        broken = replace(shipped, archive=shipped.archive[:-100])
        assert await failure(OpaServerEngine.spawn(opa, broken)) is PolicyUnavailable

    def test_dies_with_the_broker(self, opa: str) -> None:
        """The server ends when its broker is killed with SIGKILL."""
        broker = subprocess.Popen(
            [sys.executable, "-c", BROKER, opa], stdout=subprocess.PIPE, text=True
        )
        assert broker.stdout is not None
        folder, pid = broker.stdout.readline().split()
        server = os.pidfd_open(int(pid))
        broker.kill()
        broker.wait()
        ended, _, _ = select.select([server], [], [], 20)
        os.close(server)
        broker.stdout.close()
        # Nobody was left to remove the folder.
        shutil.rmtree(Path(folder))
        assert ended == [server]


class TestPolicyFaults:
    """Policies that fail, on both engines."""

    async def test_runaway_is_stopped(self, opa: str, tmp_path: Path) -> None:
        """A runaway rule ends at the deadline, and the engine goes on serving."""
        bundle = compiled(tmp_path / "p", opa, {"teams/runaway/r.rego": RUNAWAY})
        engine = WasmEngine(bundle, timeout_s=0.2, threads=1)
        try:
            assert await failure(engine.evaluate(ANY)) is PolicyTimeout
            answer = await engine.evaluate(canonical_json(ask("workspace_list")))
            assert answer.output["effect"] == "allow"
        finally:
            await engine.close()

    async def test_busy_threads_count_towards_the_deadline(self, opa: str, tmp_path: Path) -> None:
        """Behind a runaway, a call waits no longer than its own deadline."""
        bundle = compiled(tmp_path / "p", opa, {"teams/runaway/r.rego": RUNAWAY})
        engine = WasmEngine(bundle, timeout_s=0.2, threads=1)
        try:
            asked = [failure(engine.evaluate(ANY)) for _ in range(4)]
            assert set(await asyncio.gather(*asked)) == {PolicyTimeout}
        finally:
            await engine.close()

    async def test_deadline_while_an_instance_is_made(self, shipped: Bundle) -> None:
        """As after a runaway: the deadline stops that too, and is a timeout, no bad bundle."""
        data = {**shipped.data, "padding": list(range(100_000))}
        engine = WasmEngine(replace(shipped, data=data), timeout_s=60, threads=1)
        worker = engine._workers[0]
        try:
            for _ in range(5):
                worker._instance = None
                answer = asyncio.get_running_loop().create_future()
                worker.submit(ANY, answer)
                while not answer.done():
                    worker.interrupt()
                    await asyncio.sleep(0)
                assert isinstance(answer.exception(), PolicyTimeout)
        finally:
            await engine.close()

    async def test_closed_while_evaluating(self, opa: str, tmp_path: Path) -> None:
        """An evaluation under way ends as unavailable when the engine is closed."""
        bundle = compiled(tmp_path / "p", opa, {"teams/runaway/r.rego": RUNAWAY})
        engine = WasmEngine(bundle, timeout_s=30, threads=1)
        asked = asyncio.create_task(failure(engine.evaluate(ANY)))
        # One turn of the loop takes the question to the thread.
        await asyncio.sleep(0)
        assert engine._idle.empty()
        await engine.close()
        assert await asked is PolicyUnavailable
        assert await failure(engine.evaluate(ANY)) is PolicyUnavailable

    async def test_conflict(self, opa: str, tmp_path: Path) -> None:
        """Rules in conflict are invalid on both engines; other calls are decided."""
        bundle = compiled(tmp_path / "p", opa, {"teams/conflict/c.rego": CONFLICT})
        wasm = WasmEngine(bundle, timeout_s=5)
        server = await OpaServerEngine.spawn(opa, bundle, timeout_s=10)
        try:
            for engine in (wasm, server):
                assert await failure(engine.evaluate(ANY)) is PolicyInvalid
                answer = await engine.evaluate(canonical_json(ask("workspace_list")))
                assert answer.output["effect"] == "allow"
        finally:
            await wasm.close()
            await server.close()

    async def test_defines_nothing(self, opa: str, tmp_path: Path) -> None:
        """A bundle whose entry point is never defined is refused by both engines at the start."""
        sources = {"broker/decision/main.rego": UNDEFINED}
        bundle = compiled(tmp_path / "p", opa, sources, shipped=False)
        with pytest.raises(PolicyUnavailable):
            WasmEngine(bundle, timeout_s=5)
        assert await failure(OpaServerEngine.spawn(opa, bundle)) is PolicyUndefined

    async def test_open_door(self, opa: str, tmp_path: Path) -> None:
        """A policy that lets a call of nobody pass is refused at the start."""
        sources = {"teams/open/o.rego": OPEN_DOOR}
        folder = tmp_path / "p"
        compiled(folder, opa, {})
        for file in (folder / "teams" / "default").iterdir():
            file.unlink()
        bundle = compiled(tmp_path / "q", opa, _sources(folder) | sources, shipped=False)
        with pytest.raises(PolicyUnavailable, match="without agent or tool"):
            WasmEngine(bundle, timeout_s=5)

    async def test_garbled_module(self, shipped: Bundle) -> None:
        """A module that is none, or is cut short, is refused at the start."""
        for wasm in (b"", b"\0asm", shipped.wasm[:-1000], b"x" * 1000):
            with pytest.raises(PolicyUnavailable):
                WasmEngine(replace(shipped, wasm=wasm))

    async def test_data_beyond_what_it_asks_for(self, shipped: Bundle) -> None:
        """A module is given memory for all of its data; this one is refused for what it lacks."""
        module = wasmtime.wat2wasm(
            '(module (import "env" "memory" (memory 2)) (data (i32.const 131072) "x"))'
        )
        with pytest.raises(PolicyUnavailable, match="cannot be hosted: 'builtins'"):
            WasmEngine(replace(shipped, wasm=bytes(module)))

    @pytest.mark.parametrize("text", [b"", b"{", b"nonsense", b"[1,", b"\xff\xfe", b"[{}]"])
    async def test_input_that_is_no_json(self, wasm: WasmEngine, text: bytes) -> None:
        """An input that is not JSON is an error, and the engine goes on serving."""
        assert await failure(wasm.evaluate(text)) is PolicyInvalid
        assert (await wasm.evaluate(ANY)).output["effect"] == "allow"

    async def test_foreign_fault(self, wasm: WasmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever the foreign engine raises is a denial; the next question is answered."""

        def no_memory(*_: object) -> None:
            raise MemoryError

        with monkeypatch.context() as broken:
            broken.setattr(wasmtime.Store, "_context", no_memory)
            with pytest.raises(PolicyInvalid, match="MemoryError"):
                await wasm.evaluate(canonical_json(ask("python_run")))
        await wasm.evaluate(canonical_json(ask("python_run")))

    async def test_large_input(self, wasm: WasmEngine) -> None:
        """A megabyte of arguments is decided like any other."""
        request = canonical_json(ask("python_run", {"code": "x" * 2**20}))
        assert (await wasm.evaluate(request)).output["effect"] == "allow"


class TestBundleFiles:
    """Archives that are not a bundle."""

    def test_every_cut_and_flip_is_refused_or_another_bundle(self, shipped: Bundle) -> None:
        """No tampered archive passes for the shipped one."""
        archive = shipped.archive
        for place in range(0, len(archive), 997):
            flipped = archive[:place] + bytes([archive[place] ^ 1]) + archive[place + 1 :]
            assert _digest(flipped) != shipped.sha256 or flipped[:10] != archive[:10]
            assert _digest(archive[:place]) == "refused"

    def test_nothing(self) -> None:
        """An empty file is refused with its name."""
        with pytest.raises(ConfigurationError, match=r"empty\.tar\.gz"):
            read_bundle(b"", "empty.tar.gz")


def _digest(archive: bytes) -> str:
    try:
        return read_bundle(archive, "bundle.tar.gz").sha256
    except ConfigurationError:
        return "refused"


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _sources(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.rego")
    }
