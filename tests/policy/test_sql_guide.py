"""The rule that docs/sql.md gives, on what the parser tells policy."""

import json
import subprocess
from pathlib import Path

import pytest

from broker.core.sql import read_sql
from tests.docs.fences import blocks_of

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "sql.md"


@pytest.fixture
def rule(tmp_path: Path) -> Path:
    """The rule, in a package of its own."""
    (block,) = (block for block in blocks_of(GUIDE) if block.language == "rego")
    file = tmp_path / "cards.rego"
    file.write_text(f"package shop\n\n{block.text}")
    return file


def denies(opa: str, rule: Path, statement: str) -> bool:
    """Ask the rule about a statement."""
    given = {"tool": {"name": "sql_query"}, "derived": {"statement": read_sql(statement)}}
    done = subprocess.run(
        [opa, "eval", "--data", rule, "--stdin-input", "--format", "raw", "count(data.shop.deny)"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip() == "1"


class TestTable:
    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT * FROM cards",
            'SELECT * FROM shop.public."cards"',
            "WITH a AS (SELECT * FROM cards) SELECT * FROM a",
            "UPDATE orders SET total = 1 FROM cards",
            "DROP TABLE cards",
            "COMMENT ON TABLE cards IS ''",
            "DO $$ BEGIN DELETE FROM cards; END $$",
            "COPY cards TO STDOUT",
            "no SQL at all",
            "SELECT cards FROM cards" + " " * 8192,
        ],
    )
    def test_is_denied(self, opa: str, rule: Path, statement: str) -> None:
        """However it is named, and where that cannot be told."""
        assert denies(opa, rule, statement)

    @pytest.mark.parametrize("statement", ["SELECT * FROM orders", "DELETE FROM orders"])
    def test_is_the_only_one(self, opa: str, rule: Path, statement: str) -> None:
        """Another table is another rule's business."""
        assert not denies(opa, rule, statement)
