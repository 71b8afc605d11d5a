"""Tests of reading, clamping and comparing decisions."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

from broker.core.clamp import clamp, stricter
from broker.core.decision import (
    LIMIT_NAMES,
    RUNTIMES,
    Decision,
    Effect,
    Limits,
    Obligations,
    Requirement,
    denial,
)
from broker.core.decision_reader import read_decision
from broker.errors import PolicyInvalid
from broker.shipped import policies_dir
from tests.core.json_values import VALUES

TOOL = Limits(**dict.fromkeys(LIMIT_NAMES, 100))
OWN = Obligations(runtime="runc", limits=TOOL, egress=("a:1", "b:1"), secrets=("s",), redact=())
BROKER = Limits(**{**dict.fromkeys(LIMIT_NAMES, 1000), "pids": 50})


def held() -> dict[str, Any]:
    """Make a whole output with every field."""
    return {
        "effect": "hold",
        "reasons": [{"rule": "r", "message": "m", "agent_message": "a", "severity": "low"}],
        "risk": 50,
        "obligations": {
            "runtime": "runsc",
            "limits": {"timeout_s": 7},
            "egress": ["b:1", "c:1"],
            "secrets": [],
            "redact": ["/arguments/code"],
        },
        "approval": {
            "requirements": [{"group": "", "count": 1}],
            "decide_within_s": 60,
            "run_within_s": 6,
        },
        "labels": ["x"],
    }


def edited(path: str, value: object) -> dict[str, Any]:
    """Put a value at a path of the whole output; "DELETE" removes what is there."""
    output: Any = held()
    place = output
    *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    for key in parents:
        place = place[key]
    if value == "DELETE":
        del place[last]
    else:
        place[last] = value
    return output


WRONG = [
    (path, value)
    for path, values in {
        "effect": ["permit", "ALLOW", None, 1, [], "DELETE", "allow", "deny"],
        "reasons": [[], {}, None, ["r"], "DELETE"],
        "reasons/0/rule": ["", 1, None, "DELETE"],
        "reasons/0/message": ["", 1, "DELETE"],
        "reasons/0/agent_message": ["", "DELETE"],
        "reasons/0/severity": ["grave", "", None, "DELETE"],
        "reasons/0/more": ["x"],
        "risk": [-1, 101, 1.0, True, math.nan, "1", None, "DELETE"],
        "obligations": [None, [], "DELETE"],
        "obligations/runtime": ["crun", "", None, 1, "DELETE"],
        "obligations/limits": [None, [], {"memory": 1}, "DELETE"],
        "obligations/limits/pids": [0, -1, 1.5, math.nan, math.inf, True, "1", None, 2**53],
        "obligations/egress": [
            *(["x:1", "x:1"], [1], [""], "x", None, "DELETE"),
            *(["x"], ["*:*"], ["X:1"], ["x.:1"], ["x:0"], ["127.1:80"], ["https://x:443"]),
        ],
        "obligations/secrets": [[None], {}, "DELETE"],
        "obligations/redact": [["arguments"], ["/argumentsx"], [""], "DELETE"],
        "obligations/more": [1],
        "approval": [None, {}, "DELETE"],
        "approval/requirements": [[], {}, None, "DELETE"],
        "approval/requirements/0/group": [None, 1, "DELETE"],
        "approval/requirements/0/count": [0, -1, 101, 1.0, True, "DELETE"],
        "approval/requirements/0/more": [1],
        "approval/decide_within_s": [0, -1, 0.5, "1", "DELETE"],
        "approval/run_within_s": [0, None, "DELETE"],
        "approval/more": [1],
        "labels": [
            *(None, ["x", "x"], [1], [""], "DELETE"),
            *(["X"], ["a b"], ["é"], ["a/b"], ["x\n"], ["x" * 65]),
        ],
        "more": [1],
    }.items()
    for value in values
]


class TestReadDecision:
    """Policy's output, field by field."""

    def test_whole(self) -> None:
        """A whole output is read; limits that policy leaves out are the tool's."""
        decision = read_decision(held(), TOOL)
        assert (decision.effect, decision.obligations.limits.by_name()) == (
            Effect.HOLD,
            {**TOOL.by_name(), "timeout_s": 7},
        )

    @pytest.mark.parametrize(("path", "value"), WRONG)
    def test_wrong(self, path: str, value: object) -> None:
        """One field of the wrong type, out of range, unknown or missing makes it no decision."""
        with pytest.raises(PolicyInvalid):
            read_decision(edited(path, value), TOOL)

    @pytest.mark.parametrize("counts", [[51], [26, 25]])
    def test_more_votes_than_a_receipt_holds(self, counts: list[int]) -> None:
        """Requirements that ask for more than 50 votes in all are no decision; 50 are."""
        groups = [{"group": f"g{index}", "count": count} for index, count in enumerate(counts)]
        with pytest.raises(PolicyInvalid, match="at most 50 votes in all"):
            read_decision(edited("approval/requirements", groups), TOOL)
        read_decision(edited("approval/requirements", [{"group": "g", "count": 50}]), TOOL)

    @given(VALUES)
    def test_anything_else(self, value: object) -> None:
        """No JSON value at all makes the reader raise anything but its one error."""
        with pytest.raises(PolicyInvalid):
            read_decision(value, TOOL)  # type: ignore[arg-type]

    @pytest.mark.parametrize(("path", "value"), WRONG)
    def test_schema_agrees(self, path: str, value: object) -> None:
        """The published schema refuses what the reader refuses (NaN is not JSON)."""
        schema = Draft202012Validator((policies_dir() / "schemas" / "decision.json").read_text())
        output = edited(path, value)
        is_json = not (isinstance(value, float) and not math.isfinite(value))
        is_whole_float = isinstance(value, float) and is_json and value.is_integer()
        pointers = path == "obligations/redact" and value != "DELETE"
        # Which runtimes there are is the operator's to say.
        unranked = (path, value) == ("obligations/runtime", "crun")
        assert not schema.is_valid(output) or not is_json or is_whole_float or pointers or unranked

    def test_schema_accepts(self) -> None:
        """The published schema takes a whole output, and the broker's own denials."""
        schema = Draft202012Validator((policies_dir() / "schemas" / "decision.json").read_text())
        assert [schema.is_valid(o) for o in (held(), denial("broker.x", "m", "a").output)] == [
            True,
            True,
        ]


