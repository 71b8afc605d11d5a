"""Which sources of teams the decision would not read."""

import pytest

from broker.core.team_folders import misplaced

OTHER = "or move it out of teams/"
MOVE = "move it to teams/<name>/, with `package teams.<name>`"


class TestMisplaced:
    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("teams/t/t.rego", "package teams.t\n"),
            ("teams/t/sub/t.rego", "# A team.\n\n# package teams.x\npackage teams.t\n"),
            ("teams/my-team/t.rego", 'package teams["my-team"]\n'),
            ("teams/default/t.rego", "  package   teams.default # its own\n"),
            ("library/url/url.rego", "package library.url\n"),
            ("broker/lib/lib.rego", "package broker.lib\n\nx := `\npackage teams.t`\n"),
        ],
    )
    def test_the_package_of_its_folder_is_read(self, path, text):
        """However deep the file lies in the folder, whatever stands before or after."""
        assert misplaced({path: text}) == []

    @pytest.mark.parametrize(
        ("path", "text", "line", "said"),
        [
            ("teams/t/sub/t.rego", "package teams.t.sub\n", 1, "write `package teams.t`, "),
            ("teams/t/t.rego", "# a\n\npackage teams.t.sub\n", 3, OTHER),
            ("teams/t/t.rego", "package teams.u\n", 1, OTHER),
            ("teams/t/t.rego", "package teams\n", 1, OTHER),
            ("teams/t/t.rego", "package library.t\n", 1, OTHER),
            ("teams/t/t.rego", "package library.t\n\nx := `\npackage teams.t`\n", 1, OTHER),
            ("teams/a.b/t.rego", "package teams.a.b\n", 1, 'write `package teams["a.b"]`, '),
            ("teams/t/t.rego", "package teams.t;x := 1\n", 1, OTHER),
            ("teams/t/t.rego", "x := 1\n", 0, OTHER),
            ("teams/t.rego", "package teams.t\n", 1, MOVE),
            ("teams/t.rego", "package library.t\n", 1, MOVE),
            ("library/t/t.rego", "package teams.t.sub\n", 1, MOVE),
            ("library/t/t.rego", "package teams.t\n", 1, MOVE),
        ],
    )
    def test_another_package_is_a_fault(self, path, text, line, said):
        """A package below the team's, beside it, of another root, or in another folder."""
        (finding,) = misplaced({path: text})
        assert (finding.file, finding.line, finding.rule) == (path, line, "team-package")
        assert said in finding.message

    def test_each_is_named_in_order_of_path(self):
        """One fault hides no other."""
        sources = {"teams/b/b.rego": "package x\n", "teams/a/a.rego": "package x\n"}
        assert [finding.file for finding in misplaced(sources)] == sorted(sources)
