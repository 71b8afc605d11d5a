package library.approvals_test

import data.broker.decision
import data.library.approvals

held(entries) := {"a": {
	"allow": {{"rule": "a.a", "message": "m"}},
	"hold": {{"rule": "a.h", "message": "m"}},
	"approval": entries,
}}

test_votes if {
	answer := decision.result with data.teams as held({approvals.votes("security", 2)})
	answer.approval.requirements == [{"group": "security", "count": 2}]
}

test_two_persons if {
	answer := decision.result with data.teams as held(approvals.two_persons("legal"))
	answer.approval.requirements == [{"group": "", "count": 1}, {"group": "legal", "count": 1}]
}

test_clocks if {
	answer := decision.result with data.teams as held(approvals.clocks(120, 60))
	[answer.approval.decide_within_s, answer.approval.run_within_s] == [120, 60]
}
