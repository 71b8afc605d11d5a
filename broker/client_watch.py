"""Follow a call over as many streams as it takes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import grpc

from broker.v1 import execution_pb2

_NAMES: dict[int, Literal["stdout", "stderr"]] = {
    execution_pb2.OUTPUT_STREAM_STDOUT: "stdout",
    execution_pb2.OUTPUT_STREAM_STDERR: "stderr",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A piece of what the tool wrote; unsigned, whatever it says.

    Args:
        offset: Bytes of this stream before it.
        is_live: Whether the call has not ended, so that no receipt stands for the piece yet.
    """

    stream: Literal["stdout", "stderr"]
    offset: int
    data: bytes
    is_live: bool


WatchItem = execution_pb2.WatchCallResponse | Output
"""An event of the call, or a piece of its tool's output."""

Watch = Callable[[execution_pb2.WatchCallRequest], Iterator[execution_pb2.WatchCallResponse]]


class Pause(Protocol):
    """Waits before a stream is taken up again, or raises what is to be told."""

    def __call__(self, error: grpc.RpcError, failures: int, *, had_begun: bool) -> None: ...


def follow(
    watch: Watch,
    request: execution_pb2.WatchCallRequest,
    pause: Pause,
) -> Iterator[WatchItem]:
    """Give what a watch gives, until the call is final; a lost stream is taken up where it broke.

    Args:
        request: From where on; it is moved along.
        pause: Waits before the next attempt: told the error, how often the stream broke in a row,
            and whether it ever gave something.
    """
    failures = 0
    had_begun = False
    while True:
        try:
            for message in watch(request):
                failures = 0
                had_begun = True
                request.after_sequence = message.sequence
                item = _item(message)
                if isinstance(item, Output):
                    setattr(request, f"{item.stream}_offset", item.offset + len(item.data))
                if item is not None:
                    yield item
        except grpc.RpcError as error:
            failures += 1
            pause(error, failures, had_begun=had_begun)
        else:
            return


def _item(message: execution_pb2.WatchCallResponse) -> WatchItem | None:
    """Read a message; None for output of a stream that this client does not know."""
    if not message.HasField("output"):
        return message
    piece = message.output
    if piece.stream not in _NAMES:
        return None
    return Output(
        stream=_NAMES[piece.stream],
        offset=piece.offset,
        data=piece.data or piece.text.encode(),
        is_live=piece.live,
    )
