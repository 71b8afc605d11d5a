# METADATA
# title: A coding agent
# description: |
#   Works on the source files of its session, reads listed documentation, runs Python. People decide
#   what is deleted, and what is written where other machines run it.
# schemas:
#   - input: schema.policy_input
package packs.coding_agent

import data.library.agents
import data.library.approvals
import data.library.arguments
import data.library.flow
import data.library.obligations
import data.library.paths
import data.library.tools
import data.library.url
import data.library.usage

# METADATA
# title: Coding agents use their tools
# scope: rule
# custom:
#   rule: coding_agent.open
#   severity: low
allow contains {
	"rule": "coding_agent.open",
	"message": "coding agents may use their tools",
	"severity": "low",
} if {
	agents.known
	agents.in_group(group)
	tools.named(open_tools)
}

deny contains agents.unknown if binds

# METADATA
# title: Coding agents use no other tools
# scope: rule
# custom:
#   rule: coding_agent.tool_closed
#   severity: medium
#   controls: [OWASP LLM03:2026]
deny contains {
	"rule": "coding_agent.tool_closed",
	"message": "the tool is none of those that coding agents use",
	"agent_message": "This tool is closed to coding agents. ListTools names others.",
	"severity": "medium",
} if {
	binds
	not tools.named(open_tools)
}

deny contains usage.too_many_calls("last_minute", 120) if binds

deny contains usage.too_many_denials("last_hour", 100) if binds

deny contains usage.budget_spent if binds

deny contains paths.escapes("path") if handles_a_file

deny contains paths.secret("path") if handles_a_file

# Both read whatever lies in the session.
deny contains paths.workspace_secret if reads_everything

deny contains paths.outside("path", own_folders | guarded_folders) if changes_a_file

deny contains url.unclear("url") if fetches

deny contains url.unlisted("url", places) if fetches

deny contains flow.out({"private"}) if binds

hold contains url.carries("url") if fetches

# METADATA
# title: People decide what a coding agent sends
# scope: rule
# custom:
#   rule: coding_agent.sends
#   severity: medium
#   controls: [OWASP LLM03:2026, NIST AC-4]
hold contains {
	"rule": "coding_agent.sends",
	"message": "the request has headers or a body, or another method than GET or HEAD",
	"agent_message": "Only GET and HEAD without headers go by themselves. Wait with WaitCall, or ask plainly.",
	"severity": "medium",
} if {
	fetches
	not asks_plainly
}

# METADATA
# title: People decide what a coding agent deletes
# scope: rule
# custom:
#   rule: coding_agent.deletes
#   severity: medium
#   controls: [OWASP LLM03:2026, supports EU 2024/1689 Art. 14]
hold contains {
	"rule": "coding_agent.deletes",
	"message": "a file of the session would be deleted",
	"agent_message": "Deleting a file needs a person's approval. Wait for it with WaitCall, or do without.",
	"severity": "medium",
} if {
	binds
	tools.named({"workspace_delete"})
}

# METADATA
# title: People decide what runs elsewhere
# scope: rule
# custom:
#   rule: coding_agent.guarded
#   severity: high
#   controls: [OWASP LLM03:2026, supports EU 2024/1689 Art. 14, NIST CM-3]
hold contains {
	"rule": "coding_agent.guarded",
	"message": "a file that other machines run would be written or deleted",
	"agent_message": "Changes below ci/ and deploy/ need an approval by group security. Wait with WaitCall.",
	"severity": "high",
} if {
	changes_guarded
}

approval contains approvals.votes("security", 1) if changes_guarded

limit contains entry if {
	binds
	some entry in obligations.limits(ceilings)
}

egress contains url.place("url") if fetches

label contains "private" if {
	reads_everything
	some path in input.workspace.paths
	is_string(path)
	startswith(path, concat("", [private_folder, "/"]))
}

label contains "private" if {
	handles_a_file
	paths.within("path", {private_folder})
}

binds if not agents.outside_group(group)

fetches if {
	binds
	tools.named({"http_fetch"})
}

handles_a_file if {
	binds
	tools.named({"pdf_text", "workspace_delete", "workspace_read", "workspace_write"})
}

changes_a_file if {
	binds
	tools.named({"workspace_delete", "workspace_write"})
}

changes_guarded if {
	changes_a_file
	paths.within("path", guarded_folders)
}

reads_everything if {
	binds
	tools.named({"python_run", "text_search"})
}

asks_plainly if {
	is_object(input.tool.arguments)
	object.get(input.tool.arguments, "method", "GET") in {"GET", "HEAD"}
	not arguments.given("headers")
	not arguments.given("body")
}
