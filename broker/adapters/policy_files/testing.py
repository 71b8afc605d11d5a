"""Run the Rego tests of a policy folder."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from broker.adapters.policy_files.checks import modes_of
from broker.adapters.policy_files.program import SHARED, require_folder, run
from broker.core.policy_finding import PolicyFinding
from broker.core.policy_tests import PolicyTests
from broker.errors import ConfigurationError

COVERAGE_PERCENT: Final = 95.0
_TESTS: Final = "_test.rego"
_TIMEOUT: Final = "60s"
_UNSTEADY: Final = "a test failed once and passed once: the machine is busy, or it hangs on chance"


def run_tests(folder: Path, opa: str) -> PolicyTests:
    """Run every test; demand that they reach 95 % of the lines of each folder of rules.

    Of each, not of all together: a new package without a test would hide behind what was tested
    before.

    Args:
        opa: The program, by path or by name.

    Raises:
        ConfigurationError: The program is missing, or refuses the folder; with its words.
    """
    require_folder(folder)
    done = run([*_test(opa), "--coverage", "."], folder)
    try:
        files = json.loads(done.stdout)["files"]
    except ValueError:
        # With a failed test there is no coverage; the plain report has each by file and line.
        return PolicyTests(findings=tuple(_failed(folder, opa)), coverage={})
    return _covered(files)


def _test(opa: str) -> list[str]:
    # opa gives each test 5 s, which on a busy machine an honest one may need.
    return [opa, "test", "--bundle", "--timeout", _TIMEOUT, "--format", "json", *SHARED]


def _failed(folder: Path, opa: str) -> list[PolicyFinding]:
    done = run([*_test(opa), "."], folder)
    try:
        tests = json.loads(done.stdout)
    except ValueError as error:
        said = (done.stderr or done.stdout).strip()
        raise ConfigurationError(str(folder), None, f"opa refuses it: {said}") from error
    modes = modes_of(folder)
    failed = sorted(
        PolicyFinding(
            file=test["location"]["file"],
            line=test["location"]["row"],
            rule=test["name"],
            message=f"the test failed{_why(test)}{_trial(test['location']['file'], modes)}",
        )
        for test in tests
        if test.get("fail") or test.get("error")
    )
    # It failed a moment ago: nothing may be taken for tested then.
    return failed or [PolicyFinding(file="", line=0, rule="test", message=_UNSTEADY)]


def _trial(file: str, modes: Mapping[str, str]) -> str:
    """Say of a test of a package on trial what may be why."""
    folder = PurePosixPath(file).parent
    mode = modes.get(".".join(folder.parts))
    if mode is None:
        return ""
    return f' (in mode {mode} it decides nothing: ask `decision.as_enforced("{folder.name}")`)'


def _why(test: dict[str, Any]) -> str:
    error = test.get("error")
    return f": {error.get('message', error) if isinstance(error, dict) else error}" if error else ""


def _covered(files: dict[str, Any]) -> PolicyTests:
    of: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for name, report in sorted(files.items()):
        if not name.endswith(_TESTS):
            of[str(PurePosixPath(name).parent)].append((name, report))
    coverage, findings = {}, []
    for folder, reports in of.items():
        coverage[folder] = _percent([report for _, report in reports])
        if coverage[folder] < COVERAGE_PERCENT:
            findings += [_uncovered(name, report) for name, report in reports if _missed(report)]
    return PolicyTests(findings=tuple(sorted(findings)), coverage=coverage)


def _percent(reports: list[dict[str, Any]]) -> float:
    covered = sum(report.get("covered_lines", 0) for report in reports)
    missed = sum(report.get("not_covered_lines", 0) for report in reports)
    return 100.0 * covered / (covered + missed) if covered + missed else 100.0


def _missed(report: dict[str, Any]) -> list[dict[str, Any]]:
    return list(report.get("not_covered") or [])


def _uncovered(name: str, report: dict[str, Any]) -> PolicyFinding:
    # One line can have several expressions that no test reaches.
    ranges = sorted({(part["start"]["row"], part["end"]["row"]) for part in _missed(report)})
    lines = ", ".join(f"{first}-{last}" if first < last else f"{first}" for first, last in ranges)
    return PolicyFinding(
        file=name,
        line=ranges[0][0],
        rule="coverage",
        message=f"no test reaches line {lines}: tests must reach 95 % of each folder of rules",
    )
