"""Write what a watch gives as protobuf messages."""

import asyncio
import json
from collections.abc import Awaitable, Callable

from broker.api.identity import caller
from broker.api.wire import timestamp
from broker.core.call import Call
from broker.core.ids import AgentId, CallId
from broker.core.output import Source
from broker.ports import Event
from broker.tasks import Tasks
from broker.v1 import call_pb2, execution_pb2
from broker.watch import Wrote

_OUTPUT = "run.output"
_STREAMS = {
    Source.STDOUT: execution_pb2.OUTPUT_STREAM_STDOUT,
    Source.STDERR: execution_pb2.OUTPUT_STREAM_STDERR,
}


class Endings:
    """Builds the message of a call once for all of a reader's watches that end at the same moment.

    Not once for all readers: building takes a turn of the reader's, which no other shall wait for.

    Without the bytes of the streams: who watches has them, or did not want them, and a message that
    nobody reads stays in memory for as long as the reader does.

    Args:
        show: Builds the whole message, for those who may see the content or for those who may not.
    """

    def __init__(self, show: Callable[[Call, bool], Awaitable[call_pb2.Call]]) -> None:
        self._show = show
        self._tasks = Tasks()
        self._under_way: dict[tuple[AgentId, CallId, int, bool], asyncio.Task[call_pb2.Call]] = {}

    async def message(self, call: Call, content: bool) -> call_pb2.Call:
        """Give the message to the reader of the RPC under way."""
        key = (caller().id, call.id, call.version, content)
        if key not in self._under_way:
            task = self._under_way[key] = self._tasks.start(self._build(call, content))
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(self._under_way[key])

    async def _build(self, call: Call, content: bool) -> call_pb2.Call:
        message = await self._show(call, content)
        if message.HasField("result"):
            for field in ("stdout", "stdout_text", "stderr", "stderr_text"):
                message.result.ClearField(field)
        return message


def event_message(event: Event) -> execution_pb2.WatchCallResponse:
    """Write an event."""
    return execution_pb2.WatchCallResponse(
        sequence=event.sequence,
        at=timestamp(event.at),
        type=event.type,
        data_json=json.dumps(event.data),
    )


def output_message(wrote: Wrote, after: int) -> execution_pb2.WatchCallResponse:
    """Write a piece of output.

    Args:
        after: Sequence of the last event before it.
    """
    chunk = wrote.chunk
    piece = execution_pb2.OutputPiece(
        stream=_STREAMS[chunk.source], offset=chunk.offset, live=wrote.is_live
    )
    try:
        piece.text = chunk.data.decode()
    except UnicodeDecodeError:
        piece.data = chunk.data
    return execution_pb2.WatchCallResponse(sequence=after, type=_OUTPUT, output=piece)
