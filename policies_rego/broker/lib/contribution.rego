# Collect what the team packages contribute.
#
# A team package is `teams.<name>`; a package without a set is neutral in it. What is malformed is
# never dropped in silence: it denies, by `malformed` in validity.rego. A package on trial contributes
# nothing, by `counts` in trial.rego.
package broker.lib

allowances contains reason(team, "allow", entry) if {
	some team
	counts(team)
	some entry in data.teams[team].allow
}

holds contains reason(team, "hold", entry) if {
	some team
	counts(team)
	some entry in data.teams[team].hold
}

denials contains reason(team, "deny", entry) if {
	some team
	counts(team)
	some entry in data.teams[team].deny
}

denials contains entry if {
	some [team, kind] in malformed
	counts(team)
	entry := {
		"rule": "broker.contribution_invalid",
		"message": concat("", ["package teams.", team, " contributes a malformed ", kind]),
		"agent_message": "The policy is broken; nothing is allowed until the security team has repaired it.",
		"severity": "critical",
	}
}

limits contains entry if {
	some team
	counts(team)
	some entry in data.teams[team].limit
	valid_limit(entry)
}

runtimes contains name if {
	some team
	counts(team)
	some name in data.teams[team].runtime
}

redactions contains pointer if {
	some team
	counts(team)
	some pointer in data.teams[team].redact
	valid_pointer(pointer)
}

labels contains name if {
	some team
	counts(team)
	some name in data.teams[team].label
	valid_name(name)
}

egress_lists contains list if {
	some team
	counts(team)
	list := data.teams[team].egress
	is_set(list)
	count(list) > 0
}

secret_lists contains list if {
	some team
	counts(team)
	list := data.teams[team].secret
	is_set(list)
	count(list) > 0
}

requirements contains {"group": entry.group, "count": entry.count} if {
	some team
	counts(team)
	some entry in data.teams[team].approval
	valid_requirement(entry)
}

# The default is a ceiling: a longer clock in a team's package must not loosen the broker's own.
decide_within_s contains setting("decide_within_s")

decide_within_s contains entry.decide_within_s if {
	some team
	counts(team)
	some entry in data.teams[team].approval
	valid_clock(entry, "decide_within_s")
}

run_within_s contains setting("run_within_s")

run_within_s contains entry.run_within_s if {
	some team
	counts(team)
	some entry in data.teams[team].approval
	valid_clock(entry, "run_within_s")
}

setting(name) := value if {
	value := data.broker.settings[name]
	positive_integer(value)
} else := fallback_setting[name]

fallback_setting := {"decide_within_s": 3600, "run_within_s": 600}

# Which of a package's own rules apply, by set, whether or not they count.
own_rules(team) := {
	"allow": sort({reason(team, "allow", entry).rule | some entry in data.teams[team].allow}),
	"hold": sort({reason(team, "hold", entry).rule | some entry in data.teams[team].hold}),
	"deny": sort({reason(team, "deny", entry).rule | some entry in data.teams[team].deny}),
}
