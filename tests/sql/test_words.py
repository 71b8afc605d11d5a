"""What is taken for harmless, held against a real PostgreSQL's own catalogue."""

from collections.abc import Iterable

from postgast import parse

from broker.core.sql import CHECKS
from broker.core.sql_words import FUNCTIONS, NODES, OPERATORS, TYPES
from tests.sql.database import Database

# Volatile since each call gives another value; they change nothing.
GIVES_ANOTHER_VALUE = {"clock_timestamp", "gen_random_uuid", "random", "timeofday"}
# Words of the grammar, which turns them into other operators.
OF_THE_GRAMMAR = {name for name in OPERATORS if "BETWEEN" in name} | {"!="}


def listed(words: Iterable[str]) -> str:
    """Write words as a list of SQL."""
    return ", ".join(f"'{word}'" for word in sorted(words))


class TestFunctions:
    def test_are_built_in(self, database: Database) -> None:
        """A name that the server does not know could become anybody's function."""
        found = database.ask(
            "SELECT DISTINCT proname FROM pg_proc"
            f" WHERE pronamespace = 'pg_catalog'::regnamespace AND proname IN ({listed(FUNCTIONS)})"
        )
        assert FUNCTIONS - set(found.splitlines()) == set()

    def test_have_no_effect(self, database: Database) -> None:
        """None is volatile under any of its signatures, or runs as its owner."""
        found = database.ask(
            "SELECT DISTINCT proname FROM pg_proc"
            f" WHERE pronamespace = 'pg_catalog'::regnamespace AND proname IN ({listed(FUNCTIONS)})"
            " AND (provolatile = 'v' OR prosecdef)"
        )
        assert set(found.splitlines()) == GIVES_ANOTHER_VALUE

    def test_that_have_one_are_found(self, database: Database) -> None:
        """The twin: what the lists leave out on purpose is what that question finds."""
        left_out = {"nextval", "setval", "lo_create", "pg_sleep", "set_config", "query_to_xml"}
        found = database.ask(
            "SELECT DISTINCT proname FROM pg_proc"
            f" WHERE proname IN ({listed(left_out)}) AND provolatile = 'v'"
        )
        assert (set(found.splitlines()), FUNCTIONS & left_out) == (left_out, set())


class TestOperators:
    def test_are_built_in_and_have_no_effect(self, database: Database) -> None:
        """Each is there, and what it calls is volatile under none of its signatures."""
        asked = OPERATORS - OF_THE_GRAMMAR
        found = database.ask(
            "SELECT oprname, bool_or(provolatile = 'v') FROM pg_operator JOIN pg_proc ON"
            " pg_proc.oid = oprcode WHERE oprnamespace = 'pg_catalog'::regnamespace"
            f" AND oprname IN ({listed(asked)}) GROUP BY oprname"
        )
        assert set(found.splitlines()) == {f"{name}|f" for name in asked}


class TestTypes:
    def test_are_built_in(self, database: Database) -> None:
        """Casts to them call nothing of a user's."""
        found = database.ask(
            "SELECT typname FROM pg_type"
            f" WHERE typnamespace = 'pg_catalog'::regnamespace AND typname IN ({listed(TYPES)})"
        )
        assert set(found.splitlines()) == TYPES


class TestNodes:
    def test_are_of_the_grammar(self) -> None:
        """No name is misspelt: each is a message of the parser's."""
        grammar = type(parse("SELECT 1")).DESCRIPTOR.file.message_types_by_name
        assert (NODES | CHECKS.keys()) - set(grammar) == set()
        # What is always harmless needs no check; with one, the check would not be asked.
        assert NODES & CHECKS.keys() == set()
