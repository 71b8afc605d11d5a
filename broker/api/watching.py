"""Write what a watch gives as protobuf messages."""

import json

from broker.api.wire import timestamp
from broker.core.output import Source
from broker.ports import Event
from broker.v1 import execution_pb2
from broker.watch import Wrote

_OUTPUT = "run.output"
_STREAMS = {
    Source.STDOUT: execution_pb2.OUTPUT_STREAM_STDOUT,
    Source.STDERR: execution_pb2.OUTPUT_STREAM_STDERR,
}


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
