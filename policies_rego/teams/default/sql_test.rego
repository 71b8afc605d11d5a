package teams.default_test

reads := {"kind": "sql", "statements": 1, "commands": ["select"], "tables": ["orders"], "functions": [], "is_read": true}

query(changes) := object.union(
	call("sql_query", {"statement": "-"}, {"statement": object.union(reads, changes)}),
	{"tool": {
		"egress": ["*:*"],
		"secrets": ["sql_reading_dsn", "sql_writing_dsn"],
		"effects": {"destructive": true, "open_world": true},
	}},
)

databases := {"reading": ["db.example.org:5432"], "writing": ["main.example.org:5432"]}

closed := {"reading": [], "writing": []}

asked(request, listed) := [answer.effect, {reason.rule | some reason in answer.reasons}, given] if {
	answer := decided(request) with data.teams["default"].databases as listed
	given := array.concat(answer.obligations.secrets, answer.obligations.egress)
}

reading := ["sql_reading_dsn", "db.example.org:5432"]

writing := ["sql_writing_dsn", "main.example.org:5432"]

test_plain_reading_goes_by_itself if {
	asked(query({}), databases) == ["allow", {"default.sql_query"}, reading]
}

test_everything_else_is_held if {
	every changes in [{"is_read": false}, {"is_read": "true"}, {"is_read": null}, {"invalid": true}, {"kind": "url"}] {
		asked(query(changes), databases) == ["hold", {"default.sql_writes"}, writing]
	}
}

test_what_was_not_parsed_is_held if {
	every derived in [{}, {"statement": {"kind": "sql", "invalid": true}}, {"statement": null}, {"other": reads}] {
		request := object.union(object.remove(query({}), {"derived"}), {"derived": derived})
		asked(request, databases) == ["hold", {"default.sql_writes"}, writing]
	}
}

test_several_are_denied if {
	several := asked(query({"statements": 2, "is_read": false}), databases)
	array.slice(several, 0, 2) == ["deny", {"default.sql_several"}]
}

test_as_shipped_it_is_closed if {
	asked(query({}), closed) == ["deny", {"default.sql_reading_closed"}, ["sql_reading_dsn"]]
	asked(query({"is_read": false}), closed) == ["deny", {"default.sql_writing_closed"}, ["sql_writing_dsn"]]
}

test_each_is_opened_by_itself if {
	only_reading := object.union(databases, {"writing": []})
	asked(query({}), only_reading) == ["allow", {"default.sql_query"}, reading]
	asked(query({"is_read": false}), only_reading)[1] == {"default.sql_writing_closed"}
	only_writing := object.union(databases, {"reading": []})
	asked(query({}), only_writing)[1] == {"default.sql_reading_closed"}
	asked(query({"is_read": false}), only_writing) == ["hold", {"default.sql_writes"}, writing]
}

# The DSN that may write is in no decision that lets a call run by itself.
test_writing_needs_a_person if {
	every changes in [{}, {"is_read": false}, {"invalid": true}, {"statements": 2}, {"kind": "", "is_read": false}] {
		found := asked(query(changes), databases)
		not writes_alone(found)
	}
}

writes_alone(found) if {
	found[0] == "allow"
	"sql_writing_dsn" in found[2]
}

test_unknown_agents_ask_nothing if {
	stranger := object.union(query({}), {"agent": {"roles": ["auditor"]}})
	asked(stranger, databases)[1] == {"default.unknown_agent"}
}

test_other_tools_get_no_dsn if {
	request := object.union(python, {"tool": {"secrets": ["sql_reading_dsn"], "egress": ["*:*"]}, "derived": {"statement": reads}})
	asked(request, databases) == ["allow", {"default.python_run"}, []]
}
