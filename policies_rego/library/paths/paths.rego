# METADATA
# title: Where a path leads
# description: |
#   `argument` names an argument that the tool's schema marks `x-broker: path`. Each predicate holds
#   only where that is known for certain.
# schemas:
#   - input: schema.policy_input
package library.paths

# METADATA
# title: Where the path leads within the workspace; undefined where it is not understood or leads out
target(argument) := normalized if {
	normalized := input.derived[argument].normalized
	is_string(normalized)
	input.derived[argument].escapes == false
	input.derived[argument].absolute == false
}

# METADATA
# title: The path leads to one of these folders, or below one
within(argument, folders) if {
	path := concat("", [target(argument), "/"])
	some folder in folders
	startswith(path, concat("", [folder, "/"]))
}

# METADATA
# title: The file's name ends with one of these suffixes, each with its dot, in lower case
has_suffix(argument, suffixes) if {
	target(argument)
	is_string(input.derived[argument].suffix)
	lower(input.derived[argument].suffix) in suffixes
}

# METADATA
# title: The path certainly names no file that is there
is_new(argument) if {
	is_array(input.workspace.paths)
	path := target(argument)
	not path in input.workspace.paths
}

# METADATA
# title: One of these paths looks like a file of credentials
# description: |
#   All of them as one text, each part between slashes: a call may bring every path of the workspace,
#   and to compare part by part with name by name takes more than twice as long.
any_secret(paths) if {
	texts := [path | some path in paths; is_string(path)]
	text := lower(concat("", ["/", concat("/", texts), "/"]))
	some mark in secret_marks
	contains(text, mark)
}

secret_marks := {
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

# METADATA
# title: Deny a path that leads out of the workspace, or is not understood
# custom:
#   rule: library.path_escapes
#   severity: high
#   controls: [OWASP LLM03:2026, CWE-22]
escapes(argument) := {
	"rule": "library.path_escapes",
	"message": sprintf("argument %s has no path, or one that leads out of the workspace", [argument]),
	"agent_message": "Give a relative path within the workspace.",
	"severity": "high",
} if {
	not target(argument)
}

# METADATA
# title: Deny a path that looks like credentials
# custom:
#   rule: library.path_secret
#   severity: high
#   controls: [OWASP LLM03:2026, NIST AC-6]
secret(argument) := {
	"rule": "library.path_secret",
	"message": sprintf("argument %s looks like a file of credentials", [argument]),
	"agent_message": "Files that look like credentials (.env, id_rsa, *.pem, ...) may not be read, written or deleted.",
	"severity": "high",
} if {
	any_secret(input.derived[argument].parts)
}

# METADATA
# title: Deny a tool that reads the whole workspace while credentials lie in it
# custom:
#   rule: library.workspace_secret
#   severity: high
#   controls: [OWASP LLM03:2026, NIST AC-6]
workspace_secret := {
	"rule": "library.workspace_secret",
	"message": "the workspace holds a file that looks like credentials, or is not listed",
	"agent_message": "A file that looks like credentials lies in this session. Use a session without it.",
	"severity": "high",
} if {
	not workspace_is_clean
}

workspace_is_clean if {
	is_array(input.workspace.paths)
	not any_secret(input.workspace.paths)
	every path in input.workspace.paths { is_string(path) }
}

# METADATA
# title: Deny a path outside of these folders
# custom:
#   rule: library.path_outside
#   severity: medium
#   controls: [OWASP LLM03:2026, NIST AC-6]
outside(argument, folders) := {
	"rule": "library.path_outside",
	"message": sprintf("argument %s leads to none of the folders %s", [argument, concat(", ", sort(folders))]),
	"agent_message": sprintf("Give a path below one of: %s.", [concat(", ", sort(folders))]),
	"severity": "medium",
} if {
	not within(argument, folders)
}

# METADATA
# title: Hold a path that names a file that is there
# custom:
#   rule: library.overwrites
#   severity: medium
#   controls: [OWASP LLM03:2026, supports EU 2024/1689 Art. 14]
overwrites(argument) := {
	"rule": "library.overwrites",
	"message": sprintf("the file that argument %s names is there already, or that cannot be told", [argument]),
	"agent_message": "Overwriting a file needs a person's approval. Write to a new path to go on without.",
	"severity": "medium",
} if {
	not is_new(argument)
}
