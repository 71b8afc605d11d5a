"""The books of the agents: rates, limits, histories."""

import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest

from broker.core.admission import Admission, Quotas, TokenBucket, Window
from broker.core.ids import AgentId
from broker.errors import ResourceExhausted

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
AGENT, OTHER = AgentId("spiffe://example.org/a"), AgentId("spiffe://example.org/b")


def books(**quotas: int) -> Admission:
    defaults = {"calls_per_second": 10, "burst": 2, "open_calls": 2, "held_calls": 1, "sessions": 2}
    return Admission(Quotas(**{**defaults, **quotas}), ["python_run"], {AGENT: 5})


class TestTokenBucket:
    def test_lets_a_burst_through_then_the_rate(self) -> None:
        """A full bucket gives its burst at once, then one token for each interval of the rate."""
        bucket = TokenBucket(rate=10, burst=2, tokens=2, filled_at_s=0)
        waits = [bucket.take(0.0), bucket.take(0.0), bucket.take(0.0), bucket.take(0.1)]
        assert waits == [0, 0, pytest.approx(0.1), 0]

    def test_a_clock_that_steps_back_gives_no_tokens(self) -> None:
        """Time that goes back neither fills the bucket nor empties it."""
        bucket = TokenBucket(rate=10, burst=1, tokens=0, filled_at_s=100)
        assert bucket.take(50) == pytest.approx(0.1)


class TestWindow:
    def test_forgets_what_is_older_than_sixty_steps(self) -> None:
        """A count stays for sixty steps, to the precision of one."""
        window = Window(1)
        window.add(1_000)
        assert [window.total(second) for second in (1_000, 1_059, 1_060)] == [1, 1, 0]

    def test_a_long_silence_empties_it(self) -> None:
        """A gap far longer than the window leaves nothing, at the cost of one sweep."""
        window = Window(60)
        window.add(0)
        window.add(10**9)
        assert window.total(10**9) == 1


class TestRate:
    def test_refuses_over_the_rate_with_the_time_to_retry(self) -> None:
        """The request over the burst is refused, says which quota, says when to retry."""
        admission = books()
        admission.admit_request(AGENT, 0.0)
        admission.admit_request(AGENT, 0.0)
        with pytest.raises(ResourceExhausted) as refused:
            admission.admit_request(AGENT, 0.0)
        assert (refused.value.subject, refused.value.retry_after_s) == (
            "agent:calls_per_second",
            pytest.approx(0.1),
        )

    def test_large_arguments_cost_as_much_as_several_calls(self) -> None:
        """Each 64 KiB of arguments costs a call; a request never costs more than the burst."""
        admission = books(burst=3)
        admission.admit_request(AGENT, 0.0, 2 * 65_536 - 1)
        admission.admit_request(AGENT, 0.0, 0)
        with pytest.raises(ResourceExhausted):
            admission.admit_request(AGENT, 0.0, 0)
        admission.admit_request(OTHER, 0.0, 2**30)

    def test_many_values_cost_those_that_come_after_as_much_as_several_calls(self) -> None:
        """Each 256 values of a request cost a call, which the requests after it wait for."""
        admission = books(burst=3)
        admission.admit_request(AGENT, 0.0)
        admission.charge_values(AGENT, 4 * 256 + 255)
        with pytest.raises(ResourceExhausted) as refused:
            admission.admit_request(AGENT, 0.0)
        admission.admit_request(OTHER, 0.0)
        admission.admit_request(AGENT, 0.3)
        assert refused.value.retry_after_s == pytest.approx(0.3)

    def test_values_cost_a_burst_at_most(self) -> None:
        """However many values a request has, the next one comes after a burst and a call's time."""
        admission = books(burst=3)
        admission.charge_values(AGENT, 10**9)
        with pytest.raises(ResourceExhausted) as refused:
            admission.admit_request(AGENT, 0.0)
        assert refused.value.retry_after_s == pytest.approx(0.4)

    def test_few_values_cost_nothing(self) -> None:
        """Fewer than 256 values are in the price of their call."""
        admission = books(burst=2)
        admission.admit_request(AGENT, 0.0)
        admission.charge_values(AGENT, 255)
        admission.admit_request(AGENT, 0.0)

    def test_one_agent_does_not_use_up_anothers_rate(self) -> None:
        """Each agent has a bucket of its own."""
        admission = books(burst=1)
        admission.admit_request(AGENT, 0.0)
        admission.admit_request(OTHER, 0.0)


class TestOpenCalls:
    def test_counts_calls_from_before_they_are_recorded(self) -> None:
        """Two reservations fill a limit of two, though nothing is recorded yet."""
        admission = books()
        admission.reserve(AGENT, "1")
        admission.reserve(AGENT, "2")
        with pytest.raises(ResourceExhausted, match="2 calls of this agent are open"):
            admission.check_open(AGENT)

    def test_a_call_that_ended_makes_room(self) -> None:
        """Settling a call as ended takes it off the books."""
        admission = books(open_calls=1)
        admission.reserve(AGENT, "1")
        admission.settle(AGENT, "1", is_open=False, is_held=False)
        admission.check_open(AGENT)

    def test_caps_held_calls_apart(self) -> None:
        """A held call counts against the cap of holds until it is held no longer."""
        admission = books()
        admission.settle(AGENT, "1", is_open=True, is_held=True)
        capped = admission.may_hold(AGENT)
        admission.settle(AGENT, "1", is_open=True, is_held=False)
        assert (capped, admission.may_hold(AGENT)) == (False, True)


