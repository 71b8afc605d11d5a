package broker.lib_test

import data.broker.decision

said(rule) := {"rule": rule, "message": "m", "severity": "high"}

# Everything that a package can contribute, each in a form that shows where it counts.
whole := {
	"allow": {said("t.allow")},
	"hold": {said("t.hold")},
	"deny": {said("t.deny")},
	"limit": {{"name": "pids", "value": 2}},
	"egress": {"y:1"},
	"secret": {"k"},
	"redact": {"/result"},
	"runtime": {"kata"},
	"approval": {{"group": "security", "count": 2}, {"decide_within_s": 5}, {"run_within_s": 5}},
	"label": {"seen"},
}

enforced := {
	"allow": {said("e.allow")},
	"hold": {said("e.hold")},
	"limit": {{"name": "pids", "value": 9}},
	"egress": {"x:1", "y:1"},
	"secret": {"k", "l"},
	"runtime": {"runc"},
}

tool := {"egress": ["x:1", "y:1"], "secrets": ["k", "l"]}

asked(team, others) := answer if {
	answer := decision.result with data.teams as object.union(others, {"t": team}) with input.tool as tool
}

with_mode(team, mode) := object.union(team, {"mode": mode})

enforced_part(answer) := object.remove(answer, {"trials"})

without_team(others) := answer if {
	answer := decision.result with data.teams as others with input.tool as tool
}

# One set at a time: none hides behind another.
parts := [{kind: whole[kind]} | some kind, _ in whole]

malformed_part := {"limit": {{"name": "pid", "value": 1}}}

test_on_trial_nothing_counts if {
	wanted := without_team({"e": enforced})
	enforced_part(asked(with_mode(whole, "warn"), {"e": enforced})) == wanted
	every team in array.concat(parts, [whole, malformed_part]) {
		enforced_part(asked(with_mode(team, "shadow"), {"e": enforced})) == wanted
	}
}

test_on_trial_alone_it_allows_nothing if {
	enforced_part(asked(with_mode(whole, "shadow"), {})) == without_team({})
	enforced_part(asked({"mode": "warn", "allow": whole.allow}, {})) == without_team({})
}

test_enforced_it_is_as_was_told if {
	asked(whole, {}) == asked(with_mode(whole, "enforce"), {})
	every team in [whole, object.remove(whole, {"deny"}), {"allow": whole.allow}, malformed_part, {}] {
		wanted := asked(with_mode(team, "enforce"), {"e": enforced})
		not wanted.trials
		asked(with_mode(team, "shadow"), {"e": enforced}).trials[0].would_be == wanted
	}
}

test_the_record_names_package_mode_and_own_rules if {
	some mode in ["warn", "shadow"]
	answer := asked(with_mode(whole, mode), {"e": enforced})
	count(answer.trials) == 1
	answer.trials[0].package == "teams.t"
	answer.trials[0].mode == mode
	answer.trials[0].rules == {"allow": ["t.allow"], "hold": ["t.hold"], "deny": ["t.deny"]}
	object.keys(answer.trials[0]) == {"package", "mode", "rules", "would_be"}
}

test_each_is_tried_alone if {
	others := {
		"e": {"allow": {said("e.allow")}},
		"a": {"mode": "warn", "deny": {said("a.deny")}},
	}
	answer := asked({"mode": "shadow", "hold": {said("t.hold")}}, others)
	answer.effect == "allow"
	[[trial.package, trial.mode, trial.would_be.effect] | some trial in answer.trials] == [
		["teams.a", "warn", "deny"],
		["teams.t", "shadow", "hold"],
	]
}

# Such a package may have been meant to be on trial: it must not allow. Or enforced: its deny must stay.
test_another_mode_denies_and_counts if {
	every mode in ["Shadow", "", null, false, {"shadow"}, {"shadow": 1}] {
		answer := asked(with_mode(whole, mode), {"e": enforced})
		answer.effect == "deny"
		not answer.trials
		rules := {reason.rule: reason.message | some reason in answer.reasons}
		rules["broker.contribution_invalid"] == "package teams.t contributes a malformed mode"
		rules["t.deny"]
		answer.obligations.limits.pids == 2
	}
}

test_a_tests_own_question if {
	teams := {"t": with_mode(whole, "shadow"), "a": with_mode(whole, "warn"), "e": enforced}
	answer := decision.as_enforced("t") with data.teams as teams with input.tool as tool
	answer == decision.result with data.teams as {"t": whole, "e": enforced} with input.tool as tool
}
