"""What docs/operating.md lists is what the broker has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from broker.adapters.telemetry import Telemetry
from broker.config import SECTIONS
from broker.core.replay import FAILURES, REFUSALS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operating.md").read_text()
REASON = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*")
RULE = re.compile(r'"(broker\.[a-z_]+)"')
NO_RULES = {"broker.verify", "broker.decision", "broker.started"}
"""Names of a module, of a package, of an event."""


def _modules() -> Iterator[ast.Module]:
    for file in sorted((ROOT / "broker").rglob("*.py")):
        if "v1" not in file.relative_to(ROOT).parts:
            yield ast.parse(file.read_text())


def _texts(node: ast.AST) -> Iterator[str]:
    """Give the reasons that a piece of code states."""
    match node:
        case ast.keyword(arg="reason", value=ast.Constant(value=str(text))):
            yield text
        case ast.Assign(
            targets=[ast.Name(id="reason" | "UNREACHABLE")], value=ast.Constant(value=str(text))
        ):
            yield text
        case ast.Call(func=ast.Name(id="_refused" | "ClientError"), args=[_, second, *_]):
            if isinstance(second, ast.Constant):
                yield str(second.value)


def stated_reasons() -> set[str]:
    """Every reason that the broker's code, or its client's, can give."""
    found = {text for module in _modules() for node in ast.walk(module) for text in _texts(node)}
    return {text for text in found if REASON.fullmatch(text)}


def first_cells(section: str) -> set[str]:
    """The code words in the first cells of a section's tables, and of its last sentence."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    handled_inside = text.partition("Inside the broker only")[2]
    return set(re.findall(r"`([^`]+)`", " ".join([*rows, handled_inside])))


class TestOperating:
    def test_every_reason_has_a_remedy(self):
        """Each reason of a refusal stands in the tables, and nothing else does."""
        assert first_cells("When a request is refused") == stated_reasons()

    def test_every_rule_of_the_broker_has_a_remedy(self):
        """Each denial of the broker's own, and of main.rego's, stands in the table."""
        files = [*(ROOT / "broker").rglob("*.py")]
        files += [*(ROOT / "policies_rego" / "broker").rglob("*.rego")]
        rules = {rule for file in files for rule in RULE.findall(file.read_text())} - NO_RULES
        assert first_cells("When a call is denied by the broker itself") == rules

    def test_a_replay_knows_every_rule_of_the_broker(self):
        """It leaves out what the broker says itself, and nothing that main.rego says."""
        files = [*(ROOT / "policies_rego" / "broker").rglob("*.rego")]
        files = [file for file in files if not file.name.endswith("_test.rego")]
        policys = {rule for file in files for rule in RULE.findall(file.read_text())} - NO_RULES
        listed = first_cells("When a call is denied by the broker itself")
        assert listed - policys == REFUSALS | FAILURES

    def test_every_metric_is_listed(self):
        """The table of metrics is the registry's."""
        metrics = {metric.name for metric in Telemetry().registry.collect()}
        assert first_cells("Metrics") == metrics

    def test_every_table_of_the_configuration_is_listed(self):
        """The page says what each table of the file is for."""
        assert first_cells("Configuration") == {*SECTIONS, "witnesses", "secrets", "identities"}


class TestPages:
    def test_their_links_lead_somewhere(self):
        """Every file that a page links to is there."""
        broken = [
            (page.name, link)
            for page in sorted((ROOT / "docs").glob("*.md"))
            for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
            if not (page.parent / link).exists()
        ]
        assert broken == []
