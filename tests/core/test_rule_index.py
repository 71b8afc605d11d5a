"""Where the rules of a policy stand."""

import pytest

from broker.core.rule_index import RuleSource, read_rules

LIBRARY = """\
package library.usage

# METADATA
# title: Deny an agent whose budget is spent
# description: In whole calls.
# custom:
#   rule: library.budget_spent
#   controls: [NIST SC-5, "a: b"]
budget_spent := {
	"rule": "library.budget_spent",
	"message": "m",
} if {
	not budget_left(1)
}
"""
TEAM = """\
# METADATA
# title: Of the package, not of a rule
package teams.shop

import data.library.usage

# "rule": "shop.no_rule"
# budget: usage.budget_spent
deny contains usage.budget_spent if binds

allow contains {"rule": "shop.open", "message": "m"} if binds

# METADATA
# title: [broken
default reasons := {{
	"rule": "shop.default",
	"message": "m",
}}
"""


def rule(**given: object) -> RuleSource:
    """Make a rule of the team's file that has no annotation."""
    nothing = {"title": "", "description": "", "controls": (), "used_at": ()}
    return RuleSource(
        **{**nothing, "package": "teams.shop", "file": "teams/shop/shop.rego", **given}  # type: ignore[arg-type]
    )


class TestReadRules:
    def test_each_rule_has_its_place_and_its_annotation(self):
        """By file and line of its head; a comment is no rule, a broken annotation none."""
        rego = {"teams/shop/shop.rego": TEAM, "library/usage/usage.rego": LIBRARY}
        assert read_rules(rego) == (
            RuleSource(
                rule="library.budget_spent",
                package="library.usage",
                file="library/usage/usage.rego",
                line=9,
                head="budget_spent",
                title="Deny an agent whose budget is spent",
                description="In whole calls.",
                controls=("NIST SC-5", "a: b"),
                used_at=("teams/shop/shop.rego:9",),
            ),
            rule(rule="shop.open", line=11, head="allow"),
            rule(rule="shop.default", line=15, head="reasons"),
        )

    @pytest.mark.parametrize(
        "body",
        [
            'deny contains {"message": "see issue #12", "rule": "t.hidden"}',
            'deny contains {"message": `a # b`, "rule": "t.hidden"} # "rule": "t.other"',
            'deny contains {"message": "\\" #", "rule": "t.hidden"}',
            'deny contains {"message": "#",\n\t"rule": "t.hidden"} # it\'s "one',
        ],
    )
    def test_a_hash_in_a_text_hides_no_rule(self, body):
        """It begins no comment; what stands in one is no rule."""
        found = read_rules({"teams/t/t.rego": f"package teams.t\n\n{body}\n"})
        assert [(rule.rule, rule.line, rule.head) for rule in found] == [("t.hidden", 3, "deny")]

    def test_every_rule_of_a_line_is_listed(self):
        """One id does not hide the next."""
        text = 'package teams.t\n\ns := [{"rule": "t.a"}, {"rule": "t.b"}]\n'
        assert [rule.rule for rule in read_rules({"t.rego": text})] == ["t.a", "t.b"]

    def test_a_use_is_in_code(self):
        """What a comment after code says of a rule uses it nowhere."""
        use = "package teams.t\n\nx := 1 # usage.budget_spent\n"
        (rule,) = read_rules({"library/usage/usage.rego": LIBRARY, "teams/t/t.rego": use})
        assert rule.used_at == ()

    def test_sources_that_are_no_rego_have_no_rules(self):
        """Whatever a text holds, nothing is raised."""
        assert read_rules({"a": "", "b": '\t"rule": "x"', "c": "\x00"}) == ()
