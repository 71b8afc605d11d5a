"""What SQL is read as: each doubt beside the query that there is none about."""

import pytest

from broker.core.derived import derive
from broker.core.sql import MAX_BYTES, read_sql

INVALID = {"kind": "sql", "invalid": True}

READS = [
    "select",
    "TABLE orders",
    "VALUES (1), (2)",
    "SELECT * FROM orders; ",
    "SELECT /* DELETE */ 1 -- ; DROP TABLE orders",
    "SELECT 'DELETE FROM orders; DROP TABLE orders'",
    "SELECT a.id, count(*) FROM s.orders a WHERE id = $1::int AND b LIKE 'x' GROUP BY 1 LIMIT 3",
    "SELECT sum(x) FILTER (WHERE x > 0) OVER (PARTITION BY y ORDER BY z ROWS 1 PRECEDING) FROM t",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x), grouping(y) FROM t GROUP BY CUBE (y)",
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT i FROM n",
    "SELECT 1 FROM a JOIN b USING (id) LEFT JOIN LATERAL (SELECT 1) c ON true",
    "SELECT 1 WHERE EXISTS (SELECT 1) AND 1 = ANY (ARRAY[1, 2]) AND 1 IN (1) AND (1, 2) < (3, 4)",
    "SELECT CASE WHEN a THEN b ELSE coalesce(c, greatest(d, 1)) END FROM t",
    "SELECT trim(a), substring(a FROM 1 FOR 2), position('a' IN b), extract(day FROM now()) FROM t",
    "SELECT a SIMILAR TO 'x', a IS DISTINCT FROM b, nullif(a, b), a NOT BETWEEN 1 AND 2 FROM t",
    "SELECT a ->> 'b', a #> '{b}', a @> '{}', a::jsonb, (b)[1], c COLLATE \"C\" FROM t",
    "SELECT current_date, now() AT TIME ZONE 'utc', interval '1 day', DATE '2026-01-01'",
    'SELECT a::integer[], a::varchar(3), a::timestamp with time zone, a::"char" FROM t',
    "SELECT a OPERATOR(pg_catalog.=) b, pg_catalog.lower(c) FROM t",
    "SELECT day FROM generate_series(1, 3) AS d (day)",
    "SELECT d.day, d.*, orders.id FROM generate_series(1, 3) AS d (day), orders",
    "SELECT i.i, j.value FROM unnest($1) i, jsonb_array_elements_text('[1]') j",
    "SELECT extract(day FROM d) FROM generate_series(now(), now(), '1 day') d",
    "SELECT count(*) FROM pg_catalog.pg_class WHERE relname LIKE 'pg_stat%'",
    "SELECT 1 " + "/ 2" * 16,
    "SELECT unnest.unnest FROM unnest(ARRAY[1])",
    "SELECT id FROM a UNION SELECT id FROM b ORDER BY id USING <",
    "EXPLAIN SELECT 1",
]
MAYBE_NOT = [
    "DELETE FROM orders",
    "INSERT INTO orders VALUES (1)",
    "UPDATE orders SET id = 1",
    "MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE",
    "TRUNCATE orders",
    "DROP TABLE orders",
    "CREATE TABLE a AS SELECT 1",
    "SELECT * INTO a FROM orders",
    "WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone",
    "SELECT 1 FROM (WITH gone AS (UPDATE a SET b = 1 RETURNING 1) SELECT 1 FROM gone) x",
    "SELECT * FROM orders FOR UPDATE",
    "SELECT 1; SELECT 2",
    "EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN (ANALYZE) SELECT 1",
    "EXPLAIN DELETE FROM orders",
    "SET TRANSACTION READ WRITE",
    "BEGIN",
    "COMMIT",
    "COPY orders TO STDOUT",
    "COPY orders FROM PROGRAM 'id'",
    "DO 'BEGIN END'",
    "CALL p()",
    "LISTEN a",
    "LOCK orders",
    "PREPARE a AS SELECT 1",
    "EXECUTE a",
    "DECLARE a CURSOR FOR SELECT 1",
    "VACUUM",
    "SELECT forget(1)",
    "SELECT public.lower('A')",
    "SELECT nextval('visits')",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT pg_sleep(1)",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_advisory_lock(1)",
    "SELECT lo_create(0)",
    "SELECT query_to_xml('DELETE FROM orders', true, true, '')",
    "SELECT * FROM ts_stat('DELETE FROM orders')",
    "SELECT * FROM dblink('', '')",
    "SELECT repeat('x', 1000000000)",
    "SELECT * FROM forget(1)",
    "SELECT count(*) OVER w FROM t WINDOW w AS (ORDER BY nextval('visits'))",
    "SELECT 1 LIMIT forget(1)",
    # A call in the notation of a column.
    "SELECT (5).pg_sleep",
    "SELECT ('postgresql.conf'::text).pg_read_file",
    "SELECT s.pg_read_file FROM unnest(ARRAY['postgresql.conf']) s",
    "SELECT unnest.pg_read_file FROM unnest(ARRAY['postgresql.conf'])",
    "SELECT S.pg_sleep FROM generate_series(5, 5) s",
    "SELECT 1 FROM unnest($1) a (pg_sleep), (SELECT a.pg_sleep FROM unnest($2) a) b",
    'SELECT "current_date".forget FROM current_date',
    "SELECT ts_stat.ts_stat FROM unnest(ARRAY['SELECT 1']) AS ts_stat (a)",
    "SELECT d.d FROM generate_series(1, 3) AS d (day)",
    "SELECT pg_read_file.pg_read_file FROM jsonb_array_elements_text('[1]') pg_read_file",
    "SELECT json_array_elements.json_array_elements FROM json_array_elements('[1]')",
    # Before PostgreSQL 14 its name there was date_part.
    "SELECT date_part.pg_sleep FROM extract(day FROM now())",
    # What others ask, and what tables hold.
    "SELECT query FROM pg_stat_activity",
    "SELECT query FROM pg_catalog.pg_stat_activity",
    "SELECT most_common_vals FROM pg_stats",
    # Arithmetic that no timeout ends, on numbers of any length.
    "SELECT lpad('9', 131000, '9')::numeric",
    "SELECT 1 " + "/ 2" * 17,
    "SELECT " + ", ".join(["ln(a)"] * 17) + " FROM t",
    "SELECT 1 ORDER BY (SELECT s.forget FROM generate_series(1, 1) s)",
    "SELECT ($1::record).f",
    # Operators, types and orders of somebody's own.
    "SELECT 1 OPERATOR(public.=) 1",
    "SELECT 1 <-> 2",
    "SELECT @-@ a FROM t",
    "SELECT 1 = ANY (SELECT 2) , 1 <%> ALL (SELECT 2)",
    "SELECT 'x'::evil",
    "SELECT 'x'::public.text",
    "SELECT id FROM orders ORDER BY id USING <<<",
    "SELECT * FROM t TABLESAMPLE mine (1)",
    "SELECT * FROM other.public.orders",
    "SELECT xmlelement(name a)",
]
UNREAD = [
    "",
    " ",
    "-- nothing",
    "SELEC 1",
    "SELECT 1\0; DELETE FROM orders",
    "SELECT '\ud800'",
    "SELECT " + "+".join("1" * 1000),
    "SELECT " + "(SELECT " * 300 + "1" + ")" * 300,
    "SELECT " + ",".join("1" * 2500),
    "SELECT 1".ljust(MAX_BYTES + 1),
    "SELECT 1 FROM " + ", ".join(f"t{number}" for number in range(65)),
    # The lexer's time grows with the square of these.
    "SELECT " + "+" * 64 + "1",
    "SELECT 1 " + "/*" * 32 + "*/" * 32,
]


