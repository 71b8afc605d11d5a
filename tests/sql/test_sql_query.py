"""sql_query at a real PostgreSQL: what it answers, and what the database's role stops."""

import asyncio
import json

import pytest
from tenacity import Retrying, stop_after_delay, wait_fixed

from broker.core.call import Cause
from broker.core.egress import EgressReason
from tests.egress.places import SITE
from tests.sql.answers import row, saying
from tests.sql.conftest import Query, answer, complaint
from tests.sql.database import Database

SLEEPING = """
    SELECT count(*) FROM pg_stat_activity WHERE query ~ 'sleep.600' AND pid <> pg_backend_pid()
    AND state = 'active'
"""
ORDERS = "(1,Ada,12.50) (2,Grace,99.99) (3,Edsger,)"


class TestAnswer:
    async def test_is_columns_and_rows(self, query: Query) -> None:
        """Values come as JSON has them; what it has not is text as PostgreSQL writes it."""
        said = answer(
            await query(
                "SELECT 1 AS one, 9007199254740993::int8, true AS yes, null AS none, 0.1::float8,"
                " 'NaN'::float8, 1.10::numeric, '{\"a\": 1}'::jsonb, 'ä\u2028'::text,"
                " date '2026-01-02'"
            )
        )
        assert said == {
            "command": "SELECT",
            "columns": ["one", "int8", "yes", "none", "float8", "float8", "numeric", "jsonb",
                        "text", "date"],
            "rows": [[1, "9007199254740993", True, None, 0.1, "NaN", "1.10", '{"a": 1}',
                      "ä\u2028", "2026-01-02"]],
            "row_count": 1,
            "truncated": False,
        }  # fmt: skip

    async def test_of_parameters(self, query: Query) -> None:
        """Values go apart from the statement, each as the type that is needed where it stands."""
        said = answer(
            await query(
                "SELECT customer, $2::text, $3::bool, $4::numeric, $5::text FROM orders"
                " WHERE id = $1",
                parameters=[2, "'; DROP TABLE orders; --", True, 12345678901234567890.5, None],
            )
        )
        assert said["rows"] == [
            ["Grace", "'; DROP TABLE orders; --", True, "12345678901234567000", None]
        ]

    async def test_without_rows_has_columns(self, query: Query) -> None:
        """Nothing found is an answer, with the names of what was asked for."""
        said = answer(await query("SELECT id, total FROM orders WHERE false"))
        assert (said["columns"], said["rows"], said["row_count"]) == (["id", "total"], [], 0)

    @pytest.mark.parametrize(
        ("statement", "rows"),
        [
            ("SELECT i FROM generate_series(1, 1000000) i", 10_000),
            ("SELECT lpad('x', 300000, 'ä') FROM generate_series(1, 1000)", 2),
        ],
        ids=["many", "large"],
    )
    async def test_that_is_long_is_cut(self, query: Query, statement: str, rows: int) -> None:
        """Some rows come, and it says that they are not all."""
        said = answer(await query(statement))
        assert (len(said["rows"]), said["row_count"], said["truncated"]) == (rows, rows, True)

    async def test_of_a_write(self, query: Query, database: Database) -> None:
        """What the writing role does is done, however much of its answer is cut."""
        database.ask("CREATE TABLE many (id int); GRANT ALL ON many TO agent_writer")
        try:
            said = answer(
                await query(
                    "INSERT INTO many SELECT generate_series(1, 20000) RETURNING id",
                    as_role="writer",
                )
            )
            assert (said["command"], said["row_count"]) == ("INSERT", 20_000)
            assert (len(said["rows"]), said["truncated"]) == (10_000, True)
            assert database.ask("SELECT count(*) FROM many") == "20000"
        finally:
            database.ask("DROP TABLE many")


# Each stopped by the role, whatever anybody thought of its text.
WRITES = [
    ("DELETE FROM orders", "42501"),
    ("WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone", "42501"),
    ("SELECT forget(1)", "42501"),
    ("EXPLAIN ANALYZE DELETE FROM orders", "42501"),
    ("SELECT s.forget FROM generate_series(1, 1) s", "42501"),
    ("SELECT nextval('visits')", "42501"),
    ("SELECT lo_create(0)", "42501"),
    ("SELECT lo_from_bytea(0, 'x')", "42501"),
    ("SELECT pg_read_file('postgresql.conf')", "42501"),
    ("COPY orders TO PROGRAM 'id'", "42501"),
    ("SELECT * FROM cards", "42501"),
    ("SELECT * INTO mine FROM orders", "42501"),
    ("CREATE TEMP TABLE a (b int)", "42501"),
    ("SELECT query FROM pg_stat_activity", "42501"),
    ("SELECT pg_terminate_backend(1)", "42501"),
    ("SELECT pg_try_advisory_lock(1)", "42501"),
    ("SELECT pg_notify('a', 'b')", "42501"),
    ("SELECT query_to_xml('SELECT 1', true, true, '')", "42501"),
    ("SELECT ts_stat.ts_stat FROM unnest(ARRAY['SELECT 1']) AS ts_stat (a)", "42501"),
    ("SELECT 1; DELETE FROM orders", "42601"),
    ("SELECT 1; SELECT 2", "42601"),
]


