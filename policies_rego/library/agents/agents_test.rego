package library.agents_test

import data.library.agents

caller := {"id": "a", "roles": ["agent"], "groups": ["coding"], "attributes": {"team": "web"}}

asked(changes) := {"agent": object.union(caller, changes)}

test_known_agents_are_known if {
	agents.known with input as asked({})
	not agents.unknown with input as asked({})
}

test_what_is_not_certain_is_unknown if {
	every changes in [{"id": ""}, {"id": 1}, {"roles": []}, {"roles": "agent"}, {"roles": null}] {
		agents.unknown.rule == "library.unknown_agent" with input as asked(changes)
	}
	every request in [{}, {"agent": null}, null] {
		agents.unknown.severity == "high" with input as request
	}
}

test_roles_groups_attributes if {
	agents.has_role("agent") with input as asked({})
	not agents.has_role("approver") with input as asked({})
	agents.in_group("coding") with input as asked({})
	not agents.in_group("sales") with input as asked({})
	not agents.in_group("coding") with input as {}
	agents.outside_group("sales") with input as asked({})
	not agents.outside_group("coding") with input as asked({})
	not agents.outside_group("coding") with input as {}
	agents.in_one_of({"sales", "coding"}) with input as asked({})
	not agents.in_one_of({"sales"}) with input as asked({})
	agents.has_attribute("team", "web") with input as asked({})
	not agents.has_attribute("team", "app") with input as asked({})
	not agents.has_attribute("other", "web") with input as asked({})
}
