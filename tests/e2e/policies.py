"""Policies that a test compiles: the shipped one with one more team package."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from broker.adapters.policy_files import build_bundle
from broker.shipped import policies_dir

_REASON = '{"rule": "probe.rule", "message": "m", "agent_message": "a", "severity": "low"}'

STEERED = f"""package teams.probe

purpose := input.session.purpose

hold contains {_REASON} if startswith(purpose, "hold")

deny contains {_REASON} if startswith(purpose, "deny")

approval contains {{"group": "operators", "count": 1}} if purpose == "hold:two-groups"

approval contains {{"group": "security", "count": 1}} if purpose == "hold:two-groups"

approval contains {{"group": "operators", "count": 2}} if purpose == "hold:two-of-one"

approval contains {{"decide_within_s": 1}} if purpose == "hold:decide-1"

approval contains {{"run_within_s": 1}} if purpose == "hold:run-1"

limit contains {{"name": "memory_bytes", "value": 50331648}} if purpose == "small"

runtime contains "kata" if purpose == "kata"
"""

# What a later bundle says of the same calls.
DENYING = (
    STEERED
    + f"""
deny contains {_REASON} if purpose == "hold:then-other"
"""
)
STRICTER_PEOPLE = (
    STEERED
    + """
approval contains {"group": "security", "count": 1} if purpose == "hold:then-other"
"""
)
STRICTER_LIMIT = (
    STEERED
    + """
limit contains {"name": "pids", "value": 7} if purpose == "hold:then-other"
"""
)
RENAMED = STEERED + "\n# Nothing that decides.\n"
LOOSER = STEERED.replace('startswith(purpose, "hold")', 'purpose == "nothing"')


def compile_policy(
    rego: str,
    folder: Path,
    opa: str,
    *,
    main: str | None = None,
    without: tuple[str, ...] = (),
    destinations: tuple[str, ...] = (),
    databases: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Compile the shipped policy with a package `teams.probe`.

    Args:
        rego: Text of the package; empty for none.
        folder: Scratch space; the bundle is written there.
        main: Another text in the place of `main.rego`.
        without: Files and folders of the shipped policy to leave out, by their path in it.
        destinations: What the shipped policy opens to fetches.
        databases: What it opens to `reading`, and to `writing`, by sql_query.
    """
    source = folder / "source"
    shutil.copytree(
        policies_dir(),
        source,
        ignore=shutil.ignore_patterns("*.tar.gz", "*_test.rego", "schemas"),
    )
    for left_out in without:
        place = source / left_out
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    if rego:
        (source / "teams" / "probe").mkdir(parents=True)
        (source / "teams" / "probe" / "probe.rego").write_text(rego)
    if main is not None:
        (source / "broker" / "decision" / "main.rego").write_text(main)
    data = source / "teams" / "default" / "data.json"
    listed = {"reading": (), "writing": (), **(databases or {})}
    if data.exists():
        data.write_text(json.dumps({"destinations": destinations, "databases": listed}))
    bundle = folder / "bundle.tar.gz"
    bundle.write_bytes(build_bundle(source, opa))
    return bundle
