"""Laws of the combination: what more rules can do, and what each shipped rule is for."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from broker.adapters.opa_wasm import WasmEngine
from broker.core.canonical import JsonObject, canonical_json
from broker.core.decision import Decision, Effect
from broker.core.decision_reader import read_decision
from broker.core.rego_text import package_path
from broker.shipped import policies_dir
from tests.policy.hostile import inputs
from tests.policy.mutants import Mutants
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
TESTS = re.compile(r"^test_\w+", re.MULTILINE)
ORDER = {Effect.ALLOW: 0, Effect.HOLD: 1, Effect.DENY: 2}


def added(name: str, rule: str) -> str:
    """Write a rule that holds where the input asks for this addition: one bundle serves all."""
    head, _, condition = rule.partition(" if ")
    return f'{head} if {{\n\tinput.more == "{name}"\n\t{condition or "input"}\n}}'


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
        rules = [added(name, rule) for name, rule in ADDITIONS.items()]
        more = {**base, "teams/more/more.rego": "\n\n".join(["package teams.more", *rules, ""])}
        engine = WasmEngine(compiled(tmp_path / "more", opa, more))
        after = await decisions(
            engine, [{**request, "more": name} for name in ADDITIONS for request in asked]
        )
        for number, name in enumerate(ADDITIONS):
            own = after[number * len(asked) :][: len(asked)]
            pairs = list(zip(before, own, strict=True))
            assert [name for old, new in pairs if loosened(old, new)] == []
            # Each addition says something: the long clock alone is longer than the broker's own.
            changed = any(old.output != new.output for old, new in pairs)
            assert changed is (name != "long_clock")

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
        mutants = Mutants(policies_dir(), tmp_path / "policy")
        passed, passed_without = mutants.passed(opa)
        assert passed == written_tests(tmp_path / "policy")
        survivors = [
            f"{mutant.file}: {mutant.rule}"
            for mutant in mutants.all
            if all(
                count >= passed[package] for package, count in passed_without[mutant.number].items()
            )
        ]
        made = len(mutants.all)
        print(f"{made} rules disabled one by one, {len(survivors)} not missed")
        assert (survivors, made > 100, len(passed_without)) == ([], True, made)
        assert {mutant.file.parts[0] for mutant in mutants.all} == {
            "broker",
            "library",
            "packs",
            "teams",
        }


def written_tests(folder: Path) -> dict[str, int]:
    """Count the tests that stand in the files of each package of tests, by its name."""
    written: Counter[str] = Counter()
    for path in folder.rglob("*_test.rego"):
        text = path.read_text()
        written[".".join(("data", *package_path(text)))] += len(set(TESTS.findall(text)))
    return dict(written)
