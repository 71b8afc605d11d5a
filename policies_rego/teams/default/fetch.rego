# Open the host of a fetch, and no other; hold what is more than reading a listed host.
package teams.default

# METADATA
# title: Agents read from listed hosts
# description: |
#   `destinations` in data.json lists "host:port", in lower case: the operator's own list.
# scope: rule
# custom:
#   rule: default.http_fetch
#   severity: low
allow contains {
	"rule": "default.http_fetch",
	"message": "agents may read from the hosts that the operator listed",
	"severity": "low",
} if {
	known_agent
	is_fetch
	destinations_listed
}

# METADATA
# title: Deny fetches where no host is listed
# scope: rule
# custom:
#   rule: default.fetch_closed
#   severity: low
#   controls: [OWASP LLM03:2026, NIST SC-7, ISO 27001 A.8.22]
deny contains {
	"rule": "default.fetch_closed",
	"message": "no destination is listed in teams/default/data.json",
	"agent_message": "No host is open to fetches. Do without, or ask the operator to list one.",
	"severity": "low",
} if {
	is_fetch
	not destinations_listed
}

# METADATA
# title: Deny a URL that leaves in doubt where it leads
# scope: rule
# custom:
#   rule: default.fetch_unclear
#   severity: medium
#   controls: [OWASP LLM03:2026, NIST SI-10]
deny contains {
	"rule": "default.fetch_unclear",
	"message": "the URL has no host with a port, another scheme than http, or credentials",
	"agent_message": "Send an http:// or https:// URL with a host name or whole address, without user and password.",
	"severity": "medium",
} if {
	is_fetch
	not fetch_understood
}

# METADATA
# title: People decide on hosts that are not listed
# scope: rule
# custom:
#   rule: default.fetch_unlisted
#   severity: high
#   controls: [OWASP LLM03:2026, NIST SC-7, ISO 27001 A.8.22]
hold contains {
	"rule": "default.fetch_unlisted",
	"message": "the host is not among the listed destinations",
	"agent_message": "This host is not listed, so a person decides. Wait for it with WaitCall, or use a listed host.",
	"severity": "high",
} if {
	is_fetch
	not place in data.teams["default"].destinations
}

# METADATA
# title: People decide what a fetch sends
# scope: rule
# custom:
#   rule: default.fetch_sends
#   severity: medium
#   controls: [OWASP LLM03:2026, NIST AC-4]
hold contains {
	"rule": "default.fetch_sends",
	"message": "the request sends more than a path: a query, headers, a body, or a method that changes something",
	"agent_message": "Only GET and HEAD of a URL without a query go without a person's approval. Wait with WaitCall.",
	"severity": "medium",
} if {
	is_fetch
	not fetch_reads
}

egress contains place if {
	is_fetch
	fetch_understood
}

is_fetch if input.tool.name == "http_fetch"

destinations_listed if count(data.teams["default"].destinations) > 0

fetch_understood if {
	place
	input.derived.url.scheme in {"http", "https"}
	input.derived.url.has_credentials == false
}

# What is not known is not plain reading.
fetch_reads if {
	is_object(input.tool.arguments)
	object.get(input.tool.arguments, "method", "GET") in {"GET", "HEAD"}
	input.derived.url.has_query == false
	not input.tool.arguments.headers
	not has_body
}

has_body if is_string(input.tool.arguments.body)

place := sprintf("%s:%d", [input.derived.url.host, input.derived.url.port]) if {
	is_string(input.derived.url.host)
	input.derived.url.host != ""
	is_number(input.derived.url.port)
	input.derived.url.port > 0
	input.derived.url.port < 65536
	input.derived.url.port == round(input.derived.url.port)
}
