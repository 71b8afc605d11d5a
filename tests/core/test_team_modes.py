"""Which modes team packages have, and what leaves one open."""

import pytest

from broker.core.team_modes import mode_faults, team_modes

DENY = 'deny contains {"rule": "t.d", "message": "m"}\n'


def package(*rules: str) -> dict[str, str]:
    """Write a package of these rules."""
    return {"teams/t/t.rego": "\n\n".join(["package teams.t", *rules, DENY])}


class TestTeamModes:
    @pytest.mark.parametrize(
        ("rules", "modes"),
        [
            ([], {}),
            (['mode := "enforce"'], {}),
            (['mode := "shadow" # until June'], {"teams.t": "shadow"}),
            (['# mode := "shadow"', 'mode := "warn"'], {"teams.t": "warn"}),
            (
                ['default mode := "shadow"', 'mode := "enforce" if {\n\tinput.x\n}'],
                {"teams.t": "by call"},
            ),
            (['default mode := "warn"', 'mode := "warn" if input.x'], {"teams.t": "warn"}),
            (['modes := "shadow"', 'x if {\n\tmode := "shadow"\n\tmode\n}'], {}),
        ],
    )
    def test_sure_modes_have_no_fault(self, rules, modes):
        """One that always has a value, comments and other names apart."""
        assert mode_faults(package(*rules), {}) == []
        assert team_modes(package(*rules), {}) == modes

    @pytest.mark.parametrize(
        ("rules", "line", "said"),
        [
            (['mode := "shadwo"'], 3, "'shadwo' is no mode: write one of enforce, warn, shadow"),
            (['mode := "Shadow"'], 3, "'Shadow' is no mode"),
            (["mode := lower(input.mode)"], 3, "is no mode"),
            (["mode := false"], 3, "is no mode"),
            (['mode contains "shadow"'], 3, "is no mode"),
            (['mode.x := "shadow"'], 3, "is no mode"),
            (['mode := "shadow" if input.x'], 3, "add a `default mode`"),
            (['mode := "shadow"', 'mode := "warn"'], 5, "is a second mode"),
            (['default mode := "warn"', 'mode := "warn"'], 5, "is a second mode"),
            (['mode := "shadow"', 'mode := "warn" if input.x'], 5, "may be a second mode"),
            (['default mode := "warn"', 'mode := "x" if input.x'], 5, "'x' is no mode"),
        ],
    )
    def test_an_open_mode_is_a_fault(self, rules, line, said):
        """Misspelt, computed, of another kind, conditional without default, or twice."""
        found = mode_faults(package(*rules), {})
        assert (found[0].file, found[0].line, found[0].rule) == (
            "teams/t/t.rego",
            line,
            "team-mode",
        )
        assert said in found[0].message

    def test_two_files_of_a_package_have_one_mode(self):
        """The second of them is named."""
        sources = {
            **package('mode := "shadow"'),
            "teams/t/u.rego": 'package teams.t\n\nmode := "warn"\n',
        }
        (fault,) = mode_faults(sources, {})
        assert (fault.file, fault.line) == ("teams/t/u.rego", 3)

    def test_data_says_it_too(self):
        """For a package whose rules nobody wants to edit."""
        assert team_modes({}, {"teams": {"t": {"mode": "shadow"}, "u": {}}}) == {
            "teams.t": "shadow"
        }
        (fault,) = mode_faults({}, {"teams": {"t": {"mode": "shadwo"}}})
        assert (fault.file, "'shadwo' is no mode" in fault.message) == ("teams/t/data.json", True)

    def test_a_mode_elsewhere_is_none(self):
        """The library has no mode; nor has a test's package."""
        sources = {"library/t/t.rego": 'package library.t\n\nmode := "x"\n'}
        assert (mode_faults(sources, {}), team_modes(sources, {})) == ([], {})