class TestReadingRole:
    @pytest.mark.parametrize(("statement", "code"), WRITES)
    async def test_writes_nothing(
        self, query: Query, database: Database, statement: str, code: str
    ) -> None:
        """Neither a write in disguise, nor a function, nor a second statement."""
        said = complaint(await query(statement))
        assert said.startswith(
            ("the database refused it: 25006", f"the database refused it: {code}")
        )
        assert database.orders() == ORDERS

    @pytest.mark.parametrize(("statement", "code"), WRITES)
    async def test_writes_nothing_outside_a_reading_transaction(
        self, query: Query, database: Database, statement: str, code: str
    ) -> None:
        """The role's rights are enough by themselves, where all else had failed."""
        dsn = database.dsn("reader", SITE, options="-c%20default_transaction_read_only%3Doff")
        said = complaint(await query(statement, dsns={"sql_writing_dsn": dsn}))
        assert said.startswith(f"the database refused it: {code}: ")
        assert database.orders() == ORDERS

    @pytest.mark.parametrize(
        "statement",
        [
            "SET TRANSACTION READ WRITE",
            "SELECT set_config('transaction_read_only', 'off', false)",
            "COMMIT",
            "ROLLBACK AND CHAIN",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        ],
    )
    async def test_gains_nothing_by_settings(
        self, query: Query, database: Database, statement: str
    ) -> None:
        """One statement is all there is: nothing follows in the transaction that it changed."""
        as_writer = {"sql_reading_dsn": database.dsn("writer", SITE)}
        said = complaint(await query(f"{statement}; DELETE FROM orders", dsns=as_writer))
        assert said.startswith("the database refused it: 42601: ")
        assert database.orders() == ORDERS

    @pytest.mark.parametrize(
        "statement", ["DELETE FROM orders", "SELECT forget(1)", "SELECT nextval('visits')"]
    )
    async def test_is_not_all_that_stops_a_write(
        self, query: Query, database: Database, statement: str
    ) -> None:
        """The transaction is enough by itself, where the role may write by mistake."""
        as_writer = {"sql_reading_dsn": database.dsn("writer", SITE)}
        said = complaint(await query(statement, dsns=as_writer))
        assert said.startswith("the database refused it: 25006: ")
        assert database.orders() == ORDERS

    async def test_the_twin_writes(self, query: Query, database: Database) -> None:
        """The role that may write does what the other could not."""
        for statement, changed in (
            ("WITH gone AS (DELETE FROM orders WHERE id = 3 RETURNING *) SELECT * FROM gone", 1),
            ("INSERT INTO orders VALUES (3, 'Edsger', NULL)", 1),
            ("SELECT forget(3)", 1),
            ("INSERT INTO orders (customer, id) VALUES ($1, $2)", 1),
        ):
            parameters = ["Edsger", 3] if "$1" in statement else []
            said = answer(await query(statement, as_role="writer", parameters=parameters))
            assert said["row_count"] == changed
        assert database.orders() == ORDERS


def becomes(database: Database, sleeping: str) -> None:
    """Wait until so many statements of this module sleep at the server."""
    for attempt in Retrying(stop=stop_after_delay(20), wait=wait_fixed(0.1), reraise=True):
        with attempt:
            assert database.ask(SLEEPING) == sleeping


class TestTime:
    async def test_of_a_statement_is_bounded(self, query: Query, database: Database) -> None:
        """A tool that is killed leaves no statement running at the server."""
        running = asyncio.create_task(query("SELECT pg_sleep(600)", timeout_s=4))
        await asyncio.to_thread(becomes, database, "1")
        assert (await running).cause is Cause.TIMEOUT
        await asyncio.to_thread(becomes, database, "0")

    @pytest.mark.parametrize("role", ["reader", "writer"])
    async def test_is_kept_by_the_database(self, query: Query, role: str) -> None:
        """Both are bounded by the server, below the tool's own limit."""
        names = "name ~ '^(statement|lock)_timeout$' OR name ~ 'connection_check'"
        ask = f"SELECT setting::int, unit FROM pg_settings WHERE {names} ORDER BY name"
        said = answer(await query(ask, as_role=role))
        assert said["rows"] == [[1000, "ms"], [5000, "ms"], [20_000, "ms"]]


