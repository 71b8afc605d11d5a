package library.paths_test

import data.library.paths

parsed(path) := {
	"kind": "path",
	"parts": split(path, "/"),
	"normalized": path,
	"suffix": ".txt",
	"absolute": false,
	"escapes": false,
}

asked(path, changes) := {
	"derived": {"path": object.union(parsed(path), changes)},
	"workspace": {"paths": ["src/a.txt", "notes.txt"]},
}

test_target if {
	paths.target("path") == "src/a.txt" with input as asked("src/a.txt", {})
	not paths.escapes("path") with input as asked("src/a.txt", {})
	every changes in [{"escapes": true}, {"absolute": true}, {"normalized": 1}, {"escapes": null}] {
		paths.escapes("path").rule == "library.path_escapes" with input as asked("src/a.txt", changes)
	}
	every request in [{}, {"derived": {"path": {"kind": "path", "invalid": true}}}] {
		paths.escapes("path") with input as request
	}
}

test_folders if {
	message := paths.outside("path", {"src", "docs"}).agent_message with input as {}
	message == "Give a path below one of: docs, src."
	every path in ["src", "src/a.txt", "docs/x/y"] {
		not paths.outside("path", {"src", "docs"}) with input as asked(path, {})
	}
	every path in ["srcs/a.txt", "a/src/b", ""] {
		paths.outside("path", {"src", "docs"}).rule == "library.path_outside" with input as asked(path, {})
	}
}

test_suffix if {
	paths.has_suffix("path", {".txt"}) with input as asked("a.txt", {})
	paths.has_suffix("path", {".txt"}) with input as asked("a.TXT", {"suffix": ".TXT"})
	not paths.has_suffix("path", {".md"}) with input as asked("a.txt", {})
	not paths.has_suffix("path", {".txt"}) with input as asked("a.txt", {"escapes": true})
	not paths.has_suffix("path", {".txt"}) with input as asked("a.txt", {"suffix": 1})
}

test_overwriting if {
	not paths.overwrites("path") with input as asked("new.txt", {})
	paths.overwrites("path").rule == "library.overwrites" with input as asked("notes.txt", {})
	paths.overwrites("path") with input as object.remove(asked("new.txt", {}), {"workspace"})
	paths.overwrites("path") with input as asked("new.txt", {"escapes": true})
}

secrets := [
	".aws", ".docker", ".env", ".env.", ".env.local", ".git-credentials", ".gnupg", ".kube", ".netrc", ".npmrc",
	".pgpass", ".pypirc", ".ssh", "credentials", "credentials.json", "id_dsa", "id_ecdsa", "id_ed25519", "id_rsa",
	"secrets.json", "secrets.yaml", "secrets.yml", "a.jks", "a.kdbx", "a.key", "a.p12", ".pem", "a.b.PFX",
]

harmless := ["aws", "xenv", ".envrc", "env.local", "sshd", "mycredentials", "id_rsa.pub", "secretsxyml", "apem", "a.keys"]

test_secrets if {
	not paths.workspace_secret with input as {"workspace": {"paths": []}}
	every name in secrets {
		paths.secret("path").rule == "library.path_secret" with input as asked(concat("/", ["a", name]), {})
		paths.workspace_secret.rule == "library.workspace_secret" with input as {"workspace": {"paths": ["b", name]}}
	}
	every name in harmless {
		not paths.secret("path") with input as asked(concat("/", ["a", name]), {})
		not paths.workspace_secret with input as {"workspace": {"paths": ["b", name]}}
	}
}

test_a_workspace_that_is_not_listed_may_hold_secrets if {
	every workspace in [null, {}, {"paths": "x"}, {"paths": ["a", 1]}] {
		paths.workspace_secret.severity == "high" with input as {"workspace": workspace}
	}
}
