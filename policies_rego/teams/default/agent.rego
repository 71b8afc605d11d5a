# METADATA
# title: The shipped policy
# description: |
#   Known agents may use the shipped tools on their own workspace; what destroys is held; what
#   looks like a credential is denied. This file: who may call at all, and how often.
# schemas:
#   - input: schema.policy_input
package teams.default

# METADATA
# title: Deny who is no registered agent
# scope: rule
# custom:
#   rule: default.unknown_agent
#   severity: high
#   controls: [OWASP LLM03:2026, NIST AC-3, ISO 27001 A.5.15]
deny contains {
	"rule": "default.unknown_agent",
	"message": "the caller is not a registered identity with role agent",
	"agent_message": "This identity may not call tools. Ask the operator to give it the role `agent`.",
	"severity": "high",
} if {
	not known_agent
}

# METADATA
# title: Deny an agent that asks on and on after refusals
# description: An agent that asks on and on after refusals is searching for a gap.
# scope: rule
# custom:
#   rule: default.too_many_denials
#   severity: high
#   controls: [OWASP LLM03:2026, NIST AC-7]
deny contains {
	"rule": "default.too_many_denials",
	"message": "the agent was denied 600 calls or more within the last minute",
	"agent_message": "Too many of your calls were denied. Wait a minute before the next.",
	"severity": "high",
} if {
	input.history.denied.last_minute >= 600
}

# METADATA
# title: Deny an agent that made its calls of an hour
# scope: rule
# custom:
#   rule: default.too_many_calls
#   severity: medium
#   controls: [OWASP LLM10:2025, NIST SC-5]
deny contains {
	"rule": "default.too_many_calls",
	"message": "the agent made 60000 calls or more within the last hour",
	"agent_message": "You made too many calls within the last hour. Wait before the next.",
	"severity": "medium",
} if {
	input.history.calls.last_hour >= 60000
}

# METADATA
# title: Deny an agent whose budget is spent
# scope: rule
# custom:
#   rule: default.budget_spent
#   severity: medium
#   controls: [OWASP LLM10:2025]
deny contains {
	"rule": "default.budget_spent",
	"message": "the agent's budget is spent",
	"agent_message": "Your budget is spent. Ask the operator for more.",
	"severity": "medium",
} if {
	input.history.budget.spent >= input.history.budget.limit
}

# METADATA
# title: Deny where the counters are missing
# description: Without counters there is no telling what was spent already.
# scope: rule
# custom:
#   rule: default.history_unknown
#   severity: high
#   controls: [OWASP LLM10:2025, NIST SC-5]
deny contains {
	"rule": "default.history_unknown",
	"message": "the input lacks the counters that the history rules compare",
	"agent_message": "The broker cannot count your calls now. Try again later.",
	"severity": "high",
} if {
	not history_known
}

known_agent if {
	is_string(input.agent.id)
	input.agent.id != ""
	"agent" in input.agent.roles
}

history_known if {
	is_number(input.history.denied.last_minute)
	is_number(input.history.calls.last_hour)
	is_number(input.history.budget.spent)
	is_number(input.history.budget.limit)
}
