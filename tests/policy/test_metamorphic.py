"""Laws of the combination on generated contributions, by the real engines."""

import asyncio
import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.adapters.opa_server import OpaServerEngine
from broker.adapters.opa_wasm import WasmEngine
from broker.core.canonical import canonical_json
from broker.core.clamp import clamp
from broker.core.decision import RUNTIMES, Decision, Effect, Obligations, persons_wanted
from broker.core.decision_reader import read_decision
from broker.ports import PolicyEngine
from tests.policy.samples import LIMITS, ask, compiled_folder, without_teams

TOOL = Obligations(
    runtime="runc",
    limits=LIMITS,
    egress=("*:*",),
    secrets=("key", "token"),
    redact=(),
)
TEAMS = ("a", "b", "c")
PLACES = ("api.example.org:443", "example.org:443", "10.0.0.10:80", "10.0.0.9:80")
SECRETS = ("token", "key")
NUMBERS = st.sampled_from((1, 6, 9, 10, 60, 100, 1000, 2**53 - 1))
ORDER = {Effect.ALLOW: 0, Effect.HOLD: 1, Effect.DENY: 2}
REASONS = st.builds(
    lambda rule, message, severity: {"rule": rule, "message": message, "severity": severity},
    st.sampled_from(("r.1", "r.10", "r.2", "ü")),
    st.sampled_from(("m", "\U0001f469 %s")),
    st.sampled_from(("low", "medium", "high", "critical")),
)
ENTRIES: dict[str, st.SearchStrategy[Any]] = {
    "allow": REASONS,
    "hold": REASONS,
    "deny": REASONS,
    "limit": st.builds(
        lambda name, value: {"name": name, "value": value},
        st.sampled_from(("timeout_s", "pids")),
        NUMBERS,
    ),
    "egress": st.sampled_from(PLACES),
    "secret": st.sampled_from(SECRETS),
    "redact": st.sampled_from(("/arguments/code", "/result", "/arguments/a~1b")),
    "runtime": st.sampled_from(RUNTIMES),
    "approval": st.one_of(
        st.builds(
            lambda group, count: {"group": group, "count": count},
            st.sampled_from(("", "security", "légal")),
            st.integers(1, 4),
        ),
        st.builds(lambda seconds: {"decide_within_s": seconds}, st.sampled_from((9, 10, 60, 1000))),
        st.builds(lambda seconds: {"run_within_s": seconds}, st.sampled_from((9, 10, 60, 1000))),
    ),
    "label": st.sampled_from(("pii", "web")),
}
TIGHTENING = ("hold", "deny", "limit", "redact", "runtime", "approval", "label")
LISTS = ("egress", "secret")
PACKAGES = st.fixed_dictionaries(
    {
        team: st.fixed_dictionaries(
            {kind: st.lists(entry, max_size=2) for kind, entry in ENTRIES.items()}
        )
        for team in TEAMS
    }
)
ADDITIONS = st.sampled_from(TIGHTENING).flatmap(
    lambda kind: st.tuples(st.just(kind), ENTRIES[kind], st.sampled_from(TEAMS))
)
MANY = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Packages = dict[str, dict[str, list[Any]]]


def team(name: str) -> str:
    """Write a package that contributes what the input says: one bundle serves every example."""
    sets = [
        f"{kind} contains entry if {{\n\tsome entry in input.given.{name}.{kind}\n}}"
        for kind in ENTRIES
    ]
    return "\n\n".join([f"package teams.{name}", *sets, ""])


class Asker:
    """Ask an engine, one question at a time."""

    def __init__(self, runner: asyncio.Runner, engine: PolicyEngine) -> None:
        self._runner = runner
        self._engine = engine

    def __call__(self, packages: Packages) -> Decision:
        """Decide one call by what these packages contribute."""
        request = {**ask("python_run"), "given": packages}
        answer = self._runner.run(self._engine.evaluate(canonical_json(request)))
        decision = read_decision(answer.output, LIMITS)
        # What the run gets: a limit above the tool's own is none.
        return replace(decision, obligations=clamp(decision, TOOL, LIMITS))


@pytest.fixture(scope="module", params=["wasm", "opa"])
def decide(
    request: pytest.FixtureRequest, opa: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asker]:
    """The broker's own combination on each engine, over three packages told by the input."""
    folder = without_teams(tmp_path_factory.mktemp("laws") / "policy")
    for name in TEAMS:
        (folder / "teams" / name).mkdir(parents=True)
        (folder / "teams" / name / f"{name}.rego").write_text(team(name))
    bundle = compiled_folder(folder, opa)

    async def start() -> PolicyEngine:
        if request.param == "wasm":
            return WasmEngine(bundle, timeout_s=5)
        return await OpaServerEngine.spawn(opa, bundle, timeout_s=10)

    with asyncio.Runner() as runner:
        engine = runner.run(start())
        yield Asker(runner, engine)
        runner.run(engine.close())


def added(packages: Packages, kind: str, entry: Any, name: str) -> Packages:
    """Give the packages with one more entry."""
    more = copy.deepcopy(packages)
    more[name][kind].append(entry)
    return more


