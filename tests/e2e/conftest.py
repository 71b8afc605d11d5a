"""A broker whose policy a call steers by its purpose, with people enough to decide."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.config_template import Settings
from tests.api.rpc import Rpc
from tests.broker_process import UNHURRIED, Folder, Served
from tests.e2e.people import IDENTITIES, PAIRS
from tests.e2e.policies import STEERED, compile_policy

Compile = Callable[[str], Path]


@pytest.fixture(scope="session")
def compile_team(opa: str, tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compile the shipped policy with a team package of the test's own; each text once."""
    compiled: dict[str, Path] = {}

    def compile_once(rego: str) -> Path:
        if rego not in compiled:
            compiled[rego] = compile_policy(rego, tmp_path_factory.mktemp("policy"), opa)
        return compiled[rego]

    return compile_once


@pytest.fixture(scope="session")
def people_folder(development_folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A folder with everybody from `tests.e2e.people`. Copy it, never serve from it."""
    folder = development_folder.copy(
        tmp_path_factory.mktemp("people") / "dev", UNHURRIED, IDENTITIES
    )
    for name in PAIRS:
        folder.add_pair(name)
    return folder


@pytest.fixture(scope="session")
def steered(
    people_folder: Folder, compile_team: Compile, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A broker that tests share; `tests.e2e.policies.STEERED` says what each purpose does."""
    bundle = str(compile_team(STEERED))
    folder = people_folder.copy(
        tmp_path_factory.mktemp("steered") / "dev", {"policy": {"bundle": bundle}}
    )
    with Served(folder) as running:
        yield running


@pytest.fixture(scope="session")
def agent(steered: Served) -> Rpc:
    """The stubs of `agent` at the shared broker."""
    return Rpc.of(steered)


@pytest.fixture
def serve_steered(
    people_folder: Folder, compile_team: Compile, tmp_path: Path
) -> Iterator[Callable[..., Served]]:
    """Start brokers of a test's own with the same people, by default the same policy."""
    with ExitStack() as stack:
        count = 0

        def start(rego: str = STEERED, settings: Settings | None = None) -> Served:
            nonlocal count
            count += 1
            folder = people_folder.copy(
                tmp_path / f"broker-{count}", {"policy": {"bundle": str(compile_team(rego))}}
            )
            folder.set(settings or {})
            return stack.enter_context(Served(folder))

        yield start
