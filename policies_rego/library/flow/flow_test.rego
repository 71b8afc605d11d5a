package library.flow_test

import data.library.flow

asked(labels, open_world, read_only) := {
	"session": {"labels": labels},
	"tool": {"effects": {"open_world": open_world, "read_only": read_only}, "egress": []},
}

test_without_the_label_all_is_open if {
	not flow.out({"pii"}) with input as asked(["eu"], true, false)
	not flow.untrusted({"web"}) with input as asked([], true, false)
}

test_labelled_information_stays_inside if {
	flow.out({"pii", "secret"}).rule == "library.flow_out" with input as asked(["eu", "pii"], true, true)
	not flow.out({"pii"}) with input as asked(["pii"], false, true)
	listed := object.union(asked(["pii"], false, true), {"tool": {"egress": ["x:1"]}})
	flow.out({"pii"}).severity == "critical" with input as listed
}

test_untrusted_text_changes_nothing_alone if {
	flow.untrusted({"web"}).rule == "library.flow_untrusted" with input as asked(["web"], false, false)
	not flow.untrusted({"web"}) with input as asked(["web"], true, true)
}

test_unknown_labels_close if {
	flow.out({"pii"}) with input as {}
	flow.untrusted({"pii"}) with input as {}
	every labels in [null, "pii", {}] {
		flow.out({"pii"}) with input as asked(labels, true, true)
		flow.untrusted({"pii"}) with input as asked(labels, true, false)
	}
}
