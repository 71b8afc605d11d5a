# Ask the operator's database: what plainly reads goes by itself, everything else with a person.
package teams.default

# METADATA
# title: Agents ask the listed database
# description: |
#   `databases` in data.json lists "host:port", in lower case, of the database of each DSN.
# scope: rule
# custom:
#   rule: default.sql_query
#   severity: low
allow contains {
	"rule": "default.sql_query",
	"message": "agents may read from the database that the operator listed",
	"severity": "low",
} if {
	known_agent
	is_sql
	count(sql_places) > 0
}

# METADATA
# title: Deny queries where no database is listed for reading
# scope: rule
# custom:
#   rule: default.sql_reading_closed
#   severity: low
#   controls: [OWASP LLM03:2026, NIST AC-6]
deny contains {
	"rule": "default.sql_reading_closed",
	"message": "teams/default/data.json lists no database for reading",
	"agent_message": "No database is open to queries. Do without, or ask the operator to list one.",
	"severity": "low",
} if {
	is_sql
	sql_reads
	count(sql_places) == 0
}

# METADATA
# title: Deny more than reading where no database is listed for writing
# scope: rule
# custom:
#   rule: default.sql_writing_closed
#   severity: low
#   controls: [OWASP LLM03:2026, NIST AC-6]
deny contains {
	"rule": "default.sql_writing_closed",
	"message": "more than plain reading, and teams/default/data.json lists no database for writing",
	"agent_message": "Only plain queries can go to the database: one SELECT of tables and common functions.",
	"severity": "low",
} if {
	is_sql
	not sql_reads
	count(sql_places) == 0
}

# METADATA
# title: Deny several statements in one call
# scope: rule
# custom:
#   rule: default.sql_several
#   severity: medium
#   controls: [CWE-89]
deny contains {
	"rule": "default.sql_several",
	"message": "there is more than one statement",
	"agent_message": "Send one statement a call.",
	"severity": "medium",
} if {
	is_sql
	input.derived.statement.statements > 1
}

# METADATA
# title: People decide what may write
# scope: rule
# custom:
#   rule: default.sql_writes
#   severity: high
#   controls: [OWASP LLM03:2026, supports EU 2024/1689 Art. 14]
hold contains {
	"rule": "default.sql_writes",
	"message": "the statement may do more than read: it would run with the DSN that may write",
	"agent_message": "More than a plain query needs a person's approval. Wait for it with WaitCall.",
	"severity": "high",
} if {
	is_sql
	not sql_reads
}

# Where the database's role can only read, the parser's mistake is an error, no write.
secret contains "sql_reading_dsn" if {
	is_sql
	sql_reads
}

secret contains "sql_writing_dsn" if {
	is_sql
	not sql_reads
}

egress contains place if {
	is_sql
	some place in sql_places
}

is_sql if input.tool.name == "sql_query"

# What is not known is not reading.
sql_reads if {
	input.derived.statement.kind == "sql"
	input.derived.statement.is_read == true
	not input.derived.statement.invalid
}

sql_places := data.teams["default"].databases.reading if sql_reads

sql_places := data.teams["default"].databases.writing if not sql_reads
