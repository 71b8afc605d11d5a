"""Both engines against each other: one bundle, one answer, to the byte."""

from collections import Counter
from pathlib import Path

from broker.adapters.opa_server import OpaServerEngine
from broker.adapters.opa_wasm import WasmEngine
from broker.core.canonical import JsonObject, canonical_json
from broker.core.decision_reader import read_decision
from broker.errors import PolicyError
from broker.ports import PolicyEngine
from tests.policy.hostile import inputs, pack_inputs
from tests.policy.samples import LIMITS, compiled, compiled_packs

SHIPPED_INPUTS = 600
TEAM_INPUTS = 200
TRIAL_INPUTS = 80
PACK_INPUTS = 400

TEAM = """
package teams.echo

purpose := input.session.purpose if is_string(input.session.purpose)

calls := input.history.calls.last_day if is_number(input.history.calls.last_day)

hold contains {
    "rule": "echo.words",
    "message": sprintf("%s|%d|%v|%v|%%", [purpose, calls, calls, is_string(purpose)]),
}

hold contains {
    "rule": "echo.verbs",
    "message": sprintf("%d %s %v %s", [purpose, calls, null]),
}

hold contains {
    "rule": "echo.parts",
    "message": concat("|", [
        replace(purpose, "e", "E"),
        trim_space(purpose),
        substring(purpose, 1, 3),
        lower(purpose),
        upper(purpose),
        strings.reverse(purpose),
        concat("/", split(purpose, "a")),
    ]),
}

limit contains {"name": "pids", "value": count(input.tool.arguments) + 1} if {
    is_object(input.tool.arguments)
}

label contains concat("", ["role:", role]) if {
    some role in input.agent.roles
    is_string(role)
}

approval contains {"group": role, "count": 1} if {
    some role in input.agent.roles
    is_string(role)
}

redact contains "/arguments/content"

runtime contains "runsc"

egress contains place if {
    some place in input.tool.egress
    is_string(place)
    endswith(place, ":443")
}

egress contains "elsewhere:1"
"""


def trial_sources() -> dict[str, str]:
    """Give that package in mode warn, one in shadow that allows, a broken one by the call."""
    on_trial = TEAM.replace("package teams.echo\n", 'package teams.echo\n\nmode := "warn"\n')
    allowing = 'allow contains {"rule": "quiet.all", "message": "m"}\n\nruntime contains "kata"\n'
    sources = {
        "teams/echo/echo.rego": on_trial,
        "teams/quiet/quiet.rego": f'package teams.quiet\n\nmode := "shadow"\n\n{allowing}',
    }
    by_call = 'default mode := "shadow"\n\nmode := "enforce" if input.tool.effects.destructive\n'
    broken = "deny contains input.tool.name\n\nlimit contains input.tool.limits\n"
    sources["teams/broken/b.rego"] = f"package teams.broken\n\n{by_call}\n{broken}"
    return sources


async def outcome(engine: PolicyEngine, request: JsonObject) -> bytes:
    """Give the canonical decision, or the name of the error."""
    try:
        answer = await engine.evaluate(canonical_json(request))
        read_decision(answer.output, LIMITS)
    except PolicyError as error:
        return type(error).__name__.encode()
    return canonical_json(answer.output)


async def differences(one: PolicyEngine, other: PolicyEngine, asked: list[JsonObject]) -> list[str]:
    """List the inputs on which two engines differ, with a count of what they answered."""
    found = []
    answers: Counter[str] = Counter()
    for request in asked:
        mine, theirs = await outcome(one, request), await outcome(other, request)
        answers[
            mine[:60].decode() if mine[:1] != b"{" else mine.split(b'"effect":')[1][:7].decode()
        ] += 1
        if mine != theirs:
            found.append(f"{canonical_json(request)!r}: {mine!r} != {theirs!r}")
    print(f"{len(asked)} inputs, {len(found)} differences, {dict(answers)}")
    return found


class TestEngines:
    """Wasm in process against a real OPA server."""

    async def test_shipped_policy(self, wasm: WasmEngine, server: OpaServerEngine) -> None:
        """600 inputs, most of them hostile, get byte-identical decisions by the shipped policy."""
        asked = list(inputs(SHIPPED_INPUTS, seed=20261123))
        assert await differences(wasm, server, asked) == []

    async def test_packs(self, opa: str, tmp_path: Path) -> None:
        """The packs, and so the library, decide alike about 400 inputs of their kind."""
        bundle = compiled_packs(tmp_path / "policy", opa)
        wasm = WasmEngine(bundle, timeout_s=5)
        server = await OpaServerEngine.spawn(opa, bundle, timeout_s=10)
        try:
            assert await differences(wasm, server, list(pack_inputs(PACK_INPUTS, seed=29))) == []
        finally:
            await wasm.close()
            await server.close()

    async def test_team_package(self, opa: str, tmp_path: Path) -> None:
        """A team package that formats, counts and cuts texts is evaluated alike too."""
        bundle = compiled(tmp_path / "policy", opa, {"teams/echo/echo.rego": TEAM})
        wasm = WasmEngine(bundle, timeout_s=5)
        server = await OpaServerEngine.spawn(opa, bundle, timeout_s=10)
        try:
            assert await differences(wasm, server, list(inputs(TEAM_INPUTS, seed=7))) == []
        finally:
            await wasm.close()
            await server.close()

    async def test_packages_on_trial(self, opa: str, tmp_path: Path) -> None:
        """Packages in each mode, one of them by the call, are tried alike too."""
        bundle = compiled(tmp_path / "policy", opa, trial_sources())
        wasm = WasmEngine(bundle, timeout_s=5)
        server = await OpaServerEngine.spawn(opa, bundle, timeout_s=10)
        try:
            assert await differences(wasm, server, list(inputs(TRIAL_INPUTS, seed=8))) == []
        finally:
            await wasm.close()
            await server.close()