class TestIsRead:
    @pytest.mark.parametrize("text", READS)
    def test_is_certain(self, text: str) -> None:
        """One query of tables, built-in functions, operators and types."""
        assert read_sql(text).get("is_read") is True

    @pytest.mark.parametrize("text", MAYBE_NOT)
    def test_is_not(self, text: str) -> None:
        """Whatever else it may be."""
        assert read_sql(text).get("is_read") is False

    @pytest.mark.parametrize("text", UNREAD, ids=range(len(UNREAD)))
    def test_is_unknown(self, text: str) -> None:
        """No grammar, too long, too deep, names too much: nothing is said of it."""
        assert read_sql(text) == INVALID

    def test_as_long_as_may_be(self) -> None:
        """The twin of what is too long, and of what names too much."""
        assert read_sql("SELECT " + ",".join("1" * 1500))["is_read"] is True
        assert read_sql("SELECT 1".ljust(MAX_BYTES))["is_read"] is True
        named = "SELECT 1 FROM " + ", ".join(f"t{number}" for number in range(64))
        assert read_sql(named)["is_read"] is True


class TestNames:
    def test_are_all_there(self) -> None:
        """Commands, tables and functions, wherever they stand, as PostgreSQL folds them."""
        text = """
            WITH Gone AS (DELETE FROM Shop."Orders" USING a RETURNING Lower(x))
            SELECT Count(*), my.Own(1) FROM gone, b WHERE EXISTS (SELECT 1 FROM other.s.c)
        """
        assert read_sql(text) == {
            "kind": "sql",
            "statements": 1,
            "commands": ["delete", "select"],
            "tables": ["a", "b", "gone", "other.s.c", "shop.Orders"],
            "functions": ["count", "lower", "my.own"],
            "is_read": False,
        }

    def test_of_several_statements(self) -> None:
        """Every statement is counted; a command of several words is told as one."""
        found = read_sql("ALTER TABLE a ADD b int; SELECT 1; SELECT 2")
        assert (found["statements"], found["commands"]) == (3, ["alter_table", "select"])

    def test_are_derived_where_a_tool_marks_sql(self) -> None:
        """Policy gets what the parser said of the marked argument; of no text, that it is none."""
        schema = {"properties": {"statement": {"x-broker": "sql"}}}
        assert derive(schema, {"statement": "SELECT 1"}) == {"statement": read_sql("SELECT 1")}
        assert derive(schema, {"statement": 1}) == {"statement": INVALID}

    def test_are_derived_of_so_much_sql_a_call(self) -> None:
        """Many statements take no longer than one; what is over is invalid, never left out."""
        schema = {"properties": {"all": {"items": {"x-broker": "sql"}}}}
        half = "SELECT 1".ljust(MAX_BYTES // 2)
        derived = derive(schema, {"all": [half, half, "SELECT 1"]})
        assert derived == {"all/0": read_sql(half), "all/1": read_sql(half), "all/2": INVALID}
