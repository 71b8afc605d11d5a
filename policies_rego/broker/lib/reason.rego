# Complete a reason, then put reasons in order.
package broker.lib

severity_risk := {"low": 20, "medium": 50, "high": 75, "critical": 100}

severity_rank := {"critical": 0, "high": 1, "medium": 2, "low": 3}

default_severity := {"allow": "low", "hold": "medium", "deny": "medium"}

told := {
	"allow": "Allowed.",
	"hold": "A person has to approve this call first.",
	"deny": "Policy denies this call.",
}

# An incomplete reason keeps its effect: what it lacks is filled in.
reason(team, kind, entry) := {
	"rule": rule_id(entry, concat(".", ["teams", team, kind])),
	"message": text(entry, "message", concat("", ["package teams.", team, " gives no message"])),
	"agent_message": text(entry, "agent_message", told[kind]),
	"severity": severity(entry, default_severity[kind]),
}

rule_id(entry, fallback) := value if {
	value := text(entry, "rule", fallback)
	valid_rule(value)
} else := fallback

text(entry, key, fallback) := value if {
	is_object(entry)
	value := entry[key]
	valid_name(value)
} else := fallback

severity(entry, fallback) := value if {
	is_object(entry)
	value := entry.severity
	is_string(value)
	severity_rank[value]
} else := fallback

# The gravest first; equal ones by name, so that every engine gives one order.
ordered(reasons) := [row[3] |
	some row in sort({[severity_rank[entry.severity], entry.rule, entry.message, entry] | some entry in reasons})
]
