package teams.default_test

import data.broker.decision
import data.broker.lib

call(name, arguments, derived) := {
	"agent": {"id": "spiffe://example.org/agent", "roles": ["agent"], "groups": [], "attributes": {}},
	"session": {"labels": []},
	"tool": {"name": name, "arguments": arguments, "effects": {"destructive": name == "workspace_delete"}},
	"derived": derived,
	"workspace": {"paths": ["notes.txt", "data/in.csv"]},
	"history": {
		"calls": {"last_minute": 0, "last_hour": 59999, "last_day": 0},
		"denied": {"last_minute": 599, "last_hour": 0, "last_day": 0},
		"budget": {"spent": 9, "limit": 10},
	},
}

on_path(name, text, parts) := call(name, {"path": text}, {"path": {
	"kind": "path",
	"parts": parts,
	"normalized": concat("/", parts),
	"absolute": startswith(text, "/"),
}})

python := call("python_run", {"code": "print(1)"}, {})

search(paths) := object.union(call("text_search", {"pattern": "x"}, {}), {"workspace": {"paths": paths}})

search_in(folder, paths) := object.union(
	on_path("text_search", folder, split(folder, "/")),
	{"workspace": {"paths": paths}},
)

# What a package beside says, its own tests ask: none makes these fail.
alone("default")

decided(request) := answer if {
	answer := decision.result with input as request with lib.counts as alone
}

outcome(request) := [answer.effect, {reason.rule | some reason in answer.reasons}] if answer := decided(request)

replaced(key, value) := object.union(object.remove(python, {key}), {key: value})

test_python_run if outcome(python) == ["allow", {"default.python_run"}]

test_workspace if {
	outcome(call("workspace_list", {}, {})) == ["allow", {"default.workspace"}]
	outcome(on_path("workspace_read", "notes.txt", ["notes.txt"])) == ["allow", {"default.workspace"}]
	outcome(on_path("pdf_text", "a.pdf", ["a.pdf"])) == ["allow", {"default.workspace"}]
	outcome(on_path("workspace_write", "new.txt", ["new.txt"])) == ["allow", {"default.workspace"}]
}

test_other_tool if outcome(call("unknown", {}, {})) == ["deny", {"broker.not_allowed"}]

test_delete_is_held if {
	outcome(on_path("workspace_delete", "notes.txt", ["notes.txt"])) == ["hold", {"default.delete"}]
}

test_overwrite_is_held if {
	outcome(on_path("workspace_write", "notes.txt", ["notes.txt"])) == ["hold", {"default.overwrite"}]
	outcome(on_path("workspace_write", "./data//in.csv", ["data", "in.csv"])) == ["hold", {"default.overwrite"}]
	raw := on_path("workspace_write", "notes.txt", ["other"])
	outcome(raw) == ["hold", {"default.overwrite"}]
}

test_destructive_tool_is_held if {
	outcome(object.union(python, {"tool": {"effects": {"destructive": true}}})) == ["hold", {"default.destructive_tool"}]
}

test_unknown_agent if {
	every agent in [{}, {"id": "", "roles": ["agent"]}, {"id": "x", "roles": ["approver"]}, {"id": "x", "roles": "agent"}, {"id": 1, "roles": ["agent"]}] {
		outcome(replaced("agent", agent)) == ["deny", {"default.unknown_agent"}]
	}
}

test_too_many_denials if {
	outcome(object.union(python, {"history": {"denied": {"last_minute": 600}}})) == ["deny", {"default.too_many_denials"}]
}

test_too_many_calls if {
	outcome(object.union(python, {"history": {"calls": {"last_hour": 60000}}})) == ["deny", {"default.too_many_calls"}]
}

test_budget_spent if outcome(object.union(python, {"history": {"budget": {"spent": 10}}})) == ["deny", {"default.budget_spent"}]

test_history_unknown if outcome(replaced("history", {})) == ["deny", {"default.history_unknown"}]

