package teams.default_test

url := {
	"kind": "url",
	"scheme": "https",
	"host": "docs.example.org",
	"port": 443,
	"path": "/a",
	"has_query": false,
	"has_fragment": false,
	"has_credentials": false,
}

fetch(arguments, changes) := object.union(
	call("http_fetch", object.union({"url": "-"}, arguments), {"url": object.union(url, changes)}),
	{"tool": {"egress": ["*:*"]}},
)

open := ["docs.example.org:443", "10.0.0.5:8080"]

listed(request) := [answer.effect, {reason.rule | some reason in answer.reasons}, answer.obligations.egress] if {
	answer := decided(request) with data.teams["default"].destinations as open
}

test_reading_a_listed_host if {
	listed(fetch({}, {"host": "10.0.0.5", "port": 8080})) == ["allow", {"default.http_fetch"}, ["10.0.0.5:8080"]]
	every arguments in [{}, {"method": "GET"}, {"method": "HEAD"}] {
		listed(fetch(arguments, {})) == ["allow", {"default.http_fetch"}, ["docs.example.org:443"]]
	}
}

test_another_host_or_port_is_held_with_its_own_egress if {
	rules := {"default.fetch_unlisted"}
	listed(fetch({}, {"host": "example.org"})) == ["hold", rules, ["example.org:443"]]
	listed(fetch({}, {"host": "a.docs.example.org"})) == ["hold", rules, ["a.docs.example.org:443"]]
	listed(fetch({}, {"port": 80})) == ["hold", rules, ["docs.example.org:80"]]
}

test_sending_is_held if {
	listed(fetch({}, {"has_query": true})) == ["hold", {"default.fetch_sends"}, ["docs.example.org:443"]]
	every arguments in [{"method": "POST"}, {"method": "DELETE"}, {"body": ""}, {"headers": {"x": "y"}}, {"headers": {}}] {
		listed(fetch(arguments, {})) == ["hold", {"default.fetch_sends"}, ["docs.example.org:443"]]
	}
}

test_unclear_urls_are_denied if {
	every changes in [{"scheme": "ftp"}, {"has_credentials": true}, {"port": 0}, {"port": "443"}, {"host": ""}, {"host": 1}] {
		array.slice(listed(fetch({}, changes)), 0, 2) == ["deny", {"default.fetch_unclear"}]
	}
	invalid := object.union(fetch({}, {}), {"derived": {"url": {"kind": "url", "invalid": true, "host": null}}})
	listed(invalid) == ["deny", {"default.fetch_unclear"}, []]
}

test_closed_as_shipped if {
	outcome(fetch({}, {})) == ["deny", {"default.fetch_closed"}] with data.teams["default"].destinations as []
}

test_other_tools_get_no_egress if {
	answer := decided(object.union(python, {"tool": {"egress": ["*:*"]}, "derived": {"url": url}}))
	answer.effect == "allow"
	answer.obligations.egress == []
}

test_unknown_agents_fetch_nothing if {
	stranger := object.union(fetch({}, {}), {"agent": {"roles": ["auditor"]}})
	listed(stranger) == ["deny", {"default.unknown_agent"}, ["docs.example.org:443"]]
}
