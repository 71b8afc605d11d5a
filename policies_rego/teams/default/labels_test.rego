package teams.default_test

import data.broker.decision
import data.broker.lib

given(request) := decided(request).labels

labelled(request, labels) := object.union(request, {"session": {"labels": labels}})

both := ["confidential", "more", "untrusted"]

lookup := object.union(call("lookup", {}, {}), {"tool": {"effects": {"open_world": true}}})

beside_lookup(team) if team in {"default", "lookup"}

# As a team would: its own package allows its own tool.
allowing(request) := [answer.effect, {reason.rule | some reason in answer.reasons}] if {
	theirs := {"allow": {{"rule": "lookup.allow", "message": "m"}}}
	answer := decision.result with input as request with data.teams.lookup as theirs with lib.counts as beside_lookup
}

test_a_tool_says_what_it_gives if {
	every labels in [[], ["confidential"], ["untrusted"], ["confidential", "untrusted"]] {
		given(object.union(python, {"tool": {"labels": labels}})) == labels
	}
}

test_other_words_of_a_tool_label_nobody if {
	given(python) == []
	given(object.union(python, {"tool": {"labels": ["confidential", "internal"]}})) == ["confidential"]
}

test_a_tool_that_is_open_to_the_world_and_says_nothing_gives_untrusted_content if {
	every labels in [[], ["internal"], "confidential", null] {
		given(object.union(lookup, {"tool": {"labels": labels}})) == ["untrusted"]
	}
}

test_a_tool_that_is_open_to_the_world_is_taken_at_its_word if {
	given(lookup) == ["untrusted"]
	given(object.union(lookup, {"tool": {"labels": ["confidential"]}})) == ["confidential"]
}

test_after_both_whatever_reaches_outside_is_held if {
	allowing(lookup) == ["allow", {"lookup.allow"}]
	allowing(labelled(lookup, both)) == ["hold", {"default.may_leak"}]
	held := listed(labelled(fetch({}, {}), both))
	held == ["hold", {"default.may_leak"}, ["docs.example.org:443"]]
	unmarked := object.union(labelled(fetch({}, {}), both), {"tool": {"effects": {"open_world": false}}})
	listed(unmarked) == held
}

# `open_world: false` is its author's word; the places that it may reach are a fact.
test_a_tool_with_places_reaches_outside_whatever_it_says if {
	every effects in [{"open_world": false}, {}, null] {
		tool := {"egress": ["api.example.org:443"], "effects": effects}
		allowing(labelled(object.union(lookup, {"tool": tool}), both)) == ["hold", {"default.may_leak"}]
	}
}

test_a_tool_without_places_that_is_not_open_to_the_world_stays_inside if {
	tool := {"egress": [], "effects": {"open_world": false}}
	allowing(labelled(object.union(lookup, {"tool": tool}), both)) == ["allow", {"lookup.allow"}]
}

test_after_one_of_them_it_is_not if {
	every labels in [[], ["confidential"], ["untrusted"], ["confidential", "secret"]] {
		allowing(labelled(lookup, labels)) == ["allow", {"lookup.allow"}]
		listed(labelled(fetch({}, {}), labels))[0] == "allow"
	}
}

test_what_stays_inside_is_not_held_after_both if {
	outcome(labelled(python, both)) == ["allow", {"default.python_run"}]
	outcome(labelled(on_path("pdf_text", "a.pdf", ["a.pdf"]), both)) == ["allow", {"default.workspace"}]
	asked(labelled(query({}), both), databases) == ["allow", {"default.sql_query"}, reading]
}

test_unknown_labels_count_as_both if {
	every labels in [null, "confidential", {"confidential": true}] {
		allowing(labelled(lookup, labels)) == ["hold", {"default.may_leak"}]
	}
}

test_without_a_session_too if {
	allowing(object.remove(lookup, {"session"})) == ["hold", {"default.may_leak"}]
}
