"""sql_query through a broker: what reads runs, what may write waits for a person."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.v1 import call_pb2
from tests.api.rpc import Rpc, rules, state
from tests.broker_process import UNHURRIED, Folder, Served
from tests.e2e.policies import compile_policy
from tests.sql.database import Database

ORDERS = "(1,Ada,12.50) (2,Grace,99.99) (3,Edsger,)"
RAISE = "UPDATE orders SET total = total + 1 WHERE id = 1"
SECRETS = """[secrets]
sql_reading_dsn = "file:secrets/sql_reading_dsn"
sql_writing_dsn = "file:secrets/sql_writing_dsn"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A broker with a database."""

    served: Served
    agent: Rpc
    database: Database

    def ask(self, statement: str, **fields: Any) -> call_pb2.Call:
        """Call sql_query as an agent does."""
        return self.agent.execute("sql_query", {"statement": statement, **fields})

    def approve(self, call: call_pb2.Call) -> call_pb2.Call:
        """Approve just what a person is shown; give the call's end."""
        approver = self.served.client("approver2")
        approver.approve(call.name, approver.hold(call.name).view_sha256, "seen")
        return self.agent.wait(call.name)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A server of this module's own."""
    with Database(tmp_path_factory.mktemp("database")) as database:
        yield database


@pytest.fixture(scope="module")
def folder(
    development_folder: Folder,
    database: Database,
    opa: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Folder:
    """A folder as the operator sets it up. Copy it, never serve from it."""
    path = tmp_path_factory.mktemp("asking")
    place = f"localhost:{database.port}"
    bundle = compile_policy(
        "", path / "policy", opa, databases={"reading": [place], "writing": [place]}
    )
    (path / "ca.pem").write_bytes(database.ca)
    made = development_folder.copy(path / "dev", UNHURRIED)
    settings: Any = {
        "policy": {"bundle": str(bundle)},
        "egress": {"allow_cidrs": ["127.0.0.0/8"], "ca_file": str(path / "ca.pem")},
    }
    made.set(settings)
    made.replace("[secrets]\n", SECRETS)
    for role, name in (("reader", "sql_reading_dsn"), ("writer", "sql_writing_dsn")):
        kept = made.path / "secrets" / name
        kept.parent.mkdir(exist_ok=True)
        kept.touch(mode=0o600)
        kept.write_text(database.dsn(role, "localhost") + "\n")
    return made


@pytest.fixture(scope="module")
def asking(
    folder: Folder, database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asking]:
    """A broker that this module's tests share."""
    with Served(folder.copy(tmp_path_factory.mktemp("shared") / "dev")) as served:
        yield Asking(served=served, agent=Rpc.of(served), database=database)


def documents(asking: Asking, call: call_pb2.Call) -> dict[str, Any]:
    """Read the result document of a call."""
    found: dict[str, Any] = json.loads(
        asking.served.client("auditor").receipt(call.name).result_document
    )["body"]
    return found


class TestReading:
    def test_runs_by_itself(self, asking: Asking) -> None:
        """A plain query is answered at once, with the DSN that can only read, and no other."""
        call = asking.ask("SELECT customer FROM orders WHERE id = $1", parameters=[2])
        assert (state(call), rules(call)) == ("SUCCEEDED", ["default.sql_query"])
        assert json.loads(call.result.stdout_text)["rows"] == [["Grace"]]
        assert documents(asking, call)["secrets"] == ["sql_reading_dsn"]
        (visit,) = documents(asking, call)["egress"]["connections"]
        assert (visit["host"], visit["verdict"]) == ("localhost", "connected")

    def test_ends_where_the_parser_is_wrong(self, asking: Asking) -> None:
        """A column that calls a function is read as a column: the database's role stops it."""
        asking.database.ask(
            "CREATE FUNCTION gone(orders) RETURNS int LANGUAGE sql AS"
            " 'DELETE FROM orders WHERE id = $1.id RETURNING id'"
        )
        call = asking.ask("SELECT o.gone FROM orders o")
        assert (state(call), rules(call)) == ("FAILED", ["default.sql_query"])
        assert "25006" in call.result.stderr_text
        assert asking.database.orders() == ORDERS


class TestWriting:
    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM orders",
            "WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone",
            "SELECT forget(1)",
            "SELECT s.forget FROM generate_series(1, 1) s",
            "EXPLAIN ANALYZE DELETE FROM orders",
            "SET TRANSACTION READ WRITE",
            "no SQL at all",
        ],
    )
    def test_is_held(self, asking: Asking, statement: str) -> None:
        """A write, what may be one, and what nobody can read: a person decides, nothing ran."""
        call = asking.ask(statement)
        assert (state(call), rules(call)) == ("HELD", ["default.sql_writes"])
        assert statement in asking.served.client("approver2").hold(call.name).view_text
        assert asking.database.orders() == ORDERS

    def test_runs_when_approved(self, asking: Asking) -> None:
        """Approved by another identity it runs once, with the DSN that may write."""
        held = asking.ask(RAISE)
        assert "sql_writing_dsn" in asking.served.client("approver2").hold(held.name).view_text
        call = asking.approve(held)
        raised = asking.database.orders()
        asking.database.ask("UPDATE orders SET total = 12.50 WHERE id = 1")
        assert (state(call), raised) == ("SUCCEEDED", ORDERS.replace("12.50", "13.50"))
        assert json.loads(call.result.stdout_text)["row_count"] == 1
        assert documents(asking, call)["secrets"] == ["sql_writing_dsn"]

    def test_of_several_statements_is_denied(self, asking: Asking) -> None:
        """There is nothing to approve: the tool takes one."""
        call = asking.ask("SELECT 1; DELETE FROM orders")
        assert (state(call), rules(call)) == ("DENIED", ["default.sql_several"])


class TestSetUp:
    def test_without_a_writing_dsn(self, folder: Folder, tmp_path: Path, asking: Asking) -> None:
        """A broker that has only the reading one reads; an approved write ends before it begins."""
        own = folder.copy(tmp_path / "dev")
        own.replace('sql_writing_dsn = "file:secrets/sql_writing_dsn"\n', "")
        with Served(own) as served:
            here = Asking(served=served, agent=Rpc.of(served), database=asking.database)
            assert state(here.ask("SELECT 1")) == "SUCCEEDED"
            call = here.approve(here.ask(RAISE))
            assert (state(call), call.cause) == ("SANDBOX_ERROR", "secret_unavailable")

    def test_the_dsns_are_nowhere(self, asking: Asking) -> None:
        """Neither store nor log nor answer has a password."""
        asking.ask("SELECT 1")
        folder = asking.served.folder
        for role in ("reader", "writer"):
            needle = asking.database.password(role).encode()
            for file in folder.path.rglob("*"):
                if file.is_file() and file.parent.name != "secrets":
                    assert needle not in file.read_bytes(), file
