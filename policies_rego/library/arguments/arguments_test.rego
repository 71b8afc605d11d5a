package library.arguments_test

import data.library.arguments

asked(given) := {"tool": {"arguments": given}}

test_presence if {
	arguments.given("a") with input as asked({"a": false})
	not arguments.given("a") with input as asked({"b": 1})
	not arguments.given("a") with input as {}
}

test_sizes if {
	arguments.sized("x", 0) with input as asked({})
	every value in ["abc", "äöü", [1, 2, 3], {"a": 1}, ""] {
		arguments.sized("x", 3) with input as asked({"x": value})
		not arguments.too_large("x", 3) with input as asked({"x": value})
	}
}

test_what_is_not_certain_is_too_large if {
	message := arguments.too_large("x", 3).agent_message with input as asked({"x": "abcd"})
	message == "Send at most 3 characters or entries in `x`."
	every value in ["abcd", [1, 2, 3, 4], 1, null, true] {
		arguments.too_large("x", 3).rule == "library.too_large" with input as asked({"x": value})
	}
	every request in [{}, asked(null), asked("x")] {
		not arguments.sized("x", 3) with input as request
	}
}

test_values if {
	arguments.one_of("x", {"GET", "HEAD"}) with input as asked({"x": "GET"})
	not arguments.one_of("x", {"GET"}) with input as asked({"x": "PUT"})
	not arguments.one_of("x", {"GET"}) with input as asked({})
	every value in [10, 11, 100] {
		arguments.between("x", 10, 100) with input as asked({"x": value})
	}
	every value in [9, 101, "10", null] {
		not arguments.between("x", 10, 100) with input as asked({"x": value})
	}
}
