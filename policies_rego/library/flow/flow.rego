# METADATA
# title: Which information the agent was given, by labels
# description: |
#   A team puts names into the set `label` where a call brings such information in; the broker shows
#   them in `input.session.labels` afterwards. Where the labels are missing nobody can tell, so each rule
#   here holds.
# schemas:
#   - input: schema.policy_input
package library.flow

import data.library.tools

# METADATA
# title: The call certainly comes with none of these labels
free_of(labels) if {
	is_array(input.session.labels)
	every label in input.session.labels { not label in labels }
}

# METADATA
# title: Deny what may send labelled information out
# custom:
#   rule: library.flow_out
#   severity: critical
#   controls: [OWASP LLM02:2025, NIST AC-4]
out(labels) := {
	"rule": "library.flow_out",
	"message": sprintf("the agent may have been given %s, and the tool can send out", [concat(", ", sort(labels))]),
	"agent_message": "You were given information that may not leave. Do without, or ask the operator.",
	"severity": "critical",
} if {
	not free_of(labels)
	not tools.stays_inside
}

# METADATA
# title: Hold what follows untrusted information and changes something
# custom:
#   rule: library.flow_untrusted
#   severity: high
#   controls: [OWASP LLM01:2025, NIST SI-10]
untrusted(labels) := {
	"rule": "library.flow_untrusted",
	"message": sprintf("the agent may have read %s, and the tool does more than read", [concat(", ", sort(labels))]),
	"agent_message": "You have read untrusted text, so what changes something needs a person's approval.",
	"severity": "high",
} if {
	not free_of(labels)
	not input.tool.effects.read_only == true
}
