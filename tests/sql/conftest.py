"""sql_query in its own sandbox, at a PostgreSQL of the tests' own."""

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from broker.adapters.docker_engine import DockerEngine
from broker.adapters.egress_proxy import EgressProxy
from broker.adapters.tool_files import read_catalog
from broker.core.catalog import Tool
from broker.core.destination import read_destination
from broker.core.egress import Egress, EgressProtocol
from broker.core.sandbox import Report
from broker.core.secret import Secret
from broker.shipped import tools_dir
from tests.egress.conftest import root  # noqa: F401 (fixture)
from tests.egress.places import LOOPBACK, SITE, Names
from tests.sandbox.bench import Place, profile_of, run_once
from tests.sandbox.conftest import client, images, place, seccomp  # noqa: F401 (fixtures)
from tests.sql.database import Database

DSN_OF = {"reader": "sql_reading_dsn", "writer": "sql_writing_dsn"}
Query = Callable[..., Awaitable[Report]]
"""Runs a statement: `as_role`, `dsns`, `listed`, `parameters`, `timeout_s` may be given."""


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A server that tests share; who changes something changes it back."""
    with Database(tmp_path_factory.mktemp("database")) as database:
        yield database


@pytest.fixture(scope="session")
def tool() -> Tool:
    """Its definition."""
    return next(tool for tool in read_catalog(tools_dir()).tools if tool.name == "sql_query")


@pytest.fixture
async def networked(
    place: Place,  # noqa: F811
    client: docker.APIClient,  # noqa: F811
    seccomp: str,  # noqa: F811
    root: Path,  # noqa: F811
    database: Database,
) -> AsyncIterator[DockerEngine]:
    """An engine whose proxy reaches the database; no container and no folder may be left."""
    installation = f"test-{secrets.token_hex(6)}"
    proxy = EgressProxy(
        root, installation=installation, resolver=Names(), allow=(LOOPBACK,), ca=database.ca
    )
    engine = place.engine(
        seccomp=seccomp, boot="boot-2", workers=4, installation=installation, egress=proxy
    )
    yield engine
    label = f"org.toolwarrant.installation={installation}"
    left = client.containers(all=True, filters={"label": label})
    await engine.close()
    assert left == []
    assert _entries(root) == []


def _entries(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


@pytest.fixture
def query(
    place: Place,  # noqa: F811
    networked: DockerEngine,
    images: Mapping[str, str],  # noqa: F811
    tool: Tool,
    database: Database,
) -> Query:
    """Runs a statement as the reading or the writing role."""

    async def query(
        statement: str,
        *,
        as_role: str = "reader",
        dsns: dict[str, str] | None = None,
        listed: str | None = None,
        timeout_s: float | None = None,
        **more: Any,
    ) -> Report:
        arguments = {"statement": statement, **more}
        tool.check_arguments(arguments)
        given = dsns or {DSN_OF[as_role]: database.dsn(as_role, SITE)}
        destination = read_destination(listed or f"{SITE}:{database.port}")
        egress = Egress(destinations=(destination,), protocol=EgressProtocol.TCP)
        profile = replace(profile_of(tool, images, runtime=place.runtime), egress=egress)
        held = tuple(Secret(name=name, value=dsn.encode()) for name, dsn in given.items())
        return await run_once(
            networked,
            profile,
            tool,
            arguments,
            timeout_s=timeout_s or tool.limits.timeout_s,
            secrets=held,
        )

    return query


def answer(report: Report) -> dict[str, Any]:
    """Read the answer of a statement that ran."""
    assert (report.exit_code, report.stderr.data, report.limits_hit) == (0, b"", ())
    said: dict[str, Any] = json.loads(report.stdout.data)
    return said


def complaint(report: Report) -> str:
    """Read why one did not."""
    assert (report.exit_code, report.stdout.data) == (1, b"")
    return report.stderr.data.decode()
