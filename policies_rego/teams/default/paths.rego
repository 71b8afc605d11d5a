# Keep agents away from credentials, inside their workspace.
package teams.default

path_tools := {"pdf_text", "workspace_read", "workspace_write", "workspace_delete"}

# METADATA
# title: Deny files that look like credentials
# description: |
#   python_run reads the workspace too: no credential gets into it, since none can be written.
# scope: rule
# custom:
#   rule: default.credential_path
#   severity: high
#   controls: [OWASP LLM03:2026, NIST AC-6]
deny contains {
	"rule": "default.credential_path",
	"message": "the path looks like a file of credentials",
	"agent_message": "Files that look like credentials (.env, id_rsa, *.pem, ...) may not be read, written or deleted.",
	"severity": "high",
} if {
	names_credential(path_parts)
}

# METADATA
# title: Deny a search that would read credentials
# description: |
#   A search reads every file below its path. The tool does not know policy and is not trusted to
#   leave a file out, so the whole search is denied.
# scope: rule
# custom:
#   rule: default.credential_searched
#   severity: high
#   controls: [OWASP LLM03:2026, NIST AC-6]
deny contains {
	"rule": "default.credential_searched",
	"message": "the search would read a file that looks like credentials",
	"agent_message": "Files that look like credentials lie below this path. Search a file or folder without them.",
	"severity": "high",
} if {
	input.tool.name == "text_search"
	names_credential(searched_paths)
}

# METADATA
# title: Deny a search where nobody knows the files
# scope: rule
# custom:
#   rule: default.workspace_unknown
#   severity: high
#   controls: [OWASP LLM03:2026, NIST AC-6]
deny contains {
	"rule": "default.workspace_unknown",
	"message": "the tool reads many files, and the input does not list them",
	"agent_message": "The broker cannot tell which files the search would read. Try again later.",
	"severity": "high",
} if {
	input.tool.name == "text_search"
	not paths_known
}

# METADATA
# title: Deny a path that leads out of the workspace
# scope: rule
# custom:
#   rule: default.path_escapes
#   severity: high
#   controls: [OWASP LLM03:2026, CWE-22]
deny contains {
	"rule": "default.path_escapes",
	"message": "the path leads out of the workspace",
	"agent_message": "Give a relative path without `..`.",
	"severity": "high",
} if {
	some argument in input.derived
	argument.kind == "path"
	leads_out(argument)
}

# METADATA
# title: Deny work on a file that is not named
# scope: rule
# custom:
#   rule: default.path_unknown
#   severity: high
#   controls: [OWASP LLM03:2026, NIST SI-10]
deny contains {
	"rule": "default.path_unknown",
	"message": "the tool works on one file, and the input has no parsed path",
	"agent_message": "Name the file in `path`.",
	"severity": "high",
} if {
	input.tool.name in path_tools
	not path_known
}

paths_known if {
	is_array(input.workspace.paths)
	every path in input.workspace.paths { is_string(path) }
}

path_known if {
	is_string(input.derived.path.normalized)
	is_array(input.derived.path.parts)
}

# Left out, or not understood, the path stands for the whole workspace: the strictest reading.
default searched := ""

searched := input.derived.path.normalized if is_string(input.derived.path.normalized)

searched_paths := [path |
	some path in input.workspace.paths
	is_string(path)
	is_searched(path)
]

is_searched(_) if searched == ""

is_searched(path) if path == searched

is_searched(path) if startswith(path, concat("", [searched, "/"]))

path_parts contains part if {
	some argument in input.derived
	argument.kind == "path"
	some part in argument.parts
	is_string(part)
}

leads_out(argument) if argument.absolute == true

leads_out(argument) if ".." in argument.parts

# All paths as one text, each part between slashes: a search brings every path of the workspace, and
# to compare part by part with name by name takes more than twice as long.
names_credential(paths) if {
	text := lower(concat("", ["/", concat("/", paths), "/"]))
	some mark in credential_marks
	contains(text, mark)
}

credential_marks := {
	"/.aws/",
	"/.docker/",
	"/.env.",
	"/.env/",
	"/.git-credentials/",
	"/.gnupg/",
	"/.kube/",
	"/.netrc/",
	"/.npmrc/",
	"/.pgpass/",
	"/.pypirc/",
	"/.ssh/",
	"/credentials.json/",
	"/credentials/",
	"/id_dsa/",
	"/id_ecdsa/",
	"/id_ed25519/",
	"/id_rsa/",
	"/secrets.json/",
	"/secrets.yaml/",
	"/secrets.yml/",
	".jks/",
	".kdbx/",
	".key/",
	".p12/",
	".pem/",
	".pfx/",
}
