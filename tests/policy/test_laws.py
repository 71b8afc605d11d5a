"""Laws of the combination: what more rules can do, and what each shipped rule is for."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from broker.adapters.opa_wasm import WasmEngine
from broker.core.canonical import JsonObject, canonical_json
from broker.core.decision import Decision, Effect
from broker.core.decision_reader import read_decision
from broker.shipped import policies_dir
from tests.policy.hostile import inputs
from tests.policy.mutants import is_missed, mutants
from tests.policy.samples import LIMITS, ask, compiled

BASE = """
package teams.base

allow contains {"rule": "base.allow", "message": "m"} if input.agent.id
"""
ADDITIONS = {
    "deny": 'deny contains {"rule": "more.deny", "message": "m"} if input.tool.name == "a"',
    "hold": 'hold contains {"rule": "more.hold", "message": "m"}',
    "limit": 'limit contains {"name": "timeout_s", "value": 7}',
    "votes": 'approval contains {"group": "security", "count": 2}',
    "clock": 'approval contains {"decide_within_s": 60}',
    "long_clock": 'approval contains {"decide_within_s": 999999}',
    "runtime": 'runtime contains "runsc"',
    "redact": 'redact contains "/arguments/code"',
    "label": 'label contains "seen"',
}
ORDER = {Effect.ALLOW: 0, Effect.HOLD: 1, Effect.DENY: 2}


async def decisions(engine: WasmEngine, asked: list[JsonObject]) -> list[Decision]:
    """Ask every question of an engine, then close it."""
    try:
        return [
            read_decision((await engine.evaluate(canonical_json(request))).output, LIMITS)
            for request in asked
        ]
    finally:
        await engine.close()


def loosened(before: Decision, after: Decision) -> bool:
    """Tell whether anything is allowed after that was not before."""
    old, new = before.obligations, after.obligations
    limits = new.limits.by_name()
    return (
        ORDER[after.effect] < ORDER[before.effect]
        or any(limits[name] > value for name, value in old.limits.by_name().items())
        or (old.runtime, new.runtime) == ("runsc", "runc")
        or not set(new.redact) >= set(old.redact)
        or not set(after.labels) >= set(before.labels)
        or (
            before.approval is not None
            and after.approval is not None
            and (
                after.approval.decide_within_s > before.approval.decide_within_s
                or sum(r.count for r in after.approval.requirements)
                < sum(r.count for r in before.approval.requirements)
            )
        )
    )


class TestMoreRules:
    """Adding to a policy."""

    async def test_more_never_loosens(self, opa: str, tmp_path: Path) -> None:
        """No addition of a deny, hold, limit, approval or obligation loosens any decision."""
        asked: list[JsonObject] = list(inputs(60, seed=3))
        asked += [ask("a"), ask("workspace_write", {"path": "notes.txt"})]
        base = {"teams/base/base.rego": BASE}
        before = await decisions(WasmEngine(compiled(tmp_path / "base", opa, base)), asked)
        for name, rule in ADDITIONS.items():
            more = {**base, "teams/more/more.rego": f"package teams.more\n\n{rule}\n"}
            after = await decisions(WasmEngine(compiled(tmp_path / name, opa, more)), asked)
            pairs = zip(before, after, strict=True)
            assert [name for old, new in pairs if loosened(old, new)] == []

    async def test_order_does_not_matter(self, opa: str, tmp_path: Path) -> None:
        """Packages under other names, with their rules in another order, decide alike."""
        rules = [rule.replace("more.", "x.") for rule in ADDITIONS.values()]
        asked: list[JsonObject] = list(inputs(60, seed=5))
        outputs = []
        for number, (first, second) in enumerate([("a", "z"), ("z", "a")]):
            ordered = rules if number else rules[::-1]
            sources: Mapping[str, str] = {
                f"teams/{first}/r.rego": "\n\n".join([f"package teams.{first}", *ordered[:4], ""]),
                f"teams/{second}/r.rego": "\n\n".join(
                    [f"package teams.{second}", *ordered[4:], ""]
                ),
            }
            engine = WasmEngine(compiled(tmp_path / str(number), opa, sources))
            outputs.append([canonical_json(one.output) for one in await decisions(engine, asked)])
        assert outputs[0] == outputs[1]


class TestMutants:
    """Every shipped rule that refuses has a test that misses it."""

    def test_each_disabled_rule_is_missed(self, opa: str, tmp_path: Path) -> None:
        """Where a deny, hold, approval or validity rule never holds, a test beside it fails."""
        folder = policies_dir()
        made = list(mutants(folder))
        whole = {m.file.parent: replace(m, text=(folder / m.file).read_text()) for m in made}
        failing = [
            name
            for name, unharmed in whole.items()
            if is_missed(unharmed, folder, tmp_path / str(name).replace("/", "-"), opa)
        ]
        assert failing == []
        survivors = [
            f"{mutant.file}: {mutant.rule}"
            for number, mutant in enumerate(made)
            if not is_missed(mutant, folder, tmp_path / str(number), opa)
        ]
        print(f"{len(made)} rules disabled one by one, {len(survivors)} not missed")
        assert (survivors, len(made) > 100) == ([], True)
        assert {mutant.file.parts[0] for mutant in made} == {"broker", "library", "packs", "teams"}
