# METADATA
# title: Combine what the team packages contribute into the one decision
# description: |
#   deny > hold > allow > denied by default; a hold that nobody allows is a denial. Every field has
#   a default and every set is sorted: one undefined field would make the whole result undefined,
#   and engines iterate over sets in orders of their own.
# schemas:
#   - input: schema.policy_input
package broker.decision

import data.broker.lib

# METADATA
# title: The decision (schema broker.decision/v1)
# description: What is enforced. Where packages are on trial, what each would make of it stands beside.
# entrypoint: true
result := object.union(enforced, recorded)

default recorded := {}

recorded := {"trials": trials} if count(lib.on_trial) > 0

# Of each package on trial, as if it alone of those were enforced.
trials := [trial |
	some team in sort(object.keys(lib.on_trial))
	trial := {
		"package": concat(".", ["teams", team]),
		"mode": lib.on_trial[team],
		"rules": lib.own_rules(team),
		"would_be": as_enforced(team),
	}
]

# METADATA
# title: The decision as it would be were a team's package enforced, whatever its mode
as_enforced(team) := answer if {
	answer := enforced with data.broker.tried as team
}

enforced := object.union(
	{
		"effect": effect,
		"reasons": lib.ordered(reasons),
		"risk": risk,
		"obligations": {
			"runtime": runtime,
			"limits": limits,
			"egress": sort(egress),
			"secrets": sort(secrets),
			"redact": sort(lib.redactions),
		},
		"labels": sort(lib.labels),
	},
	approval,
)

default effect := "deny"

effect := "allow" if {
	count(lib.denials) == 0
	count(lib.holds) == 0
	count(lib.allowances) > 0
}

effect := "hold" if {
	count(lib.denials) == 0
	count(lib.holds) > 0
	count(lib.allowances) > 0
}

default reasons := {{
	"rule": "broker.not_allowed",
	"message": "no team package allows this call",
	"agent_message": "No rule allows this tool to this agent. Use another tool, or ask the operator to allow it.",
	"severity": "medium",
}}

reasons := lib.denials if count(lib.denials) > 0

reasons := lib.holds if effect == "hold"

reasons := lib.allowances if effect == "allow"

reasons := {{
	"rule": "broker.hold_without_allow",
	"message": concat("", ["held by ", held_by, " and allowed by nobody"]),
	"agent_message": "No rule allows this call, so nobody is asked to approve it.",
	"severity": "medium",
}} if {
	count(lib.denials) == 0
	count(lib.holds) > 0
	count(lib.allowances) == 0
}

held_by := concat(", ", sort({hold.rule | some hold in lib.holds}))

# Risk is for sorting a reviewer's list; nothing is decided by it.
risk := max(risks)

risks contains 10

risks contains lib.severity_risk[reason.severity] if {
	effect != "allow"
	some reason in reasons
}

risks contains 70 if input.tool.effects.destructive == true

risks contains 40 if input.tool.effects.open_world == true

risks contains 30 if input.tool.effects.reversible == false

limits[name] := min(values) if {
	some name in lib.limit_names
	values := {limit.value | some limit in lib.limits; limit.name == name}
	count(values) > 0
}

runtime := lib.isolation[max(ranks)] if {
	ranks := {rank | some rank, name in lib.isolation; name in lib.runtimes}
	count(ranks) > 0
} else := lib.isolation[0]

# A contributing package narrows the list; where no package contributes, nothing is listed.
default egress := set()

egress := {place | some place in intersection(lib.egress_lists); within_tool(place)} if {
	count(lib.egress_lists) > 0
	is_array(input.tool.egress)
}

within_tool(place) if place in input.tool.egress

# Such a tool may ask for whatever policy lists.
within_tool(_) if "*:*" in input.tool.egress

default secrets := set()

secrets := intersection(lib.secret_lists) & {name | some name in input.tool.secrets} if {
	count(lib.secret_lists) > 0
	is_array(input.tool.secrets)
}

default approval := {}

approval := {"approval": {
	"requirements": requirements,
	"decide_within_s": min(lib.decide_within_s),
	"run_within_s": min(lib.run_within_s),
}} if {
	effect == "hold"
}

default requirements := [{"group": "", "count": 1}]

requirements := [{"group": row[0], "count": row[1]} | some row in rows] if {
	rows := sort({[entry.group, entry.count] | some entry in lib.requirements})
	count(rows) > 0
}
