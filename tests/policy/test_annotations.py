"""What the annotations of shipped rules say."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.core.rule_index import RuleSource, read_rules
from broker.shipped import policies_dir

# What these packages refuse with stands in docs/operating.md: they are the broker's own words.
_BROKERS_OWN = "broker/"
_SEVERITY = re.compile(r'"severity": "(\w+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """An annotation that names a rule, as OPA reads it."""

    file: str
    line: int
    title: str
    severity: str
    controls: tuple[str, ...]


@pytest.fixture(scope="module")
def notes(opa: str) -> dict[str, list[Note]]:
    """Each annotation by the id that it gives."""
    argv = [opa, "inspect", "--annotations", "--format", "json", "."]
    told = subprocess.check_output(argv, cwd=policies_dir())
    found: dict[str, list[Note]] = {}
    for entry in json.loads(told)["annotations"]:
        note, place = entry["annotations"], entry["location"]
        custom = note.get("custom", {})
        if "rule" in custom:
            found.setdefault(custom["rule"], []).append(
                Note(
                    file=place["file"],
                    line=place["row"],
                    title=note.get("title", ""),
                    severity=custom.get("severity", ""),
                    controls=tuple(custom.get("controls", ())),
                )
            )
    return found


def rules() -> list[RuleSource]:
    """List the rules of the shipped team, the packs, the library."""
    folder = policies_dir()
    texts = {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*.rego")
        if not path.name.endswith("_test.rego")
    }
    return [rule for rule in read_rules(texts) if not rule.file.startswith(_BROKERS_OWN)]


def severity(rule: RuleSource) -> str:
    """Read the severity that a rule's reason has."""
    lines = Path(policies_dir(), rule.file).read_text().split("\n")[rule.line - 1 :]
    match = _SEVERITY.search("\n".join(lines).partition("\n\n")[0])
    return match[1] if match else ""


class TestEveryRule:
    def test_has_its_annotation(self, notes: dict[str, list[Note]]) -> None:
        """Each id is told once, by its own rule, with a title and the severity that it has."""
        for rule in rules():
            (note,) = notes[rule.rule]
            assert (note.file, note.line, note.severity) == (rule.file, rule.line, severity(rule))
            assert note.title

    def test_names_what_it_supports(self, notes: dict[str, list[Note]]) -> None:
        """What refuses has a control at least; what allows carries none out."""
        lacking = [
            rule.rule
            for rule in rules()
            if rule.head != "allow" and not notes[rule.rule][0].controls
        ]
        assert lacking == []

    def test_is_there(self, notes: dict[str, list[Note]]) -> None:
        """No annotation names a rule that is gone; every folder of rules is looked at."""
        listed = rules()
        assert set(notes) == {rule.rule for rule in listed}
        assert {rule.file.partition("/")[0] for rule in listed} == {"library", "packs", "teams"}