def loosened(before: Decision, after: Decision) -> list[str]:
    """Name what is looser after."""
    old, new = before.obligations, after.obligations
    found = {
        "effect": ORDER[after.effect] < ORDER[before.effect],
        "limits": any(new.limits.by_name()[n] > v for n, v in old.limits.by_name().items()),
        "runtime": RUNTIMES.index(new.runtime) < RUNTIMES.index(old.runtime),
        "egress": not set(new.egress) <= set(old.egress),
        "secrets": not set(new.secrets) <= set(old.secrets),
        "redact": not set(new.redact) >= set(old.redact),
        "labels": not set(after.labels) >= set(before.labels),
    }
    if before.approval and after.approval:
        wanted, given = (
            persons_wanted(one.requirements) for one in (after.approval, before.approval)
        )
        # Nobody asked for a group: one person of any. A group that is asked for stands for it.
        found["persons"] = wanted.total() < given.total() or any(
            wanted[group] < count for group, count in given.items() if group
        )
        found["decide_within_s"] = after.approval.decide_within_s > before.approval.decide_within_s
        found["run_within_s"] = after.approval.run_within_s > before.approval.run_within_s
    return [name for name, is_looser in found.items() if is_looser]


class TestAddition:
    """One entry more, in a package that had some or in a silent one."""

    @MANY
    @given(packages=PACKAGES, addition=ADDITIONS)
    def test_never_loosens(self, decide, packages, addition):
        """A deny, hold, limit, approval, redaction, runtime or label makes nothing looser."""
        assert loosened(decide(packages), decide(added(packages, *addition))) == []

    @MANY
    @given(packages=PACKAGES, kind=st.sampled_from(LISTS), data=st.data())
    def test_another_contributor_never_widens_a_list(self, decide, packages, kind, data):
        """Where one package lists places or secrets, another that begins to can only narrow."""
        packages["a"][kind] = [data.draw(ENTRIES[kind])]
        packages["c"][kind] = []
        after = decide(added(packages, kind, data.draw(ENTRIES[kind]), "c"))
        assert loosened(decide(packages), after) == []

    @MANY
    @given(packages=PACKAGES, kind=st.sampled_from(LISTS), data=st.data())
    def test_a_list_grows_by_what_every_contributor_lists(self, decide, packages, kind, data):
        """An entry more opens itself at the most, and only if each other contributor lists it."""
        entry = data.draw(ENTRIES[kind])
        before, after = decide(packages), decide(added(packages, kind, entry, "a"))
        of = {"egress": "egress", "secret": "secrets"}[kind]
        new = set(getattr(after.obligations, of)) - set(getattr(before.obligations, of))
        others = [packages[name][kind] for name in ("b", "c") if packages[name][kind]]
        was_silent = not packages["a"][kind]
        assert new <= {entry}
        assert all(entry in listed for listed in others) or not new
        assert was_silent or not loosened_besides(before, after, of)

    @MANY
    @given(packages=PACKAGES, addition=ADDITIONS)
    def test_twice_is_once(self, decide, packages, addition):
        """What is there already, in the same package, changes nothing when it is added again."""
        once = added(packages, *addition)
        assert decide(added(once, *addition)).output == decide(once).output


def loosened_besides(before: Decision, after: Decision, name: str) -> list[str]:
    """Name what is looser after, one thing left out."""
    return [found for found in loosened(before, after) if found != name]


class TestOrder:
    @MANY
    @given(packages=PACKAGES, data=st.data())
    def test_does_not_matter(self, decide, packages, data):
        """Entries in another order, by packages of other names, give the same bytes."""
        names = data.draw(st.permutations(TEAMS))
        moved = {
            new: {
                kind: data.draw(st.permutations(entries)) for kind, entries in packages[old].items()
            }
            for old, new in zip(TEAMS, names, strict=True)
        }
        assert canonical_json(decide(moved).output) == canonical_json(decide(packages).output)


class TestTightening:
    @MANY
    @given(packages=PACKAGES, name=st.sampled_from(("timeout_s", "pids")), value=NUMBERS)
    def test_a_limit_is_the_smallest(self, decide, packages, name, value):
        """Compared as numbers, whatever their count of digits."""
        more = added(packages, "limit", {"name": name, "value": value}, "b")
        asked = [
            entry["value"]
            for package in more.values()
            for entry in package["limit"]
            if entry["name"] == name
        ]
        assert decide(more).output["obligations"]["limits"][name] == min(asked)

    @MANY
    @given(packages=PACKAGES, reason=REASONS)
    def test_a_denial_is_final(self, decide, packages, reason):
        """Whatever else stands, one deny denies and is among the reasons."""
        decision = decide(added(packages, "deny", reason, "c"))
        assert decision.effect is Effect.DENY
        assert reason["rule"] in {told.rule for told in decision.reasons}

    @MANY
    @given(packages=PACKAGES, reason=REASONS)
    def test_a_hold_opens_nothing(self, decide, packages, reason):
        """A hold on what nobody allows is a denial."""
        for package in packages.values():
            package["allow"] = []
        assert decide(added(packages, "hold", reason, "c")).effect is Effect.DENY
