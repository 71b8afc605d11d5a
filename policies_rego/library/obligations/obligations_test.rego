package library.obligations_test

import data.broker.decision
import data.library.obligations

test_limits if {
	answer := decision.result with data.teams as {"a": {"limit": obligations.limits({"timeout_s": 30, "pids": 100})}}
	answer.obligations.limits == {"timeout_s": 30, "pids": 100}
}

test_masks if {
	answer := decision.result with data.teams as {"a": {"redact": obligations.masked_arguments({"body", "a/b~c"})}}
	answer.obligations.redact == ["/arguments/a~1b~0c", "/arguments/body"]
}
