# METADATA
# title: What a hold asks of people; entries for the set `approval`
package library.approvals

# METADATA
# title: So many persons of a group; the empty group means any eligible approver
# custom:
#   controls: [supports EU 2024/1689 Art. 14]
votes(group, persons) := {"group": group, "count": persons}

# METADATA
# title: Two persons, one of them of this group
# custom:
#   controls: [NIST AC-3(2)]
two_persons(group) := {{"group": group, "count": 1}, {"group": "", "count": 1}}

# METADATA
# title: How long people have to decide, and the call then to begin, in seconds
# description: Only what is shorter than the broker's own clocks counts.
clocks(decide_within_s, run_within_s) := {
	{"decide_within_s": decide_within_s},
	{"run_within_s": run_within_s},
}
