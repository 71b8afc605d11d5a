# METADATA
# title: Which tool, and what it does to the world
# description: |
#   Effects are what the tool's definition says. Each predicate holds only where the input says so for
#   certain: what is not known to be harmless is not.
# schemas:
#   - input: schema.policy_input
package library.tools

# METADATA
# title: The tool is one of these
named(names) if input.tool.name in names

# METADATA
# title: The tool has an effect
has_effect(effect) if input.tool.effects[effect] == true

# METADATA
# title: The tool certainly lacks an effect
lacks_effect(effect) if input.tool.effects[effect] == false

# METADATA
# title: The tool changes nothing, here or elsewhere
only_reads if {
	input.tool.effects.read_only == true
	input.tool.effects.destructive == false
}

# METADATA
# title: The tool can certainly send nothing out
stays_inside if {
	input.tool.effects.open_world == false
	input.tool.egress == []
}

# METADATA
# title: The tool carries a label of its definition
labelled(label) if label in input.tool.labels

# METADATA
# title: Hold what may destroy something
# custom:
#   rule: library.may_destroy
#   severity: high
#   controls: [OWASP LLM03:2026, supports EU 2024/1689 Art. 14]
may_destroy := {
	"rule": "library.may_destroy",
	"message": "the tool's definition does not rule out that it destroys something",
	"agent_message": "This tool may destroy something, so it needs a person's approval. Wait with WaitCall.",
	"severity": "high",
} if {
	not lacks_effect("destructive")
}

# METADATA
# title: Hold what cannot be undone
# custom:
#   rule: library.irreversible
#   severity: medium
#   controls: [OWASP LLM03:2026, supports EU 2024/1689 Art. 14]
irreversible := {
	"rule": "library.irreversible",
	"message": "the tool changes something and its definition does not say that this can be undone",
	"agent_message": "What this tool does cannot be undone, so it needs a person's approval. Wait with WaitCall.",
	"severity": "medium",
} if {
	not only_reads
	not has_effect("reversible")
}