class TestRefusals:
    async def test_of_escapes_that_only_a_server_has(
        self, query: Query, database: Database
    ) -> None:
        """A string ends where the grammar that judged it says, whatever the server's setting."""
        dsn = database.dsn("reader", SITE, options="-c%20standard_conforming_strings%3Doff")
        said = answer(
            await query(r"SELECT 'a\', ' b, pg_sleep(1) --'", dsns={"sql_reading_dsn": dsn})
        )
        assert said["rows"] == [["a\\", " b, pg_sleep(1) --"]]

    async def test_of_a_wrong_statement(self, query: Query) -> None:
        """PostgreSQL's code, words, hint and place come in one line."""
        said = complaint(await query("SELECT custmer FROM orders"))
        assert said == (
            'the database refused it: 42703: column "custmer" does not exist; Perhaps you meant to '
            'reference the column "orders.customer".; at character 8\n'
        )

    @pytest.mark.parametrize("statement", ["COPY orders TO STDOUT", "COPY orders FROM STDIN"])
    async def test_of_streams(self, query: Query, statement: str) -> None:
        """COPY is told what to do instead."""
        assert "COPY needs a stream" in complaint(await query(statement, as_role="writer"))

    async def test_of_nothing(self, query: Query) -> None:
        """No statement is none."""
        assert complaint(await query("-- nothing")) == "there is no statement in it\n"

    async def test_of_another_place(self, query: Query, database: Database) -> None:
        """A database that policy does not open for the call is not reached."""
        said = complaint(await query("SELECT 1", listed=f"other.test:{database.port}"))
        assert "policy does not open the database" in said

    async def test_of_a_place_that_does_not_answer(self, query: Query) -> None:
        """Where the broker did not connect, the report has the reason."""
        dsn = "postgresql://reader:secret-text@site.test:9/shop"
        report = await query("SELECT 1", dsns={"sql_reading_dsn": dsn}, listed="site.test:9")
        assert "was not reached" in complaint(report)
        assert report.egress is not None
        assert {visit.reason for visit in report.egress.visits} == {EgressReason.PLACE_UNREACHABLE}

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda d: d.dsn("reader", "third.test"), "certificate is not to be trusted"),
            (lambda d: d.dsn("reader", SITE).replace(d.password("reader"), "another-one"), "login"),
            (lambda d: d.dsn("reader", SITE).replace("/shop", "/cellar"), "login"),
            (lambda d: d.dsn("reader", f"{SITE},other.test"), "must name one host"),
            (lambda d: "postgresql:///shop-with-a-socket", "must name one host"),
            (lambda d: "no dsn at all", "cannot be read"),
        ],
        ids=["certificate", "password", "no database", "two hosts", "no host", "nonsense"],
    )
    async def test_of_a_dsn_tell_nothing_of_it(
        self, query: Query, database: Database, change, words
    ) -> None:
        """What is wrong with the operator's DSN is said in words that do not repeat it."""
        dsn = change(database)
        host = "third.test" if "third" in dsn else SITE
        report = await query(
            "SELECT 1", dsns={"sql_reading_dsn": dsn}, listed=f"{host}:{database.port}"
        )
        said = complaint(report)
        assert words in said
        for part in ("reader", "shop", "cellar", SITE, database.password("reader"), "[secret"):
            assert part not in said

    async def test_of_a_call_with_both_dsns(self, query: Query, database: Database) -> None:
        """Which one would be meant is not guessed."""
        both = {
            "sql_reading_dsn": database.dsn("reader", SITE),
            "sql_writing_dsn": database.dsn("writer", SITE),
        }
        assert "one DSN" in complaint(await query("SELECT 1", dsns=both))

    async def test_the_dsn_is_in_no_answer(self, query: Query, database: Database) -> None:
        """What a database knows of the connection is not the DSN; were it, it would be redacted."""
        dsn = database.dsn("reader", SITE)
        report = await query("SELECT $1::text", parameters=[dsn])
        assert json.loads(report.stdout.data)["rows"] == [["[secret sql_reading_dsn]"]]


class TestDishonestServer:
    @pytest.mark.parametrize(
        ("kind", "value", "tag", "shown"),
        [
            (23, b"abc", b"SELECT 1", "abc"),
            (23, b"9" * 5000, b"SELECT 1", "9" * 5000),
            (701, b"abc", b"SELECT 1", "abc"),
            (25, b"a", b"\xff 1", "a"),
        ],
        ids=["no number", "long number", "no float", "no text"],
    )
    async def test_is_repeated(
        self, query: Query, kind: int, value: bytes, tag: bytes, shown: str
    ) -> None:
        """What is not of the type that it is said to be comes as text."""
        with saying(row(kind, value, tag)) as port:
            dsn = f"postgresql://reader:secret-text@{SITE}:{port}/shop?sslmode=disable"
            report = await query("SELECT 1", dsns={"sql_reading_dsn": dsn}, listed=f"{SITE}:{port}")
        assert answer(report)["rows"] == [[shown]]
