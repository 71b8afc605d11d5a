"""Take one refusing rule, or guard of one, at a time out of the shipped policy."""

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.core.rego_text import package_path

# A rule of a set of refusals; a ready reason of the library; what main.rego makes of them; whether
# a package counts.
_HEADS = re.compile(
    r"^(?:(?:deny|hold|denials|holds|malformed|approval) contains "
    r"|(?:effect|reasons) := (?!deny)"
    r"|(?:counts|is_trial|known_mode)\(|(?:on_trial\[team\]|recorded) := "
    r'|\w+(?:\([^)]*\))? := \{\n\t"rule": ).*?(?=\n\n|\Z)',
    re.MULTILINE | re.DOTALL,
)
# What keeps one set of a package on trial from counting; how it is switched off.
_GUARD = re.compile(r"^\tcounts\(team\)\n", re.MULTILINE)
_SWITCHED_GUARD = """package broker.lib

guarded(team, _) if counts(team)

guarded(_, number) if data.mutant == number
"""
# Below these the rules of several folders make one thing, the combination or the shipped team.
_WHOLE = ("broker", "teams")
_EVERY_RULE = -1
_EVAL_S = 300

Passed = Mapping[str, int]
"""How many tests pass, by package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One rule that holds unless `data.mutant` is its number.

    Args:
        file: Relative to the policy folder.
        tests: The packages whose tests stand with it.
    """

    number: int
    file: Path
    rule: str
    tests: tuple[str, ...]


class Mutants:
    """A policy folder whose refusing rules can be switched off one by one.

    Switched off, not cut out: where a rule is missing altogether the compiler complains about
    whoever uses it, which would say nothing of the tests. All stand in one text, so that OPA
    reads and compiles it once.

    Args:
        policies: The folder that is copied.
        folder: A new one.
    """

    def __init__(self, policies: Path, folder: Path) -> None:
        shutil.copytree(policies, folder, ignore=shutil.ignore_patterns("bundle.tar.gz"))
        self._folder = folder
        self._tests = {
            path.relative_to(folder): ".".join(("data", *package_path(path.read_text())))
            for path in sorted(folder.rglob("*_test.rego"))
        }
        self.all = tuple(self._switch())
        (folder / "broker" / "lib" / "guarded.rego").write_text(_SWITCHED_GUARD)

    def passed(self, opa: str) -> tuple[Passed, dict[int, Passed]]:
        """Run the tests with every rule, then without each: give what passes then, by its number.

        Those of the packages that stand with the rule.
        """
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for mutant in self.all:
            groups[mutant.tests].append(mutant.number)
        groups[tuple(sorted(set(self._tests.values())))].append(_EVERY_RULE)
        told = self._evaluate(opa, " | ".join(_counted(*group) for group in groups.items()))
        found = {int(number): dict(passed) for number, passed in told}
        return found.pop(_EVERY_RULE), found

    def _switch(self) -> Iterator[Mutant]:
        """Write a switch into each rule that refuses."""
        number = 0
        for path in sorted(self._folder.rglob("*.rego")):
            file, text = path.relative_to(self._folder), path.read_text()
            if file in self._tests:
                continue
            for match in reversed(list(_GUARD.finditer(text))):
                rule = text[: match.start()].rpartition("\n\n")[2] + match[0]
                text = f"{text[: match.start()]}\tguarded(team, {number})\n{text[match.end() :]}"
                yield Mutant(number=number, file=file, rule=rule, tests=self._beside(file))
                number += 1
            for match in reversed(list(_HEADS.finditer(text))):
                switched = _unless(match[0], number)
                text = text[: match.start()] + switched + text[match.end() :]
                yield Mutant(number=number, file=file, rule=match[0], tests=self._beside(file))
                number += 1
            path.write_text(text)

    def _beside(self, file: Path) -> tuple[str, ...]:
        """Name the packages of tests that stand with a source."""
        beside = Path(file.parts[0]) if file.parts[0] in _WHOLE else file.parent
        return tuple(
            sorted({name for test, name in self._tests.items() if test.is_relative_to(beside)})
        )

    def _evaluate(self, opa: str, query: str) -> Iterable[tuple[int, Passed]]:
        argv = [opa, "eval", "--bundle", str(self._folder), "--stdin", "--format", "json"]
        done = subprocess.run(
            argv, input=query, capture_output=True, text=True, check=False, timeout=_EVAL_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found: list[tuple[int, Passed]] = json.loads(done.stdout)["result"][0]["expressions"][0][
            "value"
        ]
        return found


def _counted(packages: tuple[str, ...], numbers: list[int]) -> str:
    counts = ", ".join(
        f'"{name}": count([1 | {name}[test]; startswith(test, "test_")])' for name in packages
    )
    return (
        f"{{[number, passed] | some number in {numbers}; "
        f"passed := {{{counts}}} with data.mutant as number}}"
    )


def _unless(rule: str, number: int) -> str:
    condition = f"not data.mutant == {number}"
    head, brace, body = rule.rpartition(" if {\n")
    if brace:
        return f"{head}{brace}\t{condition}\n{body}"
    head, word, rest = rule.rpartition(" if ")
    return f"{head} if {{\n\t{condition}\n\t{rest}\n}}" if word else f"{rule} if {condition}"
