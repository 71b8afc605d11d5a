"""Take one refusing rule, or guard of one, at a time out of the shipped policy."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# A rule of a set of refusals; what main.rego makes of them; whether a package counts; a ready
# reason of the library.
_HEADS = re.compile(
    r"^(?:(?:deny|hold|denials|holds|malformed|approval) contains "
    r"|(?:effect|reasons) := (?!deny)"
    r"|(?:counts|is_trial|known_mode)\(|(?:on_trial\[team\]|recorded) := "
    r'|\w+(?:\([^)]*\))? := \{\n\t"rule": ).*?(?=\n\n|\Z)',
    re.MULTILINE | re.DOTALL,
)
# What keeps one set of a package on trial from counting.
_GUARD = re.compile(r"^\tcounts\(team\)\n", re.MULTILINE)
_FAILED_TESTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One rule that never holds.

    Args:
        file: Relative to the policy folder.
        text: The file with the rule disabled.
    """

    file: Path
    rule: str
    text: str


def mutants(folder: Path) -> Iterator[Mutant]:
    """Disable each rule that refuses, one by one; take out each guard against packages on trial.

    Disabled, not cut out: where a rule is missing altogether the compiler complains about whoever
    uses it, which would say nothing of the tests.
    """
    for file in sorted(folder.rglob("*.rego")):
        if file.name.endswith("_test.rego"):
            continue
        text = file.read_text()
        for match in _HEADS.finditer(text):
            disabled = text[: match.start()] + _never(match[0]) + text[match.end() :]
            yield Mutant(file=file.relative_to(folder), rule=match[0], text=disabled)
        for match in _GUARD.finditer(text):
            head = text[: match.start()].rpartition("\n\n")[2]
            unguarded = text[: match.start()] + text[match.end() :]
            yield Mutant(file=file.relative_to(folder), rule=f"{head}{match[0]}", text=unguarded)


def is_missed(mutant: Mutant, folder: Path, scratch: Path, opa: str) -> bool:
    """Tell whether a test that stands with the rule fails without it.

    Args:
        folder: The policy folder.
        scratch: A new folder to lay out the mutant in.
    """
    _lay_out(mutant, folder, scratch)
    (scratch / mutant.file).write_text(mutant.text)
    tests = r"^data\.(broker|teams)\."
    if mutant.file.parts[0] == "broker":
        tests = r"^data\.broker\."
    if mutant.file.parts[0] in {"library", "packs"}:
        tests = rf"^data\.{'.'.join(mutant.file.parent.parts)}_test\."
    argv = [opa, "test", "--bundle", "--run", tests, str(scratch)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode in {0, _FAILED_TESTS}, done.stderr
    return done.returncode == _FAILED_TESTS


def _never(rule: str) -> str:
    head, brace, body = rule.rpartition(" if {\n")
    if brace:
        return f"{head}{brace}\tfalse\n{body}"
    head, word, condition = rule.rpartition(" if ")
    return f"{head} if {{\n\tfalse\n\t{condition}\n}}" if word else f"{rule} if false"


def _lay_out(mutant: Mutant, folder: Path, scratch: Path) -> None:
    """Copy what the tests of the mutant's folder need: parsing the rest takes most of the time."""
    parts = {"broker", "library", "schemas", "teams"} - {mutant.file.parts[0]}
    parts -= {"teams"} if mutant.file.parts[0] in {"library", "packs"} else {"library"}
    parts -= {"teams"} if mutant.file.parts[0] == "broker" else set()
    own = mutant.file.parent if mutant.file.parts[0] == "packs" else Path(mutant.file.parts[0])
    for part in sorted({*map(Path, parts), own}):
        shutil.copytree(folder / part, scratch / part)
    shutil.copy(folder / ".manifest", scratch)
