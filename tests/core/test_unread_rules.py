"""Which rules of teams count for nothing."""

import pytest

from broker.core.policy_finding import PolicyFinding
from broker.core.unread_rules import SETS, unread
from broker.shipped import policies_dir

FILE = "teams/t/t.rego"
REASON = '{"rule": "t.x", "message": "m"}'
DENY = f"deny contains {REASON} if bad\n\n"


def found(*rules: str, **others: str) -> list[PolicyFinding]:
    """Judge a team of these rules; `others` are further sources, by a name."""
    paths = {"lib": "broker/lib/lib.rego", "more": "teams/t/more.rego", "u": "teams/u/u.rego"}
    text = "\n\n".join(["package teams.t", *rules, ""])
    return unread({FILE: text, **{paths[name]: other for name, other in others.items()}})


def faults(*rules: str, **others: str) -> list[tuple[int, str]]:
    """Give the line of each fault with its check."""
    return [(finding.line, finding.rule) for finding in found(*rules, **others)]


class TestCounts:
    @pytest.mark.parametrize("name", SETS)
    @pytest.mark.parametrize(
        "rule", ["{} contains x if input.x", "{} := {{x}}", "default {} = {{}}"]
    )
    def test_each_set(self, name, rule):
        """However it is made."""
        assert faults(rule.format(name)) == []

    @pytest.mark.parametrize(
        "rules",
        [
            ["bad if input.x"],
            [
                'default mode := "shadow"',
                'mode := "enforce" if pilot',
                "pilot if input.x",
                "bad if 1",
            ],
            ["bad if worse(1)", "worse(x) if x == limit_of.y", "limit_of.y := 2"],
            ['bad if some x in names["deny"]', 'names["deny"] contains "x"', "names.allow := 1"],
            ["default bad := false", "bad if input.x"],
            ["bad if {\n\tinput.x\n} else := false if {\n\tinput.y\n}"],
            ["# denies contains x\nbad if input.x == `\ndenies contains y\n`"],
        ],
    )
    def test_what_a_set_reads(self, rules):
        """Directly or through others; what a comment or a text says is no rule."""
        assert faults(DENY, *rules) == []

    def test_no_rule(self):
        """A package may say nothing."""
        assert (faults(), faults("# A start.", more="package teams.t\n")) == ([], [])

    def test_over_files(self):
        """All files of a team are one package."""
        assert faults(DENY, more="package teams.t\n\nbad if input.x\n") == []

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("u", "package teams.u\n\nallow contains data.teams.t.mine\n"),
            ("u", 'package teams.u\n\nallow contains data.teams["t"].mine\n'),
            ("u", "package teams.u\n\nimport data.teams.t\n\nallow contains t.mine\n"),
            ("lib", "package broker.lib\n\nmodes[team] := data.teams[team].mine\n"),
        ],
    )
    def test_what_others_read(self, name, text):
        """Another team's package, or the broker's own."""
        assert faults("mine := 1", **{name: text}) == []

    def test_what_is_shipped(self):
        """Whatever of the packs is copied to be a team."""
        texts = {
            path.relative_to(policies_dir()).as_posix(): path.read_text()
            for path in policies_dir().rglob("*.rego")
            if not path.name.endswith("_test.rego")
        }
        copied = {
            path.replace("packs/", "teams/"): text.replace("package packs.", "package teams.")
            for path, text in texts.items()
        }
        assert len(copied) > 20
        assert [unread(texts), unread(copied)] == [[], []]


class TestCountsForNothing:
    @pytest.mark.parametrize(
        ("rule", "said"),
        [
            (f"sub.deny contains {REASON}", "no decision reads sub.deny: write `deny contains"),
            (f'sub["deny"] contains {REASON}', 'reads sub["deny"]: write `deny contains ...`'),
            (f"a.b.hold contains {REASON} if bad", "write `hold contains ...`, a set of the pack"),
            (f"sub.deny := {{{REASON}}}", "write `deny contains"),
            (f"denies contains {REASON}", "did you mean deny? write `deny contains ...`"),
            (f"Deny contains {REASON}", "did you mean deny?"),
            ('redacts contains "/arguments"', "did you mean redact?"),
            ('lable contains "x"', "did you mean label?"),
            (f"violation contains {REASON}", "use it in a rule that adds to a set, remove it"),
            ("default denied := false", "did you mean deny?"),
            ("helper(x) if x > 1", "or move it to a test"),
        ],
    )
    def test_read_by_nobody(self, rule, said):
        """A document below the package, a misspelt set, a set of another tool, a helper of none."""
        (finding,) = found(rule)
        assert (finding.file, finding.line, finding.rule) == (FILE, 3, "team-unread")
        assert said in finding.message

    def test_read_by_what_nobody_reads(self):
        """The whole chain is named, each rule by its lines."""
        assert faults("one if two", "two if three", "two if input.x", "three if one.y") == [
            (line, "team-unread") for line in (3, 5, 7, 9)
        ]

    def test_another_teams(self):
        """What another package has under that name is not this one's."""
        other = "package teams.u\n\ndeny contains mine\n\nmine := 1\n"
        assert faults("mine := 1", u=other) == [(3, "team-unread")]

    def test_what_is_no_team(self):
        """The library may hold what nobody reads yet."""
        assert unread({"library/x/x.rego": "package library.x\n\nnobody := 1\n"}) == []


class TestIsNoSet:
    @pytest.mark.parametrize(
        "rule",
        [
            f'deny["x"] := {REASON}',
            f"deny.x contains {REASON}",
            f"deny[{REASON}] if input.x",
            f"deny(x) := {REASON} if x",
            "deny if input.x",
            "default deny.x := 1",
        ],
    )
    def test_is_told_before_it_denies_everything(self, rule):
        """An object, a function, a truth: a broker would deny every call as malformed, or none."""
        (finding,) = found(rule)
        assert (finding.line, finding.rule) == (3, "team-set")
        assert finding.message == "deny must be a set: write `deny contains ...`"
