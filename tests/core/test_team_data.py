"""Which of the settings that lie beside rules count for nothing."""

import pytest

from broker.core.team_data import unread_data
from broker.shipped import policies_dir

FILE = "teams/t/data.json"


def reading(what: str, package: str = "teams.t") -> dict[str, str]:
    """Write a package that reads something."""
    return {f"{package.replace('.', '/')}/t.rego": f"package {package}\n\nx if {what} == 1\n"}


def found(sources: dict[str, str], document: object) -> list[tuple[str, str]]:
    """Judge the documents of team t."""
    faults = unread_data(sources, {"teams": {"t": document}})
    return [(fault.file, fault.message) for fault in faults]


class TestUnreadData:
    @pytest.mark.parametrize("key", ["mod", "Mode", "modes"])
    def test_a_misspelt_mode(self, key):
        """It would leave the package enforced, and nobody would be told."""
        ((file, said),) = found(reading("input.x"), {key: "shadow"})
        assert (file, said) == (FILE, f"no rule reads {key!r} of it: did you mean 'mode'?")

    def test_a_misspelt_setting(self):
        """The rule that wants it reads another name."""
        sources = reading('data.teams["t"].destinations')
        ((_, said),) = found(sources, {"destination": [], "destinations": []})
        assert "'destination' of it: did you mean 'destinations'?" in said

    def test_what_nobody_reads(self):
        """Nothing is like it."""
        sources = reading("data.teams.u.limit")
        ((_, said),) = found(sources, {"limit": 1})
        assert "'limit' of it: take it out, or name it in a rule" in said

    @pytest.mark.parametrize(
        "what",
        ["data.teams.t.limit", 'data.teams["t"].limit.x', 'data . teams.t["limit"][input.x]'],
    )
    @pytest.mark.parametrize("package", ["teams.t", "teams.u", "library.x"])
    def test_what_a_rule_reads(self, what, package):
        """In whichever package it stands, however it is written; the mode is read anyway."""
        assert found(reading(what, package), {"limit": 1, "mode": "warn"}) == []

    @pytest.mark.parametrize("what", ['"data.teams.t.limit"', "1 # data.teams.t.limit"])
    def test_what_only_looks_like_it(self, what):
        """A text, a comment."""
        assert len(found(reading(what), {"limit": 1})) == 1

    @pytest.mark.parametrize("document", [{}, [], "x", None])
    def test_what_has_no_names(self, document):
        """An empty one, and what the compiler or the decision refuses."""
        assert found({}, document) == []

    def test_the_brokers_settings(self):
        """A misspelt clock would be the default."""
        settings = {"decide_within_s": 60, "run_in_s": 60}
        (fault,) = unread_data({}, {"broker": {"settings": settings, "other": {"x": 1}}})
        assert (fault.file, fault.rule) == ("broker/settings/data.json", "team-data")
        assert "'run_in_s' of it: did you mean 'run_within_s'?" in fault.message

    def test_the_shipped_ones_are_read(self):
        """As they lie in the package."""
        from broker.adapters.policy_files.sources import read_documents, read_sources

        folder = policies_dir()
        assert unread_data(read_sources(folder), read_documents(folder)) == []
        assert read_documents(folder)["broker"]["settings"]["run_within_s"] == 600
