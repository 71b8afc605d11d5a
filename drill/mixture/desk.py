"""Sit an agent down: a session with its files, an identity, and somebody who approves."""

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from broker.client import Client, state_of
from broker.core.lifecycle import CallState
from broker.v1 import call_pb2
from drill.mixture.book import Book, Made, Wish
from drill.mixture.patience import Patience, decided_before
from tests.broker_process import Served

APPROVER = "approver2"
_PAUSE_S = 0.5
_IN_VAIN = (CallState.SANDBOX_ERROR, CallState.DENIED)

Begin = Callable[[Client, str], call_pb2.Call]
"""Begins a call by a client, under a request_id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchTargets:
    """What a fetch may meet, as `host:port`.

    Args:
        open: Listed, and reached.
        closed: Listed, though its address is on a network that is not open.
    """

    open: str
    closed: str


class Desk:
    """One worker's place; its calls come one after the other.

    Args:
        identity: Whose certificate is used.
        chance: Draws what is random about the calls.
        book: Takes the calls down.
        places: What its fetches meet.
    """

    def __init__(
        self,
        identity: str,
        served: Served,
        *,
        chance: random.Random,
        book: Book,
        places: FetchTargets,
    ) -> None:
        self._identity = identity
        self.asking = Patience(served, identity)
        self.chance = chance
        self.places = places
        self.session = self.draw()
        self.files: dict[str, bytes] = {}
        """What certainly lies in the session's workspace."""
        self._approving = Patience(served, APPROVER)
        self._book = book

    def leave(self) -> None:
        """Close its connections."""
        self.asking.close()
        self._approving.close()

    def draw(self) -> str:
        """Draw a name that nobody has."""
        return uuid.UUID(int=self.chance.getrandbits(128)).hex

    def call(self, wish: Wish, *, no_wait: bool = False) -> Begin:
        """Make the beginning of a call by ExecuteTool."""

        def begin(client: Client, request_id: str) -> call_pb2.Call:
            return client.call(
                wish.tool,
                wish.arguments,
                request_id=request_id,
                session=self.session,
                purpose=wish.purpose,
                timeout_s=wish.timeout_s,
                no_wait=no_wait,
            )

        return begin

    def carry(
        self,
        wish: Wish,
        begin: Begin | None = None,
        meanwhile: Callable[[call_pb2.Call], object] | None = None,
    ) -> Made:
        """Carry a wish to its final state; take it down.

        Args:
            begin: Makes the call; by default ExecuteTool does, to the end.
            meanwhile: Done to the call when it has begun; by default what is held is approved.
        """
        began_s = time.monotonic()
        request_id = self.draw()
        begun = self.asking.ask(lambda client: (begin or self.call(wish))(client, request_id))
        (meanwhile or self.approve)(begun)
        ended = self.asking.ask(lambda client: client.wait(begun.name))
        made = Made(
            agent=self._identity,
            wish=wish,
            call=ended,
            began_s=began_s,
            ended_s=time.monotonic(),
        )
        self._book.note(made)
        if made.state in _IN_VAIN and not made.is_right:
            # The Engine is away, or the agent halted: at full speed all calls would meet that.
            time.sleep(_PAUSE_S)
        return made

    def approve(self, call: call_pb2.Call) -> None:
        """Approve a call, where it is held."""
        if state_of(call) is CallState.HELD:
            self._approving.ask(lambda client: self._vote(client, client.approve, call.name))

    def reject(self, call: call_pb2.Call) -> None:
        """Reject a call, where it is held."""
        if state_of(call) is CallState.HELD:
            self._approving.ask(lambda client: self._vote(client, client.reject, call.name))

    def cancel(self, call: call_pb2.Call) -> None:
        """Cancel a call, wherever it is by then."""

        def cancel(client: Client) -> None:
            with decided_before():
                client.cancel(call.name)

        self.asking.ask(cancel)

    def _vote(
        self, client: Client, vote: Callable[[str, str, str], call_pb2.Call], name: str
    ) -> None:
        if state_of(client.get(name)) is not CallState.HELD:
            return
        with decided_before():
            vote(name, client.hold(name).view_sha256, "as the drill wants")
