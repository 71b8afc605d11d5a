package packs.support_agent_test

import data.broker.decision
import data.broker.lib
import data.packs.support_agent

call(name, arguments, derived) := {
	"agent": {"id": "a", "roles": ["agent"], "groups": ["support"], "attributes": {}},
	"session": {"id": "s", "labels": [], "purpose": ""},
	"tool": {
		"name": name, "arguments": arguments, "egress": [],
		"effects": {"read_only": true, "destructive": false, "reversible": true, "open_world": false},
	},
	"derived": derived,
	"workspace": {"paths": ["drafts/old.txt"]},
	"history": {
		"calls": {"last_minute": 0, "last_hour": 599, "last_day": 0},
		"denied": {"last_minute": 0, "last_hour": 0, "last_day": 0},
		"by_tool": {"http_fetch": 199},
		"prior_tools": [],
		"budget": {"spent": 0, "limit": 10},
	},
}

fetch(host, arguments, changes) := object.union(
	call("http_fetch", object.union({"url": "-"}, arguments), {"url": object.union(
		{
			"kind": "url", "scheme": "https", "host": host, "port": 443, "path": "/",
			"has_query": false, "has_fragment": false, "has_credentials": false,
		},
		changes,
	)}),
	{"tool": {"egress": ["*:*"], "effects": {"open_world": true, "read_only": false}}},
)

on_path(name, path) := call(name, {"path": path}, {"path": {"kind": "path", "parts": split(path, "/"), "normalized": path, "suffix": "", "absolute": false, "escapes": false}})

search := call("text_search", {"pattern": "x"}, {})

# What a package beside says, its own tests ask: none makes these fail.
alone("support_agent")

answered(request) := answer if {
	pack := support_agent with input as request
	answer := decision.as_enforced("support_agent") with input as request with data.teams.support_agent as pack with lib.counts as alone
}

outcome(request) := [answer.effect, {reason.rule | some reason in answer.reasons}] if answer := answered(request)

open := ["allow", {"support_agent.open"}]

test_it_reads if {
	outcome(search) == open
	outcome(on_path("workspace_read", "a.txt")) == open
	outcome(fetch("desk.example.org", {}, {})) == open
	answer := answered(fetch("help.example.org", {}, {}))
	answer.obligations.egress == ["help.example.org:443"]
	answer.obligations.redact == ["/arguments/body"]
	answer.obligations.limits == {"timeout_s": 60, "memory_bytes": 268435456}
	answer.labels == []
	every host in ["help.example.org", "de.help.example.org"] {
		outcome(fetch(host, {"method": "HEAD"}, {})) == open
	}
}

test_strangers_and_other_groups if {
	outcome(object.union(search, {"agent": {"id": ""}})) == ["deny", {"library.unknown_agent"}]
	outcome(object.union(search, {"agent": {"groups": ["coding"]}})) == ["deny", {"broker.not_allowed"}]
}

test_other_tools if outcome(call("python_run", {}, {})) == ["deny", {"support_agent.tool_closed"}]

test_use if {
	outcome(object.union(search, {"history": {"calls": {"last_hour": 600}}})) == ["deny", {"library.too_many_calls"}]
	often := {"history": {"by_tool": {"http_fetch": 200}}}
	outcome(object.union(fetch("help.example.org", {}, {}), often)) == ["deny", {"library.tool_too_often"}]
	outcome(object.union(search, often)) == open
}

test_places if {
	outcome(fetch("desk.example.org", {}, {"port": 80})) == ["deny", {"support_agent.elsewhere"}]
	outcome(fetch("help.example.org", {}, {"scheme": "ws"})) == ["deny", {"library.url_unclear"}]
	every host in ["example.org", "nothelp.example.org", "9.9.9.9"] {
		outcome(fetch(host, {}, {})) == ["deny", {"support_agent.elsewhere"}]
	}
	every host in ["10.1.2.3", "192.168.0.1", "[fd00::1]"] {
		outcome(fetch(host, {}, {})) == ["deny", {"support_agent.elsewhere", "support_agent.inner_address"}]
	}
}

test_two_persons_agree_to_answers if {
	answer := fetch("desk.example.org", {"method": "POST", "body": "Dear customer"}, {})
	outcome(answer) == ["hold", {"support_agent.answers"}]
	answered(answer).approval.requirements == [{"group": "", "count": 1}, {"group": "support_leads", "count": 1}]
	outcome(fetch("help.example.org", {}, {"has_query": true})) == ["hold", {"support_agent.answers"}]
	outcome(fetch("desk.example.org", {"method": "POST", "body": 1}, {})) == ["deny", {"library.too_large"}]
	outcome(fetch("desk.example.org", {"headers": {"a": "b"}}, {})) == ["deny", {"library.too_large"}]
}

test_what_customers_wrote_starts_nothing if {
	answered(fetch("desk.example.org", {}, {})).labels == ["customer_text"]
	read := {"session": {"labels": ["customer_text"]}}
	outcome(object.union(fetch("help.example.org", {}, {}), read)) == open
	answer := object.union(fetch("desk.example.org", {"method": "POST", "body": "Dear customer"}, {}), read)
	outcome(answer) == ["hold", {"library.flow_untrusted", "support_agent.answers"}]
	outcome(object.union(search, read)) == open
	outcome(object.union(on_path("workspace_write", "drafts/new.txt"), read)) == open
}

test_drafts if {
	outcome(on_path("workspace_write", "drafts/new.txt")) == open
	outcome(on_path("workspace_write", "drafts/old.txt")) == ["hold", {"library.overwrites"}]
	outcome(on_path("workspace_write", "new.txt")) == ["deny", {"library.path_outside"}]
	outcome(on_path("workspace_read", ".env")) == ["deny", {"library.path_secret"}]
}
