# What this team decides about its coding agents; change it in your copy.
package packs.coding_agent

# Agents of this group are bound by the package; [identities] of the configuration puts them into it.
group := "coding"

open_tools := {
	"http_fetch",
	"pdf_text",
	"python_run",
	"text_search",
	"workspace_delete",
	"workspace_list",
	"workspace_read",
	"workspace_write",
}

# Where it writes by itself.
own_folders := {"docs", "private", "src", "tests"}

# Where people look at what it writes first: what is below decides what later runs elsewhere.
guarded_folders := {"ci", "deploy"}

# Whoever touches what lies here reaches nothing outside afterwards: the label stays with the agent for
# good, so give such work to an identity of its own.
private_folder := "private"

# Documentation, and the index of packages.
places := {"docs.python.org:443", "pypi.org:443"}

ceilings := {"timeout_s": 300, "memory_bytes": 1073741824, "pids": 256}
