# Allow the shipped tools; hold what destroys.
package teams.default

workspace_tools := {
	"pdf_text",
	"text_search",
	"workspace_delete",
	"workspace_list",
	"workspace_read",
	"workspace_write",
}

# METADATA
# title: Agents run Python in a sandbox
# scope: rule
# custom:
#   rule: default.python_run
#   severity: low
allow contains {
	"rule": "default.python_run",
	"message": "agents may run Python in a sandbox",
	"severity": "low",
} if {
	known_agent
	input.tool.name == "python_run"
}

# METADATA
# title: Agents work on their own files
# scope: rule
# custom:
#   rule: default.workspace
#   severity: low
allow contains {
	"rule": "default.workspace",
	"message": "agents may work on the files of their own workspace",
	"severity": "low",
} if {
	known_agent
	input.tool.name in workspace_tools
}

# METADATA
# title: People decide what is deleted
# scope: rule
# custom:
#   rule: default.delete
#   severity: medium
#   controls: [OWASP LLM03:2026, supports EU 2024/1689 Art. 14]
hold contains {
	"rule": "default.delete",
	"message": "a workspace file would be deleted",
	"agent_message": "Deleting a file needs a person's approval. Wait for it with WaitCall, or do without.",
	"severity": "medium",
} if {
	input.tool.name == "workspace_delete"
}

# METADATA
# title: People decide what is overwritten
# scope: rule
# custom:
#   rule: default.overwrite
#   severity: medium
#   controls: [OWASP LLM03:2026, supports EU 2024/1689 Art. 14]
hold contains {
	"rule": "default.overwrite",
	"message": "a workspace file would be overwritten",
	"agent_message": "Overwriting a file needs a person's approval. Write to a new path to go on without.",
	"severity": "medium",
} if {
	input.tool.name == "workspace_write"
	some path in written_paths
	path in input.workspace.paths
}

# METADATA
# title: People decide on tools that destroy
# scope: rule
# custom:
#   rule: default.destructive_tool
#   severity: high
#   controls: [OWASP LLM03:2026, supports EU 2024/1689 Art. 14]
hold contains {
	"rule": "default.destructive_tool",
	"message": "the tool's definition says that it destroys",
	"agent_message": "This tool destroys something, so it needs a person's approval.",
	"severity": "high",
} if {
	input.tool.effects.destructive == true
	not input.tool.name in judged_by_their_call
}

# Rules of their own say which of their calls destroy something.
judged_by_their_call := {"sql_query", "workspace_delete"}

written_paths contains input.derived.path.normalized

written_paths contains input.tool.arguments.path
