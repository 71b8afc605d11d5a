# Tell which team packages count, and which are on trial.
#
# A package that says `mode := "warn"` or `mode := "shadow"` is on trial: it neither loosens nor tightens.
# Any other mode, and one of another type, leaves it counting and makes a malformed contribution of it, so
# that its allow lets nothing through and its deny is not lost.
package broker.lib

known_mode("enforce")

known_mode(mode) if is_trial(mode)

is_trial("warn")

is_trial("shadow")

on_trial[team] := mode if {
	some team
	mode := data.teams[team].mode
	is_trial(mode)
}

counts(team) if not on_trial[team]

# Whom main.rego asks about as if it were enforced; no document has this path otherwise.
counts(team) if team == data.broker.tried
