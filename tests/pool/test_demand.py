"""How many containers wait, for whom."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.pool import KEPT_S, WINDOW_S, Budget, Demand
from broker.core.sandbox import Profile

MIB = 1 << 20
PLENTY = Budget(containers=100, memory_bytes=1 << 40)
PROFILE = Profile(
    image="sha256:1",
    command=("run",),
    runtime="runc",
    cpu_millicores=1000,
    memory_bytes=256 * MIB,
    pids=32,
    tmp_bytes=MIB,
)
OTHER = replace(PROFILE, image="sha256:2")


def after(*calls: tuple[Profile, float], budget: Budget = PLENTY) -> Demand:
    """Give what is remembered after these calls."""
    demand = Demand(budget)
    for profile, at_s in calls:
        demand.note(profile, at_s)
    return demand


class TestWanted:
    def test_nothing_before_the_first_call(self) -> None:
        """Nobody knows what will be asked for."""
        demand = after()
        assert (demand.wanted(0), demand.changes_at(0)) == ({}, None)

    def test_one_after_a_call(self) -> None:
        """The next call finds one."""
        assert after((PROFILE, 0)).wanted(0) == {PROFILE: 1}

    def test_as_many_as_come_in_a_second(self) -> None:
        """Making one takes less: who comes at that rate always finds one."""
        demand = after(*((PROFILE, number / 3) for number in range(30)))
        assert demand.wanted(9.9) == {PROFILE: 3}

    def test_fewer_when_calls_become_fewer(self) -> None:
        """The rate is that of the last seconds; one stays for some minutes, then none."""
        demand = after(*((PROFILE, number / 3) for number in range(30)))
        last = 29 / 3
        assert demand.changes_at(last) == last + WINDOW_S
        assert demand.wanted(last + WINDOW_S) == {PROFILE: 1}
        assert demand.changes_at(last + WINDOW_S) == last + KEPT_S
        assert demand.wanted(last + KEPT_S) == {}
        assert demand.changes_at(last + KEPT_S) is None

    def test_one_for_each_before_two_for_any(self) -> None:
        """A busy tool takes no place from another one's first."""
        calls = [(PROFILE, number / 10) for number in range(50)]
        demand = after((OTHER, 0), *calls, budget=Budget(containers=3, memory_bytes=1 << 40))
        assert demand.wanted(5) == {PROFILE: 2, OTHER: 1}

    def test_the_most_used_where_there_is_no_place_for_all(self) -> None:
        """Who was asked for most comes first, of equals who was known first."""
        calls = [(PROFILE, 0), (OTHER, 1)]
        one = Budget(containers=1, memory_bytes=1 << 40)
        assert after(*calls, budget=one).wanted(1) == {PROFILE: 1}
        assert after(*calls, (OTHER, 2), budget=one).wanted(2) == {OTHER: 1}
        assert after(*calls, (OTHER, 2), budget=one).wanted(1 + KEPT_S) == {OTHER: 1}

    def test_within_the_memory(self) -> None:
        """A limit counts in full; one that has no room leaves it to smaller ones."""
        small = replace(OTHER, memory_bytes=64 * MIB)
        budget = Budget(containers=9, memory_bytes=200 * MIB)
        assert after((small, 0), (PROFILE, 1), budget=budget).wanted(1) == {small: 1}

    @given(
        calls=st.lists(st.tuples(st.integers(0, 5), st.floats(0, 400)), max_size=60).map(
            lambda calls: sorted(calls, key=lambda call: call[1])
        ),
        containers=st.integers(0, 6),
        memory=st.integers(0, 2048),
    )
    def test_never_beyond_the_budget(
        self, calls: list[tuple[int, float]], containers: int, memory: int
    ) -> None:
        """Whatever came; and only what somebody asked for, exactly as asked."""
        budget = Budget(containers=containers, memory_bytes=memory * MIB)
        asked = [
            (replace(PROFILE, memory_bytes=(kind + 1) * 64 * MIB), at_s) for kind, at_s in calls
        ]
        wanted = after(*asked, budget=budget).wanted(calls[-1][1] if calls else 0)
        assert sum(wanted.values()) <= containers
        assert sum(each.memory_bytes * most for each, most in wanted.items()) <= memory * MIB
        assert wanted.keys() <= {profile for profile, _ in asked}


@pytest.mark.parametrize("count", [257, 1000])
def test_what_is_remembered_is_bounded(count: int) -> None:
    """An agent that asks for ever other profiles fills no memory."""
    demand = after(*((replace(PROFILE, pids=number), 0) for number in range(count)))
    assert len(demand.wanted(0)) == 100
    assert len(demand._calls) == 256


def test_what_is_remembered_of_one_profile_is_bounded() -> None:
    """Nor does one that calls for the same as fast as it can."""
    demand = after(*((PROFILE, 0) for _ in range(1000)))
    assert demand.wanted(0) == {PROFILE: 26}
