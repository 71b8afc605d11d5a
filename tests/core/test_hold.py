"""The hold rule: who must have said yes."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.call import Hold, Verdict, Vote
from broker.core.decision import Requirement
from broker.core.hold import hold_met, requirements_met
from broker.core.ids import Pseudonym, Sha256

AT = datetime(2026, 1, 1, tzinfo=UTC)
VIEW, OTHER_VIEW = Sha256("a" * 64), Sha256("b" * 64)


def vote(voter: str, *, verdict=Verdict.APPROVE, view=VIEW, hold_number=1) -> Vote:
    return Vote(
        at=AT,
        verdict=verdict,
        voter=Pseudonym(voter),
        groups=(),
        view_sha256=view,
        vote_sha256=Sha256("c" * 64),
        authenticated_by="mtls",
        hold_number=hold_number,
    )


def wants(*pairs: tuple[str, int]) -> tuple[Requirement, ...]:
    return tuple(Requirement(group=group, count=count) for group, count in pairs)


def met(requirements, votes, eligible) -> bool:
    groups = {Pseudonym(name): frozenset(of) for name, of in eligible.items()}
    return requirements_met(requirements, votes, groups, hold_number=1, view_sha256=VIEW)


PEOPLE = {"ann": {"ops"}, "bob": {"ops", "sec"}, "cy": {"sec"}, "dee": set()}


class TestRequirementsMet:
    @pytest.mark.parametrize(
        ("requirements", "voters", "expected"),
        [
            ((), "ann bob cy", False),
            ([("", 1)], "dee", True),
            ([("", 1)], "", False),
            ([("ops", 1)], "dee", False),
            ([("ops", 1)], "ann", True),
            ([("sec", 1)], "ann ann", False),
            ([("ops", 2)], "ann ann", False),
            ([("ops", 2)], "ann bob", True),
            ([("ops", 1), ("sec", 1)], "bob", False),
            ([("ops", 1), ("sec", 1)], "ann bob", True),
            ([("ops", 1), ("sec", 1)], "bob ann", True),
            ([("sec", 1), ("ops", 1)], "bob cy", True),
            ([("ops", 1), ("sec", 1)], "ann dee", False),
            ([("sec", 1)], "ann dee", False),
            ([("ops", 1), ("sec", 1)], "bob dee", False),
            ([("ops", 2)], "bob dee cy", False),
            ([("ops", 2), ("sec", 1)], "ann bob cy", True),
            ([("ops", 2), ("sec", 2)], "ann bob cy", False),
            ([("ops", 1), ("ops", 1)], "ann", False),
            ([("ops", 1), ("ops", 1)], "ann bob", True),
            ([("", 1), ("sec", 1)], "bob ann", True),
            ([("", 2)], "ann", False),
            ([("ops", 0)], "ann", False),
            ([("ops", -1), ("ops", 1)], "ann", False),
            ([("", 1)], "stranger", False),
            ([("", 10**9)], "ann", False),
        ],
    )
    def test_table(self, requirements, voters, expected):
        """Every requirement is met by persons of its own, and none at all is never met."""
        votes = [vote(name) for name in voters.split()]
        assert met(wants(*requirements), votes, PEOPLE) is expected

    @pytest.mark.parametrize(
        "stray",
        [vote("ann", view=OTHER_VIEW), vote("ann", hold_number=2), vote("ann", hold_number=0)],
    )
    def test_votes_on_something_else_never_count(self, stray):
        """A vote on another view or another hold of the call is no vote on this one."""
        assert met(wants(("", 1)), [stray], PEOPLE) is False
        assert met(wants(("", 1)), [stray, vote("ann")], PEOPLE) is True

    def test_one_rejection_is_a_veto(self):
        """However many approve, one eligible person's rejection keeps the hold unmet."""
        rejected = vote("dee", verdict=Verdict.REJECT)
        assert met(wants(("", 1)), [vote("ann"), vote("bob"), rejected], PEOPLE) is False

    def test_a_rejection_by_nobody_eligible_changes_nothing(self):
        """Who may not decide cannot veto either."""
        rejected = vote("stranger", verdict=Verdict.REJECT)
        assert met(wants(("", 1)), [vote("ann"), rejected], PEOPLE) is True

    def test_a_right_lost_after_the_vote_counts_no_more(self):
        """Groups and eligibility are those of now, not those at the time of the vote."""
        assert met(wants(("sec", 1)), [vote("bob")], {"bob": {"ops"}}) is False
        assert met(wants(("sec", 1)), [vote("bob")], {}) is False

    @settings(max_examples=600)
    @given(
        st.lists(
            st.tuples(st.sampled_from(["", "a", "b"]), st.integers(1, 2)), min_size=1, max_size=3
        ),
        st.lists(st.sampled_from("pqrst"), min_size=2, max_size=6),
        st.fixed_dictionaries({name: st.frozensets(st.sampled_from("ab")) for name in "pqrs"}),
    )
    def test_it_agrees_with_brute_force(self, requirements, voters, eligible):
        """The matching finds an assignment exactly when trying all of them does."""
        seats = [group for group, count in requirements for _ in range(count)]
        people = sorted(set(voters) & set(eligible))
        expected = bool(seats) and any(
            all(
                not seat or seat in eligible[person]
                for seat, person in zip(seats, row, strict=True)
            )
            for row in permutations(people, len(seats))
        )
        votes = [vote(name) for name in voters]
        assert met(wants(*requirements), votes, eligible) is expected


class TestHoldMet:
    @pytest.mark.parametrize(("number", "expected"), [(1, True), (2, False)])
    def test_a_hold_counts_its_own_votes(self, number, expected):
        """The hold's own number, view and requirements are what its votes are held against."""
        hold = Hold(
            number=number,
            opened_at=AT,
            decide_by=AT + timedelta(hours=1),
            run_within_s=60,
            run_by=None,
            requirements=wants(("ops", 1)),
            view_sha256=VIEW,
            votes=(vote("ann"),),
        )
        assert hold_met(hold, {Pseudonym("ann"): frozenset({"ops"})}) is expected
