"""What the host's kernel says of a container's first process."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.adapters.docker_engine.kernel import confirm_first_process
from broker.adapters.docker_engine.process import HostProcess
from broker.errors import SandboxError

# Every process's cgroups have a colon: as good as the container's id here.
ANY_CONTAINER = ":"


@pytest.fixture
def unconfined() -> Iterator[int]:
    """A process as the launcher is one, with all that this one may do."""
    python = Path(sys.executable).with_name("python3")
    program = [python, "-c", "print(flush=True); import time; time.sleep(600)"]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_unconfined_is_refused(unconfined: int) -> None:
    """A launcher that the kernel does not hold in gets no call; the message names what is wrong."""
    with pytest.raises(SandboxError, match="Seccomp is 0, not 2") as caught:
        confirm_first_process(unconfined, ANY_CONTAINER)
    assert caught.value.reason == "SANDBOX_NOT_AS_DEMANDED"


def test_of_another_container_is_not_confirmed(unconfined: int) -> None:
    """A process in another cgroup says nothing of the container."""
    assert confirm_first_process(unconfined, "f" * 64) is False


def test_another_program_is_not_confirmed() -> None:
    """Where the host's process is not the launcher, nothing is known of the launcher."""
    with subprocess.Popen(["sleep", "600"]) as process:
        said = confirm_first_process(process.pid, ANY_CONTAINER)
        process.kill()
    assert said is False


def test_one_that_is_gone_is_not_confirmed() -> None:
    """A process that has ended cannot be looked at."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert confirm_first_process(process.pid, ANY_CONTAINER) is False


def test_what_the_kernel_leaves_out_is_not_as_wanted() -> None:
    """A field that is not there confirms nothing."""
    found = HostProcess(argv=("python3",), status={"NoNewPrivs": "1"})
    wanted = {"NoNewPrivs": "1", "Seccomp": "2"}
    assert found.differences(wanted) == ["Seccomp is None, not 2"]
