"""Compare what policy engines take with raw HTTP to OPA, over a thousand tools and agents."""

import asyncio
import http.client
import json
import random
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from bench.figure import Figure, quantiles
from broker.adapters.opa_server import OpaChild, OpaServerEngine
from broker.adapters.opa_server.client import OpaClient
from broker.adapters.opa_wasm import WasmEngine
from broker.adapters.policy_files import build_bundle
from broker.adapters.sqlite_store import recorded_decisions
from broker.core.bundle import Bundle, read_bundle
from broker.core.canonical import canonical_json
from broker.core.ids import AgentId
from broker.core.replay import Recorded
from broker.replay import replay
from broker.shipped import policies_dir
from tests.broker_process import UNHURRIED, Folder, Served
from tests.policy.samples import AGENT, ask

ROOT = Path(__file__).resolve().parents[1]
TOOLS = AGENTS = 1_000
REPLAYED_A_SECOND = 1_000
_TIMEOUT_S = 10.0
_WARM_UP = 200
_NAMED_TOOLS = ("python_run", "workspace_read", "workspace_list", "http_fetch")
_NAMED_AGENTS = ("spiffe://toolwarrant.dev/agent",)
_DECISION = "/v1/data/broker/decision/result?provenance=true&strict-builtin-errors=true"
_REGISTRY = """\
# METADATA
# title: Who may use which tool, by a register of both
# schemas:
#   - input: schema.policy_input
package teams.registry

deny contains {"rule": "registry.agent", "message": "the agent is not registered"} if not agent

deny contains {"rule": "registry.tool", "message": "the tool is not registered"} if not tool

deny contains {"rule": "registry.group", "message": "the tool is another group's"} if {
	not agent.group in tool.groups
}

hold contains {"rule": "registry.clearance", "message": "the tool asks for more clearance"} if {
	agent.clearance < tool.clearance
}

limit contains {"name": "timeout_s", "value": tool.timeout_s}

agent := data.teams.registry.agents[input.agent.id]

tool := data.teams.registry.tools[input.tool.name]
"""


def measure(made: Folder, place: Path, *, calls: int, recorded: int, rounds: int) -> list[Figure]:
    """Measure one decision on each engine in turns; then how many a replay takes in a second.

    Args:
        calls: Decisions of each engine.
        recorded: Decisions that are replayed, of a broker that took them.
        rounds: How often.
    """
    opa = subprocess.check_output([ROOT / "scripts" / "tool.sh", "opa"], text=True).strip()
    place.mkdir()
    archive = build_bundle(_registry(place / "policy"), opa)
    (place / "bundle.tar.gz").write_bytes(archive)
    bundle = read_bundle(archive, "bundle.tar.gz")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(_engines(bundle, opa, calls))
        store = _recorded(made, place, recorded)
        return [*figures, runner.run(_replayed(bundle, store, rounds))]


def _registry(folder: Path) -> Path:
    """Lay out the shipped policy with one more team, whose data are a thousand tools and agents."""
    shutil.copytree(
        policies_dir(), folder, ignore=shutil.ignore_patterns("bundle.tar.gz", "*_test.rego")
    )
    chance, groups = random.Random(6), [f"group-{number}" for number in range(40)]
    tools = [*_NAMED_TOOLS, *(f"tool_{number}" for number in range(TOOLS))][:TOOLS]
    agents = [*_NAMED_AGENTS, *(_agent(number) for number in range(AGENTS))][:AGENTS]
    data = {
        "tools": {
            name: {
                "owner": chance.choice(groups),
                "groups": groups if name in _NAMED_TOOLS else chance.sample(groups, 5),
                "clearance": chance.randint(1, 3),
                "timeout_s": chance.randint(10, 300),
            }
            for name in tools
        },
        "agents": {
            name: {"group": chance.choice(groups), "clearance": chance.randint(1, 4)}
            for name in agents
        },
    }
    team = folder / "teams" / "registry"
    team.mkdir()
    (team / "registry.rego").write_text(_REGISTRY)
    (team / "data.json").write_text(json.dumps(data))
    return folder


def _agent(number: int) -> str:
    return f"spiffe://example.org/agent/{number}"


def _asked(count: int) -> list[bytes]:
    """Ask for as many agents as there are, each time by another tool."""
    chance = random.Random(7)
    return [
        canonical_json(
            ask(
                chance.choice([*_NAMED_TOOLS, f"tool_{chance.randrange(TOOLS)}"]),
                {"path": f"notes/{number}.txt", "code": "print(6 * 7)"},
                identity=replace(AGENT, id=AgentId(_agent(chance.randrange(AGENTS)))),
            )
        )
        for number in range(count)
    ]


