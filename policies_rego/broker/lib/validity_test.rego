package broker.lib_test

import data.broker.decision
import data.broker.lib

answer(team) := given if {
	teams := {"a": {"allow": {{"rule": "a.x", "message": "m"}}}, "b": team}
	given := decision.result with data.teams as teams
}

test_well_formed_is_not_malformed if {
	answer({
		"allow": {{"rule": "r", "message": "m", "agent_message": "a", "severity": "low"}},
		"limit": {{"name": "pids", "value": 1}},
		"egress": {"x:1"},
		"secret": {"s"},
		"redact": {"/arguments", "/result/stdout"},
		"runtime": {"kata"},
		"approval": {{"group": "", "count": 100}, {"decide_within_s": 1}, {"run_within_s": 1}},
		"label": {"l"},
	}).effect == "allow"
}

malformed := {
	"allow": [true, [], {"x"}, {{"rule": "r"}}, {{"rule": "", "message": "m"}}, {{"rule": "r", "message": "m", "severity": "grave"}}, {{"rule": "r", "message": "m", "more": "x"}}, {{"rule": "broker.halted", "message": "m"}}],
	"hold": [true, {{"rule": "r", "message": 1}}, {{"rule": "broker.not_allowed", "message": "m"}}],
	"deny": [false, {"x"}, {{"rule": "broker.halted", "message": "m"}}],
	"limit": [{{"name": "memory", "value": 1}}, {{"name": "pids", "value": 0}}, {{"name": "pids", "value": 1.5}}, {{"name": "pids", "value": "1"}}, {{"name": "pids"}}, {"name": "pids", "value": 1}],
	"egress": [{1}, {""}, "x:1"],
	"secret": [{1}, ["s"]],
	"redact": [{"arguments"}, {"/argumentsx"}, {""}, "x"],
	"runtime": [{"crun"}, {1}, "runsc"],
	"approval": [{{"group": "g"}}, {{"group": "g", "count": 0}}, {{"group": "g", "count": 101}}, {{"group": 1, "count": 1}}, {{"decide_within_s": 0}}, {{"run_within_s": "1"}}, [{"run_within_s": 1}]],
	"label": [{1}, {""}, "x"],
}

test_malformed_denies if {
	every kind, values in malformed {
		every value in values {
			denied := answer({kind: value})
			denied.effect == "deny"
			some reason in denied.reasons
			reason.rule == "broker.contribution_invalid"
			reason.message == concat("", ["package teams.b contributes a malformed ", kind])
		}
	}
}

test_incomplete_reason_keeps_its_effect if {
	denied := answer({"deny": {{"message": "m"}}})
	denied.effect == "deny"
	some reason in denied.reasons
	reason == {"rule": "teams.b.deny", "message": "m", "agent_message": "Policy denies this call.", "severity": "medium"}
}

# Whoever reads a decision takes an id of the broker's for the broker's word.
test_no_team_speaks_as_the_broker if {
	denied := answer({"deny": {{"rule": "broker.halted", "message": "m"}, {"rule": "brokers.x", "message": "m"}}})
	{reason.rule | some reason in denied.reasons} == {"broker.contribution_invalid", "brokers.x", "teams.b.deny"}
}

test_isolation_goes_up if {
	lib.isolation == ["runc", "runsc", "kata"]
}

ordered(given) := {"runtimes": given}

test_operator_adds_runtimes_in_their_places if {
	order := ["crun", "runc", "runsc", "kata", "kata-qemu"]
	lib.isolation == order with input as ordered(order)
	rows := {"crun": "runsc", "kata-qemu": "kata-qemu"}
	every name, wanted in rows {
		teams := {"a": {"runtime": {"runsc"}}, "b": {"runtime": {name}}}
		answer := decision.result with data.teams as teams with input as ordered(order)
		answer.obligations.runtime == wanted
		not malformed_in(answer)
	}
}

malformed_in(answer) if {
	some reason in answer.reasons
	reason.rule == "broker.contribution_invalid"
}

test_weakest_is_the_default if {
	answer := decision.result with data.teams as {} with input as ordered(["crun", "runc"])
	answer.obligations.runtime == "crun"
}

test_order_that_is_none_is_the_builtin_one if {
	every given in [[], "runc", [""], [1], {"runc"}, null] {
		lib.isolation == ["runc", "runsc", "kata"] with input as ordered(given)
	}
}
