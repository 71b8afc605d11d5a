package library.url_test

import data.library.url

parsed := {
	"kind": "url", "scheme": "https", "host": "docs.example.org", "port": 443, "path": "/",
	"has_query": false, "has_fragment": false, "has_credentials": false,
}

asked(changes) := {"derived": {"url": object.union(parsed, changes)}}

test_place if {
	url.place("url") == "docs.example.org:443" with input as asked({})
	url.place("url") == "docs.example.org:65535" with input as asked({"port": 65535})
	not url.place("other") with input as asked({})
	every changes in [{"port": 0}, {"port": 65536}, {"port": 1.5}, {"port": "443"}, {"host": ""}, {"host": 1}, {"invalid": true}] {
		not url.place("url") with input as asked(changes)
		url.unclear("url").rule == "library.url_unclear" with input as asked(changes)
	}
}

test_unclear if {
	not url.unclear("url") with input as asked({})
	every changes in [{"scheme": "ftp"}, {"has_credentials": true}, {"has_credentials": null}] {
		url.unclear("url").severity == "medium" with input as asked(changes)
	}
	every request in [{}, {"derived": {"url": {"kind": "url", "invalid": true}}}] {
		url.unclear("url") with input as request
	}
}

test_unlisted if {
	places := {"docs.example.org:443", "10.0.0.1:80"}
	not url.unlisted("url", places) with input as asked({})
	every changes in [{"port": 80}, {"host": "example.org"}, {"host": "10.0.0.1"}, {"invalid": true}] {
		url.unlisted("url", places).rule == "library.place_unlisted" with input as asked(changes)
	}
}

test_carries if {
	not url.carries("url") with input as asked({})
	every changes in [{"has_query": true}, {"has_fragment": true}, {"has_credentials": true}, {"has_query": null}, {"kind": "host"}] {
		url.carries("url").rule == "library.url_carries" with input as asked(changes)
	}
}

test_domains if {
	url.within_domains("url", {"10.0.0.1"}) with input as asked({"host": "10.0.0.1"})
	every name in ["example.org", "a.example.org", "b.a.example.org"] {
		url.within_domains("url", {"example.org"}) with input as asked({"host": name})
	}
	every name in ["badexample.org", "example.org.evil.net", "org", "10.0.0.1"] {
		not url.within_domains("url", {"example.org", "0.1"}) with input as asked({"host": name})
	}
}

test_addresses if {
	every address in ["10.0.0.1", "0.0.0.0", "255.255.255.255", "[::]", "[::1]", "[2606:4700::1111]", "[1:2:3:4:5:6:7:8]"] {
		url.is_address("url") with input as asked({"host": address})
	}
}

test_networks if {
	private := {"10.0.0.0/8", "fd00::/8"}
	every address in ["10.0.0.0", "10.255.255.255", "[fd00::1]", "[fdff::]"] {
		url.within_networks("url", private) with input as asked({"host": address})
	}
	every address in ["11.0.0.0", "9.255.255.255", "[fe00::]", "[::]", "10.example.org", "10.0.0.256", "[zz]"] {
		not url.within_networks("url", private) with input as asked({"host": address})
	}
}