class _RawHttp:
    """Asks OPA with nothing between: the standard library's HTTP over a unix socket."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection("localhost")
        self._connection.sock = socket.socket(socket.AF_UNIX)
        self._connection.sock.connect(urlsplit(url).path)

    def ask(self, policy_input: bytes) -> object:
        """Ask for one decision."""
        body = b'{"input":%b}' % policy_input
        self._connection.request("POST", _DECISION, body, {"Content-Type": "application/json"})
        return json.loads(self._connection.getresponse().read())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass(slots=True, kw_only=True)
class _Took:
    """Milliseconds of each decision, by side."""

    raw: list[float] = field(default_factory=list)
    opa: list[float] = field(default_factory=list)
    wasm: list[float] = field(default_factory=list)


async def _engines(bundle: Bundle, opa: str, calls: int) -> list[Figure]:
    child = await OpaChild.start(opa, bundle)
    client = OpaClient(child.url)
    await client.open()
    server = OpaServerEngine(client, bundle, timeout_s=_TIMEOUT_S, child=child)
    wasm, raw, took = WasmEngine(bundle, timeout_s=_TIMEOUT_S), _RawHttp(child.url), _Took()
    asked = _asked(calls + _WARM_UP)
    try:
        for number, request in enumerate(asked):
            if number == _WARM_UP:
                took = _Took()
            # In turns, each side first as often as last.
            for side in _turn(number):
                begun_s = time.perf_counter()
                if side == "raw":
                    raw.ask(request)
                elif side == "opa":
                    await server.evaluate(request)
                else:
                    await wasm.evaluate(request)
                getattr(took, side).append((time.perf_counter() - begun_s) * 1000)
    finally:
        raw.close()
        await wasm.close()
        await server.close()
    size = statistics.median(len(request) for request in asked)
    said = f"{TOOLS} tools, {AGENTS} agents in data; {calls} decisions, inputs of {size:.0f} bytes"
    return [
        _figure("wasm", took.wasm, took.raw, bound=0.35, said=said),
        _figure("opa", took.opa, took.raw, bound=1.4, said=said),
    ]


def _turn(number: int) -> Sequence[str]:
    sides = ("raw", "opa", "wasm")
    first = number % len(sides)
    return sides[first:] + sides[:first]


def _figure(engine: str, ours: list[float], raw: list[float], *, bound: float, said: str) -> Figure:
    return Figure(
        name=f"policy: {engine} engine, raw HTTP over a unix socket to OPA",
        unit="ms",
        ours=statistics.median(ours),
        theirs=statistics.median(raw),
        bound=bound,
        conditions=f"{said}; {engine} {quantiles(ours)}; raw {quantiles(raw)}",
        samples={engine: ours, "raw HTTP": raw},
    )


def _recorded(made: Folder, place: Path, count: int) -> Path:
    """Let a broker decide by this policy; give its store. Every call is denied: none runs."""
    folder = made.copy(
        place / "dev", {**UNHURRIED, "policy": {"bundle": str(place / "bundle.tar.gz")}}
    )
    with Served(folder) as served:
        agent = served.client("agent")
        for number in range(count):
            agent.call("workspace_read", {"path": f"notes/{number}/.env"})
    return folder.store


async def _replayed(bundle: Bundle, store: Path, rounds: int) -> Figure:
    engine = WasmEngine(bundle, timeout_s=_TIMEOUT_S)
    read_s, evaluated_s, whole_s, count = [], [], [], 0
    try:
        for _ in range(rounds):
            kept, took_s = _timed(lambda: _read(store))
            read_s.append(took_s)
            begun_s = time.perf_counter()
            for decision in kept:
                assert decision.asked is not None
                await engine.evaluate(decision.asked.body_text)
            evaluated_s.append(time.perf_counter() - begun_s)
            begun_s = time.perf_counter()
            with recorded_decisions(store, _day_ago()) as decisions:
                found = await replay(engine, (one for call in decisions.by_call() for one in call))
            whole_s.append(time.perf_counter() - begun_s)
            assert (found.decisions, found.changes) == (len(kept), []), found
            count = len(kept)
    finally:
        await engine.close()
    whole, read, evaluated = (statistics.median(took) for took in (whole_s, read_s, evaluated_s))
    shares = f"reading the store {read / whole:.0%}, evaluating {evaluated / whole:.0%} of the time"
    return Figure(
        name="policy: replayed decisions a second, those wanted",
        unit="/s",
        ours=count / whole,
        theirs=REPLAYED_A_SECOND,
        bound=1.0,
        at_most=False,
        conditions=f"{count} decisions by the same policy, {rounds} rounds, median; {shares}",
    )


def _timed(read: Callable[[], list[Recorded]]) -> tuple[list[Recorded], float]:
    begun_s = time.perf_counter()
    found = read()
    return found, time.perf_counter() - begun_s


def _read(store: Path) -> list[Recorded]:
    with recorded_decisions(store, _day_ago()) as decisions:
        return [one for call in decisions.by_call() for one in call]


def _day_ago() -> datetime:
    return datetime.now(UTC) - timedelta(days=1)