test_credential_path if {
	every parts in [[".env"], ["a", ".ENV"], [".env.local"], [".ssh", "config"], ["k", "id_rsa"], ["Server.PEM"], ["x.key"]] {
		every tool in {"pdf_text", "text_search", "workspace_read", "workspace_write", "workspace_delete"} {
			outcome(on_path(tool, concat("/", parts), parts)) == ["deny", {"default.credential_path"}]
		}
	}
}

test_path_that_only_resembles_a_credential if {
	every name in ["env", "my.environment", "pem.txt", "keyboard.txt", "id_rsa.pub"] {
		outcome(on_path("workspace_write", name, [name])) == ["allow", {"default.workspace"}]
	}
}

every_credential := [
	".aws", ".docker", ".env", ".env.", ".env.local", ".git-credentials", ".gnupg", ".kube",
	".netrc", ".npmrc", ".pgpass", ".pypirc", ".ssh", "credentials", "credentials.json", "id_dsa",
	"id_ecdsa", "id_ed25519", "id_rsa", "secrets.json", "secrets.yaml", "secrets.yml", "a.jks",
	"a.kdbx", "a.key", "a.p12", ".pem", "a.b.PFX",
]

no_credential := [
	"aws", "xenv", ".envrc", "env.local", "sshd", "x.ssh", "mycredentials", "credentials.txt",
	"credentialsxjson", "id_rsa.pub", "my_id_rsa", "secretsxyml", "secrets.yaml.j2", "pem", "apem",
	"a.pem.txt", "a.keys", "akey",
]

test_every_credential_name if {
	every name in every_credential {
		outcome(on_path("workspace_read", name, [name])) == ["deny", {"default.credential_path"}]
		outcome(search([concat("/", ["a", name, "b"])])) == ["deny", {"default.credential_searched"}]
	}
	every name in no_credential {
		outcome(on_path("workspace_read", name, [name])) == ["allow", {"default.workspace"}]
		outcome(search([concat("/", ["a", name, "b"])])) == ["allow", {"default.workspace"}]
	}
}

test_search if {
	outcome(search([])) == ["allow", {"default.workspace"}]
	outcome(search(["a/b.txt", "env"])) == ["allow", {"default.workspace"}]
	outcome(search_in("a", ["a/b.txt", "ab/.env", "b/a/.env", ".env"])) == ["allow", {"default.workspace"}]
	outcome(search_in("a/b.txt", ["a/b.txt", "a/.env"])) == ["allow", {"default.workspace"}]
}

test_credential_searched if {
	every path in [".env", "a/.ENV", "a/.ssh/config", "a/b/c/x.key"] {
		outcome(search(["notes.txt", path])) == ["deny", {"default.credential_searched"}]
	}
	every path in ["a/b/.env", "a/.ssh/config"] {
		outcome(search_in("a", [path])) == ["deny", {"default.credential_searched"}]
	}
}

test_search_of_a_path_not_understood if {
	unparsed := {"tool": {"arguments": {"path": "a"}}, "derived": {"path": {"kind": "path", "invalid": true}}}
	outcome(object.union(search([".env"]), unparsed)) == ["deny", {"default.credential_searched"}]
}

test_workspace_unknown if {
	every workspace in [{}, {"paths": "x"}, {"paths": ["x", 1]}, {"paths": [null]}] {
		request := object.union(object.remove(search([]), {"workspace"}), {"workspace": workspace})
		outcome(request) == ["deny", {"default.workspace_unknown"}]
	}
}

test_path_escapes if {
	outcome(on_path("workspace_read", "../x", ["..", "x"])) == ["deny", {"default.path_escapes"}]
	outcome(on_path("workspace_read", "/etc/passwd", ["etc", "passwd"])) == ["deny", {"default.path_escapes"}]
}

test_path_unknown if {
	every tool in {"pdf_text", "workspace_read", "workspace_write", "workspace_delete"} {
		outcome(call(tool, {"path": "x"}, {})) == ["deny", {"default.path_unknown"}]
	}
}

test_ceilings_by_role if {
	agent := decided(python)
	agent.obligations.limits.memory_bytes == 1073741824
	both := decided(object.union(python, {"agent": {"roles": ["agent", "approver"]}}))
	both.obligations.limits.timeout_s == 30
	both.obligations.limits.pids == 256
}
