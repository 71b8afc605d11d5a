# METADATA
# title: When calls are made, in UTC by the broker's clock
# schemas:
#   - input: schema.policy_input
package library.hours

# METADATA
# title: The days from Monday to Friday
workdays := {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday"}

# METADATA
# title: It is one of these days, at or after `from` and before `until`, each in minutes of the day
# description: A window over midnight is two windows.
within(days, from, until) if {
	input.time.weekday in days
	minute_of_day >= from
	minute_of_day < until
}

minute_of_day := (input.time.hour * 60) + input.time.minute if {
	is_number(input.time.hour)
	is_number(input.time.minute)
}

# METADATA
# title: Deny calls outside of a time window
# custom:
#   rule: library.outside_hours
#   severity: low
#   controls: [NIST AC-2(11)]
outside(days, from, until) := {
	"rule": "library.outside_hours",
	"message": "the call comes outside of the hours that are open for it",
	"agent_message": sprintf("Call on %s, from minute %d to %d of the day in UTC.", [days_text(days), from, until]),
	"severity": "low",
} if {
	not within(days, from, until)
}

days_text(days) := concat(", ", [day | some day in week; day in days])

week := ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
