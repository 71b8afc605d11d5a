"""When a policy that its source does not confirm is stale."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.freshness import Freshness, FreshnessRule

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ALARM = FreshnessRule(stale_after=timedelta(seconds=10))
REFUSE = FreshnessRule(stale_after=timedelta(seconds=10), refuse_after=timedelta(seconds=60))
AT_ONCE = FreshnessRule(stale_after=timedelta(seconds=10), refuse_after=timedelta(seconds=10))
FRESH, STALE, REFUSING = Freshness.FRESH, Freshness.STALE, Freshness.REFUSING
RANKS = list(Freshness)
SECONDS = st.floats(min_value=0, max_value=1e6)


@pytest.mark.parametrize(
    ("rule", "unconfirmed_s", "expected"),
    [
        (ALARM, 0, FRESH),
        (ALARM, 9.999999, FRESH),
        (ALARM, 10, STALE),
        (ALARM, 1e9, STALE),
        (REFUSE, 9.999999, FRESH),
        (REFUSE, 10, STALE),
        (REFUSE, 59.999999, STALE),
        (REFUSE, 60, REFUSING),
        (REFUSE, 1e9, REFUSING),
        (AT_ONCE, 9.999999, FRESH),
        (AT_ONCE, 10, REFUSING),
        # A time to come is none that this clock wrote.
        (ALARM, -0.000001, STALE),
        (REFUSE, -0.000001, REFUSING),
    ],
)
def test_judged_by_time(rule: FreshnessRule, unconfirmed_s: float, expected: Freshness) -> None:
    """From each bound on, to the microsecond, the next state counts."""
    assert rule.judge(NOW - timedelta(seconds=unconfirmed_s), NOW) is expected


@pytest.mark.parametrize(("rule", "expected"), [(ALARM, STALE), (REFUSE, REFUSING)])
def test_never_confirmed(rule: FreshnessRule, expected: Freshness) -> None:
    """What nobody knows to be confirmed is as stale as can be."""
    assert rule.judge(None, NOW) is expected


@given(stale_s=st.integers(1, 10**5), more_s=st.integers(0, 10**5), first=SECONDS, later=SECONDS)
def test_never_fresher(stale_s: int, more_s: int, first: float, later: float) -> None:
    """Time alone makes no policy fresher."""
    rule = FreshnessRule(
        stale_after=timedelta(seconds=stale_s), refuse_after=timedelta(seconds=stale_s + more_s)
    )
    states = [
        RANKS.index(rule.judge(NOW, NOW + timedelta(seconds=seconds)))
        for seconds in (first, first + later)
    ]
    assert states == sorted(states)


@pytest.mark.parametrize(("stale_s", "refuse_s"), [(0, None), (-1, None), (10, 9.9), (10, 0)])
def test_no_rule(stale_s: float, refuse_s: float | None) -> None:
    """A rule that refuses before it alarms, or is stale from the start, is none."""
    refuse_after = None if refuse_s is None else timedelta(seconds=refuse_s)
    with pytest.raises(ValueError, match="a policy is stale"):
        FreshnessRule(stale_after=timedelta(seconds=stale_s), refuse_after=refuse_after)
