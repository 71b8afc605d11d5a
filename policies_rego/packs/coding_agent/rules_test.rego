package packs.coding_agent_test

import data.broker.decision
import data.broker.lib
import data.packs.coding_agent

inside := {"read_only": false, "destructive": false, "idempotent": false, "reversible": true, "open_world": false}

call(name, arguments, derived) := {
	"agent": {"id": "a", "roles": ["agent"], "groups": ["coding"], "attributes": {}},
	"session": {"id": "s", "labels": [], "purpose": ""},
	"tool": {"name": name, "arguments": arguments, "effects": inside, "egress": []},
	"derived": derived,
	"workspace": {"paths": ["src/a.py", "ci/build.yaml"]},
	"history": {
		"calls": {"last_minute": 119, "last_hour": 0, "last_day": 0},
		"denied": {"last_minute": 0, "last_hour": 99, "last_day": 0},
		"by_tool": {},
		"prior_tools": [],
		"budget": {"spent": 9, "limit": 10},
	},
}

on_path(name, path) := call(name, {"path": path}, {"path": {"kind": "path", "parts": split(path, "/"), "normalized": path, "suffix": "", "absolute": false, "escapes": false}})

fetch(arguments, changes) := object.union(
	call("http_fetch", object.union({"url": "-"}, arguments), {"url": object.union(
		{
			"kind": "url", "scheme": "https", "host": "pypi.org", "port": 443, "path": "/",
			"has_query": false, "has_fragment": false, "has_credentials": false,
		},
		changes,
	)}),
	{"tool": {"egress": ["*:*"], "effects": {"open_world": true, "read_only": true}}},
)

python := call("python_run", {"code": "1"}, {})

# What a package beside says, its own tests ask: none makes these fail.
alone("coding_agent")

answered(request) := answer if {
	pack := coding_agent with input as request
	answer := decision.as_enforced("coding_agent") with input as request with data.teams.coding_agent as pack with lib.counts as alone
}

outcome(request) := [answer.effect, {reason.rule | some reason in answer.reasons}] if answer := answered(request)

open := ["allow", {"coding_agent.open"}]

test_it_works_on_its_files if {
	outcome(python) == open
	outcome(call("workspace_list", {}, {})) == open
	outcome(call("text_search", {"pattern": "x"}, {})) == open
	outcome(on_path("workspace_read", "README.md")) == open
	every path in ["src/a.py", "tests/b.py", "docs/c/d.md"] {
		outcome(on_path("workspace_write", path)) == open
	}
}

test_it_reads_listed_documentation if {
	answered(fetch({}, {})).obligations.egress == ["pypi.org:443"]
	answered(python).obligations.egress == []
	every arguments in [{}, {"method": "HEAD"}] {
		outcome(fetch(arguments, {})) == open
	}
}

test_strangers if {
	outcome(object.union(python, {"agent": {"roles": ["auditor"]}})) == ["deny", {"library.unknown_agent"}]
}

test_other_groups_are_not_bound if {
	other := object.union(python, {"agent": {"groups": ["sales"]}, "history": {"budget": {"spent": 10}}})
	outcome(other) == ["deny", {"broker.not_allowed"}]
	unknown := object.union(python, {"agent": {"groups": null}, "history": {"budget": {"spent": 10}}})
	outcome(unknown) == ["deny", {"library.budget_spent"}]
}

test_other_tools if outcome(call("sql_query", {}, {})) == ["deny", {"coding_agent.tool_closed"}]

test_use if {
	outcome(object.union(python, {"history": {"calls": {"last_minute": 120}}})) == ["deny", {"library.too_many_calls"}]
	outcome(object.union(python, {"history": {"denied": {"last_hour": 100}}})) == ["deny", {"library.too_many_denials"}]
	outcome(object.union(python, {"history": {"budget": {"spent": 10}}})) == ["deny", {"library.budget_spent"}]
}

test_paths if {
	outcome(on_path("workspace_read", ".env")) == ["deny", {"library.path_secret"}]
	outcome(on_path("workspace_write", "a/b")) == ["deny", {"library.path_outside"}]
	escaping := object.union(on_path("pdf_text", "x"), {"derived": {"path": {"escapes": true}}})
	outcome(escaping) == ["deny", {"library.path_escapes"}]
	every tool in ["python_run", "text_search"] {
		dirty := object.union(call(tool, {}, {}), {"workspace": {"paths": ["src/id_rsa"]}})
		outcome(dirty) == ["deny", {"library.workspace_secret"}]
	}
}

test_people_decide if {
	outcome(on_path("workspace_delete", "src/a.py")) == ["hold", {"coding_agent.deletes"}]
	answered(on_path("workspace_delete", "src/a.py")).approval.requirements == [{"group": "", "count": 1}]
	outcome(on_path("workspace_write", "ci/build.yaml")) == ["hold", {"coding_agent.guarded"}]
	answered(on_path("workspace_write", "deploy/x")).approval.requirements == [{"group": "security", "count": 1}]
}

test_fetches if {
	outcome(fetch({}, {"host": "example.org"})) == ["deny", {"library.place_unlisted"}]
	outcome(fetch({}, {"scheme": "ftp"})) == ["deny", {"library.url_unclear"}]
	outcome(fetch({}, {"has_query": true})) == ["hold", {"library.url_carries"}]
	every arguments in [{"method": "POST"}, {"body": ""}, {"headers": {}}] {
		outcome(fetch(arguments, {})) == ["hold", {"coding_agent.sends"}]
	}
}

test_what_is_private_stays if {
	answered(on_path("workspace_read", "private/a")).labels == ["private"]
	answered(on_path("workspace_read", "src/a.py")).labels == []
	answered(object.union(python, {"workspace": {"paths": ["private/a"]}})).labels == ["private"]
	answered(python).labels == []
	outcome(object.union(fetch({}, {}), {"session": {"labels": ["private"]}})) == ["deny", {"library.flow_out"}]
	outcome(object.union(python, {"session": {"labels": ["private"]}})) == open
}

test_ceilings if {
	answered(python).obligations.limits == {"timeout_s": 300, "memory_bytes": 1073741824, "pids": 256}
}
