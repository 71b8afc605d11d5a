"""Metrics count what happened, once."""

import json
import os
import sys
from datetime import UTC, datetime

import pytest

from broker.adapters.telemetry import Telemetry, configure_logs
from broker.core.freshness import Freshness
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


class TestFreshness:
    @pytest.mark.parametrize(
        ("state", "rank"), [(Freshness.FRESH, 0), (Freshness.STALE, 1), (Freshness.REFUSING, 2)]
    )
    def test_shown(self, telemetry: Telemetry, state: Freshness, rank: int) -> None:
        """How far policy may be relied on is a number that an alert can compare."""
        telemetry.policy_freshness(state, datetime(2026, 1, 2, tzinfo=UTC))
        shown = telemetry.registry.get_sample_value
        assert shown("toolwarrant_policy_freshness") == rank
        assert shown("toolwarrant_policy_confirmed_timestamp_seconds") == 1767312000

    def test_never(self, telemetry: Telemetry) -> None:
        """What was never confirmed has no time."""
        telemetry.policy_freshness(Freshness.STALE, None)
        shown = telemetry.registry.get_sample_value
        assert shown("toolwarrant_policy_confirmed_timestamp_seconds") == 0

    def test_looks(self, telemetry: Telemetry) -> None:
        """Looks are counted by how they ended."""
        telemetry.bundle_looked("failed")
        labels = {"outcome": "failed"}
        assert telemetry.registry.get_sample_value("toolwarrant_bundle_looks_total", labels) == 1

    def test_told_when_it_is_over(self, capfd: pytest.CaptureFixture[str]) -> None:
        """That policy is confirmed again is one line, what follows is none."""
        configure_logs("info", "json")
        telemetry = Telemetry()
        for state in (Freshness.FRESH, Freshness.STALE, Freshness.FRESH, Freshness.FRESH):
            telemetry.policy_freshness(state, None)
        (line,) = capfd.readouterr().err.splitlines()
        assert (json.loads(line)["event"], json.loads(line)["was"]) == ("policy.confirmed", "stale")


class TestLogs:
    def test_a_line_is_one_sorted_object(self, capfd: pytest.CaptureFixture[str]) -> None:
        """What is logged comes out as one line of JSON with its keys in order."""
        configure_logs("info", "json")
        Telemetry().recorded(new_call(1, state=CallState.DENIED), [Step.RECEIVE, Step.DENY])
        (line,) = capfd.readouterr().err.splitlines()
        told = json.loads(line)
        assert list(told) == sorted(told)
        assert (told["event"], told["level"], told["state"]) == ("call.denied", "info", "DENIED")

    @pytest.mark.parametrize("form", ["json", "console"])
    def test_half_a_surrogate_pair_is_told(
        self, capfd: pytest.CaptureFixture[str], form: str
    ) -> None:
        """Text that has no UTF-8 is escaped, not lost, and raises nothing."""
        configure_logs("info", form)
        Telemetry().alarm("trouble", ValueError("\ud800"))
        assert "\\ud800" in capfd.readouterr().err

    def test_a_reader_that_is_gone_loses_lines_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody reads standard error any more: what is told is lost, and nothing is raised."""
        reader, writer = os.pipe()
        with os.fdopen(writer, "w") as gone:
            monkeypatch.setattr(sys, "stderr", gone)
            configure_logs("info", "json")
            os.close(reader)
            Telemetry().alarm("trouble", ValueError("unheard"))