class TestSessions:
    def test_refuses_a_new_one_above_the_cap(self) -> None:
        """With as many sessions used as may be, a new one is refused, those used go on."""
        admission = books(sessions=2)
        later = NOON + timedelta(hours=1)
        admission.open_session(AGENT, "one", "python_run", NOON)
        admission.open_session(AGENT, "two", "python_run", later)
        with pytest.raises(ResourceExhausted) as refused:
            admission.open_session(AGENT, "three", "python_run", later)
        admission.open_session(AGENT, "one", "python_run", later)
        admission.open_session(OTHER, "three", "python_run", later)
        assert (refused.value.subject, refused.value.reason, refused.value.retry_after_s) == (
            "agent:sessions",
            "TOO_MANY_SESSIONS",
            23 * 3600 + 1,
        )

    def test_the_time_to_retry_is_when_one_is_forgotten(self) -> None:
        """A day after the session unused for longest was used, there is room for one more."""
        admission = books(sessions=2)
        for session, hour in (("one", 0), ("two", 1), ("one", 2)):
            at = NOON + timedelta(hours=hour)
            admission.open_session(AGENT, session, "python_run", at)
            admission.count(AGENT, session, "python_run", at)
        with pytest.raises(ResourceExhausted) as refused:
            admission.open_session(AGENT, "three", "python_run", NOON)
        at = NOON + timedelta(seconds=refused.value.retry_after_s)
        admission.open_session(AGENT, "three", "python_run", at)
        kept = [admission.history(AGENT, name, at).prior_tools for name in ("one", "two")]
        assert kept == [("python_run",), ()]

    def test_none_is_forgotten_for_another(self) -> None:
        """What was used in a session stays known, however many others are tried."""
        admission = books(sessions=2)
        admission.open_session(AGENT, "one", "python_run", NOON)
        admission.count(AGENT, "one", "python_run", NOON)
        admission.open_session(AGENT, "two", "python_run", NOON)
        for number in range(100):
            with pytest.raises(ResourceExhausted):
                admission.open_session(AGENT, f"other-{number}", "python_run", NOON)
        assert admission.history(AGENT, "one", NOON).prior_tools == ("python_run",)

    def test_fresh_ones_fill_no_memory(self) -> None:
        """An agent that names a fresh session with each call takes bounded memory."""
        admission, refused = books(sessions=1_000), 0
        tracemalloc.start()
        for number in range(20_000):
            at, session = NOON + timedelta(seconds=number), f"{number:0128d}"
            try:
                admission.open_session(AGENT, session, "python_run", at)
            except ResourceExhausted:
                refused += 1
            else:
                admission.count(AGENT, session, "python_run", at)
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert refused == 19_000
        assert taken < 1 << 20

    def test_calls_of_an_earlier_life_count(self) -> None:
        """What is counted anew after a restart fills the cap; above it nothing is forgotten."""
        admission = books(sessions=2)
        for session in ("one", "two", "three"):
            admission.count(AGENT, session, "python_run", NOON)
        with pytest.raises(ResourceExhausted, match="used 3 sessions in the last day"):
            admission.open_session(AGENT, "four", "python_run", NOON)
        admission.open_session(AGENT, "one", "python_run", NOON)
        assert admission.history(AGENT, "one", NOON).prior_tools == ("python_run",)

    def test_what_is_no_tool_uses_none(self) -> None:
        """A call of what the catalogue does not have leaves nothing to be remembered."""
        admission = books(sessions=1)
        for session in ("one", "two", "three"):
            admission.open_session(AGENT, session, "no_such_tool", NOON)
            admission.count(AGENT, session, "no_such_tool", NOON)
        admission.open_session(AGENT, "four", "python_run", NOON)


class TestHistory:
    def test_shows_what_came_before_never_the_call_itself(self) -> None:
        """A snapshot taken before a call is counted does not hold it."""
        admission = books()
        before = admission.history(AGENT, "s", NOON)
        admission.count(AGENT, "s", "python_run", NOON)
        after = admission.history(AGENT, "s", NOON)
        assert (before.calls, after.calls) == ((0, 0, 0), (1, 1, 1))

    def test_counts_by_tool_and_names_prior_tools_of_the_session(self) -> None:
        """Tools of the catalogue are counted one by one, and named in the session they ran in."""
        admission = books()
        admission.count(AGENT, "s", "python_run", NOON)
        admission.count(AGENT, "s", "no_such_tool", NOON)
        here = admission.history(AGENT, "s", NOON)
        there = admission.history(AGENT, "t", NOON)
        assert (here.by_tool, here.prior_tools, there.prior_tools) == (
            {"python_run": 1},
            ("python_run",),
            (),
        )

    def test_a_fresh_session_sheds_no_count(self) -> None:
        """Counts are the agent's, whatever session it names."""
        admission = books()
        admission.count(AGENT, "s", "python_run", NOON)
        assert admission.history(AGENT, "t", NOON).calls == (1, 1, 1)

    def test_denied_calls_cost_no_budget(self) -> None:
        """The budget spent is what was admitted less what was denied."""
        admission = books()
        for _ in range(3):
            admission.count(AGENT, "s", "python_run", NOON)
        admission.count_denied(AGENT, NOON)
        history = admission.history(AGENT, "s", NOON)
        assert (history.budget_spent, history.budget_limit, history.denied) == (2, 5, (1, 1, 1))

    def test_forgets_sessions_that_were_not_used_for_a_day(self) -> None:
        """An old session's tools go when another session is used a day later."""
        admission = books()
        admission.count(AGENT, "old", "python_run", NOON)
        later = NOON + timedelta(days=1, seconds=1)
        admission.count(AGENT, "new", "python_run", later)
        assert admission.history(AGENT, "old", later).prior_tools == ()
