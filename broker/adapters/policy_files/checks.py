"""Check a policy folder as it is written: strictly compiled, in place, formatted, linted."""

import json
from itertools import zip_longest
from pathlib import Path
from typing import Any

from broker.adapters.policy_files.program import SHARED, require_folder, run
from broker.adapters.policy_files.sources import read_documents, read_sources
from broker.core.policy_finding import PolicyFinding
from broker.core.team_data import unread_data
from broker.core.team_folders import misplaced
from broker.core.team_modes import mode_faults, team_modes
from broker.core.unread_rules import unread
from broker.errors import ConfigurationError


def check_folder(folder: Path, opa: str, regal: str | None) -> list[PolicyFinding]:
    """List the faults of a policy folder, by file and line.

    Args:
        opa: The program, by path or by name.
        regal: The linter Regal, likewise; None leaves its rules out.

    Raises:
        ConfigurationError: A program is missing, or answers in no form that it is known for.
    """
    require_folder(folder)
    # What does not parse can be neither formatted nor linted.
    return sorted(set(_compile(folder, opa) or _as_compiled(folder, opa, regal)))


def modes_of(folder: Path) -> dict[str, str]:
    """Name each team's package that is not simply enforced, with its mode."""
    return team_modes(read_sources(folder), read_documents(folder))


def _as_compiled(folder: Path, opa: str, regal: str | None) -> list[PolicyFinding]:
    sources, documents = read_sources(folder), read_documents(folder)
    return [
        *misplaced(sources),
        *mode_faults(sources, documents),
        *unread(sources),
        *unread_data(sources, documents),
        *_format(folder, opa),
        *_lint(folder, regal),
    ]


def _compile(folder: Path, opa: str) -> list[PolicyFinding]:
    # As a bundle: read loosely, schemas and capabilities would be taken for data.
    argv = [opa, "check", "--strict", "--bundle", "--format", "json", *SHARED]
    if (folder / "schemas").is_dir():
        argv += ["--schema", "schemas"]
    done = run([*argv, "."], folder)
    if done.returncode == 0:
        return []
    return [_compiler_finding(error) for error in _read(done.stderr, folder, opa)["errors"]]


def _compiler_finding(error: dict[str, Any]) -> PolicyFinding:
    place = error.get("location") or {}
    details = error.get("details")
    known = details.get("oneOf") if isinstance(details, dict) else None
    remedy = f" (there are: {', '.join(map(str, known))})" if known else ""
    return PolicyFinding(
        file=place.get("file", ""),
        line=place.get("row", 0),
        rule=error.get("code", "opa"),
        message=" ".join(str(error.get("message", "")).split()) + remedy,
    )


def _format(folder: Path, opa: str) -> list[PolicyFinding]:
    listed = run([opa, "fmt", "--list", "."], folder).stdout.split("\n")
    return [_format_finding(folder, name, opa) for name in listed if name]


def _format_finding(folder: Path, name: str, opa: str) -> PolicyFinding:
    written = (folder / name).read_text().split("\n")
    wanted = run([opa, "fmt", name], folder).stdout.split("\n")
    pairs = enumerate(zip_longest(written, wanted), start=1)
    line = next((number for number, (old, new) in pairs if old != new), 0)
    return PolicyFinding(
        file=name, line=line, rule="opa-fmt", message="not formatted: run `opa fmt --write` on it"
    )


def _lint(folder: Path, regal: str | None) -> list[PolicyFinding]:
    if regal is None:
        return []
    done = run([regal, "lint", "--format", "json", "."], folder)
    return [
        PolicyFinding(
            file=found["location"]["file"],
            line=found["location"]["row"],
            rule=found["title"],
            message=found["description"],
        )
        for found in _read(done.stdout, folder, regal, done.stderr).get("violations") or []
        # Regal formats as the OPA within it does, which is not the one that is used here.
        if found["title"] != "opa-fmt"
    ]


def _read(text: str, folder: Path, program: str, words: str = "") -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError as error:
        said = (words or text).strip()
        raise ConfigurationError(str(folder), None, f"{program} refuses it: {said}") from error
    return answer if isinstance(answer, dict) else {"errors": [], "violations": []}
