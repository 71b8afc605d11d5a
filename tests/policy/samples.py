"""Inputs and bundles that the tests of policy share."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from broker.adapters.policy_files import build_bundle
from broker.core.bundle import Bundle, read_bundle
from broker.core.canonical import JsonObject, canonical_json
from broker.core.decision import Limits
from broker.core.identity import Identity, Role
from broker.core.ids import AgentId, CallId, Sha256, sha256_hex
from broker.core.policy_input import History, PolicySession, PolicyTool, policy_input
from broker.shipped import policies_dir

CALL = CallId("01K00000000000000000000000")
NOW = datetime(2026, 11, 23, 11, 9, 33, 250_000, tzinfo=UTC)
TREE = Sha256("ab" * 32)
LIMITS = Limits(
    cpu_millicores=1000,
    memory_bytes=268_435_456,
    pids=64,
    timeout_s=60,
    output_bytes=1_048_576,
    tmp_bytes=67_108_864,
)
AGENT = Identity(
    id=AgentId("spiffe://example.org/agent"),
    person="",
    owner="alice",
    roles=frozenset({Role.AGENT}),
    groups=frozenset(),
    attributes=(),
    expires_at=None,
)
SESSION = PolicySession(id="default", labels=frozenset(), purpose="add numbers")
HISTORY = History(calls=(0, 0, 0), denied=(0, 0, 0), by_tool={}, prior_tools=(), budget_spent=0)
PATHS = ("data/in.csv", "notes.txt")
_SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "path": {"x-broker": "path"},
        "url": {"x-broker": "url"},
        "statement": {"x-broker": "sql"},
    },
}


def tool(
    name: str,
    *,
    destructive: bool = False,
    open_world: bool = False,
    labels: tuple[str, ...] = (),
) -> PolicyTool:
    """Make what policy is told of a tool."""
    return PolicyTool(
        name=name,
        version="1.0.0",
        image_digest="sha256:" + "cd" * 32,
        effects={
            "read_only": False,
            "destructive": destructive,
            "idempotent": False,
            "reversible": True,
            "open_world": open_world,
        },
        labels=labels,
        limits=LIMITS,
        egress=("api.example.org:443", "example.org:443"),
        secrets=("token",),
        runtime="runc",
        input_schema=_SCHEMA,
    )


def ask(
    name: str,
    arguments: JsonObject | None = None,
    *,
    destructive: bool = False,
    open_world: bool = False,
    labels: tuple[str, ...] = (),
    seen: frozenset[str] = frozenset(),
    identity: Identity = AGENT,
    history: History = HISTORY,
    paths: tuple[str, ...] = PATHS,
) -> JsonObject:
    """Build the input of one call, by a tool with `labels`, of an agent that has `seen` such."""
    arguments = {} if arguments is None else arguments
    return policy_input(
        call=CALL,
        now=NOW,
        identity=identity,
        session=replace(SESSION, labels=seen),
        tool=tool(name, destructive=destructive, open_world=open_world, labels=labels),
        arguments=arguments,
        arguments_sha256=sha256_hex(canonical_json(arguments)),
        tree_sha256=TREE,
        paths=paths,
        history=history,
    )


def without_teams(folder: Path) -> Path:
    """Lay out the shipped policy folder without any team, packs and library included."""
    ignored = shutil.ignore_patterns("bundle.tar.gz", "*_test.rego")
    shutil.copytree(policies_dir(), folder, ignore=ignored)
    shutil.rmtree(folder / "teams")
    return folder


def install(folder: Path, pack: str) -> None:
    """Copy a pack to the teams of a policy folder, as docs/policy.md says."""
    for file in (policies_dir() / "packs" / pack).glob("*.rego"):
        installed = folder / "teams" / pack / file.name
        installed.parent.mkdir(parents=True, exist_ok=True)
        installed.write_text(file.read_text().replace(f"packs.{pack}", f"teams.{pack}"))


PACKS = ("coding_agent", "data_analyst", "support_agent")


def compiled_packs(folder: Path, opa: str) -> Bundle:
    """Compile a policy whose teams are the three packs, each bound to its own group of agents."""
    without_teams(folder)
    for pack in PACKS:
        install(folder, pack)
    return compiled_folder(folder, opa)


def compiled(folder: Path, opa: str, sources: Mapping[str, str], *, shipped: bool = True) -> Bundle:
    """Compile the shipped policy with more packages, or these packages alone; each text once."""
    if shipped:
        # What no source imports would not be in the bundle: reading it takes most of the time.
        unused = [name for name in ("library", "packs") if name not in "".join(sources.values())]
        ignored = shutil.ignore_patterns("bundle.tar.gz", "*_test.rego", *unused)
        shutil.copytree(policies_dir(), folder, ignore=ignored, dirs_exist_ok=True)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (".manifest", "capabilities.json"):
            shutil.copy(policies_dir() / name, folder / name)
    for name, text in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    known = (shipped, frozenset(sources.items()))
    if known not in _COMPILED:
        _COMPILED[known] = compiled_folder(folder, opa)
    return _COMPILED[known]


_COMPILED: dict[tuple[bool, frozenset[tuple[str, str]]], Bundle] = {}


def compiled_folder(folder: Path, opa: str) -> Bundle:
    """Compile a policy folder as it is."""
    return read_bundle(build_bundle(folder, opa), str(folder))
