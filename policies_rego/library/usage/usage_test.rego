package library.usage_test

import data.library.usage

past := {
	"calls": {"last_minute": 9, "last_hour": 99, "last_day": 0},
	"denied": {"last_minute": 9, "last_hour": 99, "last_day": 0},
	"by_tool": {"python_run": 9},
	"prior_tools": ["sql_query"],
	"budget": {"spent": 9, "limit": 10},
}

after(changes) := {"history": object.union(past, changes)}

test_below_is_open if {
	not usage.too_many_calls("last_minute", 10) with input as after({})
	not usage.too_many_calls("last_hour", 100) with input as after({})
	not usage.too_many_denials("last_minute", 10) with input as after({})
	not usage.tool_too_often("python_run", 10) with input as after({})
	not usage.tool_too_often("other", 1) with input as after({})
	not usage.budget_spent with input as after({})
}

# 10 against 9 and 100: numbers of several digits are compared as numbers, not as text.
test_at_the_bound_it_closes if {
	usage.too_many_calls("last_minute", 10).rule == "library.too_many_calls" with input as after({"calls": {"last_minute": 10}})
	usage.too_many_calls("last_hour", 99).severity == "medium" with input as after({})
	usage.too_many_denials("last_hour", 99).rule == "library.too_many_denials" with input as after({})
	usage.tool_too_often("python_run", 9).rule == "library.tool_too_often" with input as after({})
	usage.budget_spent.rule == "library.budget_spent" with input as after({"budget": {"spent": 10}})
}

test_unknown_counters_close if {
	usage.too_many_calls("last_week", 10) with input as after({})
	usage.too_many_calls("last_day", 10) with input as after({"calls": {"last_day": "1"}})
	every request in [{}, {"history": null}, after({"calls": null, "denied": null, "by_tool": null, "budget": null})] {
		usage.too_many_calls("last_day", 10) with input as request
		usage.too_many_denials("last_day", 10) with input as request
		usage.tool_too_often("other", 10) with input as request
		usage.budget_spent with input as request
	}
}

test_prior_tools if {
	usage.after("sql_query") with input as after({})
	not usage.after("http_fetch") with input as after({})
}

test_the_bound_is_named if {
	message := usage.too_many_calls("last_hour", 60).agent_message with input as {}
	message == "You may make 60 calls within the last hour. Wait before the next."
}
