# METADATA
# title: How much was called before
# description: |
#   Counters are of calls admitted before this one. `window` is last_minute, last_hour or last_day.
#   Where a counter is missing nobody can tell, so each rule here holds.
# schemas:
#   - input: schema.policy_input
package library.usage

# METADATA
# title: The agent certainly made fewer calls than that within the window
calls_below(window, most) if below(input.history.calls[window], most)

# METADATA
# title: The agent certainly was denied fewer times than that within the window
denials_below(window, most) if below(input.history.denied[window], most)

# METADATA
# title: The agent certainly called a tool fewer times than that within the last day
tool_below(name, most) if {
	is_object(input.history.by_tool)
	below(object.get(input.history.by_tool, name, 0), most)
}

# METADATA
# title: A tool was called before in this session
after(name) if name in input.history.prior_tools

# METADATA
# title: At least so much of the agent's budget is certainly left
budget_left(least) if {
	is_number(input.history.budget.spent)
	is_number(input.history.budget.limit)
	input.history.budget.limit - input.history.budget.spent >= least
}

below(number, most) if {
	is_number(number)
	number < most
}

# METADATA
# title: Deny an agent that calls too often
# custom:
#   rule: library.too_many_calls
#   severity: medium
#   controls: [OWASP LLM10:2025, NIST SC-5]
too_many_calls(window, most) := {
	"rule": "library.too_many_calls",
	"message": sprintf("the agent made %d calls or more within the %s, or nobody knows", [most, words(window)]),
	"agent_message": sprintf("You may make %d calls within the %s. Wait before the next.", [most, words(window)]),
	"severity": "medium",
} if {
	not calls_below(window, most)
}

# METADATA
# title: Deny an agent that goes on after refusals
# description: An agent that asks on and on after refusals is searching for a gap.
# custom:
#   rule: library.too_many_denials
#   severity: high
#   controls: [OWASP LLM03:2026, NIST AC-7]
too_many_denials(window, most) := {
	"rule": "library.too_many_denials",
	"message": sprintf("the agent was denied %d times or more within the %s, or nobody knows", [most, words(window)]),
	"agent_message": "Too many of your calls were denied. Wait before the next, and do not try variations.",
	"severity": "high",
} if {
	not denials_below(window, most)
}

# METADATA
# title: Deny a tool that was called too often
# custom:
#   rule: library.tool_too_often
#   severity: medium
#   controls: [OWASP LLM10:2025, NIST SC-5]
tool_too_often(name, most) := {
	"rule": "library.tool_too_often",
	"message": sprintf("the agent called %s %d times or more within the last day, or nobody knows", [name, most]),
	"agent_message": sprintf("You may call %s %d times a day. Go on tomorrow.", [name, most]),
	"severity": "medium",
} if {
	not tool_below(name, most)
}

# METADATA
# title: Deny an agent whose budget is spent
# custom:
#   rule: library.budget_spent
#   severity: medium
#   controls: [OWASP LLM10:2025]
budget_spent := {
	"rule": "library.budget_spent",
	"message": "the agent's budget is spent, or nobody knows",
	"agent_message": "Your budget is spent. Ask the operator for more.",
	"severity": "medium",
} if {
	not budget_left(1)
}

words(window) := replace(window, "_", " ")
