# METADATA
# title: Where a URL leads
# description: |
#   `argument` names an argument that the tool's schema marks `x-broker: url` or `host`; the broker
#   has parsed it. Each predicate holds only where that is known for certain.
# schemas:
#   - input: schema.policy_input
package library.url

# METADATA
# title: The place that an argument names, as "host:port"
# description: What the set `egress` takes, in the one form that lists of places have.
place(argument) := sprintf("%s:%d", [host(argument), input.derived[argument].port]) if {
	port := input.derived[argument].port
	is_number(port)
	port >= 1
	port <= 65535
	port == floor(port)
}

# METADATA
# title: The host that an argument names
host(argument) := name if {
	name := input.derived[argument].host
	is_string(name)
	name != ""
	not input.derived[argument].invalid
}

# METADATA
# title: The argument leads to one of these places, each "host:port"
leads_to(argument, places) if place(argument) in places

# METADATA
# title: The host is one of these domains, or below one
# scope: document
within_domains(argument, domains) if host(argument) in domains

within_domains(argument, domains) if {
	not is_address(argument)
	name := host(argument)
	some domain in domains
	endswith(name, concat("", [".", domain]))
}

# METADATA
# title: The scheme is one of these
has_scheme(argument, schemes) if input.derived[argument].scheme in schemes

# METADATA
# title: The URL is no more than a place with a path
# description: A query, a fragment or credentials can carry data out of the sandbox.
is_plain(argument) if {
	input.derived[argument].kind == "url"
	input.derived[argument].has_query == false
	input.derived[argument].has_fragment == false
	input.derived[argument].has_credentials == false
}

# METADATA
# title: The host is an address, of IPv4 or IPv6, and no name
# scope: document
is_address(argument) if ipv4(host(argument))

is_address(argument) if ipv6(host(argument))

# METADATA
# title: The host is an address within one of these networks, each of IPv4 or IPv6
# scope: document
within_networks(argument, networks) if {
	address := host(argument)
	ipv4(address)
	some network in networks
	not contains(network, ":")
	net.cidr_contains(network, address)
}

within_networks(argument, networks) if {
	address := host(argument)
	ipv6(address)
	some network in networks
	contains(network, ":")
	net.cidr_contains(network, trim(address, "[]"))
}

# Checked here to the last digit: on text that is no address an engine may fail instead of saying no.
ipv4(text) if {
	parts := split(text, ".")
	count(parts) == 4
	every part in parts { octet(part) }
}

octet("0")

octet(part) if {
	digits(part, "0123456789", 3)
	not startswith(part, "0")
	to_number(part) <= 255
}

ipv6(text) if {
	startswith(text, "[")
	endswith(text, "]")
	halves := split(trim(text, "[]"), "::")
	groups := [group | some half in halves; half != ""; some group in split(half, ":")]
	whole(count(halves), count(groups))
	every group in groups { digits(group, "0123456789abcdef", 4) }
}

whole(1, 8)

whole(2, groups) if groups <= 7

digits(text, alphabet, most) if {
	text != ""
	count(text) <= most
	trim(text, alphabet) == ""
}

# METADATA
# title: Deny a URL that is not understood, or carries credentials
# custom:
#   rule: library.url_unclear
#   severity: medium
#   controls: [OWASP LLM03:2026, NIST SI-10]
unclear(argument) := {
	"rule": "library.url_unclear",
	"message": sprintf("argument %s has no host with a port, another scheme than http, or credentials", [argument]),
	"agent_message": "Send an http:// or https:// URL with a host name or whole address, without user and password.",
	"severity": "medium",
} if {
	not understood(argument)
}

understood(argument) if {
	place(argument)
	has_scheme(argument, {"http", "https"})
	input.derived[argument].has_credentials == false
}

# METADATA
# title: Deny a place that is not listed
# custom:
#   rule: library.place_unlisted
#   severity: high
#   controls: [OWASP LLM03:2026, NIST SC-7, ISO 27001 A.8.22]
unlisted(argument, places) := {
	"rule": "library.place_unlisted",
	"message": sprintf("argument %s leads to a place that is not listed", [argument]),
	"agent_message": "This host and port are not listed. Use a listed one, or ask the operator to list it.",
	"severity": "high",
} if {
	not leads_to(argument, places)
}

# METADATA
# title: Hold a URL that carries more than a path
# custom:
#   rule: library.url_carries
#   severity: medium
#   controls: [OWASP LLM03:2026, NIST AC-4]
carries(argument) := {
	"rule": "library.url_carries",
	"message": sprintf("argument %s has a query, a fragment or credentials, which can carry data out", [argument]),
	"agent_message": "A URL with a query or a fragment needs a person's approval. Wait with WaitCall, or leave it out.",
	"severity": "medium",
} if {
	not is_plain(argument)
}
