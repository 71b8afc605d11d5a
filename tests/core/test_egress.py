"""What is told of a tool's connections."""

import json

from broker.core.egress import EgressReason, EgressReport, Verdict, Visit

REACHED = Visit(
    host="site.test",
    port=443,
    kind="connect",
    verdict=Verdict.CONNECTED,
    reason=None,
    sent_bytes=1,
    received_bytes=2,
)
REFUSED = Visit(
    host="s3cr3t.evil.test",
    port=443,
    kind="connect",
    verdict=Verdict.REFUSED,
    reason=EgressReason.NOT_LISTED,
    sent_bytes=0,
    received_bytes=0,
)


class TestRefusedHosts:
    """Names that a tool made up, which may be a secret that it has."""

    def test_are_left_out(self) -> None:
        """What was reached is named, what was refused is counted."""
        told = EgressReport(visits=(REACHED, REFUSED)).without_refused_hosts()
        assert [visit.host for visit in told.visits] == ["site.test", ""]
        assert told.totals == EgressReport(visits=(REACHED, REFUSED)).totals

    def test_are_told_otherwise(self) -> None:
        """The twin: a call without secrets lists what its tool asked for."""
        assert "s3cr3t" in json.dumps(EgressReport(visits=(REFUSED,)).listing)
