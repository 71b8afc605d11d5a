# METADATA
# title: How large arguments are
# schemas:
#   - input: schema.policy_input
package library.arguments

# METADATA
# title: The argument is there
given(name) if {
	some key, _ in input.tool.arguments
	key == name
}

# METADATA
# title: The argument certainly has at most so many characters, members or entries; one left out has none
# scope: document
sized(name, most) if {
	is_object(input.tool.arguments)
	not given(name)
	most >= 0
}

sized(name, most) if {
	value := input.tool.arguments[name]
	measurable(value)
	count(value) <= most
}

measurable(value) if is_string(value)

measurable(value) if is_array(value)

measurable(value) if is_object(value)

# METADATA
# title: The argument certainly is one of these
one_of(name, values) if input.tool.arguments[name] in values

# METADATA
# title: The argument certainly is a number from least to most
between(name, least, most) if {
	value := input.tool.arguments[name]
	is_number(value)
	value >= least
	value <= most
}

# METADATA
# title: Deny an argument that is too large
# custom:
#   rule: library.too_large
#   severity: medium
#   controls: [OWASP LLM03:2026, NIST SI-10]
too_large(name, most) := {
	"rule": "library.too_large",
	"message": sprintf("argument %s has more than %d characters or entries, or is of another kind", [name, most]),
	"agent_message": sprintf("Send at most %d characters or entries in `%s`.", [most, name]),
	"severity": "medium",
} if {
	not sized(name, most)
}
