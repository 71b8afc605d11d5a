# METADATA
# title: Who calls
# description: |
#   Each predicate holds only where the input says so for certain, so that a rule denies with `not`:
#   an unknown caller is then denied, too.
# schemas:
#   - input: schema.policy_input
package library.agents

# METADATA
# title: The caller is a registered identity with role agent
known if {
	is_string(input.agent.id)
	input.agent.id != ""
	"agent" in input.agent.roles
}

# METADATA
# title: The caller has a role
has_role(role) if role in input.agent.roles

# METADATA
# title: The caller is in a group
in_group(group) if group in input.agent.groups

# METADATA
# title: The caller certainly is not in a group; rules that bind a group start with `not` of this
outside_group(group) if {
	is_array(input.agent.groups)
	not group in input.agent.groups
}

# METADATA
# title: The caller is in one of these groups
in_one_of(groups) if {
	some group in input.agent.groups
	group in groups
}

# METADATA
# title: An attribute of the caller has this value
has_attribute(name, value) if input.agent.attributes[name] == value

# METADATA
# title: Deny who is no registered agent
# custom:
#   rule: library.unknown_agent
#   severity: high
#   controls: [OWASP LLM03:2026, NIST AC-3, ISO 27001 A.5.15]
unknown := {
	"rule": "library.unknown_agent",
	"message": "the caller is not a registered identity with role agent",
	"agent_message": "This identity may not call tools. Ask the operator to give it the role `agent`.",
	"severity": "high",
} if {
	not known
}