class TestTriedUnseen:
    """A package that could tell being tried from being enforced could be another one then."""

    @pytest.mark.parametrize(
        "code",
        [
            "not data.broker.tried",
            'not data["broker"].tried',
            "not data[`broker`].tried",
            'not data . broker["tried"]',
            'not data["\\u0062roker"].tried',
            'x with data.broker.tried as "other"',
        ],
    )
    @pytest.mark.parametrize("file", ["teams/t/t.rego", "library/x/x.rego"])
    def test_reading_it_is_a_fault(self, code, file):
        """In a team's package or the library, however it is written."""
        package = ".".join(file.split("/")[:2])
        text = f"package {package}\n\nallow contains x if {{\n\t{code}\n}}\n"
        (fault,) = mode_faults({file: text}, {})
        assert (fault.file, fault.line, fault.rule) == (file, 4, "team-trial")

    @pytest.mark.parametrize("named", ["data as d", "data.broker as b", "data.broker.lib", "data"])
    def test_under_another_name(self, named):
        """By an import."""
        (fault,) = mode_faults(package("import " + named), {})
        assert (fault.line, fault.rule) == (3, "team-trial")

    @pytest.mark.parametrize(
        "code",
        [
            'data.teams.t.mode == "shadow"',
            'data.teams["t"]["mode"] == "shadow"',
            'data . teams.t\n\t.mode == "shadow"',
            "some team; data.teams[team].listed",
            "some field; data.teams.t[field]",
            'data.teams.t["\\u006dode"]',
            "data.teams.t[`mode`]",
            "walk(data.teams.t, [path, value])",
            "count(data.teams) > 1",
            "x with data.teams.t.mode as 1",
        ],
    )
    @pytest.mark.parametrize("file", ["teams/t/t.rego", "teams/u/u.rego", "library/x/x.rego"])
    def test_reading_a_mode_is_a_fault(self, code, file):
        """That of any package, wherever it comes from, and whatever may be one."""
        package = ".".join(file.split("/")[:2])
        text = f"package {package}\n\nallow contains x if {{\n\t{code}\n}}\n"
        (fault,) = mode_faults({file: text}, {"teams": {"t": {"mode": "shadow"}}})
        assert (fault.file, fault.line, fault.rule) == (file, 4, "team-trial")

    @pytest.mark.parametrize(
        "code", ["mode", 'mode == "shadow"', "x[mode]", "some mode in input.x", "f(mode)"]
    )
    def test_reading_its_own_is_a_fault(self, code):
        """By the name that a rule has in its own package, from whichever file."""
        sources = {
            **package('mode := "shadow"'),
            "teams/t/u.rego": f"package teams.t\n\nhold contains x if {{\n\t{code}\n}}\n",
            "teams/u/u.rego": f"package teams.u\n\nhold contains x if {{\n\t{code}\n}}\n",
        }
        (fault,) = mode_faults(sources, {})
        assert (fault.file, fault.line, fault.rule) == ("teams/t/u.rego", 4, "team-trial")

    def test_a_condition_of_the_mode_is_free(self):
        """It says the same on trial and in force; so is a field of that name elsewhere."""
        rules = [
            'default mode := "shadow"',
            'mode := "enforce" if pilot',
            'pilot if input.tool.arguments.mode == "mode" # mode',
            "listed if data.teams.t.settings.mode",
        ]
        assert mode_faults(package(*rules), {}) == []

    @pytest.mark.parametrize("named", ["data.teams", "data.teams.t", "data.teams.u as mine"])
    def test_teams_under_another_name(self, named):
        """By an import, below which anything can be read."""
        (fault,) = mode_faults(package("import " + named), {})
        assert (fault.line, fault.rule) == (3, "team-trial")

    def test_other_data_is_free(self):
        """Another package, data.json of teams, what only looks like it, and broker's own rules."""
        sources = {
            "teams/t/t.rego": """package teams.t

import data.library.x

# data.broker.tried
deny contains {"rule": "t.d", "message": "data.broker of data"} if {
	data.teams["t"].listed
	input.data.broker
	data_broker
	data.brokers
}
""",
            "broker/lib/trial.rego": "package broker.lib\n\nx := data.broker.tried\n",
        }
        assert mode_faults(sources, {}) == []
