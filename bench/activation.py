"""Compare decisions while the policy is exchanged with decisions while it stays."""

import asyncio
import base64
import json
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import uvloop

from bench.denied import method_of, open_channel
from bench.figure import Figure, quantiles
from broker.v1 import execution_pb2
from tests.activation.bundles import PROBE, Key, read, variant
from tests.broker_process import Served
from tests.e2e.policies import compile_policy

_EXECUTE = "/broker.v1.ExecutionService/ExecuteTool"
_A_SECOND = 500
_EVERY_S = 1.0
_WARM_UP = 700
_TIMEOUT = "broker.policy_timeout"
_ROOT = Path(__file__).resolve().parents[1]
_REQUEST = execution_pb2.ExecuteToolRequest(
    tool="python_run", arguments_json='{"code":"1"}', purpose="probe"
).SerializeToString()


@dataclass(slots=True)
class _Bundles:
    """Signed bundles of one compiled policy, each with a rule of its own.

    Args:
        known: Revision with the digest and the rule of each that was made.
    """

    archive: bytes
    key: Key
    known: dict[str, tuple[str, str]] = field(default_factory=dict)

    def next(self) -> bytes:
        """Give one that is newer than all before."""
        number = len(self.known) + 1
        made = self.key.sign(variant(self.archive, number, {"rule": f"probe.n{number}"}))
        bundle = read(made)
        self.known[bundle.revision] = bundle.sha256, f"probe.n{number}"
        return made

    def made(self, answer: bytes) -> bool:
        """Tell whether one bundle made a decision: its rule, its revision, its digest.

        Where policy gave no answer in time, as on a machine that is busy, there is no rule of its.
        """
        call = execution_pb2.ExecuteToolResponse.FromString(answer).call
        digest, rule = self.known[call.decision.policy_revision]
        statement = json.loads(base64.b64decode(json.loads(call.receipt)["payload"]))
        (entry,) = statement["predicate"]["decision"]["evaluations"]
        named = entry["bundle_revision"], entry["bundle_sha256"]
        rules = {reason.rule for reason in call.decision.reasons}
        rules = {name for name in rules if name.startswith("probe.")} or {
            rule for name in rules if name == _TIMEOUT
        }
        return rules == {rule} and named == (call.decision.policy_revision, digest)


@dataclass(slots=True)
class _Side:
    """What one side came to."""

    asked: int = 0
    answers: list[bytes] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    took_ms: list[float] = field(default_factory=list)


def measure(served: Served, *, seconds: float, rounds: int) -> list[Figure]:
    """Measure denied calls, 500 a second, whatever the answers take.

    Args:
        seconds: How long each turn of a side is.
        rounds: How many turns each side has, the two in turns.
    """
    bundles = _Bundles(_compiled(), Key.of(served.folder.path / "keys" / "policy.key"))
    served.client("policy").activate(bundles.next())
    stays, exchanged = _Side(), _Side()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_ask(served, _Side(), _WARM_UP / _A_SECOND))
        for _ in range(rounds):
            runner.run(_ask(served, stays, seconds))
            runner.run(_ask_meanwhile(served, exchanged, seconds, bundles))
    return _figures(stays, exchanged, bundles)


def _figures(stays: _Side, exchanged: _Side, bundles: _Bundles) -> list[Figure]:
    sides = {"exchanged": exchanged, "stays": stays}
    whole = {name: sum(map(bundles.made, side.answers)) for name, side in sides.items()}
    p99 = {name: statistics.quantiles(side.took_ms, n=100)[98] for name, side in sides.items()}
    conditions = (
        f"{_A_SECOND} denied calls a second, {len(bundles.known) - 1} activations, one each "
        f"{_EVERY_S:g} s"
    )
    return [
        Figure(
            name="decisions of exactly one bundle / asked for",
            unit="",
            ours=whole["exchanged"],
            theirs=exchanged.asked,
            bound=1.0,
            at_most=False,
            conditions=f"{conditions}; lost {exchanged.asked - len(exchanged.answers)} "
            f"{dict(exchanged.failures)}, mixed {len(exchanged.answers) - whole['exchanged']}; "
            f"without activations lost {stays.asked - len(stays.answers)} "
            f"{dict(stays.failures)}, mixed {len(stays.answers) - whole['stays']}; late "
            f"{sum(map(_is_late, exchanged.answers))} and {sum(map(_is_late, stays.answers))}",
        ),
        Figure(
            name="denied call, policy exchanged / policy stays, p99",
            unit="ms",
            ours=p99["exchanged"],
            theirs=p99["stays"],
            bound=None,
            conditions=f"{conditions}; exchanged {quantiles(exchanged.took_ms)}; "
            f"stays {quantiles(stays.took_ms)}",
            samples={name: side.took_ms for name, side in sides.items()},
        ),
    ]


def _is_late(answer: bytes) -> bool:
    """Tell whether policy gave no answer in time."""
    reasons = execution_pb2.ExecuteToolResponse.FromString(answer).call.decision.reasons
    return any(reason.rule == _TIMEOUT for reason in reasons)


async def _ask(served: Served, side: _Side, seconds: float) -> None:
    """Make calls at a steady rate; a slow answer holds no later call back."""
    async with open_channel(served, served.target) as channel:
        method = method_of(channel, _EXECUTE)

        async def once(due_s: float) -> None:
            try:
                side.answers.append(await method(_REQUEST))
            except grpc.RpcError as error:
                side.failures[str(error.code())] += 1
            side.took_ms.append((time.perf_counter() - due_s) * 1000)

        begin_s, asked = time.perf_counter(), []
        for number in range(round(seconds * _A_SECOND)):
            due_s = begin_s + number / _A_SECOND
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            side.asked += 1
            asked.append(asyncio.create_task(once(due_s)))
        await asyncio.gather(*asked)


async def _ask_meanwhile(served: Served, side: _Side, seconds: float, bundles: _Bundles) -> None:
    asking = asyncio.create_task(_ask(served, side, seconds))
    while not asking.done():
        await asyncio.to_thread(served.client("policy").activate, bundles.next())
        await asyncio.wait({asking}, timeout=_EVERY_S)
    await asking


def _compiled() -> bytes:
    opa = subprocess.check_output([_ROOT / "scripts" / "tool.sh", "opa"], text=True).strip()
    with tempfile.TemporaryDirectory() as folder:
        return compile_policy(PROBE, Path(folder), opa).read_bytes()