class TestDenial:
    """Denials of the broker's own."""

    def test_output_reads_back(self) -> None:
        """A denial's output is a decision like policy's, with the same reasons."""
        made = denial("broker.tool_unknown", "m", "a", severity="high", risk=60)
        read = read_decision(made.output, TOOL)
        assert (read.effect, read.reasons, read.risk) == (made.effect, made.reasons, made.risk)


class TestClamp:
    """Ceilings over whatever policy says."""

    def test_every_part(self) -> None:
        """Limits are the smallest, lists the tool's own, isolation the highest."""
        obligations = clamp(read_decision(held(), TOOL), OWN, BROKER)
        assert obligations == Obligations(
            runtime="runsc",
            limits=Limits(**{**TOOL.by_name(), "timeout_s": 7, "pids": 50}),
            egress=("b:1",),
            secrets=(),
            redact=("/arguments/code",),
        )

    def test_tools_runtime_stands(self) -> None:
        """Policy cannot lower the isolation that the tool demands."""
        output = edited("obligations/runtime", "runc")
        tool = replace(OWN, runtime="kata")
        assert clamp(read_decision(output, TOOL), tool, BROKER).runtime == "kata"

    def test_unknown_runtime(self) -> None:
        """A tool whose runtime has no place in the order is not run."""
        with pytest.raises(PolicyInvalid):
            clamp(read_decision(held(), TOOL), replace(OWN, runtime="mystery"), BROKER)

    @given(st.dictionaries(st.sampled_from(LIMIT_NAMES), st.integers(1, 2**53 - 1)))
    def test_never_above(self, limits: dict[str, int]) -> None:
        """Whatever policy asks, no limit exceeds the tool's or the broker's."""
        output = edited("obligations/limits", limits)
        run = clamp(read_decision(output, TOOL), OWN, BROKER).limits.by_name()
        ceilings = (TOOL.by_name(), BROKER.by_name())
        assert [name for name in run for c in ceilings if run[name] > c[name]] == []


def clamped(decision: Decision) -> Decision:
    """Make the decision as the broker goes by it."""
    return replace(decision, obligations=clamp(decision, OWN, BROKER))


def stated(**changes: object) -> Decision:
    """Make a clamped decision with some obligations changed."""
    decision = clamped(read_decision(held(), TOOL))
    return replace(decision, obligations=replace(decision.obligations, **changes))  # type: ignore[arg-type]


def wanting(*requirements: tuple[str, int]) -> Decision:
    """Make a decision that holds for these requirements."""
    output = copy.deepcopy(held())
    output["approval"]["requirements"] = [{"group": g, "count": c} for g, c in requirements]
    return clamped(read_decision(output, TOOL))


