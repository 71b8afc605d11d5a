"""A Docker Engine of these tests' own with gVisor in it, and what tests/sandbox runs on.

`SHORT=1` keeps what differs in gVisor, with a third of the rest, drawn by `SEED=n`.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import docker
import pytest

from broker.adapters.image_builder import build_images
from broker.adapters.tool_files import read_catalog
from broker.shipped import tools_dir
from tests.broker_process import DOCKER_URL
from tests.conftest import development_folder, opa, pytest_terminal_summary
from tests.e2e.crash.own_engine import OwnEngine
from tests.sandbox.bench import Place
from tests.sandbox.conftest import bench, call, client, engine, profile, seccomp, tools

__all__ = [
    "bench",
    "call",
    "client",
    "development_folder",
    "engine",
    "opa",
    "profile",
    "pytest_terminal_summary",
    "seccomp",
    "tools",
]

ROOT = Path(__file__).resolve().parents[2]
PLATFORM = ("--platform=systrap", "--network=none", "--host-uds=open")

# What is about gVisor itself: in the short form, too.
ALWAYS = {"TestContainment", "TestForging", "TestHungSentry", "TestHungRuntime", "TestDemand"}

HANGING = """#!/usr/bin/python3
import os, sys, time
if "{command}" in sys.argv:
    time.sleep(3600)
os.execv("{runsc}", ["{runsc}", *sys.argv[1:]])
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out two thirds of what is only the same again, where there is little time."""
    if not os.environ.get("SHORT"):
        return
    here = Path(__file__).parent
    same = [
        item
        for item in items
        if item.path.is_relative_to(here) and not ALWAYS & {node.name for node in item.listchain()}
    ]
    dice = random.Random(int(os.environ.get("SEED", "20261123")))
    left_out = set(dice.sample(same, len(same) * 2 // 3))
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def runsc() -> str:
    """Path of the runsc program, built where there is none."""
    return subprocess.check_output([ROOT / "scripts" / "tool.sh", "runsc"], text=True).strip()


@pytest.fixture(scope="session")
def gvisor(runsc: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    """The Engine: runsc as docs/operating.md says, without our filter, hanging, and false ones."""
    runc = shutil.which("runc", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert runc is not None
    programs = {
        command: _script(tmp_path_factory, HANGING.format(command=command, runsc=runsc))
        for command in ("create", "start")
    }
    runtimes = {
        "runsc": [runsc, *PLATFORM, "--oci-seccomp"],
        "runsc-unfiltered": [runsc, *PLATFORM],
        **{f"hangs-in-{name}": [str(path), *PLATFORM] for name, path in programs.items()},
        "runsc-belied": [runc],
        "runsc-hidden": [str(_script(tmp_path_factory, f'#!/bin/sh\nexec {runc} "$@"\n'))],
    }
    with OwnEngine(runtimes) as own:
        yield own


def _script(folders: pytest.TempPathFactory, text: str) -> Path:
    program = folders.mktemp("runtime") / "wrapper"
    program.write_text(text)
    program.chmod(0o755)
    return program


@pytest.fixture(scope="session")
def place(gvisor: OwnEngine) -> Place:
    """Where everything here runs."""
    return Place(url=gvisor.url, runtime="runsc")


@pytest.fixture(scope="session")
def images(gvisor: OwnEngine) -> Mapping[str, str]:
    """Image name with its id: built on the host's Engine, copied."""
    built = build_images(DOCKER_URL, tools_dir(), print)
    gvisor.load(sorted(set(built.values())))
    own = docker.APIClient(gvisor.url)
    for tool in read_catalog(tools_dir()).tools:
        # An image without a name goes with the last one that is built upon it.
        own.tag(built[tool.image], f"toolwarrant/{tool.image}", tool.version)
    own.close()
    return built
