"""A Docker Engine of the test's own, to be stopped, killed and hung; never the host's."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
from docker.errors import APIError, DockerException

from tests.broker_process import DOCKER_URL, LABEL

_READY_S = 60.0
_STOP_S = 60.0


class OwnEngine:
    """A dockerd with its own data, socket and containerd; use it in `with`.

    In a network namespace of its own, without a bridge and packet filter: sandboxes have no
    network, and the host's are not for tests to change. A dockerd told to make no bridge removes
    the `docker0` that it finds, which would be the host Engine's.

    Args:
        runtimes: Container runtimes that it has besides runc: name with the path of the program
            followed by its arguments.
    """

    def __init__(self, runtimes: Mapping[str, list[str]] | None = None) -> None:
        # Short: the path of a socket has at most 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="tw-engine-"))
        self._configure(runtimes or {})
        self.url = f"unix://{self._folder}/docker.sock"
        self._log = self._folder / "dockerd.log"
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self.process.poll() is None:
                self.go_on()
                for container in self.containers():
                    self._client().remove_container(container, force=True)
                self.stop()
        finally:
            self._clear()

    def _clear(self) -> None:
        """Leave nothing of it, whatever a test that failed has left."""
        for entry in _processes():
            # Its own containerd, shims, sandboxes: all of them name its folder.
            if f"{self._folder}/" in _command(entry):
                with suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)
        for mount in reversed(self.mounts()):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _configure(self, runtimes: Mapping[str, list[str]]) -> None:
        entries = {
            name: {"path": program, "runtimeArgs": arguments}
            for name, (program, *arguments) in runtimes.items()
        }
        (self._folder / "daemon.json").write_text(json.dumps({"runtimes": entries}))

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *("unshare", "--net", "dockerd"),
                    *("--config-file", str(self._folder / "daemon.json")),
                    *("--data-root", str(self._folder / "data")),
                    *("--exec-root", str(self._folder / "exec")),
                    *("--pidfile", str(self._folder / "docker.pid")),
                    *("--host", self.url),
                    *("--bridge", "none", "--iptables=false", "--ip6tables=false"),
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
                start_new_session=True,
            )
        deadline_s = time.monotonic() + _READY_S
        while not self._answers():
            assert self.process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < deadline_s, self._log.read_text()[-2000:]
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it as an operator does; its containers end."""
        self.process.terminate()
        self.process.wait(timeout=_STOP_S)

    def kill(self) -> None:
        """Kill it with its containerd; containers live on until the next one is there."""
        pid_file = self._folder / "exec" / "containerd" / "containerd.pid"
        containerd = int(pid_file.read_text())
        self.process.kill()
        self.process.wait()
        with suppress(ProcessLookupError):
            os.kill(containerd, signal.SIGKILL)
        # Where nobody reaps orphans the next dockerd would take a dead one for alive.
        pid_file.unlink()

    def hang(self) -> None:
        """Let it take requests and answer none."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        self.process.send_signal(signal.SIGCONT)

    def load(self, images: Iterable[str]) -> None:
        """Copy images from the host's Engine, by their ids."""
        host, own = docker.APIClient(DOCKER_URL, timeout=300), self._client(timeout=300)
        try:
            # All in one: what they have in common, which is nearly everything, goes once.
            saved = host._get(host._url("/images/get"), params={"names": list(images)}, stream=True)
            for _ in own.load_image(saved.iter_content(1 << 20)):
                continue
        finally:
            host.close()
            own.close()

    def containers(self) -> list[str]:
        """List every container of any broker in it."""
        client = self._client()
        try:
            found = client.containers(all=True, filters={"label": LABEL})
        finally:
            client.close()
        return [str(container["Id"]) for container in found]

    def kill_container(self, container: str) -> bool:
        """Kill a container as its operator can; tell whether anything was alive in it."""
        client = self._client()
        try:
            client.kill(container)
        except APIError:
            return False
        finally:
            client.close()
        return True

    def wait_for_end(self, container: str) -> None:
        """Return when it says that a container has ended, or does not have it any more."""
        client = self._client()
        try:
            client.wait(container)
        except APIError:
            return
        finally:
            client.close()

    def kill_first_process(self, container: str) -> bool:
        """Kill a container's first process behind the Engine's back; tell whether it was there."""
        client = self._client()
        try:
            pid = int(client.inspect_container(container)["State"]["Pid"])
        except APIError:
            return False
        finally:
            client.close()
        with ExitStack() as stack:
            # One that was never started, or has ended, has the number 0.
            stack.enter_context(suppress(OSError))
            held = os.pidfd_open(pid)
            stack.callback(os.close, held)
            # Looked at now: held, its number can no longer become another process's.
            if self._has(Path("/proc") / str(pid)):
                signal.pidfd_send_signal(held, signal.SIGKILL)
                return True
        return False

    def processes(self) -> list[int]:
        """List the processes in its containers, as the host sees them, whoever keeps them alive."""
        return sorted(int(entry.name) for entry in _processes() if self._has(entry))

    def shims(self) -> list[int]:
        """List what stands between its containerd and its containers, one for each of them."""
        commands = {int(entry.name): _command(entry) for entry in _processes()}
        return sorted(
            pid
            for pid, command in commands.items()
            if "containerd-shim" in command.partition("\0")[0] and f"{self._folder}/" in command
        )

    def mounts(self) -> list[str]:
        """List what is mounted below its folder, in the order of mounting."""
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        return [mount for mount in mounts if mount.startswith(f"{self._folder}/")]

    def _has(self, process: Path) -> bool:
        # The root of a container is an overlay of layers below the Engine's data.
        try:
            root = (process / "mountinfo").read_text().partition("\n")[0]
        except OSError:
            return False
        return f"upperdir={self._folder}/data/" in root

    def _client(self, timeout: int = 30) -> docker.APIClient:
        return docker.APIClient(self.url, timeout=timeout, version="1.41")

    def _answers(self) -> bool:
        try:
            client = self._client(timeout=5)
            client.ping()
            client.close()
        except (DockerException, OSError):
            return False
        return True


def _processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text(errors="replace")
    except OSError:
        return ""
