# METADATA
# title: What a SQL statement does
# description: |
#   `argument` names an argument that the tool's schema marks `x-broker: sql`. This spares people plain
#   questions and catches mistakes; what a statement can do is bounded by the database's role.
# schemas:
#   - input: schema.policy_input
package library.sql

# METADATA
# title: The statement certainly is a single one that reads
reads(argument) if {
	input.derived[argument].kind == "sql"
	input.derived[argument].is_read == true
	not input.derived[argument].invalid
}

# METADATA
# title: Every table that the statement touches is certainly one of these, each as the statement names it
only_tables(argument, tables) if {
	statement := input.derived[argument]
	understood(statement)
	every table in statement.tables { table in tables }
}

# The parser names the tables of these five alone.
understood(statement) if {
	is_array(statement.tables)
	is_array(statement.commands)
	not statement.invalid
	every table in statement.tables { is_string(table) }
	every command in statement.commands {
		command in {"select", "insert", "update", "delete", "merge"}
	}
}

# METADATA
# title: The statement certainly touches no table of these names, in whatever schema
spares(argument, names) if {
	statement := input.derived[argument]
	understood(statement)
	every table in statement.tables { not is_one_of(table, names) }
}

is_one_of(table, names) if {
	parts := split(table, ".")
	parts[count(parts) - 1] in names
}

# METADATA
# title: Deny more than one statement a call
# custom:
#   rule: library.sql_several
#   severity: medium
#   controls: [CWE-89]
several(argument) := {
	"rule": "library.sql_several",
	"message": sprintf("argument %s has more than one statement, or is not understood", [argument]),
	"agent_message": "Send one statement a call, in PostgreSQL's SQL.",
	"severity": "medium",
} if {
	not input.derived[argument].statements == 1
}

# METADATA
# title: Hold what may write
# custom:
#   rule: library.sql_writes
#   severity: high
#   controls: [OWASP LLM03:2026, supports EU 2024/1689 Art. 14]
writes(argument) := {
	"rule": "library.sql_writes",
	"message": sprintf("argument %s may do more than read", [argument]),
	"agent_message": "More than a plain query needs a person's approval. Wait for it with WaitCall.",
	"severity": "high",
} if {
	not reads(argument)
}

# METADATA
# title: Deny statements that may touch these tables
# custom:
#   rule: library.sql_table_closed
#   severity: high
#   controls: [OWASP LLM03:2026, NIST AC-6]
touches(argument, names) := {
	"rule": "library.sql_table_closed",
	"message": sprintf("argument %s may touch one of the tables %s", [argument, concat(", ", sort(names))]),
	"agent_message": sprintf("These tables are closed to you: %s. Ask without them.", [concat(", ", sort(names))]),
	"severity": "high",
} if {
	not spares(argument, names)
}

# METADATA
# title: Deny tables that are not listed
# custom:
#   rule: library.sql_table_unlisted
#   severity: high
#   controls: [OWASP LLM03:2026, NIST AC-6]
unlisted(argument, tables) := {
	"rule": "library.sql_table_unlisted",
	"message": sprintf("argument %s may touch a table that is not listed", [argument]),
	"agent_message": sprintf("Ask of these tables alone: %s.", [concat(", ", sort(tables))]),
	"severity": "high",
} if {
	not only_tables(argument, tables)
}
