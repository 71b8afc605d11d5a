# Give each role its ceilings.
package teams.default

ceilings := {
	"agent": {
		"cpu_millicores": 2000,
		"memory_bytes": 1073741824,
		"pids": 256,
		"timeout_s": 300,
		"output_bytes": 33554432,
		"tmp_bytes": 268435456,
	},
	# A person who tries a tool with an approver's certificate needs little of it.
	"approver": {
		"cpu_millicores": 1000,
		"memory_bytes": 268435456,
		"timeout_s": 30,
	},
}

limit contains {"name": name, "value": value} if {
	some role in input.agent.roles
	some name, value in ceilings[role]
}
