"""Metrics count what happened, once."""

import pytest

from broker.adapters.telemetry import Telemetry, configure_logs
from broker.core.lifecycle import CallState, Step
from tests.ports.samples import new_call


@pytest.fixture
def telemetry() -> Telemetry:
    configure_logs("error", "json")
    return Telemetry()


class TestCalls:
    def test_a_call_denied_in_one_commit_counts_once(self, telemetry: Telemetry) -> None:
        """However many steps a commit took, its call ended once."""
        call = new_call(1, state=CallState.DENIED)
        telemetry.recorded(call, [Step.RECEIVE, Step.DENY])
        labels = {"state": "DENIED", "tool": call.tool if call.image else ""}
        assert telemetry.registry.get_sample_value("toolwarrant_calls_total", labels) == 1

    def test_calls_of_an_earlier_life_are_open(self, telemetry: Telemetry) -> None:
        """A call taken up after a restart stands in the gauges until it ends."""
        call = new_call(1, state=CallState.QUEUED)
        telemetry.taken_up(call)
        queued = {"state": "QUEUED"}
        assert telemetry.registry.get_sample_value("toolwarrant_open_calls", queued) == 1
