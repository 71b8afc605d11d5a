# METADATA
# title: A support agent
# description: |
#   Reads help pages and customers' letters, writes drafts. Two persons agree to each answer that goes
#   out, and are told whether a stranger's words may have led to it.
# schemas:
#   - input: schema.policy_input
package packs.support_agent

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
# title: Support agents use their tools
# scope: rule
# custom:
#   rule: support_agent.open
#   severity: low
allow contains {
	"rule": "support_agent.open",
	"message": "support agents may use their tools",
	"severity": "low",
} if {
	agents.known
	agents.in_group(group)
	tools.named(open_tools)
}

deny contains agents.unknown if binds

# METADATA
# title: Support agents use no other tools
# scope: rule
# custom:
#   rule: support_agent.tool_closed
#   severity: medium
#   controls: [OWASP LLM03:2026]
deny contains {
	"rule": "support_agent.tool_closed",
	"message": "the tool is none of those that support agents use",
	"agent_message": "This tool is closed to support agents. ListTools names others.",
	"severity": "medium",
} if {
	binds
	not tools.named(open_tools)
}

deny contains usage.too_many_calls("last_hour", 600) if binds

deny contains usage.tool_too_often("http_fetch", 200) if fetches

deny contains url.unclear("url") if fetches

# METADATA
# title: Support agents reach help pages and the desk
# scope: rule
# custom:
#   rule: support_agent.elsewhere
#   severity: high
#   controls: [OWASP LLM03:2026, NIST SC-7]
deny contains {
	"rule": "support_agent.elsewhere",
	"message": "the URL leads neither to a help page nor to the desk",
	"agent_message": "Only help pages and the desk are open to you. Do without, or ask the operator.",
	"severity": "high",
} if {
	fetches
	not reaches_help
	not reaches_desk
}

# METADATA
# title: Nobody asks inner networks by address
# scope: rule
# custom:
#   rule: support_agent.inner_address
#   severity: critical
#   controls: [CWE-918, NIST SC-7]
deny contains {
	"rule": "support_agent.inner_address",
	"message": "the URL names an address of an inner network",
	"agent_message": "Addresses of inner networks are closed. Use the name of a help page or the desk.",
	"severity": "critical",
} if {
	fetches
	url.within_networks("url", inner_networks)
}

deny contains arguments.too_large("body", longest_answer) if fetches

deny contains arguments.too_large("headers", 0) if fetches

deny contains paths.secret("path") if handles_a_file

deny contains paths.outside("path", drafts) if writes

# METADATA
# title: People agree to what goes out
# scope: rule
# custom:
#   rule: support_agent.answers
#   severity: high
#   controls: [OWASP LLM03:2026, supports EU 2024/1689 Art. 14]
hold contains {
	"rule": "support_agent.answers",
	"message": "the request sends something to the desk or to a help page",
	"agent_message": "Two persons agree to each answer. Wait for them with WaitCall.",
	"severity": "high",
} if {
	sends
}

# Who agrees is told that a stranger's words may have led to this.
hold contains flow.untrusted({"customer_text"}) if sends

hold contains paths.overwrites("path") if writes

approval contains entry if {
	sends
	some entry in approvals.two_persons("support_leads")
}

limit contains entry if {
	binds
	some entry in obligations.limits(ceilings)
}

# Letters of persons: they stay out of logs and exports.
redact contains pointer if {
	fetches
	some pointer in obligations.masked_arguments({"body"})
}

egress contains url.place("url") if fetches

label contains "customer_text" if reaches_desk

binds if not agents.outside_group(group)

fetches if {
	binds
	tools.named({"http_fetch"})
}

reaches_help if {
	url.within_domains("url", domains)
	not url.is_address("url")
}

reaches_desk if {
	fetches
	url.leads_to("url", {desk})
}

# What is not certainly plain reading sends.
sends if {
	fetches
	not asks_plainly
}

asks_plainly if {
	is_object(input.tool.arguments)
	url.is_plain("url")
	object.get(input.tool.arguments, "method", "GET") in {"GET", "HEAD"}
	not arguments.given("body")
}

handles_a_file if {
	binds
	tools.named({"pdf_text", "workspace_read", "workspace_write"})
}

writes if {
	binds
	tools.named({"workspace_write"})
}
