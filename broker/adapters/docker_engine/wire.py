"""Exchange frames with a launcher over the Engine's attached stream."""

import asyncio
import os
import select
import socket
import struct
from contextlib import suppress
from typing import Any, cast

from docker import APIClient

from broker.core.frames import Frame, FrameReader
from broker.errors import SandboxError

_RECEIVE_BYTES = 1 << 18
_HEADER = struct.Struct(">BxxxL")
_STDOUT = 1
_KEPT_STDERR_BYTES = 4096


def attach(client: APIClient, container_id: str) -> socket.socket:
    """Attach to a container that is not started yet, so that no byte of it is missed.

    Raises:
        SandboxError: The connection cannot carry a stream both ways.
    """
    params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
    stream = cast("Any", client).attach_socket(container_id, params=params)
    if not hasattr(stream, "fileno") or hasattr(getattr(stream, "_sock", None), "cipher"):
        raise SandboxError("engines over TLS or ssh are not supported: use unix:// or tcp://")
    # A descriptor of our own: the SDK's response closes its one whenever it is collected, and
    # until then would keep the stream open after us.
    own = socket.socket(fileno=os.dup(stream.fileno()))
    stream._response.close()  # noqa: SLF001 (the SDK hangs it there, without another name)
    own.setblocking(False)
    return own


class Wire:
    """The attached stream of one container. One task receives, one sends.

    The Engine multiplexes: eight bytes (stream, three zeros, length) ahead of each piece. Frames
    travel on the container's stdout; its stderr is the launcher's own last words.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._head = bytearray()
        self._piece_stream = 0
        self._piece_left = 0
        self._frames = FrameReader()
        self._stderr = bytearray()

    @property
    def last_words(self) -> str:
        """What the launcher itself said on stderr: a traceback where it failed."""
        return self._stderr.decode("utf-8", "replace").strip()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing came that is not received yet, the stream's end included."""
        poll = select.poll()
        try:
            poll.register(self._stream, select.POLLIN)
        except ValueError:
            # Closed by us.
            return False
        return poll.poll(0) == []

    async def send(self, data: bytes) -> None:
        """Send all of some bytes.

        Raises:
            OSError: The stream is closed.
        """
        await asyncio.get_running_loop().sock_sendall(self._stream, data)

    async def receive(self) -> list[Frame] | None:
        """Wait for bytes, give the frames that they complete; None at the stream's end.

        Raises:
            FrameError: What came is not frames.
        """
        try:
            data = await asyncio.get_running_loop().sock_recv(self._stream, _RECEIVE_BYTES)
        except OSError:
            return None
        if not data:
            return None
        return self._frames.feed(self._demultiplexed(data))

    async def drain(self) -> None:
        """Read on to the stream's end, keeping nothing: the Engine waits for its readers."""
        loop = asyncio.get_running_loop()
        try:
            while await loop.sock_recv(self._stream, _RECEIVE_BYTES):
                pass
        except OSError:
            return

    def close(self) -> None:
        """Close our end; the launcher sees the end of its input."""
        with suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        self._stream.close()

    def _demultiplexed(self, data: bytes) -> bytes:
        kept = bytearray()
        view = memoryview(data)
        while view:
            if self._piece_left == 0:
                missing = _HEADER.size - len(self._head)
                self._head += view[:missing]
                view = view[missing:]
                if len(self._head) == _HEADER.size:
                    self._piece_stream, self._piece_left = _HEADER.unpack(self._head)
                    self._head.clear()
                continue
            piece = view[: self._piece_left]
            view = view[self._piece_left :]
            self._piece_left -= len(piece)
            if self._piece_stream == _STDOUT:
                kept += piece
            else:
                self._stderr += piece[: _KEPT_STDERR_BYTES - len(self._stderr)]
        return bytes(kept)


async def called_off(task: "asyncio.Task[Any]") -> None:
    """Cancel a task, then wait until it is out of the stream."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
