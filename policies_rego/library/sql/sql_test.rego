package library.sql_test

import data.library.sql

parsed := {"kind": "sql", "statements": 1, "commands": ["select"], "tables": ["orders"], "functions": [], "is_read": true}

asked(changes) := {"derived": {"q": object.union(parsed, changes)}}

unparsed := [{}, {"derived": {"q": {"kind": "sql", "invalid": true}}}, {"derived": {"q": null}}]

test_reading if {
	sql.reads("q") with input as asked({})
	not sql.writes("q") with input as asked({})
	every changes in [{"is_read": false}, {"is_read": "true"}, {"invalid": true}, {"kind": "url"}] {
		sql.writes("q").rule == "library.sql_writes" with input as asked(changes)
	}
	every request in unparsed {
		sql.writes("q").severity == "high" with input as request
	}
}

test_several if {
	not sql.several("q") with input as asked({})
	every number in [0, 2, 10, "1", null] {
		sql.several("q").rule == "library.sql_several" with input as asked({"statements": number})
	}
	every request in unparsed {
		sql.several("q") with input as request
	}
}

test_listed_tables if {
	not sql.unlisted("q", {"orders", "items"}) with input as asked({})
	not sql.unlisted("q", {"orders"}) with input as asked({"tables": []})
	every changes in [{"tables": ["orders", "cards"]}, {"tables": ["x.orders"]}, {"commands": ["create"]}, {"invalid": true}] {
		sql.unlisted("q", {"orders"}).rule == "library.sql_table_unlisted" with input as asked(changes)
	}
	every request in unparsed {
		sql.unlisted("q", {"orders"}) with input as request
	}
}

test_closed_tables if {
	not sql.touches("q", {"cards"}) with input as asked({})
	not sql.touches("q", {"cards"}) with input as asked({"tables": ["discards", "cards.orders"]})
	every tables in [["cards"], ["shop.public.cards"], ["orders", "public.cards"]] {
		sql.touches("q", {"cards", "salaries"}).rule == "library.sql_table_closed" with input as asked({"tables": tables})
	}
	every changes in [{"commands": ["drop"]}, {"invalid": true}, {"tables": "orders"}, {"tables": [1]}, {"commands": null}] {
		sql.touches("q", {"cards"}) with input as asked(changes)
	}
	every request in unparsed {
		sql.touches("q", {"cards"}).severity == "high" with input as request
	}
}
