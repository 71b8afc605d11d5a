"""Decide whether the votes on a hold meet what policy asked for."""

from collections.abc import Mapping, Sequence

from broker.core.call import Hold, Verdict, Vote
from broker.core.decision import Requirement, persons_wanted
from broker.core.ids import Pseudonym, Sha256


def hold_met(hold: Hold, eligible: Mapping[Pseudonym, frozenset[str]]) -> bool:
    """Tell whether a hold's own votes meet its requirements; see `requirements_met`."""
    return requirements_met(
        hold.requirements,
        hold.votes,
        eligible,
        hold_number=hold.number,
        view_sha256=hold.view_sha256,
    )


def requirements_met(
    requirements: Sequence[Requirement],
    votes: Sequence[Vote],
    eligible: Mapping[Pseudonym, frozenset[str]],
    *,
    hold_number: int,
    view_sha256: Sha256,
) -> bool:
    """Tell whether every requirement is met, one person's vote counting for one of them only.

    No requirement at all, or one that asks for nobody, is never met. One rejection by an eligible
    person is a veto, whatever else was voted on this hold.

    Args:
        eligible: Who may decide this call now, with the groups that they are in now. Somebody who
            lost the right after voting is not in it, so that their vote counts no more.
        hold_number: Only votes on this hold count.
        view_sha256: Only votes on exactly this view count.
    """
    if not requirements or any(requirement.count < 1 for requirement in requirements):
        return False
    cast = [vote for vote in votes if vote.hold_number == hold_number and vote.voter in eligible]
    if any(vote.verdict is not Verdict.APPROVE for vote in cast):
        return False
    approvers = {vote.voter for vote in cast if vote.view_sha256 == view_sha256}
    wanted = persons_wanted(requirements)
    if wanted.total() > len(approvers):
        return False
    return _all_seated(list(wanted.elements()), {voter: eligible[voter] for voter in approvers})


def _all_seated(seats: Sequence[str], groups: Mapping[Pseudonym, frozenset[str]]) -> bool:
    """Tell whether every seat gets a person of its own (bipartite matching, Kuhn's algorithm)."""
    seat_of: dict[Pseudonym, int] = {}

    def seat(wanted: int, tried: set[Pseudonym]) -> bool:
        group = seats[wanted]
        for person in sorted(groups):
            if person in tried or not (group == "" or group in groups[person]):
                continue
            tried.add(person)
            if person not in seat_of or seat(seat_of[person], tried):
                seat_of[person] = wanted
                return True
        return False

    return all(seat(number, set()) for number in range(len(seats)))
