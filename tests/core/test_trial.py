"""What is enforced, and what packages on trial would have made of it."""

import copy
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from broker.core.decision import LIMIT_NAMES, Effect, Limits, Mode
from broker.core.decision_reader import read_decision
from broker.core.trial import changes, enforced_part, warnings
from broker.errors import PolicyInvalid
from broker.shipped import policies_dir

TOOL = Limits(**dict.fromkeys(LIMIT_NAMES, 100))
SCHEMA = Draft202012Validator((policies_dir() / "schemas" / "decision.json").read_text())


def reason(rule: str) -> dict[str, Any]:
    """Make a reason."""
    return {"rule": rule, "message": f"{rule} m", "agent_message": f"{rule} a", "severity": "high"}


def answer(effect: str, *rules: str) -> dict[str, Any]:
    """Make a whole output."""
    made = {
        "effect": effect,
        "reasons": [reason(rule) for rule in rules],
        "risk": 50,
        "obligations": {
            "runtime": "runc",
            "limits": {},
            "egress": [],
            "secrets": [],
            "redact": [],
        },
        "labels": [],
    }
    if effect == "hold":
        made["approval"] = {
            "requirements": [{"group": "", "count": 1}],
            "decide_within_s": 60,
            "run_within_s": 6,
        }
    return made


def tried(mode: str, would_be: dict[str, Any], **own: list[str]) -> dict[str, Any]:
    """Make a trial of the package `teams.t`."""
    rules = {"allow": [], "hold": [], "deny": [], **own}
    return {"package": "teams.t", "mode": mode, "rules": rules, "would_be": would_be}


def whole() -> dict[str, Any]:
    """Make an output with a trial."""
    return {
        **answer("allow", "e.a"),
        "trials": [tried("warn", answer("deny", "t.d"), deny=["t.d"])],
    }


WRONG = [
    (path, value)
    for path, values in {
        "trials": [None, [], {}, "x", [1]],
        "trials/0/package": ["", None, 1, "DELETE"],
        "trials/0/mode": ["enforce", "Warn", "", None, ["warn"], "DELETE"],
        "trials/0/rules": [None, [], {}, "DELETE"],
        "trials/0/rules/deny": [None, [1], ["x", "x"], [""], "DELETE"],
        "trials/0/rules/more": [[]],
        "trials/0/would_be": [None, [], {}, "DELETE"],
        "trials/0/would_be/effect": ["permit", None, "DELETE"],
        "trials/0/would_be/reasons": [[], None, [{"rule": "x"}], "DELETE"],
        "trials/0/would_be/risk": ["DELETE"],
        "trials/0/would_be/obligations": ["DELETE"],
        "trials/0/would_be/labels": ["DELETE"],
        "trials/0/would_be/trials": [[]],
        "trials/0/more": [1],
    }.items()
    for value in values
]


def edited(path: str, value: object) -> dict[str, Any]:
    """Put a value at a path; "DELETE" removes what is there."""
    output: Any = whole()
    place = output
    *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    for key in parents:
        place = place[key]
    if value == "DELETE":
        del place[last]
    else:
        place[last] = value
    return output


class TestReading:
    def test_a_trial_decides_nothing(self):
        """Beside it the decision is the one that it would be without."""
        read = read_decision(whole(), TOOL)
        (trial,) = read.trials
        assert (read.effect, [reason.rule for reason in read.reasons]) == (Effect.ALLOW, ["e.a"])
        assert (trial.package, trial.mode, trial.effect) == ("teams.t", Mode.WARN, Effect.DENY)
        assert SCHEMA.is_valid(whole())

    @pytest.mark.parametrize(("path", "value"), WRONG)
    def test_a_malformed_trial_makes_it_no_decision(self, path, value):
        """The broker's own rules write it: another form is a broken engine's."""
        with pytest.raises(PolicyInvalid):
            read_decision(edited(path, value), TOOL)
        assert not SCHEMA.is_valid(edited(path, value))

    def test_a_package_twice(self):
        """Which of the two would count nobody could say."""
        output = whole()
        output["trials"] *= 2
        with pytest.raises(PolicyInvalid, match="none twice"):
            read_decision(output, TOOL)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("obligations", None),
            ("obligations/egress", ["EXAMPLE.org:1"]),
            ("obligations/redact", ["x"]),
            ("labels", ["No Label"]),
            ("approval", {"requirements": []}),
            ("risk", -1),
        ],
    )
    def test_what_a_package_on_trial_contributes_never_makes_it_none(self, path, value):
        """Else a package in shadow could deny every call."""
        output = edited(f"trials/0/would_be/{path}", value)
        assert read_decision(output, TOOL).effect is Effect.ALLOW
        assert SCHEMA.is_valid(output)

    def test_the_enforced_part_is_what_there_was_without(self):
        """It has every other field, and leaves what it was given as it was."""
        output = whole()
        before = copy.deepcopy(output)
        assert enforced_part(output) == answer("allow", "e.a")
        assert output == before


class TestWarnings:
    @pytest.mark.parametrize(
        ("effect", "would_be", "own", "warned"),
        [
            ("allow", ("deny", "t.d"), {"deny": ["t.d"], "hold": ["t.h"]}, ["t.d"]),
            ("allow", ("hold", "t.h"), {"hold": ["t.h"], "allow": ["t.a"]}, ["t.h"]),
            ("hold", ("deny", "t.d"), {"deny": ["t.d"]}, ["t.d"]),
            ("hold", ("hold", "e.r", "t.h"), {"hold": ["t.h"]}, ["t.h"]),
            ("deny", ("deny", "e.r", "t.d"), {"deny": ["e.r", "t.d"]}, ["t.d"]),
            ("deny", ("hold", "t.h"), {"hold": ["t.h"], "allow": ["t.a"]}, []),
            ("deny", ("allow", "t.a"), {"allow": ["t.a"]}, []),
            ("allow", ("allow", "e.r", "t.a"), {"allow": ["t.a"]}, []),
            ("allow", ("deny", "broker.contribution_invalid"), {}, []),
            ("deny", ("deny", "broker.hold_without_allow"), {"hold": ["t.h"]}, []),
        ],
    )
    def test_an_agent_is_warned_of_what_would_refuse_its_call(self, effect, would_be, own, warned):
        """By the package's own reasons, where it tightens, and nothing that is said already."""
        output = {**answer(effect, "e.r"), "trials": [tried("warn", answer(*would_be), **own)]}
        assert [reason.rule for reason in warnings(output)] == warned
        output["trials"][0]["mode"] = "shadow"
        assert warnings(output) == []

    def test_two_packages_with_one_reason_warn_once(self):
        """As an enforced decision names it once."""
        output = whole()
        output["trials"].append({**output["trials"][0], "package": "teams.u"})
        assert [reason.rule for reason in warnings(output)] == ["t.d"]

    def test_without_a_trial_there_is_none(self):
        """Most policies have no package on trial."""
        assert warnings(answer("deny", "e.r")) == []


class TestChanges:
    def test_each_field_that_differs_is_a_line(self):
        """With what it is and what it would be; the same values are left out."""
        held = answer("hold", "r")
        held["obligations"]["limits"] = {"pids": 2}
        held["labels"] = ["seen"]
        assert changes(answer("allow", "r"), held) == [
            "approval.decide_within_s: nothing would be 60",
            'approval.requirements: nothing would be [{"count":1,"group":""}]',
            "approval.run_within_s: nothing would be 6",
            'labels: [] would be ["seen"]',
            'obligations.limits: {} would be {"pids":2}',
        ]
        assert changes(held, held) == []