class TestStricter:
    """The answer at release against what was approved."""

    APPROVED = clamped(read_decision(held(), TOOL)).obligations
    ONE = (Requirement(group="", count=1),)

    @pytest.mark.parametrize(
        ("new", "expected"),
        [
            (stated(), False),
            (stated(limits=replace(APPROVED.limits, timeout_s=6)), True),
            (stated(limits=replace(APPROVED.limits, timeout_s=8)), False),
            (stated(egress=()), True),
            (stated(egress=("a:1", "b:1")), False),
            (stated(secrets=("s",)), False),
            (stated(runtime="kata"), True),
            (stated(runtime="runc"), False),
            (stated(redact=()), False),
            (stated(redact=("/arguments/code", "/result")), True),
        ],
    )
    def test_obligations(self, new: Decision, expected: bool) -> None:
        """Tighter in any one respect is stricter; looser in all is not."""
        assert stricter(new, self.APPROVED, self.ONE) == expected

    @pytest.mark.parametrize(
        ("approved", "new", "expected"),
        [
            ([("", 1)], [("", 1)], False),
            ([("", 1)], [("", 2)], True),
            ([("", 2)], [("", 1)], False),
            ([("", 1)], [("security", 1)], True),
            ([("security", 1)], [("", 1)], False),
            ([("security", 2)], [("security", 1), ("", 1)], False),
            ([("security", 1), ("legal", 1)], [("security", 1)], False),
            ([("security", 1)], [("security", 1), ("legal", 1)], True),
            ([("security", 1), ("security", 2)], [("security", 3)], False),
        ],
    )
    def test_requirements(
        self, approved: list[tuple[str, int]], new: list[tuple[str, int]], expected: bool
    ) -> None:
        """Stricter is what the votes that were needed might not meet."""
        given_ = [Requirement(group=group, count=count) for group, count in approved]
        assert stricter(wanting(*new), self.APPROVED, given_) == expected

    def test_allow_needs_no_votes(self) -> None:
        """An answer that no longer holds asks for nobody."""
        output = {key: value for key, value in held().items() if key != "approval"}
        new = clamped(read_decision({**output, "effect": "allow"}, TOOL))
        assert not stricter(new, self.APPROVED, [Requirement(group="security", count=2)])


class TestOrderOfIsolation:
    """One order in two languages, and what an operator adds to it."""

    ORDER = ("crun", "runc", "runsc", "runsc-kvm", "kata")

    @pytest.mark.parametrize(
        ("policy", "tool", "expected"),
        [
            ("runc", "runc", "runc"),
            ("runsc", "runc", "runsc"),
            ("runc", "runsc", "runsc"),
            ("crun", "crun", "crun"),
            ("crun", "runc", "runc"),
            ("runsc-kvm", "runsc", "runsc-kvm"),
            ("runsc", "runsc-kvm", "runsc-kvm"),
            ("kata", "runsc-kvm", "kata"),
        ],
    )
    def test_highest_of_policy_and_tool(self, policy: str, tool: str, expected: str) -> None:
        """Whichever of the two isolates more is taken, an operator's runtimes included."""
        decision = read_decision(edited("obligations/runtime", policy), TOOL, self.ORDER)
        clamped_ = clamp(decision, replace(OWN, runtime=tool), BROKER, self.ORDER)
        assert clamped_.runtime == expected

    def test_that_nobody_ranked_is_no_decision(self) -> None:
        """A runtime that the operator did not name is refused, not taken for a strong one."""
        with pytest.raises(PolicyInvalid, match="is one of crun, runc"):
            read_decision(edited("obligations/runtime", "youki"), TOOL, self.ORDER)

    @pytest.mark.parametrize(
        ("new", "old", "expected"),
        [
            ("runsc-kvm", "runsc", True),
            ("runsc", "runsc-kvm", False),
            ("runc", "crun", True),
            ("runsc", "gone", True),
            ("runsc", "runsc", False),
        ],
    )
    def test_stricter_by_the_operators_order(self, new: str, old: str, expected: bool) -> None:
        """At release the same order counts; against one that lost its place nothing is weaker."""
        approved = replace(TestStricter.APPROVED, runtime=old)
        assert stricter(stated(runtime=new), approved, TestStricter.ONE, self.ORDER) == expected

    def test_rego_holds_the_same(self) -> None:
        """The Rego library orders runtimes as the clamp does."""
        text = (policies_dir() / "broker" / "lib" / "validity.rego").read_text()
        names = ", ".join(f'"{name}"' for name in RUNTIMES)
        assert f"isolation := [{names}]" in text
