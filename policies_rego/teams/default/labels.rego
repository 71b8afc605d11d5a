# Label what agents are given; hold what might carry confidential content out at a stranger's word.
package teams.default

# What the tool's author says of its results, by `labels` in tool.yaml.
label contains name if {
	some name in input.tool.labels
	name in kinds_of_content
}

# An author who opens a tool to the world, and says nothing of its results, vouches for none.
label contains "untrusted" if {
	input.tool.effects.open_world == true
	not says_what_it_gives
}

# METADATA
# title: People decide what might carry confidential content out at a stranger's word
# scope: rule
# custom:
#   rule: default.may_leak
#   severity: high
#   controls: [OWASP LLM01:2025, OWASP LLM02:2025, NIST AC-4]
hold contains {
	"rule": "default.may_leak",
	"message": "given confidential content, and content from outside that may steer it, the agent reaches outside",
	"agent_message": "You were given confidential content and some from outside, so a person decides. Wait with WaitCall.",
	"severity": "high",
} if {
	reaches_outside
	not kept_apart
}

kinds_of_content := {"confidential", "untrusted"}

says_what_it_gives if {
	some name in input.tool.labels
	name in kinds_of_content
}

reaches_outside if is_fetch

# The database is the operator's own, and without a person a query can only read there.
reaches_outside if {
	input.tool.effects.open_world == true
	not is_sql
}

# The effects are the author's word; the places that the tool may reach are what the broker opens.
reaches_outside if {
	some _ in input.tool.egress
	not is_sql
}

# What is not known is not kept apart.
kept_apart if {
	is_array(input.session.labels)
	some name in kinds_of_content
	not name in input.session.labels
}
