package library.hours_test

import data.library.hours

at(weekday, hour, minute) := {"time": {"weekday": weekday, "hour": hour, "minute": minute}}

test_the_window_is_open if {
	every moment in [at("Monday", 8, 30), at("Friday", 17, 59), at("Wednesday", 12, 0)] {
		hours.within(hours.workdays, 510, 1080) with input as moment
		not hours.outside(hours.workdays, 510, 1080) with input as moment
	}
}

test_what_is_not_certain_is_outside if {
	every request in [at("Monday", 8, 29), at("Friday", 18, 0), at("Saturday", 12, 0), at("Monday", "9", 0), at("Monday", 9, null), {}] {
		hours.outside(hours.workdays, 510, 1080).rule == "library.outside_hours" with input as request
	}
}

test_the_window_is_named if {
	message := hours.outside({"Sunday", "Friday"}, 0, 100).agent_message with input as {}
	message == "Call on Friday, Sunday, from minute 0 to 100 of the day in UTC."
}
