# Tell which contributions are malformed.
#
# A misspelt limit or a clock of the wrong type must not count as silence, which would loosen:
# each makes the decision a denial that names package and set.
package broker.lib

# From the weakest isolation to the strongest; the broker's clamp holds the same order.
default isolation := ["runc", "runsc", "kata"]

isolation := input.runtimes if {
	is_array(input.runtimes)
	count(input.runtimes) > 0
	every name in input.runtimes { valid_name(name) }
}

limit_names := {"cpu_millicores", "memory_bytes", "pids", "timeout_s", "output_bytes", "tmp_bytes"}

largest_integer := 9007199254740991

malformed contains [team, "allow"] if {
	some team
	contributed := data.teams[team].allow
	not reason_set(contributed)
}

malformed contains [team, "hold"] if {
	some team
	contributed := data.teams[team].hold
	not reason_set(contributed)
}

malformed contains [team, "deny"] if {
	some team
	contributed := data.teams[team].deny
	not reason_set(contributed)
}

malformed contains [team, "limit"] if {
	some team
	contributed := data.teams[team].limit
	not limit_set(contributed)
}

malformed contains [team, "egress"] if {
	some team
	contributed := data.teams[team].egress
	not name_set(contributed)
}

malformed contains [team, "secret"] if {
	some team
	contributed := data.teams[team].secret
	not name_set(contributed)
}

malformed contains [team, "redact"] if {
	some team
	contributed := data.teams[team].redact
	not pointer_set(contributed)
}

malformed contains [team, "runtime"] if {
	some team
	contributed := data.teams[team].runtime
	not runtime_set(contributed)
}

malformed contains [team, "approval"] if {
	some team
	contributed := data.teams[team].approval
	not approval_set(contributed)
}

malformed contains [team, "label"] if {
	some team
	contributed := data.teams[team].label
	not name_set(contributed)
}

malformed contains [team, "mode"] if {
	some team
	named := data.teams[team].mode
	not known_mode(named)
}

reason_set(contributed) if {
	is_set(contributed)
	every entry in contributed { valid_reason(entry) }
}

limit_set(contributed) if {
	is_set(contributed)
	every entry in contributed { valid_limit(entry) }
}

name_set(contributed) if {
	is_set(contributed)
	every entry in contributed { valid_name(entry) }
}

pointer_set(contributed) if {
	is_set(contributed)
	every entry in contributed { valid_pointer(entry) }
}

runtime_set(contributed) if {
	is_set(contributed)
	every entry in contributed { entry in isolation }
}

approval_set(contributed) if {
	is_set(contributed)
	every entry in contributed { valid_approval(entry) }
}

valid_reason(entry) if {
	is_object(entry)
	valid_rule(entry.rule)
	valid_name(entry.message)
	known_severity(entry)
	every key, value in entry {
		key in {"rule", "message", "agent_message", "severity"}
		valid_name(value)
	}
}

# The broker's own refusals have these ids: a team must not speak in its name.
valid_rule(name) if {
	valid_name(name)
	not startswith(name, "broker.")
}

known_severity(entry) if not entry.severity

known_severity(entry) if severity_rank[entry.severity]

valid_limit(entry) if {
	is_object(entry)
	object.keys(entry) == {"name", "value"}
	entry.name in limit_names
	positive_integer(entry.value)
}

valid_approval(entry) if valid_requirement(entry)

valid_approval(entry) if valid_clock(entry, "decide_within_s")

valid_approval(entry) if valid_clock(entry, "run_within_s")

valid_requirement(entry) if {
	is_object(entry)
	object.keys(entry) == {"group", "count"}
	is_string(entry.group)
	positive_integer(entry.count)
	entry.count <= 100
}

valid_clock(entry, name) if {
	is_object(entry)
	object.keys(entry) == {name}
	positive_integer(entry[name])
}

# A pointer into what is masked: the call's arguments or its result (RFC 6901).
valid_pointer(pointer) if {
	is_string(pointer)
	parts := split(pointer, "/")
	parts[0] == ""
	parts[1] in {"arguments", "result"}
}

valid_name(name) if {
	is_string(name)
	name != ""
}

positive_integer(value) if {
	is_number(value)
	value == floor(value)
	value >= 1
	value <= largest_integer
}
