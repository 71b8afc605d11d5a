"""Read and write the messages of halts."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime

from google.protobuf import timestamp_pb2

from broker.api.wire import filter_terms, page_size, timestamp
from broker.brake import Brake
from broker.core.halt import Scope
from broker.core.identity import Identity
from broker.core.ids import CROCKFORD, AgentId, HaltId
from broker.errors import InvalidArgument
from broker.halts import Active
from broker.people import People
from broker.tasks import Tasks
from broker.v1 import admin_pb2

_FILTERS = frozenset({"agent", "tool"})
_ID = 8
_ALIASES = str.maketrans({"O": "0", "I": "1", "L": "1"})


class Halting:
    """Turn requests about halts into what the brake does.

    Args:
        go_on_at: Takes the time that an administrator names; gives what it was.
    """

    def __init__(
        self,
        brake: Brake,
        people: People,
        go_on_at: Callable[[Identity, datetime], Coroutine[object, object, datetime]],
    ) -> None:
        self._brake = brake
        self._people = people
        self._go_on_at = go_on_at
        self._tasks = Tasks()

    async def halt(self, admin: Identity, request: admin_pb2.HaltRequest) -> admin_pb2.HaltResponse:
        """Halt a scope."""
        done = await self._brake.halt(admin, _scope(request.scope), request.reason)
        return admin_pb2.HaltResponse(
            halt=self._message(done.active),
            was_active=done.was_active,
            killed=done.killed,
            waiting=done.waiting,
        )

    async def resume(
        self, admin: Identity, request: admin_pb2.ResumeRequest
    ) -> admin_pb2.ResumeResponse:
        """Lift a halt, or all, or go on from a time."""
        named = (request.all, bool(request.halt), request.HasField("clock_now"))
        if named.count(True) != 1:
            raise InvalidArgument(
                "halt", "name one halt, or set `all`, or name a time: one of them"
            )
        if request.HasField("clock_now"):
            naming = self._go_on_at(admin, _time(request.clock_now))
            # A client that leaves must not leave a time that is recorded but not followed.
            was = await self._tasks.detached(naming)
            return admin_pb2.ResumeResponse(clock_was=timestamp(was))
        before = {active.halt.id: active for active in self._brake.active()}
        lifted = await self._brake.resume(admin, None if request.all else _id(request.halt))
        return admin_pb2.ResumeResponse(halts=[self._message(before[halt.id]) for halt in lifted])

    def list(self, request: admin_pb2.ListHaltsRequest) -> admin_pb2.ListHaltsResponse:
        """List active halts, oldest first."""
        size = page_size(request.page_size)
        terms = filter_terms(request.filter, _FILTERS)
        found = [
            active
            for active in self._brake.active()
            if _place(active) > request.page_token
            and terms.get("agent", active.halt.scope.agent) == active.halt.scope.agent
            and terms.get("tool", active.halt.scope.tool) == active.halt.scope.tool
        ]
        return admin_pb2.ListHaltsResponse(
            halts=[self._message(active) for active in found[:size]],
            next_page_token=_place(found[size - 1]) if len(found) > size else "",
        )

    def _message(self, active: Active) -> admin_pb2.Halt:
        halt, scope = active.halt, active.halt.scope
        return admin_pb2.Halt(
            name=halt.name,
            scope=admin_pb2.HaltScope(
                all=scope.everything,
                agent=scope.agent,
                session_id=scope.session_id,
                tool=scope.tool,
            ),
            reason=str(active.reason.body["reason"]) if active.reason else "",
            set_by=halt.set_by,
            person=self._people.named(halt.set_by),
            set_at=timestamp(halt.set_at),
            durable=active.is_durable,
        )


def _scope(message: admin_pb2.HaltScope) -> Scope:
    try:
        return Scope(
            everything=message.all,
            agent=AgentId(message.agent),
            session_id=message.session_id,
            tool=message.tool,
        )
    except ValueError as error:
        raise InvalidArgument("scope", str(error)) from error


def _id(name: str) -> HaltId:
    text = name.removeprefix("halts/").upper().translate(_ALIASES)
    if len(text) != _ID or not set(text) <= set(CROCKFORD):
        raise InvalidArgument("halt", "send `halts/<id>`, or the id of 8 characters")
    return HaltId(text)


def _time(message: timestamp_pb2.Timestamp) -> datetime:
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument("clock_now", "send a time of the years 1 to 9999") from error


def _place(active: Active) -> str:
    """Give a text that sorts as the list does."""
    return f"{active.halt.set_at.timestamp():020.6f}-{active.halt.id}"
