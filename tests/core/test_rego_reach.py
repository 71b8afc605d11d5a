"""Which Rego sources belong to a bundle."""

import json

import pytest

from broker.core.rego_reach import reached
from broker.shipped import policies_dir

LIBRARY = {
    "library/url.rego": "package library.url\n\nimport data.library.words\n",
    "library/words.rego": "package library.words\n",
    "library/sql.rego": "package library.sql\n",
    "packs/a.rego": "package packs.a\n\nimport data.library.sql\n",
    "broker/main.rego": "package broker.decision\n\nx if data.teams[_].deny\n",
}
OWN = {"broker/main.rego", "teams/t.rego"}


def team(body: str) -> dict[str, str]:
    """Add a team's package."""
    return {**LIBRARY, "teams/t.rego": f"# A team.\npackage teams.t\n\n{body}\n"}


class TestReached:
    @pytest.mark.parametrize(
        ("body", "more"),
        [
            ("allow contains 1", set()),
            ("import data.library.sql", {"library/sql.rego"}),
            ("import data.library.url", {"library/url.rego", "library/words.rego"}),
            ("deny contains 1 if data.library.words.long", {"library/words.rego"}),
            ("import data.packs.a", {"packs/a.rego", "library/sql.rego"}),
            (
                "deny contains 1 if data.library[topic].x",
                {"library/url.rego", "library/words.rego", "library/sql.rego"},
            ),
            ('deny contains 1 if data["library"].x', set(LIBRARY)),
            ("deny contains 1 if walk(data)", set(LIBRARY)),
            ('deny contains "carries data out" # data.library.sql, "', set()),
            ("deny contains `data # ` if data.library.words.x", {"library/words.rego"}),
            ('# it`s "one\nimport data.library.words # `', {"library/words.rego"}),
            ('deny contains "\\" # " if data.library.words.x', {"library/words.rego"}),
            ("deny contains 1 if metadata.library.words", set()),
        ],
    )
    def test_what_is_imported_comes_along(self, body, more):
        """What a team refers to, in whatever way, is in; what nobody refers to is out."""
        assert reached(team(body)) == OWN | more

    def test_no_text_holds_code(self):
        """OPA's templates would: what one refers to would be left out of a bundle unseen."""
        capabilities = json.loads((policies_dir() / "capabilities.json").read_text())
        assert "template_strings" not in capabilities["features"]

    def test_a_source_without_a_package_stays(self):
        """What cannot be read here is left for OPA to refuse."""
        assert reached({"x.rego": "", **LIBRARY}) == {"broker/main.rego", "x.rego"}
