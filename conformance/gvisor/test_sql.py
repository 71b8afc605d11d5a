"""sql_query at a real PostgreSQL, in gVisor."""

from tests.egress.conftest import root
from tests.sql import test_sql_query
from tests.sql.conftest import database, networked, query, tool

__all__ = ["database", "networked", "query", "root", "tool"]


class TestAnswer(test_sql_query.TestAnswer):
    """What it answers, on runsc."""


class TestReadingRole(test_sql_query.TestReadingRole):
    """What the database's role stops, on runsc."""


class TestTime(test_sql_query.TestTime):
    """A statement ends with its call, on runsc."""


class TestRefusals(test_sql_query.TestRefusals):
    """What it refuses or is refused, on runsc."""
