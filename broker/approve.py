"""Decide a held call by people's votes."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from broker.core.call import Call, Hold, Verdict, Vote
from broker.core.canonical import JsonObject
from broker.core.document import Document, DocumentKind
from broker.core.hold import hold_met
from broker.core.identity import Identity
from broker.core.ids import Sha256
from broker.core.lifecycle import CallState, Step, after
from broker.errors import (
    ClockUntrusted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StaleCall,
    StoreUnavailable,
    Unavailable,
)
from broker.finish import finish
from broker.world import World

_ATTEMPTS = 16
_REASON_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """What a reviewer says, of which view."""

    verdict: Verdict
    view_sha256: str
    reason: str


class Approvals:
    """Take votes on held calls. Used from one event loop."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def vote(self, voter: Identity, call: Call, ballot: Ballot) -> Call:
        """Count a vote; the one that meets the requirements queues the call.

        Raises:
            NotFound: The voter may not decide this call: it answers as if it did not exist.
            PermissionDenied: It is the voter's own call.
            FailedPrecondition: Not held, expired, halted, another view, or voted already.
            InvalidArgument: The reason is too long.
            Unavailable: The broker or its store takes no votes now; nothing was counted.
        """
        if len(ballot.reason) > _REASON_CHARACTERS:
            raise InvalidArgument("reason", f"send at most {_REASON_CHARACTERS} characters")
        self._world.gate.check()
        if not self._world.clock.is_trusted:
            raise ClockUntrusted
        for _ in range(_ATTEMPTS):
            self._check(voter, call, ballot)
            try:
                return await self._count(voter, call, ballot)
            except StaleCall:
                call = await self._world.ledger.reread(call)
            except StoreUnavailable as error:
                raise Unavailable(f"the store takes no votes now: {error.message}") from error
        raise Unavailable("the call keeps changing: retry")

    def _check(self, voter: Identity, call: Call, ballot: Ballot) -> None:
        people = self._world.people
        if people.is_own(call, voter):
            raise PermissionDenied(
                "this is a call of your own, or of an agent that you answer for: "
                "somebody else must decide it",
                reason="OWN_CALL",
            )
        if call.hold is None or not people.may_decide(call, voter):
            raise NotFound("there is no held call of this name that you may decide")
        hold = call.hold
        if call.state is not CallState.HELD:
            raise _refused(
                call, "CALL_NOT_HELD", f"the call is {call.state.value}: it is decided already"
            )
        if self._world.clock.now() >= hold.decide_by:
            raise _refused(call, "HOLD_EXPIRED", "its time to be decided is over")
        if ballot.view_sha256 != hold.view_sha256:
            raise _refused(
                call,
                "VIEW_CHANGED",
                "view_sha256 is not the digest of the view to decide: GetHold shows it, look again",
            )
        if ballot.verdict is Verdict.APPROVE and self._world.halts.over(call):
            raise _refused(
                call,
                "HALTED",
                "a halt covers this call, so it cannot be approved: wait until it is lifted, then "
                "look again; it can be rejected",
            )
        pseudonym = people.pseudonym(voter.person)
        if any(vote.voter == pseudonym for vote in hold.votes):
            raise _refused(call, "ALREADY_VOTED", "you voted on this call: somebody else must too")

    async def _count(self, voter: Identity, call: Call, ballot: Ballot) -> Call:
        now = self._world.clock.now()
        vote, document = self._vote(voter, call, ballot, now)
        assert call.hold is not None
        hold = replace(call.hold, votes=(*call.hold.votes, vote))
        voted = replace(call, state=after(call.state, Step.VOTE), hold=hold)
        step = (Step.VOTE, _event_data(vote))
        if ballot.verdict is Verdict.REJECT:
            return await self._reject(voted, step, document)
        eligible = self._world.people.eligible(voted)
        if not hold_met(hold, eligible):
            written, _ = await self._world.ledger.record(voted, [step], documents=[document])
            return written
        return await self._approve(voted, hold, now, step, document)

    def _vote(
        self, voter: Identity, call: Call, ballot: Ballot, now: datetime
    ) -> tuple[Vote, Document]:
        assert call.hold is not None
        pseudonym = self._world.people.pseudonym(voter.person)
        body = {"voter": pseudonym, "verdict": ballot.verdict.value, "reason": ballot.reason}
        document = self._world.seal(DocumentKind.VOTE, body)
        vote = Vote(
            at=now,
            verdict=ballot.verdict,
            voter=pseudonym,
            groups=tuple(sorted(voter.groups)),
            view_sha256=Sha256(ballot.view_sha256),
            vote_sha256=document.sha256,
            authenticated_by="mtls",
            hold_number=call.hold.number,
        )
        return vote, document

    async def _approve(
        self,
        voted: Call,
        hold: Hold,
        now: datetime,
        step: tuple[Step, JsonObject],
        document: Document,
    ) -> Call:
        run_by = now + timedelta(seconds=hold.run_within_s)
        approved = replace(
            voted,
            state=after(voted.state, Step.APPROVE),
            hold=replace(hold, run_by=run_by),
            queued_at=now,
            start_by=min(run_by, now + self._world.settings.start_within),
        )
        written, _ = await self._world.ledger.record(
            approved, [step, (Step.APPROVE, {"number": hold.number})], documents=[document]
        )
        return written

    async def _reject(self, voted: Call, step: tuple[Step, JsonObject], document: Document) -> Call:
        """End the call: one veto is enough, however many approved."""
        return await finish(self._world, voted, Step.REJECT, before=(step,), also=(document,))


def _event_data(vote: Vote) -> JsonObject:
    # By digests of salted documents alone: the log tells this to anybody.
    return {
        "verdict": vote.verdict.value,
        "voter": vote.voter,
        "number": vote.hold_number,
        "view_sha256": vote.view_sha256,
        "vote_sha256": vote.vote_sha256,
    }


def _refused(call: Call, reason: str, message: str) -> FailedPrecondition:
    return FailedPrecondition(f"{call.name}: {message}", subject=call.name, reason=reason)
