"""Fixtures that several folders share: a development folder, brokers in processes of their own."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.config_template import Settings
from tests.broker_process import AS_SHIPPED, UNHURRIED, Folder, Served

ROOT = Path(__file__).resolve().parents[1]
# Folders whose files take many seconds each.
_LONGEST = ("tests/e2e/crash", "tests/checkout", "tests/e2e", "tests/api", "tests/cli", "tests/sql")


@pytest.fixture(scope="session")
def development_folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A folder as `toolwarrant init` makes it, images included. Copy it, never serve from it."""
    return Folder.make(tmp_path_factory.mktemp("development") / "dev")


@pytest.fixture(scope="session")
def served(
    development_folder: Folder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A broker with the shipped policy that tests share; its rates stand in nobody's way."""
    folder = development_folder.copy(tmp_path_factory.mktemp("served") / "dev", UNHURRIED)
    with Served(folder) as running:
        yield running


ServeOne = Callable[..., Served]


@pytest.fixture
def serve(development_folder: Folder, tmp_path: Path) -> Iterator[ServeOne]:
    """Start brokers of a test's own: `serve(settings={...}, identities="...")`."""
    with ExitStack() as stack:
        count = 0

        def start(settings: Settings | None = None, identities: str = "") -> Served:
            nonlocal count
            count += 1
            folder = development_folder.copy(tmp_path / f"broker-{count}", AS_SHIPPED, identities)
            folder.set(settings or {})
            return stack.enter_context(Served(folder))

        yield start


@pytest.fixture(scope="session")
def opa() -> str:
    """Path of the opa program, built where there is none."""
    return _tool("opa")


@pytest.fixture(scope="session")
def regal() -> str:
    """Path of the linter of Rego, built where there is none."""
    return _tool("regal")


@pytest.fixture(scope="session")
def grpcurl() -> str:
    """Path of the grpcurl program, built where there is none."""
    return _tool("grpcurl")


def _tool(name: str) -> str:
    return subprocess.check_output([ROOT / "scripts" / "tool.sh", name], text=True).strip()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the files that take longest first where processes share them: the short ones fill up."""
    if hasattr(config, "workerinput"):
        items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    folder = item.path.relative_to(ROOT).parent.as_posix()
    return _LONGEST.index(folder) if folder in _LONGEST else len(_LONGEST)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests recorded under `summary`, whichever process ran them."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, said in getattr(report, "user_properties", ()):
                if name == "summary":
                    terminalreporter.write_line(said)
