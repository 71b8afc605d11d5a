# METADATA
# title: A data analyst
# description: |
#   Asks listed tables of a database, reckons with what it finds. Tables of persons are asked with
#   someone's consent; what was seen of them cannot be sent out afterwards.
# schemas:
#   - input: schema.policy_input
package packs.data_analyst

import data.library.agents
import data.library.approvals
import data.library.arguments
import data.library.flow
import data.library.hours
import data.library.obligations
import data.library.paths
import data.library.sql
import data.library.tools
import data.library.usage

# METADATA
# title: Analysts use their tools
# scope: rule
# custom:
#   rule: data_analyst.open
#   severity: low
allow contains {
	"rule": "data_analyst.open",
	"message": "data analysts may use their tools",
	"severity": "low",
} if {
	agents.known
	agents.in_group(group)
	tools.named(open_tools)
}

deny contains agents.unknown if binds

# METADATA
# title: Analysts use no other tools
# scope: rule
# custom:
#   rule: data_analyst.tool_closed
#   severity: medium
#   controls: [OWASP LLM03:2026]
deny contains {
	"rule": "data_analyst.tool_closed",
	"message": "the tool is none of those that data analysts use",
	"agent_message": "This tool is closed to data analysts. ListTools names others.",
	"severity": "medium",
} if {
	binds
	not tools.named(open_tools)
}

deny contains hours.outside(hours.workdays, opens, closes) if binds

deny contains usage.tool_too_often("sql_query", 500) if asks

deny contains usage.budget_spent if binds

deny contains sql.several("statement") if asks

deny contains sql.unlisted("statement", tables) if asks

# METADATA
# title: Analysts write nothing into the database
# scope: rule
# custom:
#   rule: data_analyst.writes
#   severity: high
#   controls: [OWASP LLM03:2026, NIST AC-6]
deny contains {
	"rule": "data_analyst.writes",
	"message": "the statement may do more than read",
	"agent_message": "Send one plain SELECT of tables and common functions.",
	"severity": "high",
} if {
	asks
	not sql.reads("statement")
}

deny contains arguments.too_large("statement", 4000) if asks

deny contains paths.escapes("path") if handles_a_file

deny contains paths.secret("path") if handles_a_file

deny contains flow.out({"personal"}) if {
	binds
	not asks
}

# METADATA
# title: Someone of privacy agrees to questions about persons
# scope: rule
# custom:
#   rule: data_analyst.personal
#   severity: high
#   controls: [supports EU 2024/1689 Art. 14, ISO 27001 A.5.34]
hold contains {
	"rule": "data_analyst.personal",
	"message": "the statement may ask a table that tells of persons",
	"agent_message": "Someone of privacy agrees to questions about persons first. Wait with WaitCall.",
	"severity": "high",
} if {
	asks_of_persons
}

hold contains paths.overwrites("path") if {
	binds
	tools.named({"workspace_write"})
}

approval contains approvals.votes("privacy", 1) if asks_of_persons

approval contains entry if {
	asks_of_persons
	some entry in approvals.clocks(1800, 300)
}

limit contains entry if {
	binds
	some entry in obligations.limits(ceilings)
}

# Values that are asked for: they stay out of logs and exports.
redact contains pointer if {
	asks
	some pointer in obligations.masked_arguments({"parameters"})
}

secret contains "sql_reading_dsn" if asks

egress contains database if asks

label contains "personal" if asks_of_persons

binds if not agents.outside_group(group)

asks if {
	binds
	tools.named({"sql_query"})
}

# What is not understood may be of persons.
asks_of_persons if {
	asks
	not sql.spares("statement", personal_tables)
}

handles_a_file if {
	binds
	tools.named({"workspace_read", "workspace_write"})
}
