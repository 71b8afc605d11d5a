package library.tools_test

import data.library.tools

effects := {"read_only": true, "destructive": false, "idempotent": true, "reversible": true, "open_world": false}

asked(changes) := {"tool": {
	"name": "pdf_text",
	"labels": ["files"],
	"egress": [],
	"effects": object.union(effects, changes),
}}

test_names_and_labels if {
	tools.named({"pdf_text", "x"}) with input as asked({})
	not tools.named({"x"}) with input as asked({})
	not tools.named({"x"}) with input as {}
	tools.labelled("files") with input as asked({})
	not tools.labelled("x") with input as asked({})
}

test_harmless if {
	tools.only_reads with input as asked({})
	tools.stays_inside with input as asked({})
	tools.has_effect("idempotent") with input as asked({})
	tools.lacks_effect("open_world") with input as asked({})
	not tools.may_destroy with input as asked({})
	not tools.irreversible with input as asked({})
}

test_what_is_not_certain_is_not_harmless if {
	not tools.stays_inside with input as object.union(asked({}), {"tool": {"egress": ["x:1"]}})
	not tools.lacks_effect("x") with input as asked({})
	not tools.irreversible with input as asked({"read_only": false})
	every changes in [{"read_only": false}, {"destructive": true}, {"destructive": null}] {
		not tools.only_reads with input as asked(changes)
	}
	every changes in [{"open_world": true}, {"open_world": "no"}] {
		not tools.stays_inside with input as asked(changes)
	}
	every request in [asked({"destructive": true}), asked({"destructive": null}), {}] {
		tools.may_destroy.rule == "library.may_destroy" with input as request
	}
	every request in [asked({"read_only": false, "reversible": false}), {}] {
		tools.irreversible.rule == "library.irreversible" with input as request
	}
}
