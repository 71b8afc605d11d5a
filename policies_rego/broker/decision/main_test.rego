package broker.decision_test

import data.broker.decision

yes(rule) := {"rule": rule, "message": "allowed", "severity": "low"}

no(rule) := {"rule": rule, "message": "denied", "agent_message": "No.", "severity": "high"}

rules(answer) := [reason.rule | some reason in answer.reasons]

test_nobody_allows if {
	answer := decision.result with data.teams as {}
	answer.effect == "deny"
	rules(answer) == ["broker.not_allowed"]
}

test_allow if {
	answer := decision.result with data.teams as {"a": {"allow": {yes("a.x")}}}
	answer.effect == "allow"
	rules(answer) == ["a.x"]
	not answer.approval
	answer.risk == 10
}

test_hold_beats_allow if {
	answer := decision.result with data.teams as {"a": {"allow": {yes("a.x")}}, "b": {"hold": {no("b.h")}}}
	answer.effect == "hold"
	rules(answer) == ["b.h"]
	answer.approval == {
		"requirements": [{"group": "", "count": 1}],
		"decide_within_s": 3600,
		"run_within_s": 600,
	}
}

test_hold_without_allow_is_a_denial if {
	answer := decision.result with data.teams as {"b": {"hold": {no("b.h")}}}
	answer.effect == "deny"
	rules(answer) == ["broker.hold_without_allow"]
	not answer.approval
}

test_deny_beats_all if {
	answer := decision.result with data.teams as {"a": {
		"allow": {yes("a.x")},
		"hold": {no("a.h")},
		"deny": {no("a.d")},
	}}
	answer.effect == "deny"
	rules(answer) == ["a.d"]
	not answer.approval
}

test_gravest_reason_first if {
	answer := decision.result with data.teams as {"a": {"deny": {
		{"rule": "a", "message": "m", "severity": "low"},
		{"rule": "z", "message": "m", "severity": "critical"},
		{"rule": "b", "message": "m"},
	}}}
	rules(answer) == ["z", "b", "a"]
	answer.risk == 100
}

test_smallest_limit if {
	answer := decision.result with data.teams as {
		"a": {"limit": {{"name": "timeout_s", "value": 100}, {"name": "pids", "value": 7}}},
		"b": {"limit": {{"name": "timeout_s", "value": 6}}},
	}
	answer.obligations.limits == {"timeout_s": 6, "pids": 7}
}

test_lists_union_within_a_package_intersection_between_packages if {
	answer := decision.result with data.teams as {
		"a": {"egress": {"x:1", "y:1", "z:1"}, "secret": {"k", "l"}},
		"b": {"egress": {"y:1", "z:1", "w:1"}},
		"silent": {},
	}
		with input.tool as {"egress": ["y:1", "w:1"], "secrets": ["l"]}
	answer.obligations.egress == ["y:1"]
	answer.obligations.secrets == ["l"]
}

test_a_tool_for_any_place_gets_what_policy_lists if {
	answer := decision.result with data.teams as {"a": {"egress": {"x:1", "y:1"}}, "b": {"egress": {"y:1"}}}
		with input.tool as {"egress": ["*:*"]}
	answer.obligations.egress == ["y:1"]
}

test_no_contributor_no_list if {
	answer := decision.result with data.teams as {"a": {"egress": set(), "allow": {yes("a.x")}}}
		with input.tool as {"egress": ["y:1"], "secrets": ["l"]}
	answer.obligations.egress == []
	answer.obligations.secrets == []
}

test_all_requirements_shortest_clocks if {
	answer := decision.result with data.teams as {
		"a": {"allow": {yes("a.x")}, "hold": {no("a.h")}, "approval": {{"group": "security", "count": 2}, {"run_within_s": 60}}},
		"b": {"approval": {{"group": "legal", "count": 1}, {"decide_within_s": 100}, {"decide_within_s": 999999}}},
	}
	answer.approval == {
		"requirements": [{"group": "legal", "count": 1}, {"group": "security", "count": 2}],
		"decide_within_s": 100,
		"run_within_s": 60,
	}
}

test_highest_isolation if {
	answer := decision.result with data.teams as {"a": {"runtime": {"runc"}}, "b": {"runtime": {"runsc"}}}
	answer.obligations.runtime == "runsc"
}

test_redactions_and_labels_unite if {
	answer := decision.result with data.teams as {
		"a": {"redact": {"/arguments/code"}, "label": {"pii"}},
		"b": {"redact": {"/result"}, "label": {"eu", "pii"}},
	}
	answer.obligations.redact == ["/arguments/code", "/result"]
	answer.labels == ["eu", "pii"]
}

test_effects_raise_the_risk if {
	allowed := {"a": {"allow": {yes("a.x")}}}
	risk(allowed, {"destructive": true}) == 70
	risk(allowed, {"open_world": true}) == 40
	risk(allowed, {"reversible": false}) == 30
}

risk(teams, effects) := answer.risk if {
	answer := decision.result with data.teams as teams with input.tool as {"effects": effects}
}

test_defined_for_any_input if {
	every strange in [null, 1, "x", [], {}, {"agent": 1, "tool": "x"}, {"tool": {"egress": "x", "effects": []}}] {
		answer := decision.result with input as strange
		answer.effect == "deny"
	}
}

test_settings_bound_the_clocks if {
	held := {"a": {"allow": {yes("a.x")}, "hold": {no("a.h")}}}
	answer := decision.result with data.teams as held
		with data.broker.settings as {"decide_within_s": 50, "run_within_s": "x"}
	answer.approval.decide_within_s == 50
	answer.approval.run_within_s == 600
}
