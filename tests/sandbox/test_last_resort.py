"""What is killed past the Engine, and what is left alone."""

import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import docker
import pytest

from broker.adapters.docker_engine.last_resort import kill_processes
from tests.sandbox.bench import Bench

SLEEP = "import time; print(flush=True); time.sleep(600)"


Shim = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Shim]:
    """Starts processes that are called as containerd calls its shims."""
    program = tmp_path / "containerd-shim-runc-v2"
    shutil.copy2("/bin/sh", program)
    with ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[bytes]:
            argv = [str(program), "-c", "echo; read _", *arguments]
            started = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            stack.enter_context(started)
            stack.callback(started.kill)
            assert started.stdout is not None
            assert started.stdout.readline() == b"\n"
            return started

        yield start


@pytest.fixture
def sleeper() -> Iterator[object]:
    """Starts processes with a command line of the test's choice."""
    with ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[bytes]:
            argv = [sys.executable, "-c", SLEEP, *arguments]
            started = subprocess.Popen(argv, stdout=subprocess.PIPE)
            stack.enter_context(started)
            stack.callback(started.kill)
            assert started.stdout is not None
            # Until it runs, its command line is still the one of who started it.
            assert started.stdout.readline() == b"\n"
            return started

        yield start


class TestKillProcesses:
    """Whatever keeps one container from ending."""

    async def test_kills_what_is_in_the_containers_cgroup(
        self, bench: Bench, client: docker.APIClient
    ) -> None:
        """A container's processes die without the Engine, which then sees its end."""
        sandbox = await bench.prepare(starts_ahead=False)
        container = sandbox.enforced.container_id
        killed = kill_processes(container)
        code = client.wait(container, timeout=20)["StatusCode"]
        await sandbox.discard()
        assert (killed, code) == (1, 137)

    async def test_leaves_another_container_alone(
        self, bench: Bench, client: docker.APIClient
    ) -> None:
        """The twin: by another id the same container lives on."""
        sandbox = await bench.prepare()
        killed = kill_processes(secrets.token_hex(32))
        state = client.inspect_container(sandbox.enforced.container_id)["State"]
        await sandbox.discard()
        assert (killed, state["Running"]) == (0, True)

    def test_kills_the_runtimes_command_for_it(self, sleeper: object) -> None:
        """A command that names the container and its bundle is the runtime's, and ends."""
        container = secrets.token_hex(32)
        command = sleeper("create", "--bundle", f"/run/{container}", container)  # type: ignore[operator]
        assert (kill_processes(container), command.wait(10)) == (1, -9)

    def test_leaves_who_merely_names_it_alone(self, sleeper: object) -> None:
        """Somebody's `docker logs ID` is nobody's runtime."""
        container = secrets.token_hex(32)
        command = sleeper("logs", container)  # type: ignore[operator]
        assert (kill_processes(container), command.poll()) == (0, None)

    def test_leaves_the_shim_to_its_engine(self, shim: Shim) -> None:
        """A container's shim tells its Engine how the container ended: it lives on."""
        container = secrets.token_hex(32)
        running = shim("-namespace", "moby", "-id", container)
        assert (kill_processes(container), running.poll()) == (0, None)

    def test_kills_the_shim_of_a_container_that_is_gone(self, shim: Shim) -> None:
        """A shim that outlived its container has nothing more to tell; another's is left alone."""
        container = secrets.token_hex(32)
        stray = shim("-namespace", "moby", "-id", container)
        other = shim("-namespace", "moby", "-id", secrets.token_hex(32))
        assert (kill_processes(container, is_gone=True), stray.wait(10)) == (1, -9)
        assert other.poll() is None

    @pytest.mark.parametrize("part", ["f" * 63, "f" * 65, "F" * 64, "g" * 64])
    def test_refuses_what_is_no_id(self, part: str) -> None:
        """A part of an id could stand in anybody's command line: it is refused."""
        with pytest.raises(ValueError, match="no container's id"):
            kill_processes(part)
