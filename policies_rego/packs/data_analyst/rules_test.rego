package packs.data_analyst_test

import data.broker.decision
import data.broker.lib
import data.packs.data_analyst

call(name, arguments, derived) := {
	"time": {"weekday": "Tuesday", "hour": 6, "minute": 0},
	"agent": {"id": "a", "roles": ["agent"], "groups": ["analysts"], "attributes": {}},
	"session": {"id": "s", "labels": [], "purpose": ""},
	"tool": {
		"name": name, "arguments": arguments, "egress": [],
		"effects": {"read_only": false, "destructive": false, "reversible": true, "open_world": false},
	},
	"derived": derived,
	"workspace": {"paths": ["notes.txt"]},
	"history": {
		"calls": {"last_minute": 0, "last_hour": 0, "last_day": 0},
		"denied": {"last_minute": 0, "last_hour": 0, "last_day": 0},
		"by_tool": {"sql_query": 499},
		"prior_tools": [],
		"budget": {"spent": 9, "limit": 10},
	},
}

query(changes) := object.union(
	call("sql_query", {"statement": "-"}, {"statement": object.union(
		{"kind": "sql", "statements": 1, "commands": ["select"], "tables": ["orders"], "functions": [], "is_read": true},
		changes,
	)}),
	{"tool": {"egress": ["*:*"], "secrets": ["sql_reading_dsn"], "effects": {"open_world": true}}},
)

on_path(name, path) := call(name, {"path": path}, {"path": {"kind": "path", "parts": split(path, "/"), "normalized": path, "suffix": "", "absolute": false, "escapes": false}})

python := call("python_run", {"code": "1"}, {})

# What a package beside says, its own tests ask: none makes these fail.
alone("data_analyst")

answered(request) := answer if {
	pack := data_analyst with input as request
	answer := decision.as_enforced("data_analyst") with input as request with data.teams.data_analyst as pack with lib.counts as alone
}

outcome(request) := [answer.effect, {reason.rule | some reason in answer.reasons}] if answer := answered(request)

open := ["allow", {"data_analyst.open"}]

test_it_asks_listed_tables if {
	outcome(query({})) == open
	outcome(query({"tables": ["items", "invoices"]})) == open
	answer := answered(query({}))
	answer.obligations.secrets == ["sql_reading_dsn"]
	answer.obligations.egress == ["db.example.org:5432"]
	answer.obligations.redact == ["/arguments/parameters"]
	answer.obligations.limits == {"timeout_s": 120, "memory_bytes": 1073741824}
	answer.labels == []
}

test_it_reckons if {
	outcome(python) == open
	outcome(call("workspace_list", {}, {})) == open
	outcome(on_path("workspace_read", "notes.txt")) == open
	outcome(on_path("workspace_write", "new.txt")) == open
	answer := answered(python)
	[answer.obligations.secrets, answer.obligations.egress, answer.obligations.redact] == [[], [], []]
}

test_strangers_and_other_groups if {
	outcome(object.union(python, {"agent": {"roles": []}})) == ["deny", {"library.unknown_agent"}]
	outcome(object.union(python, {"agent": {"groups": []}})) == ["deny", {"broker.not_allowed"}]
}

test_other_tools if outcome(call("pdf_text", {}, {})) == ["deny", {"data_analyst.tool_closed"}]

test_hours if {
	every change in [{"hour": 5, "minute": 59}, {"hour": 20}, {"weekday": "Sunday"}] {
		outcome(object.union(python, {"time": change})) == ["deny", {"library.outside_hours"}]
	}
}

test_use if {
	outcome(object.union(query({}), {"history": {"by_tool": {"sql_query": 500}}})) == ["deny", {"library.tool_too_often"}]
	outcome(object.union(python, {"history": {"by_tool": {"sql_query": 500}}})) == open
	outcome(object.union(python, {"history": {"budget": {"spent": 10}}})) == ["deny", {"library.budget_spent"}]
}

test_statements if {
	outcome(query({"statements": 2})) == ["deny", {"library.sql_several"}]
	outcome(query({"is_read": false})) == ["deny", {"data_analyst.writes"}]
	outcome(query({"tables": ["salaries"]})) == ["deny", {"library.sql_table_unlisted"}]
}

test_a_long_statement if {
	statement := concat("", [sprintf("%d", [number]) | some number in numbers.range(10000, 11000)])
	outcome(object.union(query({}), {"tool": {"arguments": {"statement": statement}}})) == ["deny", {"library.too_large"}]
}

test_tables_of_persons_need_consent if {
	request := query({"tables": ["customers", "orders"]})
	outcome(request) == ["hold", {"data_analyst.personal"}]
	answer := answered(request)
	answer.approval == {
		"requirements": [{"group": "privacy", "count": 1}],
		"decide_within_s": 1800,
		"run_within_s": 300,
	}
	answer.labels == ["personal"]
}

test_what_tells_of_persons_stays if {
	labelled := {"session": {"labels": ["personal"]}, "tool": {"effects": {"open_world": true}}}
	outcome(object.union(python, labelled)) == ["deny", {"library.flow_out"}]
	outcome(object.union(python, {"session": {"labels": ["personal"]}})) == open
	outcome(object.union(query({}), {"session": {"labels": ["personal"]}})) == open
}

test_files if {
	outcome(on_path("workspace_write", "notes.txt")) == ["hold", {"library.overwrites"}]
	outcome(on_path("workspace_read", "a/.env")) == ["deny", {"library.path_secret"}]
	escaping := object.union(on_path("workspace_read", "x"), {"derived": {"path": {"absolute": true}}})
	outcome(escaping) == ["deny", {"library.path_escapes"}]
}
